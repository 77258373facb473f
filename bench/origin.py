"""The origin: a small HTTPS server that remembers every target it was asked for. A process of its own.

Each answer is 1 KB that only this target has, so that a client can tell that it got its own. On standard input it
takes `{"take": true}` and answers with every target since the last time, in order.
"""

import asyncio
import hashlib
import json
import ssl
import sys
from pathlib import Path

BODY_BYTES = 1024


def body_for(target: bytes) -> bytes:
    """The one right body for a target."""
    digest = hashlib.sha256(target).hexdigest().encode()
    return digest * (BODY_BYTES // len(digest))


class Answers(asyncio.Protocol):
    """One connection. Requests have no body; whatever does not look like one closes the connection."""

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            line = self._buffer[: self._buffer.find(b"\r\n")].split(b" ")
            self._buffer = self._buffer[end + 4 :]
            if len(line) != 3:
                self._transport.abort()
                return
            self._seen.append(f"{line[0].decode('latin-1')} {line[1].decode('latin-1')}")
            body = body_for(line[1])
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
            self._transport.write(head + body)


async def serve(certificate: Path, key: Path) -> None:
    """Serve on a free port of the loopback addresses until standard input ends."""
    seen: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answers(seen), "127.0.0.1", 0, ssl=context, backlog=256)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    while await reader.readline():
        print(json.dumps({"targets": seen}), flush=True)
        seen.clear()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
