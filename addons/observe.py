"""What became of an allowed call: responses stream through, faults get an answer, outcomes get a line."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from mitmproxy import http
from mitmproxy.connection import Client

from addons.conversation import answer_client
from addons.dial import Dials
from addons.exchange import Exchange, Exchanges
from proxy.claims import Claim
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.holds import Event
from proxy.core.problems import form_of
from proxy.core.refusals import cut_off
from proxy.delivering import Deliveries
from proxy.gate import Gate

logger = logging.getLogger(__name__)


class Observe:
    """Never delays a response's bytes: only a released call's first byte waits, for its hold to be settled."""

    def __init__(self, gate: Gate, exchanges: Exchanges, dials: Dials, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._gate = gate
        self._exchanges = exchanges
        self._dials = dials
        self._writing: set[asyncio.Task[None]] = set()

    async def responseheaders(self, flow: http.HTTPFlow) -> None:
        exchange = self._forwarded(flow)
        if exchange is None or exchange.outcome is None or flow.response is None:
            return
        flow.response.stream = _counting(exchange)  # first: without it a body would pass as the origin wrote it
        exchange.status = flow.response.status_code
        self._gate.injecting.answered(exchange.injection, flow.response.status_code)
        if flow.response.status_code == 101 and exchange.conversation is not None:
            answer_client(flow.response, exchange.conversation)
        elif flow.response.status_code < 200:
            exchange.fault_detail = f"the origin answered {flow.response.status_code}, which nobody asked for"
            flow.kill()
            return
        flow.response.headers.pop("alt-svc", None)  # it would lead the agent to a way around the proxy
        if exchange.outcome.waited:
            flow.response.headers["Preference-Applied"] = "wait"
        if exchange.delivery is not None:
            exchange.delivery.head(flow.response.status_code, _fields(flow.response))
        if exchange.outcome.claim is not None:
            await self._settle(exchange, Event.SENT)

    async def response(self, flow: http.HTTPFlow) -> None:
        if flow.response is not None and flow.response.status_code == 101:
            return  # a WebSocket begins
        exchange = self._forwarded(flow)
        if exchange is not None and flow.response is not None:
            self._write(exchange, None)
            if exchange.delivery is not None:
                exchange.delivery.complete = True
                await self._deliveries.keep(exchange.delivery)
        exchange = self._exchanges.find(flow)
        if exchange is not None:
            self._end(exchange)

    async def conversation_ended(self, flow: http.HTTPFlow) -> None:
        """A WebSocket has ended, in whatever way: its outcome is written."""
        exchange = self._forwarded(flow)
        if exchange is not None and exchange.conversation is not None:
            self._write(exchange, exchange.stopped.code if exchange.stopped else exchange.conversation.fault)
            self._end(exchange)

    async def error(self, flow: http.HTTPFlow) -> None:
        """Something broke before the response was complete: settle the hold, answer the agent, write the outcome."""
        exchange = self._exchanges.find(flow)
        if exchange is None or exchange.admission is None:
            return
        detail = exchange.fault_detail or (flow.error.msg if flow.error else "")
        form = form_of(exchange.admission.received, exchange.admission.leg)
        if exchange.outcome is not None and exchange.under_way:
            fault = exchange.fault or (Code.CLIENT_GONE if exchange.gone.is_set() else Code.UPSTREAM_BROKEN)
            told = fault
            if exchange.stopped is not None:
                fault = exchange.stopped.code
                told, detail = cut_off(exchange.stopped, sent=exchange.sent)
            exchange.refusal = self._gate.answer(self._gate.fault(exchange.outcome, told, detail), form=form)
            await self._broken(exchange, fault)
        elif exchange.fault is not None and exchange.refusal is None:
            exchange.outcome = await self._gate.refuse(exchange.admission, Rejected(exchange.fault, detail))
            exchange.refusal = self._gate.answer(exchange.outcome, form=form)
        exchange.let_go()

    async def client_disconnected(self, client: Client) -> None:
        for exchange in self._exchanges.of_client(client.id):
            exchange.gone.set()
            if exchange.under_way:
                await self._broken(exchange, exchange.stopped.code if exchange.stopped else Code.CLIENT_GONE)
            self._end(exchange)

    async def _broken(self, exchange: Exchange, fault: Code) -> None:
        self._dials.revoke(exchange)
        self._write(exchange, fault)
        if exchange.delivery is not None and not exchange.delivery.complete:
            await self._deliveries.keep(exchange.delivery)
        if exchange.outcome is not None and exchange.outcome.claim is not None:
            await self._settle(exchange, Event.LOST if exchange.sent else Event.UNSENT)

    async def written(self) -> None:
        """Return once every outcome has its line and every claim its end, or could not get them."""
        while self._writing:
            await asyncio.gather(*self._writing, return_exceptions=True)

    def _forwarded(self, flow: http.HTTPFlow) -> Exchange | None:
        """The exchange, if this response comes from the origin and not from us."""
        exchange = self._exchanges.find(flow)
        if exchange is None or exchange.refusal is not None or exchange.outcome is None:
            return None
        return exchange if exchange.under_way else None

    async def _settle(self, exchange: Exchange, event: Event) -> None:
        if exchange.settled or exchange.outcome is None or exchange.outcome.claim is None:
            return
        exchange.settled = True
        await asyncio.shield(self._noted(self._tell(exchange.outcome.claim, event)))

    async def _tell(self, claim: Claim, event: Event) -> None:
        try:
            await self._gate.holding.claims.settle(claim, event)
        except (Rejected, Unavailable) as fault:
            # The claim stays: whatever happened, this call will not be sent a second time by itself.
            logger.error("hold %s could not be settled as %s: %s", claim.hold_id, event.value, fault)

    def _write(self, exchange: Exchange, fault: Code | None) -> None:
        if not exchange.recorded:
            exchange.recorded = True
            self._noted(self._record(exchange, fault))

    def _noted(self, writing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """What is being written, whoever waits for it and leaves."""
        task = asyncio.ensure_future(writing)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        return task

    async def _record(self, exchange: Exchange, fault: Code | None) -> None:
        assert exchange.outcome is not None
        talk = exchange.conversation if exchange.status == 101 else None
        try:
            await self._gate.recorder.outcome(
                exchange.outcome,
                status=exchange.status,
                bytes_up=talk.bytes_up if talk else exchange.bytes_up,
                bytes_down=talk.bytes_down if talk else exchange.bytes_down,
                duration_ms=int((time.monotonic() - exchange.started_s) * 1000),
                body_sha256=exchange.body_sha256,
                fault=fault,
                websocket=talk.said() if talk else None,
            )
        except Unavailable as fault_writing:
            logger.error("an outcome could not be recorded: %s", fault_writing)

    def _end(self, exchange: Exchange) -> None:
        self._dials.revoke(exchange)
        self._exchanges.drop(exchange)


def _counting(exchange: Exchange) -> Callable[[bytes], list[bytes]]:
    """What a response's body passes through. Nothing is a list of nothing: an empty chunk would end the message."""
    mask = exchange.injection.body() if exchange.injection is not None else None

    def count(data: bytes) -> list[bytes]:
        if mask is not None:
            data = mask.pass_on(data) if data else mask.end()
        exchange.bytes_down += len(data)
        if exchange.delivery is not None:
            exchange.delivery.take(data)
        return [data] if data else []

    return count


def _fields(response: http.Response) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.fields)
