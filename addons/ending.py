"""How a stream ends before its time: with an answer of ours, or without one."""

from mitmproxy.connection import Server
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import DropStream, HttpStream, SendHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)

from addons.exchange import Exchanges
from addons.http1 import Commands
from addons.translate import response_of
from proxy.core.problems import Answer


class EndingStream(HttpStream):
    """One request and its response, as far as it is ended by us."""

    def __init__(self, context: Context, stream_id: int, exchanges: Exchanges, *, http2: bool) -> None:
        super().__init__(context, stream_id)
        self.origin: Server | None = None  # the connection that carries the call, while there is one
        self._exchanges = exchanges
        self._http2 = http2  # of the client: what ends this call must leave its connection to the others

    def _response_started(self) -> bool:
        return self.server_state in (self.state_stream_response_body, self.state_done)

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
        if self._http2:
            yield from self._leave_origin("ended")
        self.client_state = self.server_state = self.state_errored
        self.flow.live = False
        if self._http2:
            self._exchanges.forget(self.flow)
            yield DropStream(self.stream_id)

    def _leave_origin(self, why: str) -> Commands:
        """Give the call up as far as its origin is concerned, which gets no whole request any more."""
        if self.origin is not None and self.origin.timestamp_end is None:
            yield SendHttp(RequestProtocolError(self.stream_id, why, ErrorCode.CANCEL), self.origin)
        self.origin = None
