"""Looking after what is under way: how often, how long without news, and what is ended first. The looks alone."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import identities
import pytest
from mitmproxy.connection import Client, Connection, ConnectionState, Server
from mitmproxy.http import HTTPFlow
from mitmproxy.proxy import events

from addons.exchange import Exchange, Exchanges
from addons.live import BLIND_S, LOOK_EVERY_S, Live
from addons.tidings import Stopped
from proxy.core.control import Act, ControlView, read_statement, state
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Proof, Verdict

STALE = Unavailable(Code.VIEW_STALE, "the store is away")
REVOKED = Rejected(Code.MANIFEST_REVOKED, "revoked")


class FakeGate:
    """What the looks ask of a gate."""

    def __init__(self) -> None:
        self.away: Exception | None = None
        self.seen = ControlView()
        self.fallen: dict[object, Rejected] = {}
        self.asked: list[object] = []
        self.waiting: list[object] = []  # mandates of calls that wait for a person
        self.holding = Stub(waits=self)

    def stop(self, falls: Callable[[Any], bool]) -> None:
        """As `Waits` does."""
        self.waiting = [mandate for mandate in self.waiting if not falls(mandate)]

    def view(self) -> ControlView:
        if self.away is not None:
            raise self.away
        return self.seen

    def check_standing(self, mandate: object, view: ControlView, *, filed: bool = False) -> None:
        self.asked.append(mandate)
        if mandate in self.fallen:
            raise self.fallen[mandate]


class FakeFootings:
    """What the looks ask about what proofs rest on."""

    def __init__(self) -> None:
        self.fallen: dict[object, Rejected] = {}

    def check(self, identity: Any, *, released: bool = False) -> None:
        if identity.mandate in self.fallen:
            raise self.fallen[identity.mandate]


@dataclass
class FakeIO:
    """One transport of a connection."""

    writer: None = None
    ended: list[str] = field(default_factory=list)

    @property
    def handler(self) -> "FakeIO":
        return self

    def cancel(self, why: str) -> None:
        self.ended.append(why)


class FakeHandler:
    """A client's connection with one to an origin."""

    def __init__(self, *, alpn: bytes | None = None) -> None:
        self.client = Client(peername=("a", 1), sockname=("b", 2), timestamp_start=0, state=ConnectionState.OPEN)
        self.client.alpn = alpn
        self.server = Server(address=("c", 3))
        self.transports: dict[Connection, FakeIO] = {self.client: FakeIO(), self.server: FakeIO()}
        self.told: list[events.Event] = []

    async def server_event(self, event: events.Event) -> None:
        self.told.append(event)

    @property
    def ended(self) -> tuple[int, int]:
        """How often the client's side and the origin's were ended."""
        return len(self.transports[self.client].ended), len(self.transports[self.server].ended)


class Bench:
    """A worker's looks, with a clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        self.gate, self.exchanges = FakeGate(), Exchanges()
        self.handlers: dict[Any, Any] = {}
        self.footings = FakeFootings()
        self.live = Live(self.gate, self.exchanges, self.handlers, self.footings)  # type: ignore[arg-type]

    def call(self, handler: FakeHandler, mandate: str = "m", *, verdict: Verdict = Verdict.ALLOW) -> Exchange:
        self.handlers[handler.client.id] = handler
        made = Exchange(flow=HTTPFlow(handler.client, handler.server), client_id=handler.client.id)
        made.admission = Stub(identity=Stub(mandate=mandate))  # type: ignore[assignment]
        made.outcome = Stub(decision=Stub(verdict=verdict), claim=None)  # type: ignore[assignment]
        self.exchanges.open(made)
        return made

    def of(self, handler: FakeHandler) -> Exchange:
        """The one exchange of a connection."""
        (found,) = self.exchanges.of_client(handler.client.id)
        return found

    async def look(self, *, after_s: float = LOOK_EVERY_S) -> None:
        self.now_s += after_s
        await self.live.look()


class Stub:
    def __init__(self, **members: object) -> None:
        vars(self).update(members)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


async def test_a_mandate_is_asked_about_once_however_many_calls_it_has(bench: Bench) -> None:
    for _ in range(5):
        bench.call(FakeHandler(), "one")
    bench.call(FakeHandler(), "other")
    await bench.look()
    assert sorted(map(str, bench.gate.asked)) == ["one", "other"]


async def test_only_what_was_allowed_is_under_way(bench: Bench) -> None:
    held = FakeHandler()
    bench.call(held, verdict=Verdict.HOLD)
    bench.gate.fallen["m"] = REVOKED
    await bench.look()
    assert (held.ended, bench.gate.asked) == ((0, 0), [])


class Mandated(str):
    """A mandate whose leaf is known by its name."""

    @property
    def leaf(self) -> object:
        return Stub(id=str(self))


def identity_of(mandate: str) -> object:
    return Stub(mandate=Mandated(mandate), evidence=Stub(proof=Proof.REQUEST))


class Links(str):
    """A mandate of these agents."""

    @property
    def chain(self) -> tuple[object, ...]:
        return tuple(Stub(sub=each) for each in self.split("/"))


def words(*said: tuple[Act, str]) -> ControlView:
    view = ControlView()
    for number, (act, target) in enumerate(said):
        token = state(
            act,
            target,
            by="operator",
            reason="r",
            deployment=identities.DEPLOYMENT,
            key=identities.key("operator"),
            now=identities.NOW + timedelta(milliseconds=number),
        )
        view = view.absorb(read_statement(token, identities.bundle()))
    return view


@pytest.mark.parametrize(
    ("stop", "resume", "ended"),
    [
        pytest.param((Act.KILL_ON, "*"), (Act.KILL_OFF, "*"), {"a", "a/b"}, id="everything"),
        pytest.param((Act.QUARANTINE, "b"), (Act.RESTORE, "b"), {"a/b"}, id="an agent below the first"),
        pytest.param((Act.QUARANTINE, "c"), (Act.RESTORE, "c"), set(), id="somebody else"),
    ],
)
async def test_a_stop_that_was_over_before_the_look_ends_what_was_under_way(
    bench: Bench, stop: tuple[Act, str], resume: tuple[Act, str], ended: set[str]
) -> None:
    handlers = {name: FakeHandler() for name in ("a", "a/b")}
    for name, handler in handlers.items():
        bench.call(handler, Links(name)).status = 200
    bench.gate.waiting = [Links(name) for name in handlers]
    bench.gate.seen = words((Act.KILL_ON, "*"), (Act.KILL_OFF, "*"))
    await bench.look()
    assert not any(any(handler.ended) for handler in handlers.values()), "what was over when it began ends nothing"
    bench.gate.seen = words((Act.KILL_ON, "*"), (Act.KILL_OFF, "*"), stop, resume)
    bench.gate.away = STALE
    await bench.look()
    bench.gate.away = None
    await bench.look()
    assert {name for name, handler in handlers.items() if all(handler.ended)} == ended
    assert set(map(str, bench.gate.waiting)) == handlers.keys() - ended
    later = FakeHandler()
    bench.call(later, Links("a/b")).status = 200
    await bench.look()
    assert later.ended == (0, 0)


@pytest.mark.parametrize("alpn", [None, b"h2"], ids=["HTTP/1", "HTTP/2"])
async def test_what_was_to_end_ends_though_its_agent_may_go_on_by_the_next_look(
    bench: Bench, alpn: bytes | None
) -> None:
    """Its agent was to be told why, and has not ended it."""
    doomed, idle, other = FakeHandler(alpn=alpn), FakeHandler(), FakeHandler()
    exchange = bench.call(doomed)
    for handler, mandate in ((idle, "m"), (other, "other")):
        bench.call(handler, mandate)
        bench.exchanges.note_served(handler.client.id, identity_of(mandate))  # type: ignore[arg-type]
    bench.exchanges.find(bench.of(idle).flow).outcome = None  # type: ignore[union-attr]
    bench.gate.fallen["m"] = REVOKED
    await bench.look()
    assert (doomed.ended[0], idle.ended[0]) == (0, 0)
    bench.gate.fallen.clear()
    await bench.look()
    assert (doomed.ended[0], idle.ended[0], other.ended) == (1, 1, (0, 0))
    assert exchange.stopped is REVOKED


async def test_an_answer_that_has_begun_is_cut_on_both_sides_at_once(bench: Bench) -> None:
    doomed, other = FakeHandler(), FakeHandler()
    exchange = bench.call(doomed, "fallen")
    exchange.status = 200
    bench.call(other, "m").status = 200
    bench.gate.fallen["fallen"] = REVOKED
    await bench.look()
    assert (doomed.ended, other.ended) == ((1, 1), (0, 0))
    assert exchange.stopped is REVOKED
    assert exchange.gone.is_set()


async def test_an_agent_without_an_answer_has_until_the_next_look_to_be_told_why(bench: Bench) -> None:
    doomed = FakeHandler()
    exchange = bench.call(doomed)
    bench.gate.fallen["m"] = REVOKED
    await bench.look()
    assert doomed.ended == (0, 1)
    bench.gate.fallen["m"] = Rejected(Code.KILL_SWITCH, "another reason since")
    await bench.look()
    assert doomed.ended[0] == 1
    assert exchange.stopped is REVOKED, "the first reason counts"


@pytest.mark.parametrize(("origin", "ended"), [(b"h2", (0, 0)), (None, (0, 1))], ids=["HTTP/2", "HTTP/1"])
async def test_over_http2_the_calls_own_stream_ends_and_then_everything(
    bench: Bench, origin: bytes | None, ended: tuple[int, int]
) -> None:
    doomed = FakeHandler(alpn=b"h2")
    doomed.server.alpn = origin
    exchange = bench.call(doomed)
    bench.gate.fallen["m"] = REVOKED
    await bench.look()
    assert doomed.ended == ended, "a connection of its own is aborted, one that others use is not"
    (told,) = doomed.told
    assert isinstance(told, Stopped)
    assert told.flow_id == exchange.flow_id
    await bench.look()
    assert min(doomed.ended) == 1
    assert len(doomed.told) == 1


async def test_without_news_what_is_under_way_goes_on_for_five_seconds(bench: Bench) -> None:
    handler = FakeHandler()
    exchange = bench.call(handler)
    exchange.status = 200
    await bench.look()
    bench.gate.away = STALE
    await bench.look(after_s=BLIND_S - 0.1)
    assert handler.ended == (0, 0)
    bench.gate.away = None
    await bench.look(after_s=0.05)
    bench.gate.away = STALE
    await bench.look(after_s=BLIND_S - 0.1)
    assert handler.ended == (0, 0), "news came in between"
    await bench.look(after_s=0.2)
    assert handler.ended == (1, 1)
    assert exchange.stopped is STALE


async def test_a_look_that_fails_is_tried_again_and_ends_the_worker_when_it_fails_for_too_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would look after what is under way any more; with the worker it ends."""

    async def sleep(_: float) -> None:
        bench.now_s += LOOK_EVERY_S

    monkeypatch.setattr(asyncio, "sleep", sleep)
    bench.gate.away = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await bench.live.watch()
    assert BLIND_S < bench.now_s - 1000.0 <= BLIND_S + 2 * LOOK_EVERY_S
