"""Who sees which hold, ruling and agent at the desk: whoever it concerns. For everybody else it is not there.

A hold concerns whoever may decide it, sooner or later, and whoever is told of it (`proxy.core.reviewers`). Once it is
over, whoever could have decided it sees how it ended, and no more: its call is for those whose turn had come by then,
for whoever released it, for its sponsor and, while nobody knows whether it arrived, for whoever may find out. An agent
concerns its sponsor and their deputies, and whoever is named to decide its calls.
"""

from collections.abc import Iterable
from datetime import datetime

from proxy.core.model import Agent, Bundle, Hold, HoldState, Manifest, Person
from proxy.core.reviewers import DEPUTY, SPONSOR, eligible, on_ladder
from proxy.review.history import Ruling
from proxy.review.opened import HeldCall, is_waiting


def may_see(person: Person, held: HeldCall, bundle: Bundle) -> bool:
    """Whether an opened hold concerns this person: judged by what was sealed, whatever the store says.

    Whoever could have decided it is told who did, also when their turn had not come.
    """
    later = {name for rung in held.later for name in rung.people}
    meant = held.hold if held.shown is None else held.shown.meant(held.hold)
    named = frozenset() if meant.state is HoldState.HELD else eligible(meant.who, meant.sponsor, bundle)
    return person.id in {*held.deciders, *held.told, *held.signers, held.hold.sponsor, *later, *named}


def readers(held: HeldCall) -> frozenset[str]:
    """Who may read the call of a hold that is decided: headers, body, address."""
    hold, finding = held.hold, held.deciders if held.hold.state is HoldState.UNCERTAIN else ()
    return frozenset({hold.sponsor, *held.told, *held.signers, *finding} | {hold.decided_by or hold.sponsor})


def may_read(person: Person, held: HeldCall, *, now: datetime) -> bool:
    """Whether somebody who may see a hold may read its call, too.

    Before the decision all may who may decide it, be it later, for a denial waits for nobody's turn.
    """
    return is_waiting(held.hold, now) or person.id in readers(held)


class Concerned:
    """Whom holds concern, by what the store says of them: quick, for long lists. What is opened is judged again."""

    def __init__(self, bundle: Bundle, now: datetime) -> None:
        self._bundle = bundle
        self._now = now
        self._known: dict[tuple[tuple[str, ...], str, int], frozenset[str]] = {}

    def __call__(self, person: Person, hold: Hold) -> bool:
        about = hold.who, hold.sponsor, hold.quorum
        if about not in self._known:
            self._known[about] = frozenset({*on_ladder(hold, self._bundle, at=self._now), hold.sponsor})
        return person.id in self._known[about]


class Entitled:
    """Whom rulings concern: who could have ruled, who did, and the sponsor."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._known: dict[tuple[tuple[str, ...], str], frozenset[str]] = {}

    def __call__(self, person: Person, ruling: Ruling) -> bool:
        if person.id in ruling.by or person.id == ruling.sponsor:
            return True
        if ruling.sponsor is None:
            return False
        about = ruling.who, ruling.sponsor
        if about not in self._known:
            self._known[about] = eligible(ruling.who, ruling.sponsor, self._bundle)
        return person.id in self._known[about]


def whom_proposals_concern(author: str, sponsor: str, bundle: Bundle) -> frozenset[str]:
    """Who sees a proposed manifest: who wrote it, who may sign it, and that one's deputy."""
    person = bundle.people.get(sponsor)
    deputy = None if person is None else person.deputy
    return frozenset({author, sponsor} if deputy is None else {author, sponsor, deputy})


def answers_for(person: Person, agent: Agent, manifests: Iterable[Manifest], bundle: Bundle) -> bool:
    """Whether an agent concerns this person: its sponsor, their deputies, and who decides calls of its clusters."""
    granted = {grant.cluster for manifest in manifests if manifest.sub == agent.id for grant in manifest.grants}
    who = {SPONSOR, DEPUTY}.union(*(bundle.clusters[name].review.who for name in granted if name in bundle.clusters))
    return person.id in eligible(who, agent.sponsor, bundle)
