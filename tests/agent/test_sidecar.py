"""The sidecar before a real proxy: what an agent that knows only a proxy's URL proves, and what it cannot say."""

import base64
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import identities
import pytest
import requests
from certs import Authority
from clirun import free_port
from houses import WAYS
from nodes import wait_for
from origins import Gate, Reply
from sidecars import Beside, sidecar
from towns import Town, open_town

from proxy.agent.answers import Denied, Held, read_answer
from proxy.agent.proxyurl import is_loopback
from proxy.agent.sidecar import server
from proxy.agent.sidecar.bodies import Room
from proxy.agent.sidecar.refusals import Reason, not_signed
from proxy.agent.sidecar.route import Refused, Route
from proxy.agent.sidecar.server import Sidecar
from proxy.agent.signer import Signer
from proxy.agent.waiting import finish
from proxy.core.errors import Code, Rejected
from proxy.core.model import Verdict

READ, OUTSIDE, CHANGING = "/v1/invoices/17", "/v1/salaries", "/v1/payments"
CLUSTERS = """\
version: 1
clusters:
  - id: supplier-invoices
    description: Read and file supplier invoices
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations:
      - name: read
        methods: [GET]
        path: /v1/invoices/{{id}}
      - name: file
        methods: [POST]
        path: /v1/invoices
  - id: payments
    description: Pay suppliers
    risk: transformative
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations:
      - name: pay
        methods: [POST]
        path: /v1/payments
"""
SECRET = "only-the-agent-knows"
KINDS = ("plain", "signing")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with open_town(tmp_path_factory.mktemp("town"), workers=1, clusters=CLUSTERS) as running:
        yield running


def proxy_url(town: Town) -> str:
    return "http://{}:{}".format(*town.house.address)


@pytest.fixture(scope="module")
def sidecars(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Beside]]:
    """One that signs tunnels, and one that signs what is inside, too."""
    signer = Signer(town.house.root(), identities.key(identities.AGENT), task="T-1")
    with ExitStack() as stack:
        yield {
            kind: stack.enter_context(
                sidecar(
                    proxy_url(town),
                    town.house.ca,
                    signer,
                    own_ca=tmp_path_factory.mktemp("ca") / "own" if kind == "signing" else None,
                    secret=SECRET,
                    room=Room(each=6 << 20),
                )
            )
            for kind in KINDS
        }


@pytest.fixture(params=KINDS)
def beside(request: pytest.FixtureRequest, sidecars: dict[str, Beside]) -> Beside:
    return sidecars[request.param]


def call(beside: Beside, method: str, url: str, **options: object) -> requests.Response:
    return requests.request(method, url, proxies=beside.proxies, verify=str(beside.ca), timeout=20, **options)


def kept_alive(beside: Beside) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.proxies, session.verify = beside.proxies, str(beside.ca)  # type: ignore[assignment]
    return session


def proofs(town: Town, known: int) -> list[object]:
    return [line["proof"] for line in town.house.journal("decision")[known:]]


def answer_of(response: requests.Response) -> Held | Denied | None:
    return read_answer(response.status_code, response.headers, response.content)


@pytest.mark.parametrize("way", WAYS)
def test_a_program_that_knows_only_a_proxy_gets_the_strongest_proof_there_is(
    town: Town, beside: Beside, way: str, request: pytest.FixtureRequest
) -> None:
    known, before = len(town.house.journal("decision")), town.origin(way).mark()
    passed = call(beside, "GET", town.url(way, READ))
    held = call(beside, "GET", town.url(way, OUTSIDE))
    assert passed.json()["target"] == READ
    assert isinstance(answer_of(held), Held)
    strongest = way == "plain" or beside.ca != town.house.ca
    assert proofs(town, known) == ["request" if strongest else "tunnel"] * 2
    (seen,) = town.origin(way).since(before).requests
    names = {name.lower() for name, _ in seen.headers}
    assert not names & {"agent-intent", "intent-manifest", "signature", "signature-input", "proxy-authorization"}


@pytest.mark.parametrize("way", WAYS)
def test_what_needs_a_signed_call_passes_only_where_each_call_is_signed(town: Town, beside: Beside, way: str) -> None:
    before = town.origin(way).mark()
    answered = call(beside, "POST", town.url(way, CHANGING), json={"amount": 5})
    if way == "plain" or beside.ca != town.house.ca:
        assert answered.status_code == 200, answered.text
        assert json.loads(town.origin(way).since(before).requests[0].body) == {"amount": 5}
    else:
        assert answer_of(answered).code == "proof.too_weak", answered.text
        assert not town.origin(way).since(before).requests


SAID_BY_THE_AGENT = [
    pytest.param({"Agent-Intent": 'cluster="payments", task="other"'}, id="its own intent"),
    pytest.param({"Intent-Manifest": "eyJ.eyJ.AAAA"}, id="a manifest of its own"),
    pytest.param({"Signature": "intent=:AAAA:", "Signature-Input": "intent=()"}, id="a signature of its own"),
    pytest.param({"Content-Digest": "sha-256=:AAAA:"}, id="another body's digest"),
    pytest.param({"Connection": "X-Harmless", "X-Harmless": "1", "Keep-Alive": "1"}, id="what ends with this hop"),
]


@pytest.mark.parametrize("said", SAID_BY_THE_AGENT)
def test_what_the_agent_says_for_itself_goes_nowhere(
    town: Town, sidecars: dict[str, Beside], said: dict[str, str]
) -> None:
    """The same call without it passes in the test above; with it, it is the same call."""
    known, before = len(town.house.journal("decision")), town.tls.mark()
    assert call(sidecars["signing"], "GET", town.url("tls", READ), headers=said).status_code == 200
    (line,) = town.house.journal("decision")[known:]
    assert (line["verdict"], line["proof"], line["task"]) == ("allow", "request", "T-1"), line
    (seen,) = town.tls.since(before).requests
    assert not {name.lower() for name, _ in seen.headers} & {name.lower() for name in said} - {"connection"}


@pytest.mark.parametrize("password", ["", "agent:guess@"], ids=["none", "a guess"])
@pytest.mark.parametrize("way", WAYS)
def test_who_does_not_know_the_secret_is_served_nothing(
    town: Town, sidecars: dict[str, Beside], password: str, way: str
) -> None:
    known, before = len(town.house.journal("decision")), town.origin(way).mark()
    beside = sidecars["plain"]
    stranger = "http://{}{}:{}".format(password, *beside.address)
    if way == "plain":
        answered = requests.get(town.url(way, READ), proxies={"http": stranger}, timeout=20)
        assert (answered.status_code, answered.json()["code"]) == (407, "sidecar.stranger")
    else:
        with pytest.raises(requests.exceptions.ProxyError, match="407"):
            requests.get(town.url(way, READ), proxies={"https": stranger}, verify=str(beside.ca), timeout=20)
    assert len(town.house.journal("decision")) == known
    assert town.origin(way).since(before).nothing


@pytest.mark.parametrize("size", [3, 5 << 20], ids=["in memory", "on disk"])
@pytest.mark.parametrize("chunked", [False, True], ids=["of known length", "in chunks"])
def test_a_body_arrives_whole(town: Town, beside: Beside, size: int, chunked: bool) -> None:
    before, body = town.tls.mark(), bytes(range(256)) * (size // 256) + b"end"
    data = iter([body[: size // 2], body[size // 2 :]]) if chunked else body
    assert call(beside, "POST", town.url("tls", "/v1/invoices"), data=data).status_code == 200
    (seen,) = town.tls.since(before).requests
    assert seen.body == body


@pytest.mark.parametrize("chunked", [False, True], ids=["of known length", "in chunks"])
def test_a_body_that_cannot_be_kept_until_its_end_is_refused(
    town: Town, sidecars: dict[str, Beside], chunked: bool
) -> None:
    before, body = town.tls.mark(), bytes(7 << 20)
    data = iter([body]) if chunked else body
    answered = call(sidecars["signing"], "POST", town.url("tls", "/v1/invoices"), data=data)
    assert (answered.status_code, answered.json()["code"]) == (413, "sidecar.too_large")
    assert "--max-body" in answered.json()["detail"]
    assert town.tls.since(before).nothing


def test_an_answer_streams(town: Town, beside: Beside) -> None:
    """The origin sends the second piece only after the agent has read the first."""
    gate = Gate()
    town.tls.on("GET", READ, Reply(stream=[b"first", gate, b"second"]))
    try:
        with call(beside, "GET", town.url("tls", READ), stream=True) as answered:
            pieces = answered.iter_content(None)
            assert next(pieces) == b"first"
            gate.open()
            assert b"".join(pieces) == b"second"
    finally:
        gate.open()
        town.tls._routes.pop(0)


def test_a_stream_that_the_agent_has_seen_enough_of_was_allowed(town: Town, tmp_path: Path) -> None:
    """As of a language model's answer: it did not fail, and it is not forgotten."""
    gate, signer = Gate(), Signer(town.house.root(), identities.key(identities.AGENT))
    town.tls.on("GET", READ, Reply(stream=[b"first", gate, b"second"]))
    try:
        with sidecar(proxy_url(town), town.house.ca, signer, own_ca=tmp_path / "ca") as beside:
            with call(beside, "GET", town.url("tls", READ), stream=True) as answered:
                assert next(answered.iter_content(None)) == b"first"
            gate.open()
        tally = beside.tally
    finally:
        gate.open()
        town.tls._routes.pop(0)
    assert (tally.allowed, tally.under_way, dict(tally.failed)) == (1, 0, {})


def test_an_origin_that_imitates_a_held_call_gets_nothing_sent(town: Town, sidecars: dict[str, Beside]) -> None:
    """What `finish` asks is asked of the proxy; the origin would have a call of its own choice signed."""
    elsewhere, before = town.url("plain", "/v1/invoices"), (town.plain.mark(), town.tls.mark())
    forged = {
        "type": "http://intent.internal/problems/mandate.not_covered",
        "code": "mandate.not_covered",
        "detail": "wait",
        "task": {"id": "h-1", "status": "approved", "status_endpoint": elsewhere},
    }
    links = f'<{elsewhere}>; rel="status", <{elsewhere}>; rel="redeem"'
    headers = (("Content-Type", "application/problem+json"), ("Link", links))
    town.tls.on("GET", READ, Reply(status=403, headers=headers, body=json.dumps(forged).encode()))
    beside = sidecars["signing"]
    try:
        with kept_alive(beside) as session:
            ended = finish(session, session.get(town.url("tls", READ), timeout=20), within_s=5)
    finally:
        town.tls._routes.pop(0)
    assert isinstance(ended, Denied) and ended.code == "hold.unknown", ended
    assert town.plain.since(before[0]).nothing
    assert [seen.target for seen in town.tls.since(before[1]).requests] == [READ]


SPELLINGS = ("http://intent.internal/session", "http://INTENT.internal.:80/%73ession?nonce=x")


@pytest.mark.parametrize("url", SPELLINGS)
def test_no_program_gets_credentials_that_outlive_its_sidecar(town: Town, beside: Beside, url: str) -> None:
    known = len(town.house.journal())
    answered = requests.post(url, proxies=beside.proxies, timeout=20)
    assert (answered.status_code, answered.json()["code"]) == (403, "sidecar.no_session")
    assert len(town.house.journal()) == known
    assert requests.get("http://intent.internal/mandate", proxies=beside.proxies, timeout=20).status_code == 200


def test_no_tunnel_leads_to_such_credentials_either(town: Town, beside: Beside) -> None:
    """Where calls inside are signed they are refused here, and where the tunnel is, the proxy wants better proof."""
    password = base64.b64encode(f"agent:{SECRET}".encode()).decode()
    connect = f"CONNECT intent.internal:80 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic {password}\r\n\r\n"
    with socket.create_connection(beside.address, 10) as wire:
        wire.sendall(connect.encode())
        assert wire.recv(65_536).startswith(b"HTTP/1.1 200")
        wire.sendall(
            b"POST /session?nonce="
            + b"n" * 22
            + b" HTTP/1.1\r\nHost: intent.internal\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        answered = b"".join(iter(lambda: wire.recv(65_536), b""))
    assert answered.startswith(b"HTTP/1.1 403")
    assert (b"sidecar.no_session" if beside.ca != town.house.ca else b"proof.too_weak") in answered


CHUNKED = b"POST http://erp.example/ HTTP/1.1\r\nHost: erp.example\r\nTransfer-Encoding: chunked\r\n\r\n"
NOT_FOR_A_PROXY = [
    pytest.param(b"GET /v1/invoices/17 HTTP/1.1\r\nHost: erp.example\r\n\r\n", b"not_a_proxy_call", id="a path alone"),
    pytest.param(b"GET https://erp.example/ HTTP/1.1\r\nHost: erp.example\r\n\r\n", b"not_a_proxy_call", id="https"),
    pytest.param(b"CONNECT erp.example HTTP/1.1\r\nHost: erp.example\r\n\r\n", b"a host and a port", id="no port"),
    pytest.param(b"CONNECT .a:443 HTTP/1.1\r\nHost: a\r\n\r\n", b"a host and a port", id="an empty label"),
    pytest.param(
        b"CONNECT " + b"a" * 64 + b".example:443 HTTP/1.1\r\nHost: a\r\n\r\n", b"a host and a port", id="a long label"
    ),
    pytest.param(b"GET http://erp.example/ HTTP/1.1\r\n\r\n", b"request.malformed", id="no Host"),
    pytest.param(b"\x16\x03\x01\x00\x05hello\r\n\r\n", b"request.malformed", id="TLS to the sidecar itself"),
    pytest.param(CHUNKED + b"0\r\nA: b\r\n\r\n", b"trailers", id="trailers"),
    pytest.param(CHUNKED + b"x\r\n", b"request.malformed", id="chunks without a length"),
]


@pytest.mark.parametrize(("sent", "said"), NOT_FOR_A_PROXY)
def test_what_cannot_be_sent_on_is_refused_in_words(town: Town, sent: bytes, said: bytes) -> None:
    known = len(town.house.journal())
    signer = Signer(town.house.root(), identities.key(identities.AGENT))
    with (
        sidecar(proxy_url(town), town.house.ca, signer) as beside,
        socket.create_connection(beside.address, 10) as wire,
    ):
        wire.sendall(sent)
        answered = b"".join(iter(lambda: wire.recv(65_536), b""))
    assert answered.startswith(b"HTTP/1.1 40")
    assert said in answered
    assert len(town.house.journal()) == known


def test_a_proxy_reached_by_tls_is_one_tunnel_more(town: Town, tmp_path: Path) -> None:
    signer = Signer(town.house.root(), identities.key(identities.AGENT))
    url = proxy_url(town).replace("http://127.0.0.1", "https://localhost")
    with sidecar(url, town.house.ca, signer, own_ca=tmp_path / "ca") as beside:
        for way in WAYS:
            assert call(beside, "GET", town.url(way, READ)).json()["target"] == READ


def test_a_proxy_of_another_ca_is_sent_nothing(town: Town, tmp_path: Path) -> None:
    known, before = len(town.house.journal("decision")), town.tls.mark()
    signer = Signer(town.house.root(), identities.key(identities.AGENT))
    with sidecar(proxy_url(town), Authority().write(tmp_path), signer, own_ca=tmp_path / "ca") as beside:
        answered = call(beside, "GET", town.url("tls", READ))
    assert (answered.status_code, answered.json()["code"]) == (502, "sidecar.untrusted")
    assert len(town.house.journal("decision")) == known
    assert town.tls.since(before).nothing


def test_an_agent_that_leaves_takes_its_call_back(town: Town, tmp_path: Path) -> None:
    """It waits for a person; when it goes, the proxy learns it, and what is released then is not sent for nobody."""
    root, before = town.house.root(), town.tls.mark()
    signer = Signer(root, identities.key(identities.AGENT))
    waiting = {"Prefer": "wait=30"}
    with sidecar(proxy_url(town), town.house.ca, signer, own_ca=tmp_path / "ca") as beside:
        how = {"proxies": beside.proxies, "verify": str(beside.ca)}
        with pytest.raises(requests.exceptions.ReadTimeout):
            requests.get(town.url("tls", OUTSIDE), headers=waiting, timeout=(20, 1), **how)
        town.house.decide(town.house.wait_for_hold([root]), Verdict.ALLOW)
        assert requests.get(town.url("tls", READ), timeout=20, **how).status_code == 200
        assert (beside.tally.allowed, beside.tally.under_way, dict(beside.tally.failed)) == (1, 1, {})
    assert [seen.target for seen in town.tls.since(before).requests] == [READ]


def test_a_renewed_manifest_is_taken_up_on_connections_that_are_kept(town: Town, tmp_path: Path) -> None:
    """Its tunnel was opened under the old one, and one tunnel is one mandate's."""
    manifest = tmp_path / "bot.jws"
    manifest.write_text(town.house.root())
    signer = Signer(manifest, identities.key(identities.AGENT))
    known = len(town.house.journal("decision"))
    with (
        sidecar(proxy_url(town), town.house.ca, signer, own_ca=tmp_path / "ca") as beside,
        kept_alive(beside) as session,
    ):
        assert session.get(town.url("tls", READ), timeout=20).status_code == 200
        manifest.write_text(town.house.root())
        assert session.get(town.url("tls", READ), timeout=20).status_code == 200
    first, second = town.house.journal("decision")[known:]
    assert first["manifest"] != second["manifest"]


def test_git_is_told_in_the_only_form_it_shows(town: Town, sidecars: dict[str, Beside]) -> None:
    as_git = {"User-Agent": "git/2.39.5"}
    told = call(sidecars["signing"], "GET", town.url("tls", f"{OUTSIDE}/git"), headers=as_git)
    assert (told.status_code, told.headers["Content-Type"]) == (403, "text/plain; charset=utf-8")
    assert told.text.startswith("mandate.not_covered: ") and "http://intent.internal/holds/" in told.text
    assert call(sidecars["signing"], "GET", town.url("tls", READ), headers=as_git).json()["target"] == READ


def test_calls_are_counted_by_what_became_of_them(town: Town, tmp_path: Path) -> None:
    signer = Signer(town.house.root(), identities.key(identities.AGENT))
    with sidecar(proxy_url(town), town.house.ca, signer, own_ca=tmp_path / "ca") as beside:
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(town.url("tls", READ), proxies=beside.proxies, verify=str(town.house.ca), timeout=20)
        for path in (READ, READ, OUTSIDE, OUTSIDE):
            call(beside, "GET", town.url("tls", path))
        call(beside, "GET", "http://intent.internal/mandate")  # no call of the program's task
        call(beside, "POST", town.url("plain", "/v1/invoices"), data=b"x", headers={"Content-Encoding": "gzip, gzip"})
        tally = beside.tally
        wait_for(lambda: tally.distrusted, "the sidecar knows it, as the program does already")
    (hold,) = tally.held.values()  # the same call is the same hold
    assert (tally.allowed + tally.denied.total(), hold.status) == (3, "held")
    assert hold.status_url.endswith(hold.id)
    assert dict(tally.distrusted) == {"erp.example": 1}


# --- a proxy that is away ---------------------------------------------------------------------------------------------


def test_a_proxy_that_restarts_is_missed_in_words_and_found_again(town: Town, sidecars: dict[str, Beside]) -> None:
    """Also on the connections that its agent has kept, whose other ends are gone."""
    beside = sidecars["signing"]
    with kept_alive(beside) as session:
        for way in WAYS:
            assert session.get(town.url(way, READ), timeout=20).status_code == 200
        town.house.stop()
        missed = call(beside, "GET", town.url("plain", READ))
        assert (missed.status_code, missed.json()["code"]) == (503, "sidecar.no_proxy")
        assert missed.headers["Retry-After"] == "2"
        town.house.start(workers=1, listen_port=town.house.address[1])
        for way in WAYS:
            assert session.get(town.url(way, READ), timeout=20).status_code == 200


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_a_tunnel_that_nobody_could_open_is_in_the_summary(tmp_path: Path, protocol: str) -> None:
    """To a program that speaks HTTP/2 alone nothing can be said; another is told, and so is whoever reads the end."""
    signer = Signer(identities.root(identities.draft(now=datetime.now(UTC))), identities.key(identities.AGENT))
    context = ssl.create_default_context()
    context.set_alpn_protocols([protocol])
    with sidecar(f"http://127.0.0.1:{free_port()}", None, signer, own_ca=tmp_path / "ca") as beside:
        context.load_verify_locations(beside.ca)
        with socket.create_connection(beside.address, 10) as wire:
            wire.sendall(b"CONNECT erp.example:443 HTTP/1.1\r\nHost: erp.example:443\r\n\r\n")
            assert wire.recv(65_536).startswith(b"HTTP/1.1 200")
            if protocol == "h2":
                with pytest.raises(OSError), context.wrap_socket(wire, server_hostname="erp.example"):
                    pass
            else:
                with context.wrap_socket(wire, server_hostname="erp.example") as inside:
                    inside.sendall(b"GET / HTTP/1.1\r\nHost: erp.example\r\n\r\n")
                    assert inside.recv(65_536).startswith(b"HTTP/1.1 503 sidecar.no_proxy")
    assert dict(beside.tally.failed) == {"sidecar.no_proxy": 1}


def test_more_connections_than_it_has_descriptors_for_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.resource, "getrlimit", lambda _: (server.SPARE_DESCRIPTORS + 3 * 2, -1))
    signer = Signer(identities.root(identities.draft(now=datetime.now(UTC))), identities.key(identities.AGENT))
    with sidecar("http://127.0.0.1:9", None, signer) as beside, ExitStack() as stack:

        def opened() -> socket.socket:
            return stack.enter_context(socket.create_connection(beside.address, 10))

        first = opened()
        opened()
        busy = [opened() for _ in range(2)]
        assert [wire.recv(65_536).split(b"\r\n")[0] for wire in busy] == [b"HTTP/1.1 503 sidecar.busy"] * 2
        assert opened().recv(1) == b""  # nor has it descriptors for so many answers
        first.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert first.recv(65_536).startswith(b"HTTP/1.1 400 sidecar.not_a_proxy_call")


@pytest.mark.parametrize(
    ("code", "action"),
    [
        pytest.param(Code.MANIFEST_WINDOW, "stop", id="a manifest that is over"),
        pytest.param(Code.PROOF_KEY, "stop", id="a renewed manifest for another key"),
        pytest.param(Code.REQUEST_MALFORMED, "fix", id="a call that cannot be signed"),
    ],
)
def test_what_cannot_be_signed_says_whose_fault_it_is(code: Code, action: str) -> None:
    assert not_signed(code, "why").action == action


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "::", "::ffff:192.0.2.1"])
async def test_it_listens_on_loopback_only(address: str) -> None:
    assert not is_loopback(address)
    route = object()
    with pytest.raises(Rejected, match="on loopback only"):
        async with Sidecar(route, route).serving(address, 0):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_why_there_is_no_proxy_is_said_without_pythons_own_words(host: str) -> None:
    with pytest.raises(Refused) as refused:
        await Route(f"http://{host}:{free_port()}").connect()
    told = refused.value.refusal.detail
    assert "errno" not in told.lower() and "Connect call" not in told and "exceptions" not in told, told


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "localhost"])
def test_what_loopback_is(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_each_of_its_own_codes_stands_in_the_docs(reason: Reason) -> None:
    assert f"`{reason}`" in (Path(__file__).parents[2] / "docs" / "sidecar.md").read_text()
