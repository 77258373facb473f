"""`doctor --from-agent` in an agent's place: an open one, where it finds every hole, and its twin that is closed."""

import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

import pytest
from bare import NONE, bare
from cordons import AGENT, BELL, DESK, EXPLICIT, PROXY, REDIS, Cordon, cordon
from nodes import wait_for
from walled import Host, Town, apply, walled

pytestmark = pytest.mark.system

FAR = {4: "10.77.4.2", 6: "fd77:4::2"}  # behind two routers: what answers there is no neighbour
PORTS = (443, 80, 22, 25, 5432, 6379, 8080, 853)
OUTSIDE = ("--outside", f"{FAR[4]}:443", "--outside", f"[{FAR[6]}]:443", "--question", "erp.example")

FARS: dict[str, Host] = {}

type Rows = dict[str, dict[str, object]]


def far_host(town: Town, world: Host) -> Host:
    """Somebody outside who answers at every port, behind a router that passes everything on."""
    far = town.host("zfar")
    town.wire(world, far, 4)
    far.reach(world, 4)
    for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        world.set(switch, 1)
    far.stand(4444, 53, *PORTS, BELL, user=0)
    return far


def look(
    host: Host, *words: str, user: int = AGENT, resolver: str = "10.77.2.2", privileges: str = NONE, **variables: object
) -> Rows:
    """The doctor's rows by name; its exit code must fit them, and it must end in time."""
    command = bare(
        user,
        *(sys.executable, "-m", "proxy.agent.doctor", "--from-agent", "--json", *words),
        resolver=resolver,
        privileges=privileges,
        **variables,
    )
    done = host.run(*command)
    assert done.stderr == ""
    told = json.loads(done.stdout)
    rows = {each["name"]: each for each in told["findings"]}
    bad = {name for name, each in rows.items() if each["state"] in ("fail", "unknown")}
    assert done.returncode == (1 if bad else 0) and told["ok"] is not bool(bad)
    assert all(rows[name]["mend"] for name in bad)
    return rows


def states(rows: Rows, state: str) -> set[str]:
    return {name for name, each in rows.items() if each["state"] == state}


def wrong(rows: Rows) -> dict[str, list[object]]:
    return {name: [each["text"], *each["lines"]] for name, each in rows.items() if each["state"] in ("fail", "unknown")}


# --- behind the rules -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["gateway", "sidecar"])
def place(request: pytest.FixtureRequest) -> Iterator[Cordon]:
    with cordon(request.param) as it:
        FARS[request.param] = far_host(it.town, it.world)
        it.register()
        ca_of(it).write_bytes(it.ca.read_bytes())
        yield it


def ca_of(place: Cordon) -> Path:
    """The proxy's CA, where agents are given it."""
    return place.house.folder.parent / "given-ca.pem"


def parts(place: Cordon) -> list[str]:
    words = ["--ca", str(ca_of(place)), *OUTSIDE]
    for family, own in place.own.items():
        shown = f"[{own}]" if family == 6 else own
        words += ["--store", f"{shown}:{REDIS}", "--desk", f"{shown}:{DESK}"]
    return words


def test_a_closed_place_passes_and_nothing_gets_out(place: Cordon) -> None:
    since = len(place.codes())
    with FARS[place.kind].watch() as seen:
        rows = look(place.agent, *parts(place), resolver="9.9.9.9")
        assert place.gate.tcp(FAR[4], BELL, user=PROXY) == "reached"
        assert seen.until(BELL) == []
    assert wrong(rows) == {}
    assert {"TCP, IPv4", "TCP, IPv6", "UDP", "DNS", "DNS, other servers", "metadata", "ICMP", "store", "desk"} <= {
        *rows
    }
    assert "caught" in str(rows["TCP, IPv4"]["text"]) and "caught" in str(rows["TCP, IPv6"]["text"])
    assert "refused" in str(rows["TLS"]["text"])
    assert "metadata.goog" not in place.resolver.asked and "intent-doctor.erp.example" not in place.resolver.asked
    assert place.house.journal("hold") == []
    place.journaled("transparent.literal", since)


def test_it_also_asks_a_proxy_that_agents_know_of(place: Cordon) -> None:
    proxy = f"http://{place.own[4]}:{EXPLICIT}"
    rows = look(place.agent, *parts(place), "--proxy", proxy, resolver="9.9.9.9")
    assert rows["proxy"]["state"] == "ok" and rows["refusal: explicit"]["state"] == "ok"
    assert rows["CA, --ca"]["state"] in ("ok", "unknown")


def test_a_ca_that_is_not_the_proxys_is_found(place: Cordon) -> None:
    rows = look(place.agent, *OUTSIDE, resolver="9.9.9.9")
    assert "TLS" in states(rows, "fail")
    assert "ca export" in str(rows["TLS"]["mend"])


def test_who_is_the_proxys_user_is_told_so(place: Cordon) -> None:
    rows = look(place.agent, *parts(place), "--proxy-uid", str(PROXY), user=PROXY, resolver="9.9.9.9")
    assert "uid" in states(rows, "fail")


def test_beside_its_proxy_it_sees_whose_the_proxy_is(place: Cordon) -> None:
    rows = look(place.agent, *parts(place), resolver="9.9.9.9")
    assert (str(PROXY) in str(rows["uid"]["text"])) is (place.kind == "sidecar")


# --- in the open ------------------------------------------------------------------------------------------------------


@contextmanager
def open_place() -> Iterator[tuple[Host, Host, Host]]:
    """An agent, the router of its network, and a host behind that; nothing is closed."""
    with walled() as town:
        agent, router = town.host("agent"), town.host("router")
        town.wire(agent, router, 1)
        agent.reach(router, 1)
        far = far_host(town, router)
        for there in FAR.values():
            wait_for(lambda there=there: agent.tcp(there, 443, user=AGENT) == "reached", there)  # type: ignore[misc]
        yield agent, router, far


HOLES = {"TCP, IPv4", "TCP, IPv6", "UDP", "DNS", "DNS, other servers", "DNS over HTTPS and TLS", "ICMP", "refusal"}
HOLES |= {"metadata", "store", "desk", "listener"}


@pytest.fixture(scope="module")
def hollow() -> Iterator[tuple[Host, Host]]:
    """An open place with everything in it that must not be reached."""
    with open_place() as (agent, router, far):
        agent.set("ipv4/ping_group_range", "0 2147483647")
        router.must("ip", "addr", "add", "169.254.169.254/32", "dev", "lo")
        router.stand(8444, 0, 80, 6379, 8090, user=0)
        far.must("ip", "addr", "add", "9.9.9.9/32", "dev", "lo")
        router.must("ip", "route", "add", "9.9.9.9/32", "via", "10.77.4.2")
        yield agent, far


def test_an_open_place_has_every_hole_and_each_is_named(hollow: tuple[Host, Host]) -> None:
    agent, _ = hollow
    agent.must("nft", "table inet wall {}; delete table inet wall")
    words = (*OUTSIDE, "--store", "10.77.1.2:6379", "--desk", "[fd77:1::2]:8090")
    rows = look(agent, *words, resolver=FAR[4])
    assert states(rows, "fail") == HOLES
    assert "somebody else is there" in str(rows["TCP, IPv4"]["text"])
    assert {"uid", "capabilities", "raw sockets", "container runtime"} == states(rows, "ok")


@pytest.mark.parametrize(
    ("opened", "row"),
    [
        pytest.param("ip daddr 10.77.4.2 tcp dport 22", "TCP, IPv4", id="one port of IPv4"),
        pytest.param("ip6 daddr fd77:4::2 tcp dport 8080", "TCP, IPv6", id="one port of IPv6"),
        pytest.param("ip daddr 10.77.4.2 udp dport 123", "UDP", id="a datagram"),
        pytest.param("ip6 daddr fd77:4::2 udp dport 443", "UDP", id="a datagram of IPv6"),
        pytest.param("ip daddr 10.77.4.2 udp dport 53", "DNS, other servers", id="a name server"),
        pytest.param("ip daddr 10.77.4.2 tcp dport 53", "DNS, other servers", id="a name server over TCP"),
        pytest.param("ip daddr 10.77.4.2 icmp type echo-request", "ICMP", id="a ping"),
        pytest.param("ip daddr 169.254.169.254 tcp dport 80", "metadata", id="metadata"),
        pytest.param("ip daddr 10.77.1.2 tcp dport 6379", "store", id="the store"),
        pytest.param("ip6 daddr fd77:1::2 tcp dport 8090", "desk", id="the desk"),
        pytest.param("ip daddr 10.77.1.2 tcp dport 8444", "listener", id="the listener"),
        pytest.param("ip daddr 9.9.9.9 tcp dport 853", "DNS over HTTPS and TLS", id="a resolver over TLS"),
    ],
)
def test_a_single_hole_is_found(hollow: tuple[Host, Host], opened: str, row: str) -> None:
    agent, _ = hollow
    rules = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; oif lo accept"
    table = f"table inet wall {{ chain out {{ type filter hook output priority 0; policy drop; {rules}; "
    agent.must("nft", f"table inet wall {{}}; delete table inet wall; {table}}}; }}")
    words = (*OUTSIDE, "--store", "10.77.1.2:6379", "--desk", "[fd77:1::2]:8090")
    assert set(wrong(look(agent, *words, resolver="10.77.9.9"))) == {"refusal"}
    agent.must("nft", f"delete table inet wall; {table}{opened} accept; }}; }}")
    assert set(wrong(look(agent, *words, resolver="10.77.9.9"))) == {"refusal", row}


@pytest.mark.parametrize(
    ("user", "privileges", "rows"),
    [
        pytest.param(0, "", {"capabilities", "raw sockets", "uid"}, id="root with all of them"),
        pytest.param(AGENT, "--inh-caps=-all", {"capabilities"}, id="none held, but to be gained"),
        pytest.param(
            AGENT, "--inh-caps=+net_raw --ambient-caps=+net_raw", {"capabilities", "raw sockets"}, id="CAP_NET_RAW"
        ),
        pytest.param(0, NONE, {"uid"}, id="root without any"),
        pytest.param(AGENT, "--inh-caps=-all --no-new-privs", set(), id="none held and none to be gained"),
    ],
)
def test_what_a_process_may_do(user: int, privileges: str, rows: set[str]) -> None:
    with walled() as town:
        found = look(town.host("agent"), user=user, privileges=privileges)
        assert states(found, "fail") - {"refusal"} == rows
        if "raw sockets" in rows:
            assert "CAP_NET_RAW" in str(found["capabilities"]["text"])


def test_rules_without_a_proxy_behind_them_are_closed_but_no_refusal_is_seen() -> None:
    with open_place() as (agent, router, far):
        apply(router, "gateway", "--uid", str(PROXY), "--from", "net1")
        with far.watch() as seen:
            rows = look(agent, *OUTSIDE, resolver="9.9.9.9")
            assert router.tcp(FAR[4], BELL, user=PROXY) == "reached"
            assert seen.until(BELL) == []
        assert set(wrong(rows)) == {"refusal"}


@contextmanager
def mute(host: Host, port: int) -> Iterator[None]:
    """Somebody who accepts and closes."""

    def run() -> None:
        with suppress(OSError):
            while True:
                sock.accept()[0].close()

    sock = host.inside(lambda: socket.create_server(("", port)))
    threading.Thread(target=run, daemon=True).start()
    try:
        yield
    finally:
        sock.shutdown(socket.SHUT_RDWR)
        sock.close()


def test_what_a_stranger_accepts_or_refuses_and_says_nothing_to_is_no_proof() -> None:
    """The packets got out: only nobody said so. Its twin is above: a proxy at the next hop does the same."""
    with walled() as town:
        agent, router, far = town.host("agent"), town.host("router"), town.host("zfar")
        town.wire(agent, router, 1)
        town.wire(router, far, 4)
        agent.reach(router, 1)
        far.reach(router, 4)
        router.set("ipv4/ip_forward", 1)
        with mute(far, 22):
            rows = look(agent, "--outside", f"{FAR[4]}:443")
            assert "TCP, IPv4" in states(rows, "unknown")
            told = " ".join(map(str, wrong(rows)["TCP, IPv4"]))
            assert f"{FAR[4]}:22 accepts, and closes" in told and f"{FAR[4]}:80 is refused, perhaps" in told


def test_where_everything_is_accepted_and_nothing_answers_it_ends_in_time_and_passes_nothing() -> None:
    with walled() as town:
        agent, router = town.host("agent"), town.host("router")
        town.wire(agent, router, 1)
        agent.reach(router, 1)
        lead = "type nat hook prerouting priority dstnat; meta l4proto tcp redirect to :4445"
        router.must("nft", f"table inet tar {{ chain pit {{ {lead}; }}; }}")
        with router.inside(lambda: socket.create_server(("", 4445), backlog=500)):  # the kernel accepts by itself
            began = monotonic()
            rows = look(agent, "--timeout", "30", "--proxy", "http://10.77.1.2:8080", resolver="10.77.1.2")
            assert monotonic() - began < 10 + 2  # the interpreter has to start and to end
    assert {"proxy", "refusal", "TCP, IPv4", "metadata"} <= states(rows, "unknown")
