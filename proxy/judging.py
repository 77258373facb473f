"""The looks at a call: it is proven, matched, decided, released by what people said, resolved and recorded.

`proxy.gate` asks them, within a deadline, and turns what they raise into refusals.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from proxy.core.addresses import OwnSurfaces, check_addresses
from proxy.core.bodies.coding import BodyCaps
from proxy.core.canonical import Limits, with_body, with_stream
from proxy.core.clusters import Policy
from proxy.core.content_digest import BodyDigests, check_content_digest, signed_digests
from proxy.core.control import ControlView
from proxy.core.decide import after_release, is_final
from proxy.core.delivering import as_delivered, delivers
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.headers import check_announced, is_small
from proxy.core.model import Call, Decision, Hold, HoldState, IPAddress, Mandate, Proof, Unread, Verdict
from proxy.core.reviewed import elsewhere
from proxy.core.standing import check_standing
from proxy.core.stored import check_stored
from proxy.deciding import Deciding
from proxy.granting import Granting
from proxy.holding import Holding, as_held
from proxy.identify import Identifier, Identity
from proxy.injecting import Injecting, under_grants
from proxy.ports import Control, Replays, Resolver
from proxy.recording import Admission, Outcome, Recorder


class Judge:
    """Takes one look at a call at a time. One per worker; safe for concurrent calls.

    Every look raises Rejected (the call is denied), Unavailable (it cannot be told now), or returns what was recorded.
    """

    def __init__(
        self,
        *,
        policy: Callable[[], Policy],
        identifier: Identifier,
        holding: Holding,
        granting: Granting,
        replays: Replays,
        control: Control,
        resolver: Resolver,
        injecting: Injecting,
        recorder: Recorder,
        own: OwnSurfaces,
        limits: Limits,
        grace_s: int,
        clock: Callable[[], datetime],
        timer: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self._policy = policy
        self._holding = holding
        self._granting = granting
        self._replays = replays
        self._control = control
        self._resolver = resolver
        self._injecting = injecting
        self._recorder = recorder
        self._own = own
        self._limits = limits
        self._grace_s = grace_s
        self._clock = clock
        self._timer = timer
        self._deciding = Deciding(
            policy=policy,
            afresh=identifier.afresh,
            view=control.view,
            own=own,
            grace_s=grace_s,
            caps=BodyCaps(decoded_bytes=limits.inspected_bytes),
            clock=clock,
            new_id=new_id,
        )

    def check_standing(self, mandate: Mandate, view: ControlView, *, filed: bool = False) -> None:
        """Whether what was allowed under this mandate may go on.

        Raises:
            Rejected: it no longer stands, as `proxy.core.standing` says.
        """
        bundle = self._policy().bundle
        check_standing(mandate, bundle, view, now=self._clock(), grace_s=self._grace_s, filed=filed)

    async def glance(self, admission: Admission) -> Outcome | None:
        """The head alone, where no body can change the decision; None if one can."""
        started_s = self._timer()
        identity, received = admission.identity, admission.received
        assert identity is not None and admission.call is not None
        call = with_stream(admission.call, received)
        signed = identity.evidence.proof is not Proof.REQUEST or signed_digests(received.lines) is not None
        glimpse = await self._deciding.decide(identity, call)
        futile = is_final(glimpse) and not is_small(received, self._limits)
        if not (futile or (signed and glimpse.unexamined)):
            check_announced(received, self._limits)
            return None
        await self._vouch(identity)
        decision, addresses = await self._resolved(await self._deciding.decide(identity, call), call)
        if decision.verdict is not Verdict.DENY and not decision.unexamined:
            raise Unavailable(Code.UNDECIDED, "the rules changed while the call was judged")
        return await self._recorded(admission, Outcome(decision=decision, call=call, addresses=addresses), started_s)

    async def first_look(self, admission: Admission, body: bytes | BodyDigests, gone: asyncio.Event) -> Outcome:
        """The whole call, as it came."""
        started_s = self._timer()
        identity = await self.prove(admission, body)
        assert admission.call is not None
        whole = Unread(size=body.size, sha256=body.sha256) if isinstance(body, BodyDigests) else body
        call = with_body(admission.call, whole, self._limits)
        return await self._look(admission, identity, call, started_s, gone)

    async def second_look(self, admission: Admission, before: Outcome, gone: asyncio.Event) -> Outcome:
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
            holding = self._holding
            finding = (
                holding.again(identity, call, waited_for) if waited_for else holding.file(identity, call, decision)
            )
            outcome = await self._held(identity, call, decision, await finding, gone)
        return await self._recorded(admission, outcome, started_s)

    async def _granted(self, identity: Identity, call: Call, decision: Decision) -> Outcome | None:
        """What a route grant makes of a call that is held: it stands for a release, after everything before that."""
        if decision.verdict is not Verdict.HOLD or not under_grants(decision):
            return None
        grants = await self._granting.find(identity, call, decision, self._control.view())
        if not grants:
            return None
        passing, addresses = await self._resolved(after_release(decision, hold_id=grants[0].hold_id), call)
        if passing.verdict is not Verdict.ALLOW:
            return Outcome(decision=passing, call=call)
        use = await self._granting.spend(grants, passing)
        if use is None:
            return None
        return Outcome(decision=replace(passing, hold_id=use.grant.hold_id), call=call, addresses=addresses)

    async def redeem(self, admission: Admission, identity: Identity, hold_id: str, gone: asyncio.Event) -> Outcome:
        """A held call's stored bytes, asked for by id."""
        started_s = self._timer()
        hold = await self._holding.own(identity, hold_id)
        stored = await self._holding.stored(hold)
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
        cleared = await self._holding.check_release(identity, call, hold, decision)
        if not cleared.here:
            return Outcome(decision=elsewhere(as_held(decision, hold)), call=call, hold=hold)
        released, addresses = await self._resolved(after_release(decision, hold_id=hold.id), cleared.call)
        if released.verdict is not Verdict.ALLOW:
            return Outcome(decision=released, call=call, hold=hold)
        claimed = await self._holding.claims.claim(hold)
        if isinstance(claimed, Hold):
            return Outcome(decision=as_held(decision, claimed), call=call, hold=claimed)
        return Outcome(decision=released, call=cleared.call, hold=hold, addresses=addresses, claim=claimed)

    async def prove(self, admission: Admission, body: bytes | BodyDigests) -> Identity:
        """What can only be said of the caller now: its body is the signed one, its mandate stands, its proof is new."""
        if admission.fault is not None:
            raise admission.fault
        identity = admission.identity
        assert identity is not None
        check_body(admission, body)
        await self._vouch(identity)
        return identity

    async def _vouch(self, identity: Identity) -> None:
        """The mandate stands at this moment, and the proof was not used before."""
        self.check_standing(identity.mandate, self._control.view(), filed=identity.filed)
        if identity.evidence.nonce is not None:
            await self._replays.spend(identity.evidence)

    async def _resolved(self, decision: Decision, call: Call) -> tuple[Decision, tuple[IPAddress, ...]]:
        """Resolve an allowed call's destination, once, after policy passed; a forbidden address makes it a denial."""
        if decision.verdict is not Verdict.ALLOW:
            return decision, ()
        self._injecting.for_call(decision, call)  # where there is none, nothing is claimed or spent for the call
        found = await self._resolver.resolve(call.host, call.port)
        try:
            return decision, check_addresses(found, decision.addresses, port=call.port, own=self._own)
        except Rejected as fault:
            return replace(decision, verdict=Verdict.DENY, code=fault.code, message=fault.detail), ()

    async def _recorded(self, admission: Admission, outcome: Outcome, started_s: float) -> Outcome:
        """The outcome, once its line is durable; a claim whose line could not be written is given back."""
        latency_us = int((self._timer() - started_s) * 1_000_000)
        decision = replace(outcome.decision, latency_us=latency_us)
        try:
            outcome = replace(outcome, decision=decision, injection=self._injecting.for_call(decision, outcome.call))
            await self._recorder.decision(admission, outcome.decision, outcome.call)
        except BaseException:
            if outcome.claim is not None:
                await asyncio.shield(self._holding.claims.give_back(outcome.claim))
            raise
        return outcome


def check_body(admission: Admission, body: bytes | BodyDigests) -> None:
    """Reject a body that is not the one its sender signed; only what is signed call by call says so.

    Raises:
        Rejected(PROOF_DIGEST): another body's digest was signed, or none.
    """
    if admission.identity is not None and admission.identity.evidence.proof is Proof.REQUEST:
        check_content_digest(admission.received.lines, body)
