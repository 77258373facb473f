"""The same word about several holds: each is signed and recorded for itself."""

from collections.abc import Awaitable, Callable, Sequence

from proxy.core.errors import Rejected, Unavailable
from proxy.review.outcomes import Outcome, Result


async def each_of(hold_ids: Sequence[str], say: Callable[[str], Awaitable[Outcome]]) -> dict[str, Outcome]:
    """What became of the word about each hold. A fault of one leaves the others alone; without a store none goes on."""
    outcomes: dict[str, Outcome] = {}
    for hold_id in hold_ids:
        try:
            outcomes[hold_id] = await say(hold_id)
        except Rejected as fault:
            outcomes[hold_id] = Outcome(result=Result.FAILED, detail=fault.detail)
        except Unavailable as fault:  # those before it are decided, and it may be: what is known is told
            detail = f"nobody knows whether it was decided: {fault.detail}"
            outcomes[hold_id] = Outcome(result=Result.FAILED, detail=detail)
            break
    untried = Outcome(result=Result.FAILED, detail="not decided: the store was away before its turn")
    return {hold_id: outcomes.get(hold_id, untried) for hold_id in hold_ids}
