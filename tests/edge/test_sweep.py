"""How often a worker looks over the holds. The loop alone."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from proxy.edge import worker


class Restless:
    """Holds of which one is released as soon as somebody has looked."""

    def __init__(self) -> None:
        self.stirred = asyncio.Event()
        self.looks = 0

    async def sweep(self) -> tuple[str, ...]:
        self.looks += 1
        self.stirred.set()
        return ()

    async def write(self) -> None:
        """How far the events were followed: nothing here."""

    def send(self, hold_ids: tuple[str, ...]) -> None:
        """Nothing is due."""


async def test_an_agent_that_asks_again_and_again_does_not_keep_every_worker_looking() -> None:
    """Each call that could not be sent is released again, and every worker of the deployment hears of it."""
    holds: Any = Restless()
    parts: Any = SimpleNamespace(gate=SimpleNamespace(holding=holds), followed=holds)
    with suppress(TimeoutError):
        async with asyncio.timeout(2.5 * worker.SWEEP_AT_MOST_EVERY_S):
            await worker._sweep(parts, holds)
    assert 1 <= holds.looks <= 3
