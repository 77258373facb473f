"""A hold opened for somebody, on a page or by the API: for whom it does not concern, it is not there."""

from dataclasses import replace

from proxy.core.errors import Code, Rejected
from proxy.core.model import Person
from proxy.review.desk.parts import DeskParts
from proxy.review.desk.seeing import Concerned, may_read, may_see
from proxy.review.opened import HeldCall
from proxy.review.outcomes import unknown


async def opened_for(parts: DeskParts, person: Person, hold_id: str) -> HeldCall:
    """The hold, opened, if it concerns this person; without its call where that does not (`may_read`).

    Raises:
        Rejected(HOLD_UNKNOWN, HOLD_TAMPERED): as `ReviewService.show`.
    """
    if not hold_id.isascii() or not hold_id.isprintable():
        raise unknown(hold_id)
    try:
        held = await parts.reviews.show(hold_id)
    except Rejected as fault:
        listed = parts.index.get(hold_id)
        if fault.code is Code.HOLD_TAMPERED and listed is not None and not listed.fault:
            await parts.index.look_again(hold_id)  # lists say so, too
        if fault.code is Code.HOLD_TAMPERED and (
            listed is None or not Concerned(parts.policy().bundle, parts.clock())(person, listed.hold)
        ):
            raise unknown(hold_id) from None
        raise
    if held.shown is not None and (listed := parts.index.get(hold_id)) is not None and listed.fault:
        await parts.index.look_again(hold_id)  # it was mended
    if not may_see(person, held, parts.policy().bundle):
        raise unknown(hold_id)
    if not may_read(person, held, now=parts.clock()):
        return replace(held, shown=None, withheld=held.shown is not None)
    return held
