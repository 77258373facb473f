"""What there is to see at a desk elsewhere: lists, one hold, what was decided and how people decide."""

import asyncio
from collections.abc import Sequence

from proxy.cli.atdesk import AtDesk
from proxy.cli.deskclient import DeskClient
from proxy.cli.deskread import Answer, Told, check_digest, hold_of, me_of, told_of
from proxy.core.model import Hold, HoldState, Person
from proxy.review.history import Asked, Ending, Pace, Ruling, Said, Sent
from proxy.review.oversight import Reviewer
from proxy.review.times import instant

_PAGE = 200


def list_at_desk(
    there: AtDesk, *, states: frozenset[HoldState] | None, agent: str | None, sponsor: str | None, limit: int
) -> list[tuple[Hold, str]]:
    """Holds and what they ask for, as `holds list` prints them."""

    async def run() -> list[tuple[Hold, str]]:
        client, found, cursor = DeskClient(there), list[tuple[Hold, str]](), ""
        wanted = [("state", state.value) for state in sorted(states or ())]
        wanted += [(name, value) for name, value in (("agent", agent), ("sponsor", sponsor)) if value]
        while len(found) < limit:
            size = [("limit", str(min(_PAGE, limit - len(found))))]
            answer = Answer(
                await client.get("holds", query=[*wanted, *size, *([("cursor", cursor)] if cursor else [])])
            )
            rows = [(hold_of(each), each.text("asks")) for each in answer.parts("holds")]
            found += rows
            cursor = answer.maybe_text("next") or ""
            if not cursor or not rows:  # a desk that never ends is left
                break
        return found[:limit]

    return asyncio.run(run())


def show_at_desk(there: AtDesk, hold_id: str, *, reveal: bool) -> Told:
    """One hold. Nothing hidden is asked for unless `reveal`."""

    async def run() -> Told:
        client = DeskClient(there)
        me = me_of(Answer(await client.get("me")))
        told = await look(client, hold_id, reveal=reveal)
        if told.held.shown is not None and told.whole:
            check_digest(told, deployment=me.deployment)
        return told

    return asyncio.run(run())


def history_at_desk(there: AtDesk, asked: Asked, *, last: int) -> tuple[bool, tuple[Ruling, ...]]:
    """Rulings, and whether they are all."""
    words = [*_period(asked), ("last", str(min(last, 1000)))]
    answer = Answer(asyncio.run(DeskClient(there).get("history", query=words)))
    return answer.flag("whole"), tuple(ruling_of(each) for each in answer.parts("rulings"))


def reviewers_at_desk(there: AtDesk, asked: Asked) -> tuple[Reviewer, ...]:
    answer = Answer(asyncio.run(DeskClient(there).get("reviewers", query=_period(asked))))
    return tuple(reviewer_of(each) for each in answer.parts("reviewers"))


def _period(asked: Asked) -> Sequence[tuple[str, str]]:
    since, until = asked.since, asked.until
    named = (
        ("reviewer", asked.reviewer),
        ("agent", asked.agent),
        ("sponsor", asked.sponsor),
        ("since", None if since is None else instant(since)),
        ("until", None if until is None else instant(until)),
    )
    return [(name, value) for name, value in named if value is not None]


async def look(client: DeskClient, hold_id: str, *, reveal: bool) -> Told:
    """One hold, checked to be that one. Nothing hidden is asked for unless `reveal`."""
    told = told_of(Answer(await client.get("holds", hold_id)), hold_id=hold_id)
    if reveal and told.hidden and told.held.shown is not None:
        told = told_of(Answer(await client.post("holds", hold_id, "reveal")), hold_id=hold_id)
    return told


def ruling_of(answer: Answer) -> Ruling:
    """How a hold ended."""
    ending, ended_at = answer.choice("ending", Ending), answer.moment("ended_at")
    return Ruling(
        hold_id=answer.text("hold"),
        ending=ending,
        ended_at=ended_at,
        filed_at=answer.maybe_moment("filed_at"),
        agent=answer.maybe_text("agent"),
        sponsor=answer.maybe_text("sponsor"),
        code=answer.maybe_text("code"),
        risk=answer.maybe_text("risk"),
        cluster=answer.maybe_text("cluster"),
        task=answer.maybe_text("task"),
        who=(),
        asked=answer.maybe_text("asked"),
        said=tuple(Said(by=by, released=ending is Ending.RELEASED, at=ended_at) for by in answer.texts("by")),
        reason=answer.maybe_text("reason"),
        grant=answer.maybe_text("grant"),
        lifted_by=answer.maybe_text("lifted_by"),
        sent=answer.choice("sent", Sent) if answer.has("sent") else None,
        status=answer.whole("status") if answer.has("status") else None,
        error=answer.maybe_text("error"),
    )


def reviewer_of(answer: Answer) -> Reviewer:
    """How somebody decides."""
    name, until = answer.maybe_text("name"), answer.maybe_moment("certified_until")
    person_id = answer.text("id")
    return Reviewer(
        id=person_id,
        person=None
        if name is None or until is None
        else Person(id=person_id, name=name, role="", deputy=None, certified_until=until, keys=()),
        pace=Pace(
            person=person_id,
            rulings=answer.whole("rulings"),
            released=answer.whole("released"),
            denied=answer.whole("denied"),
            median=answer.seconds("median_s"),
            hasty=answer.whole("hasty"),
            last=answer.maybe_moment("last"),
        ),
    )
