"""Proposed manifests on Redis: one hash of texts."""

from collections.abc import Mapping

from proxy.core.errors import Code, Unavailable
from proxy.ports import Proposals
from proxy.stores.redis import PREFIX, RedisServer, Reply

ALL = f"{PREFIX}proposals"


class RedisProposals(Proposals):
    """Proposals on one server."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    async def put(self, proposal_id: str, text: str) -> None:
        if not isinstance(await self._server.command("HSET", ALL, proposal_id, text), int):
            raise _unexpected()

    async def get(self, proposal_id: str) -> str | None:
        match await self._server.command("HGET", ALL, proposal_id):
            case None:
                return None
            case bytes(text):
                return text.decode("utf-8", "replace")
            case _:
                raise _unexpected()

    async def every(self) -> Mapping[str, str]:
        reply: Reply = await self._server.command("HGETALL", ALL)
        if not isinstance(reply, list):
            raise _unexpected()
        texts = [part.decode("utf-8", "replace") for part in reply if isinstance(part, bytes)]
        return dict(zip(texts[::2], texts[1::2], strict=False))

    async def drop(self, proposal_id: str) -> bool:
        return await self._server.command("HDEL", ALL, proposal_id) == 1


def _unexpected() -> Unavailable:
    return Unavailable(Code.STORE_DOWN, "the store answered a question about proposals with something else")
