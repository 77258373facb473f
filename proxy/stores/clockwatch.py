"""The time, as long as the store agrees with us about it.

A clock that steps by more than two seconds is noticed at once, by this machine's monotonic clock, and before anything
is judged or written by it: a journal with one line from next year could not be continued until then.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from proxy.core.errors import Code, Unavailable
from proxy.stores.memory import Clock, system_clock
from proxy.stores.redis import RedisServer

TOLERANCE_S = 2.0
LOOK_EVERY_S = 1.0


async def time_of(server: RedisServer) -> datetime:
    """The store's time.

    Raises:
        Unavailable(STORE_DOWN): no answer in time.
    """
    match await server.command("TIME"):
        case [bytes(seconds), bytes(micros)] if seconds.isdigit() and micros.isdigit():
            return datetime.fromtimestamp(int(seconds), tz=UTC) + timedelta(microseconds=int(micros))
        case _:
            raise Unavailable(Code.STORE_DOWN, "the store does not tell the time")


class ClockWatch:
    """This machine's clock, compared with the store's. `look` first."""

    def __init__(
        self, server: RedisServer, *, now: Clock = system_clock, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._server = server
        self._now = now
        self._timer = timer
        self._anchor: tuple[datetime, float] | None = None

    def now(self) -> datetime:
        """The time.

        Raises:
            Unavailable(CLOCK_WRONG): by what the store last said, ours is wrong, or it never said anything.
        """
        now = self._now()
        if self._anchor is None:
            raise Unavailable(Code.CLOCK_WRONG, "the store has not told the time yet")
        told, at_s = self._anchor
        ahead_s = (now - told).total_seconds() - (self._timer() - at_s)
        if abs(ahead_s) > TOLERANCE_S:
            raise Unavailable(
                Code.CLOCK_WRONG,
                f"our clock must be within {TOLERANCE_S:g} s of the store's, got {ahead_s:+.1f} s: run NTP on both",
            )
        return now

    async def look(self) -> None:
        """Ask the store for the time.

        Raises:
            Unavailable(STORE_DOWN): no answer in time.
        """
        asked_s = self._timer()
        told = await time_of(self._server)
        self._anchor = told, (asked_s + self._timer()) / 2

    async def follow(self) -> None:
        """Look again and again, until cancelled. While the store is away its last word counts."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except Unavailable:
                continue
