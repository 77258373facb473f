"""The opening handshake of a WebSocket: one form is read, every other upgrade is refused (THREATS.md C01, C03)."""

import heads
import pytest

from proxy.core.canonical import as_received, canonical_connect, canonicalise, with_body
from proxy.core.errors import Code, Rejected
from proxy.core.handshake import opening_lines
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
    assert canonicalise(as_received(call), heads.OUTSIDE) == with_body(call, b"")
    lines = tuple(f"{name}: {value}" for name, value in opening_lines("dGhlIHNhbXBsZSBub25jZQ=="))
    assert lines == heads.OPENING
