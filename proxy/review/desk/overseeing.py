"""The pages of oversight: what was decided, how people decide, and which agents there are under which mandates."""

from dataclasses import replace

from starlette.responses import Response

from proxy.core.errors import Unavailable
from proxy.review.desk.agents import agents_for, tasks_of
from proxy.review.desk.history import Period, became, paces_for, past_for, read_sought, remarks, upstream
from proxy.review.desk.visits import Refused, Visit
from proxy.review.desk.words import lasts
from proxy.review.history import HASTY, Ending, Ruling
from proxy.review.joined import ENDED, joined
from proxy.review.manifestwords import manifest_told

MOST = 2_000
"""So many holds of the store are looked at; what is older is in the journal."""


class Overseeing:
    """The handlers. Nothing here changes anything."""

    async def history(self, visit: Visit) -> Response:
        """What was decided, by whom, how fast, and what became of it."""
        sought = read_sought(visit.request.query_params)
        ended, kept, missing = await _ended(visit, sought.period)
        past = past_for(ended, sought, visit.person, visit.bundle, now=visit.now)
        return visit.page(
            "history.html",
            past=past,
            sought=past.sought if past.sought.page <= past.pages else replace(past.sought, page=past.pages),
            periods=tuple(Period),
            endings=tuple(Ending),
            kept=kept,
            missing=missing,
            became=became,
            upstream=upstream,
            lasts=lasts,
        )

    async def reviewers(self, visit: Visit) -> Response:
        """How people decide."""
        sought = read_sought({"period": "month", **visit.request.query_params})
        ended, _, missing = await _ended(visit, sought.period)
        return visit.page(
            "reviewers.html",
            sought=sought,
            periods=tuple(Period),
            paces=paces_for(ended, sought.period, visit.person, visit.bundle, now=visit.now),
            people=visit.bundle.people,
            missing=missing,
            remarks=remarks,
            hasty=lasts(HASTY),
            lasts=lasts,
        )

    async def agents(self, visit: Visit) -> Response:
        """Every agent that concerns this person."""
        manifests = await visit.parts.remembered.manifests()
        found = agents_for(
            visit.person,
            visit.bundle,
            manifests,
            visit.parts.index.entries(),
            visit.parts.view(),
            now=visit.now,
        )
        return visit.page("agents.html", agents=found, killed=visit.parts.view().killed)

    async def agent(self, visit: Visit) -> Response:
        """One agent: what it is for, what it may do, and what it did."""
        name = str(visit.request.path_params["agent"])
        manifests = await visit.parts.remembered.manifests()
        found = agents_for(
            visit.person,
            visit.bundle,
            manifests,
            visit.parts.index.entries(),
            visit.parts.view(),
            now=visit.now,
        )
        each = next((one for one in found if one.agent.id == name), None)
        if each is None:
            raise Refused(404, "There is no such agent, or it does not concern you.")
        did = await visit.parts.did(name)
        return visit.page(
            "agent.html",
            each=each,
            agent=each.agent,
            sponsor=visit.bundle.people.get(each.agent.sponsor),
            told=[(one, manifest_told(one.manifest, visit.bundle, now=visit.now)) for one in each.mandates],
            did=did,
            tasks=tasks_of(did),
        )


async def _ended(visit: Visit, period: Period) -> tuple[tuple[Ruling, ...], frozenset[str], str]:
    """Every hold that ended, those of them that the store still has, and what is missing, in a sentence."""
    missing = ""
    told: tuple[Ruling, ...] = ()
    try:
        found = await visit.parts.remembered.history(period)
        told = found.rulings
        if not found.whole:
            missing = "The journal is larger than what is read here: what is older is missing."
    except Unavailable:
        missing = "The journal cannot be read: only what the store still has is shown."
    holds = await visit.parts.reviews.listing(states=ENDED, limit=MOST)
    return joined(told, holds, now=visit.now), frozenset(hold.id for hold in holds), missing
