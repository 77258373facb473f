"""The streams of this proxy: bodies nobody vouched for are refused early, and faults are told in our words.

They hold no rule about who may do what: what was decided stands in the call's `Exchange`.
"""

from collections.abc import Generator
from typing import Any

from mitmproxy import flow as mitm_flow
from mitmproxy import http
from mitmproxy.connection import Server
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import DropStream, HTTPMode, HttpStream, SendHttp
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
)
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook

from addons.exchange import Exchanges
from addons.http1 import Commands, RefusedHead, RefusedHeadHook, UnwantedBody
from addons.http2 import BodyFault, RefusedHeaders
from addons.tidings import Stopped, Tidings
from addons.translate import response_of
from addons.websocket import Conversation, Relay
from proxy.core.errors import Code
from proxy.core.problems import Answer

PATIENT_BYTES = 65_536
"""A refused body up to this size is read to its end, so that the connection can be kept."""


class GatedStream(HttpStream):
    """One request and its response, refusing bodies nobody has vouched for and answering faults in our own words."""

    def __init__(self, context: Context, stream_id: int, exchanges: Exchanges, *, http2: bool = False) -> None:
        super().__init__(context, stream_id)
        self.origin: Server | None = None  # the connection that carries the call, while there is one
        self.used_up = self.used_down = 0  # bytes of request and response that were used since last reported
        self._exchanges = exchanges
        self._http2 = http2  # of the client: what ends this call must leave its connection to the others
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
        match event:
            case RefusedHeaders():
                yield from self._refuse_head(event)
            case BodyFault():
                yield from self._refuse_body(event.code, event.detail)
            case RequestTrailers():
                yield from self._refuse_body(
                    Code.REQUEST_UNSUPPORTED, "trailers are not accepted: send them as headers"
                )
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
        self._exchanges.note_head(event.request, inside=self.mode is HTTPMode.transparent)
        expects = "expect" in event.request.headers
        yield from super().state_wait_for_request_headers(event)
        exchange = self._exchanges.find(self.flow)
        reading = self.client_state == self.state_consume_request_body
        if exchange is None or exchange.refusal is None or not reading or event.end_stream:
            return
        if self._http2 or expects or _declared_bytes(event.request) > PATIENT_BYTES:
            yield from self._answer_now(exchange.refusal)
        else:
            yield SendHttp(UnwantedBody(self.stream_id), self.context.client)

    def state_consume_request_body(self, event: events.Event) -> Commands:
        if isinstance(event, RequestData):
            exchange = self._exchanges.find(self.flow)
            cap = exchange.body_cap if exchange is not None else 0
            if len(self.request_body_buf) + len(event.data) > cap:
                yield from self._refuse_body(Code.REQUEST_TOO_LARGE, f"the body must be at most {cap} bytes")
                return
        yield from super().state_consume_request_body(event)

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
        if ok and self._exchanges.is_gone(self.flow):
            self._exchanges.note_unsent(self.flow)
            return False  # that the client left is the next event
        if ok:
            self.origin = self.flow.server_conn
        return ok

    def send_response(self, already_streamed: bool = False) -> Commands:
        """As mitmproxy does; but what is whole need not wait for the rest of a request that it answers."""
        yield from super().send_response(already_streamed)
        if self._http2 and self.server_state == self.state_done and self.client_state != self.state_done:
            yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)
            yield from self._end()

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
        self.child_layer = Relay(self.context, self.flow, conversation)
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

    def _response_started(self) -> bool:
        return self.server_state in (self.state_stream_response_body, self.state_done)

    def _answer_fault(self, command: commands.Command) -> Commands:
        exchange = self._exchanges.find(self.flow)
        if exchange is None or exchange.refusal is None:
            yield command
        else:
            yield from self._answer_now(exchange.refusal)

    def _refuse_body(self, code: Code, detail: str) -> Commands:
        exchange = self._exchanges.find(self.flow)
        self.request_body_buf.clear()
        if self.client_state == self.state_errored:
            return
        if exchange is not None and exchange.refusal is None:
            exchange.fault, exchange.fault_detail = code, detail
            self.flow.error = mitm_flow.Error(detail)
            yield HttpErrorHook(self.flow)
        if exchange is not None and exchange.refusal is not None:
            yield from self._answer_now(exchange.refusal)
        else:
            yield from self._abort()

    def _answer_now(self, answer: Answer) -> Commands:
        response = response_of(answer, close=not self._http2)
        yield SendHttp(ResponseHeaders(self.stream_id, response, not answer.body), self.context.client)
        yield SendHttp(ResponseData(self.stream_id, answer.body), self.context.client)
        if self._http2:
            yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)
            yield from self._end()
        else:
            yield from self._abort()

    def _abort(self) -> Commands:
        yield SendHttp(ResponseProtocolError(self.stream_id, "refused", ErrorCode.KILL), self.context.client)
        yield from self._end()

    def _end(self) -> Commands:
        """The call ends here. HTTP/1 ends with its connection; HTTP/2 goes on, so nothing of it may be left."""
        if self._http2 and self.origin is not None:
            yield SendHttp(RequestProtocolError(self.stream_id, "ended", ErrorCode.CANCEL), self.origin)
            self.origin = None
        self.client_state = self.server_state = self.state_errored
        self.flow.live = False
        if self._http2:
            self._exchanges.forget(self.flow)
            yield DropStream(self.stream_id)


def _declared_bytes(request: http.Request) -> int:
    """The size a body announced; a chunked one counts as larger than anything."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() else PATIENT_BYTES + 1
