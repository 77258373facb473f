"""What is only looked at: whose token it is, what happened, what was decided and by whom, which mandates there are."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from starlette.responses import Response

from proxy.core.encoding import Json
from proxy.review.desk.api.asking import still_counts
from proxy.review.desk.api.operations import Asking, answer
from proxy.review.desk.events import stream
from proxy.review.desk.index import RESET
from proxy.review.desk.seeing import Concerned, Entitled, answers_for, whom_proposals_concern
from proxy.review.documents import reviewer_json, ruling_json
from proxy.review.history import Asked, Ruling, paces
from proxy.review.oversight import Reviewer, Supervised
from proxy.review.times import instant

USUAL_RULINGS = 100
MOST_RULINGS = 1_000
MAX_PLACE_CHARS = 2_000


async def me(asking: Asking) -> Response:
    """Whom the token names, and what it may."""
    token = asking.token
    return answer(
        {
            "person": asking.person.id,
            "name": asking.person.name,
            "deployment": asking.bundle.deployment,
            "token": {
                "id": token.id,
                "name": token.name,
                "scopes": sorted(scope.value for scope in token.scopes),
                "until": instant(token.until),
            },
        }
    )


async def events(asking: Asking) -> Response:
    """What happened after a place in the event stream; without one, where the stream is now."""
    index, after = asking.parts.index, asking.first("after")
    changes = index.since(after) if after else []
    if RESET in changes:
        return answer({"events": [], "cursor": index.cursor, "reset": True})
    concerned = Concerned(asking.bundle, asking.now)
    told: list[Json] = [
        {"id": each.cursor, "hold": each.hold.id, "state": each.hold.state.value, "version": each.hold.version}
        for each in changes
        if each.hold is not None and concerned(asking.person, each.hold)
    ]
    return answer({"events": told, "cursor": index.cursor, "reset": False})


async def event_stream(asking: Asking) -> Response:
    """The same as server-sent events, as they happen."""
    return stream(
        asking.request,
        asking.parts,
        asking.person,
        by=asking.token.id,
        still_in=lambda: still_counts(asking.api, asking.parts, asking.token),
    )


async def history(asking: Asking) -> Response:
    """How held calls ended that concern this person, newest last."""
    found = await asking.api.oversight.history(_period(asking))
    mine = _mine(asking, found.rulings)
    last = mine[-int(asking.first("last", str(USUAL_RULINGS))) :]
    return answer({"whole": found.whole, "rulings": [ruling_json(each) for each in last]})


async def reviewers(asking: Asking) -> Response:
    """How those decide who decided something that concerns this person: of that alone."""
    asked, people = _period(asking), asking.bundle.people
    found = await asking.api.oversight.history(replace(asked, reviewer=None))
    listed = [
        reviewer_json(Reviewer(id=pace.person, person=people.get(pace.person), pace=pace))
        for pace in paces(_mine(asking, found.rulings), ())
        if asked.reviewer in (None, pace.person)
    ]
    return answer({"reviewers": listed})


async def agents(asking: Asking) -> Response:
    """The agents that concern this person, their mandates, and how their held calls ended."""
    found = await asking.api.oversight.agents(_period(asking))
    manifests = await asking.parts.remembered.manifests()
    listed = [_agent_json(each) for each in found if answers_for(asking.person, each.agent, manifests, asking.bundle)]
    return answer({"agents": listed})


async def proposals(asking: Asking) -> Response:
    """Manifests that wait for their sponsors: those that concern this person, as on the page."""
    found = await asking.parts.updates.listing()
    mine = (
        each for each in found if asking.person.id in whom_proposals_concern(each.author, each.sponsor, asking.bundle)
    )
    listed: list[Json] = [
        {
            "id": each.id,
            "agent": each.agent,
            "sponsor": each.sponsor,
            "author": each.author,
            "why": each.why,
            "at": instant(each.at),
        }
        for each in mine
    ]
    return answer({"proposals": listed})


def _period(asking: Asking) -> Asked:
    return Asked(
        reviewer=asking.first("reviewer") or None,
        agent=asking.first("agent") or None,
        sponsor=asking.first("sponsor") or None,
        since=_moment(asking.first("since")),
        until=_moment(asking.first("until")),
    )


def _moment(text: str) -> datetime | None:
    """A moment that its schema lets through."""
    return datetime.fromisoformat(text) if text else None


def _mine(asking: Asking, ended: Iterable[Ruling]) -> list[Ruling]:
    """Those that concern this person."""
    entitled = Entitled(asking.bundle)
    return [each for each in ended if entitled(asking.person, each)]


def _agent_json(each: Supervised) -> Json:
    manifest = each.manifest
    return {
        "id": each.agent.id,
        "owner": each.agent.owner,
        "sponsor": each.agent.sponsor,
        "agent_class": each.agent.agent_class.value,
        "released": each.released,
        "denied": each.denied,
        "others": each.others,
        "mandate": None
        if manifest is None
        else {
            "id": manifest.id,
            "purpose": manifest.purpose,
            "not_before": instant(manifest.nbf),
            "expires_at": instant(manifest.exp),
        },
    }
