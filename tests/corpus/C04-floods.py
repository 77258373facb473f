"""Frames that cost us and move nothing, heads without an end, and heads that grow when they are read."""

from collections.abc import Callable, Iterator

from attacks import Case
from h2client import Http2Wire, fields, open_http2
from hpack import Encoder
from hyperframe import frame as frames
from shots import CLOSED, Answer
from streets import Street

PATH = "/v1/invoices/17"
TIMES = 3000


def head(street: Street) -> bytes:
    """A good, signed head, compressed so that it can be sent out of order."""
    url = f"https://erp.example:{street.port('tls')}{PATH}"
    return Encoder().encode(fields(street.house, "GET", url, chain=street.chain()))  # type: ignore[arg-type]


def endless_head(block: bytes, number: int) -> list[frames.Frame]:
    """CVE-2024-27316: a good head, then continuations of one odd field each, and never an end."""
    if number == 0:
        return [frames.HeadersFrame(1, block, flags=["END_STREAM"])]
    return [frames.ContinuationFrame(1, b"\x00\x03x-a\x01b")]


def empty_continuations(block: bytes, number: int) -> list[frames.Frame]:
    return [frames.HeadersFrame(1, block, flags=["END_STREAM"]) if number == 0 else frames.ContinuationFrame(1, b"")]


def rapid_reset(block: bytes, number: int) -> list[frames.Frame]:
    """CVE-2023-44487: calls that are given up in the same breath."""
    stream = 2 * number + 1
    return [
        frames.HeadersFrame(stream, block, flags=["END_HEADERS", "END_STREAM"]),
        frames.RstStreamFrame(stream, error_code=8),
    ]


def pings(block: bytes, number: int) -> list[frames.Frame]:
    return [frames.PingFrame(0, b"12345678")]


def settings(block: bytes, number: int) -> list[frames.Frame]:
    return [frames.SettingsFrame(0, settings={3: number % 100 + 1})]


def empty_bodies(block: bytes, number: int) -> list[frames.Frame]:
    """CVE-2019-9518: a body of nothing, over and over."""
    return [frames.HeadersFrame(1, block, flags=["END_HEADERS"]) if number == 0 else frames.DataFrame(1, b"")]


def large_table(block: bytes, number: int) -> list[frames.Frame]:
    """A field of four thousand bytes, put into the table once and named again with one byte each."""
    if number:
        return []
    stored = b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4000
    return [frames.HeadersFrame(1, stored + b"\xbe" * 12_000, flags=["END_HEADERS", "END_STREAM"])]


ATTACKS: dict[str, Callable[[bytes, int], list[frames.Frame]]] = {
    "a head that never ends": endless_head,
    "a head of empty continuations": empty_continuations,
    "calls given up in the same breath": rapid_reset,
    "pings": pings,
    "settings": settings,
    "bodies of nothing": empty_bodies,
    "a head that grows a thousandfold when it is read": large_table,
}


def flood(street: Street, made: Callable[[bytes, int], list[frames.Frame]]) -> Answer:
    """Write until the connection ends, which it must, without an answer."""
    url = f"https://erp.example:{street.port('tls')}{PATH}"
    with open_http2(street.house, url, timeout_s=30) as wire:
        block = head(street)
        try:
            for number in range(TIMES):
                wire.frame(*made(block, number))
        except ConnectionError:
            pass
        return _end(wire)


def _end(wire: Http2Wire) -> Answer:
    came = wire.rest(timeout_s=20)
    answered = [each for each in came if isinstance(each, frames.DataFrame) and each.data]
    return Answer(status=200 if answered else 0, code="" if answered else CLOSED)


def one(street: Street) -> Answer:
    url = f"https://erp.example:{street.port('tls')}{PATH}"
    with open_http2(street.house, url) as wire:
        answer = wire.answer(wire.send(fields(street.house, "GET", url, chain=street.chain())))
    return Answer(status=answer.status, code=answer.code)


def cases(way: str) -> Iterator[Case]:
    """Only where there is TLS: HTTP/2 is spoken inside it alone."""
    if way != "tls":
        return
    for name, made in ATTACKS.items():
        yield Case(
            threat="C04",
            name=name,
            way=way,
            twin=one,
            attack=lambda street, made=made: flood(street, made),
            code=CLOSED,
        )
