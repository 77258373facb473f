"""Control statements on Redis, followed by every worker; and the chains registered for session proof."""

import asyncio
import time
from datetime import datetime
from itertools import batched

from proxy.core.control import ControlView
from proxy.core.encoding import canonical_json, parse_json
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.ports import Control, Mandates
from proxy.stores.redis import PREFIX, RedisServer, Reply, prefix, script, shard_of
from proxy.stores.statements import Statements

STALE_AFTER_S = 2.0
BLOCK_MS = 500
RECONCILE_S = 15.0
RETRY_S = 0.25
BATCH = 200

STATEMENTS = f"{PREFIX}statements"
STREAM = f"{PREFIX}control"

_PUBLISH = script("stream", "control_publish")


class RedisControl(Control):
    """What is stopped, from this node's memory, which `follow` keeps no more than half a second old."""

    def __init__(self, server: RedisServer, statements: Statements) -> None:
        self._server = server
        self._statements = statements
        self._looked_at_s: float | None = None

    def view(self) -> ControlView:
        if self._looked_at_s is None or time.monotonic() - self._looked_at_s > STALE_AFTER_S:
            raise Unavailable(
                Code.VIEW_STALE, f"revocations were last seen more than {STALE_AFTER_S:g} s ago: the store is away"
            )
        return self._statements.view

    async def publish(self, statement: str) -> None:
        """Check a control statement, store it for every node, and let it count here.

        Raises:
            Rejected(STATEMENT_INVALID): no node would follow it.
            Unavailable(STORE_DOWN): it may not be stored.
        """
        said = self._statements.check(statement)
        await self._server.run(_PUBLISH, (STATEMENTS, STREAM), (said.id, statement))
        await self._statements.accept(said)

    async def ready(self) -> None:
        """Look at everything once, so that the first call need not wait for `follow`.

        Raises:
            Unavailable(STORE_DOWN): no answer in time.
        """
        await self._load()

    async def follow(self) -> None:
        """Keep the view fresh until cancelled. It goes stale while the store is away, and comes back by itself."""
        while True:
            try:
                cursor = await self._load()
                reload_at_s = time.monotonic() + RECONCILE_S
                while time.monotonic() < reload_at_s:
                    cursor = await self._next(cursor)
            except Unavailable:
                await asyncio.sleep(RETRY_S)

    async def _load(self) -> str:
        """Take in everything there is, and return where the stream was before."""
        self._statements.recall()
        await self._server.check_primary(STREAM)  # a replica may be cut off, and know of no newer revocation
        cursor = await self._server.last_entry(STREAM)
        names = _texts(await self._server.command("HKEYS", STATEMENTS))
        unknown = [name for name in names if not self._statements.knows(name)]
        for some in batched(unknown, BATCH):
            tokens = _texts(await self._server.command("HMGET", STATEMENTS, *some))
            for statement_id, token in zip(some, tokens, strict=False):
                await self._statements.offer(statement_id, token)
        self._looked_at_s = time.monotonic()
        return cursor

    async def _next(self, cursor: str) -> str:
        for entry in await self._server.entries_after(STREAM, cursor, block_ms=BLOCK_MS):
            await self._statements.offer(entry.fields.get("id", ""), entry.fields.get("statement", ""))
            cursor = entry.id
        await self._server.check_primary(STREAM)
        self._looked_at_s = time.monotonic()
        return cursor


def _texts(reply: Reply) -> list[str]:
    if not isinstance(reply, list):
        raise Unavailable(Code.STORE_DOWN, f"the store answered with {type(reply).__name__} where a list was due")
    return [part.decode("utf-8", "replace") if isinstance(part, bytes) else "" for part in reply]


class RedisMandates(Mandates):
    """Chains by root id, forgotten when they end; and registered manifests, a hash for each name."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    async def put(self, root_id: str, chain: tuple[str, ...], *, until: datetime) -> None:
        until_ms = max(1, int(until.timestamp() * 1000))
        await self._server.command("SET", self._key(root_id), canonical_json(chain), "PXAT", until_ms)

    async def get(self, root_id: str) -> tuple[str, ...] | None:
        reply = await self._server.command("GET", self._key(root_id))
        if not isinstance(reply, bytes):
            return None
        links = parse_json(reply, code=Code.MANIFEST_MALFORMED, what="the registered chain")
        if not isinstance(links, list) or not all(isinstance(link, str) for link in links):
            raise Rejected(Code.MANIFEST_MALFORMED, "the registered chain must be a list of manifests")
        return tuple(str(link) for link in links)

    async def register(self, name: str, manifest_id: str, manifest: str) -> None:
        await self._server.command("HSET", self._name(name), manifest_id, manifest)

    async def registered(self, name: str) -> tuple[str, ...]:
        return tuple(_texts(await self._server.command("HVALS", self._name(name))))

    async def unregister(self, name: str, manifest_id: str) -> None:
        await self._server.command("HDEL", self._name(name), manifest_id)

    def _key(self, root_id: str) -> str:
        return f"{prefix(shard_of(root_id, self._server.shards))}mandate:{root_id}"

    def _name(self, name: str) -> str:
        return f"{prefix(shard_of(name, self._server.shards))}registered:{name}"
