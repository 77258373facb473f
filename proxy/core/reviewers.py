"""Who may decide a hold, from when on, and who is told: the sponsor first, then deputies (DESIGN: holding).

`Hold.who` holds the words `sponsor` and `deputy`, relative to the hold's sponsor, or ids of people. The sponsor and
whoever is named by id may decide at once. `deputy` stands for the sponsor's deputy, who may after a third of the
hold's time, and for that one's deputy, who may after two thirds. Where those who may already are not certified, or
fewer than the quorum, deputies come forward at once, as many as it takes. Everything follows from the hold's own
times and the moment asked about: nothing has to have happened in between for it to be so.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from proxy.core.errors import Code, Rejected
from proxy.core.model import Bundle, Hold, Person

SPONSOR, DEPUTY = "sponsor", "deputy"
_DEPUTIES = 2
"""The sponsor's deputy, and that one's: as many as there are steps after the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """People who may decide from a moment on."""

    since: datetime
    people: tuple[str, ...]  # Person.ids


def most_people(who: Iterable[str]) -> int:
    """How many different people these words and ids can stand for at the most."""
    names = set(who)
    return len(names) + (_DEPUTIES - 1 if DEPUTY in names else 0)


def rungs(hold: Hold, bundle: Bundle, *, at: datetime) -> tuple[Rung, ...]:
    """Who may decide from when on, were nobody to escalate; `at` is when certificates are looked at.

    The first rung is there from the filing, even when nobody stands on it.
    """
    named = [name for name in hold.who if name != DEPUTY]
    first = sorted(eligible(named, hold.sponsor, bundle), key=lambda name: (name != hold.sponsor, name))
    deputies = [name for name in _deputies(hold.who, hold.sponsor, bundle) if name not in first]
    while deputies and sum(_certified(bundle.people[name], at) for name in first) < hold.quorum:
        first.append(deputies.pop(0))
    third = ((hold.first_end or hold.expires_at) - hold.filed_at) / 3
    later = (Rung(since=hold.filed_at + third * step, people=(name,)) for step, name in enumerate(deputies, start=1))
    return (Rung(since=hold.filed_at, people=tuple(first)), *later)


def eligible(who: Iterable[str], sponsor: str, bundle: Bundle) -> frozenset[str]:
    """Everybody whom these words and ids mean, whoever's turn it is."""
    names = set(who)
    named = {sponsor if name == SPONSOR else name for name in names} - {DEPUTY}
    return frozenset(named & bundle.people.keys()) | frozenset(_deputies(names, sponsor, bundle))


def on_ladder(hold: Hold, bundle: Bundle, *, at: datetime) -> tuple[str, ...]:
    """Everybody who may decide the hold sooner or later, in the order of their turn."""
    return tuple(name for rung in rungs(hold, bundle, at=at) for name in rung.people)


def told_of(hold: Hold, bundle: Bundle, *, at: datetime, escalated: bool) -> tuple[str, ...]:
    """Who has been told of the hold at `at`: whoever may decide it by then, certified or not."""
    ladder = rungs(hold, bundle, at=at)
    return tuple(name for rung in ladder if escalated or rung is ladder[0] or rung.since <= at for name in rung.people)


def check_permitted(person: Person, hold: Hold, bundle: Bundle, *, at: datetime) -> None:
    """Reject a person who may not rule on this hold at any time: not enrolled, not named, or no longer certified.

    Raises:
        Rejected(HOLD_NOT_PERMITTED)
    """
    code = Code.HOLD_NOT_PERMITTED
    if bundle.people.get(person.id) != person:
        raise Rejected(code, f"{person.id} is not enrolled as presented", field="iss")
    permitted = on_ladder(hold, bundle, at=at)
    if person.id not in permitted:
        names = ", ".join(sorted(permitted)) or "nobody"
        raise Rejected(code, f"{person.id} may not decide hold {hold.id}: {names} may", field="iss")
    check_certified(person, at=at)


def check_certified(person: Person, *, at: datetime) -> None:
    """Reject a person whose competence has lapsed.

    Raises:
        Rejected(HOLD_NOT_PERMITTED)
    """
    if not _certified(person, at):
        detail = f"{person.id} is certified until {person.certified_until.isoformat()} and cannot decide after that"
        raise Rejected(Code.HOLD_NOT_PERMITTED, detail, field="iss")


def check_turn(person: Person, hold: Hold, bundle: Bundle, *, at: datetime) -> None:
    """Reject a person who may rule on this hold, but not yet.

    Not checked here: an escalation, which ends the waiting, and `check_permitted`.

    Raises:
        Rejected(HOLD_NOT_PERMITTED)
    """
    for rung in rungs(hold, bundle, at=at)[1:]:
        if person.id in rung.people and at < rung.since:
            detail = f"{person.id} may decide hold {hold.id} from {rung.since:%Y-%m-%dT%H:%M:%SZ} on, or once it is"
            raise Rejected(Code.HOLD_NOT_PERMITTED, f"{detail} escalated: the sponsor comes first", field="iss")


def _deputies(who: Collection[str], sponsor: str, bundle: Bundle) -> Iterator[str]:
    """The sponsor's deputy, and that one's, if `deputy` is among the words."""
    return islice(_line(sponsor, bundle), _DEPUTIES if DEPUTY in who else 0)


def _line(name: str, bundle: Bundle) -> Iterator[str]:
    seen = {name}
    while (person := bundle.people.get(name)) is not None and person.deputy in bundle.people:
        assert person.deputy is not None
        name = person.deputy
        if name in seen:
            return
        seen.add(name)
        yield name


def _certified(person: Person, at: datetime) -> bool:
    return at < person.certified_until
