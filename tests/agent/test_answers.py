"""Answers are read from what `proxy.core.problems` writes, so the two cannot drift apart."""

import json
from dataclasses import replace
from datetime import timedelta
from http.client import HTTPMessage

import httpx
import identities
import pytest
from hypothesis import given
from hypothesis import strategies as st

from addons.translate import undecided
from proxy.agent.answers import Denied, Held, read_answer, read_hold
from proxy.core.documents import hold_document
from proxy.core.errors import Code
from proxy.core.model import Decision, Hold, HoldState, Mismatch, Proof, Risk, Verdict
from proxy.core.problems import Prefer, problem

NOW = identities.NOW
NO_PREFERENCE = Prefer()

DENIED = Decision(
    decision_id="d-1",
    verdict=Verdict.DENY,
    code=Code.NOT_COVERED,
    message="No granted cluster covers this call",
    at=NOW,
    sponsor=identities.SPONSOR,
    failed=(Mismatch(field="path", expected="/v1/invoices/{id}", got="/v1/salaries"),),
)
HELD = replace(DENIED, verdict=Verdict.HOLD)
HOLD = Hold(
    id="h-1",
    state=HoldState.HELD,
    version=1,
    fence=0,
    call_digest="",
    root_id="",
    agent=identities.AGENT,
    sponsor=identities.SPONSOR,
    cluster=identities.CLUSTER,
    task="T-1",
    code=Code.NOT_COVERED,
    risk=Risk.ROUTINE,
    proof=Proof.REQUEST,
    who=("sponsor",),
    filed_at=NOW,
    expires_at=NOW + timedelta(hours=4),
)


def read(decision: Decision, hold: Hold | None = None, prefer: Prefer = NO_PREFERENCE) -> Held | Denied | None:
    answer = problem(decision, hold=hold, form="inside", prefer=prefer, now=NOW)
    return read_answer(answer.status, answer.headers, answer.body)


@pytest.mark.parametrize(
    "prefer",
    [pytest.param(Prefer(), id="a problem"), pytest.param(Prefer(respond_async=True), id="accepted, as preferred")],
)
def test_a_held_call_says_where_to_ask_and_redeem(prefer: Prefer) -> None:
    held = read(HELD, HOLD, prefer)
    assert isinstance(held, Held)
    assert (held.id, held.status, held.code) == ("h-1", "held", "mandate.not_covered")
    assert held.status_url == "http://intent.internal/holds/h-1"
    assert held.redeem_url == "http://intent.internal/holds/h-1/redeem"
    assert held.retry_after_s == 5
    assert held.expires_at == HOLD.expires_at
    assert held.reason


def test_a_denied_call_says_why_and_what_to_do() -> None:
    denied = read(DENIED)
    assert isinstance(denied, Denied)
    assert (denied.status, denied.code, denied.action) == (403, "mandate.not_covered", "stop")
    assert (denied.decision_id, denied.sponsor, denied.retry_after_s) == ("d-1", identities.SPONSOR, None)
    assert denied.reasons[0]["got"] == "/v1/salaries"
    assert denied.title
    assert "No granted cluster covers this call" in denied.detail


def test_headers_may_be_any_clients() -> None:
    answer = problem(DENIED, hold=None, form="inside", prefer=NO_PREFERENCE, now=NOW)
    message = HTTPMessage()
    for name, value in answer.headers:
        message[name] = value
    for headers in (answer.headers, dict(answer.headers), httpx.Headers(answer.headers), message):
        assert isinstance(read_answer(answer.status, headers, answer.body), Denied)


def test_a_call_a_person_refused_is_denied_with_the_persons_words() -> None:
    refused = replace(HOLD, state=HoldState.DENIED, reason="Ask Ada first")
    denied = read(replace(DENIED, code=Code.HOLD_DENIED), refused)
    assert isinstance(denied, Denied)
    assert denied.reasons[-1]["got"] == "Ask Ada first"


def test_a_call_that_could_not_be_decided_says_when_to_retry() -> None:
    denied = read(replace(DENIED, code=Code.STORE_DOWN))
    assert isinstance(denied, Denied)
    assert (denied.status, denied.action, denied.retry_after_s) == (503, "retry", 2)


def test_the_refusal_that_stands_until_the_gate_has_spoken_is_read_like_any_other() -> None:
    refused = undecided()
    denied = read_answer(refused.status_code, list(refused.headers.items()), refused.content or b"")
    assert isinstance(denied, Denied)
    assert (denied.code, denied.action, denied.retry_after_s) == ("service.undecided", "retry", 2)


@pytest.mark.parametrize("state", HoldState, ids=lambda state: f"a hold that is {state.value}")
def test_a_holds_own_document_is_read(state: HoldState) -> None:
    held = read_hold(json.dumps(hold_document(replace(HOLD, state=state), now=NOW)).encode())
    assert held is not None
    assert (held.status, held.status_url) == (state.value, "http://intent.internal/holds/h-1")
    assert (held.redeem_url is not None) == (state in (HoldState.HELD, HoldState.APPROVED))


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        pytest.param(200, {"Content-Type": "application/json"}, b'{"code": "x"}', id="an ordinary response"),
        pytest.param(403, {"Content-Type": "text/html"}, b"<h1>no</h1>", id="an origin's own refusal"),
        pytest.param(403, {"Content-Type": "application/problem+json"}, b'{"title": "x"}', id="another's problem"),
        pytest.param(202, {"Location": "https://api.example/jobs/1"}, b"{}", id="an origin's own 202"),
        pytest.param(
            403,
            {"Content-Type": "application/problem+json"},
            b'{"type": "https://api.example/errors/balance", "code": "insufficient_funds", "detail": "too little"}',
            id="another's problem with a code of its own",
        ),
        pytest.param(403, {}, b"", id="nothing"),
    ],
)
def test_what_is_not_the_proxys_is_none(status: int, headers: dict[str, str], body: bytes) -> None:
    assert read_answer(status, headers, body) is None


@pytest.mark.parametrize("status", [403, 202], ids=["a problem", "a 202"])
def test_no_address_of_an_answers_own_is_taken(status: int) -> None:
    """An origin that imitates a held call's answer would have the agent ask, and redeem, wherever it likes."""
    elsewhere = "http://erp.example/v1/payments"
    honest = problem(HELD, hold=HOLD, form="inside", prefer=Prefer(respond_async=status == 202), now=NOW)
    body = honest.body.replace(b"http://intent.internal/holds/h-1", elsewhere.encode())
    links = f'<{elsewhere}>; rel="status", <{elsewhere}>; rel="redeem"'
    for told in (honest.body, body):
        held = read_answer(status, {**dict(honest.headers), "Link": links}, told)
        assert held is None or elsewhere not in (held.status_url, held.redeem_url, held.response_url), held
    assert isinstance(read_answer(status, honest.headers, honest.body), Held)


@pytest.mark.parametrize("hold_id", ["", "../../v1/payments", "h 1", "h\n1", "x" * 65])
def test_a_hold_with_an_id_that_is_none_is_no_hold(hold_id: str) -> None:
    document = hold_document(replace(HOLD, id=hold_id), now=NOW)
    assert read_hold(json.dumps(document).encode()) is None
    answer = problem(HELD, hold=replace(HOLD, id=hold_id), form="inside", prefer=Prefer(), now=NOW)
    assert read_answer(answer.status, answer.headers, answer.body) is None


@given(
    st.sampled_from([200, 202, 403, 503]),
    st.dictionaries(st.sampled_from(["Link", "Retry-After", "Location"]), st.text(max_size=30)),
    st.one_of(
        st.binary(max_size=40),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=10),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["code", "task", "retry", "reasons", "status", "id", "expires_at"]), inner
                )
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    ),
)
def test_reading_never_raises(status: int, headers: dict[str, str], body: bytes) -> None:
    read_answer(status, {"Content-Type": "application/problem+json", **headers}, body)
    read_hold(body)
