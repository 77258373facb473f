"""What an HTTP/2 peer may announce by the rules, and what it must not cost: the frames alone."""

import struct
import tracemalloc

import h2.connection
import h2.events
import pytest
from h2.config import H2Configuration
from h2.exceptions import ProtocolError
from hyperframe import frame as frames

from addons.http2_wire import (
    CLIENT_WINDOW_BYTES,
    DRIBBLE_BYTES,
    FRAME_BYTES,
    TABLE_BYTES,
    Flood,
    StrictH2Connection,
)

HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 4, 5
HEAD = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/")]


class Pair:
    """A client and our side of its connection."""

    def __init__(self) -> None:
        self.client = h2.connection.H2Connection(H2Configuration(client_side=True, header_encoding="latin-1"))
        self.ours = StrictH2Connection(client_side=False, window_bytes=CLIENT_WINDOW_BYTES)
        self.seen: list[h2.events.Event] = []
        self.client.initiate_connection()
        self.ours.initiate_connection()
        self.talk()

    def talk(self) -> None:
        """Both ends read what the other wrote."""
        while True:
            up, down = self.client.data_to_send(), self.ours.data_to_send()
            if up:
                self.ours.receive_data(up)
            if down:
                self.seen += self.client.receive_data(down)
            if not up and not down:
                return

    def call(self) -> int:
        stream_id = self.client.get_next_available_stream_id()
        self.client.send_headers(stream_id, HEAD, end_stream=True)
        self.talk()
        return stream_id

    def announce(self, values: dict[int, int]) -> None:
        self.client.update_settings(values)  # type: ignore[arg-type]
        self.talk()

    @property
    def ended(self) -> bool:
        return any(isinstance(each, h2.events.StreamEnded) for each in self.seen)

    @property
    def came(self) -> bytes:
        return b"".join(each.data for each in self.seen if isinstance(each, h2.events.DataReceived))


def settings_frame(codes: range) -> bytes:
    body = b"".join(struct.pack(">HL", code, 1) for code in codes)
    return len(body).to_bytes(3, "big") + bytes((frames.SettingsFrame.type, 0, 0, 0, 0, 0)) + body


def test_settings_that_nobody_knows_are_not_kept() -> None:
    """400 KB of them would be kept as 54 MB for as long as the connection lives."""
    pair = Pair()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for first in range(16, 65_536, 2700):
            pair.ours.receive_data(settings_frame(range(first, min(first + 2700, 65_536))))
            pair.ours.data_to_send()
        assert tracemalloc.get_traced_memory()[0] - before < 65_536
    finally:
        tracemalloc.stop()
    pair.announce({INITIAL_WINDOW_SIZE: 7})
    assert pair.ours.remote_settings.initial_window_size == 7, "what is known counts on"


@pytest.mark.parametrize(
    ("announced", "kept"),
    [(2**31, TABLE_BYTES), (TABLE_BYTES, TABLE_BYTES), (100, 100), (0, 0)],
    ids=["a huge table is not filled", "the usual one is", "a small one is kept small", "none is none"],
)
def test_no_more_of_earlier_heads_is_remembered_than_usual(announced: int, kept: int) -> None:
    """h2 searches the whole table for every field: a large one would make each head slower than the one before."""
    pair = Pair()
    pair.announce({HEADER_TABLE_SIZE: announced})
    for number in range(20):
        stream_id = pair.call()
        fields = [(f"x-{number}-{other}", "v" * 40) for other in range(20)]
        pair.ours.send_headers(stream_id, [(":status", "200"), *fields], end_stream=True)
        pair.talk()
    answers = [each for each in pair.seen if isinstance(each, h2.events.ResponseReceived)]
    assert len(answers) == 20
    assert answers[-1].headers is not None and answers[-1].headers[-1] == ("x-19-19", "v" * 40)
    assert pair.ours.encoder.header_table._current_size <= kept


def below_zero() -> tuple[Pair, int]:
    """A response of which 1000 bytes came, and then its window was taken away."""
    pair = Pair()
    stream_id = pair.call()
    pair.ours.send_headers(stream_id, [(":status", "200")])
    pair.ours.send_data(stream_id, b"x" * 1000)
    pair.talk()
    pair.announce({INITIAL_WINDOW_SIZE: 0})
    return pair, stream_id


@pytest.mark.parametrize("after", [b"y" * 5000, b"y" * 10], ids=["much", "little"])
def test_a_window_that_new_settings_leave_below_zero_is_waited_for(after: bytes) -> None:
    """RFC 9113 §6.9.2. h2 would raise, and all calls of the connection would end."""
    pair, stream_id = below_zero()
    pair.ours.send_data(stream_id, after)
    pair.ours.end_stream(stream_id)
    pair.talk()
    assert (pair.came, pair.ended) == (b"x" * 1000, False)
    pair.client.increment_flow_control_window(1000 + len(after), stream_id)
    pair.talk()
    assert (pair.came, pair.ended) == (b"x" * 1000 + after, True)


def test_an_end_without_bytes_needs_no_window_not_even_one_above_zero() -> None:
    pair, stream_id = below_zero()
    pair.ours.send_data(stream_id, b"")
    assert pair.ours.data_to_send() == b""
    pair.ours.end_stream(stream_id)
    assert pair.ours.data_to_send() == frames.DataFrame(stream_id, b"", flags=["END_STREAM"]).serialize()


def dribbled(size: int, updates: int) -> Pair:
    """A response that a client lets out by so many bytes at a time."""
    pair = Pair()
    pair.announce({INITIAL_WINDOW_SIZE: 0})
    stream_id = pair.call()
    pair.ours.send_headers(stream_id, [(":status", "200")])
    pair.ours.send_data(stream_id, b"x" * (size * updates + 1))
    for number in range(updates):
        pair.client.increment_flow_control_window(size, stream_id)
        if number % 20 == 0 and number:
            pair.client.increment_flow_control_window(20 * size)
        pair.talk()
    return pair


def test_a_body_is_not_let_out_byte_by_byte() -> None:
    with pytest.raises(Flood):
        dribbled(1, 2000)
    assert len(dribbled(DRIBBLE_BYTES, 2000).came) == 2000 * DRIBBLE_BYTES


def test_no_larger_frames_are_written_than_read() -> None:
    """A large one that waits for a window would be copied for every byte that leaves."""
    pair = Pair()
    pair.announce({MAX_FRAME_SIZE: 2**24 - 1})
    assert pair.ours.max_outbound_frame_size == FRAME_BYTES
    stream_id = pair.call()
    pair.ours.send_headers(stream_id, [(":status", "200")])
    pair.ours.send_data(stream_id, b"x" * 100_000)
    assert max(len(chunk.data) for chunk in pair.ours.stream_buffers[stream_id]) <= FRAME_BYTES


def test_a_frame_size_that_may_not_be_is_refused() -> None:
    body = struct.pack(">HL", MAX_FRAME_SIZE, 100)
    with pytest.raises(ProtocolError):
        Pair().ours.receive_data(len(body).to_bytes(3, "big") + bytes((4, 0, 0, 0, 0, 0)) + body)
