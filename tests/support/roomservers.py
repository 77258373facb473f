"""A review desk in memory behind a real server on loopback, for a real browser."""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import identities
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from reviewrooms import Room

from proxy.core.model import Hold
from proxy.review.service import Result

WAIT_S = 15
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(kw_only=True)
class ServedRoom:
    """A desk in its own thread. `do` runs something in its loop."""

    room: Room
    loop: asyncio.AbstractEventLoop
    sock: socket.socket
    end: Callable[[], None] = lambda: None  # lets go of whoever listens, and stops serving
    served: "asyncio.Task[None] | None" = None

    @property
    def origin(self) -> str:
        return self.room.origins[0]

    def do[T](self, work: Coroutine[object, object, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return future.result(WAIT_S)

    def file(self, url: str, **about: object) -> Hold:
        """A held call: the desk hears of it by the event stream."""
        return self.do(self.room.filer.file(url, **{"method": "GET", "ttl_s": 3600, **about}))  # type: ignore[arg-type]

    def state(self, hold: Hold) -> str:
        found = self.do(self.room.holds.get(hold.id))
        assert found is not None
        return found.state.value

    async def start(self) -> None:
        """Serve on the address that is kept."""
        room = self.room
        server = _Server(
            uvicorn.Config(room.app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
        )
        keeping = asyncio.ensure_future(room.parts.index.run())

        async def serve() -> None:
            await server.serve(sockets=[self.sock.dup()])
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

        def end() -> None:
            room.parts.index.end()
            server.should_exit = True

        self.end, self.served = end, asyncio.ensure_future(serve())
        while not server.started:
            await asyncio.sleep(0.01)
        await room.parts.index.ready.wait()

    async def stop(self) -> None:
        self.end()
        assert self.served is not None
        await self.served

    def decide(self, hold: Hold, *, release: bool) -> None:
        """The sponsor's word, said elsewhere."""
        reviews, person = self.room.parts.reviews, self.room.person(identities.SPONSOR)
        say = reviews.release if release else reviews.deny
        outcome = self.do(say(hold.id, person=person, key=identities.key(person.id), reason="seen elsewhere"))
        assert outcome.result is Result.DONE

    def link(self, person: str) -> str:
        assert self.room.parts.links is not None
        return f"{self.origin}/enter?link={self.room.parts.links.make(person)}"


@contextlib.contextmanager
def served(directory: Path, room_of: type[Room] = Room, **about: object) -> Iterator[ServedRoom]:
    """A desk on a free port, whose clock is that of this machine."""
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    now = datetime.now(UTC)
    world = identities.world(now=now)
    room = room_of(
        directory=directory,
        bundle=world.bundle,
        tokens=world.tokens,
        origins=(f"http://localhost:{port}", f"http://127.0.0.1:{port}"),
        clock=lambda: datetime.now(UTC),
        **about,  # type: ignore[arg-type]
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    desk = ServedRoom(room=room, loop=loop, sock=sock)
    desk.do(desk.start())
    try:
        yield desk
    finally:
        desk.do(desk.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_S)
        loop.close()
        sock.close()


@contextlib.contextmanager
def chromium(*more: str) -> Iterator[Browser]:
    """Debian's Chromium; `more` are further flags."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=[*FLAGS, *more])
        try:
            yield browser
        finally:
            browser.close()


def signed_in(context: BrowserContext, desk: ServedRoom, person: str) -> Page:
    """A page of somebody who came by a link."""
    page = context.new_page()
    page.goto(desk.link(person))
    page.get_by_role("button", name="Continue as").click()
    return page


def shoot(page: Page, name: str) -> None:
    """Keep a picture of the whole page, where $DESK_PICTURES says; for eyes."""
    where = os.environ.get("DESK_PICTURES")
    if where:
        page.screenshot(path=str(Path(where) / f"{name}.png"), full_page=True)
