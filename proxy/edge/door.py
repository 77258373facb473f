"""While no worker serves: agents get a coded 503 at once, instead of a connection that nobody takes.

Nothing is read but the end of a request's head, nothing is decided, and nothing can be forwarded from here.
"""

import asyncio
import json
import ssl
from collections.abc import Callable

from proxy.core.errors import Code
from proxy.core.problems import GUIDES
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
    members = {
        "type": f"http://intent.internal/problems/{_CODE.value}",
        "title": guide.title,
        "status": guide.status,
        "detail": guide.advice,
        "code": _CODE.value,
        "message": f"{_CODE.value}: {guide.advice}",
        "retry": {"action": guide.next.value, "after_s": RETRY_AFTER_S},
    }
    body = json.dumps(members).encode("ascii")
    head = (
        f"HTTP/1.1 {guide.status} {_CODE.value}",
        "Content-Type: application/problem+json",
        "Cache-Control: no-store",
        f"Retry-After: {RETRY_AFTER_S}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join(head).encode("ascii") + b"\r\n\r\n" + body
