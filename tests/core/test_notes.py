"""Notes: what a person signs about a hold besides a decision."""

from dataclasses import replace
from datetime import timedelta

import identities
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import AGENT, DEPLOYMENT, DEPUTY, HELPER, NOW, REVIEWER, SPONSOR, key, nonce, person, resealed

from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.keys import PrivateKey
from proxy.core.model import Bundle, Hold, Said
from proxy.core.notes import NOTE_TYP, Note, NoteAct, escalated_at, read_note, state_note

BUNDLE = identities.bundle()
HOLD = identities.hold(ttl_s=3 * 3600)
LATER = NOW + timedelta(hours=1)
EARLY = (NoteAct.ESCALATE, NoteAct.EXTEND, NoteAct.CANCEL)


def noted(
    act: NoteAct = NoteAct.COMMENT,
    *,
    by: str = SPONSOR,
    signer: PrivateKey | None = None,
    reason: str = "Asked Ben.",
    at: timedelta = timedelta(0),
    hold: Hold = HOLD,
) -> str:
    return state_note(
        act,
        hold=hold,
        by=by,
        reason=reason,
        deployment=DEPLOYMENT,
        key=signer or key(by),
        now=NOW + at,
        nonce=nonce("note"),
        until=NOW + at + timedelta(hours=9) if act is NoteAct.EXTEND else None,
    )


def read(
    token: str, *, hold: Hold = HOLD, bundle: Bundle = BUNDLE, barred: frozenset[str] = frozenset(), later_s: int = 0
) -> Note:
    return read_note(token, hold=hold, bundle=bundle, barred=barred, now=NOW + timedelta(seconds=later_s))


def refusal(token: str, **given: object) -> Rejected:
    with pytest.raises(Rejected) as refused:
        read(token, **given)  # type: ignore[arg-type]
    return refused.value


@pytest.mark.parametrize("act", list(NoteAct))
def test_a_note_says_who_what_why_and_when(act: NoteAct) -> None:
    note = read(noted(act))
    assert (note.by, note.act, note.reason, note.at) == (SPONSOR, act, "Asked Ben.", NOW)
    assert note.until == (NOW + timedelta(hours=9) if act is NoteAct.EXTEND else NOW)


@pytest.mark.parametrize("act", list(NoteAct))
@pytest.mark.parametrize(
    "reason",
    ["", " ", "\u2800\ufe0f", "…", "a\nb", "x" * 501],
    ids=["none", "a blank", "what shows as nothing", "no word", "two lines", "too long"],
)
def test_a_note_without_a_reason_that_can_be_shown_is_not_signed(act: NoteAct, reason: str) -> None:
    with pytest.raises(Rejected, match="reason") as refused:
        noted(act, reason=reason)
    assert refused.value.code is Code.RELEASE_INVALID


TOKEN = noted()


def with_claims(drop: str = "", **changed: Json) -> str:
    return resealed(TOKEN, key(SPONSOR), typ=NOTE_TYP, drop=drop, **changed)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("nonsense", id="no JWS"),
        pytest.param(resealed(TOKEN, key(SPONSOR), typ="intent-release+jwt"), id="another kind of statement"),
        pytest.param(with_claims(drop="nonce"), id="a claim too few"),
        pytest.param(with_claims(extra="x"), id="a claim too many"),
        pytest.param(with_claims(act="release"), id="an act that is none"),
        pytest.param(with_claims(iat=True, until=True), id="times that are booleans"),
        pytest.param(with_claims(until=True, iat=1), id="an end that is a boolean"),
        pytest.param(with_claims(until=2**53), id="beyond the calendar"),
        pytest.param(with_claims(until=0), id="an end before its beginning"),
        pytest.param(with_claims(act="extend"), id="an extension by nothing"),
        pytest.param(with_claims(nonce="short"), id="a short nonce"),
        pytest.param(with_claims(aud="other"), id="for another deployment"),
        pytest.param(with_claims(hold="h-2"), id="about another hold"),
        pytest.param(with_claims(digest="x"), id="about another call"),
        pytest.param(with_claims(iss="mallory"), id="by somebody not enrolled"),
        pytest.param(with_claims(iss=DEPUTY), id="in another person's name"),
        pytest.param(noted(by=AGENT), id="by the agent in its own name"),
        pytest.param(noted(at=timedelta(seconds=6)), id="in the future"),
    ],
)
def test_anything_but_an_enrolled_persons_word_about_this_hold_is_invalid(token: str) -> None:
    assert refusal(token).code is Code.RELEASE_INVALID


def test_the_twins_of_these_are_read() -> None:
    assert read(with_claims()).by == SPONSOR
    assert read(noted(at=timedelta(seconds=5))).by == SPONSOR


@pytest.mark.parametrize("act", list(NoteAct))
def test_before_their_turn_deputies_may_comment_and_lift_and_no_more(act: NoteAct) -> None:
    token = noted(act, by=DEPUTY)
    if act in EARLY:
        assert refusal(token).code is Code.HOLD_NOT_PERMITTED
    else:
        assert read(token).by == DEPUTY
    assert read(noted(act, by=DEPUTY, at=timedelta(hours=1)), later_s=3600).by == DEPUTY
    assert refusal(noted(act, by=REVIEWER)).code is Code.HOLD_NOT_PERMITTED


def test_an_agents_key_says_nothing_whoever_it_is_enrolled_for() -> None:
    bundle = identities.bundle(people=[person(keys=[key(SPONSOR).public, key(HELPER).public])])
    assert refusal(noted(signer=key(HELPER)), bundle=bundle).code is Code.HOLD_NOT_PERMITTED
    assert refusal(TOKEN, barred=frozenset({key(SPONSOR).public.kid})).code is Code.HOLD_NOT_PERMITTED


def test_a_note_outlasts_its_writers_certificate() -> None:
    def bundle(ends: timedelta) -> Bundle:
        return identities.bundle(people=[person(certified_until=NOW + ends)])

    assert read(TOKEN, bundle=bundle(timedelta(seconds=1)), later_s=3600).by == SPONSOR
    assert refusal(TOKEN, bundle=bundle(timedelta(0))).code is Code.HOLD_NOT_PERMITTED


@pytest.mark.parametrize("act", list(NoteAct))
def test_nobody_dates_a_note_back_into_the_time_of_their_certificate(act: NoteAct) -> None:
    """What is written after a lapse is not from before it: no note is older than the hold that it is about."""
    lapsed = identities.bundle(people=[person(certified_until=NOW - timedelta(hours=1))])
    fault = refusal(noted(act, at=timedelta(hours=-2)), bundle=lapsed)
    assert (fault.code, fault.field) == (Code.RELEASE_INVALID, "iat")
    assert refusal(noted(act, at=timedelta(seconds=-6))).field == "iat"
    assert read(noted(act, at=timedelta(seconds=-5))).by == SPONSOR  # a clock may be that far behind


def test_an_escalation_counts_from_the_first_that_verifies() -> None:
    def since(*tokens: str) -> object:
        hold = replace(HOLD, said=tuple(Said(version=2, statement=token) for token in tokens))
        return escalated_at(hold, BUNDLE, barred=frozenset(), now=LATER)

    minute = timedelta(minutes=1)
    assert since() is None
    assert since("nonsense", noted(), noted(NoteAct.ESCALATE, by=DEPUTY)) is None
    assert since(noted(NoteAct.ESCALATE, at=2 * minute), noted(NoteAct.ESCALATE, at=minute)) == NOW + minute


_values = st.text(max_size=6) | st.integers() | st.none() | st.sampled_from([SPONSOR, *NoteAct])


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(["iss", "hold", "act", "reason", "nonce", "iat", "until", "x"]), _values))
def test_reading_whatever_is_claimed_raises_only_rejected(changed: dict[str, Json]) -> None:
    try:
        read(with_claims(**changed))
    except Rejected as refused:
        assert refused.code in (Code.RELEASE_INVALID, Code.HOLD_NOT_PERMITTED)
        assert refused.detail.isprintable()
