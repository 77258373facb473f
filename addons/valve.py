"""Whether more may be read from a client, and how much at once: not while what it sent already waits in the layers.

mitmproxy reads on and queues; so a client could fill the memory before anybody knows who it is. Until then all that is
kept of what it sends, in the layers and before them, is 64 KiB at the most: what asyncio has read beyond `LIMIT_BYTES`,
twice, and what waits in the layers when it is read.
"""

import asyncio
from dataclasses import dataclass, field

WAITING_BYTES = 16_384
"""How much of its bodies may wait on one client's connection before it is read no further."""

LIMIT_BYTES = 4_096
"""asyncio stops reading when more than twice as much waits for us."""

NARROW_BYTES = 16_384
"""What is read at once from a client before a body of its is wanted: for refused calls, too."""

WIDE_BYTES = 65_536
"""The same, for a body that is taken in or passed on: large bodies cost half as much as in narrow pieces."""


@dataclass(slots=True)
class _Held:
    """What waits on one connection, by stream."""

    waiting: dict[int, int] = field(default_factory=dict)
    opened: asyncio.Event = field(default_factory=asyncio.Event)


class Valves:
    """The connections of this worker on which something waits, by their client."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._wide: set[str] = set()

    def widen(self, client_id: str) -> None:
        """A body of this client is wanted."""
        self._wide.add(client_id)

    def narrow(self, client_id: str) -> None:
        """A new call of this client has begun, and nobody knows yet whose it is."""
        self._wide.discard(client_id)

    def read_at_once(self, client_id: str) -> int:
        """How many bytes may be read from this client at once."""
        return WIDE_BYTES if client_id in self._wide else NARROW_BYTES

    def hold(self, client_id: str, stream_id: int, size: int) -> None:
        """So many bytes wait before this stream now."""
        held = self._held.setdefault(client_id, _Held())
        if size:
            held.waiting[stream_id] = size
        else:
            held.waiting.pop(stream_id, None)
        if sum(held.waiting.values()) < WAITING_BYTES:
            held.opened.set()
        else:
            held.opened.clear()
        if not held.waiting:
            del self._held[client_id]

    def forget(self, client_id: str) -> None:
        """The client has left."""
        self.narrow(client_id)
        held = self._held.pop(client_id, None)
        if held is not None:
            held.opened.set()

    async def opened(self, client_id: str) -> None:
        """Return once more may be read from this client."""
        while (held := self._held.get(client_id)) is not None and not held.opened.is_set():
            await held.opened.wait()
