"""What a connection waits for has its time: the layers alone, with a clock that the test moves."""

import re
from collections.abc import Iterator

import pytest
from layer_bench import Bench
from mitmproxy.http import Headers, Response
from mitmproxy.proxy.layers.http._events import (
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.test.tutils import treq

from addons.heads import HEAD_BYTES, Head, HeadFault
from addons.http1 import StrictHttp1Server, UnwantedBody
from addons.http1_client import StrictHttp1Client
from proxy.core.errors import Code

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n"


def answer(bench: Bench) -> None:
    assert isinstance(bench.layer, StrictHttp1Server)
    response = Response.make(200, b"", Headers(Content_Length="0"))
    bench.give(ResponseHeaders(bench.layer.stream_id, response, True))
    bench.give(ResponseEndOfMessage(bench.layer.stream_id))


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The agent's side of a connection."""
    with monkeypatch.context() as patch:
        yield Bench(StrictHttp1Server, patch)


@pytest.fixture
def origin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The origin's side, a request under way."""
    with monkeypatch.context() as patch:
        bench = Bench(StrictHttp1Client, patch)
        bench.give(RequestHeaders(1, treq(method=b"GET", content=b""), True))
        bench.give(RequestEndOfMessage(1))
        yield bench


@pytest.mark.parametrize("begin", [b"\r\n", b"G", HEAD[:-2]], ids=["an empty line", "one byte", "all but the end"])
def test_a_head_that_has_begun_has_ten_seconds(agent: Bench, begin: bytes) -> None:
    agent.data(begin)
    agent.pass_time(9.9)
    assert agent.refused == []
    agent.pass_time(0.2)
    assert agent.refused == [Code.REQUEST_TIMEOUT]


def test_a_byte_now_and_then_does_not_stretch_the_time_of_a_head(agent: Bench) -> None:
    for byte in HEAD[:11]:
        agent.data(bytes([byte]))
        agent.pass_time(1)
    assert agent.refused == [Code.REQUEST_TIMEOUT]


def test_a_head_in_time_ends_its_deadline(agent: Bench) -> None:
    agent.data(HEAD[:5])
    agent.pass_time(9)
    agent.data(HEAD[5:])
    agent.pass_time(4000)
    assert len(agent.told(RequestHeaders)) == 1
    assert (agent.refused, agent.closed) == ([], False), "a verdict, a review and an origin may take their time"


def test_a_connection_without_a_request_is_ended_after_75_seconds(agent: Bench) -> None:
    agent.data(HEAD)
    answer(agent)
    agent.pass_time(74)
    agent.data(HEAD)
    answer(agent)
    agent.pass_time(74)
    assert not agent.closed
    agent.pass_time(2)
    assert agent.closed
    assert agent.refused == []


def test_many_requests_leave_few_wakeups_pending(agent: Bench) -> None:
    for _ in range(500):
        agent.data(HEAD[:5])
        agent.data(HEAD[5:])
        answer(agent)
        agent.pass_time(0.05)
    assert len(agent.pending) <= 10


def test_a_body_that_trickles_is_ended_within_its_time(agent: Bench) -> None:
    agent.data(POST)
    for _ in range(61):
        agent.data(b"x")
        agent.pass_time(1)
    assert agent.refused == [Code.REQUEST_TIMEOUT]
    assert len(agent.told(RequestProtocolError)) == 1, "the stream does not wait for the rest"
    agent.pass_time(3)
    assert agent.closed


def test_a_body_that_comes_at_a_fair_pace_is_read_on(agent: Bench) -> None:
    agent.data(POST)
    for _ in range(8):
        agent.data(b"x" * 1_048_576)
        agent.pass_time(50)
    assert agent.refused == []
    agent.data(b"x" * (9_000_000 - 8 * 1_048_576))
    assert len(agent.told(RequestEndOfMessage)) == 1


def test_a_body_nobody_wants_has_ten_seconds(agent: Bench) -> None:
    agent.data(POST)
    agent.give(UnwantedBody(1))
    agent.pass_time(9.9)
    assert agent.refused == []
    agent.pass_time(0.2)
    assert agent.refused == [Code.REQUEST_TIMEOUT]


def test_a_word_about_an_earlier_body_does_not_hurry_the_next(agent: Bench) -> None:
    agent.data(HEAD)
    agent.give(UnwantedBody(1))
    answer(agent)
    agent.data(POST)
    agent.give(UnwantedBody(1))
    agent.pass_time(20)
    assert agent.refused == []


def test_the_eighth_empty_line_before_a_request_is_ignored_and_the_ninth_is_refused(agent: Bench) -> None:
    agent.data(b"\r\n" * 8 + HEAD)
    assert len(agent.told(RequestHeaders)) == 1
    answer(agent)
    agent.data(b"\r\n" * 9)
    assert agent.refused == [Code.REQUEST_MALFORMED]


def test_a_response_head_that_has_begun_has_thirty_seconds(origin: Bench) -> None:
    origin.pass_time(4000)
    assert not origin.told(ResponseProtocolError), "how long it thinks is the caller's affair"
    origin.data(b"HTTP/1.1 2")
    origin.pass_time(29.9)
    assert not origin.told(ResponseProtocolError)
    origin.pass_time(0.2)
    assert origin.closed
    assert len(origin.told(ResponseProtocolError)) == 1


def test_a_response_head_in_time_ends_its_deadline(origin: Bench) -> None:
    origin.data(b"HTTP/1.1 102 Processing\r\n\r\n")
    origin.pass_time(4000)
    origin.data(b"HTTP/1.1 200 OK\r\n")
    origin.pass_time(29)
    origin.data(b"Content-Length: 5\r\n\r\n")
    origin.pass_time(4000)
    assert len(origin.told(ResponseHeaders)) == 1
    assert not origin.told(ResponseProtocolError)


class Counting(bytearray):
    """Counts the bytes that searching it touches."""

    searched = 0

    def find(self, sub: bytes, start: int = 0, end: int | None = None) -> int:  # type: ignore[override]
        Counting.searched += len(self) - start
        return super().find(sub, start)


def test_a_head_in_single_bytes_is_searched_once() -> None:
    head = Head(re.compile(rb".*"), "anything")
    head._data = Counting()
    text = b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 20_000 + b"\r\n\r\n"
    whole = [head.add(text[at : at + 1]) for at in range(len(text))]
    assert whole == [False] * (len(text) - 1) + [True]
    assert head.take() == (text, b"")
    assert Counting.searched < 4 * len(text)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000, 70_000])
def test_a_head_is_read_alike_in_pieces_of_any_size(size: int) -> None:
    pattern = re.compile(rb"[A-Z]+")
    good, rest = b"FIRST\r\nX: a\tb\r\nY: \xe9\r\n\r\n", b"rest\0\r\n\r\n"
    head, at = Head(pattern, "letters"), 0
    while not head.add((good + rest)[at : at + size]):
        at += size
    taken, after = head.take()
    assert taken == good
    assert rest.startswith(after)
    for bad in (
        b"FIRST\nX: a\r\n\r\n",
        b"FIRST\r\n X\r\n\r\n",
        b"FIRST\r\nX: a\rb\r\n\r\n",
        b"x" * (HEAD_BYTES + 1),
        b"\r\n",
    ):
        head = Head(pattern, "letters")
        with pytest.raises(HeadFault):
            for at in range(0, len(bad), size):
                head.add(bad[at : at + size])
