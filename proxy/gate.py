"""The one path of a call: identify → verify → match → decide → record → (await review).

Everything a call needs to pass is asked here, in order, once; the looks themselves are `proxy.judging`. Whatever goes
wrong on the way ends in a refusal: a `Rejected` is a denial, an `Unavailable` or an overrun deadline is a 503, and any
other exception leaves the refusal in place that the addon set before it asked.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from proxy.core.addresses import OwnSurfaces
from proxy.core.canonical import Limits, canonical_connect, canonicalise
from proxy.core.clusters import Policy
from proxy.core.content_digest import BodyDigests
from proxy.core.control import ControlView
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.holds import Event
from proxy.core.model import HoldState, Leg, Mandate, Received, Verdict
from proxy.core.problems import Answer, Form, Prefer, problem, read_prefer
from proxy.core.reviewed import sent_away
from proxy.deciding import late
from proxy.granting import Granting
from proxy.holding import Holding
from proxy.identify import Identifier, Identity, Tunnel
from proxy.injecting import Injecting
from proxy.judging import Judge
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
        self._control = control
        self.holding = holding
        self.injecting = injecting
        self.recorder = Recorder(policy=policy, journal=journal, keyed_hash=keyed_hash, clock=clock, new_id=new_id)
        self.settings = settings
        self._clock = clock
        self._judge = Judge(
            policy=policy,
            identifier=identifier,
            holding=holding,
            granting=granting,
            replays=replays,
            control=control,
            resolver=resolver,
            injecting=injecting,
            recorder=self.recorder,
            limits=settings.limits,
            own=settings.own,
            grace_s=settings.grace_s,
            clock=clock,
            timer=timer,
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
        return await self._within_deadline(admission, lambda: self._judge.glance(admission))

    async def judge(self, admission: Admission, body: bytes | BodyDigests, *, gone: asyncio.Event) -> Outcome:
        """Decide one call whose body came whole, in memory or not, wait for a reviewer if it asked to, and record it.

        `gone` is set when the client leaves: a waiting call then stops waiting, and nothing is sent.
        """
        outcome = await self._within_deadline(admission, lambda: self._judge.first_look(admission, body, gone))
        hold = outcome.hold
        if outcome.decision.verdict is Verdict.HOLD and hold is not None and outcome.call is not None:
            wait_s = min(admission.prefer.waits_s(outcome.decision.review.wait_s), self.settings.max_wait_s)
            waits, identity = self.holding.waits, admission.identity
            assert identity is not None
            if wait_s > 0 and await waits.reviewed(hold, identity.mandate, wait_s, gone):
                return await self._within_deadline(admission, lambda: self._judge.second_look(admission, outcome, gone))
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
                return await self._judge.prove(admission, body)
        except TimeoutError:
            raise late(DECISION_DEADLINE_S) from None

    async def redeem(self, admission: Admission, identity: Identity, hold_id: str, *, gone: asyncio.Event) -> Outcome:
        """Send a released call's stored bytes: `POST http://intent.internal/holds/ID/redeem`, by its own mandate."""
        return await self._within_deadline(admission, lambda: self._judge.redeem(admission, identity, hold_id, gone))

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
                    await self._judge.prove(replace(admission, identity=identity), b"")
        except TimeoutError:
            return await self.refuse(admission, late(DECISION_DEADLINE_S))
        except (Rejected, Unavailable) as fault:
            return await self.refuse(admission, fault)
        return Tunnel(host=host, port=port, outer_tls=leg.tls, identity=identity)

    async def refuse_wire(self, leg: Leg, fault: Rejected | Unavailable) -> Outcome:
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
        self._judge.check_standing(mandate, view, filed=filed)

    def answer(self, outcome: Outcome, *, form: Form, prefer: Prefer = NO_PREFERENCE) -> Answer:
        """What the agent reads instead of a response."""
        now, hold, call = self._clock(), outcome.hold, outcome.call
        return problem(outcome.decision, hold=hold, form=form, prefer=prefer, now=now, call=call)

    def fault(self, outcome: Outcome, code: Code, detail: str) -> Outcome:
        """An allowed call that the world behind us failed: the same decision id, told as a denial."""
        decision = replace(outcome.decision, verdict=Verdict.DENY, code=code, message=detail, hold_id=None)
        hold = replace(outcome.hold, state=HoldState.RELEASING) if outcome.claim and outcome.hold else None
        return Outcome(decision=decision, call=outcome.call, hold=hold)

    async def _within_deadline[T](self, admission: Admission, look: Callable[[], Awaitable[T]]) -> T | Outcome:
        try:
            with one_policy(self._policy):
                async with asyncio.timeout(DECISION_DEADLINE_S):
                    return await look()
        except TimeoutError:
            return await self.refuse(admission, late(DECISION_DEADLINE_S))
        except (Rejected, Unavailable) as fault:
            return await self.refuse(admission, fault)
