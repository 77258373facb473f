"""The one path of a call: identify → verify → match → decide → record → (await review).

Everything a call needs to pass is asked here, in order, once. Whatever goes wrong on the way ends in a refusal: a
`Rejected` is a denial, an `Unavailable` or an overrun deadline is a 503, and any other exception leaves the refusal in
place that the addon set before it asked.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from proxy.core.addresses import OwnSurfaces, check_addresses
from proxy.core.bodies.coding import BodyCaps
from proxy.core.canonical import Limits, canonical_connect, canonicalise, with_body, with_stream
from proxy.core.clusters import Policy
from proxy.core.content_digest import BodyDigests, check_content_digest, signed_digests
from proxy.core.control import ControlView
from proxy.core.decide import after_release, is_final
from proxy.core.delivering import as_delivered, delivers
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.headers import check_announced, is_small
from proxy.core.holds import Event
from proxy.core.model import (
    Call,
    Decision,
    Hold,
    HoldState,
    IPAddress,
    Leg,
    Mandate,
    Proof,
    Received,
    Unread,
    Verdict,
)
from proxy.core.problems import Answer, Form, Prefer, problem, read_prefer
from proxy.core.reviewed import elsewhere, sent_away
from proxy.core.standing import check_standing
from proxy.core.stored import check_stored
from proxy.deciding import Deciding, late
from proxy.granting import Granting
from proxy.holding import Holding, as_held
from proxy.identify import Identifier, Identity, Tunnel
from proxy.injecting import Injecting, under_grants
from proxy.policy.inforce import one_policy
from proxy.ports import Control, Journal, Replays, Resolver
from proxy.recording import NO_PREFERENCE, Admission, Outcome, Recorder

logger = logging.getLogger(__name__)

DECISION_DEADLINE_S = 1.5
"""Everything a decision waits for, except a reviewer, must answer within this."""
REFUSAL_DEADLINE_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What the gate takes from proxy.yaml. Times in seconds."""

    limits: Limits
    own: OwnSurfaces
    max_wait_s: int
    grace_s: int
    challenge_connect: bool = False  # answer a CONNECT without evidence with 407


class Gate:
    """Judges calls. One per worker; safe for concurrent calls."""

    def __init__(
        self,
        *,
        policy: Callable[[], Policy],
        identifier: Identifier,
        holding: Holding,
        granting: Granting,
        replays: Replays,
        control: Control,
        journal: Journal,
        resolver: Resolver,
        injecting: Injecting,
        keyed_hash: Callable[[str], str],
        settings: GateSettings,
        clock: Callable[[], datetime],
        timer: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._policy = policy
        self._identifier = identifier
        self.holding = holding
        self._granting = granting
        self._replays = replays
        self._control = control
        self._resolver = resolver
        self.injecting = injecting
        self.recorder = Recorder(policy=policy, journal=journal, keyed_hash=keyed_hash, clock=clock, new_id=new_id)
        self.settings = settings
        self._clock = clock
        self._timer = timer
        self._deciding = Deciding(
            policy=policy,
            afresh=identifier.afresh,
            view=control.view,
            own=settings.own,
            grace_s=settings.grace_s,
            caps=BodyCaps(decoded_bytes=settings.limits.inspected_bytes),
            clock=clock,
            new_id=new_id,
        )

    async def admit(self, received: Received, leg: Leg, tunnel: Tunnel | None) -> Admission:
        """Read a request head: is it unambiguous, and who is asking? What speaks against it is kept, not raised."""
        prefer = read_prefer(received.headers)
        try:
            call = canonicalise(received, leg, self.settings.limits)
        except Rejected as fault:
            return Admission(leg=leg, received=received, ambiguous=fault, prefer=prefer)
        try:
            identity = await self._identifier.identify(received, leg, tunnel)
        except (Rejected, Unavailable) as fault:
            return Admission(leg=leg, received=received, call=call, refusal=fault, prefer=prefer)
        return Admission(leg=leg, received=received, call=call, identity=identity, prefer=prefer)

    def offers_http2(self, host: str, port: int) -> bool:
        """Whether a tunnel to this host and port may carry HTTP/2; what passes inside is judged all the same."""
        return self._policy().http2.covers(host, port)

    async def judge_head(self, admission: Admission) -> Outcome | None:
        """Decide what needs no body: a call whose body may stream through unexamined, one announced too large, and
        one with a large body that is denied whatever it is: nothing of that is taken in.

        None: the body must come first (`judge`). Not checked here: the digest of such a body (`check_body`).
        """
        return await self._within_deadline(admission, lambda: self._glance(admission))

    async def judge(self, admission: Admission, body: bytes | BodyDigests, *, gone: asyncio.Event) -> Outcome:
        """Decide one call whose body came whole, in memory or not, wait for a reviewer if it asked to, and record it.

        `gone` is set when the client leaves: a waiting call then stops waiting, and nothing is sent.
        """
        outcome = await self._within_deadline(admission, lambda: self._first_look(admission, body, gone))
        hold = outcome.hold
        if outcome.decision.verdict is Verdict.HOLD and hold is not None and outcome.call is not None:
            wait_s = min(admission.prefer.waits_s(outcome.decision.review.wait_s), self.settings.max_wait_s)
            waits, identity = self.holding.waits, admission.identity
            assert identity is not None
            if wait_s > 0 and await waits.reviewed(hold, identity.mandate, wait_s, gone):
                return await self._within_deadline(admission, lambda: self._second_look(admission, outcome, gone))
            if wait_s > 0 and waits.leaving.is_set():
                return replace(outcome, decision=sent_away(outcome.decision))
        return outcome

    async def prove(self, admission: Admission, body: bytes) -> Identity:
        """The identity behind a request to the proxy's own pages, its nonce spent.

        Raises:
            Rejected: no proof, or proof that fails.
            Unavailable: it could not be told in time.
        """
        try:
            async with asyncio.timeout(DECISION_DEADLINE_S):
                return await self._prove(admission, body)
        except TimeoutError:
            raise late(DECISION_DEADLINE_S) from None

    async def redeem(self, admission: Admission, identity: Identity, hold_id: str, *, gone: asyncio.Event) -> Outcome:
        """Send a released call's stored bytes: `POST http://intent.internal/holds/ID/redeem`, by its own mandate."""
        return await self._within_deadline(admission, lambda: self._redeem(admission, identity, hold_id, gone))

    async def abandon(self, outcome: Outcome, fault: Code) -> None:
        """Take back an allow of which nothing was sent: a claimed hold is approved again, the outcome is written."""
        try:
            if outcome.claim is not None:
                await self.holding.claims.settle(outcome.claim, Event.UNSENT)
            await self.recorder.outcome(outcome, status=None, bytes_up=0, bytes_down=0, duration_ms=0, fault=fault)
        except (Rejected, Unavailable) as failed:
            logger.error(
                "call %s was not sent, and that could not be recorded: %s", outcome.decision.decision_id, failed
            )

    async def open_tunnel(self, received: Received, leg: Leg) -> Tunnel | Outcome:
        """Accept a CONNECT, with the identity it proved if it brought evidence; or refuse it. Nothing is dialled."""
        admission = Admission(leg=leg, received=received)
        try:
            async with asyncio.timeout(DECISION_DEADLINE_S):
                host, port = canonical_connect(received, self.settings.limits)
                identity = await self._identifier.identify_connect(received, leg)
                if identity is None and self.settings.challenge_connect:
                    raise Rejected(Code.PROOF_MISSING, "this listener wants proof with CONNECT")
                if identity is not None:
                    await self._prove(replace(admission, identity=identity), b"")
        except TimeoutError:
            return await self.refuse(admission, late(DECISION_DEADLINE_S))
        except (Rejected, Unavailable) as fault:
            return await self.refuse(admission, fault)
        return Tunnel(host=host, port=port, outer_tls=leg.tls, identity=identity)

    async def refuse_wire(self, leg: Leg, fault: Rejected) -> Outcome:
        """Record the refusal of bytes that were no request at all."""
        nothing = Received(method=b"", scheme="http", form="origin", authority=b"", target=b"", headers=())
        return await self.refuse(Admission(leg=leg, received=nothing), fault)

    async def refuse(self, admission: Admission, fault: Rejected | Unavailable) -> Outcome:
        """Record a refusal that was clear before the body came, or that the wire or a broken part demanded."""
        decision = self.recorder.refused(admission, fault)
        # The part that fails may be the journal or the clock; the answer is a refusal all the same. What is left of the
        # two seconds is short; the journal writes the line even when nobody waits for it.
        with suppress(TimeoutError, Unavailable):
            async with asyncio.timeout(REFUSAL_DEADLINE_S):
                await self.recorder.decision(admission, decision, admission.call)
        return Outcome(decision=decision, call=admission.call)

    def view(self) -> ControlView:
        """What is stopped at this moment. Raises Unavailable(VIEW_STALE): nobody has told us for too long."""
        return self._control.view()

    def check_standing(self, mandate: Mandate, view: ControlView, *, filed: bool = False) -> None:
        """Whether what was allowed under this mandate may go on.

        Raises:
            Rejected: it no longer stands, as `proxy.core.standing` says.
        """
        bundle = self._policy().bundle
        check_standing(mandate, bundle, view, now=self._clock(), grace_s=self.settings.grace_s, filed=filed)

    def answer(self, outcome: Outcome, *, form: Form, prefer: Prefer = NO_PREFERENCE) -> Answer:
        """What the agent reads instead of a response."""
        now, hold, call = self._clock(), outcome.hold, outcome.call
        return problem(outcome.decision, hold=hold, form=form, prefer=prefer, now=now, call=call)

    def fault(self, outcome: Outcome, code: Code, detail: str) -> Outcome:
        """An allowed call that the world behind us failed: the same decision id, told as a denial."""
        decision = replace(outcome.decision, verdict=Verdict.DENY, code=code, message=detail, hold_id=None)
        hold = replace(outcome.hold, state=HoldState.RELEASING) if outcome.claim and outcome.hold else None
        return Outcome(decision=decision, call=outcome.call, hold=hold)

    def check_body(self, admission: Admission, body: bytes | BodyDigests) -> None:
        """Reject a body that is not the one its sender signed; only what is signed call by call says so.

        Raises:
            Rejected(PROOF_DIGEST): another body's digest was signed, or none.
        """
        if admission.identity is not None and admission.identity.evidence.proof is Proof.REQUEST:
            check_content_digest(admission.received.headers, body)

    async def _within_deadline[T](self, admission: Admission, look: Callable[[], Awaitable[T]]) -> T | Outcome:
        try:
            with one_policy(self._policy):
                async with asyncio.timeout(DECISION_DEADLINE_S):
                    return await look()
        except TimeoutError:
            return await self.refuse(admission, late(DECISION_DEADLINE_S))
        except (Rejected, Unavailable) as fault:
            return await self.refuse(admission, fault)

    async def _glance(self, admission: Admission) -> Outcome | None:
        started_s = self._timer()
        identity, received = admission.identity, admission.received
        assert identity is not None and admission.call is not None
        call = with_stream(admission.call, received)
        signed = identity.evidence.proof is not Proof.REQUEST or signed_digests(received.headers) is not None
        glimpse = await self._deciding.decide(identity, call)
        futile = is_final(glimpse) and not is_small(received, self.settings.limits)
        if not (futile or (signed and glimpse.unexamined)):
            check_announced(received, self.settings.limits)
            return None
        await self._vouch(identity)
        decision, addresses = await self._resolved(await self._deciding.decide(identity, call), call)
        if decision.verdict is not Verdict.DENY and not decision.unexamined:
            raise Unavailable(Code.UNDECIDED, "the rules changed while the call was judged")
        return await self._recorded(admission, Outcome(decision=decision, call=call, addresses=addresses), started_s)

    async def _first_look(self, admission: Admission, body: bytes | BodyDigests, gone: asyncio.Event) -> Outcome:
        started_s = self._timer()
        identity = await self._prove(admission, body)
        assert admission.call is not None
        whole = Unread(size=body.size, sha256=body.sha256) if isinstance(body, BodyDigests) else body
        call = with_body(admission.call, whole, self.settings.limits)
        return await self._look(admission, identity, call, started_s, gone)

    async def _second_look(self, admission: Admission, before: Outcome, gone: asyncio.Event) -> Outcome:
        """The call again, after its hold changed: everything that may have changed with it is asked again."""
        assert admission.identity is not None and before.call is not None and before.hold is not None
        identity, started_s = replace(admission.identity, filed=True), self._timer()
        again = await self._look(admission, identity, before.call, started_s, gone, waited_for=before.hold.id)
        return replace(again, waited=True)

    async def _look(
        self,
        admission: Admission,
        identity: Identity,
        call: Call,
        started_s: float,
        gone: asyncio.Event,
        *,
        waited_for: str | None = None,
    ) -> Outcome:
        decision, addresses = await self._resolved(await self._deciding.decide(identity, call), call)
        outcome = Outcome(decision=decision, call=call, addresses=addresses)
        granted = None if waited_for else await self._granted(identity, call, decision)
        if granted is not None:
            outcome = granted
        elif decision.verdict is Verdict.HOLD:
            holding = self.holding
            finding = (
                holding.again(identity, call, waited_for) if waited_for else holding.file(identity, call, decision)
            )
            outcome = await self._held(identity, call, decision, await finding, gone)
        return await self._recorded(admission, outcome, started_s)

    async def _granted(self, identity: Identity, call: Call, decision: Decision) -> Outcome | None:
        """What a route grant makes of a call that is held: it stands for a release, after everything before that."""
        if decision.verdict is not Verdict.HOLD or not under_grants(decision):
            return None
        grants = await self._granting.find(identity, call, decision, self.view())
        if not grants:
            return None
        passing, addresses = await self._resolved(after_release(decision, hold_id=grants[0].hold_id), call)
        if passing.verdict is not Verdict.ALLOW:
            return Outcome(decision=passing, call=call)
        use = await self._granting.spend(grants, passing)
        if use is None:
            return None
        return Outcome(decision=replace(passing, hold_id=use.grant.hold_id), call=call, addresses=addresses)

    async def _redeem(self, admission: Admission, identity: Identity, hold_id: str, gone: asyncio.Event) -> Outcome:
        started_s = self._timer()
        hold = await self.holding.own(identity, hold_id)
        stored = await self.holding.stored(hold)
        check_stored(stored)
        identity = replace(identity, intent=stored.decision.intent)
        decision = await self._deciding.decide(identity, stored.call)
        if identity.filed and not delivers(stored.decision, stored.call, today=decision):
            raise Rejected(Code.HOLD_NOT_PERMITTED, "the call's rule does not let a node send it by itself")
        outcome = Outcome(decision=decision, call=stored.call)
        if decision.verdict is not Verdict.DENY:  # also when the mandate has grown: the approved bytes go out once
            outcome = await self._held(identity, stored.call, decision, hold, gone)
        if identity.filed and outcome.claim is not None:
            outcome = replace(outcome, call=as_delivered(stored.decision, stored.call, hold.id))
        return await self._recorded(admission, outcome, started_s)

    async def _held(
        self, identity: Identity, call: Call, decision: Decision, hold: Hold, gone: asyncio.Event
    ) -> Outcome:
        """What a hold's state means for the call that found it; an approved one lets it pass, once."""
        if hold.state is not HoldState.APPROVED or gone.is_set():
            return Outcome(decision=as_held(decision, hold), call=call, hold=hold)
        cleared = await self.holding.check_release(identity, call, hold, decision)
        if not cleared.here:
            return Outcome(decision=elsewhere(as_held(decision, hold)), call=call, hold=hold)
        released, addresses = await self._resolved(after_release(decision, hold_id=hold.id), cleared.call)
        if released.verdict is not Verdict.ALLOW:
            return Outcome(decision=released, call=call, hold=hold)
        claimed = await self.holding.claims.claim(hold)
        if isinstance(claimed, Hold):
            return Outcome(decision=as_held(decision, claimed), call=call, hold=claimed)
        return Outcome(decision=released, call=cleared.call, hold=hold, addresses=addresses, claim=claimed)

    async def _prove(self, admission: Admission, body: bytes | BodyDigests) -> Identity:
        """What can only be said of the caller now: its body is the signed one, its mandate stands, its proof is new."""
        if admission.fault is not None:
            raise admission.fault
        identity = admission.identity
        assert identity is not None
        self.check_body(admission, body)
        await self._vouch(identity)
        return identity

    async def _vouch(self, identity: Identity) -> None:
        """The mandate stands at this moment, and the proof was not used before."""
        self.check_standing(identity.mandate, self.view(), filed=identity.filed)
        if identity.evidence.nonce is not None:
            await self._replays.spend(identity.evidence)

    async def _resolved(self, decision: Decision, call: Call) -> tuple[Decision, tuple[IPAddress, ...]]:
        """Resolve an allowed call's destination, once, after policy passed; a forbidden address makes it a denial."""
        if decision.verdict is not Verdict.ALLOW:
            return decision, ()
        self.injecting.for_call(decision, call)  # where there is none, nothing is claimed or spent for the call
        found = await self._resolver.resolve(call.host, call.port)
        try:
            return decision, check_addresses(found, decision.addresses, port=call.port, own=self.settings.own)
        except Rejected as fault:
            return replace(decision, verdict=Verdict.DENY, code=fault.code, message=fault.detail), ()

    async def _recorded(self, admission: Admission, outcome: Outcome, started_s: float) -> Outcome:
        """The outcome, once its line is durable; a claim whose line could not be written is given back."""
        latency_us = int((self._timer() - started_s) * 1_000_000)
        outcome = replace(outcome, decision=replace(outcome.decision, latency_us=latency_us))
        try:
            outcome = replace(outcome, injection=self.injecting.for_call(outcome.decision, outcome.call))
            await self.recorder.decision(admission, outcome.decision, outcome.call)
        except BaseException:
            if outcome.claim is not None:
                await asyncio.shield(self.holding.claims.give_back(outcome.claim))
            raise
        return outcome
