"""Who sees which hold at the desk: whoever it concerns. For everybody else it is not there.

A hold concerns whoever may decide it, sooner or later, and whoever is told of it (`proxy.core.reviewers`).
"""

from datetime import datetime

from proxy.core.model import Bundle, Hold, Person
from proxy.core.reviewers import on_ladder
from proxy.review.opened import HeldCall


def may_see(person: Person, held: HeldCall) -> bool:
    """Whether an opened hold concerns this person: judged by what was sealed, whatever the store says."""
    later = {name for rung in held.later for name in rung.people}
    return person.id in {*held.deciders, *held.told, *held.signers, held.hold.sponsor, *later}


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
