"""The Compose files as they are committed: an agent that strays, where there is no way but the proxy.

With proxy settings, in a network that leads to the proxy alone; and without any, behind packet rules. What
docs/containers.md shows of them is what is run here.
"""

import re
import shlex
from collections.abc import Iterator

import pytest
from containers import DOWN, IMAGE, UP, Composed, command, composed, inspected, podman, run
from houses import ROOT
from nodes import wait_for

pytestmark = pytest.mark.system

PARTS = ("store", "proxy", "desk", "agent", "erp")
REACH = """
import socket, sys, urllib.request
socket.setdefaulttimeout(2)
for host, port in zip(sys.argv[1::2], map(int, sys.argv[2::2])):
    try:
        with socket.create_connection((host, port)) as wire:
            wire.sendall(b"PING\\r\\n")
            print(host, port, "answers" if wire.recv(9) else "no")
    except OSError as fault:
        print(host, port, "no")
"""
ASK = """
import urllib.request
try:
    print(urllib.request.urlopen("https://erp.example:8443/v1/invoices/18", timeout=5).status)
except OSError as fault:
    print("no network:", fault)
"""


PAGE = (ROOT / "docs" / "containers.md").read_text()
SHOWN = [shlex.split(line)[2:] for line in re.findall(r"^\$ (docker compose .*)$", PAGE, re.MULTILINE)]
TOLD = [words[2:] for words in SHOWN if words[1].endswith("explicit.yaml")]
"""The story, as the page tells it: up, and what one asks, and down."""


def test_the_page_begins_and_ends_what_it_shows() -> None:
    assert [words[2:] for words in SHOWN if words[1].endswith("transparent.yaml")] == [TOLD[0], TOLD[-1]]
    assert (TOLD[0], TOLD[-1]) == (UP, DOWN)


@pytest.fixture(scope="module", params=["explicit.yaml", "transparent.yaml"])
def it(request: pytest.FixtureRequest) -> Iterator[Composed]:
    with composed(request.param) as running:
        yield running


def line(it: Composed, service: str, text: str) -> str:
    """The first line of a log that has this text, as soon as it is there."""

    def look() -> str | None:
        return next((each for each in it.log(service).splitlines() if text in each), None)

    return wait_for(look, f"{text!r} of {service}", within_s=90)


def asked(it: Composed) -> list[str]:
    return [each for each in it.log("erp").splitlines() if each.startswith("asked")]


def as_agent(it: Composed, text: str, *words: str) -> str:
    """What a few lines of Python print where the agent is, as its user, without its gate."""
    transparent = it.file.name == "transparent.yaml"
    place = f"container:{it.name('place')}" if transparent else f"{it.project}_agents"
    user = "20001:20001" if transparent else "10001:10001"
    papers = ("-v", f"{it.project}_papers:/srv/papers:ro", "-e", "SSL_CERT_FILE=/srv/papers/ca.pem")
    start = ("--cap-drop", "ALL", "--user", user, "--network", place, *papers, "--entrypoint", "python3", IMAGE)
    return run(*start, "-c", text, *words).stdout


def test_the_agent_strays_is_held_and_released_and_passes_once(it: Composed) -> None:
    assert line(it, "agent", "gate:") == "gate: there is no way out but the proxy"
    assert "200" in line(it, "agent", "invoice 17:")
    hold = line(it, "agent", "waits for a person").split()[-1]
    assert asked(it) == ["asked erp.example:8443 GET /v1/invoices/17"]
    printed = {}
    for words in TOLD[1:-1]:
        printed[words[-1]] = it.compose(*(hold if word == "HOLD" else word for word in words))
    assert hold in printed["agent"] and hold in printed["list"].replace("\n", "").replace(" ", "")
    assert "released by maria" in printed["the yearly report"]
    assert "200" in line(it, "agent", "payroll again:")
    assert "403" in line(it, "agent", "and once more:")
    assert asked(it) == [f"asked erp.example:8443 GET /v1/{path}" for path in ("invoices/17", "payroll/maria")]
    assert it.compose(*TOLD[-2]).startswith("whole: ")


def test_proxy_and_desk_are_healthy(it: Composed) -> None:
    it.inside("proxy", "intent-proxy", "health")
    wait_for(lambda: it.inside("desk", "intent-proxy", "health", "--desk", check=False).returncode == 0, "the desk")


def test_where_the_agent_is_nothing_else_answers(it: Composed) -> None:
    targets: list[str] = []
    for name, port in (("erp", "8443"), ("store", "6379"), ("desk", "8090")):
        networks = inspected(it.name(name))["NetworkSettings"]["Networks"]
        for each in networks.values():
            targets += [str(each["IPAddress"]), port]
    before = asked(it)
    told = as_agent(it, REACH, *targets).splitlines()
    assert {each.split()[-1] for each in told} == {"no"} and len(told) == len(targets) / 2, told
    assert asked(it) == before


@pytest.mark.parametrize("service", PARTS)
def test_every_part_has_a_root_it_cannot_write_no_privilege_and_its_limits(it: Composed, service: str) -> None:
    found = inspected(it.name(service))
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["EffectiveCaps"] in (None, [])
    assert "no-new-privileges" in str(found["HostConfig"]["SecurityOpt"])
    limits = (2 * 1024**3, 2048) if service == "proxy" else (512 * 1024**2, 256)
    assert (found["HostConfig"]["Memory"], found["HostConfig"]["PidsLimit"]) == limits
    alone = service == "agent" and it.file.name == "transparent.yaml"
    assert found["Config"]["User"] == ("20001:20001" if alone else "10001:10001")


def test_the_keys_of_people_are_in_no_part_that_runs(it: Composed) -> None:
    mounted = {
        name: {each.get("Name", "").removeprefix(f"{it.project}_") for each in inspected(it.name(name))["Mounts"]}
        for name in PARTS
    }
    assert {name for name, volumes in mounted.items() if "people" in volumes} == set()
    assert mounted["agent"] - {""} == {"papers"}
    assert podman("volume", "ls", "-q").count(f"{it.project}_people") == 1


def test_without_the_proxy_there_is_no_network_and_with_it_again_there_is(it: Composed) -> None:
    proxy = it.name("proxy")
    podman("kill", proxy)
    before = asked(it)
    assert as_agent(it, ASK).startswith("no network:")
    assert asked(it) == before
    podman("start", proxy)
    healthy = ("podman", "exec", proxy, "intent-proxy", "health")
    wait_for(lambda: command(*healthy, check=False).returncode == 0, "the proxy", within_s=60)
    if it.file.name == "transparent.yaml":
        assert as_agent(it, ASK) == "200\n"
    else:  # it names no proxy: that is no way out, ever
        assert as_agent(it, ASK).startswith("no network:")
