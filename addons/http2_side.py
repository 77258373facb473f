"""What both sides of this proxy have in common when they speak HTTP/2: flow control by use, and how it all ends."""

from typing import ClassVar

from h2.config import H2Configuration
from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, StreamReset, UnknownFrameReceived
from h2.exceptions import ProtocolError
from h2.stream import StreamState as H2StreamState
from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http._base import HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._http2 import Http2Connection, StreamState

from addons.alarm import Alarm
from addons.http1 import Commands
from addons.http2_wire import GoingAway, StrictH2Connection

FULL_CHUNKS = 16
"""Pieces of a body, of a frame each, that may wait for a peer's window before the other side is read no further."""


class Taken(HttpEvent):
    """The stream's word to a connection: so much of the body it brought was used, and as much may follow."""

    def __init__(self, stream_id: int, body_bytes: int) -> None:
        self.stream_id = stream_id
        self.body_bytes = body_bytes


class Http2Side(Http2Connection):
    """One side's connection. Ids are the wire's own, except in `untaken` and `is_full`, which speak of calls."""

    h2_conf: ClassVar[H2Configuration] = H2Configuration()  # for mitmproxy's constructor alone

    def __init__(self, context: Context, conn: Connection, wire: StrictH2Connection) -> None:
        super().__init__(context, conn)
        self.h2_conn: StrictH2Connection = wire
        self.untaken: dict[int, int] = {}  # bytes handed to each call's stream that it has not used yet
        self._alarm = Alarm()
        self._leaving = False  # the peer said that it is going away, or we did
        self.has_ended = False
        self._depth = 0  # what one event leads to may come back here before it is done with

    def is_full(self, stream_id: int) -> bool:
        """Whether enough waits for the peer's window already."""
        return len(self.h2_conn.stream_buffers.get(self.wire_id(stream_id), ())) >= FULL_CHUNKS

    def wire_id(self, stream_id: int) -> int:
        """The id that this connection has for a call's stream."""
        return stream_id

    def call_id(self, wire_id: int) -> int:
        """The call's stream that an id of this connection stands for."""
        return wire_id

    def _handle_event(self, event: events.Event) -> Commands:
        self._depth += 1
        yield from self._react(event)
        self._depth -= 1
        if not self._depth and not self.has_ended:
            yield from self._afterwards()

    def _react(self, event: events.Event) -> Commands:
        if isinstance(event, events.Wakeup):
            if (yield from self._alarm.rings(event)):
                yield from self._overdue()
        elif isinstance(event, Taken):
            yield from self._take(event)
        elif isinstance(event, HttpEvent):
            yield from self._send(event)
        else:
            yield from super()._handle_event(event)

    def _send(self, event: HttpEvent) -> Commands:
        """Write what a stream wants written."""
        yield from super()._handle_event(event)

    def _overdue(self) -> Commands:
        """The time that `_afterwards` set has come: for each side to say what it was set for."""
        yield from ()

    def _afterwards(self) -> Commands:
        """What every event may have changed: what ends now, and the next deadline."""
        if self._leaving and not self.streams:
            yield from self._say_goodbye()

    def _say_goodbye(self) -> Commands:
        self.h2_conn.close_connection(ErrorCodes.NO_ERROR)
        yield commands.SendData(self.conn, self.h2_conn.data_to_send())
        yield from self.close_connection("the connection was idle, or its peer went away")

    def _take(self, event: Taken) -> Commands:
        left = self.untaken.pop(event.stream_id, 0)
        taken = min(left, event.body_bytes)
        if left > taken:
            self.untaken[event.stream_id] = left - taken
        if taken:
            self.h2_conn.acknowledge_received_data(taken, self.wire_id(event.stream_id))
            yield from self._flush()

    def _flush(self) -> Commands:
        if data := self.h2_conn.data_to_send():
            yield commands.SendData(self.conn, data)

    def handle_h2_event(self, event: Event | ProtocolError) -> CommandGenerator[bool]:
        match event:
            case DataReceived():
                return (yield from self._receive_body(event))
            case StreamReset():
                self.h2_conn.stream_trailers.pop(event.stream_id, None)
                return (yield from super().handle_h2_event(event))
            case GoingAway():
                return (yield from self._going_away(event))
            case ProtocolError():
                yield from self._broken(event)
                return True
            case UnknownFrameReceived():
                return False
            case _:
                return (yield from super().handle_h2_event(event))

    def _receive_body(self, event: DataReceived) -> CommandGenerator[bool]:
        if self.streams.get(event.stream_id) is StreamState.EXPECTING_HEADERS:
            yield from self._broken(ProtocolError("a body came before its head"))
            return True
        known = event.stream_id in self.streams
        unused = event.flow_controlled_length - len(event.data) if known else event.flow_controlled_length
        if unused:
            self.h2_conn.acknowledge_received_data(unused, event.stream_id)
        if known and event.data:
            call_id = self.call_id(event.stream_id)
            self.untaken[call_id] = self.untaken.get(call_id, 0) + len(event.data)
            yield ReceiveHttp(self.ReceiveData(event.stream_id, event.data))
        return False

    def _going_away(self, event: GoingAway) -> CommandGenerator[bool]:
        if event.error_code != ErrorCodes.NO_ERROR:
            yield from self.close_connection("the peer ended the connection for a fault of ours, as it says")
            return True
        self._leaving = True
        return False

    def _broken(self, fault: ProtocolError) -> Commands:
        """The peer breaks the rules of frames, and is told so in GOAWAY, mostly by h2 already."""
        if self.h2_conn.state_machine.state is not ConnectionState.CLOSED:
            self.h2_conn.close_connection(fault.error_code)
        yield from self._flush()
        yield from self.close_connection("the frames that came break the rules of HTTP/2")

    def close_connection(self, msg: str) -> Commands:
        self.has_ended = True
        self._alarm.clear()
        yield commands.CloseConnection(self.conn)
        left = list(self.streams)
        self.streams.clear()
        for stream_id in left:
            yield ReceiveHttp(self.ReceiveProtocolError(stream_id, msg, self.ReceiveProtocolError.code))
        self._handle_event = self.done  # type: ignore[method-assign]  # as mitmproxy does

    def state_of(self, wire_id: int) -> H2StreamState:
        """How far a stream of this connection has come."""
        stream = self.h2_conn.streams.get(wire_id)
        return H2StreamState.CLOSED if stream is None else stream.state_machine.state
