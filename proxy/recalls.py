"""Releases that a stop came after: their holds wait for people again, wherever that is noticed first."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime

from proxy.core.control import ControlView
from proxy.core.errors import Rejected, Unavailable
from proxy.core.holds import Event
from proxy.core.model import Bundle, Hold, HoldState, StoredCall
from proxy.core.recall import recalled_by
from proxy.ports import Holds

_AT_ONCE = 10_000


class Recalls:
    """Takes back what was released before a stop. The step is taken once, whoever else takes it."""

    def __init__(
        self,
        *,
        holds: Holds,
        bundle: Callable[[], Bundle],
        view: Callable[[], ControlView],
        stored: Callable[[Hold], Awaitable[StoredCall]],
        clock: Callable[[], datetime],
    ) -> None:
        self._holds = holds
        self._bundle = bundle
        self._view = view
        self._stored = stored
        self._clock = clock
        self._swept = ControlView()

    async def checked(self, hold: Hold) -> Hold:
        """The hold as it is; held again, if a stop came after its release.

        Not checked here: that its call may be sent (`Holding.check_release`).

        Raises:
            Unavailable: the store does not answer, or nobody has told us for too long what is stopped.
        """
        if hold.state is not HoldState.APPROVED or not (view := self._view()).words:
            return hold
        try:
            filed = await self._stored(hold)
            stop = recalled_by(hold, filed, self._bundle(), view, now=self._clock())
            if stop is None:
                return hold
            moved = await self._holds.apply(hold.id, Event.RECALL, said=stop.token, version=hold.version)
        except Rejected:  # it ended meanwhile, or cannot be read: whoever wants to send it is told
            return hold
        return moved.hold

    async def sweep(self) -> None:
        """Take back everything that was released, when somebody was stopped since the last time."""
        with suppress(Unavailable):  # it is tried again, and nothing passes until then
            view = self._view()
            if view.words == self._swept.words:
                return
            for hold in await self._holds.listing(states=frozenset({HoldState.APPROVED}), limit=_AT_ONCE):
                await self.checked(hold)
            self._swept = view
