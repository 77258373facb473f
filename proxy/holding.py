"""Held calls as the gate sees them: filed or found again, released once, settled, waited for.

The stores carry states; what a state means for a call, and that nothing passes on a state alone, is said here.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from proxy.audit.records import hold_fields
from proxy.audit.reviews import on_record
from proxy.claims import LONGEST_RELEASE, Claims
from proxy.core.clusters import Policy
from proxy.core.control import ControlView
from proxy.core.delivering import delivers
from proxy.core.digest import call_digest
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.holds import OPEN, Event
from proxy.core.model import Bundle, Call, Decision, Hold, HoldState, StoredCall, Unread
from proxy.core.recall import check_not_recalled
from proxy.core.release import Release, acts_at, read_approval
from proxy.core.reviewed import as_held as as_held
from proxy.core.reviewed import as_judged, as_sealed, check_judged, check_shown, ended, told
from proxy.core.stored import stored_from_bytes, stored_to_bytes, to_send
from proxy.identify import Identity
from proxy.news import News
from proxy.ports import Consumed, Filed, Followed, HoldCaps, HoldNews, Holds, Journal, Vault
from proxy.recalls import Recalls
from proxy.waits import Waits

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """A verified release, and the call as it was filed and shown: the bytes to send, and no others."""

    release: Release
    call: Call
    here: bool  # False: another node is the one that may send it


class Holding:
    """The holds of one worker's calls."""

    def __init__(
        self,
        *,
        policy: Callable[[], Policy],
        holds: Holds,
        consumed: Consumed,
        vault: Vault,
        journal: Journal,
        caps: HoldCaps,
        max_ttl_s: int,
        clock: Callable[[], datetime],
        timer: Callable[[], float],
        new_id: Callable[[], str],
        followed: Followed,
        view: Callable[[], ControlView],
        node: str = "",
        worker: str = "",
    ) -> None:
        """`node` names this machine's key, `worker` this very process, as no other ever."""
        self._policy = policy
        self._holds = holds
        self._consumed = consumed
        self._vault = vault
        self._journal = journal
        self._caps = caps
        self._max_ttl_s = max_ttl_s
        self._clock = clock
        self._timer = timer
        self._new_id = new_id
        self._recorded: set[str] = set()  # holds that ended by themselves, written down; the store does not know it yet
        self._just_filed: dict[str, float] = {}  # to be delivered, unless its agent is about to wait here
        self._followed = followed
        self._view = view
        self._recalls = Recalls(holds=holds, policy=policy, view=view, stored=self.stored, clock=clock)
        self._node = node
        self._worker = worker
        self.waits = Waits(holds, worker=worker, timer=timer)
        self.stirred = asyncio.Event()  # set when a call was released: somebody may have to deliver it
        self.news = News(
            bundle=self._bundle,
            holds=holds,
            consumed=consumed,
            vault=vault,
            journal=journal,
            followed=followed,
            recalls=self._recalls,
            wake=self._woken,
            clock=clock,
        )
        self.claims = Claims(
            holds=holds,
            consumed=consumed,
            journal=journal,
            worker=worker,
            on_record=self._on_record,
            clock=clock,
            timer=timer,
        )

    def _bundle(self) -> Bundle:
        return self._policy().bundle

    # --- filing ------------------------------------------------------------------------------------------------------

    async def file(self, identity: Identity, call: Call, decision: Decision) -> Hold:
        """The hold of this call: a new one, or the one an equal call has already.

        Raises:
            Rejected(HOLD_TAMPERED): the one it has was filed for another call, or denied by nobody.
            Rejected(HOLD_CAP): too many are open; nothing was stored.
            Unavailable: the store or the journal does not answer.
        """
        digest = self.digest(identity, call)
        known = await self._holds.find(identity.mandate.root_id, digest)
        if known is not None:
            return self._told(identity, await self._recalls.checked(known), digest)
        filed = await self._file(identity, call, decision, digest)
        if filed.created and filed.hold.delivers:
            self._just_filed[filed.hold.id] = self._timer()
        if filed.created:
            await self._journal.append("hold", hold_fields(filed.hold, "file", decision_id=decision.decision_id))
        return self._told(identity, filed.hold, digest)

    async def _file(self, identity: Identity, call: Call, decision: Decision, digest: str) -> Filed:
        hold_id, now, mandate = self._new_id(), self._clock(), identity.mandate
        ttl_s = min(decision.review.ttl_s, self._max_ttl_s)
        delivered = delivers(decision, call)
        draft = Hold(
            id=hold_id,
            state=HoldState.HELD,
            version=1,
            fence=0,
            call_digest=digest,
            root_id=mandate.root_id,
            agent=mandate.leaf.sub,
            sponsor=mandate.sponsor.id,
            cluster=decision.cluster or "",
            task=identity.intent.task or "",
            code=decision.code,
            risk=decision.risk,
            proof=identity.evidence.proof,
            who=decision.review.who,
            quorum=decision.review.quorum,
            filed_at=now,
            expires_at=now + timedelta(seconds=ttl_s),
            body_bytes=call.body_bytes or 0,
            stored=not isinstance(call.body, Unread),
            node=self._node,
            waits_at=self._worker if delivered else "",
            delivers=delivered,
        )
        stored = StoredCall(
            call=call,
            decision=replace(decision, hold_id=hold_id, review=replace(decision.review, ttl_s=ttl_s)),
            proof=identity.evidence.proof,
            call_digest=digest,
            sub_path=mandate.sub_path,
            chain_kids=tuple(link.cnf.kid for link in mandate.chain),
            chain=tuple(link.token for link in mandate.chain),
            node=self._node,
        )
        sealed = self._vault.seal(hold_id, stored_to_bytes(stored))
        return await self._holds.file(draft, sealed, ttl_s=ttl_s, caps=self._caps)

    def digest(self, identity: Identity, call: Call) -> str:
        """What makes two calls the same (DESIGN: retry)."""
        return call_digest(
            call,
            deployment=self._bundle().deployment,
            root_id=identity.mandate.root_id,
            sub_path=identity.mandate.sub_path,
            cluster=identity.intent.cluster or "",
            task=identity.intent.task or "",
            keyed_hash=self._vault.keyed_hash,
        )

    # --- reading -----------------------------------------------------------------------------------------------------

    async def own(self, identity: Identity, hold_id: str) -> Hold:
        """A hold of the caller's own root mandate.

        Raises:
            Rejected(HOLD_UNKNOWN): no such hold, or another mandate's; the two look the same.
            Rejected(HOLD_TAMPERED): it is marked denied, and no reviewer says so.
        """
        hold = await self._holds.get(hold_id)
        if hold is None or hold.root_id != identity.mandate.root_id:
            raise Rejected(Code.HOLD_UNKNOWN, "no hold of this mandate has that id")
        return self._told(identity, await self._recalls.checked(hold), hold.call_digest)

    async def again(self, identity: Identity, call: Call, hold_id: str) -> Hold:
        """The hold that `call` has waited for, whatever became of it: a call that waited is never filed anew.

        Raises:
            Rejected(HOLD_UNKNOWN): it is gone.
            Rejected(HOLD_TAMPERED): it was filed for another call, or denied by nobody.
        """
        return self._told(identity, await self.own(identity, hold_id), self.digest(identity, call))

    async def open_holds(self, identity: Identity) -> tuple[Hold, ...]:
        """Every hold of the caller's root mandate that is not over yet."""
        found = await self._holds.listing(root_id=identity.mandate.root_id)
        return tuple(self._told(identity, hold, hold.call_digest) for hold in found)

    def _told(self, identity: Identity, hold: Hold, digest: str) -> Hold:
        if (hold.root_id, hold.call_digest) != (identity.mandate.root_id, digest):
            raise Rejected(Code.HOLD_TAMPERED, "the stored hold does not match the call it was filed for")
        barred = {link.cnf.kid for link in identity.mandate.chain}
        return told(hold, self._bundle(), barred=barred, now=self._clock())

    async def stored(self, hold: Hold) -> StoredCall:
        """The held call itself.

        Raises:
            Rejected(HOLD_SPENT, HOLD_DENIED, HOLD_EXPIRED): the hold ended and its call was deleted.
            Rejected(HOLD_TAMPERED): what is stored is not what was filed.
        """
        sealed = await self._holds.sealed(hold.id)
        if sealed is None:
            now = await self._holds.get(hold.id) or hold  # it may have ended between two looks
            if now.state in OPEN:
                raise Rejected(Code.HOLD_TAMPERED, "the hold is open, but its call is gone", field="sealed")
            raise ended(replace(now, reason=hold.reason if now.state is hold.state else None))
        return stored_from_bytes(self._vault.unseal(hold.id, sealed))

    async def stored_of(self, hold_id: str) -> StoredCall:
        """The call of a hold that was never shown to anybody here.

        Raises:
            Rejected(HOLD_UNKNOWN): there is no such hold.
            Rejected: as `stored`.
        """
        hold = await self._holds.get(hold_id)
        if hold is None:
            raise Rejected(Code.HOLD_UNKNOWN, "there is no such hold")
        return await self.stored(replace(hold, reason=None))

    # --- releasing ---------------------------------------------------------------------------------------------------

    async def check_release(self, identity: Identity, call: Call, hold: Hold, today: Decision) -> Cleared:
        """The reviewer's signed word that this very call may be sent, and the stored call to send.

        What was shown is what is sent: a call with the same digest may still differ in headers no reviewer saw.

        Redis carries the approval, it does not authorise: the statement is verified here, over the digest of the
        bytes that will be sent, and who may say it is taken from the sealed record, the mandate and `today`, the
        decision on the call as it is now. The proof must be no weaker than the one the call was held with, and the
        credential that it would be sent with the one shown.

        Raises:
            Rejected: any of it does not hold.
            Unavailable: the store does not answer.
        """
        filed = await self.stored(hold)
        if identity.evidence.proof < filed.proof:
            raise Rejected(
                Code.PROOF_WEAK,
                f"the call was held with {filed.proof.label} proof; repeat it with the same or stronger",
            )
        if filed.sub_path != identity.mandate.sub_path:
            raise Rejected(Code.HOLD_NOT_PERMITTED, "another agent of this mandate asked for the call: it may send it")
        check_shown(filed.decision, today.credential)
        digest = self.digest(identity, call)
        if not digest == filed.call_digest == hold.call_digest:
            raise Rejected(Code.HOLD_TAMPERED, "the stored hold does not match the call it was filed for")
        check_not_recalled(hold, filed, self._bundle(), self._view(), now=self._clock())
        sponsor = identity.mandate.sponsor.id
        meant = as_judged(replace(as_sealed(hold, filed), sponsor=sponsor), today)
        barred = frozenset(filed.chain_kids) | {link.cnf.kid for link in identity.mandate.chain}
        releases = read_approval(meant, bundle=self._bundle(), barred=barred, now=self._clock())
        for release in releases:
            check_judged(release.by, today, sponsor=sponsor, bundle=self._bundle())
            if release.not_after - release.issued_at > LONGEST_RELEASE:
                longest, end = LONGEST_RELEASE.days, f"{release.not_after:%Y-%m-%d}"
                detail = f"a release may count for at most {longest} days, got until {end}"
                raise Rejected(Code.RELEASE_INVALID, detail, field="exp")
            self._followed.check(release.issued_at)
        here = acts_at(self._node, releases, meant)
        return Cleared(release=releases[0], call=to_send(filed.call, call), here=here)

    # --- ending ------------------------------------------------------------------------------------------------------

    def _woken(self, news: HoldNews) -> None:
        self.waits.wake(news.hold_id)
        if news.state is HoldState.APPROVED:
            self.stirred.set()

    def _on_record(self, hold: Hold) -> Hold:
        return on_record(hold, self._bundle(), now=self._clock())

    async def sweep(self) -> tuple[str, ...]:
        """Expire what is due, and give up abandoned sends. Every worker does, and says so that it lives; the store
        makes each step once, and asks for its record until one of us has made it.

        Returns the ids of released holds that this worker may send by itself, now.
        """
        told = tuple(self._recorded)
        swept = await self._holds.sweep(self._worker, self._node, told)
        self._recorded.difference_update(told)
        for hold in swept.ended:
            if hold.id not in self._recorded:
                event = Event.EXPIRE if hold.state is HoldState.EXPIRED else Event.LOST
                await self._journal.append("hold", hold_fields(self._on_record(hold), event.value))
            self._recorded.add(hold.id)
        try:
            await self.claims.settle_owed()
        except Unavailable as fault:  # what else is due does not wait for it
            logger.warning("what became of a call could not be told yet: %s", fault.detail)
        now_s = self._timer()
        await self._recalls.sweep()
        self._just_filed = {each: at_s for each, at_s in self._just_filed.items() if now_s - at_s < _ABOUT_TO_WAIT_S}
        return tuple(each for each in swept.deliver if each not in self.waits and each not in self._just_filed)


_ABOUT_TO_WAIT_S = 1.0  # between filing a call and waiting for its review lies less
