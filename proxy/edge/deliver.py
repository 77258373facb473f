"""A connection that exists in this process only: by it a node sends a released call as its agent would redeem it.

Every layer, hook and check of a connection from outside is on its way; there is no socket that anybody could reach.
"""

import asyncio
import logging

from proxy.core.names import INTERNAL_HOST
from proxy.delivering import Deliveries
from proxy.edge.connection import EdgeConnection
from proxy.edge.master import EdgeMaster

logger = logging.getLogger(__name__)

AT_ONCE = 32
"""Deliveries of one worker at a time; what is due beyond that comes up again. More than one mandate may have held."""

GIVE_UP_S = 3_900.0
"""An origin that has not ended its response by then is left; whoever waits for one longer has no use for it."""


class Nowhere(asyncio.Transport):
    """The other end of such a connection: it asks once, and whatever it is told has been noted before it gets here."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        super().__init__()
        self._reader = reader
        self._closing = False
        self._protocol: asyncio.BaseProtocol | None = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Taken at once, and forgotten."""

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Who has heard the end has nothing more to say."""
        self._reader.feed_eof()

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        """There is nothing that could come too fast."""

    def resume_reading(self) -> None:
        """Nor too late."""

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._reader.feed_eof()
            if self._protocol is not None:
                asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()


class Deliverer:
    """Sends what is due, each call on a connection of its own."""

    def __init__(self, master: EdgeMaster, deliveries: Deliveries) -> None:
        self._master = master
        self._deliveries = deliveries
        self._under_way: dict[str, asyncio.Task[None]] = {}  # by hold id
        self._ending = False

    def send(self, hold_ids: tuple[str, ...]) -> None:
        """Begin to send these, unless they are on their way already."""
        for hold_id in hold_ids:
            if self._ending or hold_id in self._under_way or len(self._under_way) >= AT_ONCE:
                continue
            task = asyncio.ensure_future(self._send(hold_id))
            self._under_way[hold_id] = task

    async def drain(self) -> None:
        """Begin no more, and return once none is under way."""
        self._ending = True
        while self._under_way:
            await asyncio.wait(tuple(self._under_way.values()))

    async def _send(self, hold_id: str) -> None:
        reader = asyncio.StreamReader()
        transport = Nowhere(reader)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
        connection = EdgeConnection(self._master, reader, writer)
        client_id = connection.client.id
        reader.feed_data(_redeem(hold_id))
        self._deliveries.begin(client_id, hold_id)
        try:
            with self._master.proxyserver.register_connection(client_id, connection):
                async with asyncio.timeout(GIVE_UP_S):
                    await connection.handle_client()
        except TimeoutError:
            connection.end("the origin did not end its response")
        except Exception as fault:
            logger.exception("hold %s could not be delivered: %s", hold_id, type(fault).__name__)
        finally:
            self._deliveries.end(client_id)
            del self._under_way[hold_id]


def _redeem(hold_id: str) -> bytes:
    head = (
        f"POST http://{INTERNAL_HOST}/holds/{hold_id}/redeem HTTP/1.1",
        f"Host: {INTERNAL_HOST}",
        "Content-Length: 0",
        "Connection: close",
    )
    return "\r\n".join((*head, "", "")).encode("ascii")
