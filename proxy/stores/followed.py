"""Since when this node has followed the events of holds without a gap, kept on its own disk.

What a node has not followed it cannot remember: a call may have been sent meanwhile, and its record put back. So a node
acts only on releases that were made while it followed.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from proxy.core.encoding import canonical_json, from_epoch, parse_json, to_epoch
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.standing import SKEW_S
from proxy.ports import Followed, Holds
from proxy.stores.files import read_private, write_atomically

logger = logging.getLogger(__name__)


class FollowedFile(Followed):
    """Where this worker is in the stream. One worker of a node writes it down; all go on from there after a restart."""

    def __init__(self, path: Path | None, *, writes: bool, clock: Callable[[], datetime]) -> None:
        """Without a path nothing is kept: then whoever starts begins anew."""
        self._path = path
        self._writes = writes
        self._clock = clock
        self._since: datetime | None = None
        self._cursor = ""
        self._written = ""

    async def go_on(self, holds: Holds) -> str:
        if self._since is None and self._path is not None:
            self._read(self._path)
        if self._since is None:
            self._cursor = await holds.cursor()
            self._since = self._clock()
        return self._cursor

    def passed(self, cursor: str) -> None:
        self._cursor = cursor

    async def missed(self, holds: Holds) -> None:
        logger.error("events of holds were lost: releases made until now are not acted upon by this worker")
        self._cursor = await holds.cursor()
        self._since = self._clock()

    def check(self, issued_at: datetime) -> None:
        if self._since is None:
            raise Unavailable(Code.VIEW_STALE, "this worker does not follow the events of holds yet")
        if issued_at + timedelta(seconds=SKEW_S) < self._since:
            detail = f"the release was made before this node began to follow the store, at {self._since.isoformat()}"
            raise Rejected(Code.RELEASE_INVALID, f"{detail}: it may have been used meanwhile", field="iat")

    async def write(self) -> None:
        """Write down how far we are. An older place is as good: what came after is only read once more."""
        if self._path is None or self._since is None or not self._writes or self._written == self._cursor:
            return
        cursor, since = self._cursor, self._since
        data = canonical_json({"cursor": cursor, "since": to_epoch(since)})
        try:
            await asyncio.to_thread(write_atomically, self._path, data)
        except OSError as fault:
            raise Unavailable(Code.STORE_DOWN, f"{self._path} cannot be written: {fault}") from fault
        self._written = cursor

    def _read(self, path: Path) -> None:
        try:
            value = parse_json(read_private(path), code=Code.CONFIG_INVALID, what=str(path))
        except FileNotFoundError:
            return
        except (OSError, Rejected) as fault:  # as if it were not there: releases made until now do not count
            logger.error("%s cannot be used, so this node begins anew: %s", path, fault)
            return
        match value:
            case {"cursor": str(cursor), "since": int(since)}:
                # Rounded down when it was written: never earlier than it was.
                self._cursor, self._since = cursor, from_epoch(since + 1)
            case _:
                logger.error("%s is not as we left it, so this node begins anew", path)
