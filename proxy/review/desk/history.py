"""What was decided in the last day: by whom, how fast, and what became of it; and how each reviewer decides. Pure.

It is told from the holds that the store still has, with their reviewers as they signed. Somebody who releases
everything within seconds stands out; that is what it is for. The journal has what is older.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from proxy.core.holds import TERMINAL
from proxy.core.model import Bundle, Hold, HoldState, Person
from proxy.review.desk.seeing import Concerned

MOST = 2_000
ROWS = 200

DECIDED = TERMINAL | {HoldState.APPROVED, HoldState.RELEASING, HoldState.UNCERTAIN}
"""States after a decision, or after the time for one."""
_LET = frozenset({HoldState.APPROVED, HoldState.RELEASING, HoldState.RELEASED, HoldState.UNCERTAIN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One hold that is over, or was released. `took` is from its filing to the decision; None where nobody decided."""

    hold: Hold
    took: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewer:
    """How one person decided."""

    person: str  # Person.id
    released: int
    denied: int
    median: timedelta  # from filing to decision

    @property
    def share(self) -> int:
        """How many of a hundred they released."""
        return round(100 * self.released / (self.released + self.denied))


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What somebody may see of what was decided."""

    rows: tuple[Decided, ...]  # the newest first
    found: int
    reviewers: tuple[Reviewer, ...]  # who decided most first
    expired: int  # nobody decided in time


def history_for(holds: Iterable[Hold], person: Person, bundle: Bundle, *, now: datetime) -> History:
    """The history of what concerns one person."""
    concerned = Concerned(bundle, now)
    seen = [Decided(hold=hold, took=_took(hold)) for hold in holds if concerned(person, hold)]
    seen.sort(key=lambda each: (each.hold.decided_at or each.hold.expires_at, each.hold.id), reverse=True)
    by: dict[str, list[Decided]] = {}
    for each in seen:
        if each.hold.decided_by is not None and each.took is not None and each.hold.state is not HoldState.CANCELLED:
            by.setdefault(each.hold.decided_by, []).append(each)
    reviewers = (_reviewer(name, decided) for name, decided in by.items())
    return History(
        rows=tuple(seen[:ROWS]),
        found=len(seen),
        reviewers=tuple(sorted(reviewers, key=lambda each: (-each.released - each.denied, each.person))),
        expired=sum(each.hold.state is HoldState.EXPIRED for each in seen),
    )


def _took(hold: Hold) -> timedelta | None:
    if hold.decided_at is None or hold.decided_by is None:
        return None
    return max(timedelta(0), hold.decided_at - hold.filed_at)


def _reviewer(name: str, decided: list[Decided]) -> Reviewer:
    released = sum(each.hold.state in _LET for each in decided)
    seconds = median(each.took.total_seconds() for each in decided if each.took is not None)
    return Reviewer(
        person=name, released=released, denied=len(decided) - released, median=timedelta(seconds=round(seconds))
    )
