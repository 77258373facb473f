"""A Redis or Valkey server: the one place that talks to it.

Two clients: *commands* answer within `COMMAND_DEADLINE_S` or fail, and are never silently sent again; the *tail* waits
on streams. Every fault of either is `Unavailable(STORE_DOWN)`, so that whoever asked refuses.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import parse_qs, urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.ports import Missed

type Reply = int | bytes | Sequence[Reply] | None

CONNECT_TIMEOUT_S = 0.5
READ_TIMEOUT_S = 1.0
COMMAND_DEADLINE_S = 1.8
COMMAND_CONNECTIONS = 32
TAIL_CONNECTIONS = 8
TAIL_MARGIN_S = 1.5

PREFIX = "{ip:0}:"
"""Before every key. The braces keep all of a shard's keys in one slot of a cluster."""

_URL_OPTIONS = frozenset({"db", "password", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script that runs atomically on the server."""

    name: str
    source: bytes
    sha1: str


def script(*names: str) -> Script:
    """The files of `proxy/stores/lua` joined in this order; the last one gives the script its name."""
    folder = files("proxy.stores") / "lua"
    source = b"\n".join((folder / f"{name}.lua").read_bytes() for name in names)
    return Script(names[-1], source, hashlib.sha1(source, usedforsecurity=False).hexdigest())


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream written by `lua/stream.lua`."""

    id: str
    fields: Mapping[str, str]


class Refused(Unavailable):
    """The server answered, with an error."""


class RedisServer:
    """One Redis or Valkey server, by URL. Made without a connection; connects when first asked."""

    def __init__(self, url: str) -> None:
        """Take `redis://`, `rediss://` or `unix://`. Timeouts and certificate checks cannot be changed by the URL.

        Raises:
            Rejected(CONFIG_INVALID): not such a URL, or with an option that is not ours to allow.
        """
        self.where, self.username = _check_url(url)
        self._commands = _client(url, timeout_s=READ_TIMEOUT_S, connections=COMMAND_CONNECTIONS)
        self._tail = _client(url, timeout_s=None, connections=TAIL_CONNECTIONS)
        self._ask: Callable[..., Awaitable[Reply]] = self._commands.execute_command
        self._wait: Callable[..., Awaitable[Reply]] = self._tail.execute_command

    def __repr__(self) -> str:
        return f"RedisServer({self.where})"

    async def close(self) -> None:
        """Close every connection."""
        await self._commands.aclose()
        await self._tail.aclose()

    async def command(self, *words: str | bytes | int) -> Reply:
        """Send one command, once.

        Raises:
            Unavailable(STORE_DOWN): no answer in time, or an error for an answer.
        """
        try:
            async with asyncio.timeout(COMMAND_DEADLINE_S):
                return await self._ask(*words)
        except (RedisError, OSError, TimeoutError) as fault:
            raise self._down(fault, str(words[0])) from fault

    async def run(self, what: Script, keys: Sequence[str], arguments: Sequence[str | bytes]) -> Reply:
        """Run a script. A server that does not know it yet has not run it, so then it is sent whole.

        Raises:
            Unavailable(STORE_DOWN): no answer in time, or an error for an answer.
        """
        rest = (len(keys), *keys, *arguments)
        try:
            async with asyncio.timeout(COMMAND_DEADLINE_S):
                try:
                    return await self._ask("EVALSHA", what.sha1, *rest)
                except NoScriptError:
                    return await self._ask("EVAL", what.source, *rest)
        except (RedisError, OSError, TimeoutError) as fault:
            raise self._down(fault, what.name) from fault

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
                reply = await self._wait("XREAD", "COUNT", 200, "BLOCK", block_ms, "STREAMS", stream, cursor)
        except (RedisError, OSError, TimeoutError) as fault:
            raise self._down(fault, "XREAD") from fault
        match reply:
            case None:
                return ()
            case [[_, [*raw]]]:
                return _linked(raw, stream, cursor)
            case _:
                raise self._unreadable(stream)

    def _unreadable(self, stream: str) -> Unavailable:
        return Unavailable(Code.STORE_DOWN, f"the stream {stream} at {self.where} cannot be read")

    def _down(self, fault: Exception, during: str) -> Unavailable:
        where = f"the store at {self.where}"
        if isinstance(fault, ResponseError):
            # Of the message only the server's code, if it has one, is safe to repeat: the rest may echo arguments.
            word = str(fault).partition(" ")[0]
            return Refused(
                Code.STORE_DOWN, f"{where} refused {during}: {word if word.isupper() else type(fault).__name__}"
            )
        return Unavailable(Code.STORE_DOWN, f"{where} did not answer {during}: {type(fault).__name__}")


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


def _client(url: str, *, timeout_s: float | None, connections: int) -> Redis:
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=READ_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        protocol=2,
        driver_info=None,
    )
    client = Redis.from_pool(pool)
    client.response_callbacks.clear()  # replies as the server sent them: they are read strictly where they are used
    return client


def _check_url(url: str) -> tuple[str, str]:
    """The server's address without credentials, and the user name to sign in with."""
    wrong = "a Redis URL must be redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH"
    try:
        parts = urlsplit(url)
        options = parse_qs(parts.query, keep_blank_values=True)
        port = parts.port or 6379
    except ValueError:
        raise Rejected(Code.CONFIG_INVALID, wrong, field="redis_url") from None
    if unknown := sorted(set(options) - _URL_OPTIONS):
        allowed = ", ".join(sorted(_URL_OPTIONS))
        raise Rejected(Code.CONFIG_INVALID, f"a Redis URL may carry only {allowed}, got {unknown}", field="redis_url")
    if parts.scheme == "unix" and parts.path:
        return parts.path, parts.username or "default"
    if parts.scheme in ("redis", "rediss") and parts.hostname:
        return f"{parts.hostname}:{port}", parts.username or "default"
    raise Rejected(Code.CONFIG_INVALID, wrong, field="redis_url")
