"""What was decided about held calls, by whom, how fast and with what outcome: from the journal. Pure.

Only what a verified statement says stands there as somebody's word, so nothing else is counted as theirs here.
"""

import enum
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

from proxy.audit.lines import Kind
from proxy.audit.reviews import UNVERIFIED
from proxy.audit.show import Row, Unreadable
from proxy.core.encoding import Json
from proxy.core.holds import Event
from proxy.core.reviewed import LAPSE

HASTY = timedelta(seconds=5)
"""Nobody reads a call in less."""

MOST_HOLDS = 50_000
"""So many holds are kept while reading; the oldest are forgotten first."""


class Ending(enum.StrEnum):
    """How a hold ended."""

    RELEASED = "released"
    DENIED = "denied"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    LAPSED = "lapsed"  # released by a word that counted no more before it was sent: it waits for people again
    UNVERIFIED = "unverified"  # the store said it was decided, and nobody's signature bore that out


class Sent(enum.StrEnum):
    """What became of a released call."""

    WAITING = "waiting"  # not sent yet
    SENT = "sent"
    NOT_SENT = "not sent"  # its time ran out first
    UNCERTAIN = "uncertain"
    ARRIVED = "arrived"  # a person found out
    NOT_ARRIVED = "did not arrive"  # a person found out


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One person's ruling: a denial, or a release, be it one of several."""

    by: str  # Person.id
    released: bool
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """How one hold ended. What is not known, for its line is older than what was read, is None."""

    hold_id: str
    ending: Ending
    ended_at: datetime
    filed_at: datetime | None
    agent: str | None
    sponsor: str | None
    code: str | None
    risk: str | None
    cluster: str | None
    task: str | None
    who: tuple[str, ...]  # `Hold.who`: whose turn it could have been; () when that is not known
    asked: str | None  # method and URL, without the query
    said: tuple[Said, ...]  # in their order; the last one decided it
    reason: str | None
    grant: str | None  # the route grant that was given with its release
    lifted_by: str | None
    sent: Sent | None  # of a released call
    status: int | None  # what upstream answered
    error: str | None  # why there was no whole answer

    @property
    def by(self) -> tuple[str, ...]:
        """Who ruled, each once."""
        return tuple(dict.fromkeys(each.by for each in self.said))

    @property
    def took(self) -> timedelta | None:
        """From the filing to the end."""
        return None if self.filed_at is None else max(timedelta(0), self.ended_at - self.filed_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which rulings are wanted: those that match every member given."""

    reviewer: str | None = None
    agent: str | None = None
    sponsor: str | None = None
    since: datetime | None = None  # ended at or after
    until: datetime | None = None  # ended before

    def matches(self, ruling: Ruling) -> bool:
        return (
            (self.reviewer is None or self.reviewer in ruling.by)
            and self.agent in (None, ruling.agent)
            and self.sponsor in (None, ruling.sponsor)
            and (self.since is None or ruling.ended_at >= self.since)
            and (self.until is None or ruling.ended_at < self.until)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How one person rules. Shares are of all their rulings, from 0 to 1."""

    person: str
    rulings: int
    released: int
    denied: int
    median: timedelta | None  # from the filing to their word
    hasty: int  # rulings less than `HASTY` after the filing, or after their word before
    last: datetime | None

    @property
    def release_share(self) -> float | None:
        return self.released / self.rulings if self.rulings else None

    @property
    def hasty_share(self) -> float | None:
        return self.hasty / self.rulings if self.rulings else None


def rulings(rows: Iterable[Row | Unreadable], *, most: int = MOST_HOLDS) -> tuple[Ruling, ...]:
    """Every hold that ended, by its end, oldest first. `rows` are the journal's, oldest first."""
    found: OrderedDict[str, _Hold] = OrderedDict()
    calls: OrderedDict[str, str] = OrderedDict()  # decision to hold, of released calls
    for row in rows:
        if isinstance(row, Unreadable):
            continue
        if row.kind == Kind.HOLD and row.hold_id is not None:
            _of(found, row.hold_id, most).happened(row)
        elif row.kind == Kind.DECISION and row.hold_id is not None:
            _of(found, row.hold_id, most).judged(row)
            if row.verdict == "allow" and row.decision_id is not None:
                calls[row.decision_id] = row.hold_id
                if len(calls) > most:
                    calls.popitem(last=False)
        elif row.kind == Kind.OUTCOME and (hold_id := calls.get(row.decision_id or "")) is not None:
            _of(found, hold_id, most).answered(row)
    ended = [ruling for each in found.values() if (ruling := each.ruling()) is not None]
    return tuple(sorted(ended, key=lambda ruling: (ruling.ended_at, ruling.hold_id)))


def paces(ended: Iterable[Ruling], people: Iterable[str]) -> tuple[Pace, ...]:
    """How each of these people, and whoever else ruled, does it; whoever ruled most comes first.

    The time that somebody had for a ruling begins with the filing, or with their word before, whichever was later:
    a hundred releases in a row, a second each, are hasty although every call has waited for an hour.
    """
    words: dict[str, list[tuple[Said, Ruling]]] = {person: [] for person in people}
    for ruling in ended:
        for said in ruling.said:
            words.setdefault(said.by, []).append((said, ruling))
    found = (_pace(person, sorted(said, key=lambda each: each[0].at)) for person, said in words.items())
    return tuple(sorted(found, key=lambda pace: (-pace.rulings, pace.person)))


def _pace(person: str, words: list[tuple[Said, Ruling]]) -> Pace:
    waited = [(said.at - ruling.filed_at).total_seconds() for said, ruling in words if ruling.filed_at is not None]
    hasty, before = 0, None
    for said, ruling in words:
        begins = [moment for moment in (ruling.filed_at, before) if moment is not None]
        hasty += bool(begins) and said.at - max(begins) < HASTY
        before = said.at
    released = sum(said.released for said, _ in words)
    return Pace(
        person=person,
        rulings=len(words),
        released=released,
        denied=len(words) - released,
        median=timedelta(seconds=median(waited)) if waited else None,
        hasty=hasty,
        last=before,
    )


# --- one hold, line by line ------------------------------------------------------------------------------------------


_ENDINGS: Mapping[str, Ending] = {
    Event.APPROVE: Ending.RELEASED,
    Event.DENY: Ending.DENIED,
    Event.CANCEL: Ending.CANCELLED,
    Event.EXPIRE: Ending.EXPIRED,
    LAPSE: Ending.LAPSED,
    UNVERIFIED: Ending.UNVERIFIED,
}
_SENT: Mapping[str, Sent] = {
    Event.CLAIM: Sent.WAITING,
    Event.UNSENT: Sent.WAITING,
    Event.SENT: Sent.SENT,
    Event.LOST: Sent.UNCERTAIN,
    Event.ARRIVED: Sent.ARRIVED,
    Event.CLOSED: Sent.NOT_ARRIVED,
}


@dataclass(slots=True)
class _Hold:
    hold_id: str
    facts: dict[str, str] = field(default_factory=dict)
    who: tuple[str, ...] = ()
    filed_at: datetime | None = None
    asked: str | None = None
    ending: Ending | None = None
    ended_at: datetime | None = None
    version: int = 0  # of the hold when it ended so
    said: list[Said] = field(default_factory=list)
    reason: str | None = None
    grant: str | None = None
    lifted_by: str | None = None
    sent: Sent | None = None
    status: int | None = None
    error: str | None = None

    def happened(self, row: Row) -> None:
        """One line about it. Every node writes down what people say, so that a line may come more than once."""
        event, by = _text(row.fields, "event") or "", _text(row.fields, "by")
        for name in ("agent", "sponsor", "code", "risk", "cluster", "task"):
            if (value := _text(row.fields, name)) is not None:
                self.facts.setdefault(name, value)
        if event == "file":
            self.filed_at, who = row.at, row.fields.get("who")
            self.who = tuple(str(name) for name in who) if isinstance(who, list) else ()
        elif event == "grant":
            self.grant = _text(row.fields, "grant")
        elif event == Event.LIFT:
            self.lifted_by = by
        elif event in _SENT:
            self.sent = _SENT[event]
        elif event in ("sign", Event.APPROVE, Event.DENY) and by is not None:
            self._ruled(Said(by=by, released=event != Event.DENY, at=row.at))
        if event in _ENDINGS:
            self._ended(_ENDINGS[event], row)

    def judged(self, row: Row) -> None:
        """A decision about its call. The first counts: later ones may be of others that pass under its route grant."""
        method, url = _text(row.fields, "method"), _text(row.fields, "url")
        if self.asked is None and method is not None and url is not None:
            self.asked = f"{method} {url}"

    def answered(self, row: Row) -> None:
        """What became of its call upstream; the first answer counts, for the same reason."""
        if self.status is not None:
            return
        status = row.fields.get("status")
        self.status = status if isinstance(status, int) else None
        self.error = _text(row.fields, "error")

    def ruling(self) -> Ruling | None:
        """How it ended; None while it has not, or where only its beginning was read."""
        if self.ending is None or self.ended_at is None:
            return None
        return Ruling(
            hold_id=self.hold_id,
            ending=self.ending,
            ended_at=self.ended_at,
            filed_at=self.filed_at,
            agent=self.facts.get("agent"),
            sponsor=self.facts.get("sponsor"),
            code=self.facts.get("code"),
            risk=self.facts.get("risk"),
            cluster=self.facts.get("cluster"),
            task=self.facts.get("task"),
            who=self.who,
            asked=self.asked,
            said=tuple(self.said),
            reason=self.reason,
            grant=self.grant,
            lifted_by=self.lifted_by,
            sent=self.sent or Sent.WAITING if self.ending is Ending.RELEASED else None,
            status=self.status,
            error=self.error,
        )

    def _ruled(self, said: Said) -> None:
        if (said.by, said.released) not in {(each.by, each.released) for each in self.said}:
            self.said.append(said)

    def _ended(self, ending: Ending, row: Row) -> None:
        at = version if isinstance(version := row.fields.get("version"), int) else 0
        anew = Ending.LAPSED in (self.ending, ending) and at > self.version
        if self.ending in (None, Ending.UNVERIFIED) or anew:
            self.ending, self.ended_at, self.reason = ending, row.at, _text(row.fields, "reason")
            self.version = at
        elif self.ending is Ending.RELEASED and ending is Ending.EXPIRED:
            self.sent = Sent.NOT_SENT


def _of(found: "OrderedDict[str, _Hold]", hold_id: str, most: int) -> _Hold:
    if hold_id not in found:
        found[hold_id] = _Hold(hold_id)
        if len(found) > most:
            found.popitem(last=False)
    return found[hold_id]


def _text(fields: Mapping[str, Json], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None
