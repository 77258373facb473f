"""Every refusal says in its detail which call, under whose mandate, and whether to retry, wait, mend it or stop."""

import json
from dataclasses import replace

import identities
import pytest

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.guides import GUIDES, Next
from proxy.core.model import Call, Decision, Verdict
from proxy.core.problems import Form, Prefer, problem, waits_s
from proxy.core.refusals import MAX_CHARS, cut_off, what_happened

CALL = Call(
    method="GET",
    scheme="https",
    host="erp.example",
    port=443,
    path="/v1/salaries",
    segments=("v1", "salaries"),
    query="token=secret",
    has_query=True,
    parameters=(("token", "secret"),),
    headers=(),
    body=b"",
)
REFUSED = Decision(
    decision_id="d-1",
    verdict=Verdict.DENY,
    code=Code.POLICY_DENIED,
    message="Rule no-payroll forbids it",
    at=identities.NOW,
    agent="invoice-bot",
    sponsor="ada",
)

WORDS = {
    Next.RETRY: ("again",),
    Next.WAIT: ("Wait",),
    Next.FIX: ("again", "Send less", "Use the"),
    Next.STOP: ("Stop",),
}


@pytest.mark.parametrize("code", [code for code in Code if GUIDES[code].next is not Next.GO_ON], ids=str)
def test_every_code_says_what_was_refused_under_which_mandate_and_what_to_do(code: Code) -> None:
    answer = problem(
        replace(REFUSED, code=code), hold=None, form="inside", prefer=Prefer(), now=identities.NOW, call=CALL
    )
    told = json.loads(answer.body)
    assert told["detail"].startswith("GET https://erp.example/v1/salaries ")
    assert "under the mandate of invoice-bot from ada: " in told["detail"]
    assert told["message"] == f"{code.value}: {told['detail']}", "all that some SDKs show"
    assert "secret" not in told["detail"]
    guide = GUIDES[code]
    assert any(word in guide.advice for word in WORDS[guide.next]), guide
    assert told["retry"]["action"] == guide.next.value
    after = dict(answer.headers).get("Retry-After")
    assert told["retry"]["after_s"] == (None if after is None else int(after))
    if guide.next is Next.STOP:
        assert after is None, "who is told to stop is not told when to ask again"
    if guide.next is Next.RETRY and guide.status in (408, 429, 503):
        assert after is not None


@pytest.mark.parametrize(
    ("decision", "call", "expected"),
    [
        pytest.param(
            REFUSED,
            CALL,
            "GET https://erp.example/v1/salaries was refused, under the mandate of invoice-bot from ada",
            id="a denied call",
        ),
        pytest.param(
            replace(REFUSED, verdict=Verdict.HOLD, code=Code.NOT_COVERED),
            CALL,
            "GET https://erp.example/v1/salaries is held, under the mandate of invoice-bot from ada",
            id="a held call",
        ),
        pytest.param(
            replace(REFUSED, code=Code.UPSTREAM_BROKEN),
            CALL,
            "GET https://erp.example/v1/salaries failed, under the mandate of invoice-bot from ada",
            id="a call that the world failed",
        ),
        pytest.param(
            replace(REFUSED, code=Code.KILL_SWITCH),
            CALL,
            "GET https://erp.example/v1/salaries was stopped, under the mandate of invoice-bot from ada",
            id="a call that was stopped, before or under way",
        ),
        pytest.param(
            replace(REFUSED, code=Code.HOLD_UNCERTAIN),
            CALL,
            "GET https://erp.example/v1/salaries was not sent again, under the mandate of invoice-bot from ada",
            id="a call that may have arrived",
        ),
        pytest.param(
            replace(REFUSED, agent=None, sponsor=None, code=Code.PROOF_MISSING),
            None,
            "This request was refused, with no mandate proven",
            id="a caller nobody knows",
        ),
        pytest.param(
            replace(REFUSED, sponsor=None),
            None,
            "This request was refused, under the mandate of invoice-bot from nobody known",
            id="a mandate without a sponsor",
        ),
    ],
)
def test_it_names_the_call_and_the_mandate(decision: Decision, call: Call | None, expected: str) -> None:
    assert what_happened(decision, call) == expected


@pytest.mark.parametrize(
    ("stopped", "sent", "code", "words"),
    [
        pytest.param(Rejected(Code.KILL_SWITCH, "all is"), False, Code.KILL_SWITCH, "all is", id="before it left"),
        pytest.param(Rejected(Code.KILL_SWITCH, "all is"), True, Code.KILL_SWITCH, "may have arrived", id="after that"),
        pytest.param(Unavailable(Code.VIEW_STALE, "away"), False, Code.VIEW_STALE, "away", id="no news, before"),
        pytest.param(Unavailable(Code.VIEW_STALE, "away"), True, Code.UPSTREAM_BROKEN, "may have", id="no news, after"),
    ],
)
def test_a_call_that_was_ended_under_way_is_never_told_that_nothing_was_sent(
    stopped: Rejected | Unavailable, sent: bool, code: Code, words: str
) -> None:
    told, detail = cut_off(stopped, sent=sent)
    assert (told, words in detail) == (code, True)
    decision = replace(REFUSED, code=told, message=detail)
    answer = problem(
        decision, hold=None, form="inside", prefer=Prefer(), now=identities.NOW, call=replace(CALL, method="POST")
    )
    members = json.loads(answer.body)
    assert ("Nothing was sent" in members["detail"]) is (not sent and isinstance(stopped, Unavailable))
    assert ("may have arrived" in members["detail"]) is sent
    if sent:
        assert members["retry"]["action"] == "stop"


@pytest.mark.parametrize(
    ("method", "action"),
    [
        pytest.param("GET", "retry", id="a GET"),
        pytest.param("PUT", "retry", id="a PUT"),
        pytest.param("POST", "stop", id="a POST"),
        pytest.param("PATCH", "stop", id="a PATCH"),
    ],
)
def test_what_would_happen_twice_is_not_to_be_sent_again_by_itself(method: str, action: str) -> None:
    broken = replace(REFUSED, code=Code.UPSTREAM_BROKEN, message="the origin hung up")
    call = replace(CALL, method=method)
    of = problem(broken, hold=None, form="inside", prefer=Prefer(), now=identities.NOW, call=call)
    told = json.loads(of.body)
    assert told["retry"]["action"] == action
    assert ("It may have arrived. Stop" in told["detail"]) is (action == "stop")


def test_a_long_url_is_cut() -> None:
    path = "/" + "a" * 4000
    told = what_happened(REFUSED, replace(CALL, path=path, segments=("a" * 4000,)))
    assert f"GET {('https://erp.example' + path)[:MAX_CHARS]}… was refused" in told
    assert len(told) < MAX_CHARS + 100


@pytest.mark.parametrize(
    ("code", "status", "after_s"),
    [
        pytest.param(Code.STORE_DOWN, 503, 2, id="soon, where the proxy cannot tell"),
        pytest.param(Code.HOLD_CAP, 429, 60, id="in a minute, where too much is held"),
        pytest.param(Code.UPSTREAM_CONNECT, 502, 10, id="later, where the destination is away"),
        pytest.param(Code.HOLD_EXPIRED, 403, None, id="whenever it likes, where nobody decided"),
        pytest.param(Code.CONFIG_INVALID, 503, None, id="never, where somebody has to mend the proxy"),
    ],
)
def test_when_to_ask_again(code: Code, status: int, after_s: int | None) -> None:
    assert waits_s(code, status) == after_s


def test_the_form_says_nothing_about_the_sentence() -> None:
    forms: tuple[Form, ...] = ("absolute", "connect", "inside", "transparent")
    told = {
        json.loads(problem(REFUSED, hold=None, form=form, prefer=Prefer(), now=identities.NOW, call=CALL).body)[
            "detail"
        ]
        for form in forms
    }
    assert len(told) == 1
