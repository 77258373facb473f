"""While no worker serves: agents get a coded 503 at once, instead of a connection that nobody takes.

Nothing is read but the end of a request's head, nothing is decided, and nothing can be forwarded from here.
"""

import asyncio
import ssl
from collections.abc import Callable

from proxy.core.answer import last_message, turned_away
from proxy.core.errors import Code
from proxy.core.guides import GUIDES
from proxy.edge.sockets import shared_socket

HEAD_WITHIN_S = 2.0
HEAD_BYTES = 64 * 1024
AT_ONCE = 100
"""Connections answered at the same time; more are closed."""
RETRY_AFTER_S = 2

_CODE = Code.UNDECIDED


class Door:
    """An address of the deployment, answered by the supervisor. Closed until `open`."""

    def __init__(self, host: str, port: int, tls: Callable[[], ssl.SSLContext] | None = None) -> None:
        """`tls`: TLS alone is spoken here, and how; asked whenever it opens."""
        self._address = host, port
        self._tls = tls
        self._listening: asyncio.Server | None = None
        self._under_way = 0

    async def open(self) -> None:
        """Take connections from now on.

        Raises:
            Rejected: the address, or what TLS there needs, cannot be used.
        """
        if self._listening is None:
            context = None if self._tls is None else self._tls()
            self._listening = await asyncio.start_server(
                self._answer,
                sock=shared_socket(*self._address),
                limit=HEAD_BYTES,
                ssl=context,
                ssl_handshake_timeout=None if context is None else HEAD_WITHIN_S,
            )

    def close(self) -> None:
        """Take no more; what is under way is answered."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._under_way += 1
        try:
            if self._under_way <= AT_ONCE:
                async with asyncio.timeout(HEAD_WITHIN_S):
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(refusal())
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._under_way -= 1
            writer.close()


def refusal() -> bytes:
    """The answer to whatever was asked."""
    guide = GUIDES[_CODE]
    answer = turned_away(
        _CODE,
        status=guide.status,
        title=guide.title,
        detail=guide.advice,
        action=guide.next.value,
        after_s=RETRY_AFTER_S,
    )
    return last_message(answer)
