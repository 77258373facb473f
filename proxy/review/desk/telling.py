"""What became of a person's word, as a page: as it is, and what comes after it."""

from dataclasses import dataclass

from starlette.responses import Response

from proxy.review.desk import words
from proxy.review.desk.queue import Which, Wish
from proxy.review.desk.views import queue_of
from proxy.review.desk.visits import Visit
from proxy.review.service import Outcome, Result

STATUS = {
    Result.DONE: 200,
    Result.SIGNED: 200,
    Result.ALREADY_DECIDED: 409,
    Result.NOT_PERMITTED: 403,
    Result.EXPIRED: 410,
    Result.UNKNOWN: 404,
    Result.FAILED: 422,
}
"""What programs are told of an outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What is still to be decided of a group, one after the other: holds by id, each with its call's digest."""

    group: str
    verb: str
    reason: str
    holds: tuple[tuple[str, str], ...]


async def told(visit: Visit, outcome: Outcome, *, rest: Rest | None = None) -> Response:
    """What became of a word. Of a group that is decided one by one the `rest` comes next."""
    following = await queue_of(visit, Wish(which=Which.MINE), rows=2)
    hold = outcome.hold
    return visit.page(
        "result.html",
        status=STATUS[outcome.result],
        outcome=outcome,
        hold=hold,
        shown=outcome.call,
        standing=None if hold is None else words.standing(hold, visit.now),
        done=outcome.result in (Result.DONE, Result.SIGNED),
        following=next((row for row in following.rows if hold is None or row.hold.id != hold.id), None),
        queue=following,
        rest=None if rest is None or not rest.holds else rest,
    )
