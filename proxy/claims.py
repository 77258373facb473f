"""Sending a released call once: who may, and what became of it.

This node's own memory goes first, then the store's one step from approved to releasing. Whoever has both is the only
one who sends; whatever else happens, the call counts as sent, or nobody knows.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count

from proxy.audit.records import hold_fields
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.holds import Event
from proxy.core.model import Hold, HoldState
from proxy.core.reviewed import unsaid
from proxy.ports import Consumed, Holds, Journal

logger = logging.getLogger(__name__)

LONGEST_RELEASE = timedelta(days=30, minutes=1)
"""No release may count longer: what a node has sent must be remembered until the last release of it has ended."""

RESTORED = "restored"
"""What the journal calls an approved hold of which this node remembers that its call was sent, or may have been."""

IN_DOUBT_S = 60.0
"""How long a claim that was not answered may still turn out to have been made."""

_LOOK_AGAIN_S = (0.0, 0.05, 0.2)
"""When another call takes a hold just before us, its claim is in the store this soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The exclusive right to send one released call once."""

    hold_id: str
    fence: int
    number: int  # as `ports.Consumed` counts
    by: str  # the worker and which of its claims, as no other ever


class Claims:
    """The claims of one worker."""

    def __init__(
        self,
        *,
        holds: Holds,
        consumed: Consumed,
        journal: Journal,
        worker: str,
        on_record: Callable[[Hold], Hold],
        clock: Callable[[], datetime],
        timer: Callable[[], float],
    ) -> None:
        """`on_record` makes of a hold what the journal may say of it."""
        self._holds = holds
        self._consumed = consumed
        self._journal = journal
        self._worker = worker
        self._on_record = on_record
        self._clock = clock
        self._undoing: set[asyncio.Task[None]] = set()
        self._timer = timer
        self._attempts = count(1)
        self._owed: dict[str, tuple[Claim, Event]] = {}  # what the store could not be told, by claim
        self._doubtful: dict[str, tuple[Claim, float]] = {}  # claims that may have been made, or may yet be

    async def claim(self, hold: Hold) -> Claim | Hold:
        """Take the right to send: durable before the first byte may leave. The hold as it is, if another was first,
        or while it is approved and another worker alone may send it for a moment.

        The only call site of `approved → releasing`. This node's own memory goes first: a sent hold that is put back
        into the store together with its genuine release is not sent again.

        Raises:
            Rejected(HOLD_SPENT): this node has sent the call, or seen it sent, and the store says approved.
            Unavailable: the store or this node's disk does not answer.
        """
        claiming = asyncio.ensure_future(self._claim(hold))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            claiming.add_done_callback(self._unclaim)  # too late to send, not too late to have been claimed
            raise

    async def _claim(self, hold: Hold) -> Claim | Hold:
        number = hold.version + 1
        for pause_s in _LOOK_AGAIN_S:
            if await self._consumed.take(hold.id, number, until=self._clock() + LONGEST_RELEASE):
                break
            await asyncio.sleep(pause_s)  # another worker of this node took it: to send it, or only to be refused
            found = await self._holds.get(hold.id)
            if found is not None and (found.state, found.version) != (HoldState.APPROVED, hold.version):
                return unsaid(found)
        else:
            if not await self._consumed.spent(hold.id):
                return unsaid(hold)  # another node claimed it, and the store says that nothing was sent: it alone knows
            logger.error("hold %s is approved in the store, but this node knows that its call was sent", hold.id)
            await self._journal.append("hold", hold_fields(self._on_record(hold), RESTORED))
            raise Rejected(Code.HOLD_SPENT, "this node has sent the call, or seen it sent: a release counts once")
        claim = Claim(hold_id=hold.id, fence=hold.fence + 1, number=number, by=f"{self._worker}/{next(self._attempts)}")
        try:
            # At the version that was looked at: its number is the one that everybody hears of.
            moved = await self._holds.apply(hold.id, Event.CLAIM, version=hold.version, worker=claim.by)
        except BaseException:
            await self._untake(hold.id, number)
            self._doubtful[claim.by] = claim, self._timer() + IN_DOUBT_S
            raise
        if moved.applied:
            return replace(claim, fence=moved.hold.fence)
        await self._untake(hold.id, number)
        return unsaid(moved.hold)

    async def _untake(self, hold_id: str, number: int) -> None:
        try:
            await self._consumed.untake(hold_id, number)
        except Unavailable as fault:  # then it counts as sent here
            logger.error("hold %s: %s", hold_id, fault.detail)

    def _unclaim(self, claiming: asyncio.Future[Claim | Hold]) -> None:
        if claiming.cancelled() or claiming.exception() is not None:
            return
        claim = claiming.result()
        if not isinstance(claim, Claim):
            return
        task = asyncio.ensure_future(self._give_back_quietly(claim))
        self._undoing.add(task)
        task.add_done_callback(self._undoing.discard)

    async def _give_back_quietly(self, claim: Claim) -> None:
        with suppress(Rejected, Unavailable):  # the hold is gone, or the store is told later
            await self.give_back(claim)

    async def settle(self, claim: Claim, event: Event) -> None:
        """Report what became of a claimed call: SENT, UNSENT (back to approved) or LOST (uncertain).

        Raises:
            Unavailable: the store does not answer; it is told later (`settle_owed`). Until then the claim stays.
        """
        if event is Event.UNSENT:
            await self._untake(claim.hold_id, claim.number)
        try:
            moved = await self._holds.apply(claim.hold_id, event, fence=claim.fence, worker=claim.by)
        except Unavailable:
            self._owed[claim.by] = claim, event
            raise
        self._owed.pop(claim.by, None)
        if moved.applied:
            await self._journal.append("hold", hold_fields(self._on_record(moved.hold), event.value))

    async def settle_owed(self) -> None:
        """Tell the store what it could not be told before, and take back claims nobody knows of.

        A claim that was not answered may still be carried out, when a store that stood still goes on; so it is taken
        back again and again for a while. Only that very claim can be: another has another name. All at once, for
        whoever sweeps must be heard of every second, however many there are.

        Raises:
            Unavailable: it still does not answer, for one of them at least.
        """
        telling = [self._tell(claim, event) for claim, event in self._owed.values()]
        telling += [self._take_back(claim, until_s) for claim, until_s in self._doubtful.values()]
        for fault in await asyncio.gather(*telling, return_exceptions=True):
            if fault is not None:
                raise fault

    async def _tell(self, claim: Claim, event: Event) -> None:
        with suppress(Rejected):  # the hold is gone
            await self.settle(claim, event)
        self._owed.pop(claim.by, None)

    async def _take_back(self, claim: Claim, until_s: float) -> None:
        with suppress(Rejected):
            moved = await self._holds.apply(claim.hold_id, Event.UNSENT, fence=claim.fence, worker=claim.by)
            until_s = 0.0 if moved.applied else until_s
        if self._timer() >= until_s:
            self._doubtful.pop(claim.by, None)

    async def give_back(self, claim: Claim) -> None:
        """Undo a claim under which nothing was sent.

        Raises:
            Unavailable: the store does not answer; it is told later (`settle_owed`).
        """
        await self._untake(claim.hold_id, claim.number)
        try:
            await self._holds.apply(claim.hold_id, Event.UNSENT, fence=claim.fence, worker=claim.by)
        except Unavailable:
            self._owed[claim.by] = claim, Event.UNSENT
            raise
