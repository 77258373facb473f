"""The streams of this proxy: bodies nobody vouched for are refused early, and faults are told in our words.

They hold no rule about who may do what: what was decided stands in the call's `Exchange`.
"""

from collections.abc import Generator
from typing import Any

from mitmproxy import flow as mitm_flow
from mitmproxy import http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HTTPMode, HttpStream, SendHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestHeaders,
    RequestProtocolError,
    ResponseData,
    ResponseHeaders,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook

from addons.exchange import Exchanges
from addons.http1 import Commands, UnwantedBody
from addons.translate import response_of
from proxy.core.errors import Code
from proxy.core.problems import Answer

PATIENT_BYTES = 65_536
"""A refused body up to this size is read to its end, so that the connection can be kept."""


class GatedStream(HttpStream):
    """One request and its response, refusing bodies nobody has vouched for and answering faults in our own words."""

    def __init__(self, context: Context, stream_id: int, exchanges: Exchanges) -> None:
        super().__init__(context, stream_id)
        self._exchanges = exchanges
        self._dialled_for_once = False

    def state_wait_for_request_headers(self, event: RequestHeaders) -> Commands:
        self._exchanges.note_head(event.request, inside=self.mode is HTTPMode.transparent)
        expects = "expect" in event.request.headers
        yield from super().state_wait_for_request_headers(event)
        exchange = self._exchanges.find(self.flow)
        reading = self.client_state == self.state_consume_request_body
        if exchange is None or exchange.refusal is None or not reading or event.end_stream:
            return
        if expects or _declared_bytes(event.request) > PATIENT_BYTES:
            yield from self._answer_now(exchange.refusal)
        else:
            yield SendHttp(UnwantedBody(self.stream_id), self.context.client)

    def state_consume_request_body(self, event: events.Event) -> Commands:
        if isinstance(event, RequestData):
            exchange = self._exchanges.find(self.flow)
            cap = exchange.body_cap if exchange is not None else 0
            if len(self.request_body_buf) + len(event.data) > cap:
                yield from self._refuse_body(cap)
                return
        yield from super().state_consume_request_body(event)

    def handle_protocol_error(self, event: Any) -> Commands:
        yield from self._in_our_words(super().handle_protocol_error(event))

    def check_killed(self, emit_error_hook: bool) -> layer.CommandGenerator[bool]:
        return (yield from self._in_our_words(super().check_killed(emit_error_hook)))

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
        return (yield from super().make_server_connection())

    def flow_done(self) -> Commands:
        """As mitmproxy does; a connection that was dialled for one released call ends with it.

        Left open they would add up, and mitmproxy lets a client connection have five to one address: a sixth waits.
        """
        yield from super().flow_done()
        if self._dialled_for_once:
            yield commands.CloseConnection(self.flow.server_conn)

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

    def _refuse_body(self, cap: int) -> Commands:
        exchange = self._exchanges.find(self.flow)
        self.request_body_buf.clear()
        if exchange is not None and exchange.refusal is None:
            exchange.fault = Code.REQUEST_TOO_LARGE
            exchange.fault_detail = f"the body must be at most {cap} bytes"
            self.flow.error = mitm_flow.Error(exchange.fault_detail)
            yield HttpErrorHook(self.flow)
        if exchange is not None and exchange.refusal is not None:
            yield from self._answer_now(exchange.refusal)
        else:
            yield from self._abort()

    def _answer_now(self, answer: Answer) -> Commands:
        response = response_of(answer, close=True)
        yield SendHttp(ResponseHeaders(self.stream_id, response, False), self.context.client)
        yield SendHttp(ResponseData(self.stream_id, answer.body), self.context.client)
        yield from self._abort()

    def _abort(self) -> Commands:
        yield SendHttp(ResponseProtocolError(self.stream_id, "refused", ErrorCode.KILL), self.context.client)
        self.client_state = self.server_state = self.state_errored
        self.flow.live = False


def _declared_bytes(request: http.Request) -> int:
    """The size a body announced; a chunked one counts as larger than anything."""
    declared = request.headers.get("content-length", "")
    return int(declared) if declared.isascii() and declared.isdigit() else PATIENT_BYTES + 1
