"""Kill switch and quarantine on three nodes of two workers each, with fifty streams, WebSockets and tunnels open.

All of it ends within two seconds, on both sides; nothing is sent after; and the journal of every node says who did it.
"""

import json
import secrets
import select
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import identities
import pytest
import rawclient
from certs import Authority
from houses import CLUSTERS, House
from nodes import nodes, together, wait_for
from origins import Origin
from shots import PROMISE_S
from towns import ROOMY
from under_way import CUT, UnderWay, stream, websocket
from wsends import Listener

from proxy.core.control import Act
from proxy.core.manifest import parse_manifest
from proxy.stores.redis_holds import RedisHolds

pytestmark = pytest.mark.system

EACH = 50
WAITING = 6
HEAR = """\
      - name: hear
        methods: [GET]
        path: /v1/live/{{topic}}
        websocket: true
"""


@dataclass(kw_only=True)
class Country:
    """Three nodes, and what they call."""

    houses: tuple[House, ...]
    plain: Origin
    tls: Origin
    listener: Listener

    def house(self, number: int) -> House:
        return self.houses[number % len(self.houses)]


@pytest.fixture(scope="module")
def country(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Country]:
    folder, authority = tmp_path_factory.mktemp("stop"), Authority()
    with Origin() as plain, Origin(tls=authority.server("erp.example")) as tls, Listener() as listener:
        ports = f"[{{http}}, {{https}}, {listener.port}]"
        clusters = (CLUSTERS.replace("[{http}, {https}]", ports) + HEAR).format(http=plain.port, https=tls.port)
        extra = f"upstream_cas: [{authority.write(folder)}]\n{ROOMY}"
        with nodes(folder, 3, clusters=clusters, extra=extra, workers=2) as (_, houses):
            yield Country(houses=houses, plain=plain, tls=tls, listener=listener)


@dataclass(kw_only=True)
class Open:
    """What is open when the word comes."""

    streams: list[UnderWay]
    websockets: list[UnderWay]
    tunnels: list[rawclient.Wire]
    waiting: "list[Future[rawclient.Response]]"


def everything(country: Country, chain: Sequence[str], ends: ExitStack) -> Open:
    """Fifty of each over the three nodes, and some calls that wait for a person."""
    pool = ends.enter_context(ThreadPoolExecutor(WAITING))
    opened = Open(
        streams=[stream(country.house(each), country.plain, chain, ends) for each in range(EACH)],
        websockets=[websocket(country.house(each), country.listener, chain, ends) for each in range(EACH)],
        tunnels=[tunnel(country, each, chain, ends) for each in range(EACH)],
        waiting=[
            pool.submit(
                country.house(each).call,
                "GET",
                country.plain.url(f"/v1/payroll/{each}", host="erp.example"),
                chain=chain,
                headers=[("Prefer", "wait=30")],
                timeout_s=40.0,
            )
            for each in range(WAITING)
        ],
    )
    root_id = parse_manifest(chain[0]).id
    wait_for(
        lambda: (
            len(country.houses[0].with_store(lambda server: RedisHolds(server).listing(root_id=root_id))) == WAITING
        ),
        "the calls wait",
    )
    return opened


def others(country: Country, ends: ExitStack) -> list[UnderWay]:
    """What another agent has open on every node."""
    root = country.houses[0].root(sub=identities.HELPER)
    chain = (root, identities.child(root, now=datetime.now(UTC), jti=f"l-{secrets.token_hex(6)}", lifetime_s=1800))
    streams = [stream(house, country.plain, chain, ends) for house in country.houses * 2]
    return [*streams, *(websocket(house, country.listener, chain, ends) for house in country.houses * 2)]


def cut_off(country: Country, chain: Sequence[str], code: str) -> dict[str, int]:
    """How many streams and WebSockets of this mandate were ended with this code, as the journals of all nodes say."""
    root_id = parse_manifest(chain[0]).id
    mine = {
        line["decision_id"]
        for house in country.houses
        for line in house.journal("decision")
        if line.get("manifest") == root_id
    }

    def count() -> dict[str, int]:
        lines = [
            line
            for house in country.houses
            for line in house.journal("outcome")
            if line["decision_id"] in mine and line.get("error") == code
        ]
        return {
            "stream": sum(line.get("status") == 200 for line in lines),
            "websocket": sum(line.get("status") == 101 for line in lines),
        }

    wait_for(lambda: sum(count().values()) >= 2 * EACH, "they are journaled")
    return count()


def tunnel(country: Country, number: int, chain: Sequence[str], ends: ExitStack) -> rawclient.Wire:
    """An open tunnel whose CONNECT was signed, or not, with a call through it that is over."""
    house, authority = country.house(number), country.tls.url("/", host="erp.example").split("/")[2]
    signed = house.signed("CONNECT", authority, chain=chain) if number % 2 else []
    wire = ends.enter_context(rawclient.connect(house.address, timeout_s=30.0))
    assert wire.connect(authority, signed).status == 200
    wire.start_tls(house.ca, sni="erp.example")
    url = f"https://{authority}/v1/invoices/17"
    lines = [] if number % 2 else house.signed("GET", url, chain=chain)
    assert wire.get("/v1/invoices/17", host=authority, headers=lines).status == 200
    return wire


def ended(wire: rawclient.Wire, within_s: float) -> bool:
    """Whether the proxy has ended this connection."""
    poll = select.poll()
    poll.register(wire.sock, select.POLLRDHUP)
    return bool(poll.poll(max(1.0, within_s * 1000)))


def test_the_twin_nothing_ends_while_nobody_says_so(country: Country) -> None:
    chain = country.houses[0].chain()
    with ExitStack() as ends:
        flow, socket = (
            stream(country.houses[1], country.plain, chain, ends),
            websocket(country.houses[2], country.listener, chain, ends),
        )
        wire = tunnel(country, 1, chain, ends)
        assert not ended(wire, PROMISE_S + 0.5)
        assert (flow.goes_on(), socket.goes_on()) == ("whole", "whole")


@pytest.mark.parametrize(
    ("stop", "target", "resume", "code"),
    [
        pytest.param(Act.KILL_ON, "*", Act.KILL_OFF, "stop.kill_switch", id="the kill switch"),
        pytest.param(Act.QUARANTINE, identities.AGENT, Act.RESTORE, "agent.quarantined", id="a quarantine"),
    ],
)
def test_everything_ends_within_two_seconds_on_every_node(
    country: Country, stop: Act, target: str, resume: Act, code: str
) -> None:
    chain = country.houses[0].chain()
    with ExitStack() as ends:
        opened = everything(country, chain, ends)
        theirs = others(country, ends) if stop is Act.QUARANTINE else []
        try:
            country.houses[0].stop_by(stop, target, by=identities.REVIEWER, reason="incident 4711")
            deadline_s = time.monotonic() + PROMISE_S
            for wire in opened.tunnels:
                assert ended(wire, deadline_s - time.monotonic()), "a tunnel goes on"
            for flow in (*opened.streams, *opened.websockets):
                assert flow.aborted(max(0.001, deadline_s - time.monotonic())), f"{flow.url} goes on"
            told = [each.result(max(0.001, deadline_s - time.monotonic())) for each in opened.waiting]
            assert [json.loads(answer.body)["code"] for answer in told] == [code] * WAITING

            marks = country.plain.mark(), country.tls.mark()
            assert {flow.goes_on() for flow in (*opened.streams, *opened.websockets)} == {CUT}
            for wire in opened.tunnels:
                with suppress(OSError):
                    wire.send(b"GET /v1/invoices/17 HTTP/1.1\r\n\r\n")
            url = country.plain.url("/v1/invoices/17", host="erp.example")
            for house in country.houses * 2:
                answer = house.call("GET", url, chain=chain)
                assert json.loads(answer.body)["code"] == code
            assert country.plain.since(marks[0]).nothing
            assert country.tls.since(marks[1]).nothing
            assert [each.goes_on() for each in theirs] == ["whole"] * len(theirs), "another agent's calls go on"
        finally:
            country.houses[0].stop_by(resume, target, by="operator")
    together(lambda house: check_journal(house, stop, target), country.houses)
    assert cut_off(country, chain, code) == {"stream": EACH, "websocket": EACH}, "each is journaled with why it ended"
    wait_for(
        lambda: all(house.call("GET", url, chain=house.chain()).status == 200 for house in country.houses * 2),
        "they go on when they may",
    )


def check_journal(house: House, stop: Act, target: str) -> None:
    """The node's own journal says who stopped what, and why."""
    line = wait_for(
        lambda: next((line for line in house.journal("control") if line["act"] == stop.value), None), "it is journaled"
    )
    assert (line["by"], line["target"], line["reason"]) == (identities.REVIEWER, target, "incident 4711")
