"""The listener: our own socket, shared by the workers of one deployment, feeding mitmproxy's connection handler."""

import asyncio
import contextlib
import socket
import sys
import time
import uuid
from collections import Counter
from collections.abc import Collection
from functools import partial

from addons.tidings import Leaving
from addons.valve import LIMIT_BYTES
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Leg
from proxy.edge.connection import EdgeConnection
from proxy.edge.descriptors import most_connections
from proxy.edge.interfaces import plain
from proxy.edge.master import EdgeMaster
from proxy.edge.transparent import Redirections
from proxy.gate import Gate
from proxy.identity import Tunnel

BACKLOG = 1024
LOOK_S = 0.1
IDLE_S = 90.0  # a connection on which nothing happens and no call is under way
REAP_EVERY_S = 5.0
END_WITHIN_S = 2.0
SPEAK_WITHIN_S = 10.0
TELL_WITHIN_S = 1.5
HANDSHAKE_S = 10.0
"""How long a client may take over TLS with the proxy; as long as over the head of a request."""


class Handshakes:
    """Connections that were seen in the middle of TLS, and when first."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    def late(self, shaking: Collection[str], now_s: float) -> frozenset[str]:
        """Which of those that are in the middle of it now have been for too long."""
        self._since_s = {name: self._since_s.get(name, now_s) for name in shaking}
        return frozenset(name for name, since_s in self._since_s.items() if now_s - since_s >= HANDSHAKE_S)


class Listener:
    """Accepts connections and hands each to mitmproxy's explicit-proxy stack."""

    def __init__(
        self,
        master: EdgeMaster,
        sock: socket.socket,
        tls_sock: socket.socket | None = None,
        *,
        redirected: tuple[socket.socket, ...] = (),
        redirections: Redirections | None = None,
        gate: Gate | None = None,
    ) -> None:
        """`tls_sock`: where TLS alone is spoken. `redirected`: where the network redirects connections to; these need
        what makes tunnels of them, and who writes down what is refused.
        """
        self._redirected = redirected
        self._redirections = redirections
        self._gate = gate
        self._redirected_servers: list[asyncio.Server] = []
        self._master = master
        self._tls_socket = tls_sock
        self._tls_server: asyncio.Server | None = None
        self._socket = sock
        self._server: asyncio.Server | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._serving = 0
        self._most = most_connections().clients
        self._of_source: Counter[str] = Counter()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, sock=self._socket, backlog=BACKLOG, limit=LIMIT_BYTES)
        if self._tls_socket is not None:
            serve = partial(self._serve, tls_only=True)
            self._tls_server = await asyncio.start_server(
                serve, sock=self._tls_socket, backlog=BACKLOG, limit=LIMIT_BYTES
            )

        for each in self._redirected:
            self._redirected_servers.append(
                await asyncio.start_server(
                    partial(self._serve, transparent=True), sock=each, backlog=BACKLOG, limit=LIMIT_BYTES
                )
            )

    def stop_accepting(self) -> None:
        """Close the listening sockets; connections already accepted go on."""
        for server in (self._server, self._tls_server, *self._redirected_servers):
            if server is not None:
                server.close()

    async def drain(self) -> None:
        """Return once no connection is open. Those without a call under way are ended, now and as their calls end.

        What would never end by itself is told that we are leaving.
        """
        for connection in self._open():
            await connection.server_event(Leaving())
        idle: set[str] = set()
        while not self._idle.is_set():
            idle = self._end_idle(idle)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), LOOK_S)

    def _end_idle(self, before: set[str]) -> set[str]:
        """End connections that were idle at the last look and still are: an answer's last bytes may be on their way."""
        idle: set[str] = set()
        for connection in self._open():
            if self._carries_a_call(connection):
                continue
            idle.add(connection.client.id)
            if connection.client.id in before:
                connection.end("the proxy is stopping")
        return idle

    async def end_all(self) -> None:
        """End what is left after the drain, and give its last hooks a moment."""
        for connection in self._open():
            connection.end("the proxy is stopping")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), END_WITHIN_S)

    async def reap(self) -> None:
        """End connections that only stand there, or never come to the end of TLS. Runs for the life of the worker."""
        shaking = Handshakes()
        while True:
            await asyncio.sleep(REAP_EVERY_S)
            late = shaking.late({each.client.id for each in self._open() if self._is_shaking(each)}, time.monotonic())
            long_ago_s = time.time() - IDLE_S
            for connection in self._open():
                if connection.client.id in late:
                    connection.end("no end of TLS")
                    continue
                if connection.timeout_watchdog.last_activity <= long_ago_s and not self._carries_a_call(connection):
                    connection.end("idle")

    def _open(self) -> list[EdgeConnection]:
        connections = tuple(self._master.proxyserver.connections.values())
        return [each for each in connections if isinstance(each, EdgeConnection)]  # all of them are

    def _is_shaking(self, connection: EdgeConnection) -> bool:
        """Whether its first TLS is not established yet; each byte of it would count as activity."""
        client = connection.client
        return (client.tls or client.id in self._master.tunnels.tls_only) and not client.tls_established

    def _carries_a_call(self, connection: EdgeConnection) -> bool:
        return any(True for _ in self._master.exchanges.of_client(connection.client.id))

    async def _serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        tls_only: bool = False,
        transparent: bool = False,
    ) -> None:
        """Take one connection, unless there are too many: one source may have half of what this worker can hold."""
        source = str((writer.get_extra_info("peername") or ("unix",))[0])
        crowded = self._of_source.total() >= self._most or self._of_source[source] >= self._most // 2 + 1
        if crowded:
            writer.transport.abort()
            return
        self._of_source[source] += 1
        try:
            tunnel = await self._tunnel_of(writer) if transparent else None
            if tunnel is not None or not transparent:
                await self._handle(reader, writer, tls_only=tls_only, tunnel=tunnel)
        finally:
            self._of_source[source] -= 1
            if not self._of_source[source]:
                del self._of_source[source]

    async def _tunnel_of(self, writer: asyncio.StreamWriter) -> Tunnel | None:
        """The tunnel that a redirected connection stands for; None: it was refused, written down, and ended."""
        assert self._redirections is not None and self._gate is not None
        try:
            async with asyncio.timeout(TELL_WITHIN_S):
                return await self._redirections.tunnel_of(writer.get_extra_info("socket"))
        except TimeoutError:
            await self._refused(writer, Unavailable(Code.STORE_DOWN, "the address book did not answer in time"))
        except (Rejected, Unavailable) as fault:
            await self._refused(writer, fault)
        except OSError:
            pass  # it left
        finally:
            if sys.exception() is not None:
                writer.transport.abort()
        writer.transport.abort()
        return None

    async def _refused(self, writer: asyncio.StreamWriter, fault: Rejected | Unavailable) -> None:
        assert self._gate is not None
        source = plain(str(writer.get_extra_info("peername")[0]))
        leg = Leg(id=str(uuid.uuid4()), source=str(source), tls=False, local=source.is_loopback, transparent=True)
        await self._gate.refuse_wire(leg, fault)

    async def _silent(self, connection: EdgeConnection) -> None:
        """End a redirected connection that waits for the other side to speak first: no such protocol passes."""
        await asyncio.sleep(SPEAK_WITHIN_S)
        client = connection.client
        if client.id in self._master.tunnels.spoke:
            return
        assert self._gate is not None
        detail = f"nothing that could be told for TLS or HTTP came within {SPEAK_WITHIN_S:g} s"
        leg = self._master.tunnels.leg_of(client)
        try:
            await self._gate.refuse_wire(leg, Rejected(Code.TRANSPARENT_PROTOCOL, detail))
        finally:
            connection.end("nothing was said")

    async def _handle(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        tls_only: bool,
        tunnel: Tunnel | None = None,
    ) -> None:
        handler = EdgeConnection(self._master, reader, writer)
        listening: asyncio.Future[None] | None = None
        if tunnel is not None:
            self._master.tunnels.by_client[handler.client.id] = tunnel
            handler.layer.context.server.address = (tunnel.host, tunnel.port)
            listening = asyncio.ensure_future(self._silent(handler))
        if tls_only:
            self._master.tunnels.tls_only.add(handler.client.id)
        with self._master.proxyserver.register_connection(handler.client.id, handler):
            self._serving += 1
            self._idle.clear()
            try:
                await handler.handle_client()
            finally:
                self._serving -= 1
                if listening is not None:
                    listening.cancel()
        if not self._serving:
            self._idle.set()
