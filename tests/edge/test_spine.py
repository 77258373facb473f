"""The main job, end to end: a covered call passes, another is held, a release lets exactly it pass once.

Each case runs over both ways in; what the origin saw is the proof.
"""

import json
import threading

import pytest
from houses import WAYS
from origin_replies import Gate, Reply
from rawclient import request_bytes
from towns import Town

from proxy.core.model import HoldState, Verdict

pytestmark = pytest.mark.parametrize("way", WAYS)

OURS = {"agent-intent", "intent-manifest", "signature", "signature-input", "proxy-authorization", "proxy-connection"}


def test_a_covered_call_reaches_the_origin_without_our_headers(town: Town, way: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    answer = town.house.call("GET", town.url(way, "/v1/invoices/17"), headers=[("X-Trace", "a b"), ("Accept", "*/*")])
    assert answer.status == 200, answer
    (seen,) = origin.since(before).requests
    assert (seen.method, seen.target) == ("GET", "/v1/invoices/17")
    names = {name.lower() for name, _ in seen.headers}
    assert names.isdisjoint(OURS)
    assert {"x-trace", "accept", "host"} <= names


def test_a_body_arrives_as_it_was_signed(town: Town, way: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    body = b'{"total": 12}' * 1000
    answer = town.house.call(
        "POST", town.url(way, "/v1/invoices"), body=body, headers=[("Content-Type", "application/json")]
    )
    assert answer.status == 200, answer
    (seen,) = origin.since(before).requests
    assert seen.body == body


def held(town: Town, way: str, path: str, **call: object) -> tuple[dict, tuple[str, str]]:
    chain = town.house.chain()
    answer = town.house.call("GET", town.url(way, path), chain=chain, **call)
    assert answer.status == 403, answer
    return json.loads(answer.body), chain


def test_a_call_outside_the_mandate_is_held_and_nothing_leaves(town: Town, way: str) -> None:
    before = town.origin(way).mark()
    problem, _ = held(town, way, "/v1/payroll/1")
    assert problem["code"] == "mandate.not_covered"
    assert problem["task"]["status"] == "held"
    assert town.origin(way).since(before).nothing


def test_a_released_call_passes_exactly_once(town: Town, way: str) -> None:
    origin = town.origin(way)
    problem, chain = held(town, way, "/v1/payroll/2")
    hold_id = problem["task"]["id"]
    before = origin.mark()
    again = town.house.call("GET", town.url(way, "/v1/payroll/2"), chain=chain)
    assert json.loads(again.body)["task"]["id"] == hold_id, "an equal call finds the same hold"
    town.house.decide(hold_id, Verdict.ALLOW)
    passed = town.house.call("GET", town.url(way, "/v1/payroll/2"), chain=chain)
    assert passed.status == 200, passed
    third = town.house.call("GET", town.url(way, "/v1/payroll/2"), chain=chain)
    assert third.status == 403
    assert json.loads(third.body)["task"]["id"] != hold_id, "after its one pass the next equal call is a new hold"
    assert [request.target for request in origin.since(before).requests] == ["/v1/payroll/2"]
    assert town.house.hold(hold_id).state is HoldState.RELEASED


def test_a_denied_call_stays_denied_with_the_reviewers_reason(town: Town, way: str) -> None:
    origin = town.origin(way)
    before = origin.mark()
    problem, chain = held(town, way, "/v1/payroll/3")
    town.house.decide(problem["task"]["id"], Verdict.DENY, reason="payroll is none of its business")
    for _ in range(2):
        answer = town.house.call("GET", town.url(way, "/v1/payroll/3"), chain=chain)
        refused = json.loads(answer.body)
        assert (answer.status, refused["code"]) == (403, "hold.denied")
        assert "payroll is none of its business" in refused["detail"]
    assert origin.since(before).nothing


def test_redeem_sends_the_stored_bytes_once(town: Town, way: str) -> None:
    origin = town.origin(way)
    chain, body = town.house.chain(), b"amount=12"
    url = town.url(way, "/v1/payments")
    answer = town.house.call("POST", url, chain=chain, body=body, headers=[("Content-Type", "text/plain")])
    hold_id = json.loads(answer.body)["task"]["id"]
    before = origin.mark()
    redeem = f"http://intent.internal/holds/{hold_id}/redeem"
    early = town.house.call("POST", redeem, chain=chain)
    assert early.status == 403, early
    town.house.decide(hold_id, Verdict.ALLOW)
    redeemed = town.house.call("POST", redeem, chain=chain)
    assert redeemed.status == 200, redeemed
    spent = town.house.call("POST", redeem, chain=chain)
    assert (spent.status, json.loads(spent.body)["code"]) == (403, "hold.spent")
    (seen,) = origin.since(before).requests
    assert (seen.method, seen.target, seen.body) == ("POST", "/v1/payments", body)


def test_prefer_wait_answers_with_the_real_response_once_released(town: Town, way: str) -> None:
    origin, chain = town.origin(way), town.house.chain()
    before = origin.mark()
    url = town.url(way, "/v1/payroll/4")
    answers = []

    def wait() -> None:
        answers.append(town.house.call("GET", url, chain=chain, headers=[("Prefer", "wait=20")], timeout_s=25))

    waiting = threading.Thread(target=wait)
    waiting.start()
    hold_id = town.wait_for_hold(chain)
    town.house.decide(hold_id, Verdict.ALLOW)
    waiting.join(25)
    assert answers[0].status == 200, answers
    assert answers[0].header("preference-applied") == "wait"
    assert len(origin.since(before).requests) == 1


def test_respond_async_is_accepted_only_when_asked_for(town: Town, way: str) -> None:
    answer = town.house.call("GET", town.url(way, "/v1/payroll/5"), headers=[("Prefer", "respond-async")])
    assert answer.status == 202, answer
    assert answer.header("location").startswith("http://intent.internal/holds/")


def test_an_event_stream_reaches_the_agent_token_by_token(town: Town, way: str) -> None:
    origin, gate = town.origin(way), Gate()
    tokens = (b"data: one\n\n", gate, b"data: two\n\n")
    origin.on("GET", "/v1/invoices/77", Reply(headers=(("Content-Type", "text/event-stream"),), stream=tokens))
    url = town.url(way, "/v1/invoices/77")
    with town.house.open(url) as wire:
        lines = town.house.signed("GET", url, chain=town.house.chain())
        target = url if way == "plain" else "/v1/invoices/77"
        wire.send(request_bytes("GET", target, [("Host", url.split("/")[2]), *lines]))
        assert wire.head()[0] == 200
        assert wire.chunk() == b"data: one\n\n", "the first token came while the second was still to be made"
        gate.open()
        assert wire.chunk() == b"data: two\n\n"
