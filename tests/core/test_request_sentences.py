"""What whoever sends a refused request head reads, word for word: the only thing it can mend the request by.

Each row is one request; whether it is refused is tested where the rule is. Of paths and queries see test_urls.py.
"""

from dataclasses import replace

import heads
import pytest

from proxy.core.canonical import Limits, canonical_connect, canonicalise, with_body
from proxy.core.errors import Code, Rejected
from proxy.core.model import Leg, Received, Unread
from proxy.core.readings import doubt

OUTSIDE, INSIDE, INSIDE_PLAIN = heads.OUTSIDE, heads.INSIDE, heads.INSIDE_PLAIN
MALFORMED, UNSUPPORTED, AMBIGUOUS = Code.REQUEST_MALFORMED, Code.REQUEST_UNSUPPORTED, Code.URL_AMBIGUOUS
POSTED = heads.absolute("http://erp.example/", "Content-Length: 5", method="POST", body=b"hell")
OPENING = heads.absolute("http://erp.example/", *heads.OPENING)
TUNNEL = "Host and the CONNECT target must name the same host and port"
TUNNEL_SCHEME = "inside a tunnel the scheme must be https with TLS, and http without"

REFUSED = {
    "a method in small letters": (
        heads.absolute(method="g\xe9" * 40),
        OUTSIDE,
        (MALFORMED, "method"),
        "a method must be 1 to 32 capital letters, got 'g\\xe9g\\xe9g\\xe9g\\xe9g\\xe9g\\xe9g\\xe9g\\xe",
    ),
    "a method that is no call": (
        heads.absolute(method="TRACE"),
        OUTSIDE,
        (UNSUPPORTED, "method"),
        "TRACE is not a call that can be made here",
    ),
    "another scheme": (
        heads.absolute("ftp://erp.example/"),
        OUTSIDE,
        (UNSUPPORTED, "scheme"),
        "the scheme must be http or https, got 'ftp'",
    ),
    "another scheme, without end": (
        heads.absolute(f"{'f' * 80}://erp.example/"),
        OUTSIDE,
        (UNSUPPORTED, "scheme"),
        f"the scheme must be http or https, got '{'f' * 39}",
    ),
    "a whole URL inside a tunnel": (
        heads.absolute("https://erp.example/"),
        INSIDE,
        (AMBIGUOUS, "target"),
        "inside a tunnel the target must be a path: the tunnel already names the host",
    ),
    "a path without a tunnel": (
        heads.origin(),
        OUTSIDE,
        (UNSUPPORTED, "target"),
        "this is a proxy: send the whole URL as the target, or open a tunnel with CONNECT",
    ),
    "another Host": (
        heads.absolute(host="evil.example"),
        OUTSIDE,
        (AMBIGUOUS, "host"),
        "Host and the URL must name the same host and port",
    ),
    "an authority for a path, and no Host": (
        replace(heads.connect(host=""), method=b"GET", scheme="https"),
        INSIDE,
        (AMBIGUOUS, "host"),
        "a host must be labels of 1 to 63 letters, digits, '-' or '_' joined by single dots, at most 253 characters,"
        " got ''",
    ),
    "plain text for https": (heads.origin(), INSIDE_PLAIN, (AMBIGUOUS, "scheme"), TUNNEL_SCHEME),
    "TLS for http": (heads.origin(scheme="http", host="erp.example:443"), INSIDE, (AMBIGUOUS, "scheme"), TUNNEL_SCHEME),
    "another tunnel": (heads.origin(host="evil.example"), INSIDE, (AMBIGUOUS, "host"), TUNNEL),
    "another server name": (
        heads.origin(),
        replace(INSIDE, sni="evil.example"),
        (AMBIGUOUS, "sni"),
        "the TLS server name (SNI) and Host must name the same host",
    ),
    "no server name": (
        heads.origin(),
        replace(INSIDE, sni="127.1"),
        (AMBIGUOUS, "sni"),
        "a host ending in a number must be four decimal numbers without leading zeros, got '127.1'",
    ),
    "another length": (
        POSTED,
        OUTSIDE,
        (MALFORMED, "content-length"),
        "Content-Length says 5 bytes, the body has 4",
    ),
    "a body behind a handshake": (
        replace(OPENING, body=b"x"),
        OUTSIDE,
        (MALFORMED, "body"),
        "a request that opens a WebSocket has no body",
    ),
}


@pytest.mark.parametrize(("received", "leg", "what", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_refused_request_says_what_and_why(
    received: Received, leg: Leg, what: tuple[Code, str], sentence: str
) -> None:
    with pytest.raises(Rejected) as refused:
        canonicalise(received, leg)
    assert ((refused.value.code, refused.value.field), refused.value.detail) == (what, sentence)


@pytest.mark.parametrize("size", [5, None], ids=["a large body", "a body without end"])
def test_a_body_that_is_too_large_says_how_large_it_may_be(size: int | None) -> None:
    call = canonicalise(heads.absolute(method="POST"), OUTSIDE)
    with pytest.raises(Rejected) as refused:
        with_body(call, Unread(size=size, sha256=None), Limits(body_bytes=4))
    assert refused.value.detail == "a body may have at most 4 bytes"


@pytest.mark.parametrize(
    ("received", "what", "sentence"),
    [
        pytest.param(heads.absolute(), (MALFORMED, "method"), "expected CONNECT host:port", id="no CONNECT"),
        pytest.param(heads.connect(host="evil.example:443"), (AMBIGUOUS, "host"), TUNNEL, id="another Host"),
        pytest.param(
            heads.connect("erp.example"),
            (AMBIGUOUS, "authority"),
            "the port must be given, as in host:443, got 'erp.example'",
            id="no port",
        ),
    ],
)
def test_a_refused_tunnel_says_what_and_why(received: Received, what: tuple[Code, str], sentence: str) -> None:
    with pytest.raises(Rejected) as refused:
        canonical_connect(received)
    assert ((refused.value.code, refused.value.field), refused.value.detail) == (what, sentence)


@pytest.mark.parametrize(
    ("url", "field", "sentence"),
    [
        pytest.param(
            "http://erp.example/a;b",
            "path",
            'a ";" in a path, raw or encoded, is a parameter to some servers and a letter to others: it passes only'
            " where a rule has {name:matrix}",
            id="a matrix parameter",
        ),
        pytest.param(
            "http://erp.example/a?b=%2541",
            "query",
            "a query value must not be percent-encoded twice, save in a parameter whose rule says encoded",
            id="a value encoded twice",
        ),
    ],
)
def test_what_only_a_rule_can_settle_says_so(url: str, field: str, sentence: str) -> None:
    fault = doubt(canonicalise(heads.absolute(url), OUTSIDE))
    assert fault is not None
    assert (fault.code, fault.field, fault.detail) == (AMBIGUOUS, field, sentence)
