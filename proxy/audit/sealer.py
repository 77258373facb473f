"""Sealing: every second the node signs what became durable and hands it to every sink, each at its own pace."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

from proxy.audit.checkpoints import SEAL_EVERY_S, SEAL_GRACE_S, Durable, seal_checkpoints
from proxy.audit.sinks import CheckpointSink
from proxy.core.keys import PrivateKey

PUBLISH_DEADLINE_S = 2.0
RETRY_S = 1.0
_OUTBOX = 4_096  # checkpoints kept for a sink that is down; an older one is left to the other sinks


class Outbox:
    """The checkpoints one sink has not taken yet, in order."""

    def __init__(self, sink: CheckpointSink) -> None:
        self._sink = sink
        self._waiting: deque[str] = deque(maxlen=_OUTBOX)
        self._some = asyncio.Event()
        self._none = asyncio.Event()
        self._none.set()
        self._since_s = 0.0  # loop time at which the sink was last known to lack nothing, or took something
        self.fault = ""  # what the sink said last, "" when it took the checkpoint

    def put(self, token: str) -> None:
        if not self._waiting:
            self._since_s = asyncio.get_running_loop().time()
        self._waiting.append(token)
        self._some.set()
        self._none.clear()

    def late_s(self, now_s: float) -> float:
        """For how long the sink has taken nothing though something waits."""
        return now_s - self._since_s if self._waiting else 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    async def emptied(self) -> None:
        await self._none.wait()

    async def run(self) -> None:
        """Hand over what waits, for ever."""
        while True:
            await self._some.wait()
            token = self._waiting[0]
            publishing = asyncio.wait_for(self._sink.publish(token), PUBLISH_DEADLINE_S)
            (outcome,) = await asyncio.gather(publishing, return_exceptions=True)  # whatever a sink raises: not kept
            if isinstance(outcome, BaseException):
                self.fault = repr(outcome)
                await asyncio.sleep(RETRY_S)
                continue
            self.fault = ""
            self._since_s = asyncio.get_running_loop().time()
            if self._waiting[0] is token:  # else it was pushed out meanwhile
                self._waiting.popleft()
            if not self._waiting:
                self._some.clear()
                self._none.set()


class Sealer:
    """Signs what its journal reports as durable. Lives in the loop it was made in."""

    def __init__(
        self,
        *,
        node: str,
        slot: str,
        file: str,
        key: PrivateKey,
        sinks: Sequence[CheckpointSink],
        clock: Callable[[], datetime],
    ) -> None:
        self._node, self._slot, self._file = node, slot, file
        self._key = key
        self._clock = clock
        self._outboxes = [Outbox(sink) for sink in sinks]
        self._fresh: list[Durable] = []
        self._fresh_since_s = 0.0
        self._fault = ""  # why the last signing failed
        loop = asyncio.get_running_loop()
        self._now_s = loop.time
        self._tasks = [loop.create_task(outbox.run()) for outbox in self._outboxes]
        self._tasks.append(loop.create_task(self._tick()))

    def durable(self, lines: Sequence[Durable]) -> None:
        """Take note of lines that are on disk."""
        if not self._fresh:
            self._fresh_since_s = self._now_s()
        self._fresh.extend(lines)

    def reseal(self, lines: Sequence[Durable], file: str) -> None:
        """Sign the end of the chain before this one, whose writer may have died before it could."""
        self._sign(lines, file)

    def overdue(self) -> bool:
        """Whether lines have waited so long for a checkpoint that the promise of sealing is broken.

        One sink is enough to keep it: a line is overdue when it is unsigned, or no sink takes anything, for
        `SEAL_GRACE_S`.
        """
        now_s = self._now_s()
        if self._fresh and now_s - self._fresh_since_s > SEAL_GRACE_S:
            return True
        return min(outbox.late_s(now_s) for outbox in self._outboxes) > SEAL_GRACE_S

    def faults(self) -> tuple[str, ...]:
        """Why signing failed, and what each sink that is behind said last, for the log and the health page."""
        return tuple(filter(None, (self._fault, *(outbox.fault for outbox in self._outboxes))))

    async def seal(self) -> bool:
        """Sign now, and wait until every sink has everything or `PUBLISH_DEADLINE_S` is over; True when they have."""
        self._sign_fresh()
        waiting = [asyncio.ensure_future(outbox.emptied()) for outbox in self._outboxes]
        _, late = await asyncio.wait(waiting, timeout=PUBLISH_DEADLINE_S)
        for task in late:
            task.cancel()
        return not late

    async def close(self) -> None:
        """Seal what is left, as far as the sinks allow, and end."""
        await self.seal()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _sign_fresh(self) -> None:
        self._sign(self._fresh, self._file)
        self._fresh = []

    def _sign(self, lines: Sequence[Durable], file: str) -> None:
        for token in seal_checkpoints(
            lines, node=self._node, slot=self._slot, file=file, at=self._clock(), key=self._key
        ):
            for outbox in self._outboxes:
                outbox.put(token)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(SEAL_EVERY_S)
            try:
                self._sign_fresh()
            except Exception as fault:  # noqa: BLE001 - tried again in a second; what is not signed grows overdue
                self._fault = repr(fault)
            else:
                self._fault = ""
