"""The review desk with thousands of open holds: its pages, its live events, and two desks that share one store."""

import json
import re
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import identities

from bench.children import on_cores
from bench.cpu import tree_cpu_s
from bench.desks import Browser, Desk, Desks, Others, steadily
from bench.failures import Dishonest, Failed
from bench.https import Tell
from bench.machine import Cores
from bench.memory import resident_kib
from bench.spread import Spread, percentile
from proxy.core.model import Hold

OPEN = 5_000
PER_S = 100.0
KEYS: Mapping[str, str] = {
    "desk_first_page_ms": "the first page, of a desk that has just said that it is ready, ms",
    "desk_card_ms": "a card, ms",
    "desk_queue_ms": "the queue, ms",
    "desk_search_ms": "the queue, searched by words, ms",
    "desk_filter_ms": "the queue of one agent and risk, ms",
    "desk_group_ms": "a group of a thousand that are alike, ms",
    "desk_opening_s": "until every call was opened after the start, s",
    "desk_memory_mb": "memory of the desk, MB",
    "desk_events_per_s": "events a second, filed and denied elsewhere",
    "desk_event_lag_p50_ms": "an event's way to an open page, p50, ms",
    "desk_event_lag_p95_ms": "the same, p95, ms",
    "desk_events_cores": "cores that the desk keeps busy meanwhile",
    "desk_busy_queue_ms": "the queue meanwhile, ms",
    "desk_other_lag_ms": "until another desk's page shows what this one decided, ms",
}
_PAGES = {
    "desk_card_ms": "/",
    "desk_queue_ms": "/queue",
    "desk_search_ms": "/queue?search=salaries+erp",
    "desk_filter_ms": f"/queue?agent={identities.AGENT}&risk=routine",
}
_GROUP = re.compile(r'href="(/groups/[\w-]+)"')
_LEFT_S = 120.0


@dataclass(slots=True, kw_only=True)
class Office:
    """What was measured, by key; and what was checked."""

    holds: int
    found: dict[str, Spread] = field(default_factory=dict)
    checked: dict[str, int] = field(default_factory=dict)

    def note(self, key: str, values: list[float]) -> None:
        self.found[key] = Spread.of(values)


def measure(folder: Path, cores: Cores, tell: Tell, *, holds: int = OPEN, seconds: int = 20, turns: int = 9) -> Office:
    """All of it.

    Raises:
        Dishonest: an event was missed, or two desks do not agree.
        Failed: a part broke.
    """
    office = Office(holds=holds)
    with on_cores(cores.load), Desks(folder, cores=cores.proxies) as desks:
        tell(f"desk: filing {holds:,} calls")
        filed = list(desks.file(holds))
        one = _first(office, desks, tell)
        _pages(office, one, turns)
        _events(office, desks, one, filed, seconds)
        tell("desk: events were measured")
        _two(office, desks, one, filed, turns)
    return office


def _first(office: Office, desks: Desks, tell: Tell) -> Desk:
    desk = desks.start("desk-1")
    desk.wait()
    began_s = time.monotonic()
    answer = Browser(desk, identities.SPONSOR).get("/")
    if not answer.holds:
        raise Failed("the first page shows no call")
    office.note("desk_first_page_ms", [answer.ms])
    tell(f"desk: the first page took {answer.ms:.0f} ms")
    used_s = -1.0  # calls are opened until the desk is idle
    while (now_s := tree_cpu_s(desk.child.pid)) - used_s > 0.1 and time.monotonic() - began_s < _LEFT_S:
        used_s = now_s
        time.sleep(1)
    office.note("desk_opening_s", [time.monotonic() - began_s])
    return desk


def _pages(office: Office, desk: Desk, turns: int) -> None:
    browser = Browser(desk, identities.SPONSOR)
    group = _GROUP.search(browser.get("/queue").text)
    pages = _PAGES if group is None else _PAGES | {"desk_group_ms": group[1]}
    taken: dict[str, list[float]] = {key: [] for key in pages}
    for _ in range(turns):
        for key, path in pages.items():
            taken[key].append(browser.get(path).ms)
    for key, values in taken.items():
        office.note(key, values)
    office.note("desk_memory_mb", [resident_kib(desk.child.pid) / 1024])


def _events(office: Office, desks: Desks, desk: Desk, filed: list[Hold], seconds: int) -> None:
    """As many calls are filed as are denied, each by turns, while one page is open and another is read."""
    browser, over = Browser(desk, identities.SPONSOR), threading.Event()
    before = set(desks.places())
    listener, taken = browser.listen(), [browser.get("/queue").ms]

    def read() -> None:
        reader = Browser(desk, identities.SPONSOR)
        while not over.wait(0.5):
            taken.append(reader.get("/queue").ms)

    reading = threading.Thread(target=read)
    many = int(seconds * PER_S / 2)
    leaving = [filed.pop() for _ in range(many)]

    async def work(others: Others) -> float:
        signed = [await others.sign(hold) for hold in leaving]
        steps: list[Callable[[], Awaitable[object]]] = []
        for hold, statement in zip(leaving, signed, strict=True):
            steps += [others.file, partial(others.deny, hold, statement)]
        reading.start()
        began_s, used_s = time.monotonic(), tree_cpu_s(desk.child.pid)
        rate = await steadily(steps, per_s=PER_S)
        cores = (tree_cpu_s(desk.child.pid) - used_s) / (time.monotonic() - began_s)
        office.note("desk_events_cores", [cores])
        return rate

    try:
        office.note("desk_events_per_s", [desks.use(work)])
    finally:
        over.set()
        if reading.ident is not None:
            reading.join()
    places = [place for place in desks.places() if place not in before]
    missed = listener.wait_for(places)
    listener.close()
    if missed or listener.resets:  # told to read everything again: it was too far behind
        raise Dishonest("the desk's events do not count", (f"{len(missed)} of {len(places)} events missed",))
    lags = sorted(listener.heard[place] - int(place.partition("-")[0]) for place in places)
    office.checked["events"] = len(places)
    office.note("desk_event_lag_p50_ms", [percentile(lags, 50)])
    office.note("desk_event_lag_p95_ms", [percentile(lags, 95)])
    office.note("desk_busy_queue_ms", taken)


def _two(office: Office, desks: Desks, one: Desk, filed: list[Hold], turns: int) -> None:
    """Two desks: the same list, each shows what the other decided, and of two at once one wins."""
    other = desks.start("desk-2")
    other.wait()
    here, there = Browser(one, identities.SPONSOR), Browser(other, identities.DEPUTY)
    listener, lags = there.listen(), []
    for number in range(turns):
        known, hold = set(desks.places()), filed.pop()
        began_ms = time.time() * 1000
        if here.deny(hold, "not its task").status != 200:
            raise Failed(f"the desk did not deny {hold.id}")
        places = [place for place in desks.places() if place not in known]
        if listener.wait_for(places):
            raise Dishonest("two desks do not agree", (f"{hold.id}, decided at one, is not told by the other",))
        lags.append(max(listener.heard[place] for place in places) - began_ms)
        _race(here, there, filed.pop(), number)
    listener.close()
    office.note("desk_other_lag_ms", lags)
    lists = [each.get("/queue").holds for each in (here, there)]
    if lists[0] != lists[1]:
        raise Dishonest("two desks do not agree", (json.dumps(lists),))
    office.checked |= {"races": turns, "shared": len(lists[0])}


def _race(here: Browser, there: Browser, hold: Hold, number: int) -> None:
    answers = both(partial(here.deny, hold, f"one {number}"), partial(there.deny, hold, f"two {number}"))
    lost = [answer for answer in answers if answer.status == 409]
    if sorted(answer.status for answer in answers) != [200, 409] or not re.search(
        rf"decided by ({identities.SPONSOR}|{identities.DEPUTY})", lost[0].text
    ):
        raise Dishonest("two desks do not agree", (f"{hold.id}: {[answer.status for answer in answers]}",))


def both[T](one: Callable[[], T], other: Callable[[], T]) -> list[T]:
    """Two things at once."""
    done: list[T] = []
    threads = [threading.Thread(target=lambda work=work: done.append(work())) for work in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done
