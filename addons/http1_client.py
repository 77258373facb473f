"""HTTP/1 as this proxy reads it from origins: strict and bounded, for an origin may be the attacker.

mitmproxy's own reader raises on chunked trailers, takes an interim response for the final one, and reads a head for as
long as it grows. This one closes each of those. What breaks its rules is a broken origin, which the agent is told.
"""

import re
import time

from mitmproxy import http
from mitmproxy.net.http.validate import validate_headers
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._http1 import Http1Client

from addons.alarm import Alarm
from addons.conversation import asks_for_websocket, check_switch
from addons.heads import HEAD_BYTES, Head, HeadFault, not_passed_on
from addons.http1 import Commands
from proxy.core.errors import Rejected

RESPONSE_HEAD_TIMEOUT_S = 30.0
"""For a head that has begun. How long to wait for its first byte is the caller's affair: some answers take thought."""

INTERIM_RESPONSES = 100

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] [1-5][0-9]{2}(?: [^\r\n]*)?")

_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
"""What the body's length is read from. An origin that calls them hop-by-hop may not move the end of its message."""


class StrictHttp1Client(Http1Client):
    """The origin's side of one HTTP/1.1 connection."""

    is_ready = True  # at once, while HTTP/2 waits for settings
    has_ended = False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._head = Head(_STATUS_LINE, "HTTP/1.1 SP status")
        self._alarm = Alarm()
        self._interim = 0

    @property
    def takes_another(self) -> bool:
        """Whether one more call may be sent now."""
        return self.is_idle and self.conn.connected

    @property
    def is_idle(self) -> bool:
        return self.request is None

    def _handle_event(self, event: events.Event) -> Commands:
        if not isinstance(event, events.Wakeup):
            yield from super()._handle_event(event)
        elif (yield from self._alarm.rings(event)):
            yield from self._broken(f"its response head was not complete within {RESPONSE_HEAD_TIMEOUT_S:.0f} s")

    def read_headers(self, event: events.ConnectionEvent) -> Commands:
        """Wait for one whole head that is not an interim one, check its bytes, then let mitmproxy parse it."""
        data = self.buf.maybe_extract_at_most(len(self.buf)) or b""
        if isinstance(event, events.ConnectionClosed):
            self._alarm.clear()
            yield from super().read_headers(event)
            return
        if self.request is None:  # bytes nobody asked for: whatever they are, they answer none of our calls
            yield commands.CloseConnection(self.conn)
            self.state = self.done
            return
        try:
            head = self._final_head(data)
        except HeadFault as fault:
            yield from self._broken(fault.detail)
            return
        if head is not None:
            self._alarm.clear()
            self._interim = 0
            self.buf += head
            yield from self._parse(event)
        elif self._head.begun and not self._alarm.is_set:
            yield from self._alarm.set(time.monotonic() + RESPONSE_HEAD_TIMEOUT_S)

    def _final_head(self, data: bytes | bytearray) -> bytes | None:
        """The final response's head and what follows it, once it is whole. Interim ones are for us and end here."""
        while self._head.add(data):
            head, data = self._head.take()
            status = int(head[9:12])
            if status >= 200 or (status == 101 and self.request is not None and asks_for_websocket(self.request)):
                return head + data
            if status == 101:
                raise HeadFault("it switched protocols, which nobody asked for")
            self._alarm.clear()
            self._interim += 1
            if self._interim > INTERIM_RESPONSES:
                raise HeadFault(f"it sent more than {INTERIM_RESPONSES} interim responses")
        return None

    def _parse(self, event: events.ConnectionEvent) -> Commands:
        for command in super().read_headers(event):
            if isinstance(command, ReceiveHttp) and isinstance(command.event, ResponseHeaders):
                assert self.request is not None
                fault = _fault(self.request, command.event.response)
                if fault:
                    yield from self._broken(fault)
                    return
                # Ours stays as it came: from it, mitmproxy reads whether this connection may be kept.
                command.event.response = _end_to_end(command.event.response)
            elif _is_error(command) and self.state == self.read_headers:
                yield from self._report("a header line or the length of its body is malformed")
                return
            yield command

    def read_body(self, event: events.Event) -> Commands:
        """Read the body as mitmproxy does; trailers are dropped, and a chunk's size line must end."""
        try:
            for command in super().read_body(event):
                if _is_error(command):
                    yield from self._report("its body is malformed or incomplete")
                    return
                yield command
        except NotImplementedError:  # h11 found trailers, which mitmproxy 12.2 cannot carry over HTTP/1
            yield ReceiveHttp(ResponseEndOfMessage(self._stream()))
            yield from self.mark_done(response=True)
        if self.state == self.read_body and len(self.buf) > HEAD_BYTES:
            yield from self._broken("the size line of a chunk, or the trailers, are too long")

    def _broken(self, detail: str) -> Commands:
        yield commands.CloseConnection(self.conn)
        yield from self._report(detail)

    def _report(self, detail: str) -> Commands:
        """Tell the stream, once the connection was closed."""
        self.state = self.done
        self._alarm.clear()
        message = f"the origin's response is broken: {detail}"
        yield ReceiveHttp(ResponseProtocolError(self._stream(), message, ErrorCode.GENERIC_SERVER_ERROR))

    def _stream(self) -> int:
        assert self.stream_id is not None  # a response is read only while a request is under way
        return self.stream_id


def _fault(request: http.Request, response: http.Response) -> str:
    """What is wrong with a response's head; "" for nothing."""
    try:
        validate_headers(response)
        if response.status_code == 101:
            check_switch(request, response)
    except ValueError:
        return "the fields of its response that frame the body are malformed"
    except Rejected as fault:
        return fault.detail
    return ""


def _is_error(command: commands.Command) -> bool:
    """Whether mitmproxy found the response broken; its words quote the origin's bytes, so ours replace them."""
    return isinstance(command, ReceiveHttp) and isinstance(command.event, ResponseProtocolError)


def _end_to_end(response: http.Response) -> http.Response:
    """The response without what concerns only the hop to the origin (RFC 9110 §7.6.1, §11.7)."""
    fields = [(name.lower(), name, value) for name, value in response.headers.fields]
    options = b",".join(value for key, _, value in fields if key == b"connection")
    nominated = {option.strip(b" \t").lower() for option in options.split(b",")}
    dropped = (nominated - _FRAMING) | not_passed_on(response.status_code)
    if response.status_code != 304:  # it has no body to be coded, and mitmproxy would write its last chunk
        dropped -= {b"transfer-encoding"}
    kept = [(name, value) for key, name, value in fields if key not in dropped]
    return http.Response(
        http_version=b"HTTP/1.1",
        status_code=response.status_code,
        reason=response.data.reason,
        headers=http.Headers(kept),
        content=None,
        trailers=None,
        timestamp_start=response.timestamp_start,
        timestamp_end=None,
    )
