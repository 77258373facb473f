"""Desks that lie: a true one whose answers are changed on their way, and servers that answer with something else."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from reviewrooms import Room
from starlette.types import ASGIApp, Message, Receive, Scope, Send

type Twist = Callable[[str, dict[str, Any]], None]


class TwistedRoom(Room):
    """A desk whose API's answers pass through `twist`: path and document, to be changed in place."""

    twist: Twist | None = None
    asked: list[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked = []
        self.app = self._twisted(self.app)

    def _twisted(self, app: ASGIApp) -> ASGIApp:
        async def served(scope: Scope, receive: Receive, send: Send) -> None:
            twist, start, data = self.twist, {}, b""
            self.asked.append(f"{scope['method']} {scope['path']}" if scope["type"] == "http" else "")

            async def keep(message: Message) -> None:
                nonlocal start, data
                if message["type"] == "http.response.start":
                    start = dict(message)
                else:
                    data += message.get("body", b"")

            if twist is None or scope["type"] != "http":
                await app(scope, receive, send)
                return
            await app(scope, receive, keep)
            document = json.loads(data)
            twist(scope["path"], document)
            data = json.dumps(document).encode()
            headers = [pair for pair in start["headers"] if pair[0] != b"content-length"]
            start["headers"] = [*headers, (b"content-length", str(len(data)).encode())]
            await send(start)
            await send({"type": "http.response.body", "body": data})

        return served


@contextlib.contextmanager
def answering(*parts: bytes, for_ever: bool = False, hangs: bool = False) -> Iterator[str]:
    """A server that answers every request with these bytes; over and over; or then says nothing more. Its URL."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)

        def serve() -> None:
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    with connection:
                        connection.settimeout(5)
                        connection.recv(65_536)
                        for part in parts:
                            connection.sendall(part)
                        while for_ever:
                            connection.sendall(parts[-1])
                        if hangs:
                            ended.wait(30)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()
            thread.join(10)
