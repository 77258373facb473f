"""Closing a hold of which nobody knew whether its call arrived: a person says what they found out."""

from collections.abc import Callable
from datetime import datetime

from proxy.core.clusters import Policy
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.keys import PrivateKey
from proxy.core.model import Hold, HoldState, Person
from proxy.core.release import may_decide
from proxy.core.resolution import RESOLUTION_TYP, Found, read_resolution, resolution_claims
from proxy.core.vouching import sufficient
from proxy.ports import Holds
from proxy.review.drafts import Draft
from proxy.review.opened import Shown
from proxy.review.outcomes import unsure
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
        drafted = await self.draft(hold_id, found, person=person, reason=reason)
        return drafted if isinstance(drafted, Outcome) else await self.record(hold_id, drafted.signed(key))

    async def draft(self, hold_id: str, found: Found, *, person: Person, reason: str) -> Draft | Outcome:
        """What `person` would sign about an uncertain call; or why nobody can, or they cannot. Raises: as `resolve`."""
        seen = await self._uncertain(hold_id)
        if isinstance(seen, Outcome):
            return seen
        hold, shown = seen
        bundle, now = self._policy().bundle, self._clock()
        claims = resolution_claims(
            hold=hold,
            found=found,
            by=person.id,
            reason=reason,
            deployment=bundle.deployment,
            now=now,
            nonce=self._new_nonce(),
        )
        meant = shown.meant(hold)
        try:
            may_decide(person, meant, bundle, now, barred=shown.barred)
        except Rejected as fault:
            return Outcome(result=Result.NOT_PERMITTED, detail=fault.detail, hold=hold)
        return Draft(hold=hold, call=shown, typ=RESOLUTION_TYP, claims=claims, means=sufficient(meant))

    async def record(self, hold_id: str, statement: str) -> Outcome:
        """Record a signed resolution, whoever signed it and where, if whoever writes it down would believe it.

        Raises:
            Rejected(HOLD_TAMPERED): what is stored is not the call that was held.
            Rejected(RELEASE_INVALID): it is no statement about this hold by somebody enrolled.
        """
        seen = await self._uncertain(hold_id)
        if isinstance(seen, Outcome):
            return seen
        hold, shown = seen
        bundle, now = self._policy().bundle, self._clock()
        try:
            said = read_resolution(statement, hold=shown.meant(hold), bundle=bundle, barred=shown.barred, now=now)
        except Rejected as fault:
            if fault.code is not Code.HOLD_NOT_PERMITTED:
                raise
            return Outcome(result=Result.NOT_PERMITTED, detail=fault.detail, hold=hold)
        step = self._holds.apply(hold_id, said.found.event, statement=statement, by=said.by, reason=said.reason)
        try:
            moved = await step
        except Unavailable as fault:
            raise unsure(fault, hold_id) from None
        if not moved.applied:
            return Outcome(result=Result.ALREADY_DECIDED, detail=f"hold {hold.id} was resolved before", hold=moved.hold)
        told = "it arrived" if said.found is Found.ARRIVED else "it did not arrive; its agent may ask anew"
        return Outcome(result=Result.DONE, detail=f"resolved by {said.by}: {told}", hold=moved.hold)

    async def _uncertain(self, hold_id: str) -> tuple[Hold, Shown] | Outcome:
        """An uncertain hold and its call; or why nothing is said of it."""
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
        return hold, shown
