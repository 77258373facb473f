"""The connections below the layers, for what mitmproxy's commands cannot say: wait until a peer reads; end at once."""

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Any

from mitmproxy.proxy.server import ConnectionHandler, ConnectionIO

type Connections = Mapping[tuple[Any, ...] | str, ConnectionHandler]
"""Every connection of a client, by the client's id, as mitmproxy's `Proxyserver` keeps them."""

_RESET = struct.pack("ii", 1, 0)


def abort(io: ConnectionIO, why: str) -> None:
    """End a connection now: what is buffered is thrown away, and the peer sees a reset rather than an end."""
    if isinstance(io.writer, asyncio.StreamWriter):
        sock = io.writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        io.writer.transport.abort()
    if io.handler is not None:
        io.handler.cancel(why)
