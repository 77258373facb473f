"""The journal's checkpoints in Redis: a stream of the recent ones, and for ever the latest of every slot."""

from proxy.stores.redis import PREFIX, RedisServer, Reply

STREAM = f"{PREFIX}checkpoints"
HEADS = f"{PREFIX}journal-heads"
KEPT = 20_000
"""About so many stay in the stream: at one a second for every busy worker that is hours, not years. The file sink
keeps them all, and the latest of every slot binds everything before it."""

_PAGE = 500


class RedisCheckpoints:
    """The sink in Redis (`proxy.audit.sinks.CheckpointSink`), for one slot of the journal."""

    def __init__(self, server: RedisServer, *, slot: str) -> None:
        self._server = server
        self._slot = slot

    async def publish(self, checkpoint: str) -> None:
        """Add one checkpoint to the stream and make it the slot's latest.

        Raises:
            Unavailable(STORE_DOWN): it may not be stored.
        """
        await self._server.command("XADD", STREAM, "MAXLEN", "~", KEPT, "*", "checkpoint", checkpoint)
        await self._server.command("HSET", HEADS, self._slot, checkpoint)


async def read_checkpoints(server: RedisServer) -> tuple[str, ...]:
    """Every checkpoint Redis has. Repeats are possible and harmless; what is no checkpoint is for `verify` to say.

    Raises:
        Unavailable(STORE_DOWN): no answer in time.
    """
    found = _texts(await server.command("HVALS", HEADS))
    after = "-"
    while page := _entries(await server.command("XRANGE", STREAM, after, "+", "COUNT", _PAGE)):
        for entry_id, fields in page:
            after = f"({entry_id}"
            found += _texts(fields)[1::2]
    return tuple(found)


def _entries(reply: Reply) -> list[tuple[str, Reply]]:
    items = reply if isinstance(reply, list) else []
    return [(entry_id.decode("ascii"), fields) for entry_id, fields in items]


def _texts(reply: Reply) -> list[str]:
    items = reply if isinstance(reply, list) else []
    return [item.decode("utf-8", "replace") for item in items if isinstance(item, bytes)]
