"""What there is to review: lists of holds, what happens to them, and one with its call.

Nothing that only the store says of a review is told as somebody's word.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime

from proxy.core.clusters import Policy
from proxy.core.control import ControlView
from proxy.core.errors import Code, Rejected
from proxy.core.model import Hold, HoldState
from proxy.ports import Holds, Vault
from proxy.review.opened import HeldCall, Reader, as_signed, held_call
from proxy.review.outcomes import late, unknown


class Reading:
    """Reads holds. It has the vault, so it runs where the proxy's own secret is."""

    def __init__(
        self,
        *,
        holds: Holds,
        vault: Vault,
        policy: Callable[[], Policy],
        clock: Callable[[], datetime],
        view: Callable[[], ControlView],
    ) -> None:
        """`view` is what is stopped."""
        self._holds = holds
        self._reader = Reader(holds=holds, vault=vault, policy=policy, clock=clock)
        self._policy = policy
        self._clock = clock
        self._view = view

    async def listing(
        self,
        *,
        states: frozenset[HoldState] | None = None,
        agent: str | None = None,
        sponsor: str | None = None,
        limit: int = 200,
    ) -> tuple[Hold, ...]:
        """Holds, newest first; `states` None means those that still wait for somebody."""
        found = await self._holds.listing(states=states, agent=agent, sponsor=sponsor, limit=limit)
        return tuple(map(self._signed, found))

    async def watch(self) -> AsyncIterator[Hold]:
        """Every open hold, oldest first, then each hold whenever it changes. Ends only by cancellation.

        A change during the first listing may come twice, never not at all.

        Raises:
            Unavailable(STORE_DOWN): the store is away, or its events were lost; what is open must be listed again.
        """
        cursor = await self._holds.cursor()
        for hold in reversed(await self._holds.listing()):
            yield self._signed(hold)
        async for news in self._holds.news(cursor):
            with suppress(Rejected):  # one that was changed by hand, and can be released by nobody, hides no others
                changed = await self._look(news.hold_id)
                if changed is not None:
                    yield changed

    async def decided(self, hold_id: str) -> Hold:
        """The hold, as soon as it no longer waits for a person. Ends else only by cancellation.

        Raises:
            Rejected(HOLD_UNKNOWN): there is no such hold.
            Rejected(HOLD_TAMPERED): it is marked approved or denied, and no reviewer signed that.
            Unavailable(STORE_DOWN): as `watch`.
        """
        cursor = await self._holds.cursor()
        hold = await self._get(hold_id)
        if hold.state is HoldState.HELD:
            async for news in self._holds.news(cursor):
                if news.hold_id == hold_id and news.state is not HoldState.HELD:
                    break
        ended = await self._get(hold_id)
        if ended.decided_by is None and ended.state in (HoldState.APPROVED, HoldState.DENIED):
            raise Rejected(Code.HOLD_TAMPERED, late(ended).detail, field="statement")
        return ended

    async def show(self, hold_id: str) -> HeldCall:
        """A hold with its decrypted call.

        Raises:
            Rejected(HOLD_UNKNOWN): there is no such hold.
            Rejected(HOLD_TAMPERED): what is stored is not the call that was held.
        """
        hold = await self._get(hold_id)
        shown = await self._reader.open(hold)
        return held_call(hold, shown, self._policy().bundle, self._clock(), self._view())

    async def _look(self, hold_id: str) -> Hold | None:
        hold = await self._holds.get(hold_id)
        return None if hold is None else self._signed(hold)

    def _signed(self, hold: Hold) -> Hold:
        return as_signed(hold, self._policy().bundle, now=self._clock())

    async def _get(self, hold_id: str) -> Hold:
        hold = await self._look(hold_id)
        if hold is None:
            raise unknown(hold_id)
        return hold
