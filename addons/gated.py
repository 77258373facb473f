"""The streams of this proxy: bodies nobody vouched for are refused early, and faults are told in our words.

They hold no rule about who may do what: what was decided stands in the call's `Exchange`.
"""

from collections.abc import Generator
from typing import Any

from mitmproxy import http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode, SendHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestHeaders,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
)

from addons.conversation import Conversation
from addons.credentials import without_credential
from addons.exchange import Exchanges
from addons.http1 import Commands, RefusedHead, RefusedHeadHook, UnwantedBody
from addons.http2 import BodyFault, RefusedHeaders
from addons.tidings import Stopped, Tidings
from addons.uploads import UploadStream
from addons.websocket import Relay
from proxy.core.errors import Code, Rejected

PATIENT_BYTES = 65_536
"""A refused body up to this size is read to its end, so that the connection can be kept."""


class GatedStream(UploadStream):
    """One request and its response, refusing bodies nobody has vouched for and answering faults in our own words."""

    def __init__(self, context: Context, stream_id: int, exchanges: Exchanges, *, http2: bool = False) -> None:
        super().__init__(context, stream_id, exchanges, http2=http2)
        self.used_up = self.used_down = 0  # bytes of request and response that were used since last reported
        self._dialled_for_once = False
        self._switched = False

    def handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, RequestProtocolError) and self._http2:
            self._exchanges.note_gone(self.flow)  # now: the event itself waits while the call is being judged
        yield from super().handle_event(event)

    def _handle_event(self, event: events.Event) -> Commands:
        if self._switched:
            yield from self.passthrough(event)
            return
        if isinstance(event, ResponseHeaders | ResponseTrailers):
            without_credential(event, self._exchanges.find(self.flow))
        match event:
            case RefusedHeaders():
                yield from self._refuse_head(event)
            case BodyFault():
                yield from self._fail(Rejected(event.code, event.detail))
            case RequestTrailers():
                detail = "trailers are not accepted: send them as headers"
                yield from self._fail(Rejected(Code.REQUEST_UNSUPPORTED, detail))
            case Tidings():
                if isinstance(event, Stopped) and event.flow_id == self.flow.id:
                    yield from self._stop()
            case _:
                yield from super()._handle_event(event)
        if isinstance(event, RequestData):
            self.used_up += len(event.data)
        elif isinstance(event, ResponseData):
            self.used_down += len(event.data)

    def _stop(self) -> Commands:
        """Nothing more of this call goes to either side; an agent whose answer has not begun is told why."""
        if self.origin is not None:
            yield SendHttp(RequestProtocolError(self.stream_id, "stopped", ErrorCode.CANCEL), self.origin)
        yield from self.handle_protocol_error(ResponseProtocolError(self.stream_id, "stopped", ErrorCode.CANCEL))

    def _refuse_head(self, event: RefusedHeaders) -> Commands:
        self.flow = http.HTTPFlow(self.context.client, self.context.server, live=True)
        self.flow.request = event.request
        refused = RefusedHead(self.context.client, Code.REQUEST_MALFORMED, event.detail)
        yield RefusedHeadHook(refused)
        if refused.answer is not None:
            yield from self._answer_now(refused.answer)
        else:
            yield from self._abort()

    def state_wait_for_request_headers(self, event: RequestHeaders) -> Commands:
        inside = self.mode is HTTPMode.transparent
        self._exchanges.note_head(event.request, inside=inside, ends=event.end_stream)
        self._expects = "expect" in event.request.headers
        yield from super().state_wait_for_request_headers(event)
        exchange = self._exchanges.find(self.flow)
        reading = self.client_state == self.state_consume_request_body
        if exchange is None or exchange.refusal is None or not reading or event.end_stream:
            return
        if self._http2 or self._expects or _declared_bytes(event.request) > PATIENT_BYTES:
            yield from self._answer_now(exchange.refusal)
        else:
            yield SendHttp(UnwantedBody(self.stream_id), self.context.client)

    def handle_protocol_error(self, event: Any) -> Commands:
        yield from self._in_our_words(super().handle_protocol_error(event))
        self.origin = None
        if self._dialled_for_once:
            yield commands.CloseConnection(self.flow.server_conn)
        if self._http2:
            self._exchanges.forget(self.flow)

    def check_killed(self, emit_error_hook: bool) -> layer.CommandGenerator[bool]:
        killed = yield from self._in_our_words(super().check_killed(emit_error_hook))
        if killed and self._http2:
            yield from self._end()
        return killed

    def _in_our_words[T](self, inner: Generator[commands.Command, Any, T]) -> layer.CommandGenerator[T]:
        """As mitmproxy does, but what reaches the client is the answer that the error hook prepared."""
        reply: Any = None
        while True:
            try:
                command = inner.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result
            if self._is_error_page(command):
                yield from self._answer_fault(command)
                reply = None
            else:
                reply = yield command

    def make_server_connection(self) -> layer.CommandGenerator[bool]:
        self._dialled_for_once = self._exchanges.is_claimed(self.flow)
        ok = yield from super().make_server_connection()
        if ok and self._exchanges.note_sent(self.flow):
            self.origin = self.flow.server_conn
            return True
        return False  # where the client gave the call up, that is the next event

    def flow_done(self) -> Commands:
        """As mitmproxy does; a connection that was dialled for one released call ends with it.

        Left open they would add up, and mitmproxy lets a client connection have five to one address: a sixth waits.
        """
        conversation = self._begun_conversation()
        if conversation is not None:
            yield from self._switch(conversation)
            return
        yield from super().flow_done()
        self.origin = None
        if self._dialled_for_once:
            yield commands.CloseConnection(self.flow.server_conn)

    def _begun_conversation(self) -> Conversation | None:
        exchange, response = self._exchanges.find(self.flow), self.flow.response
        if exchange is None or response is None or response.status_code != 101:
            return None
        return exchange.conversation

    def _switch(self, conversation: Conversation) -> Commands:
        """Both connections speak WebSocket from here on."""
        self._switched = True
        exchange = self._exchanges.find(self.flow)
        injection = None if exchange is None else exchange.injection
        self.child_layer = Relay(self.context, self.flow, conversation, injection)
        yield from self.child_layer.handle_event(events.Start())
        # What came after the handshakes is handed over now, when there is somebody to take it.
        yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)

    def passthrough(self, event: events.Event) -> Commands:
        """As mitmproxy does; a client that leaves its tunnel is told to what is inside, which mitmproxy forgets."""
        if isinstance(event, RequestProtocolError):
            event = events.ConnectionClosed(self.context.client)
            if self.child_layer is not None:
                yield from self.child_layer.handle_event(event)
            return
        yield from super().passthrough(event)

    def _is_error_page(self, command: commands.Command) -> bool:
        return (
            isinstance(command, SendHttp)
            and isinstance(command.event, ResponseProtocolError)
            and command.connection is self.context.client
            and not self._response_started()
        )

    def _answer_fault(self, command: commands.Command) -> Commands:
        exchange = self._exchanges.find(self.flow)
        if exchange is None or exchange.refusal is None:
            yield command
        else:
            yield from self._answer_now(exchange.refusal)


def _declared_bytes(request: http.Request) -> int:
    """The size a body announced; a chunked one counts as larger than anything."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() else PATIENT_BYTES + 1
