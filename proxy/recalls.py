"""Releases that a stop came after, or that count no more: their holds wait for people again, wherever that is noticed
first. Nodes do it; who only looks at a hold changes nothing.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime

from proxy.core.clusters import Policy
from proxy.core.control import ControlView
from proxy.core.errors import Rejected, Unavailable
from proxy.core.holds import Event
from proxy.core.lapsing import lapsed
from proxy.core.model import Bundle, Hold, HoldState, StoredCall
from proxy.core.recall import recalled_by
from proxy.core.reviewed import Lapsed
from proxy.core.today import decided_today
from proxy.ports import Holds

_AT_ONCE = 10_000


class Recalls:
    """Takes back what was released before a stop, or by a word that counts no more. The step is taken once, whoever
    else takes it.
    """

    def __init__(
        self,
        *,
        holds: Holds,
        policy: Callable[[], Policy],
        view: Callable[[], ControlView],
        stored: Callable[[Hold], Awaitable[StoredCall]],
        clock: Callable[[], datetime],
    ) -> None:
        self._holds = holds
        self._policy = policy
        self._view = view
        self._stored = stored
        self._clock = clock
        self._swept: tuple[ControlView, Bundle, datetime] | None = None

    async def checked(self, hold: Hold) -> Hold:
        """The hold as it is; held again, if a stop came after its release, or that counts no more.

        Not checked here: that its call may be sent (`Holding.check_release`).

        Raises:
            Unavailable: the store does not answer, or nobody has told us for too long what is stopped.
        """
        if hold.state is not HoldState.APPROVED:
            return hold
        view = self._view()
        try:
            filed = await self._stored(hold)
            stop = recalled_by(hold, filed, self._policy().bundle, view, now=self._clock())
            if stop is None and self.lapsed(hold, filed) is None:
                return hold
            said = None if stop is None else stop.token
            moved = await self._holds.apply(hold.id, Event.RECALL, said=said, version=hold.version)
        except Rejected:  # it ended meanwhile, or cannot be read: whoever wants to send it is told
            return hold
        return moved.hold

    def lapsed(self, hold: Hold, filed: StoredCall) -> Lapsed | None:
        """Why the release of a hold counts no more, by the rules and at the time of now."""
        if hold.statement is None:
            return None
        policy, now = self._policy(), self._clock()
        return lapsed(hold, filed, decided_today(filed, policy, now=now), policy.bundle, now=now)

    async def sweep(self) -> None:
        """Take back everything that was released, when since the last time somebody was stopped, the rules were changed
        or a reviewer's certification ended.
        """
        with suppress(Unavailable):  # it is tried again, and nothing passes until then
            view, bundle, now = self._view(), self._policy().bundle, self._clock()
            if not self._changed(view, bundle, now):
                return
            for hold in await self._holds.listing(states=frozenset({HoldState.APPROVED}), limit=_AT_ONCE):
                await self.checked(hold)
            self._swept = view, bundle, now

    def _changed(self, view: ControlView, bundle: Bundle, now: datetime) -> bool:
        if self._swept is None:
            return True
        before, ruled, last = self._swept
        ended = any(last < person.certified_until <= now for person in bundle.people.values())
        return ended or bundle is not ruled or view.words != before.words
