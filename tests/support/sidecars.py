"""A sidecar for tests: its own event loop in its own thread, on a free port.

with sidecar(town.proxy_url, town.house.ca, signer) as beside:
    requests.get(url, proxies=beside.proxies, verify=str(beside.ca))
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from proxy.agent.authority import load_authority
from proxy.agent.sidecar.bodies import Room
from proxy.agent.sidecar.route import Route
from proxy.agent.sidecar.server import Sidecar
from proxy.agent.sidecar.tally import Tally
from proxy.agent.sidecar.trust import Presenter
from proxy.agent.signer import Signer


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A running sidecar, as its agent knows it."""

    url: str
    address: tuple[str, int]
    ca: Path | None  # what to trust
    tally: Tally

    @property
    def proxies(self) -> dict[str, str]:
        return {"http": self.url, "https": self.url}


@contextmanager
def sidecar(
    proxy_url: str,
    ca: Path | None,
    signer: Signer,
    *,
    own_ca: Path | None = None,
    secret: str | None = None,
    room: Room | None = None,
) -> Iterator[Beside]:
    """Run one until the block ends. `own_ca`: sign each call, with a CA kept in this directory."""
    presenter = None
    if own_ca is not None:
        authority = load_authority(own_ca, deployment="a sidecar", now=datetime.now(UTC))
        presenter = Presenter(authority, clock=lambda: datetime.now(UTC))
    route = Route(proxy_url, ca_file=str(ca) if ca is not None else None)
    running = Sidecar(route, signer, presenter=presenter, secret=secret, room=room)
    loop, ready, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with running.serving("127.0.0.1", 0):
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="sidecar", daemon=True)
    thread.start()
    try:
        assert ready.wait(10)
        trusted = own_ca / "ca.pem" if own_ca is not None else ca
        yield Beside(url=running.url, address=running.address, ca=trusted, tally=running.tally)
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)
        assert not thread.is_alive(), "the sidecar did not stop"
        loop.close()
