"""What a node may send by itself, under which key, and what it keeps of the response."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import heads
import identities
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.canonical import canonicalise
from proxy.core.delivering import (
    KeptResponse,
    as_delivered,
    delivers,
    kept_from_bytes,
    kept_to_bytes,
    undeliverable,
)
from proxy.core.errors import Code, Rejected
from proxy.core.model import Call, Decision, Effect, Review, Unread, Verdict
from proxy.core.problems import Prefer, kept_answer, problem

HELD = Decision(
    decision_id="d-1",
    verdict=Verdict.HOLD,
    code=Code.CLUSTER_REVIEW,
    message="held",
    at=datetime(2026, 3, 2, tzinfo=UTC),
    review=Review(effect=Effect.DELIVER),
)
KEPT = KeptResponse(
    status=201, headers=(("X-Paid", "yes"), ("Content-Length", "2")), body=b"\x00\xff", body_bytes=2, complete=True
)


def call(*headers: str, url: str = "https://erp.example/pay", method: str = "POST") -> Call:
    return canonicalise(heads.absolute(url, *headers, method=method, body=b"{}"), heads.OUTSIDE)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        pytest.param(call("Accept: x", "Idempotency-Key: k"), None, id="nothing of the agent's own is in it"),
        pytest.param(call("Authorization: Bearer a"), "header", id="a credential"),
        pytest.param(call("Cookie: a=b"), "header", id="a cookie"),
        pytest.param(call("X-Api-Key: a"), "header", id="a key"),
        pytest.param(call("Signature: sig1=:AA==:", 'Signature-Input: sig1=("@method")'), "header", id="a signature"),
        pytest.param(call(url="https://erp.example/pay?access_token=a"), "query", id="a credential in the query"),
        pytest.param(call(url="https://erp.example/pay?page=2"), None, id="another query"),
        pytest.param(
            replace(call(), body=Unread(size=5, sha256=bytes(32))), "too large", id="a body that is not there"
        ),
        pytest.param(
            canonicalise(heads.absolute("https://erp.example/live", *heads.OPENING), heads.OUTSIDE),
            "WebSocket",
            id="a WebSocket",
        ),
    ],
)
def test_what_a_node_may_send_by_itself(asked: Call, why: str | None) -> None:
    said = undeliverable(asked)
    assert (said is None) is (why is None)
    assert why is None or why in str(said)
    assert delivers(HELD, asked) is (why is None)
    assert not delivers(replace(HELD, review=Review()), asked)


@pytest.mark.parametrize(
    ("headers", "wanted", "keys"),
    [
        pytest.param((), True, ["h-1"], id="the hold's id"),
        pytest.param(("idempotency-key: mine",), True, ["mine"], id="the agent's own stays"),
        pytest.param((), False, [], id="none where the rule does not say so"),
    ],
)
def test_under_which_key_it_is_sent(headers: tuple[str, ...], wanted: bool, keys: list[str]) -> None:
    asked = call(*headers)
    held = replace(HELD, review=Review(effect=Effect.DELIVER, idempotency_key=wanted))
    sent = as_delivered(held, asked, "h-1")
    assert [value for name, value in sent.headers if name.lower() == "idempotency-key"] == keys
    assert replace(sent, headers=asked.headers) == asked
    assert sent.headers[: len(asked.headers)] == asked.headers


def test_a_kept_response_comes_back() -> None:
    assert kept_from_bytes(kept_to_bytes(KEPT)) == KEPT


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"format": "intent-kept-response/2"}, id="another version"),
        pytest.param({"status": "201"}, id="a status as text"),
        pytest.param({"more": 1}, id="a member more"),
        pytest.param({"headers": [["a"]]}, id="half a header"),
        pytest.param({"body": "A"}, id="broken base64"),
        pytest.param({"body": "AB=="}, id="base64 with stray bits"),
    ],
)
def test_anything_else_is_tampered(changed: dict[str, object]) -> None:
    document = {**json.loads(kept_to_bytes(KEPT)), **changed}
    with pytest.raises(Rejected) as caught:
        kept_from_bytes(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())
    assert caught.value.code is Code.HOLD_TAMPERED


@given(st.binary(max_size=40))
def test_whatever_is_read_only_rejected_is_raised(data: bytes) -> None:
    with pytest.raises(Rejected):
        kept_from_bytes(data)


@pytest.mark.parametrize(
    ("kept", "state"),
    [
        pytest.param(KEPT, "complete; bytes=2", id="whole"),
        pytest.param(replace(KEPT, complete=False), "broken; bytes=2", id="cut short"),
        pytest.param(replace(KEPT, body=b"", body_bytes=9), "too-large; bytes=9", id="too large to keep"),
    ],
)
def test_the_agent_gets_the_origins_answer_and_is_told_what_is_missing(kept: KeptResponse, state: str) -> None:
    answer = kept_answer(kept)
    assert (answer.status, answer.body) == (201, kept.body)
    assert answer.headers == (
        ("X-Paid", "yes"),
        ("Cache-Control", "no-store"),
        ("Intent-Response", f"kept; body={state}"),
    )


def test_a_held_call_that_the_proxy_sends_itself_is_not_to_be_sent_again() -> None:
    hold = replace(identities.hold(), delivers=True)
    answer = problem(HELD, hold=hold, form="absolute", prefer=Prefer(), now=identities.NOW)
    detail = json.loads(answer.body)["detail"]
    assert "Do not send it again: once released, the proxy sends it itself." in detail
    assert f"http://intent.internal/holds/{hold.id}/response" in detail


@pytest.mark.parametrize(
    ("today", "passes"),
    [
        pytest.param(HELD, True, id="the same as it was filed under"),
        pytest.param(replace(HELD, verdict=Verdict.ALLOW), True, id="one that allows it by now"),
        pytest.param(replace(HELD, review=Review()), False, id="one that leaves it to its agent"),
        pytest.param(replace(HELD, verdict=Verdict.DENY, review=Review()), True, id="a denial, which says more"),
    ],
)
def test_what_a_record_says_todays_rule_must_say_too(today: Decision, passes: bool) -> None:
    assert delivers(HELD, call(), today=today) is passes
    assert not delivers(replace(HELD, review=Review()), call(), today=today)
