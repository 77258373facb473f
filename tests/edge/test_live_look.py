"""Looking after what is under way: how often, how long without news, and what is ended first. The looks alone."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from mitmproxy.connection import Client, Connection, ConnectionState, Server
from mitmproxy.http import HTTPFlow
from mitmproxy.proxy import events

from addons.exchange import Exchange, Exchanges
from addons.live import BLIND_S, LOOK_EVERY_S, Live
from addons.tidings import Stopped
from proxy.core.control import ControlView
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Verdict

STALE = Unavailable(Code.VIEW_STALE, "the store is away")
REVOKED = Rejected(Code.MANIFEST_REVOKED, "revoked")


class FakeGate:
    """What the looks ask of a gate."""

    def __init__(self) -> None:
        self.away: Exception | None = None
        self.fallen: dict[object, Rejected] = {}
        self.asked: list[object] = []
        self.holding = Stub(waits=Stub(stop=lambda falls: None))

    def view(self) -> ControlView:
        if self.away is not None:
            raise self.away
        return ControlView()

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
