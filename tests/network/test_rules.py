"""Packet rules in real network namespaces, both kinds by both tools: what the world saw, what agents were answered."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from houses import ROOT
from walled import Host, apply, walled

pytestmark = pytest.mark.system

PROXY, AGENT, OTHER, STORE = 10001, 20001, 20002, 999
LISTEN, DNS, EXPLICIT, REDIS = 8444, 5353, 8080, 6379
FORWARDING = ("ipv4/ip_forward", "ipv6/conf/all/forwarding")
ECHO = (b"\x08\x00\xf7\xff" + bytes(4), b"\x80\x00" + bytes(6))  # as ping sends it, in IPv4 and IPv6
AT_ONCE = ("ConnectionRefusedError 111", "PermissionError 1")  # by another host, or on the way out of one's own
BELL = 7007  # what the proxy itself sends last: whatever the world saw was seen before it
MEANT = {"IPv4": "10.77.2.2", "IPv6": "fd77:2::2"}
FAMILIES = pytest.mark.parametrize("there", MEANT.values(), ids=MEANT)


@dataclass(frozen=True, kw_only=True)
class Place:
    agent: Host  # where agents run
    gate: Host  # where the proxy runs; for a sidecar the same
    world: Host
    kind: tuple[str, ...]  # of the rules
    tool: tuple[str, ...]

    def apply(self) -> None:
        apply(self.gate, *self.kind, "--uid", str(PROXY), *self.tool)

    def remove(self) -> None:
        self.gate.must(sys.executable, "-m", "proxy.cli.main", "transparent", "remove", self.kind[0], *self.tool)

    def ring(self) -> None:
        """The twin of everything here: the proxy itself gets out."""
        assert self.gate.tcp("10.77.2.2", BELL, user=PROXY) == "reached"


@contextmanager
def gateway(tool: tuple[str, ...]) -> Iterator[Place]:
    with walled() as town:
        agent, gate, world = town.host("agent"), town.host("gate"), town.host("world")
        town.wire(agent, gate, 1)
        town.wire(gate, world, 2)
        agent.reach(gate, 1)
        world.reach(gate, 2)
        for switch in FORWARDING:
            gate.set(switch, 1)
        gate.stand(LISTEN, DNS, EXPLICIT, user=PROXY)
        gate.stand(REDIS, 0, user=STORE)
        world.stand(4444, 0, 443, 80, 22, BELL, user=0)
        kind = ("gateway", "--from", "net1", "--explicit-port", str(EXPLICIT))
        yield Place(agent=agent, gate=gate, world=world, kind=kind, tool=tool)


@contextmanager
def sidecar(tool: tuple[str, ...]) -> Iterator[Place]:
    with walled() as town:
        pod, world = town.host("pod"), town.host("world")
        town.wire(pod, world, 2)
        pod.reach(world, 2)
        pod.stand(LISTEN, DNS, EXPLICIT, 8090, user=PROXY, at="lo")
        pod.stand(REDIS, 0, user=STORE)
        pod.stand(3000, 0, user=AGENT)
        world.stand(4444, 0, 443, 80, 22, BELL, user=0)
        kind = ("sidecar", "--explicit-port", str(EXPLICIT), "--closed-port", str(REDIS), "--inbound-port", "3000")
        yield Place(agent=pod, gate=pod, world=world, kind=kind, tool=tool)


TOOLS: Mapping[str, tuple[str, ...]] = {"by nft": (), "by iptables": ("--iptables",)}
PLACES = {f"a {make.__name__} {name}": (make, tool) for make in (gateway, sidecar) for name, tool in TOOLS.items()}
GATEWAYS, SIDECARS = (
    pytest.mark.parametrize("place", [each for each in PLACES if kind in each], indirect=True)
    for kind in ("gateway", "sidecar")
)


@pytest.fixture(scope="module")
def places() -> Iterator[Callable[[str], Place]]:
    made: dict[str, Place] = {}
    with ExitStack() as ends:

        def place_of(name: str) -> Place:
            if name not in made:
                make, tool = PLACES[name]
                made[name] = ends.enter_context(make(tool))
            return made[name]

        yield place_of


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, places: Callable[[str], Place]) -> Place:
    found = places(request.param)
    found.apply()
    return found


@FAMILIES
def test_whatever_an_agent_sends_the_world_sees_nothing_of_it(place: Place, there: str) -> None:
    six = ":" in there
    outside = "2001:db8::1" if six else "203.0.113.9"
    with place.world.watch() as seen:
        for port in (443, 80, 22, 4444, 25):
            for user in (AGENT, OTHER, 0):
                assert place.agent.tcp(there, port, user=user) == f"led {there} {port}"
        assert place.agent.tcp(outside, 443, user=AGENT) == f"led {outside} 443"
        assert place.agent.udp(there, 53, user=AGENT) == "stub x"
        assert place.agent.udp(there, 443, user=AGENT) in AT_ONCE
        for port in (123, 4433, 5353):
            assert place.agent.udp(there, port, user=AGENT) not in ("x", "stub x")
        for protocol in ("IPPROTO_ICMPV6" if six else "IPPROTO_ICMP", "IPPROTO_UDP", "253"):
            raw = f"socket.socket(socket.{'AF_INET6' if six else 'AF_INET'}, socket.SOCK_RAW, socket.{protocol})"
            place.agent.python(f"{raw.replace('socket.253', '253')}.sendto({ECHO[six]!r}, ({there!r}, 0))", user=0)
        place.ring()
        assert seen.until(BELL) == []


def test_before_the_rules_and_after_them_everything_gets_out(place: Place) -> None:
    place.remove()
    place.remove()
    for there in MEANT.values():
        assert place.agent.tcp(there, 443, user=AGENT) == "reached"
    place.apply()
    place.apply()
    assert place.agent.tcp("10.77.2.2", 443, user=AGENT) == "led 10.77.2.2 443"


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "fe80::1%net1"])
def test_metadata_and_link_local_addresses_are_dropped_not_led(place: Place, address: str) -> None:
    assert "led" not in place.agent.tcp(address, 80, user=AGENT)


@GATEWAYS
def test_no_port_of_the_gateway_is_reached_but_the_explicit_one(place: Place) -> None:
    for own in ("10.77.1.2", "fd77:1::2"):
        assert place.agent.tcp(own, EXPLICIT, user=AGENT) == "reached"
        assert place.agent.tcp(own, REDIS, user=AGENT) == f"led {own} {REDIS}"
        assert "led" not in place.agent.tcp(own, LISTEN, user=AGENT)
        assert "stub" not in place.agent.udp(own, DNS, user=AGENT)
    for other in ("10.77.2.1", "fd77:2::1"):
        assert place.agent.tcp(other, REDIS, user=AGENT) == f"led {other} {REDIS}"


@GATEWAYS
def test_nobody_but_the_proxy_gets_out_of_a_gateway(place: Place) -> None:
    place.apply()
    for user in (STORE, AGENT, 0):
        assert "reached" not in place.gate.tcp("10.77.2.2", 443, user=user)
    place.ring()


@GATEWAYS
def test_without_forwarding_it_is_the_same(place: Place) -> None:
    place.gate.set(FORWARDING[0], 0)
    try:
        assert place.agent.tcp("10.77.2.2", 443, user=AGENT) == "led 10.77.2.2 443"
        assert place.agent.udp("10.77.2.2", 443, user=AGENT) == "ConnectionRefusedError 111"
    finally:
        place.gate.set(FORWARDING[0], 1)


@SIDECARS
def test_beside_a_sidecar_only_what_may_be_reached_answers(place: Place) -> None:
    for own in ("127.0.0.1", "::1", "10.77.2.1"):
        assert place.agent.tcp(own, EXPLICIT, user=AGENT) == "reached"
        for port in (REDIS, LISTEN, DNS, 8090):
            assert place.agent.tcp(own, port, user=AGENT).split()[0] not in ("reached", "led")
        assert place.agent.tcp(own, 3000, user=AGENT).startswith("led")  # a program of the agent's own
        assert place.agent.tcp(own, 8090, user=PROXY) == "reached"
        assert place.agent.udp(own, 53, user=AGENT) == "stub x"


@SIDECARS
def test_from_outside_only_the_ports_that_were_named_are_reached(place: Place) -> None:
    place.apply()
    assert place.world.tcp("10.77.2.1", 3000, user=0).startswith("led")
    assert place.world.tcp("10.77.2.1", EXPLICIT, user=0) == "reached"
    for port in (LISTEN, DNS, REDIS, 8090):
        assert "TimeoutError" in place.world.tcp("10.77.2.1", port, user=0)


def test_the_page_shows_what_works(tmp_path: Path) -> None:
    shown = re.findall(r"^    intent-proxy (transparent .*)$", (ROOT / "docs" / "rules.md").read_text("utf-8"), re.M)
    assert shown
    with walled() as town:
        host = town.host("gate")
        for words in shown:
            printed = host.must(sys.executable, "-m", "proxy.cli.main", *words.split())
            (tmp_path / "rules.nft").write_text(printed)
            host.must("nft", "-f", tmp_path / "rules.nft")
        listed = host.must("nft", "list", "table", "inet", "intent_proxy")
        assert 'iifname { "eth1" } jump' in listed or 'iifname "eth1" jump' in listed


@pytest.mark.parametrize("words", [("apply", "sidecar", "--uid", "10001"), ("remove", "gateway")])
@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)
def test_who_may_not_set_them_is_told_what_is_missing(words: tuple[str, ...], tool: tuple[str, ...]) -> None:
    with walled() as town:
        host = town.host("pod")
        done = host.run(
            "setpriv", "--bounding-set=-all", sys.executable, "-m", "proxy.cli.main", "transparent", *words, *tool
        )
    assert done.returncode == 1
    assert "CAP_NET_ADMIN" in done.stderr and "Traceback" not in done.stderr


@SIDECARS
def test_when_the_proxy_is_gone_there_is_no_network_not_an_open_one(place: Place) -> None:
    place.apply()
    with walled() as town:
        pod, world = town.host("pod"), town.host("world")
        town.wire(pod, world, 2)
        pod.must("ip", "route", "replace", "default", "via", "10.77.2.2")
        world.stand(4444, 0, 443, BELL, user=0)
        alone = Place(agent=pod, gate=pod, world=world, kind=("sidecar",), tool=place.tool)
        alone.apply()
        proxy = pod.stand(LISTEN, DNS, user=PROXY, at="lo")
        with world.watch() as seen:
            assert pod.tcp("10.77.2.2", 443, user=AGENT) == "led 10.77.2.2 443"
            proxy.kill()
            proxy.wait()
            assert pod.tcp("10.77.2.2", 443, user=AGENT) == "ConnectionRefusedError 111"
            alone.ring()
            assert seen.until(BELL) == []
        pod.stand(LISTEN, DNS, user=PROXY, at="lo")
        assert pod.tcp("10.77.2.2", 443, user=AGENT) == "led 10.77.2.2 443"
