"""What is under way when its authority ends: streams, downloads, uploads and WebSockets stop on both sides within two
seconds.

Beside each stands its twin, the same call under a mandate that goes on: it ends as if nothing had happened.
"""

import json
import os
import secrets
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import identities
import pytest
from houses import CLUSTERS, WAYS
from rawclient import Wire
from shots import PROMISE_S
from towns import Town, open_town
from under_way import CUT, WHOLE, Sink, UnderWay, download, stream, upload, websocket
from wsends import Listener

from addons.live import BLIND_S
from proxy.core.control import Act
from proxy.core.manifest import parse_manifest
from proxy.stores.embedded import EmbeddedStore

HEAR = """\
      - name: hear
        methods: [GET]
        path: /v1/live/{{topic}}
        websocket: true
"""

type Chain = Sequence[str]


@dataclass(kw_only=True)
class Place:
    """A town, and beside it an origin that takes uploads slowly, and two that speak WebSocket."""

    town: Town
    sink: Sink
    listeners: dict[str, Listener]  # by way in

    def all_kinds(self, way: str, chain: Chain, ends: ExitStack) -> dict[str, UnderWay]:
        """One call of every kind, each under way."""
        house, origin = self.town.house, self.town.origin(way)
        return {
            "stream": stream(house, origin, chain, ends),
            "download": download(house, origin, chain, ends),
            "upload": upload(house, self.sink, chain, ends),
            "websocket": websocket(house, self.listeners[way], chain, ends),
        }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Sink() as sink, Listener() as plain, Listener() as tls:
        ports = f"[{{http}}, {{https}}, {sink.port}, {plain.port}, {tls.port}]"
        clusters = CLUSTERS.replace("[{http}, {https}]", ports) + HEAR
        with open_town(tmp_path_factory.mktemp("live"), clusters=clusters) as town:
            tls.use(town.authority.server("erp.example"))
            yield Place(town=town, sink=sink, listeners={"plain": plain, "tls": tls})


def brief_chain(town: Town) -> Chain:
    """A chain whose last link ends in four seconds."""
    root = town.house.root()
    return root, identities.child(root, now=town.now(), jti=f"l-{secrets.token_hex(6)}", lifetime_s=4)


def chain_of_two_agents(town: Town) -> Chain:
    """A root, a link with a key of its own, another agent acting under it, and the last."""
    root, helper = town.house.root(), identities.key(identities.HELPER)
    named = {"now": town.now(), "lifetime_s": 1800}
    names = [secrets.token_hex(6) for _ in range(3)]
    own = identities.key(names[0])
    middle = identities.child(root, cnf=own.public, jti=names[0], **named)
    third = identities.child(middle, signer=own, cnf=helper.public, sub=identities.HELPER, jti=names[1], **named)
    return root, middle, third, identities.child(third, signer=helper, jti=names[2], **named)


def outcomes(town: Town, chain: Chain, *, due: int) -> list[tuple[object, object]]:
    """Status and error of every outcome of this root's calls, once there are as many as are due."""
    root_id, deadline_s = parse_manifest(chain[0]).id, time.monotonic() + 5
    while True:
        mine = {line["decision_id"] for line in town.house.journal("decision") if line.get("manifest") == root_id}
        lines = [line for line in town.house.journal("outcome") if line["decision_id"] in mine]
        if len(lines) >= due or time.monotonic() > deadline_s:
            return sorted(((line.get("status"), line.get("error")) for line in lines), key=repr)
        time.sleep(0.05)


def check_ended(place: Place, chain: Chain, flows: dict[str, UnderWay], *, code: str, deadline_s: float) -> None:
    """Every origin saw the end in time, every agent got nothing more, and the journal says why."""
    for kind, flow in flows.items():
        assert flow.aborted(max(0.05, deadline_s - time.monotonic())), f"the {kind} goes on at its origin"
    ends = {kind: flow.goes_on() for kind, flow in flows.items()}
    assert ends == {"stream": CUT, "download": CUT, "upload": code, "websocket": CUT}
    assert outcomes(place.town, chain, due=4) == [(101, code), (200, code), (200, code), (None, code)]


def check_whole(place: Place, chain: Chain, flows: dict[str, UnderWay]) -> None:
    assert {kind: flow.goes_on() for kind, flow in flows.items()} == dict.fromkeys(flows, WHOLE)
    assert outcomes(place.town, chain, due=3) == [(200, None), (200, None), (204, None)], "the WebSocket goes on"


STOPS: dict[str, tuple[str, Act, Callable[[Chain], str], str]] = {
    "the root is revoked": ("plain", Act.REVOKE_ROOT, lambda chain: parse_manifest(chain[0]).id, "manifest.revoked"),
    "a parent's key is revoked": (
        "tls",
        Act.REVOKE_KEY,
        lambda chain: parse_manifest(chain[1]).cnf.kid,
        "manifest.revoked",
    ),
    "an agent in the chain is quarantined": ("tls", Act.QUARANTINE, lambda _: identities.HELPER, "agent.quarantined"),
}


@pytest.mark.parametrize(("way", "act", "target", "code"), STOPS.values(), ids=STOPS.keys())
def test_what_is_under_way_is_ended_within_two_seconds_when(
    place: Place, way: str, act: Act, target: Callable[[Chain], str], code: str
) -> None:
    town, doomed, other = place.town, chain_of_two_agents(place.town), place.town.house.chain()
    with ExitStack() as ends:
        flows, twins = place.all_kinds(way, doomed, ends), place.all_kinds(way, other, ends)
        try:
            town.house.stop_by(act, target(doomed))
            check_ended(place, doomed, flows, code=code, deadline_s=time.monotonic() + PROMISE_S)
        finally:
            if act is Act.QUARANTINE:
                town.house.stop_by(Act.RESTORE, target(doomed))
        check_whole(place, other, twins)


def test_the_kill_switch_ends_everything_within_two_seconds(place: Place) -> None:
    town, chain = place.town, place.town.house.chain()
    with ExitStack() as ends:
        flows = place.all_kinds("plain", chain, ends)
        town.house.stop_by(Act.KILL_ON, "*")
        try:
            check_ended(place, chain, flows, code="stop.kill_switch", deadline_s=time.monotonic() + PROMISE_S)
        finally:
            town.house.stop_by(Act.KILL_OFF, "*")
            town.settle_control("plain")
        later = town.house.chain()
        check_whole(place, later, place.all_kinds("plain", later, ends))


def test_what_is_under_way_ends_with_its_mandate_and_a_stream_that_only_pauses_goes_on(place: Place) -> None:
    town, brief, other = place.town, brief_chain(place.town), place.town.house.chain()
    over_at = parse_manifest(brief[1]).exp
    with ExitStack() as ends:
        flows, twins = place.all_kinds("tls", brief, ends), place.all_kinds("tls", other, ends)
        left_s = (over_at - town.now()).total_seconds()
        assert not flows["stream"].aborted(max(0.0, left_s - 0.5)), "it is not over yet"
        left_s = (over_at - town.now()).total_seconds()
        check_ended(place, brief, flows, code="manifest.window", deadline_s=time.monotonic() + left_s + PROMISE_S)
        assert town.now() >= over_at
        check_whole(place, other, twins)


STANDING: dict[str, tuple[Act, Callable[[Chain], str], Act | None, str]] = {
    "its agent is quarantined": (Act.QUARANTINE, lambda _: identities.AGENT, Act.RESTORE, "agent.quarantined"),
    "its root is revoked": (Act.REVOKE_ROOT, lambda chain: parse_manifest(chain[0]).id, None, "manifest.revoked"),
}


@pytest.mark.parametrize(("act", "target", "resume", "code"), STANDING.values(), ids=STANDING.keys())
def test_what_stands_idle_or_waits_ends_within_two_seconds_when(
    place: Place, act: Act, target: Callable[[Chain], str], resume: Act | None, code: str
) -> None:
    """A tunnel, a kept connection and a call that waits for a person. Those of another mandate stay, and go on."""
    town, doomed, other = place.town, place.town.house.chain(), chain_of_helper(place.town)
    paths = [f"/v1/payroll/{secrets.token_hex(6)}" for _ in range(2)]
    with ExitStack() as ends, ThreadPoolExecutor(2) as pool:
        ours, theirs = ([kept(town, way, chain, ends) for way in WAYS] for chain in (doomed, other))
        waiting = [
            pool.submit(
                town.house.call,
                "GET",
                town.url("plain", path),
                chain=chain,
                headers=[("Prefer", "wait=3")],
                timeout_s=20.0,
            )
            for chain, path in ((doomed, paths[0]), (other, paths[1]))
        ]
        for chain in (doomed, other):
            town.wait_for_hold(chain)
        town.house.stop_by(act, target(doomed))
        deadline_s = time.monotonic() + PROMISE_S
        try:
            told = waiting[0].result(PROMISE_S)
            assert (told.status, json.loads(told.body)["code"]) == (403, code)
            for wire, _ in ours:
                assert ended(wire, deadline_s - time.monotonic())
            for wire, url in theirs:
                assert not ended(wire, 0.5)
                assert town.house.call("GET", url, chain=other, wire=wire).status == 200
            assert json.loads(waiting[1].result(20).body)["code"] == "mandate.not_covered", "it waited in peace"
        finally:
            if resume is not None:
                town.house.stop_by(resume, target(doomed))
                town.settle_control("plain")


def chain_of_helper(town: Town) -> Chain:
    """Another agent's root and leaf."""
    root = town.house.root(sub=identities.HELPER, may_delegate_to=())
    return root, identities.child(root, now=town.now(), jti=f"l-{secrets.token_hex(6)}", lifetime_s=1800)


def kept(town: Town, way: str, chain: Chain, ends: ExitStack) -> tuple[Wire, str]:
    """A connection on which a call was let pass, and nothing is under way."""
    url = town.url(way, "/v1/invoices/17")
    wire = ends.enter_context(town.house.open(url, timeout_s=30.0))
    assert town.house.call("GET", url, chain=chain, wire=wire).status == 200
    return wire, url


def ended(wire: Wire, within_s: float) -> bool:
    """Whether the proxy has ended this connection."""
    poll = select.poll()
    poll.register(wire.sock, select.POLLRDHUP)
    return bool(poll.poll(max(1.0, within_s * 1000)))


@pytest.mark.long
def test_without_its_store_a_node_ends_what_is_under_way_after_seven_seconds_and_not_before(place: Place) -> None:
    """Nobody could tell it of a stop any more. A store that is away for three seconds does no harm."""
    town, chain = place.town, place.town.house.chain()
    pid = EmbeddedStore(town.house.settings.state).pid()
    assert pid is not None
    with ExitStack() as ends:
        flow, twin = (stream(town.house, town.plain, chain, ends) for _ in range(2))
        for away_s, survives in ((3.0, True), (2.0 + BLIND_S + PROMISE_S, False)):
            os.kill(pid, signal.SIGSTOP)
            try:
                assert flow.aborted(away_s) is not survives
            finally:
                os.kill(pid, signal.SIGCONT)
            if survives:
                assert twin.goes_on() == WHOLE
                town.settle_control("plain")
        assert flow.goes_on() == CUT
    assert (200, "service.stale") in outcomes(town, chain, due=2)
