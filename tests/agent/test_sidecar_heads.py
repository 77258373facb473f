"""What of a head goes on through the sidecar, and what comes back: rules alone, no sockets."""

import base64

import pytest

from proxy.agent.sidecar import heads

PLAIN = [(b"Host", b"erp.example"), (b"X-Trace", b"1"), (b"x-trace", b"2")]


def test_lines_keep_their_order_spelling_and_repetition() -> None:
    assert heads.forwarded(PLAIN, body_bytes=0) == PLAIN


@pytest.mark.parametrize(
    "name",
    [
        "Agent-Intent",
        "intent-manifest",
        "Signature",
        "Signature-Input",
        "Content-Digest",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Keep-Alive",
        "TE",
        "Upgrade",
        "Expect",
    ],
)
def test_what_could_speak_for_a_mandate_or_ends_here_does_not_go_on(name: str) -> None:
    assert heads.forwarded([*PLAIN, (name.encode(), b"x")], body_bytes=0) == PLAIN


def test_what_connection_names_does_not_go_on() -> None:
    assert heads.forwarded([*PLAIN, (b"Connection", b"close, X-Hop"), (b"x-hop", b"1")], body_bytes=0) == PLAIN


@pytest.mark.parametrize(
    ("given", "body_bytes", "announced"),
    [
        pytest.param([(b"Content-Length", b"003")], 3, [(b"Content-Length", b"3")], id="a length in another spelling"),
        pytest.param([(b"Transfer-Encoding", b"chunked")], 7, [(b"Content-Length", b"7")], id="chunks"),
        pytest.param([(b"Content-Length", b"0")], 0, [(b"Content-Length", b"0")], id="a body that is empty"),
        pytest.param([], 0, [], id="no body"),
    ],
)
def test_the_length_is_that_of_what_came(given: list[heads.Line], body_bytes: int, announced: list[heads.Line]) -> None:
    assert heads.forwarded([*PLAIN, *given], body_bytes=body_bytes) == [*PLAIN, *announced]


def test_a_websocket_is_still_asked_for() -> None:
    asked = [*PLAIN, (b"Connection", b"keep-alive, Upgrade"), (b"Upgrade", b"WebSocket"), (b"Sec-WebSocket-Key", b"k")]
    upgraded = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    assert heads.forwarded(asked, body_bytes=0) == [*PLAIN, (b"Sec-WebSocket-Key", b"k"), *upgraded]


def test_of_an_answer_what_concerns_only_the_way_to_the_proxy_ends_here() -> None:
    kept = [(b"Content-Type", b"text/plain"), (b"Transfer-Encoding", b"chunked"), (b"Set-Cookie", b"a=1")]
    hop = [
        (b"Connection", b"close, X-Hop"),
        (b"X-Hop", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Proxy-Authenticate", b'Basic realm="x"'),
        (b"Accept-Signature", b"intent=()"),
    ]
    assert heads.answered([*kept, *hop]) == kept
    assert heads.answered([*kept, *hop], switching=True) == [*kept, *hop]


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        pytest.param(b"http://erp.example", b"http://erp.example/", id="no path"),
        pytest.param(b"http://erp.example?a=1", b"http://erp.example/?a=1", id="no path before the query"),
        pytest.param(b"HTTP://erp.example/a%2fb?c", b"HTTP://erp.example/a%2fb?c", id="as it came"),
        pytest.param(b"https://erp.example/", None, id="TLS is for tunnels"),
        pytest.param(b"/v1/invoices", None, id="a path alone"),
        pytest.param(b"*", None, id="an asterisk"),
        pytest.param(b"ftp://erp.example/", None, id="another scheme"),
    ],
)
def test_targets_in_absolute_form(target: bytes, sent: bytes | None) -> None:
    assert heads.absolute(target) == sent


@pytest.mark.parametrize(
    ("value", "knows"),
    [
        pytest.param(b"Basic " + base64.b64encode(b"agent:secret"), True, id="the secret"),
        pytest.param(b"basic  " + base64.b64encode(b":secret"), True, id="whatever the user's name"),
        pytest.param(b"Basic " + base64.b64encode(b"secret:agent"), False, id="as the name"),
        pytest.param(b"Basic " + base64.b64encode(b"agent:secre"), False, id="a part of it"),
        pytest.param(b"Bearer " + base64.b64encode(b"agent:secret"), False, id="another scheme"),
        pytest.param(b"Basic !", False, id="no base64"),
        pytest.param(b"Basic", False, id="nothing"),
    ],
)
def test_who_knows_the_secret(value: bytes, knows: bool) -> None:
    assert heads.knows_secret([(b"Proxy-Authorization", value)], "secret") is knows
    assert not heads.knows_secret([], "secret")
