"""The auths, in real clients against a real server that verifies every proof it gets."""

import asyncio
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import identities
import pytest
import requests
from origins import Origin, Reply, Request, echo
from proofs import Verifier
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from proxy import agent
from proxy.agent import httpx_auth, requests_auth
from proxy.core.errors import Code
from proxy.core.proof import read_intent

type Send = Callable[..., Any]


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def auth() -> Any:
    root = identities.root(identities.draft(now=now()))
    key = identities.key(identities.AGENT)
    return agent.IntentAuth(manifest=root, key=key, cluster=identities.CLUSTER, task="T-1")


@pytest.fixture
def verifier() -> Verifier:
    return Verifier(now)


@pytest.fixture
def origin(verifier: Verifier) -> Iterator[Origin]:
    with Origin() as running:
        running.on("*", "*", verifier)
        yield running


def by_httpx(method: str, url: str, **options: Any) -> Any:
    with httpx.Client(trust_env=False, follow_redirects=True) as client:
        return client.request(method, url, **options)


def by_async_httpx(method: str, url: str, **options: Any) -> Any:
    async def send() -> Any:
        async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as client:
            return await client.request(method, url, **options)

    return asyncio.run(send())


def by_requests(method: str, url: str, **options: Any) -> Any:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, **options)


CLIENTS = [
    pytest.param(by_httpx, id="httpx"),
    pytest.param(by_async_httpx, id="async httpx"),
    pytest.param(by_requests, id="requests"),
]


@pytest.mark.parametrize("send", CLIENTS)
@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        pytest.param("GET", "/v1/invoices/17", {}, id="a read"),
        pytest.param("GET", "", {}, id="a URL without a path"),
        pytest.param("GET", "/a%2Fb/%C3%A9?x=1&y=%20&z=", {"headers": {"Cookie": "a=b"}}, id="escapes and a cookie"),
        pytest.param("GET", "/a#fragment", {}, id="a fragment"),
        pytest.param("POST", "/v1", {"json": {"total": "1,00 €"}}, id="a JSON body"),
        pytest.param("POST", "/v1", {"data": {"a": "b c"}}, id="a form"),
        pytest.param("POST", "/v1", {}, id="no body where one is usual"),
        pytest.param("DELETE", "/v1", {"headers": {"Authorization": "Bearer x", "Prefer": "wait=5"}}, id="credentials"),
    ],
)
def test_every_request_verifies(
    send: Send, method: str, path: str, options: Any, auth: Any, origin: Origin, verifier: Verifier
) -> None:
    answer = send(method, origin.url(path), auth=auth, **options)
    assert (answer.status_code, verifier.refused) == (200, [])
    assert len(verifier.evidence) == 1


@pytest.mark.parametrize("send", CLIENTS)
def test_an_unsigned_request_does_not_verify(send: Send, origin: Origin, verifier: Verifier) -> None:
    assert send("GET", origin.url("/")).status_code == 403
    assert verifier.evidence == []


@pytest.mark.parametrize("send", CLIENTS)
@pytest.mark.parametrize(
    ("status", "method", "body"),
    [
        pytest.param(302, "GET", None, id="a read that is sent elsewhere"),
        pytest.param(303, "POST", b"order", id="a write that becomes a read"),
        pytest.param(307, "POST", b"order", id="a write that stays one"),
    ],
)
def test_a_redirect_is_signed_for_where_it_goes(
    send: Send, status: int, method: str, body: bytes | None, auth: Any, origin: Origin
) -> None:
    def then(request: Request) -> Reply:
        if request.path == "/end":
            return echo(request)
        return Reply(status=status, headers=(("Location", "/next" if request.path == "/start" else "/end"),))

    verifier = Verifier(now, then=then)
    origin.on("*", "*", verifier)
    extra = {} if body is None else {"content" if send is not by_requests else "data": body}
    answer = send(method, origin.url("/start"), auth=auth, **extra)
    assert answer.status_code == 200
    assert answer.json()["target"] == "/end"
    assert len(verifier.evidence) == 3
    if send is by_requests:
        assert verifier.refused == []
    else:  # httpx follows by itself; what it sent with the proof of another URL was refused, then signed
        assert set(verifier.refused) <= {Code.PROOF_SIGNATURE, Code.PROOF_COMPONENTS}


def test_what_a_redirect_forbids_stays_forbidden(auth: Any, origin: Origin) -> None:
    """The auth signs a redirect once: a refusal of the signed call is the answer."""
    gone = Reply(status=302, headers=(("Location", "/forbidden"),))
    problem = Reply(status=403, headers=(("Content-Type", "application/problem+json"),), json={"code": "x"})
    origin.on("GET", "/start", gone)
    origin.on("GET", "/forbidden", problem)
    answer = by_httpx("GET", origin.url("/start"), auth=auth)
    assert (answer.status_code, answer.json()) == (403, {"code": "x"})
    assert [request.path for request in origin.requests] == ["/start", "/forbidden", "/forbidden"]


def test_a_retry_below_requests_is_signed_anew(auth: Any, origin: Origin) -> None:
    answers = iter([503, 503, 200])
    verifier = Verifier(now, then=lambda _: Reply(status=next(answers)))
    origin.on("*", "*", verifier)
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", HTTPAdapter(max_retries=Retry(3, status_forcelist=[503], backoff_factor=0)))
        assert session.get(origin.url("/"), auth=auth).status_code == 200
    assert (len(verifier.evidence), verifier.refused) == (3, [])


@pytest.mark.parametrize("send", CLIENTS)
def test_a_request_sent_twice_has_two_proofs_and_two_steps(
    send: Send, auth: Any, origin: Origin, verifier: Verifier
) -> None:
    for _ in range(2):
        assert send("GET", origin.url("/"), auth=auth).status_code == 200
    steps = [read_intent(request.header("agent-intent") or "").step for request in origin.requests]
    assert (len({seen.nonce for seen in verifier.evidence}), steps) == (2, [1, 2])


@pytest.mark.parametrize("send", CLIENTS)
def test_one_request_may_declare_another_task(send: Send, auth: Any, origin: Origin) -> None:
    send("GET", origin.url("/"), auth=auth.declaring(task="T-2"))
    send("GET", origin.url("/"), auth=auth)
    declared = [read_intent(request.header("agent-intent") or "") for request in origin.requests]
    assert [(intent.cluster, intent.task, intent.step) for intent in declared] == [
        (identities.CLUSTER, "T-2", 1),
        (identities.CLUSTER, "T-1", 1),
    ]


def pieces() -> Iterator[bytes]:
    yield b"in "
    yield b"pieces"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(lambda: io.BytesIO(b"in pieces"), id="a file"),
        pytest.param(pieces, id="a generator"),
        pytest.param(lambda: "in pieces", id="text"),
    ],
)
def test_requests_bodies_of_every_kind_are_signed_whole(
    body: Callable[[], Any], auth: Any, origin: Origin, verifier: Verifier
) -> None:
    origin.on("*", "*", Verifier(now, then=lambda _: Reply(status=307, headers=(("Location", "/end"),))))
    origin.on("*", "/end", verifier)
    assert by_requests("POST", origin.url("/"), auth=auth, data=body()).status_code == 200
    assert [request.body for request in origin.requests] == [b"in pieces"] * 2


@pytest.mark.parametrize("send", [by_httpx, by_async_httpx], ids=["httpx", "async httpx"])
def test_httpx_streams_are_signed_whole(send: Send, auth: Any, origin: Origin, verifier: Verifier) -> None:
    async def later() -> Any:
        for piece in pieces():
            yield piece

    content = pieces() if send is by_httpx else later()
    assert send("POST", origin.url("/"), auth=auth, content=content).status_code == 200
    assert origin.requests[0].body == b"in pieces"


def test_through_a_plain_proxy_the_absolute_form_is_signed(auth: Any, origin: Origin, verifier: Verifier) -> None:
    """The origin stands in for the proxy: clients send it the absolute form, with the port as they were given it."""
    with httpx.Client(trust_env=False, proxy=origin.url("")) as client:
        assert client.get("http://erp.example:80/a?b", auth=auth).status_code == 200
    with requests.Session() as session:
        session.trust_env = False
        session.proxies = {"http": origin.url("")}
        assert session.get("http://me@erp.example:80/a?b=1", auth=auth).status_code == 200
    assert verifier.refused == []
    assert [request.target for request in origin.requests] == [
        "http://erp.example/a?b",
        "http://erp.example:80/a?b=1",
    ]


def test_the_url_within_tls_is_signed_as_host_says_it() -> None:
    request = requests.Request("GET", "https://me:word@erp.example:443/a?b=1#c").prepare()
    assert requests_auth._url(request) == "https://erp.example/a?b=1"


def test_an_auth_can_be_made_of_a_signer_that_is_there(auth: Any, origin: Origin) -> None:
    for module, send in ((httpx_auth, by_httpx), (requests_auth, by_requests)):
        assert send("GET", origin.url("/"), auth=module.IntentAuth.of(auth.signer)).status_code == 200


def test_unknown_names_are_not_invented() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = agent.Nothing


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        pytest.param({"httpx"}, {httpx_auth.IntentAuth}, id="httpx alone"),
        pytest.param({"requests"}, {requests_auth.IntentAuth}, id="requests alone"),
        pytest.param({"httpx", "requests"}, {httpx_auth.IntentAuth, requests_auth.IntentAuth}, id="both"),
    ],
)
def test_the_auth_is_for_the_clients_that_are_installed(
    installed: set[str], expected: set[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    """httpx2, which this environment has not, is tried with the SDKs that use it."""
    monkeypatch.setattr(agent, "find_spec", lambda name: name if name in installed else None)
    auths = {httpx_auth.IntentAuth, requests_auth.IntentAuth}
    assert {auth for auth in auths if issubclass(agent.IntentAuth, auth)} == expected
    assert agent.IntentAuth is agent.IntentAuth
