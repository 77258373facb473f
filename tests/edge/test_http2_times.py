"""Over HTTP/2, too, what a connection waits for has its time, and a body comes no faster than it is used: the layers
alone, with a clock that the test moves."""

from collections.abc import Iterator

import h2.connection
import h2.events
import pytest
from h2.config import H2Configuration
from hyperframe import frame as frames
from layer_bench import Bench
from mitmproxy.http import Headers, Response
from mitmproxy.proxy.layers.http._events import (
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
)
from mitmproxy.test.tutils import treq

from addons.http2 import BodyFault, StrictHttp2Server, Unhurried
from addons.http2_client import StrictHttp2Client
from addons.http2_side import FULL_CHUNKS, Taken
from addons.http2_wire import CLIENT_WINDOW_BYTES, FRAME_BYTES
from proxy.core.errors import Code

HEAD = [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/")]


class Peer:
    """The other end of the bench's connection."""

    def __init__(self, bench: Bench, *, client_side: bool) -> None:
        self.bench = bench
        self.h2 = h2.connection.H2Connection(H2Configuration(client_side=client_side, header_encoding="latin-1"))
        self.h2.initiate_connection()
        self.seen: list[h2.events.Event] = []
        self.talk()

    def talk(self) -> None:
        """Both ends read what the other wrote."""
        while data := self.h2.data_to_send():
            self.bench.data(data)
            self.seen += self.h2.receive_data(self.bench.sent)

    def hear(self) -> None:
        self.seen += self.h2.receive_data(self.bench.sent)
        self.talk()

    def got[T: h2.events.Event](self, kind: type[T]) -> list[T]:
        return [each for each in self.seen if isinstance(each, kind)]


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Bench, Peer]]:
    """The agent's side of a connection."""
    with monkeypatch.context() as patch:
        bench = Bench(lambda context: StrictHttp2Server(context, under_way=lambda: 0), patch)
        yield bench, Peer(bench, client_side=True)


@pytest.fixture
def origin(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Bench, Peer]]:
    """The origin's side, a call under way."""
    with monkeypatch.context() as patch:
        bench = Bench(StrictHttp2Client, patch)
        peer = Peer(bench, client_side=False)
        send(bench, 7)
        peer.hear()
        yield bench, peer


def send(bench: Bench, stream_id: int, *, ends: bool = True) -> None:
    request = treq(method=b"POST", scheme=b"https", content=b"", headers=Headers([(b"Host", b"a")]))
    bench.give(RequestHeaders(stream_id, request, ends))
    if ends:
        bench.give(RequestEndOfMessage(stream_id))


def begin(peer: Peer, *, body: bytes | None = b"") -> int:
    """A call whose body is on its way; None: it has none."""
    stream_id = peer.h2.get_next_available_stream_id()
    peer.h2.send_headers(stream_id, HEAD, end_stream=body is None)
    if body:
        peer.h2.send_data(stream_id, body)
    peer.talk()
    return stream_id


def response() -> Response:
    return Response(b"HTTP/1.1", 200, b"", Headers(), None, None, 0, 0)


def answer(bench: Bench, stream_id: int) -> None:
    bench.give(ResponseHeaders(stream_id, response(), True))
    bench.give(ResponseEndOfMessage(stream_id))


# --- heads -----------------------------------------------------------------------------------------------------------

BEGUN = {
    "one byte of a frame": b"\0",
    "a frame's head": frames.HeadersFrame(1, b"x" * 10, flags=["END_HEADERS"]).serialize()[:9],
    "all but the last byte": frames.HeadersFrame(1, b"\x82" * 10, flags=["END_HEADERS"]).serialize()[:-1],
    "all but the last frame": frames.HeadersFrame(1, b"\x82", flags=[]).serialize(),
}


@pytest.mark.parametrize("name", BEGUN)
def test_a_head_that_has_begun_has_ten_seconds(agent: tuple[Bench, Peer], name: str) -> None:
    bench, _ = agent
    bench.data(BEGUN[name])
    bench.pass_time(9.9)
    assert (bench.refused, bench.closed) == ([], False)
    bench.pass_time(0.2)
    assert (bench.refused, bench.closed) == ([Code.REQUEST_TIMEOUT], True)


def test_a_byte_now_and_then_does_not_stretch_the_time_of_a_head(agent: tuple[Bench, Peer]) -> None:
    bench, _ = agent
    for byte in BEGUN["all but the last byte"][:11]:
        bench.data(bytes([byte]))
        bench.pass_time(1)
    assert bench.refused == [Code.REQUEST_TIMEOUT]


def test_a_head_in_time_ends_its_deadline(agent: tuple[Bench, Peer]) -> None:
    bench, peer = agent
    peer.h2.send_headers(1, HEAD, end_stream=True)
    data = peer.h2.data_to_send()
    bench.data(data[:5])
    bench.pass_time(9)
    bench.data(data[5:])
    bench.pass_time(4000)
    assert len(bench.told(RequestHeaders)) == 1
    assert (bench.refused, bench.closed) == ([], False), "a verdict, a review and an origin may take their time"


def test_a_response_head_that_has_begun_has_thirty_seconds(origin: tuple[Bench, Peer]) -> None:
    bench, _ = origin
    bench.pass_time(4000)
    assert not bench.told(ResponseProtocolError), "how long it thinks is the caller's affair"
    bench.data(frames.HeadersFrame(1, b"\x88", flags=[]).serialize())
    bench.pass_time(29.9)
    assert not bench.told(ResponseProtocolError)
    bench.pass_time(0.2)
    assert bench.closed
    assert [each.stream_id for each in bench.told(ResponseProtocolError)] == [7]


def test_an_origin_that_never_says_how_many_calls_it_takes_has_thirty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(StrictHttp2Client, monkeypatch)
    assert isinstance(bench.layer, StrictHttp2Client)
    bench.pass_time(29.9)
    assert not bench.closed
    assert not bench.layer.takes_another
    bench.pass_time(0.2)
    assert bench.closed


# --- idle connections ------------------------------------------------------------------------------------------------


def test_a_connection_without_a_call_is_ended_after_75_seconds_whatever_it_pings(agent: tuple[Bench, Peer]) -> None:
    bench, peer = agent
    answer(bench, begin(peer, body=None))
    for _ in range(7):
        bench.pass_time(10)
        peer.h2.ping(b"12345678")
        peer.talk()
        assert not bench.closed
    bench.pass_time(10)
    assert bench.closed
    peer.hear()
    (goaway,) = peer.got(h2.events.ConnectionTerminated)
    assert (goaway.error_code, goaway.last_stream_id) == (0, 1)


def test_a_connection_that_is_to_end_takes_its_leave_and_serves_what_is_under_way(agent: tuple[Bench, Peer]) -> None:
    bench, peer = agent
    first, second = begin(peer, body=None), begin(peer, body=None)
    last = response()
    last.headers["Connection"] = "close"
    bench.give(ResponseHeaders(first, last, True))
    bench.give(ResponseEndOfMessage(first))
    farewell = frames.GoAwayFrame(0, last_stream_id=2**31 - 1).serialize()
    sent = bench.sent
    assert sent.endswith(farewell) and b"connection" not in sent
    assert not bench.closed
    answer(bench, second)
    assert bench.sent.count(farewell) == 0
    assert bench.closed


def test_an_answer_that_its_client_does_not_take_keeps_no_connection_for_ever(agent: tuple[Bench, Peer]) -> None:
    bench, peer = agent
    stream_id = begin(peer, body=None)
    bench.give(ResponseHeaders(stream_id, response(), False))
    bench.give(ResponseData(stream_id, b"x" * (65_535 + 1000)))
    bench.give(ResponseEndOfMessage(stream_id))
    peer.hear()
    for _ in range(3):
        bench.pass_time(70)
        assert not bench.closed, "it takes it slowly"
        peer.h2.increment_flow_control_window(10)
        peer.h2.increment_flow_control_window(10, stream_id)
        peer.talk()
    for _ in range(7):
        bench.pass_time(10)
        peer.h2.ping(b"12345678")
        peer.talk()
    assert not bench.closed
    bench.pass_time(10)
    assert bench.closed


def test_a_connection_with_a_call_under_way_is_not_idle(agent: tuple[Bench, Peer]) -> None:
    bench, peer = agent
    begin(peer, body=None)
    bench.pass_time(4000)
    assert not bench.closed


def test_many_calls_leave_few_wakeups_pending(agent: tuple[Bench, Peer]) -> None:
    bench, peer = agent
    for _ in range(300):
        answer(bench, begin(peer, body=None))
        peer.hear()
        bench.pass_time(0.05)
    assert len(bench.pending) <= 10
    assert isinstance(bench.layer, StrictHttp2Server)
    assert not bench.layer.streams


# --- bodies ----------------------------------------------------------------------------------------------------------


def test_a_body_that_trickles_is_ended_within_its_time_and_no_other(agent: tuple[Bench, Peer]) -> None:
    bench, peer = agent
    slow = begin(peer)
    bench.pass_time(30)
    later = begin(peer)
    for _ in range(31):
        peer.h2.send_data(slow, b"x")
        peer.talk()
        bench.pass_time(1)
    (fault,) = bench.told(BodyFault)
    assert (fault.stream_id, fault.code) == (slow, Code.REQUEST_TIMEOUT)
    peer.h2.send_data(later, b"in time", end_stream=True)
    peer.talk()
    assert [each.stream_id for each in bench.told(RequestEndOfMessage)] == [later]
    assert not bench.closed


def test_a_body_that_comes_at_a_fair_pace_is_read_on(agent: tuple[Bench, Peer]) -> None:
    bench, peer = agent
    stream_id = begin(peer)
    for _ in range(3 * 80):
        peer.h2.send_data(stream_id, b"x" * FRAME_BYTES)
        peer.talk()
        bench.give(Taken(stream_id, FRAME_BYTES))
        peer.hear()
        bench.pass_time(0.7)
    assert not bench.told(BodyFault)


def test_a_body_that_is_handed_on_as_it_comes_may_take_its_time(agent: tuple[Bench, Peer]) -> None:
    bench, peer = agent
    stream_id = begin(peer)
    bench.give(Unhurried(stream_id))
    bench.pass_time(4000)
    peer.h2.send_data(stream_id, b"at last", end_stream=True)
    peer.talk()
    assert not bench.told(BodyFault)
    assert len(bench.told(RequestEndOfMessage)) == 1


# --- windows ---------------------------------------------------------------------------------------------------------


def test_a_client_may_send_no_more_of_a_body_than_is_used(agent: tuple[Bench, Peer]) -> None:
    bench, peer = agent
    one, other = begin(peer), begin(peer)
    for stream_id in (one, other):
        for size in (FRAME_BYTES, FRAME_BYTES, FRAME_BYTES, CLIENT_WINDOW_BYTES - 3 * FRAME_BYTES):
            peer.h2.send_data(stream_id, b"x" * size)
    peer.talk()
    assert peer.h2.local_flow_control_window(one) == 0
    bench.give(Taken(one, 40_000))
    peer.hear()
    assert peer.h2.local_flow_control_window(one) == 40_000
    assert peer.h2.local_flow_control_window(other) == 0, "each stream has a window of its own"
    assert sum(len(each.data) for each in bench.told(RequestData)) == 2 * CLIENT_WINDOW_BYTES


def test_every_stream_may_fill_its_window_while_none_is_used(agent: tuple[Bench, Peer]) -> None:
    bench, peer = agent
    for _ in range(32):
        stream_id = begin(peer)
        for size in (FRAME_BYTES, FRAME_BYTES, FRAME_BYTES, CLIENT_WINDOW_BYTES - 3 * FRAME_BYTES):
            peer.h2.send_data(stream_id, b"x" * size)
        peer.talk()
    assert not bench.closed
    assert sum(len(each.data) for each in bench.told(RequestData)) == 32 * CLIENT_WINDOW_BYTES


def test_what_nobody_uses_any_more_goes_back_to_the_connection(agent: tuple[Bench, Peer]) -> None:
    bench, peer = agent
    stream_id = begin(peer, body=b"x" * FRAME_BYTES)
    before = peer.h2.outbound_flow_control_window
    peer.h2.reset_stream(stream_id)
    peer.talk()
    bench.give(Taken(stream_id, FRAME_BYTES))
    for _ in range(70):  # the library tells only of larger parts
        other = begin(peer, body=b"x" * FRAME_BYTES)
        bench.give(Taken(other, FRAME_BYTES))
        answer(bench, other)
        peer.hear()
    assert peer.h2.outbound_flow_control_window > before - 70 * FRAME_BYTES


def test_what_waits_for_the_peers_window_is_told_and_leaves_in_order(agent: tuple[Bench, Peer]) -> None:
    bench, peer = agent
    stream_id = begin(peer, body=None)
    assert isinstance(bench.layer, StrictHttp2Server)
    bench.give(ResponseHeaders(stream_id, response(), False))
    sent = 0
    while not bench.layer.is_full(stream_id):
        bench.give(ResponseData(stream_id, b"x" * FRAME_BYTES))
        sent += FRAME_BYTES
    assert sent >= FULL_CHUNKS * FRAME_BYTES
    bench.give(ResponseTrailers(stream_id, Headers([(b"grpc-status", b"0")])))
    bench.give(ResponseEndOfMessage(stream_id))
    while not peer.got(h2.events.StreamEnded):
        peer.hear()
        came = sum(len(each.data) for each in peer.got(h2.events.DataReceived))
        assert not peer.got(h2.events.TrailersReceived) or came == sent
        peer.h2.increment_flow_control_window(FRAME_BYTES)
        peer.h2.increment_flow_control_window(FRAME_BYTES, stream_id)
        peer.talk()
    assert not bench.layer.is_full(stream_id)
    assert not bench.layer.streams


def test_the_end_of_a_body_needs_no_window(agent: tuple[Bench, Peer]) -> None:
    """RFC 9113 §6.9.1. mitmproxy keeps it back until the window opens once more, which a client need not do."""
    bench, peer = agent
    stream_id = begin(peer, body=None)
    bench.give(ResponseHeaders(stream_id, response(), False))
    bench.give(ResponseData(stream_id, b"x" * (65_535 + 1000)))
    bench.give(ResponseEndOfMessage(stream_id))
    peer.hear()
    assert not peer.got(h2.events.StreamEnded)
    peer.h2.increment_flow_control_window(1000)
    peer.h2.increment_flow_control_window(1000, stream_id)
    peer.talk()
    assert peer.got(h2.events.StreamEnded)


def test_a_reset_with_everything_else_in_one_breath_is_heard(agent: tuple[Bench, Peer]) -> None:
    bench, peer = agent
    peer.h2.send_headers(1, HEAD)
    peer.h2.send_data(1, b"x", end_stream=True)
    peer.h2.reset_stream(1)
    peer.talk()
    assert [each.stream_id for each in bench.told(RequestProtocolError)] == [1]


def test_an_origin_may_send_no_more_than_is_used(origin: tuple[Bench, Peer]) -> None:
    bench, peer = origin
    peer.h2.send_headers(1, [(":status", "200")])
    for _ in range(16):
        peer.h2.send_data(1, b"x" * FRAME_BYTES)
    peer.talk()
    before = peer.h2.local_flow_control_window(1)
    bench.give(Taken(7, 16 * FRAME_BYTES))
    peer.hear()
    assert peer.h2.local_flow_control_window(1) == before + 16 * FRAME_BYTES
    assert [each.stream_id for each in bench.told(ResponseHeaders)] == [7], "our stream's id, not the wire's"
