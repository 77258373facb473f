"""A Redis or Valkey deployment: the one place that talks to it.

Every command answers within `COMMAND_DEADLINE_S` or fails, and is never silently sent again; streams are waited for
on connections of their own. Every fault is `Unavailable(STORE_DOWN)`, so that whoever asked refuses.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from redis.exceptions import MovedError, NoScriptError, RedisError

from proxy.core.errors import Code, Unavailable
from proxy.core.store_url import StoreKind, read_store_url
from proxy.ports import Missed
from proxy.stores.redis_node import COMMAND_CONNECTIONS as COMMAND_CONNECTIONS
from proxy.stores.redis_node import Node, down
from proxy.stores.redis_node import Refused as Refused
from proxy.stores.redis_node import Reply as Reply
from proxy.stores.redis_routes import check_primary, route_to

COMMAND_DEADLINE_S = 0.5
"""For one command with everything it needs: finding the server, connecting, and the disks of replicas."""
PATIENT_S = 5.0
"""The same for a person's program, which may be further away and decides nothing."""
TAIL_MARGIN_S = 1.5

SHARDS = 8
"""Into how many parts a cluster's keys are divided. Never changed: keys would be looked for elsewhere."""

_KEPT_SHARE = 0.6  # of a command's deadline that replicas may take


def prefix(shard: int) -> str:
    """Before every key of a shard. The braces keep all of them in one slot of a cluster."""
    return f"{{ip:{shard}}}:"


PREFIX = prefix(0)
"""Of what there is once in a deployment; without a cluster, of everything."""


def shard_of(root_id: str, shards: int) -> int:
    """The shard that keeps everything of a root mandate."""
    digest = hashlib.sha256(root_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) % shards


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script that runs atomically on the server. `durable`: what it writes must outlive a failover."""

    name: str
    source: bytes
    sha1: str
    durable: bool


def script(*names: str, durable: bool = True) -> Script:
    """The files of `proxy/stores/lua` joined in this order; the last one gives the script its name.

    Scripts that only read, and nonces, which need no disk, are not `durable`.
    """
    folder = files("proxy.stores") / "lua"
    source = b"\n".join((folder / f"{name}.lua").read_bytes() for name in names)
    return Script(names[-1], source, hashlib.sha1(source, usedforsecurity=False).hexdigest(), durable)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream written by `lua/stream.lua`."""

    id: str
    fields: Mapping[str, str]


class RedisServer:
    """One Redis or Valkey deployment, by URL. Made without a connection; connects when first asked."""

    def __init__(
        self, url: str, *, replicas: int = 0, deadline_s: float = COMMAND_DEADLINE_S, name: str = "redis_url"
    ) -> None:
        """Take a URL as `read_store_url` does. Timeouts and certificate checks cannot be changed by it.

        `replicas`: on how many replicas' disks a durable script's writes must be before it counts as done.

        Raises:
            Rejected(CONFIG_INVALID): not such a URL, or a certificate it names cannot be used.
        """
        self.url = read_store_url(url, name=name)
        self.where, self.username = self.url.where, self.url.username
        self.shards = SHARDS if self.url.kind is StoreKind.CLUSTER else 1
        self.replicas = replicas
        self._deadline_s = deadline_s
        self._route = route_to(self.url, deadline_s=deadline_s)

    def __repr__(self) -> str:
        return f"RedisServer({self.where})"

    async def close(self) -> None:
        """Close every connection."""
        await self._route.close()

    async def command(self, *words: str | bytes | int, at: Node | None = None) -> Reply:
        """Send one command, once. The first key of ours among its words says where, unless `at` does.

        Raises:
            Unavailable(STORE_DOWN): no answer in time, or an error for an answer.
        """
        key = next((word for word in words if isinstance(word, str) and word.startswith("{ip:")), PREFIX)
        return await self._send(key, str(words[0]), lambda node: (at or node).ask(*words))

    async def run(self, what: Script, keys: Sequence[str], arguments: Sequence[str | bytes]) -> Reply:
        """Run a script. A server that does not know it yet has not run it, so then it is sent whole.

        Raises:
            Unavailable(STORE_DOWN): no answer in time, an error for an answer, or what was written is not on as many
                disks as it should be.
        """
        # While a slot moves, its keys lie on two nodes, and a script would take those of the other for missing. A
        # declared key that never exists makes both nodes refuse it until all are together again.
        keys = keys if self.shards == 1 else (*keys, f"{keys[0][: keys[0].index('}') + 1]}:none")
        rest = (len(keys), *keys, *arguments)

        async def run(node: Node) -> Reply:
            try:
                return await self._kept(node, what, "EVALSHA", what.sha1, *rest)
            except NoScriptError:
                return await self._kept(node, what, "EVAL", what.source, *rest)

        return await self._send(keys[0], what.name, run)

    async def primaries(self) -> tuple[Node, ...]:
        """Every server of it that keeps keys of ours.

        Raises:
            Unavailable(STORE_DOWN): nobody tells in time.
        """
        return await self._within(self._route.primaries(), "who the primaries are")

    async def check_primary(self, key: str) -> None:
        """That the server of this key is a primary, not a replica whose view may be old.

        Raises:
            Unavailable(STORE_DOWN): it is not, or does not say in time.
        """
        await self._send(key, "ROLE", check_primary)

    async def _kept(self, node: Node, what: Script, *words: str | bytes | int) -> Reply:
        if not (what.durable and self.replicas):
            return await node.ask(*words)
        return await node.ask_kept(*words, replicas=self.replicas, within_s=self._deadline_s * _KEPT_SHARE)

    async def _send[T](self, key: str, during: str, use: Callable[[Node], Awaitable[T]]) -> T:
        async def send() -> T:
            try:
                return await use(await self._route.node(key))
            except MovedError:  # it is kept elsewhere now, so nothing was done there
                self._route.doubt()
                return await use(await self._route.node(key))

        return await self._within(send(), during)

    async def _within[T](self, asking: Awaitable[T], during: str) -> T:
        try:
            async with asyncio.timeout(self._deadline_s):
                return await asking
        except (RedisError, OSError, TimeoutError) as fault:
            self._route.doubt()
            raise down(fault, self.where, during) from fault
        except Unavailable:  # a replica, or too few of them
            self._route.doubt()
            raise

    async def last_entry(self, stream: str) -> str:
        """The id of the newest entry of `stream`, "0-0" when it has none."""
        match await self.command("XREVRANGE", stream, "+", "-", "COUNT", 1):
            case [[bytes(entry_id), _]]:
                return entry_id.decode("ascii", "replace")
            case []:
                return "0-0"
            case _:
                raise self._unreadable(stream)

    async def entries_after(self, stream: str, cursor: str, *, block_ms: int) -> tuple[Entry, ...]:
        """The next entries after `cursor`, waiting up to `block_ms` for one; empty when none came.

        Raises:
            Unavailable(STORE_DOWN): no answer, or entries after `cursor` are missing (trimmed, flushed, lost).
        """
        try:
            async with asyncio.timeout(block_ms / 1000 + TAIL_MARGIN_S):
                node = await self._route.node(stream)
                reply = await node.wait("XREAD", "COUNT", 200, "BLOCK", block_ms, "STREAMS", stream, cursor)
        except (RedisError, OSError, TimeoutError) as fault:
            self._route.doubt()
            raise down(fault, self.where, "XREAD") from fault
        match reply:
            case None:
                if _place(await self.last_entry(stream)) < _place(cursor):  # what comes may have ids that were passed
                    raise Missed(Code.STORE_DOWN, f"{stream} has gone back to before {cursor}: read everything again")
                return ()
            case [[_, [*raw]]]:
                return _linked(raw, stream, cursor)
            case _:
                raise self._unreadable(stream)

    def _unreadable(self, stream: str) -> Unavailable:
        return Unavailable(Code.STORE_DOWN, f"the stream {stream} at {self.where} cannot be read")


def _place(entry_id: str) -> tuple[int, ...]:
    return tuple(int(part) for part in entry_id.split("-") if part.isdecimal())


def _linked(raw: Sequence[Reply], stream: str, cursor: str) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    for item in raw:
        match item:
            case [bytes(entry_id), [*flat]]:
                texts = [part.decode("utf-8", "replace") for part in flat if isinstance(part, bytes)]
                fields = dict(zip(texts[::2], texts[1::2], strict=False))
            case _:
                entry_id, fields = b"", {}
        if fields.get("prev") != cursor:
            raise Missed(Code.STORE_DOWN, f"entries of {stream} after {cursor} are gone: read everything again")
        cursor = entry_id.decode("ascii", "replace")
        entries.append(Entry(cursor, fields))
    return tuple(entries)
