"""The listener: our own socket, shared by the workers of one deployment, feeding mitmproxy's connection handler."""

import asyncio
import contextlib
import socket

from mitmproxy.proxy import mode_specs
from mitmproxy.proxy.layers import modes
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler

from proxy.edge.master import EdgeMaster

BACKLOG = 1024
LOOK_S = 0.1


class Listener:
    """Accepts connections and hands each to mitmproxy's explicit-proxy stack."""

    def __init__(self, master: EdgeMaster, sock: socket.socket) -> None:
        self._master = master
        self._socket = sock
        self._mode = mode_specs.ProxyMode.parse("regular")
        self._server: asyncio.Server | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, sock=self._socket, backlog=BACKLOG)

    def stop_accepting(self) -> None:
        """Close the listening socket; connections already accepted go on."""
        if self._server is not None:
            self._server.close()

    async def drain(self) -> None:
        """Return once no connection is open. Those without a call under way are ended, now and as their calls end."""
        idle: set[str] = set()
        while not self._idle.is_set():
            idle = self._end_idle(idle)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), LOOK_S)

    def _end_idle(self, before: set[str]) -> set[str]:
        """End connections that were idle at the last look and still are: an answer's last bytes may be on their way."""
        idle: set[str] = set()
        for handler in tuple(self._master.proxyserver.connections.values()):
            if any(True for _ in self._master.exchanges.of_client(handler.client.id)):
                continue
            idle.add(handler.client.id)
            io = handler.transports.get(handler.client)
            if handler.client.id in before and io is not None and io.handler is not None:
                io.handler.cancel("the proxy is stopping")
        return idle

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = ProxyConnectionHandler(self._master, reader, writer, self._master.options, self._mode)
        handler.layer = modes.HttpProxy(handler.layer.context)
        connections = self._master.proxyserver.connections
        with self._master.proxyserver.register_connection(handler.client.id, handler):
            self._idle.clear()
            await handler.handle_client()
        if not connections:
            self._idle.set()
