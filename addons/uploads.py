"""The way of a request's body through a stream: taken in before the verdict, or passed on as it comes after it.

A body that does not fit in memory is written to a spool and sent from there, piece by piece, no faster than the origin
reads. One that a rule leaves unexamined passes through, but its end is kept back until its digest is known to be the
signed one: an origin that is sent another body never gets a whole message.
"""

from collections.abc import Generator
from functools import cached_property
from typing import Any

from mitmproxy import flow as mitm_flow
from mitmproxy.http import Response
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import SendHttp
from mitmproxy.proxy.layers.http._events import (
    HttpEvent,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    ResponseEndOfMessage,
    ResponseHeaders,
)
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook

from addons.carrier import EndBodyHook, Ending, Sending, SendPieceHook, WriteBodyHook, Writing
from addons.ending import EndingStream
from addons.exchange import Exchange, Exchanges
from addons.http1 import Commands, RefusedBody, UnwantedBody
from addons.http2 import Unhurried
from addons.intake import Intake
from proxy.core.content_digest import BodyDigests
from proxy.core.errors import Code, Rejected, Unavailable

EVENT_BYTES = 256
"""What a waiting event costs besides its data."""


class NextPiece(HttpEvent):
    """The layer's word to a stream: its origin has room for the next piece of a spooled body."""


class UploadStream(EndingStream):
    """One request as far as its body goes."""

    def __init__(self, context: Context, stream_id: int, exchanges: Exchanges, *, http2: bool) -> None:
        super().__init__(context, stream_id, exchanges, http2=http2)
        self.next_piece: int | None = None  # to be sent when the origin has room for it
        self._expects = False
        self._announced: int | None = None
        self._kept_back = b""
        self._sending: SendPieceHook | None = None
        self._queued_bytes = 0

    @cached_property
    def _digests(self) -> BodyDigests:
        """Of a body that passes through."""
        return BodyDigests()

    # --- what waits --------------------------------------------------------------------------------------------------

    def handle_event(self, event: events.Event) -> Commands:
        """As mitmproxy does; while this stream waits for something, not much of its body may gather before it.

        HTTP/2 has a window for each stream, which opens only as its body is used.
        """
        yield from super().handle_event(event)
        if self._http2:
            return
        if not self._paused_event_queue:
            queued = 0
        elif event is self._paused_event_queue[-1]:
            queued = self._queued_bytes + _weight(event)
        else:  # it went on, and waits again
            queued = sum(map(_weight, self._paused_event_queue))
        if queued != self._queued_bytes:
            self._queued_bytes = queued
            self._exchanges.valves.hold(self.context.client.id, self.stream_id, queued)

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, events.HookCompleted) and isinstance(event.command, SendPieceHook):
            yield from self._piece_ready(event.command)
        elif isinstance(event, NextPiece):
            yield from self._send_piece()
        else:
            yield from super()._handle_event(event)

    # --- before the verdict ------------------------------------------------------------------------------------------

    def state_consume_request_body(self, event: events.Event) -> Commands:
        exchange = self._exchanges.find(self.flow)
        if isinstance(event, RequestData):
            yield from self._take_in(exchange, event.data)
        elif isinstance(event, RequestEndOfMessage) and exchange is not None and exchange.refusal is None:
            yield from self._taken_in(exchange, super().state_consume_request_body(event))
        else:
            yield from super().state_consume_request_body(event)

    def _take_in(self, exchange: Exchange | None, data: bytes) -> Commands:
        if exchange is not None and exchange.refusal is not None:
            return  # read to its end, so that the connection can be kept, and forgotten
        if exchange is None or exchange.intake is None:
            yield from self._fail(Rejected(Code.REQUEST_TOO_LARGE, "no body was announced"))
            return
        try:
            exchange.intake.take(data)
        except (Rejected, Unavailable) as fault:
            yield from self._fail(fault)
            return
        if exchange.intake.due:
            yield from self._write(exchange.intake, rest=False)

    def _taken_in(self, exchange: Exchange, judged: Generator[commands.Command, Any, None]) -> Commands:
        """The whole body came: what is spooled is written out, judged, and then sent from where it is."""
        intake = exchange.intake
        if intake is not None and intake.spooled:
            yield from self._write(intake, rest=True)
            if self.client_state == self.state_errored:
                return
        reply: Any = None
        while True:
            try:
                command = judged.send(reply)
            except StopIteration:
                return
            reply = None
            if exchange.spooled and isinstance(command, SendHttp) and command.connection is self.context.server:
                yield from self._from_spool(command)
            else:
                reply = yield command

    def _write(self, intake: Intake, *, rest: bool) -> Commands:
        job = Writing(intake, rest)
        yield WriteBodyHook(job)
        if job.fault is not None:
            yield from self._fail(job.fault)

    # --- from the spool ----------------------------------------------------------------------------------------------

    def _from_spool(self, command: SendHttp) -> Commands:
        """In place of a message without a body: its head, and then one piece after the other."""
        if isinstance(command.event, RequestHeaders):
            head = RequestHeaders(self.stream_id, self.flow.request, end_stream=False)
            yield SendHttp(head, self.context.server)
        elif isinstance(command.event, RequestEndOfMessage):
            self.client_state = self.state_stream_request_body
            self.next_piece = 0
            yield from self._send_piece()

    def _send_piece(self) -> Commands:
        number, self.next_piece = self.next_piece, None
        exchange = self._exchanges.find(self.flow)
        if exchange is None or exchange.intake is None or number is None:
            yield from self._fail(Unavailable(Code.SPOOL, "the body is gone"))
            return
        hook = SendPieceHook(Sending(exchange, exchange.intake, number, self.context.client, self.context.server))
        # As if a layer below had dealt with it: we are told when it is done, and hear everything else meanwhile.
        vars(hook)["blocking"] = self
        self._sending = hook
        yield hook

    def _piece_ready(self, hook: SendPieceHook) -> Commands:
        job, exchange = hook.data, self._exchanges.find(self.flow)
        if hook is not self._sending or self.client_state != self.state_stream_request_body or exchange is None:
            return  # the call has ended meanwhile
        if job.gone:
            return
        if job.fault is not None:
            yield from self._fail(job.fault)
            return
        exchange.bytes_up += len(job.piece)
        yield SendHttp(RequestData(self.stream_id, job.piece), self.context.server)
        if job.number + 1 == job.intake.count:
            yield from self._end_message()
            return
        self.next_piece = job.number + 1
        if not self._http2:  # else its layer knows when the origin's window is open
            yield from self._send_piece()

    # --- as it comes -------------------------------------------------------------------------------------------------

    def start_request_stream(self) -> Commands:
        exchange = self._exchanges.find(self.flow)
        if exchange is None or not exchange.streams or self.flow.response is not None:
            self.client_state = self.state_consume_request_body  # the allow was taken back
            return
        length = self.flow.request.headers.get("content-length")
        self._announced = None if length is None else int(length)
        yield from super().start_request_stream()
        if self._http2:
            yield SendHttp(Unhurried(self.stream_id), self.context.client)
        if self._expects and self.client_state == self.state_stream_request_body:
            go_on = Response.make(100)
            go_on.headers.clear()
            yield SendHttp(ResponseHeaders(self.stream_id, go_on, False), self.context.client)

    def state_stream_request_body(self, event: events.Event) -> Commands:
        exchange = self._exchanges.find(self.flow)
        if exchange is None:
            yield from self._abort()
        elif isinstance(event, RequestData):
            yield from self._pass_on(exchange, event.data)
        elif isinstance(event, RequestEndOfMessage):
            yield from self._pass_end(exchange)

    def _pass_on(self, exchange: Exchange, data: bytes) -> Commands:
        """Everything at once, but the very last byte of a body whose length the origin knows."""
        room = len(data) if self._announced is None else max(0, self._announced - 1 - self._digests.size)
        self._digests.add(data)
        self._kept_back += data[room:]
        if passing := data[:room]:
            exchange.bytes_up += len(passing)
            yield SendHttp(RequestData(self.stream_id, passing), self.context.server)

    def _pass_end(self, exchange: Exchange) -> Commands:
        exchange.body_sha256 = self._digests.sha256
        job = Ending(exchange, self._digests, self.context.client, self.context.server)
        if self._announced not in (None, self._digests.size):
            detail = f"Content-Length says {self._announced} bytes, the body has {self._digests.size}"
            job.fault = Rejected(Code.REQUEST_MALFORMED, detail)
        else:
            yield EndBodyHook(job)
        if job.fault is not None:
            yield from self._fail(job.fault)
            return
        if self._kept_back:
            exchange.bytes_up += len(self._kept_back)
            yield SendHttp(RequestData(self.stream_id, self._kept_back), self.context.server)
        yield from self._end_message()

    # --- ends --------------------------------------------------------------------------------------------------------

    def handle_protocol_error(self, event: Any) -> Commands:
        exchange = self._exchanges.find(self.flow)
        if isinstance(event, RequestProtocolError) and exchange is not None and exchange.under_way:
            exchange.fault = exchange.fault or (event.refused if isinstance(event, RefusedBody) else Code.CLIENT_GONE)
        yield from super().handle_protocol_error(event)

    def _end_message(self) -> Commands:
        self.client_state = self.state_done
        exchange = self._exchanges.find(self.flow)
        if exchange is not None:
            exchange.let_go()
        yield SendHttp(RequestEndOfMessage(self.stream_id), self.context.server)

    def send_response(self, already_streamed: bool = False) -> Commands:
        """As mitmproxy does; once the answer is whole nothing more of the body is sent, and what comes is forgotten."""
        yield from super().send_response(already_streamed)
        if self.server_state != self.state_done or self.client_state == self.state_done:
            return
        if self._http2:
            yield SendHttp(ResponseEndOfMessage(self.stream_id), self.context.client)
            yield from self._end()
        elif self.client_state == self.state_stream_request_body:
            yield from self._leave_origin("the origin has answered")
            self.client_state = self.state_errored  # which takes whatever still waits, and forgets it
            yield SendHttp(UnwantedBody(self.stream_id), self.context.client)
            yield from self.flow_done()

    def _fail(self, why: Rejected | Unavailable) -> Commands:
        """The request ends here: an origin gets no whole message, and an agent without an answer is told why."""
        if self.client_state == self.state_errored:
            return
        exchange = self._exchanges.find(self.flow)
        yield from self._leave_origin(why.detail)
        self.client_state = self.state_errored
        if exchange is not None and exchange.refusal is None:
            exchange.fault, exchange.fault_detail = why.code, why.detail
            self.flow.error = mitm_flow.Error(why.detail)
            yield HttpErrorHook(self.flow)
        if exchange is not None:
            exchange.let_go()
        if exchange is not None and exchange.refusal is not None and not self._response_started():
            yield from self._answer_now(exchange.refusal)
        else:
            yield from self._abort()


def _weight(event: events.Event) -> int:
    return EVENT_BYTES + len(event.data) if isinstance(event, RequestData) else 0
