"""Responses pass as they come: the first event of a stream is there before the origin has sent the second."""

from collections.abc import Callable, Iterator, Sequence

import pytest
from h2client import fields, open_http2
from h2origin import Reply2
from h2towns import Http2Town
from origin_replies import Gate, Reply
from rawclient import Wire, request_bytes
from towns import Town

FIRST, LAST = b"event: begun\ndata: one\n\n", b"data: three\n\n"
MIDDLE = b": \xc3\xa9 comment\r\nid: 2\r\ndata: " + bytes(range(32, 127)) * 700 + b"\r\ndata:\r\n\r\n"
"""Larger than what is read at once, with every end of line there is."""
TYPE = ("Content-Type", "text/event-stream")
PATH = "/v1/invoices/events"


@pytest.fixture
def gates() -> Iterator[tuple[Gate, Gate]]:
    gates = (Gate(), Gate())
    yield gates
    for gate in gates:
        gate.open()


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_each_event_is_there_before_the_next_is_sent(town: Town, way: str, gates: tuple[Gate, Gate]) -> None:
    origin, (first, second) = town.origin(way), gates
    origin.on("GET", PATH, Reply(headers=(TYPE,), stream=(FIRST, first, MIDDLE, second, LAST)))
    url = town.url(way, PATH)
    lines = town.house.signed("GET", url, chain=town.house.chain())
    with town.house.open(url) as wire:
        wire.send(request_bytes("GET", url if way == "plain" else PATH, (("Host", url.split("/")[2]), *lines)))
        assert wire.head()[0] == 200
        _in_turn(lambda size: _chunks(wire, size), first, second)
        assert wire.chunk() == b""


def _chunks(wire: Wire, size: int) -> bytes:
    """So much of a body; the origin's chunks may have been cut differently."""
    data = b""
    while len(data) < size:
        data += wire.chunk()
    return data


@pytest.mark.parametrize("over", ["h1", "h2"])
def test_each_event_is_there_before_the_next_is_sent_over_http2(
    http2_town: Http2Town, over: str, gates: tuple[Gate, Gate]
) -> None:
    town, (first, second) = http2_town, gates
    events: Sequence[bytes | Gate] = (FIRST, first, MIDDLE, second, LAST)
    town.h1.on("GET", PATH, Reply(headers=(TYPE,), stream=events))
    town.h2.on(PATH, Reply2(headers=((b"content-type", b"text/event-stream"),), body=events))
    url = town.url(PATH, over=over)
    with open_http2(town.house, url) as h2:
        stream = h2.send(fields(town.house, "GET", url, chain=town.chain()))
        seen = 0

        def take(size: int) -> bytes:
            nonlocal seen
            h2.until(lambda: len(h2.answers[stream].body) >= seen + size)
            data = bytes(h2.answers[stream].body[seen:])
            seen += len(data)
            return data

        _in_turn(take, first, second)
        assert h2.answer(stream).header("content-type") == "text/event-stream"
        assert h2.answer(stream).reset is None


def _in_turn(take: Callable[[int], bytes], first: Gate, second: Gate) -> None:
    """Each event whole, and unchanged, while the origin stands at the gate behind it."""
    assert take(len(FIRST)) == FIRST
    first.open()
    assert take(len(MIDDLE)) == MIDDLE
    second.open()
    assert take(len(LAST)) == LAST
