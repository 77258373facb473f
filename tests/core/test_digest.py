"""Which calls are the same call (THREATS.md F05), and which values nobody may read."""

import base64
import hashlib
from dataclasses import replace

import heads
import pytest

from proxy.core.canonical import canonicalise
from proxy.core.digest import call_digest, is_sensitive, masked_headers
from proxy.core.encoding import b64u, canonical_json
from proxy.core.hiding import masked_url
from proxy.core.model import Call, Unread


def keyed(value: str) -> str:
    return hashlib.sha256(b"secret" + value.encode()).hexdigest()[:8]


def call(url: str = "https://erp.example/v1/invoices?limit=2", *more: str, body: bytes = b"hello") -> Call:
    return canonicalise(heads.absolute(url, *more, method="POST", body=body), heads.OUTSIDE)


def digest(
    of: Call,
    *,
    deployment: str = "edge-test",
    root_id: str = "root",
    sub_path: str = "bot/bot",
    cluster: str = "supplier-invoices",
    task: str = "T-1",
) -> str:
    return call_digest(
        of,
        deployment=deployment,
        root_id=root_id,
        sub_path=sub_path,
        cluster=cluster,
        task=task,
        keyed_hash=keyed,
    )


def test_the_digest_is_the_sha256_of_a_document_anyone_can_rebuild() -> None:
    of = call("https://erp.example/v1?limit=2", "Authorization: Bearer x", "User-Agent: curl", "X-A: 1")
    document = {
        "form": 1,
        "deployment": "edge-test",
        "root": "root",
        "sub": "bot/bot",
        "cluster": "supplier-invoices",
        "task": "T-1",
        "method": "POST",
        "url": "https://erp.example/v1?limit=2",
        "headers": [
            ["host", "erp.example"],
            ["authorization", f"keyed:{keyed('Bearer x')}"],
            ["x-a", "1"],
            ["content-length", "5"],
        ],
        "body": b64u(hashlib.sha256(b"hello").digest()),
    }
    assert digest(of) == b64u(hashlib.sha256(canonical_json(document)).digest())


@pytest.mark.parametrize(
    "again",
    [
        pytest.param(call(), id="the very same"),
        pytest.param(call("https://ERP.example:0443/v1/invoices?limi%74=2"), id="its URL spelt otherwise"),
        pytest.param(call(call().url, "Date: Mon, 02 Mar 2026 09:30:00 GMT"), id="another Date"),
        pytest.param(call(call().url, "User-Agent: other/2"), id="another User-Agent"),
        pytest.param(call(call().url, "traceparent: 00-1-1-01", "tracestate: a=b"), id="another trace"),
        pytest.param(call(call().url, "Agent-Intent: x", "Intent-Manifest: y"), id="another declaration of ours"),
        pytest.param(
            call(call().url, 'Signature-Input: intent=("a")', "Signature: intent=:AA==:"), id="freshly signed"
        ),
        pytest.param(call(call().url, "Connection: close", "TE: trailers"), id="over another kind of connection"),
        pytest.param(
            replace(call(), headers=tuple((n.lower(), v) for n, v in call().headers)), id="names in small letters"
        ),
    ],
)
def test_equal_calls_have_equal_digests(again: Call) -> None:
    assert digest(again) == digest(call())


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(call(), method="PUT"), id="F05 another method"),
        pytest.param(call("http://erp.example/v1/invoices?limit=2"), id="F05 another scheme"),
        pytest.param(call("https://erp.example:8443/v1/invoices?limit=2"), id="F05 another port"),
        pytest.param(call("https://erp2.example/v1/invoices?limit=2"), id="F05 another host"),
        pytest.param(call("https://erp.example/v1/invoices/?limit=2"), id="F05 another path"),
        pytest.param(call("https://erp.example/v1/invoices?limit=3"), id="F05 another query"),
        pytest.param(call(body=b"hellp"), id="F05 another body"),
        pytest.param(replace(call(), websocket=True), id="F05 a WebSocket"),
        pytest.param(call(call().url, "Accept: a"), id="F05 a header more"),
        pytest.param(call(call().url, "Authorization: Bearer x"), id="F05 a credential more"),
        pytest.param(
            call(call().url, "Signature-Input: site=()", "Signature: site=:AA==:"), id="F05 somebody else's signature"
        ),
    ],
)
def test_other_calls_have_other_digests(other: Call) -> None:
    assert digest(other) != digest(call())


def test_f05_a_changed_or_reordered_header_is_another_call() -> None:
    first = call(call().url, "X-A: 1", "X-B: 2")
    assert digest(call(call().url, "X-A: 1", "X-B: 3")) != digest(first)
    assert digest(call(call().url, "X-B: 2", "X-A: 1")) != digest(first)
    assert digest(call(call().url, "Cookie: a=1")) != digest(call(call().url, "Cookie: a=2"))
    assert digest(call(call().url, "X-A: 1", "X-B: 2")) == digest(first)


@pytest.mark.parametrize("name", ["deployment", "root_id", "sub_path", "cluster", "task"])
def test_the_same_bytes_under_another_authority_are_another_call(name: str) -> None:
    assert digest(call(), **{name: "other"}) != digest(call())


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "Cookie",
        "Proxy-Anything",
        "X-Api-Key",
        "api_key",
        "X-Amz-Security-Token",
        "X-Client-Secret",
        "X-Auth",
        "Signature",
        "Signature-Input",
        "X-Session-Id",
        "Sec-WebSocket-Protocol",
        "password",
        "X-CREDENTIAL",
    ],
)
def test_names_that_may_carry_a_credential_are_sensitive(name: str) -> None:
    assert is_sensitive(name)


@pytest.mark.parametrize(
    "name", ["Host", "Accept", "Content-Type", "Content-Digest", "Idempotency-Key", "X-Custom", "limit"]
)
def test_other_names_are_not(name: str) -> None:
    assert not is_sensitive(name)


def test_masking_hides_the_value_and_keeps_the_order() -> None:
    of = call("https://erp.example/v1", "X-A: 1", "X-Api-Key: hunter2", "X-B: 2", body=b"")
    assert masked_headers(of, keyed) == (
        ("Host", "erp.example"),
        ("X-A", "1"),
        ("X-Api-Key", f"keyed:{keyed('hunter2')}"),
        ("X-B", "2"),
    )


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        pytest.param("", "", id="no query"),
        pytest.param("?", "?", id="an empty one"),
        pytest.param("?a=1&b", "?a=1&b", id="nothing to hide"),
        pytest.param("?a=1&api_key=hunter2&b=2", f"?a=1&api_key=keyed:{keyed('hunter2')}&b=2", id="a key among others"),
        pytest.param("?access%5ftoken=x", f"?access_token=keyed:{keyed('x')}", id="a key in another spelling"),
        pytest.param("?token=&key", "?token=&key", id="names without a value"),
    ],
)
def test_a_url_is_shown_without_its_credentials(query: str, shown: str) -> None:
    assert masked_url(call(f"https://erp.example/v1{query}"), keyed) == f"https://erp.example/v1{shown}"


# --- multipart forms -------------------------------------------------------------------------------------------------

TYPE = "Content-Type: multipart/form-data; boundary={}"
FIELD, FILE = (
    'Content-Disposition: form-data; name="note"',
    'Content-Disposition: form-data; name="f"; filename="a.txt"',
)


def form(
    boundary: str,
    *parts: tuple[str, str],
    lines: tuple[str, ...] = (),
    media: str = TYPE,
    end: str = "--\r\n",
    digest: str = "",
) -> Call:
    """A call with a form of these parts, each a head and its content; `digest` is an algorithm, for Content-Digest."""
    given = parts or ((FIELD, "hello"), (f"{FILE}\r\nContent-Type: text/plain", "content"))
    body = "".join(f"--{boundary}\r\n{head}\r\n\r\n{data}\r\n" for head, data in given) + f"--{boundary}{end}"
    told = (f"Content-Digest: {content_digest(body.encode(), digest)}",) if digest else ()
    return call(call().url, media.format(boundary), *told, *lines, body=body.encode())


def content_digest(body: bytes, algorithm: str) -> str:
    return f"{algorithm}=:{base64.b64encode(hashlib.new(algorithm.replace('-', ''), body).digest()).decode()}:"


@pytest.mark.parametrize(
    ("one", "again"),
    [
        pytest.param(form("a"), form("b"), id="another boundary"),
        pytest.param(form("a"), form("a-much-longer-one"), id="a boundary of another length"),
        pytest.param(
            form("a"), form("a", media='Content-Type: Multipart/Form-Data;boundary="{}"'), id="spelt otherwise"
        ),
        pytest.param(form("a", digest="sha-256"), form("b", digest="sha-256"), id="with a true Content-Digest each"),
        pytest.param(form("a"), form("b", end="--"), id="without the last line end"),
        pytest.param(
            form("a", media=TYPE + "; charset=utf-8"),
            form("b", media="Content-Type: multipart/form-data; charset=utf-8; boundary={}"),
            id="with other parameters in another order",
        ),
    ],
)
def test_a_form_with_another_boundary_is_the_same_call(one: Call, again: Call) -> None:
    assert one.body != again.body or one.headers != again.headers
    assert digest(one) == digest(again)


FALSE = "Content-Digest: " + content_digest(b"another body", "sha-256")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(form("b", (FIELD, "hello")), id="F05 a part less"),
        pytest.param(form("b", (FILE, "content"), (FIELD, "hello")), id="F05 parts in another order"),
        pytest.param(form("b", (FIELD, "hellO"), (f"{FILE}\r\nContent-Type: text/plain", "content")), id="F05 a field"),
        pytest.param(form("b", (FIELD, "hello"), (f"{FILE}\r\nContent-Type: text/html", "content")), id="F05 a type"),
        pytest.param(form("b", (FIELD, "hello"), (FILE, "content")), id="F05 a line less in a part"),
        pytest.param(
            form("b", (FIELD, "hello"), (f"{FILE}\r\nContent-Type: text/plain", "b" * 7)), id="F05 a file of one length"
        ),
        pytest.param(form("b", media=TYPE + "; charset=utf-8"), id="F05 a parameter more"),
        pytest.param(form("b", digest="sha-256"), id="F05 a Content-Digest more"),
        pytest.param(form("a", lines=(FALSE,)), id="F05 a Content-Digest that is not true"),
        pytest.param(form("b", lines=("X-A: 1",)), id="F05 a header more"),
        pytest.param(form("b", lines=("Content-Encoding: gzip",)), id="F05 said to be coded"),
        pytest.param(form("b", end="--\r\nepilogue"), id="F05 something behind its end"),
        pytest.param(form("b", media="Content-Type: multipart/mixed; boundary={}"), id="F05 another kind of multipart"),
        pytest.param(form("b", media="Content-Type: multipart/form-data; boundary={}x"), id="F05 another's boundary"),
    ],
)
def test_another_form_is_another_call(other: Call) -> None:
    assert digest(other) != digest(form("a"))


def test_a_form_that_is_not_read_strictly_counts_by_its_bytes() -> None:
    loose = [form(boundary, end="--\r\nepilogue") for boundary in "ab"]
    coded = [form(boundary, lines=("Content-Encoding: gzip",)) for boundary in "ab"]
    told = [form("a", lines=(FALSE,)), form("b", lines=(FALSE,))]
    assert len({digest(each) for each in (*loose, *coded)}) == 4
    assert digest(told[0]) == digest(told[1])  # what is not true of either counts as any other header


def test_a_form_never_looks_like_another_body() -> None:
    """Its place in the document holds a list, that of any other body a text."""
    of = form("a", (FIELD, "hello"))
    document = {
        "form": 1,
        "deployment": "edge-test",
        "root": "root",
        "sub": "bot/bot",
        "cluster": "supplier-invoices",
        "task": "T-1",
        "method": "POST",
        "url": call().url,
        "headers": [["host", "erp.example"], ["content-type", ["multipart/form-data"]], ["content-length", None]],
        "body": [[[["Content-Disposition", 'form-data; name="note"']], b64u(hashlib.sha256(b"hello").digest())]],
    }
    assert digest(of) == b64u(hashlib.sha256(canonical_json(document)).digest())


def test_a_body_that_is_not_in_memory_counts_by_its_digest() -> None:
    one, other = (
        replace(form("a"), body=Unread(size=9_000_000, sha256=hashlib.sha256(data).digest())) for data in (b"1", b"2")
    )
    assert digest(one) != digest(other)
    assert digest(one) != digest(form("a"))
    assert digest(replace(one, body=Unread(size=None, sha256=None))) not in (digest(one), digest(other))
