"""The review desk as a web application on stores in memory, and browsers that visit it, without a network."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from html import unescape
from pathlib import Path

import httpx
import identities
from filing import Filer
from identities import AGENT, NOW, SPONSOR, key

from proxy.core.clusters import Policy, compile_policy
from proxy.core.control import ControlView
from proxy.core.encoding import Json
from proxy.core.errors import Unavailable
from proxy.core.model import Bundle, Hold, Manifest, Person
from proxy.core.verify import Lifetimes
from proxy.policy.chains import kept_manifests
from proxy.policy.drafts import draft_for, draft_text
from proxy.ports import Journal
from proxy.review.desk.app import build_app
from proxy.review.desk.index import Index
from proxy.review.desk.links import Links
from proxy.review.desk.parts import ApiParts, DeskParts, Earlier, Proposed
from proxy.review.desk.remembered import Remembered
from proxy.review.desk.sessions import Sessions
from proxy.review.desk.signing import Signing
from proxy.review.desk.tokens import Tokens
from proxy.review.granting import Granter
from proxy.review.opened import HeldCall
from proxy.review.oversight import Oversight
from proxy.review.resolving import Resolving
from proxy.review.service import ReviewService
from proxy.review.updates import Updates
from proxy.stores.memory_grants import MemoryGrants
from proxy.stores.memory_holds import MemoryHolds
from proxy.stores.memory_proposals import MemoryProposals
from proxy.stores.vault import SecretVault

ORIGIN = "http://127.0.0.1:8090"


class Lines(Journal):
    """A journal in a list; it fails while `fault` is set."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, Mapping[str, Json]]] = []
        self.fault: Unavailable | None = None

    async def append(self, kind: str, fields: Mapping[str, Json]) -> None:
        if self.fault is not None:
            raise self.fault
        self.lines.append((str(kind), dict(fields)))

    def of(self, event: str) -> list[Mapping[str, Json]]:
        return [fields for _, fields in self.lines if fields.get("event") == event]


@dataclass(kw_only=True)
class Room:
    """A desk with a clock to turn. Each person's word is signed with their own key, as the proxy takes it."""

    directory: Path
    bundle: Bundle
    tokens: tuple[str, ...]
    origins: tuple[str, ...] = (ORIGIN,)
    now: datetime = NOW
    view: ControlView = field(default_factory=ControlView)
    earlier: tuple[Earlier, ...] = ()
    did: tuple[Earlier, ...] = ()
    manifests: tuple[Manifest, ...] = ()
    clock: Callable[[], datetime] | None = None  # else the one to turn
    _policy: Policy | None = None  # the last that was asked for

    def policy(self) -> Policy:
        if self._policy is None or self._policy.bundle is not self.bundle:
            self._policy = compile_policy(self.bundle)
        return self._policy

    def time(self) -> datetime:
        return self.now if self.clock is None else self.clock()

    @property
    def journal_dir(self) -> Path:
        """Where a test writes a journal for the pages that read one; what the desk writes down is in `journal`."""
        return self.directory / "journal"

    def __post_init__(self) -> None:
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self.journal_dir.mkdir(exist_ok=True)
        self.holds = MemoryHolds(now=self.time)
        self.vault = SecretVault(b"s" * 32)
        self.filer = Filer(holds=self.holds, vault=self.vault, bundle=self.bundle, tokens=self.tokens, now=self.time())
        numbers = iter(range(10**6))
        common = {"clock": self.time, "new_nonce": lambda: identities.nonce(f"desk {next(numbers)}")}
        reviews = ReviewService(
            holds=self.holds,
            vault=self.vault,
            policy=self.policy,
            view=lambda: self.view,
            **common,
        )
        self.grants = MemoryGrants(now=self.time)
        self.journal = Lines()
        self.proposals, self.pins = MemoryProposals(), self.directory / "pinned"
        oversight = Oversight(journal=self.journal_dir, policy=self.policy, manifests=lambda: self.manifests)
        self.parts = DeskParts(
            reviews=reviews,
            granter=Granter(
                reviews=reviews,
                grants=self.grants,
                policy=self.policy,
                new_id=lambda: f"grant-{next(numbers)}",
                **common,
            ),
            resolving=Resolving(reviews=reviews, holds=self.holds, policy=self.policy, **common),
            updates=Updates(
                proposals=self.proposals,
                policy=self.policy,
                lifetimes=Lifetimes(),
                manifests=self.directory / "manifests",
                pins=self.pins,
                clock=self.time,
                new_id=lambda: f"proposal-{next(numbers)}",
            ),
            manifests=lambda: tuple(kept.root for kept in kept_manifests(self.directory / "manifests")),
            index=Index(reviews=reviews, holds=self.holds, policy=self.policy, clock=self.time),
            policy=self.policy,
            signing=Signing(key_of=lambda person, hold: key(person.id), desk=key("desk")),
            sessions=Sessions(clock=self.time, file=self.directory / "sessions.json"),
            links=Links(self.directory / "links", clock=self.time),
            journal=self.journal,
            earlier=self._earlier,
            did=self._did,
            remembered=Remembered(
                oversight,
                clock=self.time,
            ),
            view=lambda: self.view,
            propose=lambda held: Proposed(
                where="clusters.yaml:1", lines=("- id: x",), then=("intent-proxy bundle sign",)
            ),
            clock=self.time,
            api=ApiParts(
                tokens=Tokens(self.directory / "desk" / "tokens", clock=self.time),
                oversight=oversight,
            ),
            origins=self.origins,
        )
        self.app = build_app(self.parts)

    def restart(self) -> None:
        """As another process would find it: what is in memory alone is gone."""
        self.parts = replace(
            self.parts,
            index=Index(reviews=self.parts.reviews, holds=self.holds, policy=self.policy, clock=self.time),
            sessions=Sessions(clock=self.time, file=self.directory / "sessions.json"),
        )
        self.app = build_app(self.parts)

    def become(self, signing: Signing) -> None:
        """A desk that signs so."""
        self.parts = replace(self.parts, signing=signing)
        self.app = build_app(self.parts)

    async def _earlier(self, held: HeldCall) -> tuple[Earlier, ...]:
        return self.earlier

    async def _did(self, agent: str) -> tuple[Earlier, ...]:
        return self.did

    def person(self, name: str) -> Person:
        return self.bundle.people[name]

    def draft(self) -> str:
        """A manifest to propose, as text."""
        agent, cluster = self.bundle.agents[AGENT], identities.cluster()
        draft = draft_for(agent, [cluster], purpose="Match invoices.", lifetime_s=3_600)
        return draft_text(draft, self.bundle, sign="x")

    async def file(self, *args: object, **named: object) -> Hold:
        """A held call, which the desk's list knows; one that changes nothing, unless a method is named."""
        hold = await self.filer.file(*args, **{"method": "GET", **named})  # type: ignore[arg-type]
        await self.parts.index.read()
        return hold

    @asynccontextmanager
    async def browser(self, person: str | None = SPONSOR) -> AsyncIterator["Browser"]:
        """A browser, signed in unless `person` is None."""
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url=self.origins[0]) as client:
            browser = Browser(client=client, room=self)
            if person is not None:
                await browser.sign_in(person)
            yield browser

    def later(self, **span: float) -> None:
        self.now += timedelta(**span)


@dataclass(kw_only=True)
class Browser:
    """Asks as a browser does that obeys the rules, with the headers that browsers add."""

    client: httpx.AsyncClient
    room: Room

    async def get(self, path: str, **headers: str) -> httpx.Response:
        sent = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", **_named(headers)}
        return await self.client.get(path, headers={name: value for name, value in sent.items() if value})

    async def post(self, path: str, fields: Mapping[str, str | list[str]], **headers: str) -> httpx.Response:
        sent = {"Origin": "null", "Sec-Fetch-Site": "same-origin", **_named(headers)}
        return await self.client.post(
            path, data=dict(fields), headers={name: value for name, value in sent.items() if value}
        )

    async def sign_in(self, person: str) -> httpx.Response:
        assert self.room.parts.links is not None
        return await self.post("/enter", {"link": self.room.parts.links.make(person)})

    async def say(self, hold: Hold, verb: str, *, page: str | None = None, **fields: str) -> httpx.Response:
        """Fill in a form of a hold's card and send it."""
        card = await self.get(page or f"/holds/{hold.id}")
        sealed = hidden(card.text)
        return await self.post(f"/holds/{hold.id}/{verb}", {**sealed, **fields})


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of the last forms of a page."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page)
    return {name: unescape(value) for name, value in found}


def text_of(page: str) -> str:
    """What a page says, without its tags, on one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


@asynccontextmanager
async def kept_up(index: Index) -> AsyncIterator[None]:
    running = asyncio.ensure_future(index.run())
    await index.ready.wait()
    await asyncio.sleep(0)
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class Stream:
    """Reads server-sent events off the application itself, as a browser that stays connected."""

    def __init__(self, browser: Browser, path: str, last: str = "") -> None:
        cookie = "; ".join(f"{each.name}={each.value}" for each in browser.client.cookies.jar)
        headers = [("host", ORIGIN.partition("://")[2]), ("cookie", cookie), ("accept", "text/event-stream")]
        headers += [("last-event-id", last)] if last else []
        path, _, query = path.partition("?")
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers],
        }
        self._gone = asyncio.Event()
        self._asked = False
        self._said: asyncio.Queue[str] = asyncio.Queue()
        self._task = asyncio.ensure_future(browser.room.app(self._scope, self._receive, self._send))

    async def _receive(self) -> dict[str, object]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: object) -> None:
        assert isinstance(message, dict)
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message.get("body"):
            self._said.put_nowait(message["body"].decode())

    async def next(self) -> dict[str, str]:
        """The next event, by the names of its fields."""
        while True:
            text = await asyncio.wait_for(self._said.get(), 10)
            if not text.startswith(":"):
                return dict(line.partition(": ")[::2] for line in text.strip().splitlines())

    async def leave(self) -> None:
        self._gone.set()
        await asyncio.wait_for(self._task, 5)
