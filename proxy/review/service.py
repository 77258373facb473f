"""Reviewing: how what a person says of a hold is drafted, signed and recorded. The command line and the desk ask here.

Everything is said in two steps: `draft` makes the claims to be signed, wherever the key is; `record` verifies what was
signed as the proxy will, and takes the step it means. `release`, `deny` and `note` do both, with a key at hand.

Who may say what is said by `proxy.core` alone (`reviewers`, `release`, `notes`, `vouching`); nothing is recorded that
the proxy would not take later. Several people may act on a hold at once: each step is taken at the version that was
looked at, and looked at again where somebody else was faster.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from proxy.core.clusters import Policy
from proxy.core.control import ControlView
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.holds import MAX_SAID, Event
from proxy.core.jws import Envelope, open_one_of
from proxy.core.keys import PrivateKey
from proxy.core.lapsing import check_not_denied
from proxy.core.model import Hold, HoldState, Person, Verdict
from proxy.core.notes import NOTE_TYP, NoteAct, note_claims, read_note
from proxy.core.recall import check_counts, counts_under
from proxy.core.release import RELEASE_TYP, Release, may_decide, read_release, read_releases, release_claims
from proxy.core.reviewers import check_certified
from proxy.core.vouching import sufficient
from proxy.ports import Holds, Moved, Vault
from proxy.review.drafts import Draft
from proxy.review.opened import Shown
from proxy.review.outcomes import Outcome as Outcome
from proxy.review.outcomes import Result as Result
from proxy.review.outcomes import again, done, expired, late, no_denial, not_while, too_busy, unknown, unsure
from proxy.review.reading import Reading

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A hold that something may be said of, and its call. `meant` is the hold as it was sealed."""

    hold: Hold
    shown: Shown | None
    meant: Hold
    barred: frozenset[str]

    @property
    def agents(self) -> Sequence[str]:
        """Who asked for the call, from the root mandate's agent on."""
        return () if self.shown is None else self.shown.stored.agents


class ReviewService(Reading):
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
        super().__init__(holds=holds, vault=vault, policy=policy, clock=clock, view=view)
        self._new_nonce = new_nonce
        self._max_ttl = min(max_ttl, LONGEST_HOLD)

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
        drafted = await self.draft(hold_id, Verdict.ALLOW, person=person, reason=reason)
        return await self._signed_and_recorded(drafted, key, grant)

    async def deny(self, hold_id: str, *, person: Person, key: PrivateKey, reason: str) -> Outcome:
        """Refuse a held call for good, with a reason that the agent will read. One denial ends it, whatever the quorum.

        Raises:
            Rejected(HOLD_TAMPERED): what is stored is not the call that was held.
            Rejected(RELEASE_INVALID): no reason, or one that cannot be shown.
        """
        return await self._signed_and_recorded(
            await self.draft(hold_id, Verdict.DENY, person=person, reason=reason), key
        )

    async def draft(self, hold_id: str, verdict: Verdict, *, person: Person, reason: str = "") -> Draft | Outcome:
        """What `person` would sign to release (ALLOW) or deny (DENY) a held call; or why they cannot.

        Raises: as `release` and `deny`.
        """
        seen = await self._held(hold_id)
        if isinstance(seen, Outcome):
            return seen
        bundle, now = self._policy().bundle, self._clock()
        stopped = self._stopped(seen) if verdict is Verdict.ALLOW else None
        if stopped is not None:
            return not_while(stopped, seen.hold)
        try:
            may_decide(person, seen.meant, bundle, now, verdict=verdict, barred=seen.barred)
            if verdict is Verdict.ALLOW and seen.shown is not None:
                check_not_denied(seen.shown.today)
                seen.shown.check_judged(person, seen.hold, bundle)
        except Rejected as fault:
            return _not_permitted(fault, seen.hold)
        if verdict is Verdict.ALLOW and person.id in self._signers(seen):
            return again(person.id, seen.hold)
        claims = release_claims(
            hold=seen.hold,
            verdict=verdict,
            by=person.id,
            reason=reason,
            deployment=bundle.deployment,
            now=now,
            not_after=self._last_use(seen.hold, now),
            nonce=self._new_nonce(),
        )
        return Draft(hold=seen.hold, call=seen.shown, typ=RELEASE_TYP, claims=claims, means=sufficient(seen.meant))

    async def record(self, hold_id: str, statement: str, *, grant: str | None = None) -> Outcome:
        """Record a signed release, denial or note about a hold, whoever signed it and where.

        It is verified first, as the proxy will when it acts on it: what that would refuse is not recorded. `grant` goes
        with a release; whether it belongs to it `Granter.record` has asked.

        Raises:
            Rejected(RELEASE_INVALID): it is no such statement; an extension that is none.
            Rejected(HOLD_TAMPERED): what is stored is not the call that was held.
            Rejected(HOLD_CAP): too much was said of it already.
            Unavailable: the store does not answer; where it may have been recorded, the detail says so.
        """
        envelope = open_one_of(statement, typs=(RELEASE_TYP, NOTE_TYP), code=Code.RELEASE_INVALID)
        for _ in range(_TRIES):
            if envelope.typ == NOTE_TYP:
                outcome = await self._note(hold_id, envelope)
            else:
                outcome = await self._rule(hold_id, statement, grant)
            if outcome is not None:
                return outcome
        raise too_busy(hold_id)

    async def _signed_and_recorded(
        self, drafted: Draft | Outcome, key: PrivateKey, grant: str | None = None
    ) -> Outcome:
        if isinstance(drafted, Outcome):
            return drafted
        return await self.record(drafted.hold.id, drafted.signed(key), grant=grant)

    async def _held(self, hold_id: str) -> _Seen | Outcome:
        """A hold that can be decided, and its call; or what became of it."""
        hold = await self._look(hold_id)
        if hold is None:
            return Outcome(result=Result.UNKNOWN, detail=unknown(hold_id).detail)
        if hold.state is not HoldState.HELD:
            return late(hold)
        if self._clock() >= hold.expires_at:
            return expired(hold)
        shown = await self._reader.open(hold)
        if shown is None:  # it ended between two looks at it
            return late(await self._look(hold_id) or hold)
        return _Seen(hold=shown.judged(hold), shown=shown, meant=shown.meant(hold), barred=shown.barred)

    async def _rule(self, hold_id: str, statement: str, grant: str | None) -> Outcome | None:
        """Take the step that a signed ruling means; None: somebody else was faster."""
        seen = await self._held(hold_id)
        if isinstance(seen, Outcome):
            return seen
        hold, bundle, now = seen.hold, self._policy().bundle, self._clock()
        try:
            said = read_release(statement, hold=seen.meant, bundle=bundle, barred=seen.barred, now=now)
            self._check_end(said, hold, now)
            if said.verdict is Verdict.ALLOW and seen.shown is not None:
                check_not_denied(seen.shown.today)
                seen.shown.check_judged(bundle.people[said.by], hold, bundle)
        except Rejected as fault:
            return _not_permitted(fault, hold)
        signers = self._signers(seen)
        if said.verdict is Verdict.ALLOW:
            stopped = self._stopped(seen)
            if stopped is not None:
                return not_while(stopped, hold)
            try:
                check_counts(said, self._view(), seen.agents)
            except Rejected as fault:
                return _not_permitted(fault, hold)
            if said.by in signers:
                return again(said.by, hold)
        try:
            moved = await self._take(hold, said, signers | {said.by}, grant)
        except Unavailable as fault:
            raise unsure(fault, hold_id) from None
        if moved.applied:
            assert seen.shown is not None
            return done(said.verdict, said.by, signers | {said.by}, moved.hold, seen.shown)
        return late(self._signed(moved.hold)) if moved.hold.state is not HoldState.HELD else None

    def _stopped(self, seen: _Seen) -> str | None:
        return self._view().stops(seen.agents)

    def _signers(self, seen: _Seen) -> set[str]:
        """Who has released it already: some of a quorum."""
        counts = counts_under(self._view(), seen.agents)
        bundle, now = self._policy().bundle, self._clock()
        given = read_releases(seen.meant, bundle=bundle, barred=seen.barred, now=now, counts=counts)
        return {other.by for other in given}

    def _last_use(self, hold: Hold, now: datetime) -> datetime:
        """Until when a release counts. One of several must not end before another extends the hold."""
        end = hold.expires_at if hold.quorum == 1 else hold.filed_at + self._max_ttl
        return max(end, now + timedelta(seconds=1))

    def _check_end(self, said: Release, hold: Hold, now: datetime) -> None:
        last = self._last_use(hold, now)
        if said.verdict is Verdict.ALLOW and said.not_after > last:
            detail = f"the release must end by {last:%Y-%m-%dT%H:%M:%SZ}, as the hold does"
            raise Rejected(Code.RELEASE_INVALID, detail, field="exp")

    async def _take(self, hold: Hold, said: Release, signers: set[str], grant: str | None) -> Moved:
        """Take the step that a signed ruling means, now that `signers` have released the call."""
        statement, by, reason = said.token, said.by, said.reason
        if said.verdict is Verdict.DENY:
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
        drafted = await self.draft_note(act, hold_id, person=person, reason=reason, longer=longer)
        return await self._signed_and_recorded(drafted, key)

    async def draft_note(
        self, act: NoteAct, hold_id: str, *, person: Person, reason: str, longer: timedelta = timedelta(0)
    ) -> Draft | Outcome:
        """What `person` would sign as a note about a hold; or what became of it. `record` says whether they may.

        Raises: as `note`.
        """
        seen = await self._noted(hold_id, act)
        if isinstance(seen, Outcome):
            return seen
        claims = note_claims(
            act,
            hold=seen.hold,
            by=person.id,
            reason=reason,
            deployment=self._policy().bundle.deployment,
            now=self._clock(),
            nonce=self._new_nonce(),
            until=self._until(seen.hold, longer) if act is NoteAct.EXTEND else None,
        )
        return Draft(hold=seen.hold, call=seen.shown, typ=NOTE_TYP, claims=claims, means=sufficient(seen.meant))

    async def _noted(self, hold_id: str, act: NoteAct) -> _Seen | Outcome:
        """A hold that such a note can be made of; or what became of it."""
        hold, state = await self._look(hold_id), _STEPS[act][1]
        if hold is None:
            return Outcome(result=Result.UNKNOWN, detail=unknown(hold_id).detail)
        if hold.state is not state:
            return late(hold) if state is HoldState.HELD else no_denial(hold)
        shown = await self._reader.open(hold)
        if shown is None:
            return _Seen(hold=hold, shown=None, meant=hold, barred=frozenset())
        return _Seen(hold=shown.judged(hold), shown=shown, meant=shown.meant(hold), barred=shown.barred)

    async def _note(self, hold_id: str, envelope: Envelope) -> Outcome | None:
        """Take the step that a signed note means; None: somebody else was faster."""
        act = envelope.claims.get("act")
        if not isinstance(act, str) or act not in NoteAct:
            raise Rejected(Code.RELEASE_INVALID, f"a note must say one of {', '.join(NoteAct)}", field="act")
        event, state, word = _STEPS[NoteAct(act)]
        seen = await self._noted(hold_id, NoteAct(act))
        if isinstance(seen, Outcome):
            return seen
        hold, bundle, now = seen.hold, self._policy().bundle, self._clock()
        try:
            said = read_note(envelope.token, hold=seen.meant, bundle=bundle, barred=seen.barred, now=now)
            check_certified(bundle.people[said.by], at=now)  # whoever lapsed dates nothing back
        except Rejected as fault:
            return _not_permitted(fault, hold)
        until = said.until if said.act is NoteAct.EXTEND else None
        if until is not None:
            self._check_until(hold, until)
        try:
            moved = await self._say(event, hold, envelope.token, expires_at=until)
        except Unavailable as fault:
            raise unsure(fault, hold_id) from None
        if moved.applied:
            return Outcome(result=Result.DONE, detail=f"{word} by {said.by}", hold=moved.hold, call=seen.shown)
        return late(self._signed(moved.hold)) if moved.hold.state is not state else None

    def _until(self, hold: Hold, longer: timedelta) -> datetime:
        until = (hold.expires_at + min(longer, self._max_ttl)).replace(microsecond=0)
        self._check_until(hold, until)
        return until

    def _check_until(self, hold: Hold, until: datetime) -> None:
        last = hold.filed_at + self._max_ttl
        if until <= hold.expires_at:
            raise Rejected(Code.RELEASE_INVALID, "a hold is extended by a second or more", field="until")
        if until > last:
            detail = f"hold {hold.id} can wait until {last:%Y-%m-%dT%H:%M:%SZ} at the longest (holds.max_ttl)"
            raise Rejected(Code.RELEASE_INVALID, detail, field="until")


def _not_permitted(fault: Rejected, hold: Hold) -> Outcome:
    return Outcome(result=Result.NOT_PERMITTED, detail=fault.detail, hold=hold)
