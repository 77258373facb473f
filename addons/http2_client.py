"""HTTP/2 as this proxy speaks it to origins: many calls on one connection, each broken or ended by itself.

What is sent is the judged call: `:authority` is its canonical host, names are in lower case, and there is nothing of
HTTP/1's connection. An origin may be the attacker: what breaks the rules is a broken origin, which the agent is told.
"""

import time

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from hpack import NeverIndexedHeaderTuple
from mitmproxy import http
from mitmproxy.proxy import events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http._base import HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    RequestHeaders,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
)
from mitmproxy.proxy.layers.http._http2 import StreamState

from addons.credentials import CredentialHeaders
from addons.heads import HOP_BY_HOP, HeadFault
from addons.http1 import Commands
from addons.http1_client import INTERIM_RESPONSES, RESPONSE_HEAD_TIMEOUT_S
from addons.http2_heads import read_response_head, read_trailers
from addons.http2_side import Http2Side
from addons.http2_wire import MAX_STREAMS, ORIGIN_WINDOW_BYTES, GoingAway, StrictH2Connection

_SECRET = frozenset((b"authorization", b"cookie"))
_NOT_SENT = (HOP_BY_HOP - {b"te"}) | {b"host"}


class StrictHttp2Client(Http2Side):
    """The origin's side of one HTTP/2 connection."""

    ReceiveProtocolError = ResponseProtocolError
    ReceiveData = ResponseData
    ReceiveTrailers = ResponseTrailers
    ReceiveEndOfMessage = ResponseEndOfMessage

    def __init__(self, context: Context) -> None:
        wire = StrictH2Connection(client_side=True, window_bytes=ORIGIN_WINDOW_BYTES)
        super().__init__(context, context.server, wire)
        self._wire_ids: dict[int, int] = {}  # the call's stream -> ours
        self._call_ids: dict[int, int] = {}
        self._lengths: dict[int, int | None] = {}  # bytes still to come of a response, where that is known
        self._to_head: set[int] = set()  # answers to HEAD have no body
        self._interim: dict[int, int] = {}
        self.is_ready = False  # the origin's settings have come: how many streams it takes is known
        self._head_from: int | None = None  # how many frames had come before what is waited for

    def wire_id(self, stream_id: int) -> int:
        return self._wire_ids.get(stream_id, 0)

    def call_id(self, wire_id: int) -> int:
        return self._call_ids[wire_id]

    @property
    def takes_another(self) -> bool:
        """Whether one more call may be sent now."""
        if not self.is_ready or self._leaving or self.has_ended or not self.conn.connected:
            return False
        most = min(MAX_STREAMS, self.h2_conn.remote_settings.max_concurrent_streams)
        return self.h2_conn.open_outbound_streams < most

    @property
    def is_idle(self) -> bool:
        return not self.streams

    def _handle_event(self, event: events.Event) -> Commands:
        for command in super()._handle_event(event):
            if isinstance(command, ReceiveHttp):
                command.event.stream_id = self._call_ids[command.event.stream_id]
            yield command

    # --- to the origin -----------------------------------------------------------------------------------------------

    def _send(self, event: HttpEvent) -> Commands:
        if isinstance(event, RequestHeaders):
            self._send_head(event)
        elif event.stream_id in self._wire_ids:
            wire_id = self._wire_ids[event.stream_id]
            if isinstance(event, RequestProtocolError):
                self._forget(wire_id, ErrorCodes.CANCEL)
            else:
                event.stream_id = wire_id
                yield from super()._send(event)

    def _send_head(self, event: RequestHeaders) -> None:
        request, wire_id = event.request, self.h2_conn.get_next_available_stream_id()
        self._wire_ids[event.stream_id], self._call_ids[wire_id] = wire_id, event.stream_id
        self.streams[wire_id] = StreamState.EXPECTING_HEADERS
        if request.data.method == b"HEAD":
            self._to_head.add(wire_id)
        hidden = event.hidden if isinstance(event, CredentialHeaders) else frozenset[bytes]()
        self.h2_conn.send_headers(wire_id, _fields(request, _SECRET | hidden), end_stream=event.end_stream)

    # --- from the origin ---------------------------------------------------------------------------------------------

    def handle_h2_event(self, event: Event | ProtocolError) -> CommandGenerator[bool]:
        match event:
            case ResponseReceived() | TrailersReceived() | InformationalResponseReceived():
                try:
                    yield from self._receive_fields(event)
                except HeadFault as fault:
                    assert event.stream_id is not None
                    yield from self._break(event.stream_id, fault.detail)
                return False
            case StreamEnded() if event.stream_id in self.streams and self._lengths.get(event.stream_id):
                yield from self._break(event.stream_id, "its body is shorter than its Content-Length says")
                return False
            case StreamReset():
                yield from self._was_reset(event)
                return False
            case RemoteSettingsChanged():
                self.is_ready = True
                return False
        return (yield from super().handle_h2_event(event))

    def _receive_fields(self, event: ResponseReceived | TrailersReceived | InformationalResponseReceived) -> Commands:
        wire_id, fields = event.stream_id, event.headers or ()
        assert wire_id is not None
        if wire_id not in self.streams:
            return
        if isinstance(event, TrailersReceived):
            yield ReceiveHttp(ResponseTrailers(wire_id, read_trailers(fields)))
        elif isinstance(event, ResponseReceived):
            response = read_response_head(fields)
            self.streams[wire_id] = StreamState.HEADERS_RECEIVED
            self._lengths[wire_id] = self._body_length(wire_id, response)
            ended = event.stream_ended is not None
            if ended:
                self._lengths[wire_id] = None  # a head alone may say how long its body would have been
            yield ReceiveHttp(ResponseHeaders(wire_id, response, ended))
        else:  # interim responses are for us and end here
            self._interim[wire_id] = self._interim.get(wire_id, 0) + 1
            if self._interim[wire_id] > INTERIM_RESPONSES:
                raise HeadFault(f"it sent more than {INTERIM_RESPONSES} interim responses")

    def _body_length(self, wire_id: int, response: http.Response) -> int | None:
        if wire_id in self._to_head or response.status_code in (204, 304):
            return 0
        length = response.headers.get("content-length")
        return int(length) if length else None

    def _receive_body(self, event: DataReceived) -> CommandGenerator[bool]:
        left = self._lengths.get(event.stream_id)
        if event.stream_id in self.streams and left is not None:
            if len(event.data) > left:
                self.h2_conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                yield from self._break(event.stream_id, "its body is longer than it may be")
                return False
            self._lengths[event.stream_id] = left - len(event.data)
        return (yield from super()._receive_body(event))

    def _was_reset(self, event: StreamReset) -> Commands:
        if event.stream_id in self.streams:
            self._forget(event.stream_id)
            yield self._fault(event.stream_id, "it ended the stream before its response was whole")

    def _break(self, wire_id: int, detail: str) -> Commands:
        if wire_id in self.streams:
            self._forget(wire_id, ErrorCodes.PROTOCOL_ERROR)
            yield from self._flush()
            yield self._fault(wire_id, detail)

    def _fault(self, wire_id: int, detail: str) -> ReceiveHttp:
        message = f"the origin's response is broken: {detail}"
        return ReceiveHttp(ResponseProtocolError(wire_id, message, self.ReceiveProtocolError.code))

    def _going_away(self, event: GoingAway) -> CommandGenerator[bool]:
        """Streams that the origin has not begun end here; nothing is sent a second time by itself."""
        for wire_id in [each for each in self.streams if each > event.last_stream_id]:
            self._forget(wire_id)
            yield self._fault(wire_id, "it went away before it took the call")
        return (yield from super()._going_away(event))

    # --- ends and times ----------------------------------------------------------------------------------------------

    def _forget(self, wire_id: int, reset: ErrorCodes | None = None) -> None:
        """The stream ends here; with `reset`, the origin is told so."""
        self.streams.pop(wire_id, None)
        if reset is not None and not self.is_closed(wire_id):
            self.h2_conn.reset_stream(wire_id, reset)

    def _afterwards(self) -> Commands:
        for wire_id, call_id in tuple(self._call_ids.items()):
            if self.is_closed(wire_id) and call_id not in self.untaken:
                self.streams.pop(wire_id, None)
                del self._call_ids[wire_id], self._wire_ids[call_id]
                self._lengths.pop(wire_id, None)
                self._interim.pop(wire_id, None)
                self._to_head.discard(wire_id)
        yield from self._flush()
        yield from super()._afterwards()
        if not self.has_ended:
            yield from self._time_head()

    def _time_head(self) -> Commands:
        """Its settings, and each head that has begun, have their time."""
        if self.is_ready and not self.h2_conn.incoming_buffer.is_within_head:
            self._head_from = None
            self._alarm.clear()
        elif self._head_from != self.h2_conn.frames_read:
            self._head_from = self.h2_conn.frames_read
            yield from self._alarm.set(time.monotonic() + RESPONSE_HEAD_TIMEOUT_S)

    def _overdue(self) -> Commands:
        yield from self._broken(ProtocolError("its settings, or a head, were not complete in time"))


def _fields(request: http.Request, secret: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """The judged call in the form of HTTP/2 (RFC 9113 §8.3.1); secrets stay out of the compression table."""
    headers = [(name.lower(), value) for name, value in request.headers.fields]
    (authority,) = (value for name, value in headers if name == b"host")
    pseudo = [
        (b":method", request.data.method),
        (b":scheme", request.data.scheme),
        (b":authority", authority),
        (b":path", request.data.path),
    ]
    kept = [(name, value) for name, value in headers if name not in _NOT_SENT]
    return [
        NeverIndexedHeaderTuple(name, value) if name in secret else (name, value) for name, value in [*pseudo, *kept]
    ]
