"""HTTP/2 frames as this proxy takes them, from a client as from an origin: bounded, counted, each stream for itself.

The h2 library reads them; mitmproxy's set-up of it opens every window as far as it goes, and h2 ends the connection
for a fault that is one stream's. What is closed here: heads of many frames (CVE-2024-27316), frames that move nothing
forward (CVE-2019-9511 to 9518, CVE-2023-44487, CVE-2025-8671), and bodies that come faster than they are used.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, H2Connection
from h2.events import Event
from h2.exceptions import DenialOfServiceError, FrameTooLargeError
from h2.frame_buffer import FrameBuffer
from h2.settings import SettingCodes
from h2.stream import H2Stream
from hyperframe import frame as frames
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection

from addons.heads import HEAD_BYTES

MAX_STREAMS = 32
"""How many calls one client connection may have under way."""

CLIENT_WINDOW_BYTES = 65_535
"""What a client may send of one body before anything of it is used; a smaller window it would not know of in time."""

ORIGIN_WINDOW_BYTES = 524_288

FRAME_BYTES = 16_384
HEAD_FRAMES = 32
TABLE_BYTES = 4_096
"""What is remembered of the heads that were sent, to compress the next, however much more the peer would remember. The
whole of it is searched for every field."""
LISTED_BYTES = 2 * HEAD_BYTES
"""Header lists up to this size are read, so that one over the limit can be answered; a larger one ends it all."""

ALLOWANCE = 1000.0
"""What frames that move nothing forward may cost at once: far more than any ordinary client's."""
REFILL_PER_S = 50.0
EARNED = 2.0
"""By each frame of a body that is no dribble, either way, and by each head that is sent."""
DRIBBLE_BYTES = 1024
"""A frame shorter than this, of a body of which more waits for the peer's window, earns nothing (CVE-2019-9511)."""
COSTS: dict[type[frames.Frame], float] = {
    frames.RstStreamFrame: 5.0,
    frames.SettingsFrame: 5.0,
    frames.GoAwayFrame: 5.0,
    frames.PingFrame: 1.0,
    frames.PriorityFrame: 1.0,
    frames.WindowUpdateFrame: 1.0,
    frames.AltSvcFrame: 1.0,
    frames.ExtensionFrame: 1.0,
}


_SETTINGS = frozenset(SettingCodes)
_AT_MOST = {
    SettingCodes.HEADER_TABLE_SIZE: TABLE_BYTES,
    SettingCodes.MAX_FRAME_SIZE: FRAME_BYTES,  # what waits for a window is copied whole for every byte that may leave
}
"""What of a peer's offers is taken up; it need not be (RFC 7541 §4.2, RFC 9113 §4.2)."""


class Flood(DenialOfServiceError):
    """More than enough frames that move nothing forward."""


class LongHead(DenialOfServiceError):
    """A head of more bytes than any head may have."""


@dataclass(kw_only=True)
class GoingAway(Event):
    """The peer opens, or takes, no more streams; those it knows of may end (RFC 9113 §6.8)."""

    last_stream_id: int
    error_code: int


class Meter:
    """An allowance for frames that move nothing forward. It fills up with time, and with every frame that does."""

    def __init__(self) -> None:
        self._left, self._at_s = ALLOWANCE, time.monotonic()

    def earn(self, amount: float) -> None:
        self._left = min(ALLOWANCE, self._left + amount)

    def note(self, cost: float) -> None:
        """Spend, without asking whether there is enough."""
        self._left -= cost

    def spend(self, cost: float) -> None:
        """Spend what has been earned by now.

        Raises:
            Flood: there was not enough.
        """
        now_s = time.monotonic()
        self.earn((now_s - self._at_s) * REFILL_PER_S)
        self._at_s = now_s
        self.note(cost)
        if self._left < 0:
            raise Flood("too many frames that move nothing forward")


class BoundedFrames(FrameBuffer):
    """Bytes on their way to be a frame, frames on their way to be a head: neither grows beyond what it may be."""

    def __next__(self) -> frames.Frame:
        # h2 looks at the length of a frame when all of it has come.
        if len(self._data) >= 9 and int.from_bytes(self._data[:3], "big") > self.max_frame_size:
            raise FrameTooLargeError(f"a frame must be at most {self.max_frame_size} bytes")
        return super().__next__()

    def _update_header_buffer(self, f: frames.Frame | None) -> frames.Frame | None:
        whole = super()._update_header_buffer(f)
        parts = self._headers_buffer
        if len(parts) > HEAD_FRAMES or sum(len(part.data) for part in parts) > HEAD_BYTES:
            raise LongHead(f"a head must be at most {HEAD_BYTES} bytes, in at most {HEAD_FRAMES} frames")
        return whole

    @property
    def is_within_head(self) -> bool:
        """Whether a head has begun that is not whole, or any other frame but one of a body."""
        if self._headers_buffer:
            return True
        return bool(self._data) and (len(self._data) < 4 or self._data[3] != frames.DataFrame.type)


class StrictH2Connection(BufferedH2Connection):
    """One connection's frames. Fields and lengths of a message are not looked at: they are the stream's affair."""

    def __init__(self, *, client_side: bool, window_bytes: int) -> None:
        super().__init__(
            H2Configuration(
                client_side=client_side,
                header_encoding=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                validate_outbound_headers=client_side,
                normalize_outbound_headers=False,
            )
        )
        self.meter = Meter()
        self.frames_read = 0
        self.incoming_buffer: BoundedFrames = BoundedFrames(server=not client_side)
        self.max_inbound_frame_size = FRAME_BYTES
        self.decoder.max_header_list_size = LISTED_BYTES
        self._window_bytes = window_bytes
        self._set(
            {
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                SettingCodes.INITIAL_WINDOW_SIZE: window_bytes,
                SettingCodes.MAX_FRAME_SIZE: FRAME_BYTES,
                SettingCodes.MAX_HEADER_LIST_SIZE: HEAD_BYTES,
            }
        )

    def _set(self, values: dict[SettingCodes | int, int]) -> None:
        self.local_settings.update(values)
        self.local_settings.acknowledge()  # else h2 would announce the old ones

    def initiate_connection(self) -> None:
        """Announce our settings, and a window in which no stream can take another's place."""
        H2Connection.initiate_connection(self)
        self.increment_flow_control_window(MAX_STREAMS * self._window_bytes - self.inbound_flow_control_window)
        # h2 ends the connection for one stream too many, which a client may open before it has read our settings.
        self._set({SettingCodes.MAX_CONCURRENT_STREAMS: 8 * MAX_STREAMS})

    def _receive_settings_frame(self, frame: frames.SettingsFrame) -> tuple[list[frames.Frame], list[Event]]:
        # h2 keeps for ever what it does not know, of which there may be 65,536 (RFC 9113 §6.5.2: it is to be ignored).
        known = {code: value for code, value in frame.settings.items() if code in _SETTINGS}
        for code, most in _AT_MOST.items():
            if code in known:
                known[code] = min(known[code], most)
        frame.settings = known
        answered: tuple[list[frames.Frame], list[Event]] = super()._receive_settings_frame(frame)
        return answered

    def local_flow_control_window(self, stream_id: int) -> int:
        """What may be sent now. New settings may leave a window below zero (RFC 9113 §6.9.2), which is none."""
        return max(0, super().local_flow_control_window(stream_id))

    def send_data(  # type: ignore[override]  # it takes what mitmproxy's takes
        self, stream_id: int, data: bytes, end_stream: bool = False, pad_length: None = None
    ) -> None:
        """As mitmproxy does, but what has no bytes waits for no window, save behind others."""
        if data or (end_stream and self.stream_buffers.get(stream_id)):
            super().send_data(stream_id, data, end_stream, pad_length)
        elif end_stream:
            H2Connection.end_stream(self, stream_id)

    def stream_window_updated(self, stream_id: int) -> bool:
        """As mitmproxy does, but the empty frame that ends a stream waits for no window: it needs none."""
        sent: bool = super().stream_window_updated(stream_id)
        waiting = self.stream_buffers.get(stream_id)
        if waiting and not waiting[0].data and waiting[0].end_stream:
            del self.stream_buffers[stream_id]
            H2Connection.end_stream(self, stream_id)
        return sent

    def reset_stream(self, stream_id: int, error_code: int = 0) -> None:
        """End a stream; one that has ended already, perhaps in this very batch of frames, stays as it is."""
        self.stream_trailers.pop(stream_id, None)
        stream = self.streams.get(stream_id)
        if stream is not None and not stream.closed:
            super().reset_stream(stream_id, error_code)

    def _receive_frame(self, frame: frames.Frame) -> list[Event]:
        self.frames_read += 1
        if isinstance(frame, frames.DataFrame) and not frame.data and "END_STREAM" not in frame.flags:
            self.meter.spend(1.0)
        elif isinstance(frame, frames.DataFrame):
            self.meter.earn(EARNED)
        self.meter.spend(COSTS.get(type(frame), 0.0))
        return super()._receive_frame(frame)

    def _prepare_for_sending(self, frames_out: Sequence[frames.Frame]) -> None:
        for frame in frames_out:
            if isinstance(frame, frames.RstStreamFrame):
                self.meter.note(COSTS[frames.RstStreamFrame])
            elif isinstance(frame, frames.HeadersFrame):
                self.meter.earn(EARNED)
            elif isinstance(frame, frames.DataFrame):
                dribbles = len(frame.data) < DRIBBLE_BYTES and self.stream_buffers.get(frame.stream_id)
                self.meter.earn(0.0 if dribbles else EARNED)
        super()._prepare_for_sending(list(frames_out))

    def _receive_goaway_frame(self, frame: frames.GoAwayFrame) -> tuple[list[frames.Frame], list[Event]]:
        # h2 would forget what is to be sent, and take nothing more.
        return [], [GoingAway(last_stream_id=frame.last_stream_id, error_code=frame.error_code)]

    def _begin_new_stream(self, stream_id: int, allowed_ids: AllowedStreamIDs) -> H2Stream:
        stream = super()._begin_new_stream(stream_id, allowed_ids)
        # h2 would end the connection for a body that is not as long as its head says.
        stream._initialize_content_length = _not_looked_at  # type: ignore[method-assign]
        return stream


def _not_looked_at(headers: object) -> None:
    """In place of h2's look at Content-Length."""
