"""The stored call: the same thing comes back, or `hold.tampered`."""

import hashlib
import json
from dataclasses import fields, replace
from datetime import UTC, datetime
from ipaddress import ip_network

import heads
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.canonical import canonicalise
from proxy.core.credential import Credential, Way
from proxy.core.errors import Code, Rejected
from proxy.core.model import (
    Decision,
    Effect,
    Intent,
    Mismatch,
    Nearest,
    Proof,
    Review,
    Risk,
    RuleRef,
    StoredCall,
    Unread,
    Verdict,
)
from proxy.core.stored import check_stored, stored_from_bytes, stored_to_bytes, to_send

RULE = RuleRef(id="supplier-invoices.read", file="clusters.yaml", line=7)
MISMATCH = Mismatch(field="path", expected="/v1/invoices/{id}", got="/v1/payroll \u202e")
FULL = Decision(
    decision_id="d-1",
    verdict=Verdict.HOLD,
    code=Code.NOT_COVERED,
    message="outside the mandate",
    at=datetime(2026, 3, 2, 9, 30, 1, 250, tzinfo=UTC),
    agent="invoice-bot",
    sponsor="ada",
    purpose="Match invoices.",
    manifest="root",
    cluster="supplier-invoices",
    operation="read",
    intent=Intent(cluster="supplier-invoices", task="T-1", step=3, raw='cluster="supplier-invoices"'),
    rule=RULE,
    failed=(MISMATCH,),
    nearest=(Nearest(cluster="supplier-invoices", operation="read", rule=RULE, failed=(MISMATCH, MISMATCH)),),
    proof=Proof.REQUEST,
    review=Review(
        always=True, who=("sponsor", "cleo"), ttl_s=60, wait_s=5, effect=Effect.DELIVER, idempotency_key=True
    ),
    risk=Risk.TRANSFORMATIVE,
    addresses=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
    bundle_sha256="ab" * 32,
    latency_us=250,
    retry_after_s=5,
    hold_id="h-1",
    credential=Credential(secret="erp-token", way=Way.BASIC, name="svc"),
)
DROPPED = object()
BARE = Decision(decision_id="d-2", verdict=Verdict.DENY, code=Code.UNDECIDED, message="", at=FULL.at)


def stored(
    url: str = "https://erp.example/a%2fb/?q=a+b&q", *, decision: Decision = FULL, body: bytes = b"\0\xffhello"
) -> StoredCall:
    received = heads.absolute(url, "Cookie: a=b", "Accept: x", "Accept: y", method="POST", body=body)
    call = canonicalise(received, heads.OUTSIDE)
    return StoredCall(call=call, decision=decision, proof=Proof.SESSION, call_digest="digest")


def opening() -> StoredCall:
    call = canonicalise(heads.absolute("https://erp.example/live", *heads.OPENING), heads.OUTSIDE)
    return replace(stored(), call=call)


def fingerprint(body: Unread) -> StoredCall:
    whole = stored()
    return replace(whole, call=replace(whole.call, body=body))


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(stored(), id="everything set"),
        pytest.param(stored(decision=BARE), id="nothing set that need not be"),
        pytest.param(stored("http://[2001:db8::1]:8080/"), id="no query"),
        pytest.param(stored("http://erp.example/?"), id="an empty query"),
        pytest.param(stored(body=b""), id="no body"),
        pytest.param(fingerprint(Unread(size=5_000_000, sha256=bytes(32))), id="a body that was not kept"),
        pytest.param(fingerprint(Unread(size=None, sha256=None)), id="a body of which nothing is known"),
        pytest.param(opening(), id="a WebSocket"),
        pytest.param(stored(decision=replace(FULL, review=Review(quorum=2))), id="several must release it"),
        pytest.param(replace(stored(), chain=("root", "leaf"), node="n"), id="under which manifests, and where"),
    ],
)
def test_what_was_stored_comes_back(kept: StoredCall) -> None:
    data = stored_to_bytes(kept)
    back = stored_from_bytes(data)
    assert (back.call, back.proof, back.call_digest) == (kept.call, kept.proof, kept.call_digest)
    assert (back.chain, back.node) == (kept.chain, kept.node)
    for each in fields(Decision):
        assert getattr(back.decision, each.name) == getattr(kept.decision, each.name), each.name
    assert stored_to_bytes(back) == data


def test_a_call_that_one_person_releases_is_written_as_before() -> None:
    assert b"quorum" not in stored_to_bytes(stored())


def test_no_field_of_a_decision_is_forgotten() -> None:
    same = {each.name for each in fields(Decision) if getattr(FULL, each.name) == getattr(BARE, each.name)}
    assert same == {"at", "unexamined"}, "what is held is never an allow"


def test_a_body_that_was_not_kept_is_taken_from_the_repeated_call_if_it_is_the_same() -> None:
    whole = stored(body=b"large").call
    filed = replace(whole, body=Unread(size=5, sha256=hashlib.sha256(b"large").digest()))
    assert to_send(whole, replace(whole, body=b"other")) is whole, "what was kept is sent as it was kept"
    assert to_send(filed, whole) == whole
    assert to_send(filed, filed) == filed
    other = (
        replace(whole, body=b"Large"),
        replace(whole, body=Unread(size=5, sha256=bytes(32))),
        replace(whole, body=Unread(size=None, sha256=None)),
    )
    for again in other:
        with pytest.raises(Rejected) as caught:
            to_send(filed, again)
        assert (caught.value.code, caught.value.field) == (Code.HOLD_TAMPERED, "body")
    nothing_known = replace(whole, body=Unread(size=None, sha256=None))
    with pytest.raises(Rejected):
        to_send(nothing_known, nothing_known)


def test_a_call_whose_body_was_not_kept_is_not_sent_from_what_was() -> None:
    kept = stored()
    check_stored(kept)
    with pytest.raises(Rejected) as handshake:
        check_stored(replace(kept, call=replace(kept.call, websocket=True)))
    assert handshake.value.code is Code.REQUEST_UNSUPPORTED
    with pytest.raises(Rejected) as caught:
        check_stored(replace(kept, call=replace(kept.call, body=Unread(size=5, sha256=bytes(32)))))
    assert caught.value.code is Code.HOLD_NOT_STORED


def test_a_websocket_is_not_opened_from_what_was_kept_of_another_handshake() -> None:
    kept = stored()
    with pytest.raises(Rejected) as caught:
        check_stored(replace(kept, call=replace(kept.call, websocket=True)))
    assert caught.value.code is Code.REQUEST_UNSUPPORTED


def refused(data: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        stored_from_bytes(data)
    assert caught.value.code is Code.HOLD_TAMPERED


def changed(path: str, value: object) -> bytes:
    """The stored call with one member set (or DROPPED), still in RFC 8785 form."""
    document = json.loads(stored_to_bytes(stored()))
    *way, last = path.split(".")
    inner = document
    for step in way:
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    if value is DROPPED:
        del inner[last]
    else:
        inner[int(last) if isinstance(inner, list) else last] = value
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_changing_nothing_is_no_change() -> None:
    assert changed("proof", "SESSION") == stored_to_bytes(stored())
    stored_from_bytes(changed("call_digest", "another"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("format", "intent-stored-call/2", id="another version"),
        pytest.param("format", DROPPED, id="no version"),
        pytest.param("extra", 1, id="a member more"),
        pytest.param("decision.extra", 1, id="a member more further in"),
        pytest.param("decision.nearest.0.rule.line", DROPPED, id="a member less"),
        pytest.param("decision.credential", {"secret": "erp-token"}, id="a credential set in no way"),
        pytest.param("decision.credential", "erp-token", id="a credential that is text"),
        pytest.param("call", [], id="a list for an object"),
        pytest.param("call.headers", {}, id="an object for a list"),
        pytest.param("call.headers.0", ["Host"], id="half a header"),
        pytest.param("call.headers.0", "ab", id="a header that is no pair"),
        pytest.param("call.headers.0", ["Host", 1], id="a header whose value is a number"),
        pytest.param("call.port", "443", id="a port as text"),
        pytest.param("call.port", True, id="a port as truth"),
        pytest.param("call.port", 1.5, id="a fraction"),
        pytest.param("call.port", 2**60, id="a number JSON cannot hold"),
        pytest.param("call.method", None, id="no method"),
        pytest.param("call.body", "AA=", id="a body in broken base64"),
        pytest.param("call.body", "AB==", id="a body in base64 with stray bits"),
        pytest.param("call.body", "\u00fc", id="a body outside ASCII"),
        pytest.param("proof", "session", id="an unknown proof"),
        pytest.param("decision.verdict", "maybe", id="an unknown verdict"),
        pytest.param("decision.code", "no.such", id="an unknown code"),
        pytest.param("decision.at", "yesterday", id="a time that is none"),
        pytest.param("decision.at", "2026-03-02T09:30:01.000250", id="a time without a zone"),
        pytest.param("decision.at", "2026-03-02T10:30:01.000250+01:00", id="a time in another zone"),
        pytest.param("decision.at", "0001-01-01T00:00:00+01:00", id="a time before time"),
        pytest.param("decision.review.always", 1, id="a number for truth"),
        pytest.param("decision.review.who", ["a", 1], id="a reviewer who is a number"),
        pytest.param("decision.review.effect", "retry", id="what is usual, said all the same"),
        pytest.param("decision.review.effect", "perhaps", id="an unknown effect"),
        pytest.param("decision.review.idempotency_key", False, id="no key, said all the same"),
        pytest.param("chain", [], id="an empty chain"),
        pytest.param("node", "", id="a node without a name"),
        pytest.param("decision.addresses", ["10.0.0.1/8"], id="a network with host bits"),
        pytest.param("decision.addresses", ["10.0.0.0/255.0.0.0"], id="a network in another spelling"),
    ],
)
def test_anything_else_is_tampered(path: str, value: object) -> None:
    refused(changed(path, value))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"\xff", id="no UTF-8"),
        pytest.param(stored_to_bytes(stored()) + b" ", id="a space behind it"),
        pytest.param(
            stored_to_bytes(stored()).replace(b'"erp.example"', b'"\\u0065rp.example"', 1), id="an escape more"
        ),
        pytest.param(stored_to_bytes(stored()).replace(b'"T-1"', b'"\\ud800"', 1), id="a lone surrogate"),
        pytest.param(stored_to_bytes(stored())[:-1], id="the end cut off"),
        pytest.param(b'{"call":1,' + stored_to_bytes(stored())[1:], id="a member twice"),
    ],
)
def test_other_bytes_are_tampered(data: bytes) -> None:
    refused(data)


@given(st.data())
def test_a_changed_byte_never_raises_anything_else(data: st.DataObject) -> None:
    whole = bytearray(stored_to_bytes(stored()))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        back = stored_from_bytes(bytes(whole))
    except Rejected as fault:
        assert fault.code is Code.HOLD_TAMPERED
        return
    assert stored_to_bytes(back) == bytes(whole)


@given(st.binary(max_size=30), st.text(max_size=10).filter(lambda text: text.isprintable()))
def test_any_body_and_any_words_survive(body: bytes, words: str) -> None:
    kept = stored(body=body, decision=replace(FULL, message=words))
    back = stored_from_bytes(stored_to_bytes(kept))
    assert (back.call.body, back.decision.message) == (body, words)
