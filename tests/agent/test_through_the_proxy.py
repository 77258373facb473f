"""The agent's side against the real proxy: what it signs is what the proxy reads, in every client and both ways in."""

import asyncio
import json
import os
import secrets
import shutil
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import identities
import pytest
import requests
from houses import WAYS
from origins import Gate, Reply
from towns import Town, open_town

from proxy.agent import IntentAuth
from proxy.agent.answers import Denied, Held, read_answer
from proxy.agent.session import Session, open_session
from proxy.agent.signer import Signer
from proxy.core.model import Verdict

READ = "/v1/invoices/17"
OUTSIDE = "/v1/salaries"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with open_town(tmp_path_factory.mktemp("town"), workers=1) as running:
        yield running


@pytest.fixture
def signer(town: Town) -> Signer:
    return Signer(town.house.root(), identities.key(identities.AGENT), cluster=identities.CLUSTER, task="T-1")


@pytest.fixture
def auth(signer: Signer) -> Any:
    return IntentAuth.of(signer)


def proxy_url(town: Town) -> str:
    host, port = town.house.address
    return f"http://{host}:{port}"


def by_httpx(town: Town, method: str, url: str, **options: Any) -> Any:
    trust = ssl.create_default_context(cafile=str(town.house.ca))
    with httpx.Client(proxy=proxy_url(town), verify=trust, follow_redirects=True) as client:
        return client.request(method, url, **options)


def by_async_httpx(town: Town, method: str, url: str, **options: Any) -> Any:
    trust = ssl.create_default_context(cafile=str(town.house.ca))

    async def send() -> Any:
        async with httpx.AsyncClient(proxy=proxy_url(town), verify=trust, follow_redirects=True) as client:
            return await client.request(method, url, **options)

    return asyncio.run(send())


def by_requests(town: Town, method: str, url: str, **options: Any) -> Any:
    with requests.Session() as session:
        session.trust_env = False
        session.proxies = dict.fromkeys(("http", "https"), proxy_url(town))
        session.verify = str(town.house.ca)
        return session.request(method, url, **options)


@pytest.fixture(
    params=[
        pytest.param(by_httpx, id="httpx"),
        pytest.param(by_async_httpx, id="async httpx"),
        pytest.param(by_requests, id="requests"),
    ]
)
def send(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        pytest.param("GET", READ, {}, id="a read"),
        pytest.param(
            "GET", "/v1/invoices?page=2&status=open", {"headers": {"Cookie": "a=b"}}, id="a query and a cookie"
        ),
        pytest.param("POST", "/v1/invoices", {"json": {"total": "1,00 €"}}, id="a JSON body"),
        pytest.param("POST", "/v1/invoices", {"data": {"a": "b c"}}, id="a form"),
        pytest.param(
            "POST", "/v1/invoices", {"headers": {"Authorization": "Bearer x"}}, id="no body where one is usual"
        ),
    ],
)
def test_a_covered_call_passes_and_keeps_our_lines_to_itself(
    town: Town, auth: Any, send: Any, way: str, method: str, path: str, options: Any
) -> None:
    before = town.origin(way).mark()
    answer = send(town, method, town.url(way, path), auth=auth, **options)
    assert answer.status_code == 200, answer.text
    (seen,) = town.origin(way).since(before).requests
    assert (seen.method, seen.target) == (method, path)
    assert [name for name, _ in seen.headers if name.lower() in {"agent-intent", "intent-manifest", "signature"}] == []


@pytest.mark.parametrize("way", WAYS)
def test_an_unsigned_call_does_not_pass(town: Town, send: Any, way: str) -> None:
    before = town.origin(way).mark()
    answer = send(town, "GET", town.url(way, READ))
    refused = read_answer(answer.status_code, answer.headers, answer.content)
    assert isinstance(refused, Denied)
    assert refused.code == "proof.missing"
    assert town.origin(way).since(before).nothing


@pytest.mark.parametrize("way", WAYS)
def test_a_redirect_is_the_agents_next_call_and_judged_anew(town: Town, auth: Any, send: Any, way: str) -> None:
    origin = town.origin(way)
    origin.on("GET", "/v1/invoices/moved", Reply(status=302, headers=(("Location", READ),)))
    origin.on("GET", "/v1/invoices/astray", Reply(status=302, headers=(("Location", f"{OUTSIDE}/{way}"),)))
    before = origin.mark()
    assert send(town, "GET", town.url(way, "/v1/invoices/moved"), auth=auth).status_code == 200
    assert [request.path for request in origin.since(before).requests] == ["/v1/invoices/moved", READ]
    before = origin.mark()
    answer = send(town, "GET", town.url(way, "/v1/invoices/astray"), auth=auth)
    assert isinstance(read_answer(answer.status_code, answer.headers, answer.content), Held)
    assert [request.path for request in origin.since(before).requests] == ["/v1/invoices/astray"]


@pytest.mark.parametrize("way", WAYS)
def test_a_held_call_passes_once_when_it_is_released(town: Town, auth: Any, send: Any, way: str) -> None:
    url, origin = town.url(way, f"{OUTSIDE}/released"), town.origin(way)
    before = origin.mark()
    answer = send(town, "GET", url, auth=auth)
    held = read_answer(answer.status_code, answer.headers, answer.content)
    assert isinstance(held, Held)
    assert origin.since(before).nothing
    town.house.decide(held.id, Verdict.ALLOW)
    assert send(town, "GET", url, auth=auth).status_code == 200
    again = send(town, "GET", url, auth=auth)
    assert isinstance(read_answer(again.status_code, again.headers, again.content), Held)
    assert len(origin.since(before).requests) == 1


@pytest.fixture
def session(town: Town, signer: Signer) -> Session:
    return open_session(proxy_url(town), signer)


@pytest.mark.parametrize("way", WAYS)
def test_a_session_serves_a_program_that_knows_only_a_proxy(town: Town, session: Session, way: str) -> None:
    trust = ssl.create_default_context(cafile=str(town.house.ca))
    handlers = (
        urllib.request.ProxyHandler({"http": session.proxy_url, "https": session.proxy_url}),
        urllib.request.HTTPSHandler(context=trust),
    )
    before = town.origin(way).mark()
    with urllib.request.build_opener(*handlers).open(town.url(way, READ), timeout=10) as answer:
        assert answer.status == 200
    (seen,) = town.origin(way).since(before).requests
    assert seen.header("proxy-authorization") is None


@pytest.mark.system
@pytest.mark.parametrize("way", WAYS)
def test_curl_needs_only_the_environment(town: Town, session: Session, way: str) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is missing: apt-get install curl")
    command = [curl, "-sS", "--max-time", "20", "--cacert", str(town.house.ca), "-w", "\n%{http_code}"]
    before = town.origin(way).mark()
    answers = []
    for path in (READ, f"{OUTSIDE}/curl"):
        done = subprocess.run(
            [*command, town.url(way, path)],
            env={"PATH": os.environ["PATH"], **session.environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        answers.append(done.stdout.rpartition("\n")[::2])
    assert [status for _, status in answers] == ["200", "403"]
    assert json.loads(answers[1][0])["task"]["status"] == "held"
    assert [request.path for request in town.origin(way).since(before).requests] == [READ]


@pytest.mark.parametrize("way", WAYS)
def test_an_upload_that_draws_a_new_boundary_each_time_finds_its_hold_and_its_release(
    town: Town, auth: Any, send: Any, way: str
) -> None:
    origin, url = town.origin(way), town.url(way, f"/uploads/{secrets.token_hex(6)}")
    before = origin.mark()

    def upload() -> Any:
        files = {"file": ("a.pdf", b"%PDF-1.7", "application/pdf")}
        return send(town, "POST", url, auth=auth, data={"account": "4711"}, files=files)

    first, second = upload(), upload()
    assert first.request.headers["content-type"] != second.request.headers["content-type"]
    held = read_answer(first.status_code, first.headers, first.content)
    assert isinstance(held, Held)
    again = read_answer(second.status_code, second.headers, second.content)
    assert isinstance(again, Held)
    assert again.id == held.id
    town.house.decide(held.id, Verdict.ALLOW)
    assert upload().status_code == 200
    (seen,) = origin.since(before).requests
    assert seen.header("content-type") == first.request.headers["content-type"]


# --- the end of a tunnel's time ---------------------------------------------------------------------------------------


def proxies_for(town: Town, lives_s: int) -> dict[str, str]:
    """Proxies whose tunnels are proven for this long."""
    root = town.house.root(exp=datetime.now(UTC) + timedelta(seconds=lives_s))
    signer = Signer(root, identities.key(identities.AGENT))
    session = open_session("http://{}:{}".format(*town.house.address), signer)
    return dict.fromkeys(("http", "https"), session.proxy_url)


@pytest.mark.parametrize("path", [READ, OUTSIDE], ids=["an origin's answer", "an answer of ours"])
@pytest.mark.parametrize(
    ("lives_s", "closes"), [pytest.param(60, True, id="a minute before its end"), pytest.param(600, False, id="before")]
)
def test_a_tunnel_ends_between_two_calls_before_its_proof(town: Town, path: str, lives_s: int, closes: bool) -> None:
    proxies = proxies_for(town, lives_s)
    answered = requests.get(town.url("tls", path), proxies=proxies, verify=str(town.house.ca), timeout=20)
    assert (answered.headers.get("Connection") == "close") is closes


@pytest.mark.system
def test_a_tunnel_ends_behind_an_answer_that_streams_past_its_time(town: Town) -> None:
    """Its head was sent while there was time left; the next call would be refused for a tunnel that is too old."""
    ends_at, gate = datetime.now(UTC) + timedelta(seconds=79), Gate()
    town.tls.on("GET", READ, Reply(stream=[b"first", gate, b"last"]))
    try:
        with requests.Session() as session:
            session.trust_env = False
            session.proxies, session.verify = proxies_for(town, 79), str(town.house.ca)  # type: ignore[assignment]
            answered = session.get(town.url("tls", READ), stream=True, timeout=20)
            pieces = answered.iter_content(None)
            assert next(pieces) == b"first"
            wire, said = answered.raw.connection.sock, answered.headers.get("Connection")
            time.sleep(max(0.0, (ends_at - datetime.now(UTC)).total_seconds() - 74.5))  # into its last 75 seconds
            gate.open()
            assert b"".join(pieces) == b"last"
            wire.settimeout(5)
            assert wire.recv(1) == b""  # the client need not find out with its next call
            assert said is None
    finally:
        gate.open()
        town.tls._routes.pop(0)


@pytest.mark.parametrize("way", WAYS)
def test_who_signs_each_call_needs_no_other_tunnel(town: Town, way: str) -> None:
    """Outside a tunnel nothing is inherited, and a signed call's next one is signed, too."""
    root = town.house.root(exp=datetime.now(UTC) + timedelta(seconds=60))
    auth = IntentAuth.of(Signer(root, identities.key(identities.AGENT)))
    proxies = dict.fromkeys(("http", "https"), "http://{}:{}".format(*town.house.address))
    trust = str(town.house.ca)
    answered = requests.get(town.url(way, READ), proxies=proxies, verify=trust, auth=auth, timeout=20)
    assert answered.status_code == 200
    assert "Connection" not in answered.headers
