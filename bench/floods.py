"""The origin of large bodies and of events, HTTPS: a process of its own that keeps nothing but what it was sent.

`GET …/large-*` is answered with `LARGE_BYTES`; `GET …/events-*` with `EVENTS` events, each with the moment at which it
was written; any POST takes a body. On standard input it takes `{"take": true}` and answers with every target since the
last time, and the SHA-256 of each body.
"""

import asyncio
import hashlib
import json
import re
import ssl
import sys
import time
from pathlib import Path

LARGE_BYTES = 50_000_000
EVENTS = 2
EVENT_BYTES = 256
PAUSE_S = 0.1
"""Between two events: the one before must have arrived by then, or the round does not count."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_PIECE = hashlib.sha512(b"large").digest() * 1024


def large_sha256() -> str:
    """The digest of the large response."""
    digest = hashlib.sha256()
    for at in range(0, LARGE_BYTES, len(_PIECE)):
        digest.update(_PIECE[: LARGE_BYTES - at])
    return digest.hexdigest()


def event(number: int, written_ns: int) -> bytes:
    """One server-sent event, of a length that is known."""
    return f"id: {number}\ndata: {written_ns} ".encode().ljust(EVENT_BYTES - 2, b".") + b"\n\n"


class Floods:
    """What came since it was last asked."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self.bodies: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b" ", 2)
        self.targets.append(f"{method.decode()} {target.decode()}")
        if method == b"POST":
            await self._take(reader, int(_LENGTH.findall(head)[0]))
            writer.write(_head(0))
        elif b"/events-" in target:
            writer.write(_head(EVENTS * EVENT_BYTES))
            for number in range(EVENTS):
                await asyncio.sleep(PAUSE_S if number else 0)
                writer.write(event(number, time.monotonic_ns()))
        else:
            writer.write(_head(LARGE_BYTES))
            for at in range(0, LARGE_BYTES, len(_PIECE)):
                writer.write(_PIECE[: LARGE_BYTES - at])
                await writer.drain()

    async def _take(self, reader: asyncio.StreamReader, left: int) -> None:
        digest = hashlib.sha256()
        while left:
            data = await reader.read(min(left, 65_536))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            digest.update(data)
            left -= len(data)
        self.bodies.append(digest.hexdigest())


def _head(length: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % length


async def main(certificate: Path, key: Path) -> None:
    """Serve on a free port of the loopback address until standard input ends."""
    floods = Floods()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    server = await asyncio.start_server(floods.serve, "127.0.0.1", 0, ssl=context)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    while await orders.readline():
        print(json.dumps({"targets": floods.targets, "bodies": floods.bodies}), flush=True)
        floods.targets, floods.bodies = [], []


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
