"""A real HTTP/1.1 origin that logs every accepted connection and every byte, and answers what it is told to.

    with Origin() as origin:                                   # plain HTTP on 127.0.0.1, a free port
        origin.on("GET", "/v1/invoices/*", Reply(json={"id": 7}))
        ...
        assert [request.target for request in origin.requests] == ["/v1/invoices/7"]

    with Origin(tls=authority.server("api.example")) as origin: ...

    before = origin.mark()                                     # an attack that must leave no trace:
    ...
    assert origin.since(before).nothing

It runs its own event loop in its own thread, so it never waits for the code under test. A connection counts from the
moment the kernel accepted it, before any TLS; the bytes it logs are those of the application, after TLS. Pauses are
`Gate`s that the test opens; there are no sleeps. As a program (`python origins.py --help`) it prints one JSON line
with its address and writes the same log to a file, one JSON object a line.
"""

import asyncio
import base64
import fnmatch
import json
import signal
import socket
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

from certs import Leaf
from origin_replies import WAIT_S, Gate, Reply, Request, Route, echo, events
from origin_wire import Connection, Wire, note_sni, reset_on_close

__all__ = ["Connection", "Gate", "Origin", "Reply", "Request", "Seen", "echo", "events"]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What an origin saw since a mark."""

    accepted: int  # new connections
    requests: tuple[Request, ...]
    raw_bytes: bytes

    @property
    def nothing(self) -> bool:
        """Not one connection, not one byte."""
        return self.accepted == 0 and self.raw_bytes == b""


class Origin:
    """The origin. `on_accept` may be "serve", "silent" (read and log, never answer) or "reset"."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: Leaf | None = None,
        on_accept: str = "serve",
        log: IO[str] | None = None,
    ) -> None:
        self.connections: list[Connection] = []
        self._routes: list[tuple[str, str, Route]] = []
        self._on_accept, self._log = on_accept, log
        self._context = tls.server_context() if tls else None
        if self._context:
            self._context.sni_callback = note_sni
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=512)
        self._listener.setblocking(False)
        self.host, self.port = host, self._listener.getsockname()[1]
        self._loop, self._stop = asyncio.new_event_loop(), asyncio.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"origin:{self.port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the origin did not stop"

    # --- what was seen ------------------------------------------------------------------------------------------------

    @property
    def requests(self) -> list[Request]:
        """Every complete request, connection by connection."""
        return [request for connection in list(self.connections) for request in list(connection.requests)]

    @property
    def raw_bytes(self) -> bytes:
        """Every application byte received, connection by connection."""
        return b"".join(bytes(connection.raw) for connection in list(self.connections))

    def mark(self) -> tuple[tuple[int, int], ...]:
        """This moment, for `since`."""
        return tuple((len(connection.raw), len(connection.requests)) for connection in list(self.connections))

    def since(self, mark: tuple[tuple[int, int], ...]) -> Seen:
        """What was seen after `mark`."""
        now = list(self.connections)
        starts = [*mark, *[(0, 0)] * (len(now) - len(mark))]
        return Seen(
            accepted=len(now) - len(mark),
            requests=tuple(r for seen, (_, start) in zip(now, starts, strict=True) for r in seen.requests[start:]),
            raw_bytes=b"".join(bytes(seen.raw[start:]) for seen, (start, _) in zip(now, starts, strict=True)),
        )

    def wait_for(self, condition: Callable[["Origin"], bool], timeout_s: float = WAIT_S) -> None:
        """Block until `condition(self)` holds; it is looked at after every event."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), timeout_s), f"not seen by {self!r}"

    def __repr__(self) -> str:
        targets = [f"{request.method} {request.target}" for request in self.requests]
        return f"Origin(:{self.port}, {len(self.connections)} connections, requests {targets})"

    # --- what to answer -----------------------------------------------------------------------------------------------

    def on(self, method: str, path: str, reply: Route) -> None:
        """Answer `method` (or "*") on a path pattern (`*` and `?` as in file names); the newest route wins."""
        self._routes.insert(0, (method, path, reply))

    def url(self, path: str = "/", *, host: str | None = None) -> str:
        name = host or (f"[{self.host}]" if ":" in self.host else self.host)
        return f"{'https' if self._context else 'http'}://{name}:{self.port}{path}"

    def reply_to(self, request: Request) -> Reply:
        for method, path, route in list(self._routes):
            if method in ("*", request.method) and fnmatch.fnmatchcase(request.path, path):
                return route if isinstance(route, Reply) else route(request)
        return echo(request)

    # --- its own thread -----------------------------------------------------------------------------------------------

    def note(self, event: str, connection: Connection, **facts: object) -> None:
        """Log one event and wake whoever waits for it."""
        if self._log:
            line = {"at": datetime.now(UTC).isoformat(), "event": event, "connection": connection.id, **facts}
            self._log.write(json.dumps(line, default=_base64) + "\n")
            self._log.flush()
        with self._changed:
            self._changed.notify_all()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        serving: set[asyncio.Task[None]] = set()
        accepting = asyncio.create_task(self._accept(serving))
        await self._stop.wait()
        tasks = {accepting, *serving}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()

    async def _accept(self, serving: set[asyncio.Task[None]]) -> None:
        while True:
            sock, peer = await self._loop.sock_accept(self._listener)
            connection = Connection(id=len(self.connections), peer=f"{peer[0]}:{peer[1]}")
            self.connections.append(connection)
            self.note("accepted", connection, peer=connection.peer)
            if self._on_accept == "reset":
                reset_on_close(sock)
                sock.close()
                continue
            task = asyncio.create_task(self._serve(sock, connection))
            serving.add(task)
            task.add_done_callback(serving.discard)

    async def _serve(self, sock: socket.socket, connection: Connection) -> None:
        wire = Wire(self.note, connection)
        try:
            await self._loop.connect_accepted_socket(lambda: wire, sock, ssl=self._context)
            while self._on_accept == "serve" and (request := await wire.next_request()):
                connection.requests.append(request)
                head = {"method": request.method, "target": request.target, "headers": request.headers}
                self.note("request", connection, **head, body_base64=request.body)
                await wire.answer(request, self.reply_to(request))
            await wire.gone.wait()
        except (OSError, ValueError) as fault:  # a refused handshake (ssl.SSLError) or an impossible length, too
            self.note("failed", connection, reason=str(fault))
        finally:
            wire.end()
            connection.closed = True
            self.note("closed", connection)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


# --- as a program ---------------------------------------------------------------------------------------------------


def route_from(entry: Mapping[str, Any]) -> Route:
    """A route from a scenario file: status, headers, json or text or events (with pause_s), and `require`d headers."""
    pause_s = float(entry.get("pause_s", 0))
    stream = [part for event in events(*entry["events"]) for part in (event, pause_s)] if "events" in entry else None
    headers = tuple(dict(entry.get("headers", {})).items())
    good = Reply(
        status=entry.get("status", 200),
        headers=(*headers, ("Content-Type", "text/event-stream")) if stream else headers,
        json=entry.get("json"),
        body=str(entry.get("text", "")).encode(),
        stream=stream,
    )
    required = dict(entry.get("require", {}))

    def answer(request: Request) -> Reply:
        fits = all(request.header(name) == value for name, value in required.items())
        return good if fits else Reply(status=401, json={"error": f"this origin wants {sorted(required)}"})

    return answer


def main() -> None:
    """Run one origin until SIGTERM or SIGINT."""
    parser = ArgumentParser(description="An HTTP/1.1 origin that logs every connection and every byte.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--cert", type=Path, help="server certificate chain, PEM; makes it HTTPS")
    parser.add_argument("--key", type=Path, help="its private key, PEM")
    parser.add_argument("--log", type=Path, help="JSON lines: accepted, tls, bytes, request, closed")
    parser.add_argument("--routes", type=Path, help='JSON: [{"method": "GET", "path": "/v1/*", "json": …}, …]')
    options = parser.parse_args()
    tls = Leaf(chain=options.cert.read_bytes(), key=options.key.read_bytes()) if options.cert else None
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    log = options.log.open("a", encoding="ascii") if options.log else None
    with Origin(host=options.host, port=options.port, tls=tls, log=log) as origin:
        for entry in json.loads(options.routes.read_text("utf-8")) if options.routes else []:
            origin.on(entry.get("method", "*"), entry["path"], route_from(entry))
        print(json.dumps({"host": origin.host, "port": origin.port, "url": origin.url("")}), flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
