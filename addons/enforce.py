"""The verdict on every call: refuse first, ask the gate, and only an explicit allow lifts the refusal."""

import time
from typing import assert_never

from mitmproxy import http

from addons.conversation import ask_origin
from addons.dial import TOKEN_LIFE_S, Dials, DialToken
from addons.exchange import Exchange, Exchanges
from addons.intake import Bodies
from addons.translate import Tunnels, forward, received, response_of, undecided
from proxy.core.content_digest import BodyDigests
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.headers import announced_bytes
from proxy.core.model import Unread, Verdict
from proxy.core.problems import Answer, form_of
from proxy.delivering import Deliveries
from proxy.gate import Gate
from proxy.internal import Internal, Redeem
from proxy.recording import Admission, Outcome


class Enforce:
    """The last addon with a `request` hook, so that nothing can undo its refusal."""

    def __init__(
        self,
        gate: Gate,
        internal: Internal,
        tunnels: Tunnels,
        exchanges: Exchanges,
        dials: Dials,
        bodies: Bodies,
        deliveries: Deliveries,
    ) -> None:
        self._gate = gate
        self._deliveries = deliveries
        self._bodies = bodies
        self._internal = internal
        self._tunnels = tunnels
        self._exchanges = exchanges
        self._dials = dials

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Read the head and who is asking, before any of the body may grow in memory."""
        flow.response = undecided()
        head = self._exchanges.take_head(flow.request)
        tunnel = self._tunnels.by_client.get(flow.client_conn.id)
        if flow.error is not None or not flow.client_conn.connected or head.inside is not (tunnel is not None):
            return  # refused by mitmproxy itself, or its client has left: the refusal stands
        exchange = Exchange(flow=flow, client_id=flow.client_conn.id, started_s=time.monotonic())
        exchange.delivery = self._deliveries.of_client(exchange.client_id)
        self._exchanges.open(exchange)
        self._exchanges.valves.narrow(exchange.client_id)
        inner_tls = tunnel is not None and flow.request.scheme == "https"
        scheme = head.scheme if flow.request.is_http2 else flow.request.scheme
        asked = received(flow.request, authority=head.authority, scheme=scheme)
        if exchange.delivery is None:
            leg = self._tunnels.leg_of(flow.client_conn, inner_tls=inner_tls)
            admission = await self._gate.admit(asked, leg, tunnel)
        else:
            admission = await self._deliveries.admit(asked, exchange.client_id, exchange.delivery)
        exchange.admission = admission
        if self._internal.serves(admission):
            exchange.intake = self._bodies.begin_small()
        elif admission.fault is not None:
            await self._refuse_early(flow, exchange, admission, admission.fault)
        elif not head.ends:
            await self._expect_body(flow, exchange, admission)

    async def _expect_body(self, flow: http.HTTPFlow, exchange: Exchange, admission: Admission) -> None:
        """A body follows: let it pass as it comes if the head alone is allowed so, else make room for it."""
        try:
            exchange.outcome = await self._gate.judge_head(admission)
            if exchange.outcome is not None:
                self._carry_out(flow, exchange, admission, exchange.outcome)
                exchange.streams = flow.request.stream = flow.response is None
        finally:
            await self._give_up(flow, exchange)
        if exchange.refusal is not None:
            flow.request.headers.pop("expect", None)
        if exchange.outcome is None:
            assert admission.identity is not None
            try:
                announced = announced_bytes(admission.received)
                exchange.intake = self._bodies.begin(admission.identity.mandate.root_id, announced)
            except (Rejected, Unavailable) as fault:
                await self._refuse_early(flow, exchange, admission, fault)
        if exchange.refusal is None:
            self._exchanges.valves.widen(exchange.client_id)

    async def _refuse_early(
        self, flow: http.HTTPFlow, exchange: Exchange, admission: Admission, fault: Rejected | Unavailable
    ) -> None:
        flow.request.headers.pop("expect", None)  # no 100 Continue for a body nobody will take
        exchange.outcome = await self._gate.refuse(admission, fault)
        exchange.refusal = self._answer(admission, exchange.outcome)

    async def request(self, flow: http.HTTPFlow) -> None:
        """Judge the whole call. Whatever happens here, a call without an explicit allow is not forwarded."""
        flow.response = flow.response or undecided()
        exchange = self._exchanges.find(flow)
        if exchange is None or exchange.admission is None:
            return
        if exchange.refusal is not None:
            flow.response = response_of(exchange.refusal)
            return
        if exchange.outcome is not None:
            return  # an allow that could not be carried out: the refusal stands
        try:
            body = b"" if exchange.intake is None else exchange.intake.whole()
            await self._judge(flow, exchange, exchange.admission, body)
        finally:
            await self._give_up(flow, exchange)

    async def _judge(
        self, flow: http.HTTPFlow, exchange: Exchange, admission: Admission, body: bytes | BodyDigests
    ) -> None:
        if self._internal.serves(admission):
            assert isinstance(body, bytes)
            answered = await self._serve(exchange, admission, body)
            if isinstance(answered, Answer):
                flow.response = response_of(answered)
                return
            exchange.outcome = answered
        else:
            exchange.outcome = await self._gate.judge(admission, body, gone=exchange.gone)
        self._carry_out(flow, exchange, admission, exchange.outcome)

    async def _serve(self, exchange: Exchange, admission: Admission, body: bytes) -> Answer | Outcome:
        try:
            page = await self._internal.answer(admission, body)
        except (Rejected, Unavailable) as fault:
            return await self._gate.refuse(admission, fault)
        if isinstance(page, Redeem):
            return await self._gate.redeem(admission, page.identity, page.hold_id, gone=exchange.gone)
        return page

    def _carry_out(self, flow: http.HTTPFlow, exchange: Exchange, admission: Admission, outcome: Outcome) -> None:
        match outcome.decision.verdict:
            case Verdict.ALLOW:
                self._let_through(flow, exchange, outcome)
            case Verdict.HOLD | Verdict.DENY:
                exchange.refusal = self._answer(admission, outcome)
                flow.response = response_of(exchange.refusal)
            case _:
                assert_never(outcome.decision.verdict)

    def _let_through(self, flow: http.HTTPFlow, exchange: Exchange, outcome: Outcome) -> None:
        call = outcome.call
        if call is None or not outcome.addresses or exchange.gone.is_set():
            return  # the refusal stands
        forward(flow, call)
        if call.websocket:
            assert exchange.admission is not None
            exchange.conversation = ask_origin(flow.request, exchange.admission.received)
        exchange.bytes_up = 0 if isinstance(call.body, Unread) else len(call.body)
        token = DialToken(
            exchange=exchange,
            addresses=outcome.addresses,
            tls=call.scheme == "https",
            deadline_s=time.monotonic() + TOKEN_LIFE_S,
        )
        self._dials.grant((exchange.client_id, call.host, call.port), token)
        if exchange.admission is not None and exchange.admission.identity is not None:
            self._exchanges.note_served(exchange.client_id, exchange.admission.identity)
        flow.response = None

    async def _give_up(self, flow: http.HTTPFlow, exchange: Exchange) -> None:
        """An allow that was not carried out, as when the client left: nothing was sent, and that is written."""
        outcome = exchange.outcome
        if flow.response is None or outcome is None or outcome.decision.verdict is not Verdict.ALLOW:
            return
        exchange.settled = exchange.recorded = True
        await self._gate.abandon(outcome, Code.CLIENT_GONE)

    def _answer(self, admission: Admission, outcome: Outcome) -> Answer:
        return self._gate.answer(outcome, form=form_of(admission.received, admission.leg), prefer=admission.prefer)
