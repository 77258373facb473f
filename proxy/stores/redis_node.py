"""One Redis or Valkey process: the connections to it, and what its faults mean.

Two pools: *commands* answer in time or fail and are never silently sent again; the *tail* waits on streams.
"""

import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.store_url import StoreUrl

type Reply = int | bytes | Sequence[Reply] | None

COMMAND_CONNECTIONS = 32
TAIL_CONNECTIONS = 24
"""Enough for every stream of a cluster whose shards all lie on one node."""


CONFIRM_MS = 20
"""How long replicas are waited for before they are asked again. One that is asked while it writes says what it had
before, and nothing more for a second."""


class Refused(Unavailable):
    """The server answered, with an error."""


class TooFewReplicas(Unavailable):
    """What was written is done, but not on as many disks as it should be."""


class Node:
    """One server process. Made without a connection; connects when first asked. Its faults are redis-py's."""

    def __init__(self, url: StoreUrl, host: tuple[str, int] | None, tls: ssl.SSLContext | None) -> None:
        self.host = host
        self.where = url.path if host is None else _address(host)
        self._commands = _client(url, host, tls, connections=COMMAND_CONNECTIONS)
        self._tail = _client(url, host, tls, connections=TAIL_CONNECTIONS)
        self.ask: Callable[..., Awaitable[Reply]] = self._commands.execute_command
        self.wait: Callable[..., Awaitable[Reply]] = self._tail.execute_command

    async def ask_kept(self, *words: str | bytes | int, replicas: int, within_s: float) -> Reply:
        """Send one command, and return its answer when what it wrote is on disk here and on so many replicas.

        Raises:
            TooFewReplicas(STORE_DOWN): it was done, but is not on as many disks in time: a failover may undo it.
        """
        async with self._commands.client() as one:  # WAITAOF speaks of the writes of its own connection
            one.response_callbacks.clear()
            ask: Callable[..., Awaitable[Reply]] = one.execute_command
            reply, others = await ask(*words), 0
            until_s = time.monotonic() + within_s
            while time.monotonic() < until_s:
                match await ask("WAITAOF", 1, replicas, CONFIRM_MS):
                    case [int(local), int(others)] if local >= 1 and others >= replicas:
                        return reply
        detail = f"{others} of {replicas} replicas of the store at {self.where} had a write on disk in time"
        raise TooFewReplicas(Code.STORE_DOWN, detail)

    async def close(self) -> None:
        """Close every connection."""
        await self._commands.aclose()
        await self._tail.aclose()


async def _wholly(connect: Callable[[], Awaitable[None]], connection: AbstractConnection) -> None:
    """Connect, or leave nothing behind.

    redis-py keeps a connection whose greeting (AUTH, SELECT) was cancelled; the next command would take the answer to
    that for its own, and so on for ever.
    """
    try:
        await connect()
    except BaseException:
        await connection.disconnect(nowait=True)
        raise


class _PlainConnection(Connection):
    async def connect(self) -> None:
        await _wholly(super().connect, self)


class _SocketConnection(UnixDomainSocketConnection):
    async def connect(self) -> None:
        await _wholly(super().connect, self)


class _TlsConnection(SSLConnection):
    """With a context made once: redis-py's own would trust the system's CAs besides the one that was given."""

    def __init__(self, *, context: ssl.SSLContext, **settings: Any) -> None:
        super().__init__(**settings)
        self.ssl_context.context = context

    async def connect(self) -> None:
        await _wholly(super().connect, self)


def tls_context(url: StoreUrl) -> ssl.SSLContext | None:
    """How to check this store's certificate, and show ours; None without TLS.

    Raises:
        Rejected(CONFIG_INVALID): a file it names cannot be used.
    """
    if not url.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=url.ca or None)
    except (OSError, ValueError):
        raise _unusable(f"ssl_ca_certs: {url.ca} must be a readable PEM file with at least one certificate") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if url.certificate:
        try:
            context.load_cert_chain(url.certificate, url.key, password=lambda: "")
        except (OSError, ValueError):
            detail = f"ssl_certfile, ssl_keyfile: {url.certificate} and {url.key} must be a readable certificate and "
            raise _unusable(f"{detail}its private key, in PEM and without a passphrase") from None
    return context


def down(fault: Exception, where: str, during: str) -> Unavailable:
    """What a fault of `during` at `where` is to everybody else. Nothing that was sent is repeated in it."""
    place = f"the store at {where}"
    if isinstance(fault, ResponseError):
        # Of the message only the server's code, if it has one, is safe to repeat: the rest may echo arguments.
        word = fault.status_code or str(fault).partition(" ")[0]
        told = word if word.isupper() and word.isalpha() and word != "ERR" else type(fault).__name__
        return Refused(Code.STORE_DOWN, f"{place} refused {during}: {told}")
    told, cause = type(fault).__name__, fault.__cause__ or fault.__context__ or fault
    if isinstance(cause, ssl.SSLCertVerificationError):
        told = f"its certificate does not verify ({cause.verify_message})"
    return Unavailable(Code.STORE_DOWN, f"{place} did not answer {during}: {told}")


def _client(url: StoreUrl, host: tuple[str, int] | None, tls: ssl.SSLContext | None, *, connections: int) -> "Redis":
    kind: type[Connection] | type[UnixDomainSocketConnection] = _SocketConnection
    place: dict[str, object] = {"path": url.path}
    if host is not None:
        kind, place = _PlainConnection, {"host": host[0], "port": host[1], "socket_connect_timeout": None}
    if tls is not None:
        kind, place = _TlsConnection, place | {"context": tls}
    pool = BlockingConnectionPool(
        max_connections=connections,
        timeout=None,  # whoever asks has a deadline for the whole, and nothing here has another
        connection_class=kind,
        db=url.db,
        username=url.username if url.password else None,
        password=url.password or None,
        socket_timeout=None,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        protocol=2,
        driver_info=None,
    )
    pool.connection_kwargs.update(place)
    client = Redis.from_pool(pool)
    client.response_callbacks.clear()  # replies as the server sent them: they are read strictly where they are used
    return client


def _address(host: tuple[str, int]) -> str:
    return f"[{host[0]}]:{host[1]}" if ":" in host[0] else f"{host[0]}:{host[1]}"


def _unusable(detail: str) -> Rejected:
    return Rejected(Code.CONFIG_INVALID, detail, field="redis_url")
