"""The sidecar itself: who may connect, and what becomes of each connection."""

import asyncio
import logging
import os
import re
import resource
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proxy.agent.proxyurl import host_and_port, is_loopback
from proxy.agent.sidecar import hello
from proxy.agent.sidecar.bodies import Room
from proxy.agent.sidecar.exchange import Connect, Exchange, Means
from proxy.agent.sidecar.refusals import BUSY, malformed, not_signed
from proxy.agent.sidecar.route import Answered, Refused, Route
from proxy.agent.sidecar.streams import Stream, TcpStream, TlsStream, relay
from proxy.agent.sidecar.tally import Tally
from proxy.agent.sidecar.trust import Presenter
from proxy.agent.sidecar.upstream import Opening
from proxy.agent.signer import Signer
from proxy.core.errors import Code, Rejected

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 512  # at the most; each may need three descriptors: its own, one to the proxy, and a body's file
SPARE_DESCRIPTORS = 64
FIRST_BYTES_S = 75.0  # for a program to speak inside its tunnel
_READ_LIMIT = 65_536
_NAME = r"(?=[^:]{1,253}:)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?"
_AUTHORITY = re.compile(rf"(?:{_NAME}|\[[0-9A-Fa-f:.]{{2,45}}\]):[0-9]{{1,5}}")


class Sidecar:
    """Serves programs on this machine; everything they send goes to one proxy, under one manifest."""

    def __init__(
        self,
        route: Route,
        signer: Signer,
        *,
        presenter: Presenter | None = None,
        secret: str | None = None,
        room: Room | None = None,
    ) -> None:
        """`presenter`: sign each call inside tunnels, too, by standing for the hosts. `secret`: who does not give it as
        the password of the proxy's URL is refused.
        """
        self.tally = Tally()
        self.address = ("", 0)
        self._route, self._presenter, self._secret = route, presenter, secret
        self._means = Means(signer=signer, tally=self.tally, room=room or Room())
        self._connections: set[asyncio.Task[None]] = set()
        self._most = most_connections()

    @asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[None]:
        """Listen on a loopback address until the block ends, and end what is open then. Port 0 is any free one.

        Raises:
            Rejected(CONFIG_INVALID): the address is not loopback, or is taken.
        """
        if not is_loopback(host):
            detail = f"a sidecar listens on loopback only, got {host}: whoever reaches it acts as the agent"
            raise Rejected(Code.CONFIG_INVALID, f"{detail}; use 127.0.0.1 or ::1", field="listen")
        try:
            server = await asyncio.start_server(self._accept, host, port, limit=_READ_LIMIT)
        except OSError as fault:
            why = os.strerror(fault.errno) if fault.errno else str(fault)
            detail = f"cannot listen on {host_and_port(host, port)}: {why}; name another address with --listen"
            raise Rejected(Code.CONFIG_INVALID, detail, field="listen") from None
        self.address = server.sockets[0].getsockname()[:2]
        try:
            yield
        finally:
            server.close()
            open_now = tuple(self._connections)
            for task in open_now:
                task.cancel()
            await asyncio.gather(*open_now, return_exceptions=True)

    @property
    def url(self) -> str:
        """How a program names it as its proxy, with the secret if there is one."""
        user = f"agent:{self._secret}@" if self._secret is not None else ""
        return f"http://{user}{host_and_port(*self.address)}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        crowded = len(self._connections) >= 2 * self._most  # no room to say so either
        if crowded or not peer or not is_loopback(str(peer[0])):
            writer.transport.abort()
            return
        is_busy = len(self._connections) >= self._most
        task = asyncio.ensure_future(self._serve(TcpStream(reader, writer), is_busy=is_busy))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, client: Stream, *, is_busy: bool) -> None:
        try:
            await self._converse(client, is_busy=is_busy)
        except OSError:
            pass  # the program has left
        except Exception as fault:  # noqa: BLE001 (one connection ends, and nobody is shown a stack trace)
            logger.error("a connection ended by an error of the sidecar itself: %s", type(fault).__name__)
        finally:
            client.close()

    async def _converse(self, client: Stream, *, is_busy: bool) -> None:
        exchange = Exchange(client, self._route.connect, self._means, secret=self._secret)
        if is_busy:
            await exchange.refuse(BUSY)
            return
        asked = await exchange.serve()
        if asked is None:
            return
        if not _AUTHORITY.fullmatch(asked.authority):
            await exchange.refuse(malformed("CONNECT needs a host and a port"))
        elif self._presenter is None:
            await self._tunnel(client, exchange, asked)
        else:
            exchange.accept()
            await self._inside(client, asked, self._presenter)

    async def _tunnel(self, client: Stream, exchange: Exchange, asked: Connect) -> None:
        """A tunnel whose CONNECT is signed: the calls inside are between the program and the proxy."""
        try:
            opened = await self._opened(asked.authority)
        except Refused as fault:
            await exchange.refuse(fault.refusal)
            return
        if isinstance(opened, Answered):
            await exchange.pass_on(opened)
            return
        exchange.accept()
        await self._join(client, opened, asked.received)

    async def _inside(self, client: Stream, asked: Connect, presenter: Presenter) -> None:
        """A tunnel that ends here, so that each call inside is signed; the proxy is asked with the first of them.

        A program that speaks TLS but not HTTP/1.1 (gRPC) gets a tunnel to the proxy instead.
        """
        received = asked.received or await _first_bytes(client)
        if not received:
            return
        if not hello.is_tls(received):
            plain = Exchange(client, self._to(asked.authority), self._means, inside="http", received=received)
            await plain.serve()
            return
        while (said := hello.read_hello(received)) is None:
            more = await _first_bytes(client)
            if not more:
                return
            received += more
        if not said.speaks_http1:
            await self._blind(client, asked.authority, received)
            return
        host = _host_of(asked.authority)
        tls = TlsStream(client, presenter.context(host), received=received)
        try:
            await tls.handshake()
        except (ssl.SSLError, OSError):
            self.tally.distrust(host)
            return
        try:
            await Exchange(tls, self._to(asked.authority, host=host), self._means, inside="https").serve()
        finally:
            tls.close()

    async def _blind(self, client: Stream, authority: str, received: bytes) -> None:
        """A tunnel for what is not read. There is no way to tell the program why it gets none; the tally is told."""
        try:
            opened = await self._opened(authority)
        except Refused as fault:
            self.tally.fail(fault.refusal.code)
            return
        if isinstance(opened, Answered):
            lines = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in opened.head.headers]
            self.tally.note(opened.head.status_code, lines, opened.body)
            return
        await self._join(client, opened, received)

    def _to(self, authority: str, *, host: str | None = None) -> Opening:
        """How to reach `authority` through the proxy; with `host` by TLS with whoever stands for it there."""

        async def connect() -> Stream | Answered:
            opened = await self._opened(authority)
            if host is None or isinstance(opened, Answered):
                return opened
            return await self._route.stand_in(opened, host)

        return connect

    async def _opened(self, authority: str) -> Stream | Answered:
        """A tunnel to the proxy, freshly signed.

        Raises:
            Refused: it cannot be signed, or the proxy does not answer.
        """
        try:
            lines = self._means.signer.connect_headers(authority)
        except Rejected as fault:
            raise Refused(not_signed(fault.code, fault.detail)) from None
        return await self._route.tunnel(authority, lines)

    async def _join(self, client: Stream, opened: Stream, received: bytes) -> None:
        self.tally.tunnels += 1
        try:
            if received:
                opened.put(received)
            await relay(client, opened)
        finally:
            opened.close()


def most_connections() -> int:
    """How many the descriptors of this process are enough for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else (soft - SPARE_DESCRIPTORS) // 3
    return max(1, min(MAX_CONNECTIONS, room))


async def _first_bytes(client: Stream) -> bytes:
    async with asyncio.timeout(FIRST_BYTES_S):
        return await client.read()


def _host_of(authority: str) -> str:
    return authority.rpartition(":")[0].removeprefix("[").removesuffix("]")
