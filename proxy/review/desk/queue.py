"""The queue: which holds a person sees in which order, found by words, and the groups of those that are alike. Pure."""

import enum
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from proxy.core.model import Bundle, Hold, HoldState, Person, Risk
from proxy.review.desk.index import Entry
from proxy.review.desk.seeing import Concerned
from proxy.review.groups import difference, group_id
from proxy.review.opened import may_rule

ROWS = 50
"""So many holds on a page."""
MAX_SEARCH_CHARS = 200


class Order(enum.StrEnum):
    """What comes first."""

    EXPIRES = "expires"
    RISK = "risk"


class Which(enum.StrEnum):
    """Whose turn it is."""

    ALL = "all"
    MINE = "mine"  # those this person may decide now


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants to see. Every member has a spelling in the address of the page."""

    search: str = ""
    agent: str = ""
    sponsor: str = ""
    risk: Risk | None = None
    group: str = ""
    which: Which = Which.ALL
    order: Order = Order.EXPIRES
    page: int = 1

    def query(self, **changes: str) -> str:
        """The address of this wish with some members changed: `?risk=routine`, or "" for none."""
        said = {
            "search": self.search,
            "agent": self.agent,
            "sponsor": self.sponsor,
            "risk": "" if self.risk is None else self.risk.value,
            "group": self.group,
            "which": "" if self.which is Which.ALL else self.which.value,
            "order": "" if self.order is Order.EXPIRES else self.order.value,
            "page": "" if self.page == 1 else str(self.page),
            **changes,
        }
        words = urlencode({name: value for name, value in said.items() if value})
        return f"?{words}" if words else ""


def read_wish(asked: Mapping[str, str]) -> Wish:
    """The wish in the address of a page. What is no such thing is passed over: a list has no wrong address."""
    page = asked.get("page", "")
    return Wish(
        search=asked.get("search", "")[:MAX_SEARCH_CHARS].strip(),
        agent=asked.get("agent", "")[:MAX_SEARCH_CHARS],
        sponsor=asked.get("sponsor", "")[:MAX_SEARCH_CHARS],
        risk=next((risk for risk in Risk if risk.value == asked.get("risk")), None),
        group=asked.get("group", "")[:MAX_SEARCH_CHARS],
        which=next((each for each in Which if each.value == asked.get("which")), Which.ALL),
        order=next((each for each in Order if each.value == asked.get("order")), Order.EXPIRES),
        page=int(page) if page.isascii() and page.isdecimal() and 0 < len(page) < 6 and int(page) else 1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One hold in the list. `now` is whether this person may decide it now."""

    entry: Entry
    now: bool

    @property
    def hold(self) -> Hold:
        return self.entry.hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """Holds that are alike, and of which there are several."""

    id: str
    agent: str
    method: str
    route: str
    code: str
    count: int
    differs: str  # how they do, in words
    first_end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What a person sees of everything that waits."""

    wish: Wish
    rows: tuple[Row, ...]  # those of the page
    found: int  # how many match
    all: int  # how many there are for this person
    mine: int  # how many of those they may decide now
    groups: tuple[Alike, ...]  # the largest first
    agents: tuple[str, ...]
    sponsors: tuple[str, ...]
    closed: int  # of those for this person, how many calls were not opened yet: words and groups do not find them

    @property
    def pages(self) -> int:
        return max(1, -(-self.found // ROWS))


def queue_for(
    entries: Iterable[Entry], wish: Wish, person: Person, bundle: Bundle, *, now: datetime, rows: int = ROWS
) -> Queue:
    """The queue of one person at one moment."""
    concerned = Concerned(bundle, now)
    seen = [_row(entry, person, bundle, now) for entry in entries if concerned(person, entry.hold)]
    found = sorted((row for row in seen if _matches(row, wish)), key=lambda row: place_of(row, wish.order))
    page = min(wish.page, max(1, -(-len(found) // rows)))
    return Queue(
        wish=wish,
        rows=tuple(found[(page - 1) * rows : page * rows]),
        found=len(found),
        all=len(seen),
        mine=sum(row.now for row in seen),
        groups=_groups(found),
        agents=_names(row.hold.agent for row in seen),
        sponsors=_names(row.hold.sponsor for row in seen),
        closed=sum(row.entry.asks is None and not (row.entry.fault or row.entry.withheld) for row in seen),
    )


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


def _row(entry: Entry, person: Person, bundle: Bundle, now: datetime) -> Row:
    hold, asks, seen = entry.hold, entry.asks, entry.for_eyes(person)
    waits = hold.state is HoldState.UNCERTAIN or (hold.state is HoldState.HELD and now < hold.expires_at)
    if not waits or entry.fault or (asks is not None and hold.quorum > 1 and person.id in asks.signers):
        return Row(entry=seen, now=False)
    if asks is None or asks.bundle != bundle.sha256:  # by what the store says, until it is opened
        return Row(entry=seen, now=may_rule(person, hold, bundle, now))
    in_turn = person.id in asks.deciders or any(person.id in each.people and each.since <= now for each in asks.later)
    return Row(entry=seen, now=in_turn and now < person.certified_until)


def _matches(row: Row, wish: Wish) -> bool:
    hold, asks = row.hold, row.entry.asks
    wanted = (
        wish.agent in ("", hold.agent)
        and wish.sponsor in ("", hold.sponsor)
        and wish.risk in (None, hold.risk)
        and (wish.which is Which.ALL or row.now)
        and (not wish.group or (asks is not None and group_id(asks.alike) == wish.group))
    )
    return wanted and _says(row, wish.search.casefold().split())


def _says(row: Row, words: Collection[str]) -> bool:
    """Whether every word stands somewhere in what the row shows."""
    if not words:
        return True
    hold, asks = row.hold, row.entry.asks
    shown = [hold.id, hold.agent, hold.sponsor, hold.task, hold.cluster, hold.code.value, hold.state.value]
    shown += [] if asks is None else [asks.method, asks.url, asks.consequence]
    text = "\n".join(shown).casefold()
    return all(word in text for word in words)


def place_of(row: Row, order: Order) -> tuple[int, int, datetime, str]:
    """What is uncertain first: it waits for ever. Then by time, of two at once the graver; or the graver first."""
    hold = row.hold
    risk = 0 if hold.risk is Risk.TRANSFORMATIVE else 1
    lost = 0 if hold.state is HoldState.UNCERTAIN else 1
    return lost, risk if order is Order.RISK else 0, hold.expires_at, f"{risk}{hold.id}"


def _groups(rows: Iterable[Row]) -> tuple[Alike, ...]:
    """The groups of those that wait for a word; a hold that is alone is in none."""
    together: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        if row.entry.asks is not None and row.hold.state is HoldState.HELD:
            together.setdefault(row.entry.asks.alike, []).append(row)
    found = (
        Alike(
            id=group_id(key),
            agent=key[0],
            method=key[1],
            route=key[2],
            code=key[3],
            count=len(members),
            differs=difference([each.entry.asks.print for each in members if each.entry.asks is not None]),
            first_end=min(member.hold.expires_at for member in members),
        )
        for key, members in together.items()
        if len(members) > 1
    )
    return tuple(sorted(found, key=lambda group: (-group.count, group.id)))
