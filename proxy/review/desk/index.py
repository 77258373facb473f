"""What waits, as the desk keeps it in memory: read once, then kept up with the holds' event stream.

It is for lists and for live pages alone: every card is opened anew from the store, and every ruling looks at it there.
Nothing of a call stays here but what a row shows. Listeners hear of every change under the stream's own id, so that one
who was away goes on from the last id it heard; where that is no longer known it is told to read everything again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from proxy.core.clusters import Policy
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.holds import OPEN
from proxy.core.model import Bundle, Hold
from proxy.core.reviewers import Rung
from proxy.ports import HoldNews, Holds
from proxy.review.groups import Likeness, likeness
from proxy.review.opened import HeldCall
from proxy.review.service import ReviewService

logger = logging.getLogger(__name__)

MOST = 20_000
"""So many open holds are listed; each mandate has its own, lower cap."""
RETRY_S = 0.5
FIRST_S = 5.0
AT_ONCE = 64
KEPT_EVENTS = 5_000
BACKLOG = 1_000
"""A listener that is so many events behind reads everything again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One open hold in a list. `asks` is None until its call was opened, or where that cannot be done (`fault`)."""

    hold: Hold
    asks: "Asks | None" = None
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """What a row shows of a call. Credentials in `url` are keyed hashes."""

    method: str
    url: str
    consequence: str
    alike: Likeness
    meant: Hold  # with who may decide it as it was sealed
    signers: tuple[str, ...]
    deciders: frozenset[str]  # who may release it since it was opened
    later: tuple[Rung, ...]  # and who from when on
    bundle: str  # the SHA-256 of the policy by which they may


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Something happened to a hold. `hold` is None for one that is gone; `cursor` is the event stream's id."""

    cursor: str
    hold_id: str
    hold: Hold | None


RESET = Change(cursor="", hold_id="", hold=None)
"""What a listener hears when it may have missed something: read everything again."""
END = Change(cursor="", hold_id="", hold=None)
"""What a listener hears last."""


class Index:
    """Every open hold, in memory."""

    def __init__(
        self,
        *,
        reviews: ReviewService,
        holds: Holds,
        policy: Callable[[], Policy],
        clock: Callable[[], datetime],
    ) -> None:
        self._policy = policy
        self._reviews = reviews
        self._holds = holds
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._events: deque[Change] = deque(maxlen=KEPT_EVENTS)
        self._base = ""  # the place in the stream before the first of them
        self._listeners: set[Listening] = set()
        self._ended = False
        self.fault = "nothing was read yet"  # why what is here may be old; "" while it is not
        self.read_at: datetime | None = None
        self.ready = asyncio.Event()
        self._looked = asyncio.Event()  # what is open was read once, or could not be

    # --- keeping up --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep up with the store until cancelled. While it is away, what is here stays, and says that it is old."""
        while True:
            try:
                await self._follow()
            except* (Unavailable, Rejected) as faults:
                fault = _first(faults)
                if not self.fault:
                    logger.warning("the list of held calls is not kept up: %s", fault.detail)
                    self._tell_all(RESET)
                self.fault = fault.detail
                self._looked.set()
            await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        cursor = await self._holds.cursor()
        await self.read()
        self._events.clear()
        self._base = cursor
        self._tell_all(RESET)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._open_all())
            both.create_task(self._take_all(cursor))

    async def read(self) -> None:
        """List what is open. Calls that were opened before stay so while their holds have not changed.

        Raises:
            Unavailable: the store does not answer.
        """
        before = self._entries
        listed = await self._reviews.listing(states=OPEN, limit=MOST)
        self._entries = {
            hold.id: before[hold.id] if hold.id in before and before[hold.id].hold == hold else Entry(hold=hold)
            for hold in reversed(listed)
        }
        self.fault, self.read_at = "", self._clock()
        self.ready.set()
        self._looked.set()

    async def _open_all(self) -> None:
        for hold_id in list(self._entries):
            await self.open_some([hold_id])
            await asyncio.sleep(0)

    async def _take_all(self, cursor: str) -> None:
        waiting: asyncio.Queue[HoldNews] = asyncio.Queue(AT_ONCE)

        async def hear() -> None:
            async for news in self._holds.news(cursor):
                await waiting.put(news)

        async with asyncio.TaskGroup() as both:
            both.create_task(hear())
            both.create_task(self._take_what(waiting))

    async def _take_what(self, waiting: "asyncio.Queue[HoldNews]") -> None:
        """Take what was heard, in its order. Holds are asked for together: the store's answers may be slow."""
        while True:
            some = [await waiting.get()]
            while not waiting.empty():
                some.append(waiting.get_nowait())
            about = list(dict.fromkeys(news.hold_id for news in some))
            found = dict(zip(about, await asyncio.gather(*map(self._entry, about)), strict=True))
            for news in some:
                self._take(news, found[news.hold_id])
            self.read_at = self._clock()

    def _take(self, news: HoldNews, entry: Entry | None) -> None:
        hold = None if entry is None else entry.hold
        if entry is None or entry.hold.state not in OPEN:
            self._entries.pop(news.hold_id, None)
        else:
            self._entries[news.hold_id] = entry
        change = Change(cursor=news.cursor, hold_id=news.hold_id, hold=hold)
        if len(self._events) == KEPT_EVENTS:
            self._base = self._events[0].cursor
        self._events.append(change)
        self._tell_all(change)

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def cursor(self) -> str:
        """Where in the event stream this is."""
        return self._events[-1].cursor if self._events else self._base

    def entries(self) -> Iterable[Entry]:
        """Every open hold, oldest first."""
        return self._entries.values()

    async def first_look(self) -> None:
        """Wait for the first reading, for a while: a desk that has only just begun must not say that nothing waits."""
        if not self._looked.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._looked.wait(), FIRST_S)

    def get(self, hold_id: str) -> Entry | None:
        return self._entries.get(hold_id)

    async def open_some(self, hold_ids: Iterable[str]) -> None:
        """Open the calls of these holds, where that was not done: what a page is about to show.

        Raises:
            Unavailable: the store does not answer.
        """
        for hold_id in hold_ids:
            known = self._entries.get(hold_id)
            newest = self._policy().bundle.sha256
            if known is None or known.fault or (known.asks is not None and known.asks.bundle == newest):
                continue
            entry = await self._entry(hold_id)
            if self._entries.get(hold_id) is known and entry is not None and entry.hold.state in OPEN:
                self._entries[hold_id] = entry

    async def _entry(self, hold_id: str) -> Entry | None:
        try:
            return _entry_of(await self._reviews.show(hold_id), self._policy().bundle)
        except Rejected as fault:
            if fault.code is Code.HOLD_UNKNOWN:
                return None
            hold = await self._unopened(hold_id)
            return None if hold is None else Entry(hold=hold, fault=fault.detail)

    async def _unopened(self, hold_id: str) -> Hold | None:
        """A hold without its call: as it was listed, where its record cannot be read any more."""
        try:
            return await self._holds.get(hold_id)
        except Rejected:
            known = self._entries.get(hold_id)
            return None if known is None else known.hold

    # --- listening ---------------------------------------------------------------------------------------------------

    def listen(self, after: str, *, by: str = "") -> "Listening":
        """Hear everything that happened after this place in the stream, then whatever happens. `by`: who listens."""
        listening = Listening(self.since(after), self._listeners, by=by)
        if self._ended:
            listening.tell(END)
        return listening

    def listeners_of(self, name: str) -> int:
        """How many of those who listen do it under this name."""
        return sum(listening.by == name for listening in self._listeners)

    def end(self) -> None:
        """Let whoever listens go: the desk is about to stop."""
        self._ended = True
        self._tell_all(END)

    def since(self, after: str) -> list[Change]:
        """Everything that happened after this place in the stream; `RESET` alone where it is not known any more."""
        if after == self.cursor:
            return []
        events = list(self._events)
        if after == self._base:
            return events
        places = [number for number, change in enumerate(events) if change.cursor == after]
        return events[places[-1] + 1 :] if places else [RESET]

    def _tell_all(self, change: Change) -> None:
        for listening in list(self._listeners):
            listening.tell(change)


class Listening:
    """One who listens. What is heard may come twice, never not at all; `close` it in the end."""

    def __init__(self, before: Iterable[Change], among: "set[Listening]", *, by: str = "") -> None:
        self.by = by
        self._waiting: asyncio.Queue[Change] = asyncio.Queue()
        self._among = among
        among.add(self)
        for change in before:
            self._waiting.put_nowait(change)

    def tell(self, change: Change) -> None:
        """Have a change heard; one who is too far behind hears that everything must be read again."""
        if change is not END and self._waiting.qsize() >= BACKLOG:
            while not self._waiting.empty():
                self._waiting.get_nowait()
            change = RESET
        self._waiting.put_nowait(change)

    async def next(self, wait_s: float) -> Change | None:
        """What happened next; None when nothing did in that time."""
        try:
            async with asyncio.timeout(wait_s):
                return await self._waiting.get()
        except TimeoutError:
            return None

    def close(self) -> None:
        self._among.discard(self)


def _entry_of(held: HeldCall, bundle: Bundle) -> Entry:
    shown = held.shown
    if shown is None:
        return Entry(hold=held.hold, fault="" if held.hold.state not in OPEN else "its call is gone")
    call = shown.stored.call
    asks = Asks(
        method=call.method,
        url=shown.url,
        consequence=shown.consequence,
        alike=likeness(held.hold, call),
        meant=shown.meant(held.hold),
        signers=held.signers,
        deciders=frozenset(held.deciders),
        later=held.later,
        bundle=bundle.sha256,
    )
    return Entry(hold=held.hold, asks=asks)


def _first(faults: BaseExceptionGroup[Unavailable | Rejected]) -> Unavailable | Rejected:
    for fault in faults.exceptions:
        return _first(fault) if isinstance(fault, BaseExceptionGroup) else fault
    raise AssertionError("a group has at least one")
