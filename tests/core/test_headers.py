"""The head of a request: every refusal beside the same head without the offence (THREATS.md A03, C01, C02)."""

from dataclasses import replace

import heads
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import Code, Rejected
from proxy.core.forwarding import forwardable
from proxy.core.headers import (
    Limits,
    announced_bytes,
    check_announced,
    check_head,
    field_value,
    is_small,
    with_one_cookie,
)
from proxy.core.model import Received

LIMITS = Limits()

ACCEPTED = {
    "the plain head": heads.absolute(),
    "an empty value": heads.absolute("http://erp.example/", "X-Empty: "),
    "spaces and tabs inside a value": heads.absolute("http://erp.example/", "X-Note: a b\tc"),
    "every character a token may have": heads.absolute("http://erp.example/", "!#$%&'*+-.^_`|~09Az: x"),
    "an ordinary field on two lines": heads.absolute("http://erp.example/", "Accept: a", "Accept: b"),
    "100-continue": heads.absolute("http://erp.example/", "Expect: 100-Continue", "Content-Length: 3"),
    "chunked": heads.absolute("http://erp.example/", "Transfer-Encoding: Chunked"),
    "a length": heads.absolute("http://erp.example/", "Content-Length: 12"),
    "a length of nothing": heads.absolute("http://erp.example/", "Content-Length: 0"),
    "keep-alive": heads.absolute("http://erp.example/", "Connection: keep-alive", "Keep-Alive: timeout=5"),
    "an empty Connection": heads.absolute("http://erp.example/", "Connection: "),
    "TE, which says what the client accepts": heads.absolute("http://erp.example/", "TE: trailers", "Connection: TE"),
    "C01 a word that only ends in upgrade": heads.absolute("http://erp.example/", "Connection: notupgrade"),
    "forwarded hosts, which are compared elsewhere": heads.absolute(
        "http://erp.example/", "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example"
    ),
    "an underscore in a field of no importance": heads.absolute("http://erp.example/", "X_Trace: 1"),
    "100 lines": heads.absolute("http://erp.example/", *["X-Line: x"] * 99),
    "a target of 8192 bytes": heads.absolute("http://erp.example/" + "a" * (8192 - 12)),
    "a CONNECT": heads.connect(),
    "a CONNECT without Host": heads.connect(host=""),
}


@pytest.mark.parametrize("received", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_head_with_one_reading_is_accepted(received: Received) -> None:
    check_head(received, LIMITS)


REFUSED: dict[str, tuple[tuple[str, ...], Code, str]] = {
    "A03 a second Host": (("Host: erp.example",), Code.URL_AMBIGUOUS, "host"),
    "A03 a second Host in other letters": (("hOST: evil.example",), Code.URL_AMBIGUOUS, "host"),
    "Content_Type, which some servers read as Content-Type": (
        ("content_type: x",),
        Code.REQUEST_MALFORMED,
        "content_type",
    ),
    "C02 Content-Length beside Transfer-Encoding": (
        ("Content-Length: 3", "Transfer-Encoding: chunked"),
        Code.URL_AMBIGUOUS,
        "transfer-encoding",
    ),
    "C02 two Content-Length lines that differ": (
        ("Content-Length: 3", "Content-Length: 4"),
        Code.REQUEST_MALFORMED,
        "content-length",
    ),
    "C02 two Content-Length lines that agree": (
        ("Content-Length: 3", "Content-Length: 3"),
        Code.REQUEST_MALFORMED,
        "content-length",
    ),
    "C02 a list of lengths": (("Content-Length: 3, 3",), Code.REQUEST_MALFORMED, "content-length"),
    "C02 a signed length": (("Content-Length: +3",), Code.REQUEST_MALFORMED, "content-length"),
    "C02 a negative length": (("Content-Length: -3",), Code.REQUEST_MALFORMED, "content-length"),
    "C02 a zero-padded length": (("Content-Length: 03",), Code.REQUEST_MALFORMED, "content-length"),
    "C02 a length in hex": (("Content-Length: 0x3",), Code.REQUEST_MALFORMED, "content-length"),
    "C02 an empty length": (("Content-Length: ",), Code.REQUEST_MALFORMED, "content-length"),
    "C02 an endless length": (("Content-Length: " + "9" * 17,), Code.REQUEST_MALFORMED, "content-length"),
    "C02 two codings": (("Transfer-Encoding: gzip, chunked",), Code.URL_AMBIGUOUS, "transfer-encoding"),
    "C02 an unknown coding": (("Transfer-Encoding: xchunked",), Code.URL_AMBIGUOUS, "transfer-encoding"),
    "C02 identity": (("Transfer-Encoding: identity",), Code.URL_AMBIGUOUS, "transfer-encoding"),
    "C02 an empty coding": (("Transfer-Encoding: ",), Code.URL_AMBIGUOUS, "transfer-encoding"),
    "C02 chunked twice": (
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        Code.REQUEST_MALFORMED,
        "transfer-encoding",
    ),
    "C02 chunked behind a vertical tab": (
        ("Transfer-Encoding: \x0bchunked",),
        Code.REQUEST_MALFORMED,
        "transfer-encoding",
    ),
    "C02 Transfer_Encoding": (("Transfer_Encoding: chunked",), Code.REQUEST_MALFORMED, "transfer_encoding"),
    "C02 obs-fold": (("X-Note: a\r\n b",), Code.REQUEST_MALFORMED, "x-note"),
    "a NUL in a value": (("X-Note: a\0b",), Code.REQUEST_MALFORMED, "x-note"),
    "a bare CR in a value": (("X-Note: a\rb",), Code.REQUEST_MALFORMED, "x-note"),
    "a bare LF in a value": (("X-Note: a\nb",), Code.REQUEST_MALFORMED, "x-note"),
    "an 8-bit value": (("X-Note: caf\xe9",), Code.REQUEST_MALFORMED, "x-note"),
    "a DEL in a value": (("X-Note: a\x7fb",), Code.REQUEST_MALFORMED, "x-note"),
    "an escape in a value": (("X-Note: \x1b[31m",), Code.REQUEST_MALFORMED, "x-note"),
    "a space before a value's end": (("X-Note: a ",), Code.REQUEST_MALFORMED, "x-note"),
    "a tab before a value": (("X-Note: \ta",), Code.REQUEST_MALFORMED, "x-note"),
    "a space before the colon": (("X-Note : a",), Code.REQUEST_MALFORMED, "headers"),
    "an empty name": ((": a",), Code.REQUEST_MALFORMED, "headers"),
    "a name with a NUL": (("X\0Note: a",), Code.REQUEST_MALFORMED, "headers"),
    "an 8-bit name": (("X-Caf\xe9: a",), Code.REQUEST_MALFORMED, "headers"),
    "a pseudo-header": ((":authority: evil.example",), Code.REQUEST_MALFORMED, "headers"),
    "C01 an upgrade": (("Upgrade: foo", "Connection: upgrade"), Code.REQUEST_UNSUPPORTED, "upgrade"),
    "C01 an upgrade to a WebSocket": (("Upgrade: websocket",), Code.REQUEST_UNSUPPORTED, "upgrade"),
    "C01 an upgrade named only in Connection": (("Connection: Upgrade",), Code.REQUEST_UNSUPPORTED, "connection"),
    "C01 an upgrade in the second Connection line": (
        ("Connection: close", "Connection: x, upgrade"),
        Code.REQUEST_UNSUPPORTED,
        "connection",
    ),
    "C01 h2c settings": (("HTTP2-Settings: AAMAAABkAAQAAP__",), Code.REQUEST_UNSUPPORTED, "http2-settings"),
    "a Connection option that is no token": (("Connection: a b",), Code.REQUEST_MALFORMED, "connection"),
    "a Connection that takes Host away": (("Connection: close, Host",), Code.REQUEST_MALFORMED, "connection"),
    "a Connection that takes credentials away": (("Connection: authorization",), Code.REQUEST_MALFORMED, "connection"),
    "a Connection that takes the length away": (("Connection: Content_Length",), Code.REQUEST_MALFORMED, "connection"),
    "an expectation we cannot meet": (("Expect: 200-ok",), Code.REQUEST_UNSUPPORTED, "expect"),
    "an empty expectation": (("Expect: ",), Code.REQUEST_UNSUPPORTED, "expect"),
    "announced trailers": (("Trailer: X-Sum",), Code.REQUEST_UNSUPPORTED, "trailer"),
    "X-Original-URL": (("X-Original-URL: /admin",), Code.URL_AMBIGUOUS, "x-original-url"),
    "X-Rewrite-URL": (("x-rewrite-url: /admin",), Code.URL_AMBIGUOUS, "x-rewrite-url"),
    "X.Original.URL": (("X.Original.URL: /admin",), Code.REQUEST_MALFORMED, "x.original.url"),
    "a Connection that takes the length away, with a dot": (
        ("Connection: content.length",),
        Code.REQUEST_MALFORMED,
        "connection",
    ),
    "X_Original_URL": (("X_Original_URL: /admin",), Code.REQUEST_MALFORMED, "x_original_url"),
    "X-Original-Host": (("X-Original-Host: evil.example",), Code.URL_AMBIGUOUS, "x-original-host"),
    "X-HTTP-Path-Override": (("X-HTTP-Path-Override: /admin",), Code.URL_AMBIGUOUS, "x-http-path-override"),
    "X-HTTP-Method-Override": (("X-HTTP-Method-Override: DELETE",), Code.URL_AMBIGUOUS, "x-http-method-override"),
    "X-HTTP-Method": (("X-HTTP-Method: DELETE",), Code.URL_AMBIGUOUS, "x-http-method"),
    "X-Method-Override": (("X-Method-Override: DELETE",), Code.URL_AMBIGUOUS, "x-method-override"),
}
for name in (
    "Content-Type",
    "Content-Encoding",
    "Content-Digest",
    "Authorization",
    "Proxy-Authorization",
    "Cookie",
    "Idempotency-Key",
    "Prefer",
    "Agent-Intent",
    "Intent-Manifest",
    "Signature",
    "Signature-Input",
    "Expect",
):
    REFUSED[f"{name} on two lines"] = (
        (f"{name}: 100-continue", f"{name.lower()}: 100-continue"),
        Code.REQUEST_MALFORMED,
        name.lower(),
    )


@pytest.mark.parametrize(("more", "code", "field"), REFUSED.values(), ids=REFUSED.keys())
def test_a_head_with_more_than_one_reading_is_refused(more: tuple[str, ...], code: Code, field: str) -> None:
    good = heads.absolute("http://erp.example/v1/invoices")
    check_head(good, LIMITS)
    with pytest.raises(Rejected) as caught:
        check_head(replace(good, headers=(*good.headers, *heads.lines(*more))), LIMITS)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert caught.value.detail.isascii() or "§" in caught.value.detail


@pytest.mark.parametrize(
    ("received", "code", "field"),
    [
        pytest.param(heads.absolute(host=""), Code.REQUEST_MALFORMED, "host", id="A03 no Host"),
        pytest.param(
            replace(heads.absolute(), headers=heads.lines("Host: ")),
            Code.REQUEST_MALFORMED,
            "host",
            id="A03 an empty Host",
        ),
        pytest.param(
            replace(heads.absolute(), headers=heads.lines("Host: a\0b")),
            Code.REQUEST_MALFORMED,
            "host",
            id="A03 a NUL in Host",
        ),
        pytest.param(
            heads.absolute("http://erp.example/", *["X-Line: x"] * 100),
            Code.REQUEST_TOO_LARGE,
            "headers",
            id="101 lines",
        ),
        pytest.param(
            heads.absolute("http://erp.example/", "X-Long: " + "x" * 65_536),
            Code.REQUEST_TOO_LARGE,
            "headers",
            id="64 KiB of fields and a little",
        ),
        pytest.param(
            heads.absolute("http://erp.example/" + "a" * (8192 - 11)),
            Code.REQUEST_TOO_LARGE,
            "target",
            id="a target of 8193 bytes",
        ),
        pytest.param(
            heads.connect("erp.example:443", "Content-Length: 0"),
            Code.REQUEST_MALFORMED,
            "content-length",
            id="a CONNECT with a length",
        ),
        pytest.param(
            heads.connect("erp.example:443", "Transfer-Encoding: chunked"),
            Code.REQUEST_MALFORMED,
            "content-length",
            id="a CONNECT with a body in chunks",
        ),
    ],
)
def test_a_head_of_the_wrong_shape_or_size_is_refused(received: Received, code: Code, field: str) -> None:
    with pytest.raises(Rejected) as caught:
        check_head(received, LIMITS)
    assert (caught.value.code, caught.value.field) == (code, field)


def test_a_secret_in_a_refused_value_is_not_repeated() -> None:
    with pytest.raises(Rejected) as caught:
        check_head(heads.absolute("http://erp.example/", "Authorization: Bearer hunter2\0"), LIMITS)
    assert "hunter2" not in caught.value.detail


# --- HTTP/2 ----------------------------------------------------------------------------------------------------------

ACCEPTED_HTTP2 = {
    "without Host, since :authority names the destination": heads.http2(),
    "Host beside :authority": heads.http2("/", "host: erp.example"),
    "TE: trailers": heads.http2("/", "te: trailers"),
    "a length": heads.http2("/", "content-length: 3"),
    "100-continue": heads.http2("/", "expect: 100-continue"),
    "capitals in a value": heads.http2("/", "accept: Text/HTML"),
}


@pytest.mark.parametrize("received", ACCEPTED_HTTP2.values(), ids=ACCEPTED_HTTP2.keys())
def test_a_head_of_http2_with_one_reading_is_accepted(received: Received) -> None:
    check_head(received, LIMITS)


REFUSED_HTTP2 = {
    "a capital in a name": ("Accept: a", Code.REQUEST_MALFORMED, "accept"),
    "Connection": ("connection: close", Code.REQUEST_MALFORMED, "connection"),
    "an empty Connection": ("connection: ", Code.REQUEST_MALFORMED, "connection"),
    "Keep-Alive": ("keep-alive: timeout=5", Code.REQUEST_MALFORMED, "keep-alive"),
    "Proxy-Connection": ("proxy-connection: keep-alive", Code.REQUEST_MALFORMED, "proxy-connection"),
    "C02 Transfer-Encoding": ("transfer-encoding: chunked", Code.REQUEST_MALFORMED, "transfer-encoding"),
    "C01 an upgrade": ("upgrade: websocket", Code.REQUEST_MALFORMED, "upgrade"),
    "C01 h2c settings": ("http2-settings: AAMAAABkAAQAAP__", Code.REQUEST_UNSUPPORTED, "http2-settings"),
    "TE with more than trailers": ("te: trailers, deflate", Code.REQUEST_MALFORMED, "te"),
    "TE in capitals": ("te: Trailers", Code.REQUEST_MALFORMED, "te"),
    "an empty TE": ("te: ", Code.REQUEST_MALFORMED, "te"),
    "announced trailers": ("trailer: x-sum", Code.REQUEST_UNSUPPORTED, "trailer"),
    "C04 a pseudo-header field among the fields": (":path: /admin", Code.REQUEST_MALFORMED, "headers"),
    "C04 a pseudo-header field of a tunnel": (":protocol: websocket", Code.REQUEST_MALFORMED, "headers"),
    "a line break in a value": ("x-note: a\r\nhost: evil.example", Code.REQUEST_MALFORMED, "x-note"),
    "a space before a value": ("x-note:  a", Code.REQUEST_MALFORMED, "x-note"),
    "a colon in a name": ("x:note: a", Code.REQUEST_MALFORMED, "headers"),
}


@pytest.mark.parametrize(("line", "code", "field"), REFUSED_HTTP2.values(), ids=REFUSED_HTTP2.keys())
def test_a_head_of_http2_that_others_would_read_otherwise_is_refused(line: str, code: Code, field: str) -> None:
    good = heads.http2("/v1/invoices")
    check_head(good, LIMITS)
    with pytest.raises(Rejected) as caught:
        check_head(heads.http2("/v1/invoices", line), LIMITS)
    assert (caught.value.code, caught.value.field) == (code, field)


@pytest.mark.parametrize("form", ["absolute", "authority"])
def test_http2_is_spoken_inside_a_tunnel_alone(form: str) -> None:
    with pytest.raises(Rejected) as caught:
        check_head(replace(heads.http2(), form=form), LIMITS)
    assert (caught.value.code, caught.value.field) == (Code.REQUEST_UNSUPPORTED, "target")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(("accept: a", "cookie: a=b"), ("accept: a", "cookie: a=b"), id="one line stays"),
        pytest.param(("accept: a",), ("accept: a",), id="none stays none"),
        pytest.param(
            ("a: 1", "cookie: a=b", "b: 2", "cookie: c=d", "cookie: e=f", "c: 3"),
            ("a: 1", "cookie: a=b; c=d; e=f", "b: 2", "c: 3"),
            id="several are joined where the first stood",
        ),
    ],
)
def test_the_cookie_lines_of_http2_become_one(given: tuple[str, ...], expected: tuple[str, ...]) -> None:
    joined = with_one_cookie(heads.lines(*given))
    assert joined == heads.lines(*expected)
    check_head(replace(heads.http2(), headers=joined), LIMITS)


def test_cookie_lines_that_were_not_joined_are_refused() -> None:
    with pytest.raises(Rejected) as caught:
        check_head(heads.http2("/", "cookie: a=b", "cookie: c=d"), LIMITS)
    assert (caught.value.code, caught.value.field) == (Code.REQUEST_MALFORMED, "cookie")


def test_a_body_is_small_only_if_it_says_so() -> None:
    limits = Limits(unproven_body_bytes=64)
    for length, small in (
        ("Content-Length: 64", True),
        ("Content-Length: 65", False),
        ("Transfer-Encoding: chunked", False),
    ):
        assert is_small(heads.absolute("http://erp.example/", length, method="POST"), limits) is small


def test_a_body_is_announced_by_its_length_and_refused_before_it_comes_if_that_is_over_the_limit() -> None:
    limits = Limits(body_bytes=64)
    for length, announced in (
        ("Content-Length: 64", 64),
        ("Content-Length: 0", 0),
        ("Transfer-Encoding: chunked", None),
    ):
        received = heads.absolute("http://erp.example/", length, method="POST")
        assert announced_bytes(received) == announced
        check_announced(received, limits)
    over = heads.absolute("http://erp.example/", "Content-Length: 65", method="POST")
    check_head(over, limits)  # what is left unexamined may be of any size
    with pytest.raises(Rejected) as caught:
        check_announced(over, limits)
    assert (caught.value.code, caught.value.field) == (Code.REQUEST_TOO_LARGE, "content-length")


def test_a_field_is_found_in_any_letters() -> None:
    received = heads.absolute("http://erp.example/", "cOOkie: a=b")
    assert field_value(received, b"cookie") == b"a=b"
    assert field_value(received, b"authorization") is None


names = st.one_of(
    st.sampled_from(
        [name.split(":")[0].encode() for texts, _, _ in REFUSED.values() for name in texts if name.isascii()]
    ),
    st.binary(max_size=8),
    st.from_regex(rb"[A-Za-z_-]{1,10}", fullmatch=True),
)
values = st.one_of(
    st.sampled_from(
        [b"chunked", b"3", b"upgrade", b"close, x-hop", b'intent=("a")', b"intent=:AA==:, x=1", b"100-continue"]
    ),
    st.binary(max_size=20),
    st.from_regex(rb"[!-~]{0,20}", fullmatch=True),
)


@given(
    st.lists(st.tuples(names, values), max_size=6),
    st.sampled_from(["absolute", "origin", "authority"]),
    st.sampled_from([heads.absolute(), heads.absolute("http://erp.example/", *heads.OPENING), heads.http2()]),
)
def test_nothing_but_a_refusal_escapes_and_what_passes_is_clean(
    lines: list[tuple[bytes, bytes]], form: str, good: Received
) -> None:
    received = replace(good, form=form, headers=(*good.headers, *lines))
    try:
        check_head(received, LIMITS)
        passed = forwardable(received.headers)
    except Rejected:
        return
    for name, value in passed:
        assert name.isascii()
        assert value == value.strip()
        assert value.isprintable() or "\t" in value
        assert name.lower() not in {"agent-intent", "intent-manifest", "proxy-authorization", "connection", "upgrade"}
