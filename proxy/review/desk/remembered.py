"""What the journal and the manifests say, read once for everybody who asks before they change."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from proxy.core.model import Manifest
from proxy.review.desk.history import Period
from proxy.review.history import Asked
from proxy.review.oversight import History, Oversight


class Remembered:
    """The oversight of a deployment, for many readers. A large journal takes seconds: it is read by one at a time."""

    def __init__(self, oversight: Oversight, *, clock: Callable[[], datetime]) -> None:
        self._oversight = oversight
        self._clock = clock
        self._turn = asyncio.Lock()
        self._read: dict[Period, tuple[object, History]] = {}

    async def history(self, period: Period) -> History:
        """Every ruling of that time; it may have older ones, too.

        Raises:
            Unavailable(JOURNAL_DOWN): the journal cannot be read.
        """
        async with self._turn:
            mark = await asyncio.to_thread(self._oversight.mark)
            known = self._read.get(period)
            if known is not None and known[0] == mark:
                return known[1]
            found = await self._oversight.history(Asked(since=period.since(self._clock())))
            self._read = {period: (mark, found)}  # one at a time: each may be large
            return found

    async def manifests(self) -> tuple[Manifest, ...]:
        """The manifests that are kept here. Nothing in them is verified."""
        return await asyncio.to_thread(self._oversight.kept)
