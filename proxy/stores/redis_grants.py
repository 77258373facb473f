"""Route grants on Redis: carried and counted there; whoever uses one reads its statement first."""

from datetime import UTC, datetime

from proxy.core.errors import Code, Unavailable
from proxy.ports import Grants, KeptGrant
from proxy.stores.redis import PREFIX, RedisServer, Reply, script

ALL = f"{PREFIX}grants"

_PUT = script("grant_put")
_SPEND = script("grant_spend")
_MOST_DIGITS = 9


class RedisGrants(Grants):
    """Grants on one server, forgotten when they end."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    async def put(self, grant_id: str, statement: str, *, root_id: str, until: datetime) -> None:
        end_ms = str(max(1, int(until.timestamp() * 1000)))
        await self._server.run(_PUT, (_grant(grant_id), ALL, _root(root_id)), (grant_id, statement, end_ms))

    async def of_root(self, root_id: str) -> tuple[KeptGrant, ...]:
        return await self._kept(_root(root_id), "LIMIT", "0", str(_MOST))

    async def every(self) -> tuple[KeptGrant, ...]:
        return await self._kept(ALL)  # all of them: what is not listed cannot be revoked

    async def spend(self, grant_id: str, *, count: int) -> int | None:
        number = await self._server.run(_SPEND, (_grant(grant_id),), (str(count),))
        if not isinstance(number, int):
            raise _unexpected(number)
        return number or None

    async def _kept(self, index: str, *limit: str) -> tuple[KeptGrant, ...]:
        """Those that have not ended. What cannot be read is left out: it lets nothing pass."""
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        reply = await self._server.command("ZRANGEBYSCORE", index, f"({now_ms}", "+inf", *limit)
        if not isinstance(reply, list):
            raise _unexpected(reply)
        names = [name.decode("ascii", "replace") for name in reply if isinstance(name, bytes)]
        found = [(name, await self._server.command("HMGET", _grant(name), "statement", "used")) for name in names]
        kept = (_read(name, fields) for name, fields in found)
        return tuple(grant for grant in kept if grant is not None)


_MOST = 200
"""No mandate has more at once that are looked at."""


def _read(grant_id: str, fields: Reply) -> KeptGrant | None:
    match fields:
        case [bytes(statement), bytes(used)] if used.isdigit() and len(used) <= _MOST_DIGITS:
            return KeptGrant(id=grant_id, statement=statement.decode("ascii", "replace"), used=int(used))
    return None


def _grant(grant_id: str) -> str:
    return f"{PREFIX}grant:{grant_id}"


def _root(root_id: str) -> str:
    return f"{PREFIX}grants:root:{root_id}"


def _unexpected(reply: Reply) -> Unavailable:
    return Unavailable(Code.STORE_DOWN, f"the store answered a question about grants with {type(reply).__name__}")
