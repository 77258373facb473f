"""Which calls are the same call (THREATS.md F05), and which values nobody may read."""

import hashlib
from dataclasses import replace

import heads
import pytest

from proxy.core.canonical import canonicalise
from proxy.core.digest import call_digest, is_sensitive, masked_headers, masked_url
from proxy.core.encoding import b64u, canonical_json
from proxy.core.model import Call


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
