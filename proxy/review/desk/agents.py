"""The agents that concern one person: their mandates and until when, whether they may go on, what of theirs waits.

Pure.

The manifests are those that are kept on this machine. Asked here is whether everybody and every key they name is still
enrolled, so that one that ended with its passkey is not told as a mandate; signatures are for nodes, with every call.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from proxy.core.control import EVERYTHING, ControlView, Statement
from proxy.core.errors import Rejected
from proxy.core.model import Agent, Bundle, Manifest, Person
from proxy.core.standing import check_enrolment
from proxy.review.desk.index import Entry
from proxy.review.desk.parts import Earlier
from proxy.review.desk.seeing import Concerned, answers_for
from proxy.review.desk.words import lasts

SOON = timedelta(days=7)
"""A mandate that ends so soon should be renewed, or let go knowingly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mandated:
    """One manifest of an agent, and how it stands."""

    manifest: Manifest
    standing: str  # "ends in 3 d 4 h"
    counts: bool  # it is in force now, as far as can be told here
    soon: bool  # it ends soon
    lost: str = ""  # why it counts no more though it has neither ended nor been revoked


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervised:
    """One agent, as somebody who answers for it sees it."""

    agent: Agent
    stop: Statement | None  # the word by which it is stopped
    mandates: tuple[Mandated, ...]  # those that count first, of them the one that ends last
    open: int  # held calls that this person may see
    warnings: tuple[str, ...]

    @property
    def mandate(self) -> Mandated | None:
        """The one that lasts longest of those that count."""
        return next((each for each in self.mandates if each.counts), None)

    @property
    def everything(self) -> bool:
        """Whether it is stopped because everything is."""
        return self.stop is not None and self.stop.target == EVERYTHING


def agents_for(
    person: Person,
    bundle: Bundle,
    manifests: Sequence[Manifest],
    entries: Iterable[Entry],
    view: ControlView,
    *,
    now: datetime,
) -> tuple[Supervised, ...]:
    """Every agent that concerns this person: what is stopped first, then what ends soon, then by name."""
    concerned = Concerned(bundle, now)
    waiting = Counter(entry.hold.agent for entry in entries if concerned(person, entry.hold))
    found = [
        supervised(agent, bundle, manifests, waiting[agent.id], view, now=now)
        for agent in bundle.agents.values()
        if answers_for(person, agent, manifests, bundle)
    ]
    return tuple(sorted(found, key=_place))


def supervised(
    agent: Agent, bundle: Bundle, manifests: Iterable[Manifest], waiting: int, view: ControlView, *, now: datetime
) -> Supervised:
    """One agent at one moment."""
    mandates = sorted(
        (_mandated(manifest, bundle, view, now) for manifest in manifests if manifest.sub == agent.id),
        key=lambda each: (each.counts, each.manifest.exp, each.manifest.id),
        reverse=True,
    )
    return Supervised(
        agent=agent,
        stop=view.stop_of(EVERYTHING) or view.stop_of(agent.id),
        mandates=tuple(mandates),
        open=waiting,
        warnings=tuple(_warnings(agent, bundle, mandates, now)),
    )


def tasks_of(did: Iterable[Earlier]) -> tuple[tuple[str, int], ...]:
    """The tasks that an agent named, each with how many calls, the newest first."""
    found: dict[str, int] = {}
    for each in did:
        if each.task:
            found[each.task] = found.pop(each.task, 0) + 1
    return tuple(reversed(found.items()))


def _mandated(manifest: Manifest, bundle: Bundle, view: ControlView, now: datetime) -> Mandated:
    revoked, lost = view.revokes(manifest), "" if now >= manifest.exp else _lost(manifest, bundle)
    if revoked:
        standing = "revoked"
    elif lost:
        standing = "counts no more"
    elif now >= manifest.exp:
        standing = f"ended {lasts(now - manifest.exp)} ago"
    elif now < manifest.nbf:
        standing = f"begins in {lasts(manifest.nbf - now)}"
    else:
        standing = f"ends in {lasts(manifest.exp - now)}"
    counts = not (revoked or lost) and manifest.nbf <= now < manifest.exp
    soon = counts and manifest.exp - now < SOON
    return Mandated(manifest=manifest, standing=standing, counts=counts, soon=soon, lost="" if revoked else lost)


def _lost(manifest: Manifest, bundle: Bundle) -> str:
    try:
        check_enrolment((manifest,), bundle)
    except Rejected as fault:
        return fault.detail
    return ""


def _warnings(agent: Agent, bundle: Bundle, mandates: Sequence[Mandated], now: datetime) -> Iterable[str]:
    sponsor = bundle.people.get(agent.sponsor)
    if sponsor is None:
        yield f"Its sponsor {agent.sponsor} is not enrolled: nobody answers for it."
    elif now >= sponsor.certified_until:
        yield f"{sponsor.name} has not been certified for {lasts(now - sponsor.certified_until)}, and signs nothing."
    elif sponsor.certified_until - now < SOON:
        yield f"{sponsor.name} is certified for {lasts(sponsor.certified_until - now)} more."
    for each in mandates:
        if each.lost:
            yield f"Its manifest {each.manifest.jti} counts no more: {each.lost}."


def _place(each: Supervised) -> tuple[bool, bool, str]:
    return each.stop is None, not (each.mandate is not None and each.mandate.soon), each.agent.id
