"""What may be told and recorded of a review: what a reviewer signed, and nothing else."""

from dataclasses import replace
from datetime import timedelta

import identities
import pytest
from identities import DEPLOYMENT, DEPUTY, NOW, REVIEWER, SPONSOR, key, nonce, person
from questions import call, question

from proxy.core.decide import decide
from proxy.core.errors import Code, Rejected
from proxy.core.model import Hold, HoldState, Proof, Review, StoredCall, Verdict
from proxy.core.release import state_release
from proxy.core.reviewed import as_held, told, unsaid, verified

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
