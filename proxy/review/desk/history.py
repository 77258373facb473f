"""What was decided: found by words and filters, page by page; and how each reviewer decides. Pure.

It is told from the journal and the store together (`proxy.review.joined`), to each person what concerns them. Somebody
who releases everything within seconds stands out; that is what it is for.
"""

import enum
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from proxy.core.model import Bundle, Person
from proxy.review.desk.seeing import Entitled
from proxy.review.history import HASTY, Ending, Pace, Ruling, Sent, paces

ROWS = 50
"""So many rulings on a page."""
MAX_SEARCH_CHARS = 200
_HASTY_SHARE = 0.2
_NEARLY_ALL = 0.98
_ENOUGH, _MANY = 5, 20
"""So many rulings before a share of them says something."""


class Period(enum.StrEnum):
    """How far back."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    ALL = "all"

    def since(self, now: datetime) -> datetime | None:
        days = {Period.DAY: 1, Period.WEEK: 7, Period.MONTH: 30}.get(self)
        return None if days is None else now - timedelta(days=days)

    @property
    def words(self) -> str:
        return {
            Period.DAY: "the last day",
            Period.WEEK: "the last 7 days",
            Period.MONTH: "the last 30 days",
            Period.ALL: "all that is kept",
        }[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Which rulings somebody wants to see. Every member has a spelling in the address of the page."""

    search: str = ""
    person: str = ""
    agent: str = ""
    ending: Ending | None = None
    period: Period = Period.WEEK
    page: int = 1

    def query(self, **changes: str) -> str:
        """The address of this with some members changed: `?person=ada`, or "" for none."""
        said = {
            "search": self.search,
            "person": self.person,
            "agent": self.agent,
            "became": "" if self.ending is None else self.ending.value,
            "period": "" if self.period is Period.WEEK else self.period.value,
            "page": "" if self.page == 1 else str(self.page),
            **changes,
        }
        words = urlencode({name: value for name, value in said.items() if value})
        return f"?{words}" if words else ""


def read_sought(asked: Mapping[str, str]) -> Sought:
    """What the address of a page asks for. What is no such thing is passed over: a list has no wrong address."""
    page = asked.get("page", "")
    return Sought(
        search=asked.get("search", "")[:MAX_SEARCH_CHARS].strip(),
        person=asked.get("person", "")[:MAX_SEARCH_CHARS],
        agent=asked.get("agent", "")[:MAX_SEARCH_CHARS],
        ending=next((each for each in Ending if each.value == asked.get("became")), None),
        period=next((each for each in Period if each.value == asked.get("period")), Period.WEEK),
        page=int(page) if page.isascii() and page.isdecimal() and 0 < len(page) < 6 and int(page) else 1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What somebody may see of what was decided."""

    sought: Sought
    rows: tuple[Ruling, ...]  # those of the page, the newest first
    found: int  # how many match
    all: int  # how many there are for this person in that time
    expired: int  # of those that match: nobody decided in time
    people: tuple[str, ...]  # who ruled
    agents: tuple[str, ...]

    @property
    def pages(self) -> int:
        return max(1, -(-self.found // ROWS))


def past_for(ended: Iterable[Ruling], sought: Sought, person: Person, bundle: Bundle, *, now: datetime) -> Past:
    """The history of what concerns one person."""
    seen = _seen(ended, sought.period, person, bundle, now=now)
    found = [ruling for ruling in reversed(seen) if _matches(ruling, sought, bundle)]
    page = min(sought.page, max(1, -(-len(found) // ROWS)))
    return Past(
        sought=sought,
        rows=tuple(found[(page - 1) * ROWS : page * ROWS]),
        found=len(found),
        all=len(seen),
        expired=sum(ruling.ending is Ending.EXPIRED for ruling in found),
        people=_names(name for ruling in seen for name in ruling.by),
        agents=_names(ruling.agent for ruling in seen if ruling.agent is not None),
    )


def paces_for(
    ended: Iterable[Ruling], period: Period, person: Person, bundle: Bundle, *, now: datetime
) -> tuple[Pace, ...]:
    """How everybody decides who decided something that concerns one person: of that alone."""
    return paces(_seen(ended, period, person, bundle, now=now), ())


def remarks(pace: Pace) -> tuple[str, ...]:
    """What should be looked at in how somebody rules."""
    found: list[str] = []
    if pace.rulings >= _ENOUGH and (pace.hasty_share or 0) >= _HASTY_SHARE:
        seconds = int(HASTY.total_seconds())
        found.append(f"{pace.hasty} of {pace.rulings} in under {seconds} seconds: nobody reads a call in less")
    if pace.rulings >= _MANY and (pace.release_share or 0) >= _NEARLY_ALL:
        found.append("releases nearly everything")
    return tuple(found)


def became(ruling: Ruling) -> str:
    """How a hold ended, in words."""
    if ruling.ending is Ending.UNVERIFIED:
        return "decided, and nobody signed that"
    wider = ", and calls like it" if ruling.grant else ""
    return f"{ruling.ending.value}{wider}{', taken back since' if ruling.lifted_by else ''}"


_UPSTREAM = {
    Sent.WAITING: "not sent yet",
    Sent.SENT: "sent",
    Sent.NOT_SENT: "never sent",
    Sent.UNCERTAIN: "uncertain whether it arrived",
    Sent.ARRIVED: "it arrived, somebody found out",
    Sent.NOT_ARRIVED: "it did not arrive, somebody found out",
}


def upstream(ruling: Ruling) -> str:
    """What became of a call upstream, in words; "" for one that was never to leave."""
    if ruling.sent is None:
        return ""
    words = _UPSTREAM[ruling.sent]
    if ruling.status is not None:
        words += f", answered {ruling.status}"
    return words if ruling.error is None else f"{words} ({ruling.error})"


def _seen(
    ended: Iterable[Ruling], period: Period, person: Person, bundle: Bundle, *, now: datetime
) -> tuple[Ruling, ...]:
    entitled, since = Entitled(bundle), period.since(now)
    return tuple(ruling for ruling in ended if (since is None or ruling.ended_at >= since) and entitled(person, ruling))


def _matches(ruling: Ruling, sought: Sought, bundle: Bundle) -> bool:
    return (
        (not sought.person or sought.person in ruling.by)
        and sought.agent in ("", ruling.agent)
        and sought.ending in (None, ruling.ending)
        and _says(ruling, sought.search.casefold().split(), bundle)
    )


def _says(ruling: Ruling, words: Collection[str], bundle: Bundle) -> bool:
    """Whether every word stands somewhere in what the row shows."""
    if not words:
        return True
    names = [bundle.people[name].name for name in ruling.by if name in bundle.people]
    shown = (ruling.hold_id, ruling.agent, ruling.sponsor, ruling.code, ruling.cluster, ruling.task, ruling.asked)
    text = "\n".join([*filter(None, (*shown, ruling.reason)), *ruling.by, *names, became(ruling), upstream(ruling)])
    return all(word in text.casefold() for word in words)


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))
