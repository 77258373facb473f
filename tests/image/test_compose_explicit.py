"""config/compose/explicit.yaml as it is committed: an agent that strays, in a network that leads to the proxy alone."""

import json
from collections.abc import Iterator

import pytest
from containers import IMAGE, Composed, composed, inspected, podman, run
from nodes import wait_for

pytestmark = pytest.mark.system

PARTS = ("store", "proxy", "desk", "agent", "erp")


@pytest.fixture(scope="module")
def it() -> Iterator[Composed]:
    with composed("explicit.yaml") as running:
        yield running


def line(it: Composed, service: str, text: str) -> str:
    """The first line of a log that has this text, as soon as it is there."""

    def look() -> str | None:
        return next((each for each in it.log(service).splitlines() if text in each), None)

    return wait_for(look, f"{text!r} of {service}", within_s=90)


def asked(it: Composed) -> list[str]:
    return [each for each in it.log("erp").splitlines() if each.startswith("asked")]


def test_the_agent_strays_is_held_and_released_and_passes_once(it: Composed) -> None:
    assert "200" in line(it, "agent", "invoice 17:")
    hold = line(it, "agent", "waits for a person").split()[-1]
    assert asked(it) == ["asked erp.example:8443 GET /v1/invoices/17"]
    listed = json.loads(it.once("reviewer", "holds", "list", "--json"))
    assert [(each["id"], each["state"]) for each in listed] == [(hold, "held")]
    it.once("reviewer", "holds", "release", hold, "--as", "maria", "--reason", "the yearly report")
    assert "200" in line(it, "agent", "payroll again:")
    assert "403" in line(it, "agent", "and once more:")
    assert asked(it) == [f"asked erp.example:8443 GET /v1/{path}" for path in ("invoices/17", "payroll/maria")]
    assert it.once("reviewer", "audit", "verify").startswith("whole: ")


def test_proxy_and_desk_are_healthy(it: Composed) -> None:
    it.inside("proxy", "intent-proxy", "health")
    wait_for(lambda: it.inside("desk", "intent-proxy", "health", "--desk", check=False).returncode == 0, "the desk")


def test_from_the_agents_network_there_is_no_way_but_the_proxy(it: Composed) -> None:
    reach = """
import socket, sys
socket.setdefaulttimeout(2)
for host, port in zip(sys.argv[1::2], map(int, sys.argv[2::2])):
    try:
        socket.create_connection((host, port)).close()
        print(host, port, "reached")
    except OSError as fault:
        print(host, port, "no")
"""
    at = {name: _address(it, name) for name in ("erp", "store", "desk")}
    targets = [at["erp"], "8443", at["store"], "6379", at["desk"], "8090", "erp.example", "8443", "proxy", "8443"]
    network = f"{it.project}_agents"
    done = run("--cap-drop", "ALL", "--network", network, "--entrypoint", "python3", IMAGE, "-c", reach, *targets)
    told = [each.split()[-1] for each in done.stdout.splitlines()]
    assert told == ["no", "no", "no", "no", "reached"], done.stdout


def _address(it: Composed, service: str) -> str:
    networks = inspected(it.name(service))["NetworkSettings"]["Networks"]
    return str(next(iter(networks.values()))["IPAddress"])


@pytest.mark.parametrize("service", PARTS)
def test_every_part_has_a_root_it_cannot_write_and_no_privilege(it: Composed, service: str) -> None:
    found = inspected(it.name(service))
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["EffectiveCaps"] in (None, [])
    assert "no-new-privileges" in str(found["HostConfig"]["SecurityOpt"])
    assert found["Config"]["User"] == "10001:10001"


def test_the_keys_of_people_are_in_no_part_that_agents_reach(it: Composed) -> None:
    mounted = {
        name: {each.get("Name", "").removeprefix(f"{it.project}_") for each in inspected(it.name(name))["Mounts"]}
        for name in PARTS
    }
    assert {name for name, volumes in mounted.items() if "people" in volumes} == set()
    assert mounted["agent"] - {""} == {"papers"}
    assert podman("volume", "ls", "-q").count(f"{it.project}_people") == 1
