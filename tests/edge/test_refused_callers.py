"""Who is refused and sends on costs next to nothing: of 50 MB no more than 64 KiB are kept, and most is not read."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from h2client import Http2Wire, open_http2, tunnel, unsigned
from h2towns import Http2Town
from rawclient import Wire, connect, request_bytes
from uploads import KIB, code
from workers import memory_kib, reset_peak, workers

from addons.valve import LIMIT_BYTES, NARROW_BYTES, WAITING_BYTES
from proxy.core.content_digest import content_digest

CALLERS = 20
BODY = bytes(50_000_000)
PIECE = BODY[: 64 * KIB]
NOISE_KIB = 1024
"""What a worker's memory moves by itself, for twenty calls that are answered and written to the journal."""

WAYS = ("plain", "tls", "h2")
type Lines = list[tuple[str, str]]


@pytest.fixture
def town(http2_town: Http2Town) -> Iterator[Http2Town]:
    before = (http2_town.h1.mark(), len(http2_town.h2.streams))
    yield http2_town
    assert (http2_town.h1.mark(), len(http2_town.h2.streams)) == before, "nothing of it left"


ANNOUNCED = (("Content-Length", str(len(BODY))), ("Content-Digest", content_digest(BODY)))
KINDS = {
    "without proof": (None, "/v1/uploads/1", "proof.missing"),
    "with a stale proof": (timedelta(minutes=9), "/v1/uploads/1", "proof.window"),
    "with a good proof, denied by a rule": (timedelta(), "/v1/secrets", "policy.denied"),
}
"""How old the proof is, where the call goes, and what it is refused with."""


def _head(town: Http2Town, url: str, age: timedelta | None, chain: Sequence[str]) -> Lines:
    if age is None:
        return list(ANNOUNCED)
    created = datetime.now(UTC) - age
    return town.house.signed("POST", url, chain=chain, headers=ANNOUNCED, intent="", created=created)


def test_what_is_kept_of_a_caller_nobody_knows_is_64_kib_at_the_most() -> None:
    """As it was read but not yet asked for, as it was asked for, and as it waits in the layers."""
    read = 2 * LIMIT_BYTES + NARROW_BYTES  # asyncio reads once more when this much less waits
    assert read + (WAITING_BYTES + read) <= 64 * KIB


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_caller_that_sends_on_costs_nothing(town: Http2Town, kind: str, way: str) -> None:
    age, path, expected = KINDS[kind]
    url = town.url(path, over="h1")
    if way == "plain":
        url = url.replace("https:", "http:")
    (worker,) = workers(town.house)
    with ExitStack() as opened, ThreadPoolExecutor(CALLERS) as threads:
        callers = [_caller(town, way, url, opened) for _ in range(CALLERS)]
        chain = town.chain()
        heads = [_head(town, url, age, chain) for _ in callers]
        together = Barrier(CALLERS)
        before_kib = memory_kib(worker)
        reset_peak(worker)
        told = list(threads.map(lambda caller, head: caller(head, together), callers, heads))
        peak_kib = memory_kib(worker, "VmHWM")
    assert {each[0] for each in told} == {expected}
    assert max(each[1] for each in told) < len(BODY) // 2, "what the kernels' buffers hold, and no more"
    assert peak_kib - before_kib < CALLERS * 64 + NOISE_KIB


@pytest.mark.parametrize("size", [64 * KIB, 64 * KIB + 1], ids=["64 KiB are read to their end", "a byte more is not"])
def test_who_is_denied_with_a_small_body_keeps_its_connection(town: Http2Town, size: int) -> None:
    url, body = town.url("/v1/secrets", over="h1"), BODY[:size]
    lines = town.house.signed("POST", url, chain=town.chain(), body=body, intent="")
    head = request_bytes("POST", "/v1/secrets", (("Host", url.split("/")[2]), *lines))
    with tunnel(town.house, url, alpn=("http/1.1",)) as wire:
        wire.send(head + (body if size == 64 * KIB else b""))
        answer = wire.response(to="POST")
        assert code(answer) == "policy.denied"
        assert (answer.header("connection") == "close") is (size > 64 * KIB)
        if size == 64 * KIB:
            assert code(wire.get("/v1/secrets", host=url.split("/")[2])) == "proof.missing"


def _caller(town: Http2Town, way: str, url: str, opened: ExitStack) -> Callable[[Lines, Barrier], tuple[str, int]]:
    """A connection on which a first call was refused already, so that what it costs by itself is not counted."""
    if way == "h2":
        h2 = opened.enter_context(open_http2(town.house, url, timeout_s=30))
        assert h2.answer(h2.send(unsigned("GET", url))).code == "proof.missing"
        return lambda lines, together: _send2(h2, url, lines, together)
    wire = connect(town.house.address) if way == "plain" else tunnel(town.house, url, alpn=("http/1.1",))
    opened.enter_context(wire)
    target = url if way == "plain" else url[url.index("/v1") :]
    host = ("Host", url.split("/")[2])
    assert code(wire.request("GET", target, (host,))) == "proof.missing"
    return lambda lines, together: _send1(wire, request_bytes("POST", target, (host, *lines)), together)


def _send1(wire: Wire, head: bytes, together: Barrier) -> tuple[str, int]:
    sent = 0
    together.wait()
    with suppress(OSError):
        wire.send(head)
        while sent < len(BODY):
            wire.send(PIECE)
            sent += len(PIECE)
    return code(wire.response(to="POST")), sent


def _send2(h2: Http2Wire, url: str, lines: Lines, together: Barrier) -> tuple[str, int]:
    pseudo = unsigned("POST", url, *((name.lower(), value) for name, value in lines))
    together.wait()
    stream = h2.send(pseudo, end=False)
    sent = 0
    while not h2.answers[stream].ended and h2.answers[stream].reset is None:
        room = min(h2.h2.local_flow_control_window(stream), 16 * KIB)
        if room > 0:
            h2.h2.send_data(stream, PIECE[:room])
            h2.flush()
            sent += room
        else:
            h2.read_once()
    return h2.answers[stream].code, sent
