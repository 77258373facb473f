"""What a reviewer is shown: the call that was really held, and what was really said of it.

Nobody signs a digest that somebody else computed: what is shown is decrypted here, and its digest computed again.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from proxy.audit.reviews import on_record
from proxy.core.clusters import Policy
from proxy.core.control import ControlView
from proxy.core.delivering import delivers
from proxy.core.digest import call_digest, masked_headers
from proxy.core.errors import Code, Rejected
from proxy.core.explain import Explanation, consequence, explain
from proxy.core.grants import check_grantable
from proxy.core.hiding import masked_decision, masked_url
from proxy.core.lapsing import lapsed
from proxy.core.model import Bundle, Decision, Hold, HoldState, Person, StoredCall, Unread
from proxy.core.notes import escalated_at
from proxy.core.recall import counts_under
from proxy.core.release import may_decide, read_releases
from proxy.core.resolution import read_resolution
from proxy.core.reviewed import Word, as_judged, as_sealed, check_judged, said_at
from proxy.core.reviewers import Rung, rungs, told_of
from proxy.core.stored import stored_from_bytes
from proxy.core.today import decided_today
from proxy.ports import Holds, Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The call of a hold as a reviewer sees it. Credentials in `url` and `headers` are hidden, and so is what the
    decision says of them: only `stored.call` is whole.
    """

    stored: StoredCall
    consequence: str  # one sentence: what a release would let happen, and why it was not simply allowed
    explanation: Explanation  # why it was held, and how that differs from the mandate
    url: str
    headers: tuple[tuple[str, str], ...]
    today: Decision | None  # what today's rules say of it; None: its mandate cannot be verified any more

    @property
    def body(self) -> bytes | None:
        """The body's bytes; None where only its size and digest were kept."""
        return None if isinstance(self.stored.call.body, Unread) else self.stored.call.body

    @property
    def barred(self) -> frozenset[str]:
        """The keys of the chain it came with: none of them reviews it."""
        return frozenset(self.stored.chain_kids)

    def meant(self, hold: Hold) -> Hold:
        """The hold with who may decide it, and when, as it was sealed; and as strict as today's rules ask for."""
        return self.judged(as_sealed(hold, self.stored))

    def judged(self, hold: Hold) -> Hold:
        """The hold as strict as today's rules ask for: whoever sends its call will, whatever held when it was filed."""
        return hold if self.today is None else as_judged(hold, self.today)

    def check_judged(self, person: Person, hold: Hold, bundle: Bundle) -> None:
        """Reject a person whom today's rules do not let release the call.

        Raises:
            Rejected(HOLD_NOT_PERMITTED)
        """
        if self.today is not None:
            check_judged(person.id, self.today, sponsor=self.today.sponsor or hold.sponsor, bundle=bundle)

    def check_grantable(self) -> None:
        """Reject to let calls like it pass, by its record or by today's rules.

        Raises:
            Rejected(HOLD_NOT_PERMITTED)
        """
        check_grantable(self.stored.decision)
        if self.today is not None:
            check_grantable(self.today)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCall:
    """A hold and its call. `shown` is None once a terminal state deleted the call."""

    hold: Hold
    shown: Shown | None
    deciders: tuple[str, ...]  # ids of the people who may release it now
    told: tuple[str, ...]  # whom it concerns by now, or did when it was decided; certified or not
    later: tuple[Rung, ...]  # who may from when on
    said: tuple[Word, ...]  # what people signed about it without deciding it, oldest first
    withheld: bool = False  # its call is there still, and is not for whoever asks: `shown` is None
    signers: tuple[str, ...]  # of them, who released it already: some of a quorum


class Reader:
    """Opens held calls. It has the vault, so it runs where the proxy's own secret is."""

    def __init__(
        self, *, holds: Holds, vault: Vault, policy: Callable[[], Policy], clock: Callable[[], datetime]
    ) -> None:
        self._holds = holds
        self._vault = vault
        self._policy = policy
        self._clock = clock

    async def open(self, hold: Hold) -> Shown | None:
        """The call of `hold`, or None once it was deleted.

        Raises:
            Rejected(HOLD_TAMPERED): it, or what the hold says of it, is not what was sealed when it was filed.
        """
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
        policy, decision = self._policy(), masked_decision(stored.decision, stored.call)
        return Shown(
            stored=replace(stored, decision=decision),
            consequence=consequence(decision, stored.call, None),
            explanation=explain(decision, stored.call, policy, None),
            url=masked_url(stored.call, self._vault.keyed_hash),
            headers=masked_headers(stored.call, self._vault.keyed_hash),
            today=decided_today(stored, policy, now=self._clock()),
        )


def held_call(hold: Hold, shown: Shown | None, bundle: Bundle, now: datetime, view: ControlView) -> HeldCall:
    """All there is to show of a hold at `now`."""
    sealed, meant, barred = hold, hold, frozenset[str]()
    if shown is not None:
        hold, sealed, meant, barred = shown.judged(hold), as_sealed(hold, shown.stored), shown.meant(hold), shown.barred
    deciders = tuple(
        sorted(
            person.id
            for person in bundle.people.values()
            if may_rule(person, meant, bundle, now, shown=shown, barred=barred)
        )
    )
    escalated = escalated_at(meant, bundle, barred=barred, now=now) is not None
    until = now if is_waiting(hold, now) else min(now, hold.decided_at or hold.expires_at)
    over = hold.state is not HoldState.HELD or escalated
    each = (said_at(one.version, sealed, bundle, barred=barred, now=now) for one in hold.said)
    said: tuple[Word, ...] = tuple(one for one in each if one is not None)
    gone = None if shown is None else lapsed(hold, shown.stored, shown.today, bundle, now=now)
    said = said if gone is None else (*said, gone)
    counts = counts_under(view, (hold.agent,) if shown is None else shown.stored.agents)
    given = read_releases(meant, bundle=bundle, barred=barred, now=now, counts=counts)
    return HeldCall(
        hold=hold,
        shown=shown,
        deciders=deciders,
        told=told_of(meant, bundle, at=until, escalated=escalated),
        later=() if over else tuple(rung for rung in rungs(meant, bundle, at=now)[1:] if rung.since > now),
        said=said,
        signers=tuple(dict.fromkeys(one.by for one in given)),
    )


def is_waiting(hold: Hold, now: datetime) -> bool:
    """Whether it is still to be decided."""
    return hold.state is HoldState.HELD and now < hold.expires_at


def as_signed(hold: Hold, bundle: Bundle, *, now: datetime) -> Hold:
    """The hold with whoever decided it and why as they signed it: what only the store says of that is nobody's word."""
    signed = on_record(hold, bundle, now=now)
    if signed.decided_by is None and hold.statement is not None:
        with suppress(Rejected):
            said = read_resolution(hold.statement, hold=hold, bundle=bundle, barred=frozenset(), now=now)
            return replace(hold, decided_by=said.by, decided_with=said.means, reason=said.reason)
    return replace(signed, decided_at=None) if hold.state is HoldState.HELD else signed  # a release that was taken back


def may_rule(
    person: Person,
    hold: Hold,
    bundle: Bundle,
    now: datetime,
    *,
    shown: Shown | None = None,
    barred: frozenset[str] = frozenset(),
) -> bool:
    """Whether `person` may release this hold now, whatever its state."""
    try:
        may_decide(person, hold, bundle, now, barred=barred)
        if shown is not None:
            shown.check_judged(person, hold, bundle)
    except Rejected:
        return False
    return True


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
        quorum=decision.review.quorum,
        body_bytes=stored.call.body_bytes or 0,
        stored=not isinstance(stored.call.body, Unread),
        node=stored.node,
        delivers=delivers(decision, stored.call),
    )
