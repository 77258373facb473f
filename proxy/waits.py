"""Calls that wait for a person while their connection stays open: woken by news, and when they are stopped."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.core.errors import Rejected, Unavailable
from proxy.core.model import Hold, HoldState, Mandate
from proxy.ports import Holds

REVIEW_POLL_S = 2.0
"""A waiting call looks at its hold this often even when no event says so."""


@dataclass(eq=False, slots=True)
class _Waiting:
    """One call that waits."""

    mandate: Mandate
    news: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: bool = False  # its mandate no longer stands: whoever looks again says so


class Waits:
    """The waiting calls of one worker."""

    def __init__(self, holds: Holds, *, worker: str, timer: Callable[[], float]) -> None:
        self._holds = holds
        self._worker = worker
        self._timer = timer
        self._by_hold: dict[str, set[_Waiting]] = {}
        self.leaving = asyncio.Event()  # set when this worker ends: nobody waits here any more

    def __contains__(self, hold_id: str) -> bool:
        """Whether a call waits here for this hold."""
        return hold_id in self._by_hold

    def wake(self, hold_id: str) -> None:
        """The hold has changed."""
        for each in self._by_hold.get(hold_id, ()):
            each.news.set()

    def stop(self, falls: Callable[[Mandate], bool]) -> None:
        """End the waiting of every call whose mandate `falls`."""
        for waiting in self._by_hold.values():
            for each in waiting:
                if not each.stopped and falls(each.mandate):
                    each.stopped = True
                    each.news.set()

    async def reviewed(self, hold: Hold, mandate: Mandate, wait_s: float, gone: asyncio.Event) -> bool:
        """Wait until the hold is no longer held, or the time or the client is gone. True: look again.

        Also when the mandate no longer stands: looking again says why.
        """
        own = _Waiting(mandate)
        self._by_hold.setdefault(hold.id, set()).add(own)
        leaving = asyncio.ensure_future(gone.wait())
        ending = asyncio.ensure_future(self.leaving.wait())
        deadline_s = self._timer() + wait_s
        try:
            await self._holds.wait_at(hold.id, self._worker)
            own.news.set()  # somebody may have decided before we began to wait
            while (left_s := deadline_s - self._timer()) > 0 and not gone.is_set() and not self.leaving.is_set():
                coming = asyncio.ensure_future(own.news.wait())
                await asyncio.wait(
                    {coming, leaving, ending}, timeout=min(left_s, REVIEW_POLL_S), return_when=asyncio.FIRST_COMPLETED
                )
                coming.cancel()
                own.news.clear()
                if own.stopped:
                    break
                found = await self._holds.get(hold.id)
                if found is None or found.state is not HoldState.HELD:
                    return not gone.is_set()
            if not hold.delivers:
                await self._holds.wait_at(hold.id, "")
            return own.stopped and not gone.is_set()
        except Unavailable:
            return False  # the hold stands; the agent is told where to ask
        except Rejected:
            return True  # unreadable: looking again says what is wrong
        finally:
            leaving.cancel()
            ending.cancel()
            self._by_hold[hold.id].discard(own)
            if not self._by_hold[hold.id]:
                del self._by_hold[hold.id]
