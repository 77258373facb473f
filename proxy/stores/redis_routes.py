"""Which server process to ask: always the same one, the primary that Sentinels name, or a cluster's by its slots."""

import asyncio
import ssl
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from redis.crc import key_slot
from redis.exceptions import RedisError

from proxy.core.errors import Code, Unavailable
from proxy.core.store_url import StoreKind, StoreUrl
from proxy.stores.redis_node import Node, Reply, tls_context

type Host = tuple[str, int]

LOOK_SHARE = 0.6
"""How much of the deadline of the command that needs it a look at who the primaries are may take."""


class Route(Protocol):
    """The way to the server of a key. Raises redis-py's faults, `OSError`, `TimeoutError` and `Unavailable`."""

    async def node(self, key: str) -> Node:
        """The server that keeps this key."""

    async def primaries(self) -> tuple[Node, ...]:
        """Every server that keeps keys of ours."""

    def doubt(self) -> None:
        """Something failed there: look anew before it is asked again."""

    async def close(self) -> None: ...


def route_to(url: StoreUrl, *, deadline_s: float) -> Route:
    """The way to the store of a URL.

    Raises:
        Rejected(CONFIG_INVALID): a certificate or key it names cannot be used.
    """
    tls = tls_context(url)
    match url.kind:
        case StoreKind.SERVER:
            return OneServer(Node(url, None if url.path else url.hosts[0], tls))
        case StoreKind.SENTINEL:
            return Sentinels(url, tls, within_s=deadline_s * LOOK_SHARE)
        case StoreKind.CLUSTER:
            return ClusterMap(url, tls, within_s=deadline_s * LOOK_SHARE)


class OneServer(Route):
    """A server that is always the same."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def node(self, key: str) -> Node:
        return self._node

    async def primaries(self) -> tuple[Node, ...]:
        return (self._node,)

    def doubt(self) -> None:
        pass

    async def close(self) -> None:
        await self._node.close()


class Sentinels(Route):
    """The primary that most of the named Sentinels agree on, and that says itself that it is one.

    One Sentinel alone may be cut off together with a primary that was replaced long ago.
    """

    def __init__(self, url: StoreUrl, tls: ssl.SSLContext | None, *, within_s: float) -> None:
        self._url, self._tls, self._within_s = url, tls, within_s
        access = replace(url, username=url.sentinel_username, password=url.sentinel_password, db=0)
        self._sentinels = tuple(Node(access, host, tls) for host in url.hosts)
        self._primary: Node | None = None
        self._doubted = True
        self._looking = asyncio.Lock()

    async def node(self, key: str) -> Node:
        async with self._looking:
            if self._doubted or self._primary is None:
                await self._look()
                self._doubted = False
            assert self._primary is not None
            return self._primary

    async def primaries(self) -> tuple[Node, ...]:
        return (await self.node(""),)

    def doubt(self) -> None:
        self._doubted = True

    async def close(self) -> None:
        for node in (*self._sentinels, *((self._primary,) if self._primary else ())):
            await node.close()

    async def _look(self) -> None:
        host = await self._agreed()
        if self._primary is None or self._primary.host != host:
            if self._primary is not None:
                await self._primary.close()
            self._primary = Node(self._url, host, self._tls)
        await check_primary(self._primary)

    async def _agreed(self) -> Host:
        asked = [_begin(self._ask(sentinel)) for sentinel in self._sentinels]
        votes: dict[Host, int] = {}
        try:
            for answer in asyncio.as_completed(asked, timeout=self._within_s):
                with suppress(RedisError, OSError):
                    host = await answer
                    if host is not None:
                        votes[host] = votes.get(host, 0) + 1
                        if votes[host] * 2 > len(self._sentinels):
                            return host
        except TimeoutError:
            pass
        finally:
            for each in asked:
                each.cancel()
        needed = len(self._sentinels) // 2 + 1
        raise Unavailable(
            Code.STORE_DOWN,
            f"{needed} of {len(self._sentinels)} Sentinels must agree on the primary of {self._url.where}, "
            f"got {max(votes.values(), default=0)}",
        )

    async def _ask(self, sentinel: Node) -> Host | None:
        match await sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.service):
            case [bytes(host), bytes(port)] if port.isdigit():
                return host.decode("ascii", "replace"), int(port)
            case _:
                return None


class ClusterMap(Route):
    """The primaries of a cluster by the slots they keep. Of several views the first that is whole is taken."""

    def __init__(self, url: StoreUrl, tls: ssl.SSLContext | None, *, within_s: float) -> None:
        self._url, self._tls, self._within_s = url, tls, within_s
        self._nodes: dict[Host, Node] = {host: Node(url, host, tls) for host in url.hosts}
        self._slots: Mapping[range, Host] = {}
        self._doubted = True
        self._looking = asyncio.Lock()

    async def node(self, key: str) -> Node:
        await self._known()
        slot = key_slot(key.encode())
        for slots, host in self._slots.items():
            if slot in slots:
                return self._nodes[host]
        raise Unavailable(Code.STORE_DOWN, f"no node of the cluster {self._url.where} keeps slot {slot}")

    async def primaries(self) -> tuple[Node, ...]:
        await self._known()
        return tuple(self._nodes[host] for host in dict.fromkeys(self._slots.values()))

    def doubt(self) -> None:
        self._doubted = True

    async def close(self) -> None:
        for node in self._nodes.values():
            await node.close()

    async def _known(self) -> None:
        async with self._looking:
            if self._doubted:
                await self._look()
                self._doubted = False

    async def _look(self) -> None:
        asked = [_begin(_slots_of(node)) for node in self._nodes.values()]
        fault: Exception | None = None
        try:
            for answer in asyncio.as_completed(asked, timeout=self._within_s):
                try:
                    slots = await answer
                except (RedisError, OSError) as failed:
                    fault = failed
                    continue
                await self._take(slots)
                return
        except TimeoutError as late:
            fault = fault or late
        finally:
            for each in asked:
                each.cancel()
        if fault is not None:
            raise fault

    async def _take(self, slots: Mapping[range, Host]) -> None:
        wanted = {*slots.values(), *self._url.hosts}
        for host in wanted - self._nodes.keys():
            self._nodes[host] = Node(self._url, host, self._tls)
        for host in self._nodes.keys() - wanted:
            await self._nodes.pop(host).close()
        self._slots = slots


def _begin[T](asking: Coroutine[None, None, T]) -> asyncio.Future[T]:
    """A question whose answer nobody may wait for."""
    task = asyncio.ensure_future(asking)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


async def check_primary(node: Node) -> None:
    """Not a replica, which may show what was true long ago.

    Raises:
        Unavailable(STORE_DOWN): it is one, or does not say.
    """
    match await node.ask("ROLE"):
        case [b"master", *_]:
            return
        case [bytes(role), *_]:
            told = f"is a {role.decode('ascii', 'replace')}, no primary"
        case _:
            told = "does not say what it is"
    raise Unavailable(Code.STORE_DOWN, f"the store at {node.where} {told}")


async def _slots_of(node: Node) -> Mapping[range, Host]:
    reply = await node.ask("CLUSTER", "SLOTS")
    found: dict[range, Host] = {}
    for entry in reply if isinstance(reply, Sequence) and not isinstance(reply, bytes) else ():
        first, last, host, port = _read_entry(entry)
        # A node that does not know its own address leaves it out: then it is the one we asked.
        found[range(first, last + 1)] = (host or (node.host or ("", 0))[0], port)
    if not found:
        raise OSError("no map of slots")
    return found


def _read_entry(entry: Reply) -> tuple[int, int, str, int]:
    match entry:
        case [int(first), int(last), [bytes() | None as host, int(port), *_], *_]:
            return first, last, (host or b"").decode("ascii", "replace"), port
        case _:
            raise OSError("a map of slots that cannot be read")
