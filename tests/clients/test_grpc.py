"""gRPC with grpcio at both ends: a call that passes, a stream message by message, and what a refused caller is told."""

import json
import queue
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import foreign
import pytest
from certs import Authority
from client_town import ClientTown, client_town

from proxy.core.model import Verdict

pytestmark = pytest.mark.system

PROGRAMS = Path(__file__).parent / "programs"
HOST = "grpc.example"
LEDGER = """\
  - id: ledger
    description: Read the ledger
    risk: routine
    hosts: [grpc.example]
    schemes: [https]
    ports: [{grpc}]
    addresses: [127.0.0.0/8]
    http2: true
    operations:
      - name: read
        methods: [POST]
        path: /acme.Ledger/Read
      - name: watch
        methods: [POST]
        path: /acme.Ledger/Watch
"""


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The deployment, and the gRPC server behind it."""

    town: ClientTown
    port: int
    log: Path
    go: Path

    def command(self, *methods: str) -> list[str]:
        return [foreign.clients_python(), str(PROGRAMS / "grpc_client.py"), f"{HOST}:{self.port}", *methods]

    def call(self, *methods: str) -> list[str]:
        told = self.town.run(self.command(*methods))
        assert told.exit_code == 0, told
        return told.out.splitlines()

    def seen(self) -> list[dict[str, object]]:
        """Every message that reached the server."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    folder = tmp_path_factory.mktemp("grpc")
    authority, port = Authority(), foreign.free_port()
    leaf = authority.server(HOST)
    (folder / "leaf.pem").write_bytes(leaf.chain)
    (folder / "leaf.key").write_bytes(leaf.key)
    log, go = folder / "seen.jsonl", folder / "go"
    serve = [foreign.clients_python(), PROGRAMS / "grpc_server.py", str(port)]
    serve += [folder / "leaf.pem", folder / "leaf.key", log, go]
    with (
        foreign.running(serve, ports=[port], log=folder / "server.log"),
        client_town(folder / "town", more=LEDGER, ports={"grpc": port}, authority=authority) as town,
    ):
        yield Ledger(town=town, port=port, log=log, go=go)


def test_a_covered_call_passes_with_its_trailers_and_a_refused_one_says_why(ledger: Ledger) -> None:
    before, known = len(ledger.seen()), ledger.town.holds()
    answered, passed, held, denied, again, passed_again = ledger.call("Read", "Payroll", "Secrets", "Read")
    assert json.loads(passed) == json.loads(passed_again) == {"code": "OK", "details": ""}
    assert answered == again == "read ask ['x-after']"

    filed = ledger.town.wait_for_a_hold(known)
    told = json.loads(held)
    assert told["code"] == "PERMISSION_DENIED"
    assert all(word in told["details"] for word in (filed.id, "a person has been asked")), told
    told = json.loads(denied)
    assert told["code"] == "PERMISSION_DENIED"
    assert "Stop" in told["details"], told

    seen = ledger.seen()[before:]
    assert [each["method"] for each in seen] == ["Read", "Read"]
    assert not {"agent-intent", "intent-manifest", "proxy-authorization"} & set(seen[0]["metadata"])


def test_a_held_call_passes_once_released(ledger: Ledger) -> None:
    before, known = len(ledger.seen()), ledger.town.holds()
    ledger.call("Bonus")
    filed = ledger.town.wait_for_a_hold(known)
    ledger.town.house.decide(filed.id, Verdict.ALLOW)
    (told,) = ledger.call("Bonus")
    assert json.loads(told)["code"] == "UNIMPLEMENTED"  # the server's own answer: it has no such method
    assert len(ledger.seen()) == before


def test_a_stream_from_the_server_comes_message_by_message(ledger: Ledger) -> None:
    """The server sends the second message only after the client has shown the first."""
    environment = {**foreign.plain_environment(), **ledger.town.environment}
    with subprocess.Popen(ledger.command("Watch"), env=environment, stdout=subprocess.PIPE) as running:
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: [lines.put(line.decode()) for line in running.stdout], daemon=True).start()
        assert lines.get(timeout=30) == "first\n"
        ledger.go.touch()
        assert lines.get(timeout=30) == "second\n"
        assert json.loads(lines.get(timeout=30)) == {"code": "OK", "details": ""}
