"""Clients that speak HTTP/2 where a rule offers it: httpx and curl, to an origin that speaks it, too."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import foreign
import pytest
from certs import Authority
from client_town import ClientTown, Told, answered, client_town, signed_environment
from h2origin import Http2Origin, Reply2

pytestmark = pytest.mark.system

PROGRAM = Path(__file__).parent / "programs" / "python_clients.py"
HOST = "grpc.example"
OFFERED = """\
  - id: offered
    description: Read invoices over HTTP/2
    risk: routine
    hosts: [grpc.example]
    schemes: [https]
    ports: [{h2}]
    addresses: [127.0.0.0/8]
    http2: true
    operations:
      - name: read
        methods: [GET, POST]
        path: /v1/invoices/{{id}}
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """The deployment, and the HTTP/2 origin behind it."""

    town: ClientTown
    origin: Http2Origin

    def url(self, path: str) -> str:
        return self.origin.url(path, host=HOST)

    def paths(self) -> list[str]:
        return [stream.path for stream in self.origin.streams]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder, authority = tmp_path_factory.mktemp("http2"), Authority()
    with Http2Origin(tls=authority.server(HOST)) as origin:
        origin.on("*", Reply2(body=[b"from the origin"]))
        with client_town(folder, more=OFFERED, ports={"h2": origin.port}, authority=authority) as town:
            yield Place(town=town, origin=origin)


def by_httpx(place: Place, *urls: str, signed: bool = False) -> list[Told]:
    given = {"HTTP2": "HTTP/2", **(signed_environment(place.town) if signed else {})}
    told = place.town.run([foreign.clients_python(), PROGRAM, "httpx", *urls], given=given, session=not signed)
    assert told.exit_code == 0, told
    return [answered(line) for line in told.out.splitlines()]


def by_httpx_signed(place: Place, *urls: str) -> list[Told]:
    return by_httpx(place, *urls, signed=True)


def by_curl(place: Place, *urls: str) -> list[Told]:
    command = [foreign.program("curl"), "-sS", "--http2", "--fail-with-body", "-w", " %{http_version}"]
    told = [place.town.run([*command, url]) for url in urls]
    assert all(each.out.endswith(" 2") for each in told), told
    return told


@pytest.mark.parametrize("send", [by_httpx, by_httpx_signed, by_curl])
def test_covered_held_and_denied(place: Place, send: object) -> None:
    before, known = len(place.paths()), place.town.holds()
    outside = f"/v1/salaries/{send.__name__}"
    urls = [place.url(path) for path in ("/v1/invoices/17", outside, "/v1/secrets", "/v1/invoices/18")]
    passed, held, denied, again = send(place, *urls)

    assert passed.exit_code == again.exit_code == 0, (passed, again)
    assert passed.out.startswith("from the origin")
    filed = place.town.wait_for_a_hold(known)
    assert held.exit_code != 0
    assert all(word in held.all for word in ("mandate.not_covered", filed.id, "a person has been asked")), held
    assert denied.exit_code != 0
    assert "policy.denied" in denied.all, denied
    assert place.paths()[before:] == ["/v1/invoices/17", "/v1/invoices/18"]
    names = {name for stream in place.origin.streams for name, _ in stream.fields}
    assert not {b"agent-intent", b"intent-manifest", b"signature", b"proxy-authorization"} & names
