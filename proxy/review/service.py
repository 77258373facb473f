"""Reviewing: how what a person says of a hold is signed and recorded. The command line and the desk ask here.

Who may say what is said by `proxy.core` alone (`reviewers`, `release`, `notes`); nothing is recorded that the proxy
would not take later. Several people may act on a hold at once: each step is taken at the version that was looked at,
and looked at again where somebody else was faster.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime, timedelta

from proxy.core.clusters import Policy
from proxy.core.control import ControlView
from proxy.core.errors import Code, Rejected
from proxy.core.holds import MAX_SAID, Event
from proxy.core.keys import PrivateKey
from proxy.core.model import Hold, HoldState, Person, Verdict
from proxy.core.notes import NoteAct, read_note, state_note
from proxy.core.recall import check_counts, counts_under
from proxy.core.release import may_decide, read_release, read_releases, state_release
from proxy.ports import Holds, Moved, Vault
from proxy.review.opened import HeldCall, Reader, as_signed, held_call
from proxy.review.outcomes import Outcome as Outcome
from proxy.review.outcomes import Result as Result
from proxy.review.outcomes import done, expired, late, no_denial, not_while, too_busy, unknown

LONGEST_HOLD = timedelta(days=7)
"""No extension lets a hold wait longer than this after it was filed: as long as any `review.ttl`."""

_TRIES = 20
"""How often a step is tried again because others act on the same hold."""

_STEPS = {
    NoteAct.COMMENT: (Event.SAY, HoldState.HELD, "commented on"),
    NoteAct.ESCALATE: (Event.SAY, HoldState.HELD, "escalated"),
    NoteAct.EXTEND: (Event.SAY, HoldState.HELD, "extended"),
    NoteAct.CANCEL: (Event.CANCEL, HoldState.HELD, "cancelled"),
    NoteAct.LIFT: (Event.LIFT, HoldState.DENIED, "lifted"),
}


class ReviewService:
    """Reads and rules on holds. It has the vault, so it runs where the proxy's own secret is."""

    def __init__(
        self,
        *,
        holds: Holds,
        vault: Vault,
        policy: Callable[[], Policy],
        clock: Callable[[], datetime],
        new_nonce: Callable[[], str],
        max_ttl: timedelta = LONGEST_HOLD,
        view: Callable[[], ControlView] = ControlView,
    ) -> None:
        """`new_nonce` makes 128 random bits in base64url; `max_ttl` is how long any call is held; `view` is what is
        stopped. The proxy sends nothing of a stopped agent whatever was released; here reviewers are told at once.
        """
        self._holds = holds
        self._reader = Reader(holds=holds, vault=vault, policy=policy)
        self._policy = policy
        self._clock = clock
        self._new_nonce = new_nonce
        self._view = view
        self._max_ttl = min(max_ttl, LONGEST_HOLD)

    # --- reading -----------------------------------------------------------------------------------------------------

    async def listing(
        self,
        *,
        states: frozenset[HoldState] | None = None,
        agent: str | None = None,
        sponsor: str | None = None,
        limit: int = 200,
    ) -> tuple[Hold, ...]:
        """Holds, newest first; `states` None means those that still wait for somebody."""
        found = await self._holds.listing(states=states, agent=agent, sponsor=sponsor, limit=limit)
        return tuple(map(self._signed, found))

    async def watch(self) -> AsyncIterator[Hold]:
        """Every open hold, oldest first, then each hold whenever it changes. Ends only by cancellation.

        A change during the first listing may come twice, never not at all.

        Raises:
            Unavailable(STORE_DOWN): the store is away, or its events were lost; what is open must be listed again.
        """
        cursor = await self._holds.cursor()
        for hold in reversed(await self._holds.listing()):
            yield self._signed(hold)
        async for news in self._holds.news(cursor):
            with suppress(Rejected):  # one that was changed by hand, and can be released by nobody, hides no others
                changed = await self._look(news.hold_id)
                if changed is not None:
                    yield changed

    async def decided(self, hold_id: str) -> Hold:
        """The hold, as soon as it no longer waits for a person. Ends else only by cancellation.

        Raises:
            Rejected(HOLD_UNKNOWN): there is no such hold.
            Rejected(HOLD_TAMPERED): it is marked approved or denied, and no reviewer signed that.
            Unavailable(STORE_DOWN): as `watch`.
        """
        cursor = await self._holds.cursor()
        hold = await self._get(hold_id)
        if hold.state is HoldState.HELD:
            async for news in self._holds.news(cursor):
                if news.hold_id == hold_id and news.state is not HoldState.HELD:
                    break
        ended = await self._get(hold_id)
        if ended.decided_by is None and ended.state in (HoldState.APPROVED, HoldState.DENIED):
            raise Rejected(Code.HOLD_TAMPERED, late(ended).detail, field="statement")
        return ended

    async def show(self, hold_id: str) -> HeldCall:
        """A hold with its decrypted call.

        Raises:
            Rejected(HOLD_UNKNOWN): there is no such hold.
            Rejected(HOLD_TAMPERED): what is stored is not the call that was held.
        """
        hold = await self._get(hold_id)
        shown = await self._reader.open(hold)
        return held_call(hold, shown, self._policy().bundle, self._clock(), self._view())

    async def _look(self, hold_id: str) -> Hold | None:
        hold = await self._holds.get(hold_id)
        return None if hold is None else self._signed(hold)

    def _signed(self, hold: Hold) -> Hold:
        return as_signed(hold, self._policy().bundle, now=self._clock())

    async def _get(self, hold_id: str) -> Hold:
        hold = await self._look(hold_id)
        if hold is None:
            raise unknown(hold_id)
        return hold

    # --- deciding ----------------------------------------------------------------------------------------------------

    async def release(
        self, hold_id: str, *, person: Person, key: PrivateKey, reason: str = "", grant: str | None = None
    ) -> Outcome:
        """Let a held call pass once: sign that `person` says so, and record it. With a quorum, one release of it.

        `grant` is the signed route grant that is given with it: it is recorded in the same step.

        Raises:
            Rejected(HOLD_TAMPERED): what is stored is not the call that was held.
            Rejected(RELEASE_INVALID): the reason cannot be shown.
            Rejected(HOLD_CAP): too much was said of it already to record a grant.
        """
        return await self._rule(Verdict.ALLOW, hold_id, person, key, reason, grant)

    async def deny(self, hold_id: str, *, person: Person, key: PrivateKey, reason: str) -> Outcome:
        """Refuse a held call for good, with a reason that the agent will read. One denial ends it, whatever the quorum.

        Raises:
            Rejected(HOLD_TAMPERED): what is stored is not the call that was held.
            Rejected(RELEASE_INVALID): no reason, or one that cannot be shown.
        """
        return await self._rule(Verdict.DENY, hold_id, person, key, reason)

    async def _rule(
        self, verdict: Verdict, hold_id: str, person: Person, key: PrivateKey, reason: str, grant: str | None = None
    ) -> Outcome:
        for _ in range(_TRIES):
            hold = await self._look(hold_id)
            if hold is None:
                return Outcome(result=Result.UNKNOWN, detail=unknown(hold_id).detail)
            bundle, now = self._policy().bundle, self._clock()
            if hold.state is not HoldState.HELD:
                return late(hold)
            if now >= hold.expires_at:
                return expired(hold)
            shown = await self._reader.open(hold)
            if shown is None:  # it ended between two looks at it
                return late(await self._look(hold_id) or hold)
            meant, barred = shown.meant(hold), shown.barred
            view, agents = self._view(), shown.stored.agents
            stopped = view.stops(agents) if verdict is Verdict.ALLOW else None
            if stopped is not None:
                return not_while(stopped, hold)
            try:
                may_decide(person, meant, bundle, now, verdict=verdict, barred=barred)
            except Rejected as fault:
                return Outcome(result=Result.NOT_PERMITTED, detail=fault.detail, hold=hold)
            statement = state_release(
                hold=hold,
                verdict=verdict,
                by=person.id,
                reason=reason,
                deployment=bundle.deployment,
                key=key,
                now=now,
                not_after=max(self._last_use(hold), now + timedelta(seconds=1)),
                nonce=self._new_nonce(),
            )
            try:  # as the proxy will read it: what it would refuse is not recorded
                said = read_release(statement, hold=meant, bundle=bundle, barred=barred, now=now)
                if verdict is Verdict.ALLOW:
                    check_counts(said, view, agents)
            except Rejected as fault:
                return Outcome(result=Result.NOT_PERMITTED, detail=fault.detail, hold=hold)
            counts = counts_under(view, agents)
            signers = {other.by for other in read_releases(meant, bundle=bundle, barred=barred, now=now, counts=counts)}
            if verdict is Verdict.ALLOW and person.id in signers:
                detail = f"{person.id} has released hold {hold.id} already: {hold.quorum} different people must"
                return Outcome(result=Result.NOT_PERMITTED, detail=detail, hold=hold)
            moved = await self._record(verdict, hold, statement, person.id, reason, signers | {person.id}, grant)
            if moved.applied:
                return done(verdict, person.id, signers | {person.id}, moved.hold, shown)
            if moved.hold.state is not HoldState.HELD:
                return late(self._signed(moved.hold))
        raise too_busy(hold_id)

    def _last_use(self, hold: Hold) -> datetime:
        """Until when a release counts. One of several must not end before another extends the hold."""
        return hold.expires_at if hold.quorum == 1 else hold.filed_at + self._max_ttl

    async def _record(
        self, verdict: Verdict, hold: Hold, statement: str, by: str, reason: str, signers: set[str], grant: str | None
    ) -> Moved:
        """Take the step that a signed ruling means, now that `signers` have released the call."""
        if verdict is Verdict.DENY:
            return await self._holds.apply(hold.id, Event.DENY, statement=statement, by=by, reason=reason)
        if len(signers) < hold.quorum:
            return await self._say(Event.SAY, hold, statement)
        if grant is not None:
            self._check_room(hold)
        return await self._holds.apply(
            hold.id, Event.APPROVE, statement=statement, by=by, reason=reason or None, said=grant, version=hold.version
        )

    async def _say(
        self, event: Event, hold: Hold, statement: str, *, expires_at: datetime | None = None, by: str | None = None
    ) -> Moved:
        self._check_room(hold)
        return await self._holds.apply(
            hold.id, event, said=statement, expires_at=expires_at, version=hold.version, by=by
        )

    def _check_room(self, hold: Hold) -> None:
        if len(hold.said) >= MAX_SAID:
            detail = f"of hold {hold.id} so much was said ({MAX_SAID} statements) that no more is kept: decide it"
            raise Rejected(Code.HOLD_CAP, detail, field="said")

    # --- saying ------------------------------------------------------------------------------------------------------

    async def note(
        self,
        act: NoteAct,
        hold_id: str,
        *,
        person: Person,
        key: PrivateKey,
        reason: str,
        longer: timedelta = timedelta(0),
    ) -> Outcome:
        """Comment on a hold, escalate, extend (by `longer`) or cancel it, or lift a denial: signed, with a reason.

        Raises:
            Rejected(HOLD_TAMPERED): what is stored is not the call that was held.
            Rejected(RELEASE_INVALID): no reason, or one that cannot be shown; no longer than before.
            Rejected(HOLD_CAP): too much was said of it already.
        """
        event, state, word = _STEPS[act]
        for _ in range(_TRIES):
            hold = await self._look(hold_id)
            if hold is None:
                return Outcome(result=Result.UNKNOWN, detail=unknown(hold_id).detail)
            bundle, now = self._policy().bundle, self._clock()
            if hold.state is not state:
                return late(hold) if state is HoldState.HELD else no_denial(hold)
            shown = await self._reader.open(hold)
            meant, barred = (hold, frozenset[str]()) if shown is None else (shown.meant(hold), shown.barred)
            until = self._until(hold, longer) if act is NoteAct.EXTEND else None
            token = state_note(
                act,
                hold=hold,
                by=person.id,
                reason=reason,
                deployment=bundle.deployment,
                key=key,
                now=now,
                nonce=self._new_nonce(),
                until=until,
            )
            try:
                read_note(token, hold=meant, bundle=bundle, barred=barred, now=now)
            except Rejected as fault:
                return Outcome(result=Result.NOT_PERMITTED, detail=fault.detail, hold=hold)
            moved = await self._say(event, hold, token, expires_at=until)
            if moved.applied:
                return Outcome(result=Result.DONE, detail=f"{word} by {person.id}", hold=moved.hold, call=shown)
            if moved.hold.state is not state:
                return late(self._signed(moved.hold))
        raise too_busy(hold_id)

    def _until(self, hold: Hold, longer: timedelta) -> datetime:
        last = hold.filed_at + self._max_ttl
        until = (hold.expires_at + min(longer, self._max_ttl)).replace(microsecond=0)
        if until <= hold.expires_at:
            raise Rejected(Code.RELEASE_INVALID, "a hold is extended by a second or more", field="until")
        if until > last:
            detail = f"hold {hold.id} can wait until {last:%Y-%m-%dT%H:%M:%SZ} at the longest (holds.max_ttl)"
            raise Rejected(Code.RELEASE_INVALID, detail, field="until")
        return until
