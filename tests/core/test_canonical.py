"""The canonical call: one reading or none, and what is judged is what is forwarded (THREATS.md A, C02, D01, D02)."""

from dataclasses import replace
from urllib.parse import unquote_to_bytes

import heads
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.canonical import (
    Limits,
    canonical_connect,
    canonicalise,
    with_body,
    with_stream,
)
from proxy.core.errors import Code, Rejected
from proxy.core.model import Call, Leg, Received, Unread
from proxy.core.urls import canonical_path, canonical_query


def refusal(received: Received, leg: Leg = heads.OUTSIDE) -> tuple[Code, str]:
    with pytest.raises(Rejected) as caught:
        canonicalise(received, leg)
    assert caught.value.detail.isprintable()
    return caught.value.code, caught.value.field


# --- who it is for ---------------------------------------------------------------------------------------------------


def test_a_plain_call_is_read_whole() -> None:
    received = heads.absolute("http://ERP.example:0080/v1/invoices?limit=2&q=a+b%7e", "Accept: application/json")
    assert canonicalise(received, heads.OUTSIDE) == Call(
        method="GET",
        scheme="http",
        host="erp.example",
        port=80,
        path="/v1/invoices",
        segments=("v1", "invoices"),
        query="limit=2&q=a+b~",
        has_query=True,
        parameters=(("limit", "2"), ("q", "a b~")),
        headers=(("Host", "erp.example"), ("Accept", "application/json")),
        body=b"",
    )


AGREEING = {
    "A04 an upper-case scheme": (heads.absolute("HTTPS://erp.example/"), heads.OUTSIDE, "https://erp.example"),
    "A04 an upper-case name": (heads.absolute("http://ERP.EXAMPLE/"), heads.OUTSIDE, "http://erp.example"),
    "A04 a trailing dot in one of them": (
        heads.absolute("http://erp.example./", host="erp.example"),
        heads.OUTSIDE,
        "http://erp.example",
    ),
    "the default port in one of them": (
        heads.absolute("http://erp.example:80/", host="erp.example"),
        heads.OUTSIDE,
        "http://erp.example",
    ),
    "a port of its own in both": (heads.absolute("http://erp.example:8080/"), heads.OUTSIDE, "http://erp.example:8080"),
    "an IPv6 literal in two spellings": (
        heads.absolute("http://[2001:db8::1]:8080/", host="[2001:DB8:0::1]:8080"),
        heads.OUTSIDE,
        "http://[2001:db8::1]:8080",
    ),
    "inside a tunnel with TLS": (heads.origin(), heads.INSIDE, "https://erp.example"),
    "inside a tunnel with the port in Host": (
        heads.origin(host="erp.example:443"),
        heads.INSIDE,
        "https://erp.example",
    ),
    "inside a tunnel without SNI": (heads.origin(), replace(heads.INSIDE, sni=None), "https://erp.example"),
    "inside a tunnel with SNI in upper case": (
        heads.origin(),
        replace(heads.INSIDE, sni="ERP.example"),
        "https://erp.example",
    ),
    "inside a tunnel without TLS": (heads.origin(scheme="http"), heads.INSIDE_PLAIN, "http://erp.example"),
    "the SNI of the connection to the proxy itself says nothing": (
        heads.absolute(),
        replace(heads.OUTSIDE, tls=True, sni="proxy.example"),
        "http://erp.example",
    ),
    "HTTP/2 with :authority alone": (heads.http2(), heads.INSIDE, "https://erp.example"),
    "HTTP/2 with :authority in another spelling": (
        heads.http2(authority="ERP.example.:443"),
        heads.INSIDE,
        "https://erp.example",
    ),
    "HTTP/2 with Host beside :authority": (
        heads.http2("/", "host: erp.example"),
        heads.INSIDE,
        "https://erp.example",
    ),
    "fields that say the same host was asked for": (
        heads.absolute(
            "http://erp.example/",
            "X-Forwarded-Host: ERP.example, erp.example:80",
            'Forwarded: for=192.0.2.1;host="erp.example";proto=http, for=192.0.2.2',
        ),
        heads.OUTSIDE,
        "http://erp.example",
    ),
    "HTTP/2 with Host and its port beside :authority": (
        heads.http2("/", "host: erp.example:443"),
        heads.INSIDE,
        "https://erp.example",
    ),
}


@pytest.mark.parametrize(("received", "leg", "url"), AGREEING.values(), ids=AGREEING.keys())
def test_everything_that_names_the_destination_agrees(received: Received, leg: Leg, url: str) -> None:
    call = canonicalise(received, leg)
    assert call.origin == url
    assert [value for name, value in call.headers if name.lower() == "host"] == [call.authority]


DISAGREEING = {
    **{
        f"A01 {line}": (
            heads.absolute("http://erp.example/", line),
            heads.OUTSIDE,
            (Code.URL_AMBIGUOUS, line.partition(":")[0].lower()),
        )
        for line in (
            "X-Forwarded-Host: evil.example",
            "X-Forwarded-Host: erp.example, evil.example",
            "X-Forwarded-Host: erp.example:22",
            "X-Forwarded-Host: ",
            "X_Forwarded_Host: evil.example",
            "Forwarded: host=evil.example",
            'Forwarded: for=192.0.2.1;Host = "evil.example"',
            "Forwarded: host=erp.example, host=evil.example",
        )
    },
    "A01 Host is not the URL's host": (
        heads.absolute("http://erp.example/", host="evil.example"),
        heads.OUTSIDE,
        (Code.URL_AMBIGUOUS, "host"),
    ),
    "A01 Host has another port than the URL": (
        heads.absolute("http://erp.example/", host="erp.example:8080"),
        heads.OUTSIDE,
        (Code.URL_AMBIGUOUS, "host"),
    ),
    "A01 Host has no port and the URL another than the default": (
        heads.absolute("http://erp.example:8080/", host="erp.example"),
        heads.OUTSIDE,
        (Code.URL_AMBIGUOUS, "host"),
    ),
    "A01 an origin form on the proxy's own listener": (
        heads.origin(scheme="http"),
        heads.OUTSIDE,
        (Code.REQUEST_UNSUPPORTED, "target"),
    ),
    "A02 the inner Host is not the tunnel's": (
        heads.origin(host="evil.example"),
        heads.INSIDE,
        (Code.URL_AMBIGUOUS, "host"),
    ),
    "A02 the inner Host has another port than the tunnel": (
        heads.origin(host="erp.example:22"),
        heads.INSIDE,
        (Code.URL_AMBIGUOUS, "host"),
    ),
    "A02 the tunnel goes to another port than the inner Host": (
        heads.origin(),
        replace(heads.INSIDE, tunnel=("erp.example", 22)),
        (Code.URL_AMBIGUOUS, "host"),
    ),
    "A02 the SNI is not the tunnel's": (
        heads.origin(),
        replace(heads.INSIDE, sni="evil.example"),
        (Code.URL_AMBIGUOUS, "sni"),
    ),
    "A02 the SNI is no host name": (
        heads.origin(),
        replace(heads.INSIDE, sni="erp..example"),
        (Code.URL_AMBIGUOUS, "sni"),
    ),
    "A02 an absolute form inside a tunnel": (
        heads.absolute("https://erp.example/"),
        heads.INSIDE,
        (Code.URL_AMBIGUOUS, "target"),
    ),
    "A02 an absolute form for another host inside a tunnel": (
        heads.absolute("https://evil.example/"),
        heads.INSIDE,
        (Code.URL_AMBIGUOUS, "target"),
    ),
    "A02 https claimed in a tunnel without TLS": (
        heads.origin(),
        replace(heads.INSIDE, inner_tls=False),
        (Code.URL_AMBIGUOUS, "scheme"),
    ),
    "A02 http claimed in a tunnel with TLS": (
        heads.origin(scheme="http", host="erp.example:443"),
        heads.INSIDE,
        (Code.URL_AMBIGUOUS, "scheme"),
    ),
    "A03 an :authority that is not Host": (
        heads.http2("/", "host: erp.example", authority="evil.example"),
        heads.INSIDE,
        (Code.URL_AMBIGUOUS, "host"),
    ),
    "A03 a Host that is not :authority": (
        heads.http2("/", "host: evil.example"),
        heads.INSIDE,
        (Code.URL_AMBIGUOUS, "host"),
    ),
    "A03 a Host on another port than :authority": (
        heads.http2("/", "host: erp.example:8443"),
        heads.INSIDE,
        (Code.URL_AMBIGUOUS, "host"),
    ),
    "A03 an empty Host beside :authority": (heads.http2("/", "host: "), heads.INSIDE, (Code.URL_AMBIGUOUS, "host")),
    "A03 two Hosts in HTTP/2": (
        heads.http2("/", "host: erp.example", "host: erp.example"),
        heads.INSIDE,
        (Code.URL_AMBIGUOUS, "host"),
    ),
    "A03 an authority in HTTP/1.1 that is not Host": (
        heads.origin(authority="evil.example"),
        heads.INSIDE,
        (Code.URL_AMBIGUOUS, "host"),
    ),
    "A03 no :authority": (heads.http2(authority=""), heads.INSIDE, (Code.URL_AMBIGUOUS, "authority")),
    "A03 a Host in place of :authority": (
        heads.http2("/", "host: erp.example", authority=""),
        heads.INSIDE,
        (Code.URL_AMBIGUOUS, "authority"),
    ),
    "A03 an :authority with userinfo": (
        heads.http2(authority="a:b@erp.example"),
        heads.INSIDE,
        (Code.URL_AMBIGUOUS, "authority"),
    ),
    "A02 an :authority that is not the tunnel's": (
        heads.http2(authority="evil.example"),
        heads.INSIDE,
        (Code.URL_AMBIGUOUS, "host"),
    ),
    "A02 an :authority with another port than the tunnel": (
        heads.http2(authority="erp.example:22"),
        heads.INSIDE,
        (Code.URL_AMBIGUOUS, "host"),
    ),
    "C04 a :scheme that is not the tunnel's": (
        heads.http2(scheme="http", authority="erp.example:443"),
        heads.INSIDE,
        (Code.URL_AMBIGUOUS, "scheme"),
    ),
    "C04 a :scheme of nothing": (heads.http2(scheme=""), heads.INSIDE, (Code.REQUEST_UNSUPPORTED, "scheme")),
    "C04 a whole URL in :path": (heads.http2("https://evil.example/"), heads.INSIDE, (Code.URL_AMBIGUOUS, "path")),
    "C04 an authority in :path": (heads.http2("//evil.example/"), heads.INSIDE, (Code.URL_AMBIGUOUS, "path")),
    "C04 a space in :path": (heads.http2("/a HTTP/1.1"), heads.INSIDE, (Code.URL_AMBIGUOUS, "path")),
    "C04 a line break in :path": (heads.http2("/a\r\nX: y"), heads.INSIDE, (Code.URL_AMBIGUOUS, "path")),
    "C04 an asterisk for :path": (heads.http2("*"), heads.INSIDE, (Code.URL_AMBIGUOUS, "path")),
    "C04 no :path": (heads.http2(""), heads.INSIDE, (Code.URL_AMBIGUOUS, "path")),
    "C04 a fragment in :path": (heads.http2("/a#b"), heads.INSIDE, (Code.URL_AMBIGUOUS, "path")),
    "C04 CONNECT inside HTTP/2": (
        heads.http2(method="CONNECT"),
        heads.INSIDE,
        (Code.REQUEST_UNSUPPORTED, "method"),
    ),
    "C04 HTTP/2 on the proxy's own listener": (heads.http2(), heads.OUTSIDE, (Code.REQUEST_UNSUPPORTED, "target")),
    "A03 Host with userinfo": (
        heads.absolute("http://erp.example/", host="a:b@erp.example"),
        heads.OUTSIDE,
        (Code.URL_AMBIGUOUS, "host"),
    ),
    "A03 Host with a path": (
        heads.absolute("http://erp.example/", host="erp.example/x"),
        heads.OUTSIDE,
        (Code.URL_AMBIGUOUS, "host"),
    ),
    "A03 Host with a tab": (
        heads.absolute("http://erp.example/", host="erp\t.example"),
        heads.OUTSIDE,
        (Code.URL_AMBIGUOUS, "host"),
    ),
    "A03 Host twice": (
        heads.absolute("http://erp.example/", "Host: erp.example"),
        heads.OUTSIDE,
        (Code.URL_AMBIGUOUS, "host"),
    ),
    "A03 no Host": (heads.absolute(host=""), heads.OUTSIDE, (Code.REQUEST_MALFORMED, "host")),
    "A04 userinfo that looks like a host": (
        heads.absolute("https://github.com@evil.example/", host="github.com"),
        heads.OUTSIDE,
        (Code.URL_AMBIGUOUS, "authority"),
    ),
    "A04 a query where the authority ends, as some parsers split it": (
        heads.absolute("https://erp.example?x/", host="erp.example"),
        heads.OUTSIDE,
        (Code.URL_AMBIGUOUS, "authority"),
    ),
    "A04 an absolute form without a host": (
        heads.absolute("http:///v1", host="erp.example"),
        heads.OUTSIDE,
        (Code.URL_AMBIGUOUS, "authority"),
    ),
    "another scheme": (heads.absolute("ftp://erp.example/"), heads.OUTSIDE, (Code.REQUEST_UNSUPPORTED, "scheme")),
    "A04 an 8-bit authority": (
        heads.absolute("http://b\xfccher.example/", host="xn--bcher-kva.example"),
        heads.OUTSIDE,
        (Code.URL_AMBIGUOUS, "authority"),
    ),
}


@pytest.mark.parametrize(("received", "leg", "expected"), DISAGREEING.values(), ids=DISAGREEING.keys())
def test_destinations_that_disagree_are_refused(received: Received, leg: Leg, expected: tuple[Code, str]) -> None:
    assert refusal(received, leg) == expected


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        pytest.param("erp.example:443", None, id="Host as the target"),
        pytest.param("ERP.example.:0443", "erp.example:443", id="Host in another spelling"),
        pytest.param("erp.example:443", "erp.example", id="Host without the port of https"),
        pytest.param("erp.example:443", "", id="no Host, as HTTP/1.0 clients do"),
    ],
)
def test_a_connect_names_host_and_port(authority: str, host: str | None) -> None:
    assert canonical_connect(heads.connect(authority, host=host)) == ("erp.example", 443)


@pytest.mark.parametrize(
    ("received", "code", "field"),
    [
        pytest.param(heads.connect("erp.example"), Code.URL_AMBIGUOUS, "authority", id="no port"),
        pytest.param(
            heads.connect("erp.example:8443", host="erp.example"),
            Code.URL_AMBIGUOUS,
            "host",
            id="A02 Host with another port",
        ),
        pytest.param(
            heads.connect("erp.example:443", host="evil.example:443"), Code.URL_AMBIGUOUS, "host", id="A01 another Host"
        ),
        pytest.param(
            heads.connect("erp.example:443", host="a:b@erp.example"),
            Code.URL_AMBIGUOUS,
            "host",
            id="A04 userinfo in Host",
        ),
        pytest.param(heads.connect("127.1:443"), Code.URL_AMBIGUOUS, "authority", id="B01 a short IPv4 address"),
        pytest.param(heads.connect("a:b@erp.example:443"), Code.URL_AMBIGUOUS, "authority", id="A04 userinfo"),
        pytest.param(heads.absolute(method="CONNECT"), Code.REQUEST_MALFORMED, "method", id="an absolute form"),
        pytest.param(
            replace(heads.connect(), method=b"GET"), Code.REQUEST_MALFORMED, "method", id="another method in that form"
        ),
        pytest.param(replace(heads.connect(), target=b"/x"), Code.REQUEST_MALFORMED, "method", id="a path behind it"),
        pytest.param(
            heads.connect("erp.example:443", "Upgrade: h2c"),
            Code.REQUEST_UNSUPPORTED,
            "upgrade",
            id="C01 with an upgrade",
        ),
    ],
)
def test_a_connect_of_another_form_is_refused(received: Received, code: Code, field: str) -> None:
    with pytest.raises(Rejected) as caught:
        canonical_connect(received)
    assert (caught.value.code, caught.value.field) == (code, field)


# --- the method ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PROPFIND", "M-SEARCH", "G" * 32])
def test_a_method_is_capital_letters(method: str) -> None:
    assert canonicalise(heads.absolute(method=method), heads.OUTSIDE).method == method


@pytest.mark.parametrize(
    ("method", "code"),
    [
        pytest.param("get", Code.REQUEST_MALFORMED, id="small letters"),
        pytest.param("Get", Code.REQUEST_MALFORMED, id="one capital"),
        pytest.param("", Code.REQUEST_MALFORMED, id="nothing"),
        pytest.param("GET ", Code.REQUEST_MALFORMED, id="a space"),
        pytest.param("GET\n", Code.REQUEST_MALFORMED, id="a line break"),
        pytest.param("G" * 33, Code.REQUEST_MALFORMED, id="33 letters"),
        pytest.param("TRACE", Code.REQUEST_UNSUPPORTED, id="TRACE"),
        pytest.param("CONNECT", Code.REQUEST_UNSUPPORTED, id="CONNECT as a call"),
        pytest.param("PRI", Code.REQUEST_UNSUPPORTED, id="the preface of HTTP/2"),
    ],
)
def test_other_methods_are_refused(method: str, code: Code) -> None:
    assert refusal(heads.absolute(method=method)) == (code, "method")


# --- the body --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query", ["_method=DELETE", "a=b&_METHOD=put", "%5fmethod=x", ".method=PUT", "_HttpMethod=PATCH"]
)
def test_a_query_must_not_ask_for_another_method_than_post(query: str) -> None:
    url = f"http://erp.example/v1/invoices?{query}"
    assert refusal(heads.absolute(url, method="POST"), heads.OUTSIDE) == (Code.URL_AMBIGUOUS, "query")
    assert canonicalise(heads.absolute(url), heads.OUTSIDE).query, "which is data to a GET"
    other = url.replace("method=", "methods=").replace("METHOD=", "METHODS=").replace("Method=", "Methods=")
    assert canonicalise(heads.absolute(other, method="POST"), heads.OUTSIDE).method == "POST"


def test_the_body_may_come_later() -> None:
    head = heads.absolute("http://erp.example/", "content-length: 5", "Accept: a", method="POST")
    call = with_body(canonicalise(head, heads.OUTSIDE), b"hello")
    assert call == canonicalise(replace(head, body=b"hello"), heads.OUTSIDE)
    assert call.headers == (("Host", "erp.example"), ("content-length", "5"), ("Accept", "a"))
    assert call.body == b"hello"


def test_a_body_in_chunks_gets_a_length() -> None:
    head = heads.absolute("http://erp.example/", "Transfer-Encoding: chunked", method="POST")
    call = canonicalise(head, heads.OUTSIDE)
    assert call.headers == (("Host", "erp.example"), ("Content-Length", "0"))
    assert with_body(call, b"hello").headers == (("Host", "erp.example"), ("Content-Length", "5"))
    assert with_body(call, b"").headers == (("Host", "erp.example"), ("Content-Length", "0"))


def test_a_length_that_is_not_the_bodys_is_refused() -> None:
    head = heads.absolute("http://erp.example/", "Content-Length: 5", method="POST", body=b"hell")
    assert refusal(head) == (Code.REQUEST_MALFORMED, "content-length")
    assert canonicalise(replace(head, body=b"hello"), heads.OUTSIDE).body == b"hello"


def test_a_body_over_the_limit_is_refused() -> None:
    small = Limits(body_bytes=4)
    call = canonicalise(heads.absolute(method="POST"), heads.OUTSIDE)
    assert with_body(call, b"four", small).body == b"four"
    with pytest.raises(Rejected) as caught:
        with_body(call, b"fives", small)
    assert (caught.value.code, caught.value.field) == (Code.REQUEST_TOO_LARGE, "body")


def test_limits_are_those_of_the_deployment() -> None:
    small = Limits(body_bytes=4, target_bytes=len("erp.example/v1/invoices"), header_count=1)
    head = heads.absolute(method="POST", body=b"four")
    assert canonicalise(head, heads.OUTSIDE, small).body == b"four"
    for beyond, field in (
        (replace(head, body=b"fives"), "body"),
        (replace(head, target=b"/v1/invoices/"), "target"),
        (heads.absolute("http://erp.example/", "X: 1"), "headers"),
    ):
        assert canonicalise(beyond, heads.OUTSIDE)
        with pytest.raises(Rejected) as caught:
            canonicalise(beyond, heads.OUTSIDE, small)
        assert (caught.value.code, caught.value.field) == (Code.REQUEST_TOO_LARGE, field)
    assert canonical_connect(heads.connect(), small)
    with pytest.raises(Rejected) as caught:
        canonical_connect(heads.connect("erp.example:443", "X: 1"), small)
    assert (caught.value.code, caught.value.field) == (Code.REQUEST_TOO_LARGE, "headers")


def test_a_body_that_is_not_here_does_not_come_off_the_wire_again() -> None:
    call = replace(canonicalise(heads.absolute(method="POST"), heads.OUTSIDE), body=Unread(size=5, sha256=None))
    assert heads.as_received(call).body is None
    assert heads.as_received(replace(call, body=b"hello")).body == b"hello"


def test_a_body_that_is_not_in_memory_has_its_length_and_its_limit() -> None:
    call = canonicalise(
        heads.absolute("http://erp.example/", "Transfer-Encoding: chunked", method="PUT"), heads.OUTSIDE
    )
    waiting = Unread(size=5, sha256=bytes(32))
    assert with_body(call, waiting).headers == (("Host", "erp.example"), ("Content-Length", "5"))
    assert with_body(call, waiting).body == waiting
    for beyond in (waiting, Unread(size=None, sha256=None)):
        with pytest.raises(Rejected) as caught:
            with_body(call, beyond, Limits(body_bytes=4))
        assert (caught.value.code, caught.value.field) == (Code.REQUEST_TOO_LARGE, "body")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("Content-Length: 5", (("Host", "erp.example"), ("Content-Length", "5")), id="of a known length"),
        pytest.param("Transfer-Encoding: chunked", (("Host", "erp.example"),), id="whose end is marked"),
        pytest.param("X: 1", (("Host", "erp.example"), ("X", "1")), id="that nothing announces, as HTTP/2 has it"),
    ],
)
def test_a_stream_has_the_length_it_came_with(line: str, expected: tuple[tuple[str, str], ...]) -> None:
    received = heads.absolute("http://erp.example/", line, method="PUT")
    call = with_stream(canonicalise(received, heads.OUTSIDE), received)
    assert (call.headers, call.body) == (expected, Unread(size=None, sha256=None))


# --- the protocol it came by -----------------------------------------------------------------------------------------


def test_a_call_of_http2_is_the_call_of_http1() -> None:
    lines = ("accept: a", "content-type: text/plain", "content-length: 5")
    by_http2 = canonicalise(heads.http2("/v1/%69nvoices?a=%62", *lines, method="POST"), heads.INSIDE)
    by_http1 = canonicalise(
        replace(heads.origin("/v1/%69nvoices?a=%62", *lines, host="erp.example:443"), method=b"POST"), heads.INSIDE
    )
    assert by_http2 == by_http1
    assert with_body(by_http2, b"hello").headers == (
        ("Host", "erp.example"),
        ("accept", "a"),
        ("content-type", "text/plain"),
        ("content-length", "5"),
    )


def test_a_body_of_http2_without_a_length_gets_one() -> None:
    call = canonicalise(heads.http2(method="POST"), heads.INSIDE)
    assert with_body(call, b"hello").headers == (("Host", "erp.example"), ("Content-Length", "5"))


# --- properties ------------------------------------------------------------------------------------------------------

chars = "abAB019-._~!$&'()*+,;=:@/%?# []{}|\\\"<>^\t\0\xe9\u2025"
escapes = st.sampled_from(
    [*"/.%;[|", "%2e", "%2F", "%25", "%252e", "%c3%bc", "%c0%ae", "%00", "%5C", "%3B", "%7e", "%41", "%zz"]
)
targets = st.lists(st.one_of(st.text(alphabet=chars, max_size=4), escapes), max_size=8).map("".join)
hosts = st.sampled_from(
    ["erp.example", "ERP.example.", "[::ffff:192.0.2.1]", "192.0.2.1", "[2001:db8::1]", "xn--bcher-kva.example"]
)
fields = st.lists(
    st.sampled_from(
        [
            "Accept: a",
            "Cookie: a=b",
            "Connection: close, x-hop",
            "X-Hop: 1",
            "Content-Length: 3",
            "Transfer-Encoding: chunked",
            'Signature-Input: intent=("@method"), site=( "@path")',
            "Signature: intent=:AA==:, site=:AA==:",
            "Agent-Intent: x",
            "Expect: 100-continue",
            "TE: trailers",
            "Content-Type: application/grpc",
            "Sec-WebSocket-Protocol: graphql-ws",
        ]
    ),
    max_size=5,
)


@given(
    hosts,
    st.sampled_from(["", ":80", ":0443", ":8443"]),
    targets,
    st.one_of(fields, fields.map(lambda more: [*heads.OPENING, *more])),
    st.sampled_from([None, b"", b"abc"]),
)
@settings(max_examples=200)
def test_a_canonical_call_is_a_fixed_point_and_nothing_but_a_refusal_escapes(
    host: str, port: str, target: str, more: list[str], body: bytes | None
) -> None:
    target = target.encode("utf-8").decode("latin-1")
    for url in (f"https://{host}{port}/{target}", f"https://{host}{port}/a?{target}"):
        try:
            call = canonicalise(heads.absolute(url, *more, body=body), heads.OUTSIDE)
        except Rejected:
            continue
        if body is None:
            call = with_body(call, b"" if call.websocket else b"abc")
        assert canonicalise(heads.as_received(call), heads.OUTSIDE) == call
        assert canonical_path(call.path) == call.path
        assert canonical_query(call.query) == call.query
        assert call.url.isascii()
        assert unquote_to_bytes(call.path).decode("utf-8")


@given(
    st.builds(
        Received,
        method=st.one_of(st.just(b"GET"), st.binary(max_size=5)),
        scheme=st.sampled_from(["http", "https", "", "ws"]),
        form=st.sampled_from(["absolute", "origin", "authority"]),
        authority=st.one_of(st.just(b"erp.example"), st.binary(max_size=12)),
        target=st.one_of(st.just(b"/v1"), st.binary(max_size=12)),
        headers=st.one_of(
            st.just(heads.lines("Host: erp.example")),
            st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=8)), max_size=3).map(tuple),
        ),
        body=st.one_of(st.none(), st.binary(max_size=5)),
        http2=st.booleans(),
    ),
    st.sampled_from([heads.OUTSIDE, heads.INSIDE, heads.INSIDE_PLAIN]),
)
def test_any_bytes_are_a_call_or_a_refusal(received: Received, leg: Leg) -> None:
    for read in (lambda: canonicalise(received, leg), lambda: canonical_connect(received)):
        try:
            read()
        except Rejected as fault:
            assert fault.field
