"""Marks on Redis: one hash each, changed by one script, by the server's clock."""

from proxy.core.errors import Code, Unavailable
from proxy.ports import Marks
from proxy.stores.redis import PREFIX, RedisServer, Reply, script

_MARK = script("mark")


class RedisMarks(Marks):
    """Marks on one server, in the shard of what is everybody's."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    async def take(self, name: str, owner: str, *, for_s: int) -> str | None:
        return _mark(await self._ask("take", name, owner, for_s))

    async def note(self, name: str, owner: str, mark: str, *, for_s: int) -> bool:
        return _mark(await self._ask("note", name, owner, for_s, mark)) is not None

    async def leave(self, name: str, owner: str) -> None:
        if await self._ask("leave", name, owner, 0) != [b"left"]:
            raise _unexpected()

    async def _ask(self, what: str, name: str, owner: str, for_s: int, mark: str = "") -> Reply:
        return await self._server.run(_MARK, (f"{PREFIX}mark:{name}",), (what, owner, str(for_s * 1000), mark))


def _mark(reply: Reply) -> str | None:
    match reply:
        case [b"mark", bytes(text)]:
            return text.decode("utf-8", "replace")
        case [b"theirs"]:
            return None
        case _:
            raise _unexpected()


def _unexpected() -> Unavailable:
    return Unavailable(Code.STORE_DOWN, "the store answered a question about a mark with something else")
