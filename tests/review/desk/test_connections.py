"""Programs that open connections to the desk and say little: they are let go, and reviewers are served."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import identities
import pytest
import uvicorn
from reviewrooms import Room

from proxy.review.desk import connections
from proxy.review.desk.connections import MOST_CONNECTIONS, ROOMY, Prompt

HOST = "127.0.0.1:8090"
ASKED = f"GET /enter HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
FORM = f"POST /enter HTTP/1.1\r\nHost: {HOST}\r\nOrigin: http://{HOST}\r\n".encode()
FORM += b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nlink="

type Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Quiet(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


@contextlib.asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[int]:
    """A desk behind uvicorn, and its port."""
    world = identities.world()
    room = Room(directory=directory, bundle=world.bundle, tokens=world.tokens)
    config = uvicorn.Config(
        room.app, log_config=None, lifespan="off", ws="none", http=Prompt, port=0, limit_concurrency=MOST_CONNECTIONS
    )
    server = Quiet(config)
    running = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running


async def ask(wire: Wire, data: bytes = ASKED) -> bytes:
    """Say something and read the first line of the answer; b"" when the connection was closed in place of one."""
    wire[1].write(data)
    try:
        async with asyncio.timeout(20):
            return await wire[0].readline()
    except ConnectionError:
        return b""


async def gone(wire: Wire) -> None:
    """Wait until the desk closed a connection."""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(20):
            while await wire[0].read(4096):
                pass


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="nothing at all"),
        pytest.param(ASKED[:-2], id="a head without its end"),
        pytest.param(FORM, id="a form without its end"),
        pytest.param(ASKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\nx"), id="a body after its answer"),
    ],
)
async def test_whoever_keeps_the_desk_waiting_is_let_go(
    said: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as port:
        patient = await asyncio.open_connection("127.0.0.1", port)
        patient[1].write(ASKED[:-2])  # the twin: it comes to its end while there is time
        await patient[1].drain()
        monkeypatch.setattr(connections, "SENT_WITHIN_S", 0.2)
        slow = await asyncio.open_connection("127.0.0.1", port)
        slow[1].write(said)
        await gone(slow)
        assert await ask(patient, b"\r\n") == b"HTTP/1.1 200 OK\r\n"
        patient[1].close()


async def test_many_who_say_nothing_keep_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ROOMY < MOST_CONNECTIONS
    monkeypatch.setattr(connections, "ROOMY", 20)
    async with serving(tmp_path) as port:
        first = await asyncio.open_connection("127.0.0.1", port)
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(60)]
        await gone(first)  # who waited longest has made room
        last = await asyncio.open_connection("127.0.0.1", port)
        assert await ask(last) == b"HTTP/1.1 200 OK\r\n"
        for _, writer in (*silent, last):
            writer.close()


async def test_a_head_that_never_ends_is_refused_by_its_size(tmp_path: Path) -> None:
    async with serving(tmp_path) as port:
        wire = await asyncio.open_connection("127.0.0.1", port)
        assert (await ask(wire, ASKED[:-2] + b"X-Long: " + b"x" * 200_000)).startswith(b"HTTP/1.1 400")
        wire[1].close()
        again = await asyncio.open_connection("127.0.0.1", port)
        assert await ask(again) == b"HTTP/1.1 200 OK\r\n"  # the twin
        again[1].close()


async def test_whoever_takes_nothing_of_what_they_asked_for_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a session: a style sheet, again and again, and never read."""
    asked = ASKED.replace(b"/enter", b"/static/desk.css")
    async with serving(tmp_path) as port:
        patient = await asyncio.open_connection("127.0.0.1", port)
        monkeypatch.setattr(connections, "TAKEN_WITHIN_S", 0.2)
        with socket.socket() as greedy:
            greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            greedy.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(greedy, ("127.0.0.1", port))
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(20):
                    while True:  # until it is closed: nothing of the answers is read
                        await loop.sock_sendall(greedy, asked * 100)
        assert await ask(patient) == b"HTTP/1.1 200 OK\r\n"  # the twin
        patient[1].close()
