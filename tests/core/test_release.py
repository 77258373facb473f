"""Releases: whose word counts, about which call, and for how long (THREATS F01, F02 where pure)."""

from dataclasses import replace
from datetime import datetime, timedelta

import identities
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import AGENT, DEPLOYMENT, DEPUTY, HELPER, NOW, REVIEWER, SPONSOR, key, nonce, resealed

from proxy.core.encoding import Json, b64u
from proxy.core.errors import Code, Rejected
from proxy.core.jws import seal
from proxy.core.keys import ES256, PrivateKey, sign
from proxy.core.model import Bundle, Hold, Risk, Said, Verdict
from proxy.core.notes import NoteAct, state_note
from proxy.core.release import RELEASE_TYP, Release, acts_at, may_decide, read_approval, read_release, state_release

BUNDLE = identities.bundle()
HOLD = identities.hold()
NOBODY: frozenset[str] = frozenset()


def stated(
    verdict: Verdict = Verdict.ALLOW,
    *,
    by: str = SPONSOR,
    signer: PrivateKey | None = None,
    hold: Hold = HOLD,
    reason: str = "",
    not_after: datetime = NOW + timedelta(hours=1),
) -> str:
    return state_release(
        hold=hold,
        verdict=verdict,
        by=by,
        reason=reason,
        deployment=DEPLOYMENT,
        key=signer or key(by),
        now=NOW,
        not_after=not_after,
        nonce=nonce("release"),
    )


def read(
    token: str,
    *,
    hold: Hold = HOLD,
    bundle: Bundle = BUNDLE,
    barred: frozenset[str] = NOBODY,
    now: datetime = NOW,
) -> Release:
    return read_release(token, hold=hold, bundle=bundle, barred=barred, now=now)


def refusal(
    token: str,
    *,
    hold: Hold = HOLD,
    bundle: Bundle = BUNDLE,
    barred: frozenset[str] = NOBODY,
    now: datetime = NOW,
) -> Rejected:
    with pytest.raises(Rejected) as refused:
        read(token, hold=hold, bundle=bundle, barred=barred, now=now)
    return refused.value


TOKEN = stated()


def test_a_release_says_who_what_and_until_when() -> None:
    release = read(stated(reason="Checked with Ben."))
    assert (release.by, release.hold_id, release.call_digest) == (SPONSOR, HOLD.id, HOLD.call_digest)
    assert (release.verdict, release.reason) == (Verdict.ALLOW, "Checked with Ben.")
    assert (release.issued_at, release.not_after) == (NOW, NOW + timedelta(hours=1))
    assert (release.aud, release.nonce) == (DEPLOYMENT, nonce("release"))


def test_a_release_of_what_changes_the_world_names_the_node_that_took_it() -> None:
    bound = replace(HOLD, risk=Risk.TRANSFORMATIVE, node="n1")
    token = stated(hold=bound)
    assert read(token, hold=bound).node == "n1"
    for other in (replace(bound, node="n2"), replace(bound, node="n1x")):
        assert (refusal(token, hold=other).code, refusal(token, hold=other).field) == (Code.RELEASE_INVALID, "node")
    routine = replace(HOLD, node="n1")
    assert read(stated(hold=routine), hold=routine).node == ""
    assert refusal(stated(hold=routine), hold=bound).field == "node"
    assert read(token, hold=replace(bound, risk=Risk.ROUTINE)).node == "n1"


def test_a_denial_says_why() -> None:
    assert read(stated(Verdict.DENY, reason="Wrong supplier.")).verdict is Verdict.DENY


def test_a_reviewer_may_have_either_kind_of_key() -> None:
    bundle = identities.bundle(people=[identities.person(keys=[key(SPONSOR, ES256).public])])
    assert read(stated(signer=key(SPONSOR, ES256)), bundle=bundle).by == SPONSOR


# --- stating ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        pytest.param(Verdict.DENY, "", id="a denial without a reason"),
        pytest.param(Verdict.DENY, "  ", id="a denial with a blank reason"),
        pytest.param(Verdict.HOLD, "later", id="neither release nor denial"),
        pytest.param(Verdict.ALLOW, "x" * 501, id="a reason too long"),
        pytest.param(Verdict.ALLOW, "a\nb", id="a reason on two lines"),
        pytest.param(Verdict.ALLOW, "\x1b]0;", id="an escape in the reason"),
        pytest.param(Verdict.ALLOW, "\ud800", id="a reason that is not Unicode"),
    ],
)
def test_what_could_not_be_read_back_is_not_signed(verdict: Verdict, reason: str) -> None:
    with pytest.raises(Rejected) as refused:
        stated(verdict, reason=reason)
    assert refused.value.code is Code.RELEASE_INVALID


def test_a_release_that_ends_before_it_begins_is_not_signed() -> None:
    with pytest.raises(Rejected, match="exp must be after iat"):
        stated(not_after=NOW)


# --- about this call, here -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hold", "field"),
    [
        pytest.param(identities.hold("h-2"), "hold", id="another hold"),
        pytest.param(identities.hold(call_digest=HOLD.root_id), "digest", id="different bytes"),
    ],
)
def test_a_release_for_another_call_is_refused(hold: Hold, field: str) -> None:
    refused = refusal(TOKEN, hold=hold)
    assert (refused.code, refused.field) == (Code.RELEASE_INVALID, field)
    assert read(stated(hold=hold), hold=hold)


def test_a_release_for_another_deployment_is_refused() -> None:
    refused = refusal(TOKEN, bundle=replace(BUNDLE, deployment="other"))
    assert (refused.code, refused.field) == (Code.RELEASE_INVALID, "aud")


def with_claims(drop: str = "", **changed: Json) -> str:
    return resealed(TOKEN, key(SPONSOR), typ=RELEASE_TYP, drop=drop, **changed)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("nonsense", id="no JWS"),
        pytest.param(resealed(TOKEN, key(SPONSOR), typ="intent-control+jwt"), id="another kind of statement"),
        pytest.param(with_claims(scope="always"), id="a wider scope"),
        pytest.param(with_claims(verdict="allow"), id="a verdict by another word"),
        pytest.param(with_claims(verdict="deny"), id="a denial without a reason"),
        pytest.param(with_claims(extra="x"), id="a claim too many"),
        pytest.param(with_claims(drop="nonce"), id="a claim too few"),
        pytest.param(with_claims(drop="exp"), id="no not-after"),
        pytest.param(with_claims(hold=1), id="hold is a number"),
        pytest.param(with_claims(iat=1.5), id="half a second"),
        pytest.param(with_claims(iat=True), id="iat is a boolean"),
        pytest.param(with_claims(exp=2**53), id="beyond the calendar"),
        pytest.param(with_claims(nonce="short"), id="a short nonce"),
        pytest.param(with_claims(reason="\u202e"), id="text that runs backwards"),
        pytest.param(with_claims(iss="mallory"), id="by someone not enrolled"),
        pytest.param(with_claims(iss=DEPUTY), id="in another person's name"),
        pytest.param(stated(by=SPONSOR, signer=key(DEPUTY)), id="with another person's key"),
        pytest.param(stated(by=AGENT), id="by the agent in its own name"),
        pytest.param(stated(by="operator", signer=key("operator")), id="by the operator"),
        pytest.param(
            TOKEN.rpartition(".")[0] + "." + b64u(sign(key(DEPUTY), TOKEN.rpartition(".")[0].encode())), id="forged"
        ),
    ],
)
def test_anything_but_an_enrolled_persons_word_is_invalid(token: str) -> None:
    assert refusal(token).code is Code.RELEASE_INVALID


def test_the_twin_of_these_is_read() -> None:
    assert read(with_claims()).by == SPONSOR


# --- who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "by", "passes"),
    [
        pytest.param(("sponsor", "deputy"), SPONSOR, True, id="the sponsor"),
        pytest.param(("deputy",), DEPUTY, True, id="the deputy where nobody comes first"),
        pytest.param(("sponsor", "deputy"), REVIEWER, False, id="someone else"),
        pytest.param(("sponsor",), DEPUTY, False, id="the deputy where only the sponsor may"),
        pytest.param(("deputy",), SPONSOR, False, id="the sponsor where only the deputy may"),
        pytest.param((REVIEWER,), REVIEWER, True, id="a reviewer by name"),
        pytest.param((REVIEWER,), SPONSOR, False, id="the sponsor where a reviewer is named"),
        pytest.param((), SPONSOR, False, id="nobody may"),
    ],
)
def test_who_may_decide(who: tuple[str, ...], by: str, passes: bool) -> None:
    hold = identities.hold(who=who)
    token = stated(by=by, hold=hold)
    if passes:
        may_decide(BUNDLE.people[by], hold, BUNDLE, NOW)
        assert read(token, hold=hold).by == by
    else:
        with pytest.raises(Rejected, match=f"{by} may not decide hold h-1") as refused:
            may_decide(BUNDLE.people[by], hold, BUNDLE, NOW)
        assert refused.value.code is Code.HOLD_NOT_PERMITTED
        assert refusal(token, hold=hold).code is Code.HOLD_NOT_PERMITTED


def test_the_words_are_relative_to_the_holds_sponsor() -> None:
    bens = identities.hold(sponsor=DEPUTY)
    assert read(stated(by=DEPUTY, hold=bens), hold=bens).by == DEPUTY
    assert refusal(stated(hold=bens), hold=bens).code is Code.HOLD_NOT_PERMITTED  # Ben has no deputy


def test_a_person_called_sponsor_gets_no_right_by_the_name() -> None:
    bundle = identities.bundle(people=[*BUNDLE.people.values(), identities.person("sponsor")])
    assert refusal(stated(by="sponsor"), bundle=bundle).code is Code.HOLD_NOT_PERMITTED


def test_nobody_decides_for_a_sponsor_who_left_but_those_named() -> None:
    gone = identities.hold(sponsor="gone", who=("sponsor", "deputy", REVIEWER))
    assert refusal(stated(hold=gone), hold=gone).code is Code.HOLD_NOT_PERMITTED
    assert read(stated(by=REVIEWER, hold=gone), hold=gone).by == REVIEWER


def test_a_reviewer_who_lapsed_may_not_decide() -> None:
    def bundle(until: datetime) -> Bundle:
        return identities.bundle(people=[identities.person(certified_until=until)])

    assert read(TOKEN, bundle=bundle(NOW + timedelta(seconds=1)))
    refused = refusal(TOKEN, bundle=bundle(NOW))
    assert (refused.code, "is certified until" in refused.detail) == (Code.HOLD_NOT_PERMITTED, True)


def test_a_person_as_once_enrolled_is_not_the_person_of_today() -> None:
    before = replace(BUNDLE.people[SPONSOR], role="intern")
    with pytest.raises(Rejected, match="not enrolled as presented"):
        may_decide(before, HOLD, BUNDLE, NOW)


# --- the agent never votes -------------------------------------------------------------------------------------------


def test_a_key_an_agent_holds_never_votes() -> None:
    """A person enrolled with a key that is also an agent's: the word is not provably a human's."""
    people = [identities.person(keys=[key(SPONSOR).public, key(HELPER).public, key("leaf").public])]
    bundle = identities.bundle(people=people)
    assert refusal(stated(signer=key(HELPER)), bundle=bundle).code is Code.HOLD_NOT_PERMITTED
    barred = frozenset({key("leaf").public.kid})
    assert refusal(stated(signer=key("leaf")), bundle=bundle, barred=barred).code is Code.HOLD_NOT_PERMITTED
    assert read(stated(), bundle=bundle, barred=barred).by == SPONSOR


# --- in time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after_s", "passes"),
    [
        pytest.param(-5, True, id="our clock five seconds behind"),
        pytest.param(-6, False, id="signed in the future"),
        pytest.param(3599, True, id="its last second"),
        pytest.param(3600, False, id="past its not-after"),
    ],
)
def test_a_release_counts_in_its_time(after_s: int, passes: bool) -> None:
    now = NOW + timedelta(seconds=after_s)
    if passes:
        assert read(TOKEN, now=now)
    else:
        assert refusal(TOKEN, now=now).code is Code.RELEASE_INVALID


def test_a_denial_does_not_age() -> None:
    assert read(stated(Verdict.DENY, reason="No."), now=NOW + timedelta(hours=23)).verdict is Verdict.DENY


# --- properties ------------------------------------------------------------------------------------------------------

_claims = st.sampled_from(["iss", "aud", "hold", "digest", "verdict", "scope", "reason", "nonce", "iat", "exp", "x"])
_values = st.text(max_size=6) | st.integers() | st.none() | st.sampled_from([SPONSOR, "release", "deny", "once"])


@settings(max_examples=150)
@given(st.dictionaries(_claims, _values, max_size=3))
def test_reading_whatever_is_claimed_raises_only_rejected(changed: dict[str, Json]) -> None:
    try:
        read(with_claims(**changed))
    except Rejected as refused:
        assert refused.code in (Code.RELEASE_INVALID, Code.HOLD_NOT_PERMITTED)
        assert refused.detail.isprintable()


def test_every_flipped_bit_is_refused() -> None:
    data = TOKEN.encode()
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert refusal(flipped.decode("latin-1")).code is Code.RELEASE_INVALID


def test_a_release_is_of_its_own_type() -> None:
    assert read(seal(identities.claims_of(TOKEN), typ=RELEASE_TYP, key=key(SPONSOR))).token != ""


# --- whose turn it is ------------------------------------------------------------------------------------------------

THIRD = timedelta(hours=1, minutes=20)  # of the four hours that HOLD waits


@pytest.mark.parametrize(
    ("signed_after", "passes"),
    [
        pytest.param(THIRD, True, id="in their turn"),
        pytest.param(THIRD - timedelta(seconds=5), True, id="clocks may differ a little"),
        pytest.param(THIRD - timedelta(seconds=6), False, id="before their turn"),
    ],
)
def test_a_deputy_releases_in_their_turn_however_late_it_is_used(signed_after: timedelta, passes: bool) -> None:
    token = signed_at(signed_after)
    if passes:
        assert read(token, now=NOW + 2 * THIRD).by == DEPUTY
    else:
        refused = refusal(token, now=NOW + 2 * THIRD)
        assert (refused.code, "the sponsor comes first" in refused.detail) == (Code.HOLD_NOT_PERMITTED, True)


def signed_at(after: timedelta, *, by: str = DEPUTY, hold: Hold = HOLD) -> str:
    return state_release(
        hold=hold,
        verdict=Verdict.ALLOW,
        by=by,
        reason="",
        deployment=DEPLOYMENT,
        key=key(by),
        now=NOW + after,
        not_after=NOW + timedelta(hours=4),
        nonce=nonce("turn"),
    )


def test_an_escalation_ends_the_waiting_from_then_on() -> None:
    escalation = state_note(
        NoteAct.ESCALATE,
        hold=HOLD,
        by=SPONSOR,
        reason="I am in a meeting.",
        deployment=DEPLOYMENT,
        key=key(SPONSOR),
        now=NOW + timedelta(minutes=2),
        nonce=nonce("escalation"),
    )
    hold = replace(HOLD, said=(Said(version=2, statement=escalation),))
    now = NOW + timedelta(minutes=9)
    assert read(signed_at(timedelta(minutes=3)), hold=hold, now=now).by == DEPUTY
    assert refusal(signed_at(timedelta(minutes=1)), hold=hold, now=now).code is Code.HOLD_NOT_PERMITTED
    may_decide(BUNDLE.people[DEPUTY], hold, BUNDLE, now)
    with pytest.raises(Rejected, match="the sponsor comes first"):
        may_decide(BUNDLE.people[DEPUTY], HOLD, BUNDLE, now)


def test_a_denial_waits_for_nobodys_turn() -> None:
    assert read(stated(Verdict.DENY, by=DEPUTY, reason="No.")).by == DEPUTY
    may_decide(BUNDLE.people[DEPUTY], HOLD, BUNDLE, NOW, verdict=Verdict.DENY)
    assert refusal(stated(Verdict.DENY, by=REVIEWER, reason="No.")).code is Code.HOLD_NOT_PERMITTED


# --- several must ----------------------------------------------------------------------------------------------------

BOTH = replace(HOLD, quorum=2)


def approved(*said: str, deciding: str | None = TOKEN, hold: Hold = BOTH, now: datetime = NOW) -> list[str]:
    told = tuple(Said(version=number, statement=token) for number, token in enumerate(said, start=2))
    hold = replace(hold, statement=deciding, said=told)
    return [one.by for one in read_approval(hold, bundle=BUNDLE, barred=NOBODY, now=now)]


def test_a_quorum_of_different_people_lets_the_call_pass() -> None:
    assert approved(stated(by=DEPUTY)) == [SPONSOR, DEPUTY]
    assert approved(hold=HOLD) == [SPONSOR]
    assert approved(stated(by=DEPUTY), stated(), "nonsense") == [SPONSOR, DEPUTY]


@pytest.mark.parametrize(
    "said",
    [
        pytest.param((), id="one alone"),
        pytest.param((TOKEN,), id="the same release twice"),
        pytest.param((stated(reason="again"),), id="one person twice"),
        pytest.param((stated(by=REVIEWER),), id="somebody who may not"),
        pytest.param((stated(by=DEPUTY, signer=key(SPONSOR)),), id="one key in two names"),
        pytest.param((stated(Verdict.DENY, by=DEPUTY, reason="No."),), id="a denial"),
        pytest.param((stated(by=DEPUTY, hold=identities.hold("h-2")),), id="a release of another hold"),
        pytest.param(("nonsense",), id="no statement"),
    ],
)
def test_fewer_than_the_quorum_do_not(said: tuple[str, ...]) -> None:
    with pytest.raises(Rejected, match="2 different people must release the call, 1 did: ada") as refused:
        approved(*said)
    assert refused.value.code is Code.RELEASE_INVALID


def test_a_release_of_a_quorum_that_has_ended_is_missing() -> None:
    short = stated(by=DEPUTY, not_after=NOW + timedelta(minutes=1))
    assert approved(short) == [SPONSOR, DEPUTY]
    with pytest.raises(Rejected, match="1 did"):
        approved(short, now=NOW + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("deciding", "code"),
    [
        pytest.param(None, Code.HOLD_TAMPERED, id="no deciding statement"),
        pytest.param(stated(Verdict.DENY, reason="No."), Code.HOLD_TAMPERED, id="a denial that decides"),
        pytest.param("nonsense", Code.RELEASE_INVALID, id="a deciding statement that is none"),
    ],
)
def test_the_deciding_release_must_hold_whoever_else_released(deciding: str | None, code: Code) -> None:
    with pytest.raises(Rejected) as refused:
        approved(stated(by=DEPUTY), stated(), deciding=deciding)
    assert refused.value.code is code


@pytest.mark.parametrize(
    ("risk", "named", "acts"),
    [
        pytest.param(Risk.ROUTINE, ("", ""), True, id="anywhere, what changes nothing"),
        pytest.param(Risk.ROUTINE, ("here", ""), True, id="here, where one names it"),
        pytest.param(Risk.ROUTINE, ("", "there"), False, id="not here, where one names another"),
        pytest.param(Risk.TRANSFORMATIVE, ("here", "here"), True, id="here, where each names it"),
        pytest.param(Risk.TRANSFORMATIVE, ("here", ""), False, id="not here, where one names none"),
        pytest.param(Risk.TRANSFORMATIVE, ("there", "there"), False, id="not here, where each names another"),
    ],
)
def test_where_a_release_is_acted_on(risk: Risk, named: tuple[str, ...], acts: bool) -> None:
    release = read(stated())
    assert acts_at("here", [replace(release, node=each) for each in named], replace(HOLD, risk=risk)) is acts
