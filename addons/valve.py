"""Whether more may be read from a client: not while what it sent already waits for something in the layers.

mitmproxy reads on and queues; so a client could fill the memory before anybody knows who it is.
"""

import asyncio
from dataclasses import dataclass, field

WAITING_BYTES = 65_536
"""How much of its bodies may wait on one client's connection."""


@dataclass(slots=True)
class _Held:
    """What waits on one connection, by stream."""

    waiting: dict[int, int] = field(default_factory=dict)
    opened: asyncio.Event = field(default_factory=asyncio.Event)


class Valves:
    """The connections of this worker on which something waits, by their client."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

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
        held = self._held.pop(client_id, None)
        if held is not None:
            held.opened.set()

    async def opened(self, client_id: str) -> None:
        """Return once more may be read from this client."""
        while (held := self._held.get(client_id)) is not None and not held.opened.is_set():
            await held.opened.wait()
