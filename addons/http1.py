"""HTTP/1 as this proxy reads it from clients: strict heads, limits, and answers an agent can read.

mitmproxy's own layer accepts bare line feeds, has no size or time limit on a head, raises on chunked trailers, and
answers faults with an HTML page. This subclass closes each of those.
"""

import re
import time
from dataclasses import dataclass
from enum import Enum

from h11._readers import ChunkedReader
from mitmproxy import http
from mitmproxy.connection import Client, ConnectionState
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    HttpEvent,
    RequestData,
    RequestHeaders,
    RequestProtocolError,
    ResponseData,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._http1 import Http1Server, should_make_pipe

from addons.alarm import Alarm
from addons.chunks import Chunks, Trailers
from addons.heads import Head, HeadFault
from addons.translate import response_of
from proxy.core.errors import Code
from proxy.core.problems import Answer

HEAD_TIMEOUT_S = 10.0
EMPTY_LINES = 8
BODY_TIMEOUT_S = 60.0
"""For each `BODY_STEP_BYTES`, from the end of those before: a fast beginning does not buy a slow end."""
BODY_STEP_BYTES = 1_048_576
UNWANTED_BODY_TIMEOUT_S = 10.0
"""For all of a body that is only read so that its connection can be kept."""
IDLE_TIMEOUT_S = 75.0
"""For the next request to begin, in a tunnel as outside."""
PIPELINED_BYTES = 65_536
LINGER_S = 2.0
LINGER_BYTES = 262_144

_REQUEST_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32} [!-~]+ HTTP/1\.1|CONNECT [!-~]+ HTTP/1\.0")
# Python before 3.12 opens its tunnels with HTTP/1.0.

type Commands = layer.CommandGenerator[None]


@dataclass
class RefusedHead:
    """A request head that could not be read, and the answer it gets. `answer` is filled in by the hook."""

    client: Client
    code: Code
    detail: str
    answer: Answer | None = None


@dataclass
class RefusedHeadHook(commands.StartHook):
    """A request head broke the rules of the wire before any flow existed."""

    data: RefusedHead


class RefusedBody(RequestProtocolError):
    """The connection's word to its stream: the rest of this request was refused, and why."""

    def __init__(self, stream_id: int, detail: str, refused: Code) -> None:
        super().__init__(stream_id, detail, ErrorCode.GENERIC_CLIENT_ERROR)
        self.refused = refused


@dataclass
class UnwantedBody(HttpEvent):
    """The stream's word to its connection: what is still to come of this body serves nobody, so it gets little time."""

    stream_id: int


class Waiting(Enum):
    """What a connection waits for, as far as we set it a time. `None` is all else: a verdict, a review, an origin."""

    REQUEST = "request"
    HEAD = "head"
    BODY = "body"
    UNWANTED_BODY = "unwanted body"
    END = "end"


class StrictHttp1Server(Http1Server):
    """The client side of one HTTP/1.1 connection: strict heads, limits, and a lingering close after a refusal."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._head = Head(_REQUEST_LINE, "METHOD SP target SP HTTP/1.1", empty_lines=EMPTY_LINES)
        self._alarm = Alarm()
        self._waiting: tuple[int, Waiting | None, int] = (0, None, 0)
        self._since_s = 0.0
        self._body_bytes = 0
        self._body_unwanted = False
        self._last = False  # the client asked that its connection end with this request
        self._lingered_bytes = 0

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, events.Wakeup):
            if not (yield from self._alarm.rings(event)):
                return
            yield from self._overdue()
        else:
            if isinstance(event, events.DataReceived) and self.state == self.read_body:
                self._body_bytes += len(event.data)
            yield from super()._handle_event(event)
        yield from self._set_alarm()

    def _set_alarm(self) -> Commands:
        """Give what this connection waits for its time, from when the waiting began."""
        waits_for = self._waits_for()
        step = self._body_bytes // BODY_STEP_BYTES if waits_for is Waiting.BODY else 0
        waiting = (self.stream_id, waits_for, step)
        if waiting != self._waiting:
            self._waiting, self._since_s = waiting, time.monotonic()
        if waits_for is None:
            self._alarm.clear()
        else:
            yield from self._alarm.set(self._since_s + _TIMES_S[waits_for])

    def _waits_for(self) -> Waiting | None:
        if self.state == self._linger:
            return Waiting.END
        if self.state == self.read_headers:
            return Waiting.HEAD if self._head.begun else Waiting.REQUEST
        if self.state == self.read_body:
            return Waiting.UNWANTED_BODY if self._body_unwanted else Waiting.BODY
        return None

    def _overdue(self) -> Commands:
        match self._waiting[1]:
            case Waiting.HEAD:
                detail = f"the request head must be complete within {HEAD_TIMEOUT_S:.0f} s"
                yield from self._refuse(Code.REQUEST_TIMEOUT, detail)
            case Waiting.BODY | Waiting.UNWANTED_BODY:
                yield from self._refuse_body(Code.REQUEST_TIMEOUT, "the request body took too long")
            case _:
                yield commands.CloseConnection(self.conn)
                self.state = self.done

    def read_headers(self, event: events.ConnectionEvent) -> Commands:
        """Wait for one whole head, check its bytes, then let mitmproxy parse it."""
        if not isinstance(event, events.DataReceived):
            yield from super().read_headers(event)
            self.state = self.done
            return
        try:
            if not self._head.add(self.buf.maybe_extract_at_most(len(self.buf)) or b""):
                return
        except HeadFault as fault:
            code = Code.REQUEST_TOO_LARGE if fault.too_large else Code.REQUEST_MALFORMED
            yield from self._refuse(code, f"the request head was not accepted: {fault.detail}")
            return
        head, rest = self._head.take()
        self.buf += head + rest
        self._body_bytes, self._body_unwanted = len(rest), False
        yield from self._parse(event)

    def _parse(self, event: events.DataReceived) -> Commands:
        for command in super().read_headers(event):
            if isinstance(command, commands.SendData) and self.state == self.read_headers:  # mitmproxy's error page
                yield from self._refuse(Code.REQUEST_MALFORMED, "the request line or a header line is malformed")
                return
            if isinstance(command, ReceiveHttp) and isinstance(command.event, RequestHeaders):
                self._last = _asks_to_close(command.event.request)  # now: what is forwarded does not say it
            yield command

    def read_body(self, event: events.Event) -> Commands:
        """Read the body as mitmproxy does; what breaks the rules of chunks gets an answer instead of a bare close."""
        try:
            yield from self._read_whole(event)
        except Trailers:
            detail = "chunked trailers are not accepted: send them as headers"
            yield from self._refuse_body(Code.REQUEST_UNSUPPORTED, detail)

    def _read_whole(self, event: events.Event) -> Commands:
        if isinstance(self.body_reader, ChunkedReader):
            self.body_reader = Chunks()  # type: ignore[assignment]  # nothing of it was read yet
        data = bytearray()  # of all the small chunks that came at once
        for command in super().read_body(event):
            if isinstance(command, ReceiveHttp) and isinstance(command.event, RequestData):
                data += command.event.data
                continue
            yield from self._received(data)
            if self.state == self._linger:  # what was received was refused
                return
            broken = isinstance(command, commands.CloseConnection) and not self.request_done
            if broken and isinstance(event, events.DataReceived):  # mitmproxy would only hang up
                detail = "the chunks of the body are malformed (RFC 9112 §7.1)"
                yield from self._refuse_body(Code.REQUEST_MALFORMED, detail)
                return
            yield command
        yield from self._received(data)

    def _received(self, data: bytearray) -> Commands:
        if data:
            yield ReceiveHttp(RequestData(self.stream_id, bytes(data)))
            data.clear()

    def wait(self, event: events.Event) -> Commands:
        if isinstance(event, events.DataReceived) and len(self.buf) > PIPELINED_BYTES:
            yield commands.CloseConnection(self.conn)
            self.state = self.done
            return
        yield from super().wait(event)

    def send(self, event: HttpEvent) -> Commands:
        """Turn the connection-ending events into a lingering close, so that the answer before it is read."""
        if isinstance(event, UnwantedBody):
            self._body_unwanted = event.stream_id == self.stream_id
            return
        if isinstance(event, ResponseData) and self.request is not None and self.request.method == "HEAD":
            return  # an answer to HEAD ends with its head (RFC 9112 §6.3); mitmproxy would send a refusal's body, too
        if isinstance(event, ResponseHeaders) and self._last and not self._opens_tunnel(event):
            event.response.headers["Connection"] = "close"  # mitmproxy keeps to what we say (RFC 9112 §9.6)
        if not isinstance(event, ResponseProtocolError):
            yield from super().send(event)
            return
        if not self.conn.state & ConnectionState.CAN_WRITE:
            return
        if self.response is None and event.code.http_status_code() is not None:
            yield from self._refuse(_CODES.get(event.code, Code.REQUEST_MALFORMED), event.message)
        else:
            yield from self._close_softly()

    def _opens_tunnel(self, event: ResponseHeaders) -> bool:
        return self.request is not None and should_make_pipe(self.request, event.response)

    def _refuse(self, code: Code, detail: str) -> Commands:
        refused = RefusedHead(self.context.client, code, detail)
        yield RefusedHeadHook(refused)
        if refused.answer is not None and not self._answering():
            yield commands.SendData(self.conn, http1.assemble_response(response_of(refused.answer, close=True)))
        yield from self._close_softly()

    def _refuse_body(self, code: Code, detail: str) -> Commands:
        """Refuse, and tell the stream that its request will never be complete."""
        yield from self._refuse(code, detail)
        yield ReceiveHttp(RefusedBody(self.stream_id, detail, code))

    def _answering(self) -> bool:
        """Whether the answer to the request has begun, so that nothing else may be written."""
        return self.response is not None and self.response.status_code >= 200

    def _close_softly(self) -> Commands:
        # Closing at once while the client still sends would reset the connection and lose the answer.
        self.buf.maybe_extract_at_most(len(self.buf))
        self.state = self._linger
        yield commands.CloseTcpConnection(self.conn, half_close=True)

    def _linger(self, event: events.Event) -> Commands:
        if isinstance(event, events.DataReceived):
            self.buf.maybe_extract_at_most(len(self.buf))
            self._lingered_bytes += len(event.data)
            if self._lingered_bytes <= LINGER_BYTES:
                return
        elif not isinstance(event, events.ConnectionClosed):
            return
        yield commands.CloseConnection(self.conn)
        self.state = self.done


def _asks_to_close(request: http.Request) -> bool:
    options = ",".join(request.headers.get_all("connection")).split(",")
    return "close" in (option.strip().lower() for option in options)


_TIMES_S = {
    Waiting.REQUEST: IDLE_TIMEOUT_S,
    Waiting.HEAD: HEAD_TIMEOUT_S,
    Waiting.BODY: BODY_TIMEOUT_S,
    Waiting.UNWANTED_BODY: UNWANTED_BODY_TIMEOUT_S,
    Waiting.END: LINGER_S,
}

_CODES = {
    ErrorCode.REQUEST_TOO_LARGE: Code.REQUEST_TOO_LARGE,
    ErrorCode.CONNECT_FAILED: Code.UPSTREAM_CONNECT,
    ErrorCode.GENERIC_SERVER_ERROR: Code.UPSTREAM_BROKEN,
    ErrorCode.RESPONSE_VALIDATION_FAILED: Code.UPSTREAM_BROKEN,
    ErrorCode.RESPONSE_TOO_LARGE: Code.UPSTREAM_BROKEN,
}
