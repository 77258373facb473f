"""The answers table of DESIGN §2, and that no answer tells more than the agent may know."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import held
import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.encoding import Json
from proxy.core.errors import Code
from proxy.core.guides import GUIDES, Next
from proxy.core.model import Decision, Hold, HoldState, Intent, Mismatch, Nearest, RuleRef, Verdict
from proxy.core.problems import Answer, Form, Prefer, document, problem, read_prefer
from proxy.core.reviewed import as_held

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
SECRET_RULE = RuleRef(id="payroll.read", file="secret-clusters.yaml", line=77)
DENIED = Decision(
    decision_id="d-1",
    verdict=Verdict.DENY,
    code=Code.NOT_COVERED,
    message="No granted cluster covers this call.",
    at=NOW,
    agent="invoice-bot",
    sponsor="ada",
    purpose="Match invoices.",
    manifest="root-id",
    cluster="supplier-invoices",
    intent=Intent(cluster="supplier-invoices", task="T-1"),
    rule=SECRET_RULE,
    failed=(Mismatch(field="path", expected="/secret/template", got="/v1/payroll"),),
    nearest=(Nearest(cluster="secret-cluster", operation="secret-op", rule=SECRET_RULE, failed=()),),
)
HELD = replace(DENIED, verdict=Verdict.HOLD)
HOLD = replace(held.draft(), id="h-1", filed_at=NOW, expires_at=NOW + timedelta(hours=4), code=Code.NOT_COVERED)

NONE = Prefer()
HTTP_FORMS: tuple[Form, ...] = ("absolute", "connect", "inside", "transparent")


def answer(
    decision: Decision,
    *,
    hold: Hold | None = None,
    form: Form = "absolute",
    prefer: Prefer = NONE,
    now: datetime = NOW,
) -> Answer:
    return problem(decision, hold=hold, form=form, prefer=prefer, now=now)


def headers(of: Answer) -> dict[str, str]:
    return dict(of.headers)


def body(of: Answer) -> dict[str, Json]:
    value = json.loads(of.body)
    assert isinstance(value, dict)
    return value


# --- the table of codes ----------------------------------------------------------------------------------------------


def test_every_code_has_one_answer() -> None:
    assert set(GUIDES) == set(Code)


@pytest.mark.parametrize("code", Code, ids=str)
def test_every_answer_is_whole_and_says_what_to_do_next(code: Code) -> None:
    guide = GUIDES[code]
    assert guide.title
    assert not guide.title.endswith(".")
    assert guide.advice.endswith(".")
    assert guide.advice.count("\n") == 0
    assert (guide.next is Next.GO_ON) == (code is Code.ALLOWED)
    for form in HTTP_FORMS:
        of = answer(replace(DENIED, code=code, verdict=Verdict.DENY), form=form)
        told = body(of)
        assert told["status"] == of.status
        assert told["code"] == code.value
        assert told["type"] == f"http://intent.internal/problems/{code.value}"
        assert guide.advice in str(told["detail"])
        assert headers(of)["Content-Type"] == "application/problem+json"
        assert headers(of)["Cache-Control"] == "no-store"


def test_titles_tell_codes_apart() -> None:
    assert len({guide.title for guide in GUIDES.values()}) == len(GUIDES)


# --- held ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", HTTP_FORMS)
@pytest.mark.parametrize(
    "code", [Code.NOT_COVERED, Code.CLUSTER_REVIEW, Code.CLUSTER_CHANGED, Code.HOLD_PENDING], ids=str
)
def test_a_held_call_gets_403_and_where_to_ask(code: Code, form: Form) -> None:
    of = answer(replace(HELD, code=code), hold=HOLD, form=form)
    assert of.status == 403
    assert headers(of)["Retry-After"] == "5"
    assert headers(of)["Link"] == (
        '<http://intent.internal/holds/h-1>; rel="status", <http://intent.internal/holds/h-1/redeem>; rel="redeem"'
    )
    told = body(of)
    assert told["task"] == {
        "id": "h-1",
        "status": "held",
        "status_endpoint": "http://intent.internal/holds/h-1",
        "expires_at": "2026-03-02T13:30:00Z",
    }
    assert told["retry"] == {"action": "wait", "after_s": 5}
    assert "http://intent.internal/holds/h-1" in str(told["detail"])


def test_the_members_are_those_of_the_design() -> None:
    told = body(answer(HELD, hold=HOLD))
    assert set(told) == {
        "type",
        "title",
        "status",
        "detail",
        "message",
        "code",
        "decision_id",
        "manifest",
        "sponsor",
        "declared_cluster",
        "reasons",
        "task",
        "retry",
    }
    assert (told["decision_id"], told["manifest"], told["sponsor"]) == ("d-1", "root-id", "ada")
    assert told["message"] == f"mandate.not_covered: {told['detail']}"
    assert told["declared_cluster"] == "supplier-invoices"
    assert told["reasons"] == [{"code": "mandate.not_covered", "field": "path", "got": "/v1/payroll"}]
    begin, _, end = str(told["detail"]).partition(": ")
    assert begin == "This request is held, under the mandate of invoice-bot from ada"
    assert end.startswith("No granted cluster covers this call. Nothing was sent")


@pytest.mark.parametrize(
    ("left_s", "after_s"),
    [
        pytest.param(3, "3", id="three seconds left"),
        pytest.param(0, "1", id="none left"),
        pytest.param(60, "5", id="enough left"),
    ],
)
def test_nobody_is_told_to_ask_after_the_hold_has_expired(left_s: int, after_s: str) -> None:
    of = answer(HELD, hold=replace(HOLD, expires_at=NOW + timedelta(seconds=left_s)))
    assert headers(of)["Retry-After"] == after_s


def test_a_call_held_without_a_hold_still_says_what_happened() -> None:
    of = answer(HELD)
    assert (of.status, "Link" in headers(of), "task" in body(of)) == (403, False, False)
    assert body(of)["retry"] == {"action": "wait", "after_s": None}


def test_respond_async_gets_202_and_the_hold() -> None:
    of = answer(HELD, hold=HOLD, form="inside", prefer=Prefer(respond_async=True))
    assert of.status == 202
    assert headers(of) == {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "Location": "http://intent.internal/holds/h-1",
        "Preference-Applied": "respond-async",
        "Link": headers(answer(HELD, hold=HOLD))["Link"],
        "Retry-After": "5",
    }
    assert body(of)["status"] == "held"


@pytest.mark.parametrize(
    ("decision", "hold", "form", "prefer"),
    [
        pytest.param(HELD, HOLD, "inside", Prefer(wait_s=5), id="unasked"),
        pytest.param(
            HELD, HOLD, "connect", Prefer(respond_async=True), id="to CONNECT, where any 2xx opens the tunnel"
        ),
        pytest.param(DENIED, HOLD, "inside", Prefer(respond_async=True), id="to a denial"),
        pytest.param(HELD, None, "inside", Prefer(respond_async=True), id="without a hold"),
    ],
)
def test_202_is_never_given_otherwise(decision: Decision, hold: Hold | None, form: Form, prefer: Prefer) -> None:
    assert answer(decision, hold=hold, form=form, prefer=prefer).status == 403


def test_a_hold_that_is_settled_meanwhile_is_accepted_without_a_time_to_ask_again() -> None:
    of = answer(HELD, hold=replace(HOLD, state=HoldState.UNCERTAIN), prefer=Prefer(respond_async=True))
    assert "Retry-After" not in headers(of)
    assert "redeem" not in headers(of)["Link"]


def test_a_hold_whose_body_was_not_kept_is_not_redeemed_but_sent_again() -> None:
    of = answer(HELD, hold=replace(HOLD, stored=False))
    assert headers(of)["Link"] == '<http://intent.internal/holds/h-1>; rel="status"'
    detail = json.loads(of.body)["detail"]
    assert "once released, send the same call again, freshly signed" in detail
    assert "redeem" not in detail
    kept = json.loads(answer(HELD, hold=HOLD).body)["detail"]
    assert "once released, POST http://intent.internal/holds/h-1/redeem." in kept


@pytest.mark.parametrize(
    ("changed", "said", "unsaid"),
    [
        pytest.param({"state": HoldState.HELD}, "once released, POST", "again", id="the twin: it waits for a person"),
        pytest.param({"state": HoldState.APPROVED}, "To have it sent, once, POST", "has been asked", id="released"),
        pytest.param(
            {"state": HoldState.APPROVED, "stored": False},
            "To have it sent, once, send the same call again",
            "has been asked",
            id="released, its body not kept",
        ),
        pytest.param({"state": HoldState.RELEASING}, "Do not send it again", "Nothing was sent", id="being sent"),
        pytest.param(
            {"state": HoldState.RELEASING, "delivers": True},
            "Do not send it again",
            "Nothing was sent",
            id="being sent by a node",
        ),
    ],
)
def test_the_advice_is_that_of_the_holds_state(changed: dict[str, object], said: str, unsaid: str) -> None:
    hold = replace(HOLD, **changed)  # type: ignore[arg-type]
    detail = str(body(answer(as_held(HELD, hold), hold=hold))["detail"])
    assert said in detail
    assert unsaid not in detail


@pytest.mark.parametrize(
    ("prefer", "waits_s"),
    [
        pytest.param(Prefer(), 30, id="as the rule says"),
        pytest.param(Prefer(wait_s=5), 5, id="as it says"),
        pytest.param(Prefer(wait_s=0), 0, id="not at all"),
        pytest.param(Prefer(respond_async=True), 0, id="told at once"),
        pytest.param(Prefer(wait_s=5, respond_async=True), 5, id="told after that time"),
    ],
)
def test_an_agent_waits_as_long_as_it_says(prefer: Prefer, waits_s: int) -> None:
    assert prefer.waits_s(30) == waits_s


@pytest.mark.parametrize(
    ("state", "code", "action"),
    [
        pytest.param(HoldState.EXPIRED, "hold.expired", "retry", id="nobody decided"),
        pytest.param(HoldState.CANCELLED, "hold.cancelled", "retry", id="somebody ended it"),
        pytest.param(HoldState.UNCERTAIN, "hold.uncertain", "stop", id="nobody knows"),
    ],
)
def test_a_hold_that_is_over_says_how_it_ended(state: HoldState, code: str, action: str) -> None:
    hold = replace(HOLD, state=state)
    told = body(answer(as_held(HELD, hold), hold=hold))
    assert (told["code"], told["retry"]["action"]) == (code, action)  # type: ignore[index,call-overload]
    assert ("in time" in str(told["title"])) is (state is HoldState.EXPIRED)


# --- denied ----------------------------------------------------------------------------------------------------------


def test_a_reviewers_denial_comes_with_the_reviewers_reason() -> None:
    denied = replace(HOLD, state=HoldState.DENIED, reason="Not needed for this task.", decided_by="cleo")
    of = answer(replace(DENIED, code=Code.HOLD_DENIED, failed=()), hold=denied)
    assert of.status == 403
    assert headers(of)["Link"] == '<http://intent.internal/holds/h-1>; rel="status"'
    assert "Retry-After" not in headers(of)
    assert body(of)["reasons"] == [{"code": "hold.denied", "field": "review", "got": "Not needed for this task."}]
    assert body(of)["retry"] == {"action": "stop", "after_s": None}
    assert b"cleo" not in of.body


def test_no_answer_reveals_rules_or_what_was_nearest() -> None:
    for form in HTTP_FORMS:
        for decision in (DENIED, HELD):
            of = answer(decision, hold=HOLD, form=form)
            assert b"secret" not in of.body + repr(of.headers).encode() + of.reason.encode()


def test_words_from_outside_arrive_escaped() -> None:
    hostile = "\x1b]0;x\x07\u202e\x7f\x9b<script>"
    of = answer(replace(DENIED, message=hostile, failed=(Mismatch(field=hostile, expected="", got=hostile),)))
    assert of.body.isascii()
    assert all(0x20 <= byte < 0x7F for byte in of.body)
    assert body(of)["reasons"] == [{"code": "mandate.not_covered", "field": hostile, "got": hostile}]


# --- proof -----------------------------------------------------------------------------------------------------------

PROOF_CODES = [code for code in Code if code.value.startswith("proof.") and code is not Code.PROOF_SOURCE] + [
    Code.MANIFEST_MALFORMED,
    Code.MANIFEST_SIGNATURE,
    Code.MANIFEST_UNKNOWN,
]


@pytest.mark.parametrize("code", PROOF_CODES, ids=str)
@pytest.mark.parametrize(
    ("form", "status"),
    [
        pytest.param("absolute", 407, id="on absolute form"),
        pytest.param("connect", 407, id="on CONNECT"),
        pytest.param("inside", 403, id="inside a tunnel"),
    ],
)
def test_missing_and_bad_proof_is_challenged(code: Code, form: Form, status: int) -> None:
    of = answer(replace(DENIED, code=code), form=form)
    assert of.status == status
    assert headers(of).get("Proxy-Authenticate") == ('Basic realm="intent-proxy"' if status == 407 else None)
    asked = http_sf.parse(headers(of)["Accept-Signature"].encode(), tltype="dictionary")
    assert isinstance(asked, dict)
    components, parameters = asked["intent"]
    names = [name for name, _ in components]
    assert ("@authority" in names) == (form == "connect")
    assert {"@method", "agent-intent", "intent-manifest"} <= set(names)
    assert parameters == {"created": True, "expires": True, "tag": "agent-intent"}


@pytest.mark.parametrize("code", [Code.PROOF_MISSING, Code.AGENT_UNKNOWN], ids=str)
def test_an_unknown_source_in_transparent_mode_gets_511(code: Code) -> None:
    of = answer(replace(DENIED, code=code), form="transparent")
    assert of.status == 511
    assert "Proxy-Authenticate" not in headers(of)


def test_bad_proof_in_transparent_mode_gets_403() -> None:
    of = answer(replace(DENIED, code=Code.PROOF_SIGNATURE), form="transparent")
    assert (of.status, "Accept-Signature" in headers(of)) == (403, True)


@pytest.mark.parametrize(
    "code", [Code.MANIFEST_REVOKED, Code.MANIFEST_WINDOW, Code.QUARANTINED, Code.KILL_SWITCH], ids=str
)
def test_authority_that_has_ended_is_denied_not_challenged(code: Code) -> None:
    of = answer(replace(DENIED, code=code))
    assert of.status == 403
    assert not {"Proxy-Authenticate", "Accept-Signature"} & set(headers(of))


@pytest.mark.parametrize("form", HTTP_FORMS)
def test_the_reason_phrase_says_why_to_clients_that_hide_the_body(form: Form) -> None:
    words = ": The call carries no proof of a mandate" if form == "connect" else ""  # where nothing else is shown
    assert answer(replace(DENIED, code=Code.PROOF_MISSING), form=form).reason == f"proof.missing d-1{words}"


def test_the_reason_phrase_of_a_held_call_names_its_hold() -> None:
    assert answer(HELD, hold=HOLD).reason == f"mandate.not_covered {HOLD.id}"


# --- limits and faults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "field", "status"),
    [
        pytest.param(Code.REQUEST_TOO_LARGE, "body", 413, id="a large body"),
        pytest.param(Code.REQUEST_TOO_LARGE, "content-length", 413, id="a large body announced"),
        pytest.param(Code.REQUEST_TOO_LARGE, "headers", 431, id="large headers"),
        pytest.param(Code.REQUEST_TOO_LARGE, "target", 414, id="a long URL"),
        pytest.param(Code.REQUEST_TOO_LARGE, None, 413, id="something large"),
        pytest.param(Code.REQUEST_TIMEOUT, None, 408, id="a slow client"),
        pytest.param(Code.REQUEST_MALFORMED, "host", 400, id="a malformed request"),
        pytest.param(Code.URL_AMBIGUOUS, "path", 400, id="an ambiguous request"),
        pytest.param(Code.UPSTREAM_TLS, None, 502, id="a bad certificate"),
        pytest.param(Code.HOLD_UNKNOWN, None, 404, id="somebody else's hold"),
    ],
)
def test_the_status_says_what_kind_of_fault_it_was(code: Code, field: str | None, status: int) -> None:
    failed = () if field is None else (Mismatch(field=field, expected="", got=""),)
    of = answer(replace(DENIED, code=code, failed=failed), form="inside")
    assert of.status == status
    assert ("Retry-After" in headers(of)) is (code is Code.REQUEST_TIMEOUT)


@pytest.mark.parametrize(
    ("code", "status", "after_s"),
    [
        pytest.param(Code.HOLD_CAP, 429, "60", id="too many holds"),
        pytest.param(Code.STORE_DOWN, 503, "2", id="the store is down"),
        pytest.param(Code.HOLD_RELEASING, 409, "2", id="a call that is being sent"),
    ],
)
def test_what_passes_by_itself_says_when(code: Code, status: int, after_s: str) -> None:
    of = answer(replace(DENIED, code=code))
    assert (of.status, headers(of)["Retry-After"]) == (status, after_s)
    assert headers(answer(replace(DENIED, code=code, retry_after_s=17)))["Retry-After"] == "17"


def test_what_nobody_knows_the_fate_of_is_not_to_be_sent_again_at_any_time() -> None:
    of = answer(replace(DENIED, code=Code.HOLD_UNCERTAIN), hold=replace(HOLD, state=HoldState.UNCERTAIN))
    assert (of.status, "Retry-After" in headers(of)) == (409, False)
    told = body(of)
    assert told["retry"] == {"action": "stop", "after_s": None}
    assert "a person has to find out whether it arrived" in str(told["detail"])


@pytest.mark.parametrize(
    ("hold", "action", "advice"),
    [
        pytest.param(replace(HOLD, state=HoldState.RELEASING), "stop", "Do not send it again", id="a released call"),
        pytest.param(None, "retry", "only if the call may happen twice", id="any other"),
    ],
)
def test_a_connection_that_broke_says_whether_to_try_again(hold: Hold | None, action: str, advice: str) -> None:
    told = body(answer(replace(DENIED, code=Code.UPSTREAM_BROKEN), hold=hold))
    assert told["retry"] == {"action": action, "after_s": None}
    assert advice in str(told["detail"])


def test_an_allowed_call_has_no_problem() -> None:
    with pytest.raises(ValueError, match="no problem"):
        answer(replace(DENIED, verdict=Verdict.ALLOW))


def test_a_document_is_json() -> None:
    of = document({"status": "ok"})
    assert (of.status, of.body, headers(of)["Content-Type"]) == (200, b'{"status":"ok"}', "application/json")


# --- Prefer ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], Prefer(), id="no preference"),
        pytest.param(["wait=10"], Prefer(wait_s=10), id="wait"),
        pytest.param(["respond-async"], Prefer(respond_async=True), id="respond-async"),
        pytest.param(["respond-async, wait=10"], Prefer(wait_s=10, respond_async=True), id="both"),
        pytest.param(["respond-async", "wait=10"], Prefer(wait_s=10, respond_async=True), id="both on two lines"),
        pytest.param(
            ["Respond-Async, WAIT = 10"], Prefer(wait_s=10, respond_async=True), id="in capitals, with spaces"
        ),
        pytest.param(['wait="10"'], Prefer(wait_s=10), id="a quoted value"),
        pytest.param(["wait=10; x=y"], Prefer(wait_s=10), id="a parameter"),
        pytest.param(["wait=1, wait=2"], Prefer(wait_s=1), id="the first one counts"),
        pytest.param(["wait=0"], Prefer(wait_s=0), id="not at all"),
        pytest.param(["wait"], Prefer(), id="wait without a time"),
        pytest.param(["wait=-1"], Prefer(), id="a negative time"),
        pytest.param(["wait=1.5"], Prefer(), id="a fraction"),
        pytest.param(["wait=9999999999"], Prefer(), id="an endless time"),
        pytest.param(["wait=\u0661".encode().decode("latin-1")], Prefer(), id="other digits"),
        pytest.param(["handling=lenient, return=minimal"], Prefer(), id="preferences of others"),
    ],
)
def test_preferences_are_read_and_nothing_else_matters(values: list[str], expected: Prefer) -> None:
    lines = [(b"Accept", b"wait=99"), *((b"pReFeR", value.encode("latin-1")) for value in values)]
    assert read_prefer(tuple(lines)) == expected


@given(st.lists(st.tuples(st.sampled_from([b"Prefer", b"x"]), st.binary(max_size=30)), max_size=4))
def test_reading_preferences_never_raises(lines: list[tuple[bytes, bytes]]) -> None:
    prefer = read_prefer(tuple(lines))
    assert prefer.wait_s is None or 0 <= prefer.wait_s < 10**9
