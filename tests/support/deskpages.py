"""Every page of the desk, taken from its routing table so that none is forgotten, and a desk on which each has content.

Whoever adds a page with a new word in its address names a value for it in `Scene.values`; whoever adds an address that
is no page for eyes names it in `NO_PAGES`. Anything else is looked at by itself: for accessibility, by keyboard, in
light and dark, and at the width of a phone.
"""

import gzip
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import identities
from identities import AGENT, DEPUTY, HELPER, REVIEWER, SPONSOR
from journals import Desk
from passkeyrooms import PasskeyRoom
from playwright.sync_api import BrowserContext, Page
from providers import described
from roomservers import ServedRoom, signed_in
from starlette.routing import BaseRoute, Route

from proxy.audit.lines import Kind
from proxy.core.control import Act, ControlView, Statement
from proxy.core.holds import Event
from proxy.core.manifest import parse_manifest
from proxy.core.model import Hold
from proxy.policy.chains import write_chain_file
from proxy.review.desk.app import build_app, desk_routes
from proxy.review.desk.parts import Earlier
from proxy.review.groups import group_id

ERP = "https://erp.example"
BODY = b'{"invoice": "2043", "amount": 1250.10, "currency": "EUR", "api_key": "s3cret-value", "note": "p\xd0\xb0ypal"}'
JSON = [("Content-Type", "application/json"), ("Authorization", "Bearer s3cret"), ("X-Request", "<b>bold</b>")]
FORM = [("Content-Type", "application/x-www-form-urlencoded")]
LONG = "/v1/customers/" + "a-very-long-part-" * 12

NO_PAGES = {
    "/events": "a stream",
    "/holds/{hold}/body": "a file to save",
}
NO_PAGES_UNDER = ("/static/", "/api/")

_WORD = re.compile(r"\{(\w+)(?::\w+)?\}")


def pages_of(routes: Iterable[BaseRoute]) -> tuple[str, ...]:
    """The addresses that a browser opens, as the routing table writes them."""
    return tuple(
        route.path
        for route in routes
        if isinstance(route, Route)
        and "GET" in (route.methods or ())
        and route.path not in NO_PAGES
        and not route.path.startswith(NO_PAGES_UNDER)
    )


class EveryWay(PasskeyRoom):
    """A desk with every way in, and every way to sign."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parts = replace(self.parts, oidc=described(self.time))
        self.app = build_app(self.parts)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A desk with something on every page."""

    desk: ServedRoom
    hold: Hold
    states: dict[str, str]  # other states of pages, by a name for people: their addresses
    values: dict[str, str]  # what to put where an address has a word

    def pages(self) -> dict[str, str]:
        """Every page of the routing table, and every other state of one, by name."""
        found = {self._name(path): self._filled(path) for path in pages_of(desk_routes(self.desk.room.parts))}
        return {**found, **self.states}

    def _filled(self, path: str) -> str:
        missing = [word for word in _WORD.findall(path) if word not in self.values]
        assert not missing, f"tests/support/deskpages.py names no {missing[0]} for {path}: add one to its scene"
        return _WORD.sub(lambda word: quote(self.values[word[1]], safe=""), path)

    def _name(self, path: str) -> str:
        return _WORD.sub("one", path).strip("/").replace("/", "-") or "first"


def scene(desk: ServedRoom) -> Scene:
    """Fill a desk: calls of every kind, decided and not, with a past."""
    now = datetime.now(UTC)
    room = desk.room
    room.earlier = (
        Earlier(at=now - timedelta(minutes=2), what="allow", asked=f"GET {ERP}/v1/invoices/2043", why="allowed"),
        Earlier(at=now - timedelta(minutes=1), what="deny", asked=f"GET {ERP}/admin/users", why="policy.denied"),
    )
    room.did = tuple(replace(each, task=f"T-{number}") for number, each in enumerate(room.earlier))
    room.manifests = (
        parse_manifest(room.tokens[0]),
        parse_manifest(identities.root(identities.draft(now=now - timedelta(days=40), exp=now - timedelta(days=3)))),
    )
    hold = desk.file(f"{ERP}/v1/customers/42?token=abc", body=BODY, headers=JSON, ttl_s=600)
    risky = desk.file(f"{ERP}/v1/customers/42", method="DELETE", ttl_s=1800)
    two = desk.file(f"{ERP}/v1/customers/44", quorum=2)
    for number in range(3):
        desk.file(f"{ERP}/v1/salaries/{number}")
    plain = {
        "form-body": desk.file(f"{ERP}/v1/customers/45", body=b"who=7&password=s3cret", headers=FORM),
        "decoded-body": desk.file(
            f"{ERP}/v1/customers/46", body=gzip.compress(BODY, mtime=0), headers=[*JSON, ("Content-Encoding", "gzip")]
        ),
        "bytes-body": desk.file(f"{ERP}/v1/customers/47", body=bytes(range(256)) * 2),
        "long": desk.file(f"{ERP}{LONG}?{'q=' + 'x' * 300}"),
        "expired": desk.file(f"{ERP}/v1/customers/48", ttl_s=1),
    }
    released, denied, lost = (desk.file(f"{ERP}/v1/customers/{number}") for number in range(3))
    desk.decide(released, release=True)
    desk.decide(denied, release=False)
    desk.decide(lost, release=True)
    desk.do(_lose(desk, lost))
    desk.do(_write_past(desk, now))
    group = _group(desk)
    room.pins.mkdir()
    write_chain_file(room.directory / "manifests" / f"{AGENT}.jws", room.tokens[:1])
    updates = room.parts.updates
    proposal = desk.do(updates.propose(room.draft(), author=room.person(DEPUTY), why="the month ends"))
    return Scene(
        desk=desk,
        hold=hold,
        values={
            "hold": hold.id,
            "group": group,
            "agent": AGENT,
            "proposal": proposal.id,
        },
        states={
            "risky": f"/holds/{risky.id}",
            "risky-confirm": f"/holds/{risky.id}/release",
            "two-people": f"/holds/{two.id}",
            **{name: f"/holds/{each.id}" for name, each in plain.items()},
            "released": f"/holds/{released.id}",
            "denied": f"/holds/{denied.id}",
            "uncertain": f"/holds/{lost.id}",
            "no-such-hold": "/holds/none",
            "no-such-page": "/none",
            "no-such-group": "/groups/none",
            "no-such-agent": "/agents/none",
            "no-such-proposal": "/proposals/none",
            "queue-nothing-matches": "/queue?search=nothing-like-it",
            "history-nothing-matches": "/history?search=nothing-like-it",
            "history-second-page": "/history?page=2&period=all",
            "reviewers-nobody": "/reviewers?period=none",
            "agent-without-manifest": f"/agents/{HELPER}",
            "link-was-used": "/enter?link=used",
        },
    )


def stopped(desk: ServedRoom) -> None:
    """An agent is stopped."""
    word = Statement(
        token="",
        id="s-1",
        by=SPONSOR,
        act=Act.QUARANTINE,
        target=AGENT,
        reason="asks for other suppliers",
        serial=1,
        at=datetime.now(UTC),
    )
    desk.room.view = ControlView().absorb(word)


def idle(context: BrowserContext, desk: ServedRoom) -> Page:
    """A page of somebody whom nothing concerns."""
    return signed_in(context, desk, REVIEWER)


async def _lose(desk: ServedRoom, hold: Hold) -> None:
    """Nobody knows whether a released call arrived."""
    for event in (Event.CLAIM, Event.LOST):
        found = await desk.room.holds.get(hold.id)
        assert found is not None
        await desk.room.holds.apply(hold.id, event, fence=found.fence)


async def _write_past(desk: ServedRoom, now: datetime) -> None:
    """A journal of sixty rulings: the deputy releases everything, within a second or two."""
    clock = Desk(directory=desk.room.journal_dir)
    clock.clock.now = now - timedelta(days=2)
    journal = await clock.open()
    for number in range(60):
        by, released = (DEPUTY, True) if number % 2 else (SPONSOR, number % 3 > 0)
        about = {"agent": AGENT, "sponsor": SPONSOR, "who": ["sponsor", "deputy"], "code": "mandate.not_covered"}
        hold = {"hold_id": f"past-{number}", "risk": "routine", "task": f"T-{number % 7}", **about}
        call = {"method": "GET", "url": f"{ERP}/v1/salaries/{number}", "decision_id": f"d-{number}"}
        await journal.append(Kind.DECISION, {**call, "verdict": "hold", **hold})
        await journal.append(Kind.HOLD, {"event": "file", **hold})
        clock.clock.now += timedelta(seconds=1 if by == DEPUTY else 40)
        said = {"event": "approve" if released else "deny", "by": by, "reason": "seen" if released else "not its task"}
        await journal.append(Kind.HOLD, {**said, **hold})
        if released:
            sent = {**call, "decision_id": f"e-{number}"}
            await journal.append(Kind.DECISION, {**sent, "verdict": "allow", **hold})
            await journal.append(Kind.OUTCOME, {"decision_id": f"e-{number}", "status": 200 if number % 5 else 502})
            await journal.append(Kind.HOLD, {"event": "sent", **hold})
    await journal.close()


def _group(desk: ServedRoom) -> str:
    async def find() -> str:
        index = desk.room.parts.index
        await index.open_some([entry.hold.id for entry in index.entries()])
        alike = [entry.asks.alike for entry in index.entries() if entry.asks is not None]
        return next(group_id(each) for each in alike if alike.count(each) > 2 and "salaries" in each[2])

    return desk.do(find())
