"""A release that was recorded and counts no more is told from one that never counted: only the first is taken back."""

from dataclasses import replace
from datetime import timedelta

import identities
import pytest
from identities import AGENT, DEPLOYMENT, NOW, REVIEWER, SPONSOR, key, nonce
from questions import call, question

from proxy.core.decide import decide
from proxy.core.errors import Code, Rejected
from proxy.core.jws import seal
from proxy.core.lapsing import check_not_denied, lapsed
from proxy.core.model import Bundle, Decision, Hold, HoldState, Proof, Review, StoredCall, Verdict
from proxy.core.release import RELEASE_TYP, state_release
from proxy.core.reviewed import event_of

LATER = NOW + timedelta(seconds=30)
BUNDLE = identities.bundle()
LAPSING = replace(BUNDLE, people={**BUNDLE.people, SPONSOR: replace(BUNDLE.people[SPONSOR], certified_until=LATER)})
STRANGERS = replace(BUNDLE, people={name: each for name, each in BUNDLE.people.items() if name != SPONSOR})
FILED = StoredCall(
    call=call(),
    decision=replace(decide(question()), sponsor=SPONSOR, review=Review(who=("sponsor", "deputy"), ttl_s=3600), at=NOW),
    proof=Proof.REQUEST,
    call_digest=identities.hold().call_digest,
    sub_path=f"parent-bot/{AGENT}",
)
TODAY = replace(FILED.decision, verdict=Verdict.HOLD, code=Code.UNDECIDED)
DENIED = replace(TODAY, verdict=Verdict.DENY, code=Code.POLICY_DENIED)
OTHERS = replace(TODAY, review=replace(TODAY.review, who=(REVIEWER,)))
BOTH = replace(TODAY, review=replace(TODAY.review, quorum=2))


def word(verdict: Verdict = Verdict.ALLOW, *, by: str = SPONSOR, signer: str = SPONSOR) -> str:
    return state_release(
        hold=identities.hold(),
        verdict=verdict,
        by=by,
        reason="seen",
        deployment=DEPLOYMENT,
        key=key(signer),
        now=NOW,
        not_after=NOW + timedelta(seconds=3600),
        nonce=nonce("n"),
    )


def hold(statement: str | None, state: HoldState = HoldState.APPROVED) -> Hold:
    return replace(identities.hold(state=state), statement=statement)


@pytest.mark.parametrize("state", [HoldState.APPROVED, HoldState.HELD], ids=["released", "taken back since"])
@pytest.mark.parametrize(
    ("bundle", "today", "why"),
    [
        pytest.param(BUNDLE, DENIED, "deny the call to everyone", id="a rule denies the call"),
        pytest.param(BUNDLE, OTHERS, "by today's rules ada may not", id="others must release it"),
        pytest.param(BUNDLE, BOTH, "2 different people must", id="two must release it"),
        pytest.param(LAPSING, TODAY, "certified until", id="the reviewer's certification ended"),
        pytest.param(LAPSING, None, "certified until", id="the same, and the mandate can no longer be verified"),
        pytest.param(BUNDLE, TODAY, None, id="nothing changed"),
        pytest.param(BUNDLE, None, None, id="its mandate can no longer be verified"),
    ],
)
def test_a_release_that_counted_counts_no_more(
    state: HoldState, bundle: Bundle, today: Decision | None, why: str | None
) -> None:
    found = lapsed(hold(word(), state), FILED, today, bundle, now=LATER)
    if why is None:
        assert found is None
    else:
        assert found is not None
        assert (found.by, found.issued_at, why in found.reason) == (SPONSOR, NOW, True), found
        assert event_of(found) == "lapse"


@pytest.mark.parametrize(
    ("statement", "bundle"),
    [
        pytest.param(None, BUNDLE, id="there is no statement"),
        pytest.param("damaged", BUNDLE, id="it cannot be read"),
        pytest.param(word(signer="mallory"), BUNDLE, id="another's key signed it"),
        pytest.param(word(signer=AGENT), BUNDLE, id="an agent's key signed it"),
        pytest.param(word(), STRANGERS, id="whom it names is not enrolled"),
        pytest.param(word(Verdict.DENY), BUNDLE, id="it is a denial"),
        pytest.param(seal({"iat": "now"}, typ=RELEASE_TYP, key=key(SPONSOR)), BUNDLE, id="it has no time"),
        pytest.param(seal({"iat": -1}, typ=RELEASE_TYP, key=key(SPONSOR)), BUNDLE, id="it has no possible time"),
    ],
)
def test_a_mark_that_never_counted_is_an_operators(statement: str | None, bundle: Bundle) -> None:
    assert lapsed(hold(statement), FILED, DENIED, bundle, now=LATER) is None
    assert lapsed(hold(word()), FILED, DENIED, BUNDLE, now=LATER) is not None


@pytest.mark.parametrize("state", sorted(set(HoldState) - {HoldState.HELD, HoldState.APPROVED}), ids=str)
def test_what_left_or_ended_stays(state: HoldState) -> None:
    assert lapsed(hold(word(), state), FILED, DENIED, BUNDLE, now=LATER) is None


def test_what_a_rule_denies_to_everyone_nobody_releases() -> None:
    for today in (None, TODAY):
        check_not_denied(today)
    with pytest.raises(Rejected, match="deny the call to everyone") as refused:
        check_not_denied(DENIED)
    assert refused.value.code is Code.HOLD_NOT_PERMITTED
