"""HTTP/2 as this proxy reads it from clients: each call for itself, so that what is refused hurts no other.

A head or body that is not accepted is answered on its own stream; only frames that break the rules, a head without an
end, or a flood of frames that move nothing end the connection. Times and sizes are those of HTTP/1.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.stream import StreamState as H2StreamState
from hyperframe.frame import GoAwayFrame
from mitmproxy import http
from mitmproxy.proxy import commands
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http._base import HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    RequestTrailers,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._http2 import StreamState

from addons.heads import HOP_BY_HOP, HeadFault
from addons.http1 import (
    BODY_STEP_BYTES,
    BODY_TIMEOUT_S,
    HEAD_TIMEOUT_S,
    IDLE_TIMEOUT_S,
    Commands,
    RefusedHead,
    RefusedHeadHook,
)
from addons.http2_heads import read_request_head
from addons.http2_side import Http2Side
from addons.http2_wire import CLIENT_WINDOW_BYTES, MAX_STREAMS, LongHead, StrictH2Connection
from addons.translate import undecided
from proxy.core.errors import Code


class RefusedHeaders(RequestHeaders):
    """A head that is no request, for its stream to refuse."""

    def __init__(self, stream_id: int, detail: str, *, end_stream: bool) -> None:
        super().__init__(stream_id, http.Request.make("GET", "http://refused.invalid/"), end_stream)
        self.detail = detail


class BodyFault(HttpEvent):
    """The body of a request will never be whole: its stream refuses the call."""

    def __init__(self, stream_id: int, code: Code, detail: str) -> None:
        self.stream_id = stream_id
        self.code = code
        self.detail = detail


class Unhurried(HttpEvent):
    """The stream's word to its connection: this body is handed on as it comes, and may take its time."""

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id


@dataclass(slots=True)
class Body:
    """A request's body that is on its way; `bytes` of it have come."""

    since_s: float  # when the part of it that is on its way now began
    declared_bytes: int | None
    bytes: int = 0
    unhurried: bool = False

    def add(self, size: int) -> None:
        """More came; each `BODY_STEP_BYTES` has its time."""
        before, self.bytes = self.bytes, self.bytes + size
        if before // BODY_STEP_BYTES != self.bytes // BODY_STEP_BYTES:
            self.since_s = time.monotonic()

    @property
    def due_s(self) -> float | None:
        return None if self.unhurried else self.since_s + BODY_TIMEOUT_S


class StrictHttp2Server(Http2Side):
    """The client side of one HTTP/2 connection. `under_way` tells how many calls of it have not ended."""

    ReceiveProtocolError = RequestProtocolError
    ReceiveData = RequestData
    ReceiveTrailers = RequestTrailers
    ReceiveEndOfMessage = RequestEndOfMessage

    def __init__(self, context: Context, under_way: Callable[[], int]) -> None:
        wire = StrictH2Connection(client_side=False, window_bytes=CLIENT_WINDOW_BYTES)
        super().__init__(context, context.client, wire)
        self._under_way = under_way
        self._bodies: dict[int, Body] = {}
        self._answered: set[int] = set()  # whose response is whole, though perhaps not sent
        self._head_from: tuple[int, float] | None = None  # frames read before it, and when it began
        self._idle_since_s: float | None = time.monotonic()
        self._waiting_bytes = 0  # of answers that are whole, for the client's window

    # --- from the client ---------------------------------------------------------------------------------------------

    def handle_h2_event(self, event: Event | ProtocolError) -> CommandGenerator[bool]:
        match event:
            case RequestReceived():
                yield from self._receive_head(event)
                return False
            case StreamEnded():
                yield from self._receive_end(event.stream_id)
                return False
            case StreamReset():
                self._bodies.pop(event.stream_id, None)
        return (yield from super().handle_h2_event(event))

    def _receive_head(self, event: RequestReceived) -> Commands:
        stream_id, end_stream = event.stream_id, event.stream_ended is not None
        assert stream_id is not None
        if max(self._under_way(), len(self.streams)) >= MAX_STREAMS:
            self.h2_conn.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        self.streams[stream_id] = StreamState.HEADERS_RECEIVED
        try:
            request = read_request_head(event.headers or (), ends=end_stream)
        except HeadFault as fault:
            detail = f"the request head was not accepted: {fault.detail}"
            yield ReceiveHttp(RefusedHeaders(stream_id, detail, end_stream=end_stream))
            return
        if not end_stream:
            length = request.headers.get("content-length")
            self._bodies[stream_id] = Body(time.monotonic(), int(length) if length else None)
        yield ReceiveHttp(RequestHeaders(stream_id, request, end_stream))

    def _receive_body(self, event: DataReceived) -> CommandGenerator[bool]:
        body = self._bodies.get(event.stream_id)
        if body is not None:
            body.add(len(event.data))
            if body.declared_bytes is not None and body.bytes > body.declared_bytes:
                del self._bodies[event.stream_id]
                yield from self._body_fault(event.stream_id, body)
                return False
        return (yield from super()._receive_body(event))

    def _receive_end(self, stream_id: int) -> Commands:
        """mitmproxy would forget the stream if a reset came in the same breath, and send the call all the same."""
        body = self._bodies.pop(stream_id, None)
        if body is not None and body.declared_bytes not in (None, body.bytes):
            yield from self._body_fault(stream_id, body)
        elif stream_id in self.streams:
            yield ReceiveHttp(RequestEndOfMessage(stream_id))

    def _body_fault(self, stream_id: int, body: Body) -> Commands:
        detail = f"Content-Length says {body.declared_bytes} bytes, the body has {body.bytes} or more"
        yield ReceiveHttp(BodyFault(stream_id, Code.REQUEST_MALFORMED, detail))

    def _broken(self, fault: ProtocolError) -> Commands:
        code = Code.REQUEST_TOO_LARGE if isinstance(fault, LongHead) else Code.REQUEST_MALFORMED
        yield RefusedHeadHook(RefusedHead(self.context.client, code, _told(fault)))
        yield from super()._broken(fault)

    # --- to the client -----------------------------------------------------------------------------------------------

    def _send(self, event: HttpEvent) -> Commands:
        match event:
            case ResponseHeaders():
                self._send_head(event.stream_id, event.response, end_stream=event.end_stream)
                if event.response.headers.get("connection") == "close":
                    yield from self._leave()
            case ResponseProtocolError():
                self._give_up(event)
            case Unhurried():
                if event.stream_id in self._bodies:
                    self._bodies[event.stream_id].unhurried = True
            case _:
                yield from super()._send(event)
                if isinstance(event, ResponseEndOfMessage):
                    self._answered.add(event.stream_id)

    def _send_head(self, stream_id: int, response: http.Response, *, end_stream: bool) -> None:
        if self.is_open_for_us(stream_id):
            fields = ((name.lower(), value) for name, value in response.headers.fields)
            kept = [(name, value.strip(b" \t")) for name, value in fields if name not in HOP_BY_HOP]
            status = (b":status", b"%d" % response.status_code)
            self.h2_conn.send_headers(stream_id, [status, *kept], end_stream=end_stream)

    def _leave(self) -> Commands:
        """Ask the client for no new calls here (RFC 9113 §6.8); those under way are served, and then it ends."""
        if not self._leaving:
            self._leaving = True
            yield from self._flush()
            yield commands.SendData(self.conn, GoAwayFrame(0, last_stream_id=2**31 - 1).serialize())

    def _give_up(self, event: ResponseProtocolError) -> None:
        """No response, or no whole one: say so, as far as it can be said. The stream has mostly answered itself."""
        stream_id = event.stream_id
        if self.is_closed(stream_id):
            self._answered.add(stream_id)
        elif self.h2_conn.streams[stream_id].state_machine.headers_sent or not self.is_open_for_us(stream_id):
            cancelled = event.code in (ErrorCode.CANCEL, ErrorCode.CLIENT_DISCONNECTED)
            self.h2_conn.reset_stream(stream_id, ErrorCodes.CANCEL if cancelled else ErrorCodes.INTERNAL_ERROR)
            self._answered.add(stream_id)
        else:
            answer = undecided()
            self._send_head(stream_id, answer, end_stream=False)
            self.h2_conn.send_data(stream_id, answer.raw_content or b"")
            self.h2_conn.end_stream(stream_id)
            self._answered.add(stream_id)

    # --- times -------------------------------------------------------------------------------------------------------

    def _afterwards(self) -> Commands:
        self._forget_answered()
        yield from self._flush()
        yield from super()._afterwards()
        if self.has_ended:
            return
        now_s = time.monotonic()
        self._note_head(now_s)
        self._note_idle(now_s)
        if dues := self._dues():
            yield from self._alarm.set(min(dues))
        else:
            self._alarm.clear()

    def _forget_answered(self) -> None:
        """A call whose response is sent has ended; what is left of its body nobody wants (RFC 9113 §8.1)."""
        for stream_id in tuple(self._answered):
            state = self.state_of(stream_id)
            if state is H2StreamState.HALF_CLOSED_LOCAL:
                self.h2_conn.reset_stream(stream_id, ErrorCodes.NO_ERROR)
            elif state is not H2StreamState.CLOSED:
                continue  # it waits for the client's window
            self._answered.discard(stream_id)
            self._bodies.pop(stream_id, None)
            self.streams.pop(stream_id, None)

    def _note_idle(self, now_s: float) -> None:
        """Idle is who has no call under way, also while whole answers wait that it does not take."""
        buffers = self.h2_conn.stream_buffers
        waiting = sum(len(chunk.data) for each in self._answered for chunk in buffers.get(each, ()))
        if self.streams.keys() - self._answered:
            self._idle_since_s = None
        elif self._idle_since_s is None or waiting != self._waiting_bytes:
            self._idle_since_s = now_s
        self._waiting_bytes = waiting

    def _note_head(self, now_s: float) -> None:
        if not self.h2_conn.incoming_buffer.is_within_head:
            self._head_from = None
        elif self._head_from is None or self._head_from[0] != self.h2_conn.frames_read:
            self._head_from = (self.h2_conn.frames_read, now_s)

    def _dues(self) -> list[float]:
        dues = [body.due_s for body in self._bodies.values() if body.due_s is not None]
        if self._head_from is not None:
            dues.append(self._head_from[1] + HEAD_TIMEOUT_S)
        if self._idle_since_s is not None:
            dues.append(self._idle_since_s + IDLE_TIMEOUT_S)
        return dues

    def _overdue(self) -> Commands:
        now_s = time.monotonic()
        for stream_id, body in tuple(self._bodies.items()):
            if body.due_s is not None and body.due_s <= now_s:
                del self._bodies[stream_id]
                yield ReceiveHttp(BodyFault(stream_id, Code.REQUEST_TIMEOUT, "the request body took too long"))
        if self._head_from is not None and self._head_from[1] + HEAD_TIMEOUT_S <= now_s:
            detail = f"the request head must be complete within {HEAD_TIMEOUT_S:.0f} s"
            yield RefusedHeadHook(RefusedHead(self.context.client, Code.REQUEST_TIMEOUT, detail))
            yield from self._say_goodbye()
        elif self._idle_since_s is not None and self._idle_since_s + IDLE_TIMEOUT_S <= now_s:
            yield from self._say_goodbye()


def _told(fault: ProtocolError) -> str:
    """What the journal says of frames that break the rules; h2's own words may quote them."""
    match fault.error_code:
        case ErrorCodes.ENHANCE_YOUR_CALM:
            return f"the client asked too much of its connection: {type(fault).__name__}"
        case _:
            return f"the frames that came break the rules of HTTP/2: {type(fault).__name__}"
