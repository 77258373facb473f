"""Reviewing: what a reviewer is shown, and how a ruling is signed and recorded. The command line and the desk ask here.

Nobody signs a digest that somebody else computed: what is shown is decrypted here, its digest is computed here again,
and that digest is what the ruling bears. Who may rule is said by `proxy.core.release` alone.
"""

import enum
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from proxy.core.clusters import Policy
from proxy.core.delivering import delivers
from proxy.core.digest import call_digest, masked_headers, masked_url
from proxy.core.errors import Code, Rejected
from proxy.core.explain import Explanation, consequence, explain
from proxy.core.holds import Event
from proxy.core.keys import PrivateKey
from proxy.core.model import Hold, HoldState, Person, StoredCall, Unread, Verdict
from proxy.core.release import may_decide, read_release, state_release
from proxy.core.stored import stored_from_bytes
from proxy.ports import Holds, Vault

_RULINGS = {Verdict.ALLOW: (Event.APPROVE, "released"), Verdict.DENY: (Event.DENY, "denied")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The call of a hold as a reviewer sees it. Credentials in `url` and `headers` are keyed hashes."""

    stored: StoredCall
    consequence: str  # one sentence: what a release would let happen, and why it was not simply allowed
    explanation: Explanation  # why it was held, and how that differs from the mandate
    url: str
    headers: tuple[tuple[str, str], ...]

    @property
    def body(self) -> bytes | None:
        """The body's bytes; None where only its size and digest were kept."""
        return None if isinstance(self.stored.call.body, Unread) else self.stored.call.body


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCall:
    """A hold and its call. `shown` is None once a terminal state deleted the call."""

    hold: Hold
    shown: Shown | None
    deciders: tuple[str, ...]  # ids of the people who may decide it now


class Result(enum.StrEnum):
    """What became of a wish to rule."""

    DONE = "done"
    ALREADY_DECIDED = "already decided"
    NOT_PERMITTED = "not permitted"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A ruling's outcome, and the hold as it is now. `call` is what was ruled on, when it was."""

    result: Result
    detail: str  # one sentence for people
    hold: Hold | None = None
    call: Shown | None = None


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
    ) -> None:
        """`new_nonce` makes 128 random bits in base64url."""
        self._holds = holds
        self._vault = vault
        self._policy = policy
        self._clock = clock
        self._new_nonce = new_nonce

    async def listing(
        self,
        *,
        states: frozenset[HoldState] | None = None,
        agent: str | None = None,
        sponsor: str | None = None,
        limit: int = 200,
    ) -> tuple[Hold, ...]:
        """Holds, newest first; `states` None means those that still wait for somebody."""
        return await self._holds.listing(states=states, agent=agent, sponsor=sponsor, limit=limit)

    async def watch(self) -> AsyncIterator[Hold]:
        """Every open hold, oldest first, then each hold whenever it changes. Ends only by cancellation.

        A change during the first listing may come twice, never not at all.

        Raises:
            Unavailable(STORE_DOWN): the store is away, or its events were lost; what is open must be listed again.
        """
        cursor = await self._holds.cursor()
        for hold in reversed(await self._holds.listing()):
            yield hold
        async for news in self._holds.news(cursor):
            changed = await self._holds.get(news.hold_id)
            if changed is not None:
                yield changed

    async def show(self, hold_id: str) -> HeldCall:
        """A hold with its decrypted call.

        Raises:
            Rejected(HOLD_UNKNOWN): there is no such hold.
            Rejected(HOLD_TAMPERED): what is stored is not the call that was held.
        """
        hold = await self._holds.get(hold_id)
        if hold is None:
            raise _unknown(hold_id)
        people = self._policy().bundle.people.values()
        deciders = tuple(sorted(person.id for person in people if self.may_rule(person, hold)))
        return HeldCall(hold=hold, shown=await self._open(hold), deciders=deciders)

    async def release(self, hold_id: str, *, person: Person, key: PrivateKey, reason: str = "") -> Outcome:
        """Let a held call pass once: sign that `person` says so, and record it.

        Raises:
            Rejected(HOLD_TAMPERED): what is stored is not the call that was held.
            Rejected(RELEASE_INVALID): the reason cannot be shown.
        """
        return await self._rule(Verdict.ALLOW, hold_id, person, key, reason)

    async def deny(self, hold_id: str, *, person: Person, key: PrivateKey, reason: str) -> Outcome:
        """Refuse a held call for good, with a reason that the agent will read.

        Raises:
            Rejected(HOLD_TAMPERED): what is stored is not the call that was held.
            Rejected(RELEASE_INVALID): no reason, or one that cannot be shown.
        """
        return await self._rule(Verdict.DENY, hold_id, person, key, reason)

    def may_rule(self, person: Person, hold: Hold) -> bool:
        """Whether `person` may decide this hold now, whatever its state."""
        try:
            may_decide(person, hold, self._policy().bundle, self._clock())
        except Rejected:
            return False
        return True

    async def _rule(self, verdict: Verdict, hold_id: str, person: Person, key: PrivateKey, reason: str) -> Outcome:
        hold = await self._holds.get(hold_id)
        if hold is None:
            return Outcome(result=Result.UNKNOWN, detail=_unknown(hold_id).detail)
        bundle, now = self._policy().bundle, self._clock()
        if hold.state is not HoldState.HELD:
            return _late(hold)
        if now >= hold.expires_at:
            return _expired(hold)
        shown = await self._open(hold)
        if shown is None:  # it ended between two looks at it
            return _late(await self._holds.get(hold_id) or hold)
        try:
            may_decide(person, hold, bundle, now)
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
            not_after=max(hold.expires_at, now + timedelta(seconds=1)),
            nonce=self._new_nonce(),
        )
        try:  # as the proxy will read it: what it would refuse is not recorded
            read_release(statement, hold=hold, bundle=bundle, barred=frozenset(shown.stored.chain_kids), now=now)
        except Rejected as fault:
            return Outcome(result=Result.NOT_PERMITTED, detail=fault.detail, hold=hold)
        event, done = _RULINGS[verdict]
        moved = await self._holds.apply(hold_id, event, statement=statement, by=person.id, reason=reason or None)
        if not moved.applied:
            return _late(moved.hold)
        return Outcome(result=Result.DONE, detail=f"{done} by {person.id}", hold=moved.hold, call=shown)

    async def _open(self, hold: Hold) -> Shown | None:
        """The call of `hold`, if it and what the hold says of it are what was sealed when it was filed."""
        sealed = await self._holds.sealed(hold.id)
        if sealed is None:
            return None
        stored = stored_from_bytes(self._vault.unseal(hold.id, sealed))
        intent = stored.decision.intent
        digest = call_digest(
            stored.call,
            deployment=self._policy().bundle.deployment,
            root_id=stored.decision.manifest or "",
            sub_path=stored.sub_path,
            cluster=intent.cluster or "",
            task=intent.task or "",
            keyed_hash=self._vault.keyed_hash,
        )
        if digest != stored.call_digest or hold != _as_filed(hold, stored):
            detail = f"hold {hold.id} is not as it was filed: do not release it, and tell an operator"
            raise Rejected(Code.HOLD_TAMPERED, detail, field="hold")
        return Shown(
            stored=stored,
            consequence=consequence(stored.decision, stored.call, None),
            explanation=explain(stored.decision, stored.call, self._policy(), None),
            url=masked_url(stored.call, self._vault.keyed_hash),
            headers=masked_headers(stored.call, self._vault.keyed_hash),
        )


def _as_filed(hold: Hold, stored: StoredCall) -> Hold:
    """The hold with everything about its call taken from the sealed record: the store only carries the rest."""
    decision = stored.decision
    return replace(
        hold,
        id=decision.hold_id or "",
        call_digest=stored.call_digest,
        root_id=decision.manifest or "",
        agent=decision.agent or "",
        sponsor=decision.sponsor or "",
        cluster=decision.cluster or "",
        task=decision.intent.task or "",
        code=decision.code,
        risk=decision.risk,
        proof=stored.proof,
        who=decision.review.who,
        body_bytes=stored.call.body_bytes or 0,
        stored=not isinstance(stored.call.body, Unread),
        node=stored.node,
        delivers=delivers(decision, stored.call),
    )


def _late(hold: Hold) -> Outcome:
    """A hold that is no longer held was decided, or its time ran out."""
    if hold.state is HoldState.EXPIRED:
        return _expired(hold)
    if hold.decided_by is None:
        detail = f"hold {hold.id} is {hold.state.value}; nobody's word changes that"
    else:
        when = "" if hold.decided_at is None else f" at {hold.decided_at:%Y-%m-%dT%H:%M:%SZ}"
        detail = f"hold {hold.id} is {hold.state.value}: decided by {hold.decided_by}{when}"
    return Outcome(result=Result.ALREADY_DECIDED, detail=detail, hold=hold)


def _expired(hold: Hold) -> Outcome:
    detail = f"hold {hold.id} expired at {hold.expires_at:%Y-%m-%dT%H:%M:%SZ}; the agent may ask again"
    return Outcome(result=Result.EXPIRED, detail=detail, hold=hold)


def _unknown(hold_id: str) -> Rejected:
    return Rejected(Code.HOLD_UNKNOWN, f"there is no hold {ascii(hold_id)[1:-1][:80]}")
