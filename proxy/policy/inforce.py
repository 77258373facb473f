"""The policy in force: replaced as a whole when an operator signs another one, and the same throughout one decision."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from proxy.core.clusters import Policy
from proxy.core.errors import Rejected, Unavailable
from proxy.core.model import Bundle

type Record = Callable[[Bundle], Awaitable[None]]

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5

_one: ContextVar[Policy | None] = ContextVar("one", default=None)


@contextmanager
def one_policy(policy: Callable[[], Policy]) -> Iterator[None]:
    """Whoever asks for the policy within the block, and within tasks begun there, gets the same one."""
    token = _one.set(policy())
    try:
        yield
    finally:
        _one.reset(token)


class PolicyInForce:
    """The last good policy. Called, it is the one of the decision under way, else the newest."""

    def __init__(self, policy: Policy, *, load: Callable[[], Policy], bundle: Path) -> None:
        """`load` reads and checks everything; it is asked when the file `bundle`, the signature, is another one."""
        self._policy = policy
        self._load = load
        self._bundle = bundle
        self._looked_at = self._refused = self._mark()

    def __call__(self) -> Policy:
        return _one.get() or self._policy

    async def follow(self, record: Record) -> None:
        """Take up what operators sign, until cancelled. `record` writes down what is about to come into force."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look(record)

    async def look(self, record: Record) -> bool:
        """Take up the policy as it is signed now. Whatever is wrong with it, the last good one stays in force.

        What was refused is tried again at every look until it is good: its files may come one after the other. What
        cannot be recorded does not come into force.
        """
        mark = self._mark()
        if mark == self._looked_at:
            return False
        try:
            policy = await asyncio.to_thread(self._load)
        except (Rejected, OSError) as fault:
            if mark != self._refused:
                detail = fault.detail if isinstance(fault, Rejected) else str(fault)
                logger.error("version %d stays in force; what is signed now is refused: %s", self.version, detail)
            self._refused = mark
            return False
        changed = policy.bundle.sha256 != self._policy.bundle.sha256
        if changed:
            try:
                await record(policy.bundle)
            except Unavailable as fault:
                logger.error("version %d stays in force, for a change could not be recorded: %s", self.version, fault)
                return False
        self._looked_at, self._policy = mark, policy
        if changed:
            logger.warning("version %d is in force", self.version)
        return changed

    @property
    def version(self) -> int:
        return self._policy.bundle.version

    def _mark(self) -> tuple[int, ...]:
        try:
            about = self._bundle.stat()
        except OSError:
            return ()
        return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns
