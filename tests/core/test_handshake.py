"""The opening handshake of a WebSocket: one form is read, every other upgrade is refused (THREATS.md C01, C03)."""

import heads
import pytest

from proxy.core.canonical import canonical_connect, canonicalise, with_body
from proxy.core.errors import Code, Rejected
from proxy.core.handshake import accept_of, answer_lines, check_opened, offered_protocols, opening_lines
from proxy.core.model import Received

CONNECTION, UPGRADE, VERSION, KEY = heads.OPENING
URL = "http://erp.example/live"


def opening(*more: str, without: str = "", method: str = "GET") -> Received:
    lines = [line for line in heads.OPENING if line != without]
    return heads.absolute(URL, *lines, *more, method=method)


ACCEPTED = {
    "as RFC 6455 writes it": opening(),
    "among other options of the connection": opening("Connection: keep-alive, Upgrade", without=CONNECTION),
    "the option in small letters": opening("Connection: upgrade", without=CONNECTION),
    "the option on a line of its own": opening("Connection: keep-alive"),
    "the protocol in capitals": opening("Upgrade: WebSocket", without=UPGRADE),
    "with extensions and protocols": opening(
        "Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: graphql-transport-ws"
    ),
    "a key of other bytes": opening("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", without=KEY),
    "inside a tunnel": heads.origin("/live", *heads.OPENING),
}


@pytest.mark.parametrize("received", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_an_opening_handshake_is_a_call_that_says_so(received: Received) -> None:
    call = canonicalise(received, heads.INSIDE if received.form == "origin" else heads.OUTSIDE)
    assert call.websocket
    assert {name.lower() for name, _ in call.headers} <= {"host", "sec-websocket-protocol"}
    assert with_body(call, b"") == call


REFUSED: dict[str, tuple[Received, Code, str]] = {
    "another protocol": (opening("Upgrade: foo", without=UPGRADE), Code.REQUEST_UNSUPPORTED, "upgrade"),
    "h2c": (opening("Upgrade: h2c", without=UPGRADE), Code.REQUEST_UNSUPPORTED, "upgrade"),
    "a list of protocols": (opening("Upgrade: h2c, websocket", without=UPGRADE), Code.REQUEST_UNSUPPORTED, "upgrade"),
    "a protocol on a second line": (opening("Upgrade: websocket"), Code.REQUEST_UNSUPPORTED, "upgrade"),
    "a version of the protocol": (
        opening("Upgrade: websocket/13", without=UPGRADE),
        Code.REQUEST_UNSUPPORTED,
        "upgrade",
    ),
    "no protocol": (opening("Upgrade: ", without=UPGRADE), Code.REQUEST_UNSUPPORTED, "upgrade"),
    "no Connection": (opening(without=CONNECTION), Code.REQUEST_UNSUPPORTED, "upgrade"),
    "a Connection that only sounds alike": (
        opening("Connection: notupgrade", without=CONNECTION),
        Code.REQUEST_UNSUPPORTED,
        "upgrade",
    ),
    "another method": (opening(method="POST"), Code.REQUEST_UNSUPPORTED, "upgrade"),
    "no Upgrade": (opening(without=UPGRADE), Code.REQUEST_UNSUPPORTED, "connection"),
    "no version": (opening(without=VERSION), Code.REQUEST_UNSUPPORTED, "sec-websocket-version"),
    "an older version": (
        opening("Sec-WebSocket-Version: 8", without=VERSION),
        Code.REQUEST_UNSUPPORTED,
        "sec-websocket-version",
    ),
    "two versions": (opening("Sec-WebSocket-Version: 13"), Code.REQUEST_UNSUPPORTED, "sec-websocket-version"),
    "no key": (opening(without=KEY), Code.REQUEST_MALFORMED, "sec-websocket-key"),
    "a short key": (opening("Sec-WebSocket-Key: AAAA", without=KEY), Code.REQUEST_MALFORMED, "sec-websocket-key"),
    "a key that is not base64": (
        opening("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ", without=KEY),
        Code.REQUEST_MALFORMED,
        "sec-websocket-key",
    ),
    "two keys": (
        opening("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
        Code.REQUEST_MALFORMED,
        "sec-websocket-key",
    ),
    "a field in another spelling": (
        opening("Sec_WebSocket_Key: AAAAAAAAAAAAAAAAAAAAAA=="),
        Code.REQUEST_MALFORMED,
        "sec_websocket_key",
    ),
    "a body": (opening("Content-Length: 3"), Code.REQUEST_MALFORMED, "upgrade"),
    "a body in chunks": (opening("Transfer-Encoding: chunked"), Code.REQUEST_MALFORMED, "upgrade"),
    "h2c settings beside it": (opening("HTTP2-Settings: AAMA"), Code.REQUEST_UNSUPPORTED, "http2-settings"),
    "another option that is not supported": (opening("Connection: trailer"), Code.REQUEST_UNSUPPORTED, "connection"),
}


@pytest.mark.parametrize(("received", "code", "field"), REFUSED.values(), ids=REFUSED.keys())
def test_any_other_upgrade_is_refused(received: Received, code: Code, field: str) -> None:
    with pytest.raises(Rejected) as caught:
        canonicalise(received, heads.OUTSIDE)
    assert (caught.value.code, caught.value.field) == (code, field)


def test_a_tunnel_is_not_opened_with_a_handshake() -> None:
    with pytest.raises(Rejected) as caught:
        canonical_connect(heads.connect("erp.example:443", *heads.OPENING))
    assert (caught.value.code, caught.value.field) == (Code.REQUEST_UNSUPPORTED, "upgrade")


def test_a_body_that_was_not_announced_is_refused_too() -> None:
    with pytest.raises(Rejected) as caught:
        with_body(canonicalise(opening(), heads.OUTSIDE), b"hello")
    assert (caught.value.code, caught.value.field) == (Code.REQUEST_MALFORMED, "body")


def test_the_fields_of_a_handshake_are_nothing_without_an_upgrade() -> None:
    call = canonicalise(heads.absolute(URL, VERSION, KEY), heads.OUTSIDE)
    assert not call.websocket
    assert ("Sec-WebSocket-Version", "13") in call.headers


def test_the_key_makes_no_difference_to_the_call() -> None:
    other = opening("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Accept: x", without=KEY)
    assert canonicalise(other, heads.OUTSIDE) == canonicalise(opening("Accept: x"), heads.OUTSIDE)


def test_a_handshake_written_by_us_is_read_as_the_same_call() -> None:
    call = canonicalise(opening("Sec-WebSocket-Protocol: a, b"), heads.OUTSIDE)
    assert canonicalise(heads.as_received(call), heads.OUTSIDE) == with_body(call, b"")
    lines = tuple(f"{name}: {value}" for name, value in opening_lines("dGhlIHNhbXBsZSBub25jZQ=="))
    assert lines == heads.OPENING


# --- the answer ------------------------------------------------------------------------------------------------------

SAMPLE_KEY, SAMPLE_ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""RFC 6455 §1.3."""

OPENED = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": SAMPLE_ACCEPT}
OFFERED = frozenset({"chat", "graphql-transport-ws"})


def opened(*more: tuple[str, str], **changes: str | None) -> list[tuple[str, str]]:
    lines = {**OPENED, **{name.replace("_", "-"): value for name, value in changes.items()}}
    return [*((name, value) for name, value in lines.items() if value is not None), *more]


def test_a_key_is_answered_as_the_rfc_shows_it() -> None:
    assert accept_of(SAMPLE_KEY) == SAMPLE_ACCEPT


GOOD_ANSWERS: dict[str, tuple[list[tuple[str, str]], str | None]] = {
    "as RFC 6455 writes it": (opened(), None),
    "in other letters": (opened(Upgrade="WebSocket", Connection="keep-alive, upgrade"), None),
    "with a subprotocol that was offered": (opened(("sec-websocket-protocol", "chat")), "chat"),
    "with other fields": (opened(("Server", "x"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")), None),
}


@pytest.mark.parametrize(("headers", "chosen"), GOOD_ANSWERS.values(), ids=GOOD_ANSWERS.keys())
def test_an_answer_that_opens_the_websocket(headers: list[tuple[str, str]], chosen: str | None) -> None:
    assert check_opened(headers, key=SAMPLE_KEY, offered=OFFERED) == chosen


BAD_ANSWERS: dict[str, tuple[list[tuple[str, str]], str]] = {
    "no upgrade": (opened(Upgrade=None), "upgrade"),
    "another upgrade": (opened(Upgrade="foo"), "upgrade"),
    "two upgrades": (opened(("Upgrade", "websocket")), "upgrade"),
    "an upgrade that Connection does not name": (opened(Connection="keep-alive"), "upgrade"),
    "no Connection": (opened(Connection=None), "upgrade"),
    "no answer to the key": (opened(Sec_WebSocket_Accept=None), "sec-websocket-accept"),
    "the key itself": (opened(Sec_WebSocket_Accept=SAMPLE_KEY), "sec-websocket-accept"),
    "the answer to another key": (opened(Sec_WebSocket_Accept=accept_of("x")), "sec-websocket-accept"),
    "the answer in other letters": (opened(Sec_WebSocket_Accept=SAMPLE_ACCEPT.lower()), "sec-websocket-accept"),
    "two answers": (opened(("Sec-WebSocket-Accept", SAMPLE_ACCEPT)), "sec-websocket-accept"),
    "an extension": (opened(("Sec-WebSocket-Extensions", "permessage-deflate")), "sec-websocket-extensions"),
    "a subprotocol that was not offered": (opened(("Sec-WebSocket-Protocol", "soap")), "sec-websocket-protocol"),
    "a subprotocol in other letters": (opened(("Sec-WebSocket-Protocol", "Chat")), "sec-websocket-protocol"),
    "two subprotocols on a line": (
        opened(("Sec-WebSocket-Protocol", "chat, graphql-transport-ws")),
        "sec-websocket-protocol",
    ),
    "two subprotocols on two lines": (
        opened(("Sec-WebSocket-Protocol", "chat"), ("Sec-WebSocket-Protocol", "chat")),
        "sec-websocket-protocol",
    ),
    "an empty subprotocol": (opened(("Sec-WebSocket-Protocol", "")), "sec-websocket-protocol"),
}


@pytest.mark.parametrize(("headers", "field"), BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_an_answer_that_opens_nothing(headers: list[tuple[str, str]], field: str) -> None:
    with pytest.raises(Rejected) as caught:
        check_opened(headers, key=SAMPLE_KEY, offered=OFFERED)
    assert (caught.value.code, caught.value.field) == (Code.UPSTREAM_BROKEN, field)


@pytest.mark.parametrize("protocol", [None, "chat"], ids=["without a subprotocol", "with a subprotocol"])
def test_our_own_answer_opens_the_clients_websocket(protocol: str | None) -> None:
    lines = answer_lines(SAMPLE_KEY, protocol)
    assert check_opened(lines, key=SAMPLE_KEY, offered=OFFERED) == protocol


def test_what_is_offered_is_one_list_over_all_lines() -> None:
    lines = [("sec-websocket-protocol", "chat, , a"), ("Sec-WebSocket-Protocol", "b"), ("x", "c")]
    assert offered_protocols(lines) == {"chat", "a", "b"}
    assert offered_protocols([]) == frozenset()
