"""What the desk says about states, times and people, in words. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from proxy.core.control import Statement
from proxy.core.model import Bundle, Hold, HoldState, Risk
from proxy.core.notes import Note
from proxy.core.reviewed import Word, event_of
from proxy.core.spans import span


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a hold stands: a word, whether anything was sent, and how grave that looks."""

    word: str
    sent: str  # one sentence: what has left, and what has not
    tone: str  # "wait", "good", "bad" or "calm": for colour, beside the words


_STANDINGS = {
    HoldState.HELD: Standing(word="waits for a decision", sent="Nothing has been sent.", tone="wait"),
    HoldState.APPROVED: Standing(
        word="released", sent="Nothing has been sent yet: it leaves when its agent asks again.", tone="good"
    ),
    HoldState.RELEASING: Standing(word="is being sent", sent="It is on its way right now.", tone="good"),
    HoldState.RELEASED: Standing(word="released and sent", sent="It was sent, and an answer came back.", tone="good"),
    HoldState.UNCERTAIN: Standing(
        word="uncertain", sent="It left, and nobody knows whether it arrived. It is never sent again.", tone="bad"
    ),
    HoldState.DENIED: Standing(word="denied", sent="It was not sent.", tone="bad"),
    HoldState.EXPIRED: Standing(word="expired", sent="Nobody decided in time. It was not sent.", tone="calm"),
    HoldState.CANCELLED: Standing(
        word="cancelled", sent="It was ended without a decision. It was not sent.", tone="calm"
    ),
}


def standing(hold: Hold, now: datetime) -> Standing:
    """How a hold stands at `now`. One whose time is up is over, whether or not anybody has written that down yet."""
    if hold.state is HoldState.HELD and now >= hold.expires_at:
        return _STANDINGS[HoldState.EXPIRED]
    if hold.state is HoldState.APPROVED and now >= hold.expires_at:
        return Standing(word="expired", sent="It was released, but too late by now. It was not sent.", tone="calm")
    if hold.state is HoldState.APPROVED and hold.delivers:
        return Standing(word="released", sent="Nothing has been sent yet: the proxy sends it by itself.", tone="good")
    return _STANDINGS[hold.state]


def left(moment: datetime, now: datetime) -> str:
    """How long until a moment, in its two largest units."""
    return span(int((moment - now).total_seconds()), parts=2) if moment > now else "no time"


def lasts(length: timedelta) -> str:
    """A length of time, in its two largest units."""
    return span(int(length.total_seconds()), parts=2)


def instant(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds: for machines, and beside words."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def clock(moment: datetime, now: datetime) -> str:
    """A moment for people: the time, and the day unless it is today. UTC, and it says so."""
    there = moment.astimezone(UTC)
    day = "" if there.date() == now.astimezone(UTC).date() else f"{there:%Y-%m-%d} "
    return f"{day}{there:%H:%M:%S} UTC"


def person_words(name: str, bundle: Bundle) -> str:
    """`Maria Brandt (maria)`, or the id of somebody who is not enrolled any more."""
    person = bundle.people.get(name)
    return name if person is None else f"{person.name} ({person.id})"


def people_words(names: tuple[str, ...], bundle: Bundle) -> str:
    """Several people, "nobody" for none."""
    return ", ".join(person_words(name, bundle) for name in names) or "nobody"


def risk_words(risk: Risk) -> str:
    return "may change things" if risk is Risk.TRANSFORMATIVE else "routine"


_SAID = {
    "comment": "noted",
    "escalate": "let the deputies decide now",
    "extend": "gave it more time",
    "cancel": "ended it",
    "lift": "took the denial back",
    "grant": "released calls like it",
    "sign": "released it",
    "recall": "stopped it: it must be released anew",
    "lapse": "released it, and that counts no more",
}


def said_words(word: Word) -> str:
    """What somebody did with a statement that decided nothing by itself."""
    event = event_of(word)
    return _SAID.get(event, event)


def said_at(word: Word) -> datetime:
    return word.at if isinstance(word, Note | Statement) else word.issued_at
