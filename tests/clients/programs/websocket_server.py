"""A WebSocket server over TLS that says every message back: `websocket_server.py PORT CERT KEY LOG`."""

import asyncio
import json
import ssl
import sys
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve

PORT, CERT, KEY, LOG = sys.argv[1:5]


def note(**facts: object) -> None:
    with Path(LOG).open("a", encoding="ascii") as log:
        log.write(json.dumps(facts) + "\n")


async def echo(socket: ServerConnection) -> None:
    assert socket.request is not None
    note(path=socket.request.path, headers=[name.lower() for name, _ in socket.request.headers.raw_items()])
    async for message in socket:
        note(message=message if isinstance(message, str) else message.hex())
        await socket.send(message)


async def main() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERT, KEY)
    async with serve(echo, "127.0.0.1", int(PORT), ssl=context) as server:
        await server.serve_forever()


asyncio.run(main())
