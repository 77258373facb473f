"""Review desks under test: real processes on a real Valkey, thousands of calls really filed, and who looks at them."""

import asyncio
import http.client
import re
import shutil
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Self
from urllib.parse import urlencode

import houses
import identities
from filing import Filer
from valkeys import Valkey

from bench.children import Child
from bench.failures import Failed
from bench.systems import free_port
from proxy.agent.keyfile import save_key
from proxy.cli.deployment import nonce
from proxy.cli.deskplace import desk_links
from proxy.core.clusters import Policy, compile_policy
from proxy.core.model import Hold, Mandate, Verdict
from proxy.policy.settings import load_settings
from proxy.ports import HoldCaps
from proxy.review.drafts import Draft
from proxy.review.service import ReviewService
from proxy.stores.files import private_dir
from proxy.stores.redis import RedisServer
from proxy.stores.redis_holds import EVENTS, RedisHolds
from proxy.stores.vault import open_vault

WAIT_S = 60.0
OPEN_S = 3_600
KINDS = ("salaries", "customers", "suppliers", "contracts", "budgets")

_ROOTS = 100  # what one mandate has open is counted anew whenever it files: nobody has thousands
_MANY = HoldCaps(open_per_root=50_000, open_per_sponsor=50_000, per_hour_per_root=50_000, bytes_per_root=2**30)
_TOKEN = re.compile(r'name="form_token" value="([^"]+)"')
_PLACE = re.compile(r'data-cursor="([^"]*)"')
_ROW = re.compile(r'href="/holds/([\w-]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A page, and how long it took to the last byte."""

    status: int
    text: str
    ms: float

    @property
    def place(self) -> str:
        """How far in the stream of events it is."""
        found = _PLACE.search(self.text)
        return found[1] if found else ""

    @property
    def holds(self) -> tuple[str, ...]:
        """The holds that it has links to, each once, in their order."""
        return tuple(dict.fromkeys(_ROW.findall(self.text)))


class Browser:
    """One person at one desk, on one connection."""

    def __init__(self, desk: "Desk", person: str) -> None:
        self._port, self._cookie, self._token = desk.port, "", ""
        self._wire = http.client.HTTPConnection("127.0.0.1", desk.port, timeout=WAIT_S)
        entered = self._send("POST", "/enter", {"link": desk.link(person)})
        if entered.status != 303:
            raise Failed(f"{desk.child.name} let nobody in: {entered.status}")

    def get(self, path: str) -> Answer:
        """A page, and where it sends one on to.

        Raises:
            Failed: it is none.
        """
        answer = self._send("GET", path)
        if answer.status == 303:
            following = self._send("GET", answer.text)
            answer = Answer(status=following.status, text=following.text, ms=answer.ms + following.ms)
        if answer.status != 200:
            raise Failed(f"the desk answered {answer.status} at {path}")
        return answer

    def deny(self, hold: Hold, reason: str) -> Answer:
        """Send the card's form, as it was when the card was first opened."""
        if not self._token:
            found = _TOKEN.search(self.get(f"/holds/{hold.id}").text)
            self._token = found[1] if found else ""
        fields = {"form_token": self._token, "digest": hold.call_digest, "reason": reason}
        return self._send("POST", f"/holds/{hold.id}/deny", fields)

    def listen(self, after: str | None = None) -> "Listener":
        """Hear the desk's events: those after this place in the stream, else those after the queue as it is now."""
        return Listener(self._port, self._cookie, self.get("/queue").place if after is None else after)

    def _send(self, method: str, path: str, fields: Mapping[str, str] | None = None) -> Answer:
        headers = {"Cookie": self._cookie, "Origin": f"http://127.0.0.1:{self._port}"}
        body = None
        if fields is not None:
            headers["Content-Type"], body = "application/x-www-form-urlencoded", urlencode(fields)
        began_s = time.perf_counter()
        self._wire.close()  # the desk lets go who was silent for seconds
        self._wire.request(method, path, body, headers)
        answer = self._wire.getresponse()
        text = answer.read().decode()
        ms = (time.perf_counter() - began_s) * 1000
        if (given := answer.getheader("set-cookie")) is not None:
            self._cookie = given.partition(";")[0]
        return Answer(status=answer.status, text=answer.getheader("location") or text, ms=ms)


class Listener:
    """A page that is open: every event it heard, with the moment (Unix time, ms) at which it did."""

    def __init__(self, port: int, cookie: str, after: str) -> None:
        self.heard: dict[str, float] = {}
        self.resets = 0
        self._more = threading.Condition()
        self._wire = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
        self._wire.request("GET", "/events", headers={"Cookie": cookie, "Last-Event-ID": after})
        self._stream = self._wire.getresponse()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for(self, places: Sequence[str], *, within_s: float = 15.0) -> list[str]:
        """Those of these events that did not come in time."""

        def missing() -> list[str]:
            return [place for place in places if place not in self.heard]

        with self._more:
            self._more.wait_for(lambda: not missing(), within_s)
            return missing()

    def close(self) -> None:
        if (sock := self._wire.sock) is not None:
            sock.shutdown(2)
        self._thread.join(WAIT_S)
        self._wire.close()

    def _read(self) -> None:
        name = ""
        try:
            for line in self._stream:
                word, _, value = line.decode().rstrip("\n").partition(": ")
                if word == "event":
                    name = value
                elif word == "id" and name == "hold":
                    with self._more:
                        self.heard.setdefault(value, time.time() * 1000)
                        self._more.notify_all()
                self.resets += line == b"event: reset\n"
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            return  # it was closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One desk, as `intent-proxy desk` runs it."""

    child: Child
    config: Path
    port: int

    @property
    def state(self) -> Path:
        return load_settings(self.config).state

    def link(self, person: str) -> str:
        return desk_links(load_settings(self.config)).make(person)

    def wait(self) -> None:
        """Until it says that it serves."""
        if "ready" not in self.child.line(within_s=WAIT_S):
            raise Failed(f"{self.child.name} did not say that it is ready")


class Desks:
    """A Valkey, a signed policy, and desks on them: each with a state of its own, all with the same secret."""

    def __init__(self, folder: Path, *, cores: Sequence[int] = ()) -> None:
        self._folder, self._cores, self._stack = folder, cores, ExitStack()

    def __enter__(self) -> Self:
        folder = self._folder
        self.store = self._stack.enter_context(Valkey())
        save_key(folder / "desk.pem", identities.key("desk"))
        extra = f"redis_url: {self.store.url}\n"
        self.house = houses.build(folder / "office", clusters=houses.CLUSTERS.format(http=80, https=443), extra=extra)
        secret = private_dir(self.house.settings.state) / "secret.key"
        self.vault = open_vault(secret)
        self._chains = tuple(self.house.chain() for _ in range(_ROOTS))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, name: str) -> Desk:
        """Begin one; it is ready when `wait` says so."""
        folder, port = self._folder / name, free_port()
        shutil.copytree(self.house.folder, folder)
        config = folder / "proxy.yaml"
        said = f"desk: {{listen: '127.0.0.1:{port}', key: {self._folder / 'desk.pem'}}}\n"
        config.write_text(config.read_text() + said)
        words = [sys.executable, "-m", "proxy.cli.main", "desk", "-c", str(config)]
        child = Child(name, words, folder=self._folder, cores=self._cores)
        self._stack.callback(child.end)
        return Desk(child=child, config=config, port=port)

    # --- what others do ----------------------------------------------------------------------------------------------

    def use[T](self, work: Callable[["Others"], Awaitable[T]]) -> T:
        """Do something in the store, as another process of the deployment does."""

        async def run(server: RedisServer) -> T:
            return await work(Others(self, RedisHolds(server), self._chains))

        return self.house.with_store(run)

    def file(self, many: int) -> tuple[Hold, ...]:
        """File so many calls."""

        async def work(others: "Others") -> tuple[Hold, ...]:
            return tuple([await others.file() for _ in range(many)])

        return self.use(work)

    def places(self) -> list[str]:
        """The id of every event in the stream."""
        with self.store.client() as client:
            return [str(place) for place, _ in client.xrange(EVENTS)]


@dataclass(kw_only=True)
class _Bulk(Filer):
    """A filer that compiles its policy and verifies its mandates once."""

    compiled: Policy
    verified: dict[tuple[str, ...], Mandate] = field(default_factory=dict)

    @property
    def policy(self) -> Policy:
        return self.compiled

    @property
    def mandate(self) -> Mandate:
        if self.tokens not in self.verified:
            self.verified[self.tokens] = super().mandate
        return self.verified[self.tokens]


class Others:
    """The deployment's other processes: they file calls and decide about them."""

    def __init__(self, desks: Desks, holds: RedisHolds, chains: Sequence[tuple[str, ...]]) -> None:
        house = desks.house
        policy = compile_policy(house.bundle)
        self._sponsor = house.bundle.people[identities.SPONSOR]
        self._chains, self._filed = chains, count(1)
        self._filer = _Bulk(
            compiled=policy,
            holds=holds,
            vault=desks.vault,
            bundle=house.bundle,
            tokens=chains[0],
            now=datetime.now(UTC),
            caps=_MANY,
        )
        self._reviews = ReviewService(
            holds=holds,
            vault=desks.vault,
            policy=lambda: policy,
            clock=lambda: datetime.now(UTC),
            new_nonce=nonce,
        )

    async def file(self) -> Hold:
        """One more call, of five kinds by turns."""
        number = time.monotonic_ns()
        url = f"https://erp.example/v1/{KINDS[number % len(KINDS)]}/{number}"
        self._filer.now, self._filer.tokens = datetime.now(UTC), self._chains[next(self._filed) % len(self._chains)]
        return await self._filer.file(url, method="GET", ttl_s=OPEN_S)

    async def sign(self, hold: Hold) -> str:
        """The sponsor's denial of it, not recorded yet."""
        drafted = await self._reviews.draft(hold.id, Verdict.DENY, person=self._sponsor, reason="not its task")
        if not isinstance(drafted, Draft):
            raise Failed(f"nobody could deny {hold.id}: {drafted.detail}")
        return drafted.signed(identities.key(identities.SPONSOR))

    async def deny(self, hold: Hold, signed: str) -> None:
        await self._reviews.record(hold.id, signed)


async def steadily(steps: Sequence[Callable[[], Awaitable[object]]], *, per_s: float) -> float:
    """Begin so many steps a second, one after the other; how many a second there really were."""
    began_s = time.monotonic()
    for number, step in enumerate(steps):
        await asyncio.sleep(max(0.0, began_s + number / per_s - time.monotonic()))
        await step()
    return len(steps) / (time.monotonic() - began_s)
