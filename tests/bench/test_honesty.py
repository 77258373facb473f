"""What makes a round worthless: one case for each thing that may not agree, beside a round in which all of it does."""

import hashlib
from dataclasses import replace

import pytest

from bench.honesty import REFUSED_WITH, Allowed, Record, Sent, faults_of_round, faults_of_streams
from bench.load import PLANTS
from proxy.core.encoding import b64u


def call(number: int) -> Sent:
    return Sent(target=f"GET /{number}", nonce=f"nonce-{number}", plant="", status=200, code="", right=True)


def planted(kind: str, number: int = 99) -> Sent:
    status, code = REFUSED_WITH[kind]
    return replace(call(number), plant=kind, status=status, code=code, right=False)


def line(sent: Sent) -> Allowed:
    return Allowed(target=sent.target, nonce_sha256=b64u(hashlib.sha256(sent.nonce.encode()).digest()))


SENT = tuple(call(number) for number in range(5))
ARRIVED = tuple(each.target for each in SENT)
RECORD = Record(allowed=tuple(map(line, SENT)), nonces_in_store=len(SENT))


def test_a_round_in_which_everything_agrees_counts() -> None:
    assert faults_of_round(SENT, arrived=ARRIVED, record=RECORD) == ()


def test_the_order_of_arrival_does_not_matter() -> None:
    record = replace(RECORD, allowed=RECORD.allowed[::-1])
    assert faults_of_round(SENT, arrived=ARRIVED[::-1], record=record) == ()


def test_without_enforcement_only_answers_and_arrivals_are_asked() -> None:
    sent = tuple(replace(each, nonce="") for each in SENT)
    assert faults_of_round(sent, arrived=ARRIVED, record=None) == ()


@pytest.mark.parametrize(
    ("arrived", "expected"),
    [
        pytest.param(ARRIVED[1:], "origin: GET /0 is missing", id="the origin missed a request"),
        pytest.param((*ARRIVED, "GET /0"), "origin: GET /0 was not expected", id="a request arrived twice"),
        pytest.param((*ARRIVED, "GET /x"), "origin: GET /x was not expected", id="a request arrived that nobody sent"),
    ],
)
def test_what_was_sent_arrives_once(arrived: tuple[str, ...], expected: str) -> None:
    for record in (RECORD, None):
        assert faults_of_round(SENT, arrived=arrived, record=record) == (expected,)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({"status": 403, "code": "proof.window"}, "GET /2 got 403 proof.window", id="a stale signature"),
        pytest.param({"status": 503, "code": "service.undecided"}, "GET /2 got 503", id="a refusal for want of time"),
        pytest.param({"status": 0, "code": "connection lost"}, "GET /2 got 0 connection lost", id="a lost connection"),
        pytest.param({"right": False}, "bodies were not their call's own: GET /2", id="another call's body"),
    ],
)
def test_every_answer_is_right(change: dict[str, object], expected: str) -> None:
    sent = (*SENT[:2], replace(SENT[2], **change), *SENT[3:])  # type: ignore[arg-type]
    faults = faults_of_round(sent, arrived=ARRIVED, record=RECORD)
    assert len(faults) == 1 and expected in faults[0]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(replace(RECORD, allowed=RECORD.allowed[1:]), "journal: GET /0 is missing", id="a line is missing"),
        pytest.param(
            replace(RECORD, allowed=(*RECORD.allowed, RECORD.allowed[0])),
            "journal: GET /0 was not expected",
            id="a line was written twice",
        ),
        pytest.param(
            replace(RECORD, allowed=(replace(RECORD.allowed[0], nonce_sha256=""), *RECORD.allowed[1:])),
            "journal's nonces: ",
            id="a line names no nonce",
        ),
        pytest.param(replace(RECORD, nonces_in_store=4), "store: 4 nonces were spent", id="a nonce was not spent"),
    ],
)
def test_every_call_has_its_line_and_its_nonce(record: Record, expected: str) -> None:
    faults = faults_of_round(SENT, arrived=ARRIVED, record=record)
    assert faults and faults[0].startswith(expected)


def test_a_nonce_is_used_once() -> None:
    sent = (*SENT[:4], replace(SENT[4], nonce=SENT[0].nonce))
    record = Record(allowed=tuple(map(line, sent)), nonces_in_store=4)
    assert faults_of_round(sent, arrived=ARRIVED, record=record) == ("nonces: 1 were used for more than one call",)


def test_a_call_without_a_nonce_does_not_count() -> None:
    sent = (*SENT[:4], replace(SENT[4], nonce=""))
    faults = faults_of_round(sent, arrived=ARRIVED, record=replace(RECORD, allowed=tuple(map(line, sent))))
    assert "nonces: a call was sent without one" in faults


def test_a_round_of_nothing_does_not_count() -> None:
    assert faults_of_round((), arrived=(), record=None) == ("answers: nothing was sent",)


@pytest.mark.parametrize("kind", PLANTS)
def test_a_planted_call_is_refused_for_its_own_reason_and_never_arrives(kind: str) -> None:
    sent = (*SENT, planted(kind))
    assert faults_of_round(sent, arrived=ARRIVED, record=RECORD) == ()
    passed = (*SENT, replace(planted(kind), status=200, code="", right=True))
    assert len(faults_of_round(passed, arrived=(*ARRIVED, "GET /99"), record=RECORD)) == 2
    other = (*SENT, replace(planted(kind), status=503, code="service.undecided"))
    assert len(faults_of_round(other, arrived=ARRIVED, record=RECORD)) == 1


def test_many_faults_are_told_shortly() -> None:
    faults = faults_of_round(SENT, arrived=(), record=None)
    assert len(faults) == 4 and faults[-1] == "and 2 more"


CAME, BODY = ("GET /events-1", "GET /large-1", "POST /1/scan"), "5a" * 32


@pytest.mark.parametrize("allowed", [CAME, None], ids=["with enforcement", "without"])
def test_a_round_of_streams_in_which_everything_agrees_counts(allowed: tuple[str, ...] | None) -> None:
    assert faults_of_streams(CAME, CAME, [BODY], BODY, allowed) == ()


@pytest.mark.parametrize(
    ("arrived", "bodies", "allowed", "said"),
    [
        pytest.param(CAME[:2], [BODY], CAME, "origin", id="a call did not arrive"),
        pytest.param(CAME, ["00" * 32], CAME, "expected one body", id="the body was changed"),
        pytest.param(CAME, [], CAME, "expected one body", id="the body did not arrive"),
        pytest.param(CAME, [BODY], CAME[1:], "journal", id="a call has no line"),
    ],
)
def test_a_round_of_streams_that_does_not_agree_is_worthless(
    arrived: tuple[str, ...], bodies: list[str], allowed: tuple[str, ...], said: str
) -> None:
    (fault,) = faults_of_streams(CAME, arrived, bodies, BODY, allowed)
    assert said in fault


def test_a_round_of_streams_in_which_nothing_was_sent_is_worthless() -> None:
    assert "nothing was sent" in faults_of_streams((), (), [BODY], BODY, None)[0]
