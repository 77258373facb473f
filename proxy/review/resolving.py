"""Closing a hold of which nobody knew whether its call arrived: a person says what they found out."""

from collections.abc import Callable
from datetime import datetime

from proxy.core.clusters import Policy
from proxy.core.errors import Code, Rejected
from proxy.core.keys import PrivateKey
from proxy.core.model import HoldState, Person
from proxy.core.resolution import Found, read_resolution, state_resolution
from proxy.ports import Holds
from proxy.review.service import Outcome, Result, ReviewService


class Resolving:
    """Closes uncertain holds. It sends nothing, and lets nothing be sent."""

    def __init__(
        self,
        *,
        reviews: ReviewService,
        holds: Holds,
        policy: Callable[[], Policy],
        clock: Callable[[], datetime],
        new_nonce: Callable[[], str],
    ) -> None:
        self._reviews = reviews
        self._holds = holds
        self._policy = policy
        self._clock = clock
        self._new_nonce = new_nonce

    async def resolve(self, hold_id: str, found: Found, *, person: Person, key: PrivateKey, reason: str) -> Outcome:
        """Record what `person` found out about an uncertain call: it arrived, or it did not and may be asked anew.

        Raises:
            Rejected(HOLD_TAMPERED): what is stored is not the call that was held.
            Rejected(RELEASE_INVALID): no reason, or one that cannot be shown.
        """
        try:
            held = await self._reviews.show(hold_id)
        except Rejected as fault:
            if fault.code is not Code.HOLD_UNKNOWN:
                raise
            return Outcome(result=Result.UNKNOWN, detail=fault.detail)
        hold, shown = held.hold, held.shown
        if hold.state is not HoldState.UNCERTAIN or shown is None:  # without a call it ended between two looks
            detail = f"hold {hold.id} is {hold.state.value}: only of an uncertain call is it said whether it arrived"
            return Outcome(result=Result.ALREADY_DECIDED, detail=detail, hold=hold)
        bundle, now = self._policy().bundle, self._clock()
        statement = state_resolution(
            hold=hold,
            found=found,
            by=person.id,
            reason=reason,
            deployment=bundle.deployment,
            key=key,
            now=now,
            nonce=self._new_nonce(),
        )
        try:  # as whoever writes it down will read it
            read_resolution(statement, hold=shown.meant(hold), bundle=bundle, barred=shown.barred, now=now)
        except Rejected as fault:
            if fault.code is not Code.HOLD_NOT_PERMITTED:
                raise
            return Outcome(result=Result.NOT_PERMITTED, detail=fault.detail, hold=hold)
        moved = await self._holds.apply(hold_id, found.event, statement=statement, by=person.id, reason=reason)
        if not moved.applied:
            return Outcome(result=Result.ALREADY_DECIDED, detail=f"hold {hold.id} was resolved before", hold=moved.hold)
        said = "it arrived" if found is Found.ARRIVED else "it did not arrive; its agent may ask anew"
        return Outcome(result=Result.DONE, detail=f"resolved by {person.id}: {said}", hold=moved.hold)
