"""HTTP/1 as this proxy reads it from clients: strict heads, limits, and answers an agent can read.

mitmproxy's own layer accepts bare line feeds, has no size or time limit on a head, raises on chunked trailers, and
answers faults with an HTML page. This subclass closes each of those.
"""

import re
from dataclasses import dataclass

from mitmproxy.connection import Client, ConnectionState
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http._events import ErrorCode, HttpEvent, ResponseProtocolError
from mitmproxy.proxy.layers.http._http1 import Http1Server

from addons.translate import response_of
from proxy.core.errors import Code
from proxy.core.problems import Answer

HEAD_BYTES = 65_536
HEAD_TIMEOUT_S = 10.0
PIPELINED_BYTES = 65_536
LINGER_S = 2.0
LINGER_BYTES = 262_144

_REQUEST_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32} [!-~]+ HTTP/1\.1|CONNECT [!-~]+ HTTP/1\.0")
# Python before 3.12 opens its tunnels with HTTP/1.0.

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

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


class StrictHttp1Server(Http1Server):
    """The client side of one HTTP/1.1 connection: strict heads, limits, and a lingering close after a refusal."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._deadline: commands.RequestWakeup | None = None
        self._lingered_bytes = 0

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, events.Wakeup):
            if event.command is self._deadline:
                self._deadline = None
                yield from self._overdue()
            return
        yield from super()._handle_event(event)

    def _overdue(self) -> Commands:
        if self.state == self._linger:
            yield commands.CloseConnection(self.conn)
            self.state = self.done
        else:
            yield from self._refuse(
                Code.REQUEST_TIMEOUT, f"the request head must be complete within {HEAD_TIMEOUT_S:.0f} s"
            )

    def read_headers(self, event: events.ConnectionEvent) -> Commands:
        """Wait for one whole head, check its bytes, then let mitmproxy parse it."""
        if not isinstance(event, events.DataReceived):
            yield from super().read_headers(event)
            return
        self._drop_leading_newlines()
        seen = bytes(self.buf)
        end = seen.find(b"\r\n\r\n")
        head = seen if end < 0 else seen[:end]
        fault = _head_fault(head, whole=end >= 0)
        if fault is not None:
            yield from self._refuse(*fault)
        elif end >= 0:
            self._deadline = None
            yield from self._parse(event)
        elif head and self._deadline is None:
            self._deadline = commands.RequestWakeup(HEAD_TIMEOUT_S)
            yield self._deadline

    def _parse(self, event: events.DataReceived) -> Commands:
        for command in super().read_headers(event):
            if isinstance(command, commands.SendData) and self.state == self.read_headers:  # mitmproxy's error page
                yield from self._refuse(Code.REQUEST_MALFORMED, "the request line or a header line is malformed")
                return
            yield command

    def read_body(self, event: events.Event) -> Commands:
        """Read the body as mitmproxy does; what breaks the rules of chunks gets an answer instead of a bare close."""
        try:
            yield from self._read_whole(event)
        except NotImplementedError:  # h11 found trailers, which mitmproxy 12.2 cannot carry over HTTP/1
            yield from self._refuse(Code.REQUEST_UNSUPPORTED, "chunked trailers are not accepted: send them as headers")
            return
        if self.state == self.read_body and len(self.buf) > HEAD_BYTES:  # a chunk's size line without an end
            yield from self._refuse(Code.REQUEST_TOO_LARGE, "the size line of a chunk is too long")

    def _read_whole(self, event: events.Event) -> Commands:
        for command in super().read_body(event):
            broken = isinstance(command, commands.CloseConnection) and not self.request_done
            if broken and isinstance(event, events.DataReceived):  # mitmproxy would only hang up
                yield from self._refuse(Code.REQUEST_MALFORMED, "the chunks of the body are malformed (RFC 9112 §7.1)")
            else:
                yield command

    def wait(self, event: events.Event) -> Commands:
        if isinstance(event, events.DataReceived) and len(self.buf) > PIPELINED_BYTES:
            yield commands.CloseConnection(self.conn)
            self.state = self.done
            return
        yield from super().wait(event)

    def send(self, event: HttpEvent) -> Commands:
        """Turn the connection-ending events into a lingering close, so that the answer before it is read."""
        if not isinstance(event, ResponseProtocolError):
            yield from super().send(event)
            return
        if not self.conn.state & ConnectionState.CAN_WRITE:
            return
        if self.response is None and event.code.http_status_code() is not None:
            yield from self._refuse(_CODES.get(event.code, Code.REQUEST_MALFORMED), event.message)
        else:
            yield from self._close_softly()

    def _refuse(self, code: Code, detail: str) -> Commands:
        refused = RefusedHead(self.context.client, code, detail)
        yield RefusedHeadHook(refused)
        if refused.answer is not None:
            yield commands.SendData(self.conn, http1.assemble_response(response_of(refused.answer, close=True)))
        yield from self._close_softly()

    def _close_softly(self) -> Commands:
        # Closing at once while the client still sends would reset the connection and lose the answer.
        self.buf.maybe_extract_at_most(len(self.buf))
        self.state = self._linger
        self._deadline = commands.RequestWakeup(LINGER_S)
        yield commands.CloseTcpConnection(self.conn, half_close=True)
        yield self._deadline

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

    def _drop_leading_newlines(self) -> None:
        # RFC 9112 §2.2: a server should ignore at least one empty line before the request line.
        while bytes(self.buf).startswith(b"\r\n"):
            self.buf.maybe_extract_at_most(2)


_CODES = {
    ErrorCode.REQUEST_TOO_LARGE: Code.REQUEST_TOO_LARGE,
    ErrorCode.CONNECT_FAILED: Code.UPSTREAM_CONNECT,
    ErrorCode.GENERIC_SERVER_ERROR: Code.UPSTREAM_BROKEN,
    ErrorCode.RESPONSE_VALIDATION_FAILED: Code.UPSTREAM_BROKEN,
    ErrorCode.RESPONSE_TOO_LARGE: Code.UPSTREAM_BROKEN,
}


def _head_fault(head: bytes, *, whole: bool) -> tuple[Code, str] | None:
    """What is wrong with the bytes of a request head, before anything parses them."""
    if len(head) > HEAD_BYTES:
        return Code.REQUEST_TOO_LARGE, f"the request head must be at most {HEAD_BYTES} bytes"
    lines = head.split(b"\r\n")
    if not whole and lines[-1].endswith(b"\r"):
        lines[-1] = lines[-1][:-1]
    if any(_CONTROL.search(line) for line in lines):
        return Code.REQUEST_MALFORMED, "the request head holds a control character; lines must end in CR LF"
    if (whole or len(lines) > 1) and not _REQUEST_LINE.fullmatch(lines[0]):
        return Code.REQUEST_MALFORMED, "the request line must be METHOD SP target SP HTTP/1.1"
    if any(line.startswith((b" ", b"\t")) for line in lines[1:]):
        return Code.REQUEST_MALFORMED, "header lines must not be folded (RFC 9112 §5.2)"
    return None
