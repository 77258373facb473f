"""The doctor in an agent's place, a network namespace of its own: it finds each planted fault, and names its mend.

From a place that leads to the proxy alone, it reports no way around.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certs
import faketimes
import identities
import pytest
from enclosure import Enclosure, enclosure
from houses import ROOT
from nodes import wait_for
from towns import Town, open_town

from proxy.agent.keyfile import save_key
from proxy.agent.session import open_session
from proxy.agent.signer import Signer
from proxy.core.control import Act

pytestmark = pytest.mark.system

PORT = 8080
FOUR, SIX = "192.0.2.53", "2001:db8::53"


@dataclass(kw_only=True)
class Agent:
    """Where an agent runs, with its papers. Everything is well until something is planted."""

    town: Town
    place: Enclosure
    folder: Path

    def __post_init__(self) -> None:
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(ROOT)}
        self.proxy = f"http://127.0.0.1:{PORT}"
        self.wrapped: tuple[str, ...] = ()
        self.sign()
        save_key(self.key, identities.key(identities.AGENT))

    @property
    def key(self) -> Path:
        return self.folder / "agent.pem"

    @property
    def manifest(self) -> Path:
        return self.folder / "agent.jws"

    def sign(self, **changes: object) -> None:
        self.manifest.write_text(self.town.house.root(**changes))

    def ask(self, *more: str) -> dict[str, dict[str, object]]:
        """The doctor's findings by name; the exit code must fit them."""
        command = [
            *self.wrapped,
            sys.executable,
            "-m",
            "proxy.agent.doctor",
            "--json",
            "--timeout",
            "1",
            "--address",
            FOUR,
        ]
        command += ["--address", SIX, "--resolver", FOUR, "--manifest", str(self.manifest), "--key", str(self.key)]
        command += ["--ca", str(self.town.house.ca), *(["--proxy", self.proxy] if self.proxy else []), *more]
        done = self.place.run(command, environment=self.environment, cwd=self.folder)
        assert done.stderr == "", done.stderr
        told = json.loads(done.stdout)
        assert done.returncode == (0 if told["ok"] else 1)
        return {each["name"]: each for each in told["findings"]}


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with open_town(tmp_path_factory.mktemp("doctor"), workers=1) as running:
        yield running


@pytest.fixture
def agent(town: Town, tmp_path: Path) -> Iterator[Agent]:
    with enclosure() as place:
        place.door(PORT, town.house.address)
        yield Agent(town=town, place=place, folder=tmp_path)


def failing(findings: dict[str, dict[str, object]]) -> dict[str, str]:
    """What fails, each with its mend."""
    return {name: str(each["mend"]) for name, each in findings.items() if each["state"] == "fail"}


def test_from_a_well_closed_place_all_is_well_and_there_is_no_way_around(agent: Agent) -> None:
    findings = agent.ask()
    assert failing(findings) == {}
    around = {name: each["text"] for name, each in findings.items() if name.startswith("around")}
    assert set(around.values()) == {"no way"}
    assert len(around) == 7
    mandate = findings["mandate"]
    assert f"You are {identities.AGENT}." in str(mandate["text"])
    assert any("GET /v1/invoices/{id}" in line for line in mandate["lines"])  # type: ignore[union-attr]


def test_a_network_that_swallows_everything_is_closed_too(agent: Agent) -> None:
    for words in ("route add default dev lo", "-6 route add default dev lo"):  # nobody there, and no error either
        agent.place.ip(*words.split())
    assert failing(agent.ask()) == {}


@pytest.mark.parametrize(
    ("address", "ways", "found"),
    [
        pytest.param(FOUR, {"tcp"}, {"around: IPv4, TCP 443"}, id="IPv4"),
        pytest.param(SIX, {"tcp"}, {"around: IPv6, TCP 443"}, id="IPv6"),
        pytest.param(FOUR, {"udp"}, {"around: UDP 443"}, id="QUIC over IPv4"),
        pytest.param(SIX, {"udp"}, {"around: UDP 443"}, id="QUIC over IPv6"),
        pytest.param(FOUR, {"dns"}, {"around: DNS"}, id="a name server"),
        pytest.param(FOUR, {"dns over tcp"}, {"around: TCP 22, 53, 80, 853"}, id="DNS over TCP"),
        pytest.param(FOUR, {"http"}, {"around: TCP 22, 53, 80, 853"}, id="web pages without TLS"),
        pytest.param("169.254.169.254", {"http"}, {"around: metadata"}, id="the metadata service"),
        pytest.param(FOUR, set(), set(), id="nothing but pings"),
    ],
)
def test_every_way_around_is_found(agent: Agent, address: str, ways: set[str], found: set[str]) -> None:
    agent.place.give(address, ways)
    mends = failing(agent.ask())
    assert mends.keys() == found | ({"around: ICMP"} if address in (FOUR, SIX) else set())
    assert all("docs/doctor.md" in mend for mend in mends.values())


def test_who_may_send_no_ping_is_told_of_every_other_way(agent: Agent) -> None:
    agent.place.give(FOUR, {"tcp"})
    agent.wrapped = ("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw")
    findings = agent.ask()
    assert list(failing(findings)) == ["around: IPv4, TCP 443"]
    assert findings["around: ICMP"]["text"] == "no way"


# --- planted faults ---------------------------------------------------------------------------------------------------


def no_proxy(agent: Agent) -> None:
    agent.proxy = f"http://127.0.0.1:{PORT + 1}"


def another_server(agent: Agent) -> None:
    agent.place.door(PORT + 2, (agent.town.plain.host, agent.town.plain.port))
    agent.proxy = f"http://127.0.0.1:{PORT + 2}"


def variables_around(agent: Agent) -> None:
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), agent.proxy)
    agent.environment |= proxies | {"NO_PROXY": "localhost,127.0.0.1,erp.example"}


def variables_elsewhere(agent: Agent) -> None:
    agent.environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:3128")


def anothers_ca(agent: Agent) -> None:
    agent.environment["REQUESTS_CA_BUNDLE"] = str(certs.Authority().write(agent.folder))


def expired(agent: Agent) -> None:
    issued = datetime.now(UTC) - timedelta(days=2)
    agent.sign(iat=issued, nbf=issued, exp=issued + timedelta(days=1))


def of_another_deployment(agent: Agent) -> None:
    agent.sign(deployment="another")


def damaged(agent: Agent) -> None:
    agent.manifest.write_text(agent.manifest.read_text()[:-40])


def anothers_key(agent: Agent) -> None:
    agent.key.unlink()
    save_key(agent.key, identities.key("somebody"))


def open_key(agent: Agent) -> None:
    agent.key.chmod(0o644)


def quarantined(agent: Agent) -> None:
    agent.town.house.stop_by(Act.QUARANTINE, identities.AGENT)


@pytest.mark.parametrize(
    ("plant", "name", "mend"),
    [
        pytest.param(no_proxy, "proxy", "start it (intent-proxy run)", id="nothing listens there"),
        pytest.param(another_server, "proxy", "give the address of intent-proxy", id="another server listens there"),
        pytest.param(variables_around, "variables", "unset NO_PROXY", id="a variable leads around the proxy"),
        pytest.param(
            variables_elsewhere, "variables", "export HTTPS_PROXY=http://127.0.0.1:8080", id="it leads elsewhere"
        ),
        pytest.param(anothers_ca, "CA, REQUESTS_CA_BUNDLE", "intent-proxy ca export", id="another CA is trusted"),
        pytest.param(expired, "manifest", "manifest renew --agent invoice-bot", id="the manifest has ended"),
        pytest.param(of_another_deployment, "manifest", "use the manifest of this deployment", id="it is for another"),
        pytest.param(damaged, "manifest", "take the file as `intent-proxy manifest sign` wrote it", id="it is damaged"),
        pytest.param(anothers_key, "key", "use the key that the manifest was made for", id="the key is another's"),
        pytest.param(open_key, "key", "chmod 600", id="everybody may read the key"),
        pytest.param(quarantined, "mandate", "intent-proxy agents restore", id="the agent is quarantined"),
    ],
)
def test_a_planted_fault_is_found_with_its_mend(
    agent: Agent, plant: Callable[[Agent], None], name: str, mend: str
) -> None:
    """The twin of them all is the place in which nothing was planted, above."""
    plant(agent)
    try:
        found = failing(agent.ask("--no-around"))
        assert list(found) == [name], "it, and nothing else"
        assert mend in found[name]
    finally:
        if plant is quarantined:
            agent.town.house.stop_by(Act.RESTORE, identities.AGENT)
            url = agent.town.url("plain", "/v1/invoices/17")
            wait_for(lambda: agent.town.house.call("GET", url).status == 200, "the agent goes on")


@pytest.mark.parametrize(
    ("by", "told"),
    [
        pytest.param("+1h", "3600 s ahead of", id="an hour ahead"),
        pytest.param("-90s", "90 s behind", id="a minute and a half behind"),
    ],
)
def test_a_wrong_clock_is_found_with_its_mend(agent: Agent, by: str, told: str) -> None:
    agent.environment |= {
        "LD_PRELOAD": str(faketimes.library()),
        "FAKETIME": by,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    found = agent.ask("--no-around")["clock"]
    assert found["state"] == "fail"
    assert told in str(found["text"])
    assert "NTP" in str(found["mend"])


def test_a_session_in_the_variables_is_all_it_needs(agent: Agent) -> None:
    signer = Signer(agent.manifest, agent.key)
    host, port = agent.town.house.address
    session = open_session(f"http://{host}:{port}", signer).proxy_url.replace(f":{port}", f":{PORT}")
    agent.environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), session)
    agent.environment["SSL_CERT_FILE"] = str(agent.town.house.ca)
    command = [sys.executable, "-m", "proxy.agent.doctor", "--no-around", "--timeout", "2"]
    done = agent.place.run(command, environment=agent.environment, cwd=agent.folder)
    assert done.returncode == 0, done.stdout
    assert f"You are {identities.AGENT}." in done.stdout
    assert "CA, SSL_CERT_FILE" in done.stdout
    assert session.rpartition(":")[0].rpartition(":")[2].partition("@")[0] not in done.stdout, "no secret is printed"


@pytest.mark.parametrize("signs", [(), ("--sign-requests",)], ids=["tunnels", "requests"])
def test_behind_exec_it_needs_nothing_and_finds_nothing(agent: Agent, signs: tuple[str, ...]) -> None:
    """The proxy of its variables is the sidecar, and the CA the one that exec gives."""
    program = [sys.executable, "-m", "proxy.cli.main"]
    command = [*program, "exec", "--manifest", agent.manifest, "--key", agent.key, "--ca", agent.town.house.ca]
    command += [*signs, "--proxy", agent.proxy, "--", *program, "doctor", "--json", "--no-around"]
    done = agent.place.run(command, environment=agent.environment, cwd=agent.folder)
    assert done.stdout, done.stderr
    findings = {each["name"]: each for each in json.loads(done.stdout)["findings"]}
    assert failing(findings) == {}, done.stdout
    assert done.returncode == 0
    assert f"You are {identities.AGENT}." in str(findings["mandate"]["text"])


def test_an_origin_learns_nothing_of_it(agent: Agent) -> None:
    marks = agent.town.plain.mark(), agent.town.tls.mark()
    agent.ask()
    assert agent.town.plain.since(marks[0]).nothing
    assert agent.town.tls.since(marks[1]).nothing
