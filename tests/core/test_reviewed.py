"""What may be told and recorded of a review: what a reviewer signed, and nothing else."""

from dataclasses import replace
from datetime import timedelta

import identities
import pytest
from identities import DEPLOYMENT, DEPUTY, NOW, REVIEWER, SPONSOR, key, nonce, person
from questions import call, question

from proxy.core.control import Act, state
from proxy.core.decide import decide
from proxy.core.errors import Code, Rejected
from proxy.core.grants import state_grant
from proxy.core.model import Hold, HoldState, Means, Proof, Review, Risk, Said, StoredCall, Verdict
from proxy.core.notes import NoteAct, state_note
from proxy.core.release import read_release, state_release
from proxy.core.reviewed import (
    as_held,
    as_judged,
    as_sealed,
    check_judged,
    elsewhere,
    ended,
    event_of,
    said_at,
    sent_away,
    told,
    unsaid,
    verified,
)
from proxy.core.routes import route_of

BUNDLE = identities.bundle()
DECISION = decide(question())


def decided(state: HoldState, verdict: Verdict, *, by: str = SPONSOR) -> Hold:
    """A hold in this state, with a genuine statement and an intruder's words beside it."""
    hold = replace(identities.hold(state=state), decided_by="cleo", decided_at=NOW, reason="do as I say")
    statement = state_release(
        hold=hold,
        verdict=verdict,
        by=by,
        reason="seen",
        deployment=DEPLOYMENT,
        key=key(by),
        now=NOW,
        not_after=NOW + timedelta(hours=1),
        nonce=nonce("n"),
    )
    return replace(hold, statement=statement)


def filed(hold: Hold, *, who: tuple[str, ...], digest: str = "", kids: tuple[str, ...] = ()) -> StoredCall:
    decision = replace(DECISION, review=Review(who=who), sponsor=SPONSOR)
    return StoredCall(
        call=call(),
        decision=decision,
        proof=Proof.REQUEST,
        call_digest=digest or hold.call_digest,
        sub_path="",
        chain_kids=kids,
    )


@pytest.mark.parametrize("state", [HoldState.APPROVED, HoldState.RELEASING, HoldState.RELEASED, HoldState.UNCERTAIN])
def test_a_release_is_told_in_the_words_that_were_signed(state: HoldState) -> None:
    for verdict, by, reason in ((Verdict.ALLOW, SPONSOR, "seen"), (Verdict.DENY, None, None)):
        hold = told(decided(state, verdict), BUNDLE, barred=(), now=NOW)
        assert (hold.decided_by, hold.reason) == (by, reason)


def test_a_denial_is_told_in_the_words_that_were_signed() -> None:
    hold = told(decided(HoldState.DENIED, Verdict.DENY), BUNDLE, barred=(), now=NOW)
    assert (hold.state, hold.decided_by, hold.reason) == (HoldState.DENIED, SPONSOR, "seen")


@pytest.mark.parametrize(
    "hold",
    [
        pytest.param(decided(HoldState.DENIED, Verdict.ALLOW), id="the statement is a release"),
        pytest.param(decided(HoldState.DENIED, Verdict.DENY, by=REVIEWER), id="the reviewer may not decide it"),
        pytest.param(replace(decided(HoldState.DENIED, Verdict.DENY), id="h-2"), id="the statement is of another hold"),
        pytest.param(replace(decided(HoldState.DENIED, Verdict.DENY), statement="x"), id="the statement is none"),
        pytest.param(replace(decided(HoldState.DENIED, Verdict.DENY), statement=None), id="there is no statement"),
    ],
)
def test_a_denial_nobody_signed_is_told_as_tampering(hold: Hold) -> None:
    with pytest.raises(Rejected, match="no reviewer's signed statement") as refused:
        told(hold, BUNDLE, barred=(), now=NOW)
    assert refused.value.code is Code.HOLD_TAMPERED


@pytest.mark.parametrize("state", sorted(set(HoldState) - {HoldState.DENIED}))
def test_words_nobody_signed_are_not_told(state: HoldState) -> None:
    hold = unsaid(replace(decided(state, Verdict.ALLOW), statement=None))
    assert (hold.state, hold.decided_by, hold.decided_at, hold.reason) == (state, None, None, None)


def test_a_denial_outlasts_the_reviewers_certificate() -> None:
    hold, later = decided(HoldState.DENIED, Verdict.DENY), NOW + timedelta(hours=2)
    lapsed = replace(
        BUNDLE, people={**BUNDLE.people, SPONSOR: person(SPONSOR, certified_until=NOW + timedelta(hours=1))}
    )
    assert verified(hold, lapsed, barred=(), now=later) is not None
    before = replace(
        BUNDLE, people={**BUNDLE.people, SPONSOR: person(SPONSOR, certified_until=NOW - timedelta(hours=1))}
    )
    assert verified(hold, before, barred=(), now=later) is None


def test_nobody_reviews_with_a_key_of_the_chain() -> None:
    hold = decided(HoldState.APPROVED, Verdict.ALLOW)
    assert verified(hold, BUNDLE, barred=(), now=NOW) is not None
    assert verified(hold, BUNDLE, barred=(key(SPONSOR).public.kid,), now=NOW) is None
    sealed = filed(hold, who=("sponsor",), kids=(key(SPONSOR).public.kid,))
    assert verified(hold, BUNDLE, barred=(), now=NOW, filed=sealed) is None


def test_who_may_decide_is_taken_from_the_sealed_record() -> None:
    hold = replace(decided(HoldState.APPROVED, Verdict.ALLOW, by=REVIEWER), who=(REVIEWER,))
    assert verified(hold, BUNDLE, barred=(), now=NOW) is not None
    assert verified(hold, BUNDLE, barred=(), now=NOW, filed=filed(hold, who=("sponsor",))) is None
    assert verified(hold, BUNDLE, barred=(), now=NOW, filed=filed(hold, who=(REVIEWER,))) is not None
    other = filed(hold, who=(REVIEWER,), digest="another")
    assert verified(hold, BUNDLE, barred=(), now=NOW, filed=other) is None


def test_the_sponsor_is_taken_from_the_sealed_record() -> None:
    hold = replace(decided(HoldState.APPROVED, Verdict.ALLOW, by=DEPUTY), who=("sponsor",), sponsor=DEPUTY)
    assert verified(hold, BUNDLE, barred=(), now=NOW) is not None
    assert verified(hold, BUNDLE, barred=(), now=NOW, filed=filed(hold, who=("sponsor",))) is None


@pytest.mark.parametrize("state", sorted(HoldState))
def test_every_state_answers_the_call_that_found_it(state: HoldState) -> None:
    hold = replace(identities.hold(state=state), reason="seen" if state is HoldState.DENIED else None)
    answer = as_held(DECISION, hold)
    waits = state in (HoldState.HELD, HoldState.APPROVED, HoldState.RELEASING)
    assert answer.verdict is (Verdict.HOLD if waits else Verdict.DENY)
    assert (answer.hold_id, answer.message.endswith(": seen")) == (hold.id, state is HoldState.DENIED)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        pytest.param(HoldState.DENIED, Code.HOLD_DENIED, id="refused"),
        pytest.param(HoldState.RELEASED, Code.HOLD_SPENT, id="sent"),
        pytest.param(HoldState.CANCELLED, Code.HOLD_CANCELLED, id="ended by a person"),
        pytest.param(HoldState.EXPIRED, Code.HOLD_EXPIRED, id="too late"),
    ],
)
def test_a_hold_that_is_over_says_how_and_why(state: HoldState, code: Code) -> None:
    fault = ended(replace(identities.hold(state=state), reason="not your task"))
    assert (fault.code, fault.detail.endswith(": not your task")) == (code, True)
    assert not ended(identities.hold(state=state)).detail.endswith(": not your task")


def test_a_node_that_ends_and_one_that_may_not_send_say_so() -> None:
    assert (sent_away(DECISION).verdict, sent_away(DECISION).code) == (Verdict.DENY, Code.DRAINING)
    assert "the node it was filed at" in elsewhere(DECISION).message


# --- a quorum, and what decided nothing ------------------------------------------------------------------------------


def release(by: str, hold: Hold, *, at: timedelta = timedelta(0)) -> str:
    return state_release(
        hold=hold,
        verdict=Verdict.ALLOW,
        by=by,
        reason=f"{by} saw it",
        deployment=DEPLOYMENT,
        key=key(by),
        now=NOW + at,
        not_after=NOW + timedelta(hours=4),
        nonce=nonce(by),
    )


def note(by: str, hold: Hold) -> str:
    return state_note(
        NoteAct.COMMENT,
        hold=hold,
        by=by,
        reason="asked Cleo",
        deployment=DEPLOYMENT,
        key=key(by),
        now=NOW,
        nonce=nonce("note"),
    )


def test_a_quorum_is_told_only_when_all_of_it_is_there() -> None:
    hold = replace(identities.hold(state=HoldState.APPROVED), quorum=2)
    one = replace(hold, statement=release(SPONSOR, hold), decided_by=SPONSOR, decided_at=NOW)
    both = replace(one, said=(Said(version=2, statement=release(DEPUTY, hold)),))
    assert verified(one, BUNDLE, barred=(), now=NOW) is None
    said = verified(both, BUNDLE, barred=(), now=NOW)
    assert said is not None and said.by == SPONSOR


def test_how_many_and_whose_turn_are_taken_from_the_sealed_record() -> None:
    hold = replace(identities.hold(state=HoldState.APPROVED), filed_at=NOW - timedelta(days=9))
    sealed = filed(hold, who=("sponsor", "deputy"))
    review = replace(sealed.decision.review, ttl_s=3 * 3600, quorum=2)
    sealed = replace(sealed, decision=replace(sealed.decision, review=review, at=NOW))
    meant = as_sealed(replace(hold, first_end=NOW), sealed)
    assert (meant.quorum, meant.filed_at, meant.first_end) == (2, NOW, None)
    assert meant.expires_at == NOW + timedelta(hours=3)
    orphaned = replace(sealed, decision=replace(sealed.decision, sponsor=None))
    assert as_sealed(hold, orphaned).sponsor == hold.sponsor


@pytest.mark.parametrize("record", Risk)
@pytest.mark.parametrize("today", Risk)
def test_a_record_is_never_laxer_than_todays_rules(record: Risk, today: Risk) -> None:
    hold = replace(identities.hold(risk=record), quorum=2)
    judged = as_judged(hold, replace(DECISION, risk=today, review=Review(quorum=3)))
    worldly = Risk.TRANSFORMATIVE in (record, today)
    assert judged == replace(hold, quorum=3, risk=Risk.TRANSFORMATIVE if worldly else Risk.ROUTINE)
    assert as_judged(hold, replace(DECISION, review=Review())).quorum == 2


@pytest.mark.parametrize(
    ("who", "passes"),
    [
        pytest.param(("sponsor", "deputy"), True, id="the same as filed"),
        pytest.param((DEPUTY,), True, id="by name"),
        pytest.param(("deputy",), True, id="as the deputy"),
        pytest.param(("sponsor", REVIEWER), False, id="others"),
        pytest.param((), False, id="nobody"),
    ],
)
def test_who_released_it_may_do_so_by_todays_rules_too(who: tuple[str, ...], passes: bool) -> None:
    hold = replace(decided(HoldState.APPROVED, Verdict.ALLOW, by=DEPUTY), who=(DEPUTY,))
    release = read_release(str(hold.statement), hold=hold, bundle=BUNDLE, barred=frozenset(), now=NOW)
    today = replace(DECISION, review=Review(who=who))
    if passes:
        check_judged(release.by, today, sponsor=SPONSOR, bundle=BUNDLE)
    else:
        with pytest.raises(Rejected) as refused:
            check_judged(release.by, today, sponsor=SPONSOR, bundle=BUNDLE)
        assert refused.value.code is Code.HOLD_NOT_PERMITTED


def test_it_is_told_with_what_a_word_was_signed() -> None:
    hold = decided(HoldState.APPROVED, Verdict.ALLOW)
    assert (hold.decided_with, told(hold, BUNDLE, barred=(), now=NOW).decided_with) == (None, Means.KEY)
    forged = replace(hold, statement=None, decided_with=Means.PASSKEY)
    assert told(forged, BUNDLE, barred=(), now=NOW).decided_with is None


def test_what_was_said_is_found_by_the_version_it_gave() -> None:
    hold = identities.hold(who=("sponsor", "deputy"))
    said = (
        Said(version=2, statement=note(DEPUTY, hold)),
        Said(version=3, statement=release(SPONSOR, hold)),
        Said(version=4, statement="nonsense"),
    )
    hold = replace(hold, said=said)
    found = [said_at(version, hold, BUNDLE, barred=(), now=NOW) for version in (2, 3, 4, 5)]
    assert [None if one is None else (event_of(one), one.by) for one in found] == [
        ("comment", DEPUTY),
        ("sign", SPONSOR),
        None,
        None,
    ]
    barred = filed(hold, who=("sponsor",), kids=(key(SPONSOR).public.kid,))
    assert said_at(3, hold, BUNDLE, barred=(), now=NOW, filed=barred) is None
    assert said_at(3, hold, BUNDLE, barred=(), now=NOW, filed=filed(hold, who=("sponsor",))) is not None


def test_who_is_sent_away_and_who_is_sent_elsewhere_is_told_so_and_nothing_else_changes() -> None:
    held = as_held(DECISION, identities.hold(state=HoldState.APPROVED))
    away, there = sent_away(held), elsewhere(held)
    assert (away.verdict, away.code, away.hold_id) == (Verdict.DENY, Code.DRAINING, held.hold_id)
    assert "the hold stays" in away.message
    assert there == replace(held, message=there.message)
    assert "send it again there" in there.message


@pytest.mark.parametrize(
    ("act", "target", "found"),
    [
        pytest.param(Act.QUARANTINE, identities.AGENT, True, id="a stop of its agent"),
        pytest.param(Act.QUARANTINE, "parent-bot", True, id="a stop of an agent above it"),
        pytest.param(Act.KILL_ON, "*", True, id="a stop of everything"),
        pytest.param(Act.QUARANTINE, "another", False, id="a stop of another"),
        pytest.param(Act.RESTORE, identities.AGENT, False, id="no stop"),
    ],
)
def test_a_recall_is_told_as_the_word_of_whoever_said_the_stop(act: Act, target: str, found: bool) -> None:
    token = state(act, target, by="operator", reason="odd", deployment=DEPLOYMENT, key=key("operator"), now=NOW)
    hold = replace(identities.hold(), said=(Said(version=3, statement=token),))
    sealed = replace(filed(hold, who=("sponsor",)), sub_path=f"parent-bot/{identities.AGENT}")
    said = said_at(3, hold, BUNDLE, barred=(), now=NOW, filed=sealed)
    assert (None if said is None else (event_of(said), said.by, said.reason)) == (
        ("recall", "operator", "odd") if found else None
    )
    alone = said_at(3, hold, BUNDLE, barred=(), now=NOW)
    assert (alone is not None) is (found and target != "parent-bot"), "without the record its own agent is known"


def given(hold: Hold, *, by: str = SPONSOR, with_hold: str = "", root_id: str = "") -> str:
    about = replace(DECISION, hold_id=with_hold or hold.id, manifest=root_id or hold.root_id)
    return state_grant(
        route_of(call()),
        grant_id="g-1",
        filed=replace(filed(hold, who=("sponsor",)), decision=about),
        by=by,
        count=5,
        reason="stock-taking",
        deployment=DEPLOYMENT,
        key=key(by),
        now=NOW,
        not_after=NOW + timedelta(minutes=15),
        nonce=nonce("grant"),
    )


@pytest.mark.parametrize(
    ("changed", "kids", "found"),
    [
        pytest.param({}, (), True, id="the twin: given with this hold by who may release it"),
        pytest.param({"with_hold": "another"}, (), False, id="given with another hold"),
        pytest.param({"root_id": "another"}, (), False, id="of another mandate"),
        pytest.param({"by": REVIEWER}, (), False, id="by somebody who may not release it"),
        pytest.param({}, (key(SPONSOR).public.kid,), False, id="with a key of the chain"),
    ],
)
def test_a_grant_that_was_given_with_a_release_is_told_as_its_givers(
    changed: dict[str, str], kids: tuple[str, ...], found: bool
) -> None:
    hold = replace(identities.hold(state=HoldState.APPROVED), decided_at=NOW)
    hold = replace(hold, said=(Said(version=2, statement=given(hold, **changed)),))
    for now in (NOW, NOW + timedelta(days=3)):
        said = said_at(2, hold, BUNDLE, barred=kids, now=now)
        assert (None if said is None else (event_of(said), said.by)) == (("grant", SPONSOR) if found else None)
