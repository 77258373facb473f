"""The review desk as a web application on stores in memory, and browsers that visit it, without a network."""

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
from identities import NOW, SPONSOR, key

from proxy.core.clusters import Policy, compile_policy
from proxy.core.control import ControlView
from proxy.core.encoding import Json
from proxy.core.errors import Unavailable
from proxy.core.model import Bundle, Hold, Person
from proxy.ports import Journal
from proxy.review.desk.app import build_app
from proxy.review.desk.index import Index
from proxy.review.desk.links import Links
from proxy.review.desk.parts import ApiParts, DeskParts, Earlier, Proposed
from proxy.review.desk.sessions import Sessions
from proxy.review.desk.signing import Signing
from proxy.review.desk.tokens import Tokens
from proxy.review.granting import Granter
from proxy.review.opened import HeldCall
from proxy.review.oversight import Oversight
from proxy.review.resolving import Resolving
from proxy.review.service import ReviewService
from proxy.review.updates import Proposal
from proxy.stores.memory_grants import MemoryGrants
from proxy.stores.memory_holds import MemoryHolds
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
    proposals: tuple[Proposal, ...] = ()
    clock: Callable[[], datetime] | None = None  # else the one to turn

    def policy(self) -> Policy:
        return compile_policy(self.bundle)

    def time(self) -> datetime:
        return self.now if self.clock is None else self.clock()

    def __post_init__(self) -> None:
        self.holds = MemoryHolds(now=self.time)
        self.vault = SecretVault(b"s" * 32)
        self.filer = Filer(holds=self.holds, vault=self.vault, bundle=self.bundle, tokens=self.tokens, now=self.time())
        numbers = iter(range(10**6))
        common = {"clock": self.time, "new_nonce": lambda: identities.nonce(f"desk {next(numbers)}")}
        reviews = ReviewService(
            holds=self.holds,
            vault=self.vault,
            policy=lambda: compile_policy(self.bundle),
            view=lambda: self.view,
            **common,
        )
        self.grants = MemoryGrants(now=self.time)
        self.journal = Lines()
        self.parts = DeskParts(
            reviews=reviews,
            granter=Granter(
                reviews=reviews,
                grants=self.grants,
                policy=lambda: compile_policy(self.bundle),
                new_id=lambda: f"grant-{next(numbers)}",
                **common,
            ),
            resolving=Resolving(
                reviews=reviews, holds=self.holds, policy=lambda: compile_policy(self.bundle), **common
            ),
            index=Index(reviews=reviews, holds=self.holds, policy=self.policy, clock=self.time),
            policy=lambda: compile_policy(self.bundle),
            signing=Signing(key_of=lambda person, hold: key(person.id)),
            sessions=Sessions(clock=self.time, file=self.directory / "sessions.json"),
            links=Links(self.directory / "links", clock=self.time),
            journal=self.journal,
            earlier=self._earlier,
            propose=lambda held: Proposed(
                where="clusters.yaml:1", lines=("- id: x",), then=("intent-proxy bundle sign",)
            ),
            clock=self.time,
            api=ApiParts(
                tokens=Tokens(self.directory / "desk" / "tokens", clock=self.time),
                oversight=Oversight(journal=self.directory / "journal", policy=self.policy, manifests=lambda: ()),
                proposals=self._proposals,
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

    async def _proposals(self) -> tuple[Proposal, ...]:
        return self.proposals

    async def _earlier(self, held: HeldCall) -> tuple[Earlier, ...]:
        return self.earlier

    def person(self, name: str) -> Person:
        return self.bundle.people[name]

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
