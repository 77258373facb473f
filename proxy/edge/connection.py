"""One client connection and what is dialled for it: mitmproxy's handler, with the bounds of this proxy."""

import asyncio
import contextlib
import logging
import os
from collections import defaultdict
from collections.abc import Callable

from mitmproxy.connection import Connection, Server
from mitmproxy.proxy import commands, events, layer, mode_specs
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import modes
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler

from addons.http2_wire import MAX_STREAMS
from addons.http_layer import KEPT_FOR_HTTP2, Reading
from proxy.edge.master import EdgeMaster

logger = logging.getLogger(__name__)

MOST_TO_ONE_ADDRESS = MAX_STREAMS + 2 * KEPT_FOR_HTTP2
"""Above what can be wanted at a time, for beyond it mitmproxy lets a call wait without end."""

LAST_WORDS_S = 60.0
"""For what was written to a connection before it is closed; who never reads it would keep it, outside any count."""

LAST_BYTES = 65_536
"""What is still read of a connection that broke while it was written to."""


class Failed(Exception):
    """Stands in the log for an exception, without its words."""


class FencedProxy(modes.HttpProxy):
    """The layers of one connection; when one of them raises, the connection ends.

    mitmproxy would log the exception and leave the connection open, unable ever to go on.
    """

    def __init__(self, context: Context, read: Callable[[Reading], None]) -> None:
        super().__init__(context)
        self._read = read
        self._failed = False

    def handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if self._failed:
            return
        try:
            for command in super().handle_event(event):
                if isinstance(command, Reading):
                    self._read(command)
                else:
                    yield command
        except Exception as fault:
            self._failed = True
            # Not what it says: mitmproxy quotes the event it did not expect, and with it bytes of a body.
            wordless = Failed(type(fault).__name__)
            told = (Failed, wordless, fault.__traceback__)
            logger.exception("the layers of a connection failed; it is closed", exc_info=told)
            yield commands.CloseConnection(self.context.client)


class EdgeConnection(ProxyConnectionHandler):
    """Reads from each side only as fast as the other takes it, and lets no call wait for another's connection."""

    def __init__(self, master: EdgeMaster, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._valves = master.exchanges.valves
        super().__init__(master, reader, writer, master.options, mode_specs.ProxyMode.parse("regular"))
        self.layer = FencedProxy(self.layer.context, self._read)
        self.max_conns = defaultdict(lambda: asyncio.Semaphore(MOST_TO_ONE_ADDRESS))
        self._unread: dict[Connection, asyncio.Event] = {}  # origins that are not read from, until the event is set
        read_at_once(writer, self._valves.read_at_once(self.client.id))

    def end(self, why: str) -> None:
        """End the client's connection, and with it all that was dialled for it."""
        io = self.transports.get(self.client)
        if io is not None and io.handler is not None:
            io.handler.cancel(why)

    def _read(self, command: Reading) -> None:
        if command.goes_on:
            self._unread.pop(command.connection, asyncio.Event()).set()
        else:
            self._unread.setdefault(command.connection, asyncio.Event())

    async def handle_connection(self, connection: Connection) -> None:
        """As mitmproxy does, with two differences.

        It hears out an origin that answers a body early and closes with the rest unread; and where it is told to end a
        connection while what came on it waits its turn, mitmproxy would leave it open.
        """
        io = self.transports[connection]
        if isinstance(connection, Server) and isinstance(io.reader, asyncio.StreamReader):
            assert isinstance(io.writer, asyncio.StreamWriter)
            hear_out(io.reader, io.writer)
        try:
            await super().handle_connection(connection)
        finally:
            self.transports.pop(connection, None)
            if isinstance(io.writer, asyncio.StreamWriter):
                close_within(io.writer, LAST_WORDS_S)

    async def drain_writers(self) -> None:
        """Called after each read, before the next from the same connection.

        mitmproxy waits for every writer, so that one slow origin would stop the responses of all the others; and it
        ends an origin that takes no more, though its answer may still be on its way.
        """
        reading = self._read_by_this_task()
        if isinstance(reading, Server):
            await self._drain(self.client)
            if reading in self._unread:
                await self._unread[reading].wait()
        else:
            for connection in tuple(self.transports):
                await self._drain(connection)
            await self._valves.opened(self.client.id)
            io = self.transports.get(self.client)
            if io is not None and isinstance(io.writer, asyncio.StreamWriter):
                read_at_once(io.writer, self._valves.read_at_once(self.client.id))

    async def _drain(self, connection: Connection) -> None:
        io = self.transports.get(connection)
        if io is None or not isinstance(io.writer, asyncio.StreamWriter):
            return
        try:
            await io.writer.drain()
        except OSError as fault:
            if connection is self.client:  # an origin's end is read on its own connection
                self.end(f"Error sending data: {fault}")

    def _read_by_this_task(self) -> Connection | None:
        task = asyncio.current_task()
        return next((connection for connection, io in self.transports.items() if io.handler is task), None)


def close_within(writer: asyncio.StreamWriter, seconds: float) -> None:
    """Close once the peer has taken what was written, or after so long all the same."""
    writer.close()
    if writer.transport.get_write_buffer_size():
        asyncio.get_running_loop().call_later(seconds, writer.transport.abort)


def read_at_once(writer: asyncio.StreamWriter, size: int) -> None:
    """How much is read from a connection at once; asyncio takes 256 KiB, however little its reader may keep."""
    writer.transport.max_size = size  # type: ignore[attr-defined]


def hear_out(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """When the connection breaks, also read what came before that.

    A write fails as soon as the peer has closed, and then asyncio forgets what it has not yet read.
    """
    lost, sock = reader.set_exception, writer.get_extra_info("socket")

    def set_exception(fault: Exception) -> None:
        heard = 0
        with contextlib.suppress(OSError):
            while heard < LAST_BYTES and (data := os.read(sock.fileno(), LAST_BYTES)):
                reader.feed_data(data)
                heard += len(data)
        if heard:
            reader.feed_eof()
        else:
            lost(fault)

    reader.set_exception = set_exception  # type: ignore[assignment,method-assign]
