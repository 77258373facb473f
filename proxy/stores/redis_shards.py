"""A cluster's shards: in which one a hold is, and one stream out of those of all."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence

from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.model import Hold
from proxy.ports import Missed
from proxy.stores.redis import Entry, RedisServer, prefix, shard_of

REMEMBERED = 10_000
"""So many holds whose shard is known without asking every shard."""


class Places:
    """Where holds are. Without a cluster there is one shard, and nothing is asked."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._known: OrderedDict[str, int] = OrderedDict()

    async def of(self, asked: Mapping[str, Json]) -> int:
        """The shard of what a script is asked: by its root mandate, the hold it files, or the hold it names.

        Raises:
            Rejected(HOLD_TAMPERED): the hold is in more than one shard.
            Unavailable(STORE_DOWN): no answer in time.
        """
        if self._server.shards == 1:
            return 0
        match asked:
            case {"root_id": str(root_id)} | {"fields": {"root_id": str(root_id)}}:
                return shard_of(root_id, self._server.shards)
            case {"id": str(hold_id)}:
                return await self._find(hold_id)
            case _:
                raise ValueError("a script about neither a root mandate nor a hold runs in every shard, or in none")

    async def open_elsewhere(self, draft: Hold) -> int:
        """How many holds of the draft's sponsor are open in the other shards. May be out by those filed just now."""
        own = shard_of(draft.root_id, self._server.shards)
        others = [shard for shard in range(self._server.shards) if shard != own]
        keys = [f"{prefix(shard)}open:sponsor:{draft.sponsor}" for shard in others]
        counts = await asyncio.gather(*(self._server.command("ZCARD", key) for key in keys))
        return sum(count if isinstance(count, int) else 0 for count in counts)

    async def _find(self, hold_id: str) -> int:
        if hold_id in self._known:
            self._known.move_to_end(hold_id)
            return self._known[hold_id]
        shards = range(self._server.shards)
        keys = [f"{prefix(shard)}hold:{hold_id}" for shard in shards]
        there = await asyncio.gather(*(self._server.command("HGET", key, "root_id") for key in keys))
        found = [shard for shard in shards if there[shard] is not None]
        if not found:
            return 0  # wherever it is asked for now, it is not there
        root_id = there[found[0]]
        right = shard_of(root_id.decode("utf-8", "replace"), len(shards)) if isinstance(root_id, bytes) else -1
        if found != [right]:
            raise Rejected(Code.HOLD_TAMPERED, "a stored hold is where its root mandate's holds are not", field="id")
        self._known[hold_id] = right
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return right


async def merged(
    server: RedisServer, streams: Sequence[str], after: str, *, block_ms: int
) -> AsyncIterator[tuple[str, Entry]]:
    """The entries of several streams as they come, each with the place in all of them after it: ids with commas.

    Raises:
        Unavailable(STORE_DOWN): one does not answer; `Missed` if it has lost entries, or `after` is another store's.
    """
    cursors = after.split(",")
    if len(cursors) != len(streams):
        raise Missed(Code.STORE_DOWN, "the place in the streams is one of another store: read everything again")

    def read(number: int) -> asyncio.Task[tuple[Entry, ...]]:
        return asyncio.ensure_future(server.entries_after(streams[number], cursors[number], block_ms=block_ms))

    reading = {read(number): number for number in range(len(streams))}
    try:
        while True:
            done, _ = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                number = reading.pop(task)
                for entry in task.result():
                    cursors[number] = entry.id
                    yield ",".join(cursors), entry
                reading[read(number)] = number
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
