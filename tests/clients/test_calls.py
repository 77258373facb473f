"""What everyday HTTP clients do behind the proxy: a covered call passes, and of a held or denied one its user learns.

Each client makes its calls one after the other as a program would, so that a refusal is followed by further calls on
the same connection.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import foreign
import pytest
from client_town import COVERED, DENIED, OUTSIDE, ClientTown, Told, answered, client_town, seen_by, signed_environment
from houses import WAYS

from proxy.core.model import HoldState, Verdict

pytestmark = pytest.mark.system

PROGRAMS = Path(__file__).parent / "programs"
OURS = frozenset({"agent-intent", "intent-manifest", "signature", "signature-input", "proxy-authorization"})


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientTown]:
    with client_town(tmp_path_factory.mktemp("clients")) as running:
        yield running


@dataclass(frozen=True, kw_only=True)
class Client:
    """How to have one client make calls. `signed`: with `IntentAuth` instead of a session."""

    name: str
    signed: bool = False
    given: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}, signed" if self.signed else self.name

    @property
    def path_name(self) -> str:
        return str(self).replace(", ", "-")

    def calls(
        self, town: ClientTown, *urls: str, method: str = "GET", body: str | None = None, prefer: str = ""
    ) -> list[Told]:
        """What was told of each call, in order."""
        environment = {"METHOD": method, **({"BODY": body} if body else {}), **({"PREFER": prefer} if prefer else {})}
        if self.name == "curl":
            return [curl(town, url, method=method, body=body, prefer=prefer) for url in urls]
        if self.name == "wget":
            return [wget(town, url, method=method, body=body, prefer=prefer) for url in urls]
        if self.signed:
            environment |= signed_environment(town)
        if self.name in ("fetch", "undici", "request"):
            environment |= {"MODULES": str(foreign.node_modules()), "NODE_NO_WARNINGS": "1"}
            command = [foreign.program("node"), PROGRAMS / "node_clients.mjs"]
        else:
            command = [foreign.clients_python(), PROGRAMS / "python_clients.py"]
        told = town.run([*command, self.name, *urls], given=environment, session=not self.signed)
        assert told.exit_code == 0, told
        return [answered(line) for line in told.out.splitlines()]


def curl(town: ClientTown, url: str, *, method: str, body: str | None, prefer: str) -> Told:
    options = ["--data-binary", body] if body else []
    options += ["--header", f"Prefer: {prefer}"] if prefer else []
    return town.run([foreign.program("curl"), "-sS", "--fail-with-body", "-X", method, *options, url])


def wget(town: ClientTown, url: str, *, method: str, body: str | None, prefer: str) -> Told:
    options = [f"--body-data={body}"] if body else []
    options += [f"--header=Prefer: {prefer}"] if prefer else []
    command = [foreign.program("wget"), "-O", "-", "--content-on-error", "--tries=1", f"--method={method}", *options]
    return town.run([*command, f"--ca-certificate={town.house.ca}", url])


CLIENTS = [
    Client(name="curl"),
    Client(name="wget"),
    Client(name="urllib"),
    Client(name="requests"),
    Client(name="requests", signed=True),
    Client(name="httpx"),
    Client(name="httpx", signed=True),
    Client(name="httpx2"),
    Client(name="httpx2", signed=True),
    Client(name="aiohttp"),
    Client(name="aiohttp", signed=True),
    Client(name="fetch"),
    Client(name="undici"),
    Client(name="request"),
]


@pytest.fixture(params=CLIENTS, ids=str)
def client(request: pytest.FixtureRequest) -> Client:
    return request.param


@pytest.mark.parametrize("way", WAYS)
def test_covered_held_and_denied(town: ClientTown, client: Client, way: str) -> None:
    before, known = (town.plain.mark(), town.tls.mark()), town.holds()
    outside = f"{OUTSIDE}/{client.path_name}"  # the same call is the same hold, whoever's
    urls = [town.url(way, path) for path in (COVERED, outside, DENIED, COVERED)]
    passed, held, denied, again = client.calls(town, *urls)

    assert passed.exit_code == again.exit_code == 0, (passed, again)
    assert json.loads(passed.out)["target"] == COVERED  # the origin's own answer, whole

    filed = town.wait_for_a_hold(known)
    assert held.exit_code != 0
    assert all(word in held.all for word in ("mandate.not_covered", filed.id, "a person has been asked")), held
    assert denied.exit_code != 0
    assert all(word in denied.all for word in ("policy.denied", "Stop")), denied

    seen = seen_by(town, before)
    assert [request.target for request in seen.requests] == [COVERED, COVERED]
    assert not OURS & {name.lower() for request in seen.requests for name, _ in request.headers}


@pytest.mark.parametrize("way", WAYS)
def test_a_body_arrives_whole(town: ClientTown, client: Client, way: str) -> None:
    before, body = (town.plain.mark(), town.tls.mark()), '{"total": "1,00 €"}'
    (told,) = client.calls(town, town.url(way, "/v1/invoices"), method="POST", body=body)
    assert told.exit_code == 0, told
    (seen,) = seen_by(town, before).requests
    assert (seen.method, seen.target, seen.body) == ("POST", "/v1/invoices", body.encode())


def test_who_prefers_to_wait_gets_the_real_answer_once_a_person_has_said_so(town: ClientTown, client: Client) -> None:
    path = f"/v1/payroll/{client.path_name}"
    before, known = (town.plain.mark(), town.tls.mark()), town.holds()
    said: Sequence[Told] = []

    def call() -> None:
        nonlocal said
        said = client.calls(town, town.url("tls", path), prefer="wait=30")

    calling = threading.Thread(target=call)
    calling.start()
    filed = town.wait_for_a_hold(known)
    assert seen_by(town, before).nothing
    town.house.decide(filed.id, Verdict.ALLOW)
    calling.join(60)

    (told,) = said
    assert told.exit_code == 0, told
    assert json.loads(told.out)["target"] == path
    assert [request.target for request in seen_by(town, before).requests] == [path]
    assert town.house.hold(filed.id).state is HoldState.RELEASED
