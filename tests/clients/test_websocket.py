"""WebSocket clients, with a `websockets` server at the other end: a conversation, and what a refused one is told."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import foreign
import pytest
from certs import Authority
from client_town import ClientTown, client_town, signed_environment

from proxy.core.model import Verdict

pytestmark = pytest.mark.system

PROGRAMS = Path(__file__).parent / "programs"
HOST = "ws.example"
NEWS = """\
  - id: news
    description: Listen to the news
    risk: routine
    hosts: [ws.example]
    schemes: [https]
    ports: [{ws}]
    addresses: [127.0.0.0/8]
    operations:
      - name: listen
        methods: [GET]
        path: /news/{{topic}}
        websocket: true
"""


@dataclass(frozen=True, kw_only=True)
class Station:
    """The deployment, and the WebSocket server behind it."""

    town: ClientTown
    port: int
    log: Path

    def talk(self, client: str, path: str, proof: Mapping[str, str]) -> dict[str, object]:
        command = [
            foreign.clients_python(),
            PROGRAMS / "websocket_client.py",
            client,
            f"wss://{HOST}:{self.port}{path}",
        ]
        told = self.town.run(command, given=proof, session=False)
        assert told.exit_code == 0, told
        return told.document

    def seen(self) -> list[dict[str, object]]:
        """Every handshake and every message that reached the server."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    folder = tmp_path_factory.mktemp("websocket")
    authority, port, log = Authority(), foreign.free_port(), folder / "seen.jsonl"
    leaf = authority.server(HOST)
    (folder / "leaf.pem").write_bytes(leaf.chain)
    (folder / "leaf.key").write_bytes(leaf.key)
    serve = [foreign.clients_python(), PROGRAMS / "websocket_server.py", str(port)]
    serve += [folder / "leaf.pem", folder / "leaf.key", log]
    with (
        foreign.running(serve, ports=[port], log=folder / "server.log"),
        client_town(folder / "town", more=NEWS, ports={"ws": port}, authority=authority) as town,
    ):
        yield Station(town=town, port=port, log=log)


@pytest.fixture(params=["session", "signed"])
def proof(request: pytest.FixtureRequest, station: Station) -> Mapping[str, str]:
    return signed_environment(station.town) if request.param == "signed" else station.town.environment


@pytest.fixture(params=["websockets", "aiohttp"])
def client(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_covered_conversation_is_heard_whole(station: Station, client: str, proof: Mapping[str, str]) -> None:
    before = len(station.seen())
    assert station.talk(client, "/news/invoices", proof) == {"whole": True}
    handshake, *messages = station.seen()[before:]
    assert handshake["path"] == "/news/invoices"
    assert not {"agent-intent", "intent-manifest", "proxy-authorization", "signature"} & set(handshake["headers"])
    assert [each["message"] for each in messages] == ["good morning", "é" * 40_000, ("00ff" * 100)]


def test_a_held_handshake_is_told_and_passes_once_released(
    station: Station, client: str, proof: Mapping[str, str], request: pytest.FixtureRequest
) -> None:
    path = f"/private/{request.node.callspec.id}"
    before, known = len(station.seen()), station.town.holds()
    told = station.talk(client, path, proof)
    filed = station.town.wait_for_a_hold(known)
    assert told["status"] == 403, told
    assert f"http://intent.internal/holds/{filed.id}" in told["words"], told
    assert len(station.seen()) == before

    station.town.house.decide(filed.id, Verdict.ALLOW)
    assert station.talk(client, path, proof) == {"whole": True}


def test_a_denied_handshake_is_told_its_code(station: Station, client: str, proof: Mapping[str, str]) -> None:
    before = len(station.seen())
    told = station.talk(client, "/secrets/news", proof)
    assert told["status"] == 403, told
    if client == "websockets":  # aiohttp shows nothing but the status and the headers
        assert "policy.denied" in told["words"], told
    assert len(station.seen()) == before
