"""With what a person's word must be signed so that it counts: their own key, their passkey, or the desk's key alone
(THREATS F07 where pure)."""

from dataclasses import replace
from datetime import timedelta

import identities
import pytest
from authenticators import ORIGIN, UP, Authenticator, authenticator
from identities import AGENT, DEPLOYMENT, DEPUTY, NOW, REVIEWER, SPONSOR, key, nonce

from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.grants import GRANT_TYP, fits_the_desk, grant_claims, read_grant
from proxy.core.jws import open_envelope, seal
from proxy.core.keys import ED25519, ES256, PrivateKey
from proxy.core.model import (
    Bundle,
    Call,
    Decision,
    Hold,
    Means,
    Proof,
    ReviewDesk,
    Risk,
    Said,
    StoredCall,
    Verdict,
)
from proxy.core.notes import NOTE_TYP, NoteAct, escalated_at, note_claims, read_note
from proxy.core.passkeys import WEBAUTHN, challenge_of
from proxy.core.release import RELEASE_TYP, Release, read_approval, read_release, release_claims
from proxy.core.resolution import RESOLUTION_TYP, Found, read_resolution, resolution_claims
from proxy.core.routes import Route
from proxy.core.vouching import DESK_GRANT_COUNT, DESK_GRANT_LASTS, check_no_agent, sufficient

STICK, BENS = authenticator(SPONSOR), authenticator(DEPUTY, alg=ED25519)
DESK_KEY = key("desk")
PEOPLE = (
    identities.person(SPONSOR, deputy=DEPUTY, passkeys=[STICK.passkey]),
    identities.person(DEPUTY, passkeys=[BENS.passkey]),
    identities.person(REVIEWER, passkeys=[authenticator(REVIEWER).passkey]),
)
BUNDLE = identities.bundle(people=PEOPLE, desk=ReviewDesk(keys=(DESK_KEY.public,), origins=(ORIGIN,)))
NOBODY: frozenset[str] = frozenset()

ROUTINE = identities.hold()
WORLDLY = replace(identities.hold(risk=Risk.TRANSFORMATIVE), node="n1")
BOTH = replace(identities.hold(), quorum=2)


def claimed(hold: Hold = ROUTINE, verdict: Verdict = Verdict.ALLOW, *, by: str = SPONSOR) -> dict[str, Json]:
    return release_claims(
        hold=hold,
        verdict=verdict,
        by=by,
        reason="seen",
        deployment=DEPLOYMENT,
        now=NOW,
        not_after=NOW + timedelta(hours=1),
        nonce=nonce("release"),
    )


def attested(
    claims: dict[str, Json],
    stick: Authenticator = STICK,
    *,
    typ: str = RELEASE_TYP,
    signer: PrivateKey = DESK_KEY,
    over: dict[str, Json] | None = None,
    **changes: object,
) -> str:
    """The statement as the desk makes it of an assertion, which is `over` these claims."""
    assertion = stick.sign(challenge_of(over or claims, typ=typ), **changes)
    return seal({**claims, WEBAUTHN: assertion.as_claim()}, typ=typ, key=signer)


def read(
    token: str, hold: Hold = ROUTINE, *, bundle: Bundle = BUNDLE, barred: frozenset[str] = NOBODY, later_s: int = 0
) -> Release:
    return read_release(token, hold=hold, bundle=bundle, barred=barred, now=NOW + timedelta(seconds=later_s))


def refusal(token: str, hold: Hold = ROUTINE, *, bundle: Bundle = BUNDLE, barred: frozenset[str] = NOBODY) -> Rejected:
    with pytest.raises(Rejected) as refused:
        read(token, hold, bundle=bundle, barred=barred)
    return refused.value


def by_desk(claims: dict[str, Json], typ: str = RELEASE_TYP) -> str:
    return seal(claims, typ=typ, key=DESK_KEY)


HOLDS = {"routine": ROUTINE, "one that may change things": WORLDLY, "one that two must release": BOTH}


# --- what suffices ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", [Verdict.ALLOW, Verdict.DENY])
@pytest.mark.parametrize("hold", HOLDS.values(), ids=HOLDS)
def test_a_persons_own_key_and_passkey_decide_every_hold(hold: Hold, verdict: Verdict) -> None:
    claims = claimed(hold, verdict)
    own = read(seal(claims, typ=RELEASE_TYP, key=key(SPONSOR)), hold)
    passkey = read(attested(claims), hold)
    assert (own.by, own.means, passkey.by, passkey.means) == (SPONSOR, Means.KEY, SPONSOR, Means.PASSKEY)
    assert replace(own, token="", id="", means=Means.PASSKEY) == replace(passkey, token="", id="")


@pytest.mark.parametrize("verdict", [Verdict.ALLOW, Verdict.DENY])
def test_the_desk_alone_decides_what_changes_nothing_and_one_person_decides(verdict: Verdict) -> None:
    said = read(by_desk(claimed(verdict=verdict)))
    assert (said.by, said.verdict, said.means) == (SPONSOR, verdict, Means.DESK)


@pytest.mark.parametrize("verdict", [Verdict.ALLOW, Verdict.DENY])
@pytest.mark.parametrize(
    ("hold", "why"),
    [
        pytest.param(WORLDLY, "may change things", id="may change things"),
        pytest.param(BOTH, "is decided by 2 people", id="two people must"),
        pytest.param(replace(WORLDLY, quorum=2), "may change things", id="both"),
    ],
)
def test_the_desk_alone_decides_nothing_else(hold: Hold, verdict: Verdict, why: str) -> None:
    refused = refusal(by_desk(claimed(hold, verdict)), hold)
    assert (refused.code, why in refused.detail) == (Code.HOLD_NOT_PERMITTED, True)
    assert read(attested(claimed(hold, verdict)), hold)


def test_which_means_suffice_can_be_asked() -> None:
    assert sufficient(ROUTINE) == {Means.KEY, Means.PASSKEY, Means.DESK}
    assert sufficient(WORLDLY) == sufficient(BOTH) == {Means.KEY, Means.PASSKEY}


def test_of_a_quorum_each_signs_for_themselves() -> None:
    ada, ben, desk = (
        attested(claimed(BOTH)),
        attested(claimed(BOTH, by=DEPUTY), BENS),
        by_desk(claimed(BOTH, by=DEPUTY)),
    )

    def approved(said: str) -> int:
        hold = replace(BOTH, statement=ada, said=(Said(version=2, statement=said),), who=(SPONSOR, DEPUTY))
        return len(read_approval(hold, bundle=BUNDLE, barred=NOBODY, now=NOW))

    assert approved(ben) == 2
    for other in (desk, ada):
        with pytest.raises(Rejected, match="2 different people must release the call, 1 did"):
            approved(other)


@pytest.mark.parametrize(
    ("by", "code"),
    [
        pytest.param(REVIEWER, Code.HOLD_NOT_PERMITTED, id="one who may not decide it"),
        pytest.param("mallory", Code.RELEASE_INVALID, id="nobody we know"),
        pytest.param(AGENT, Code.RELEASE_INVALID, id="the agent"),
        pytest.param("operator", Code.RELEASE_INVALID, id="an operator"),
    ],
)
def test_the_desk_decides_in_nobodys_name_but_of_those_who_may(by: str, code: Code) -> None:
    assert refusal(by_desk(claimed(by=by))).code is code
    assert read(by_desk(claimed(by=SPONSOR)))


def test_a_lapsed_person_decides_neither_at_the_desk_nor_by_passkey() -> None:
    lapsed = identities.person(SPONSOR, certified_until=NOW + timedelta(minutes=1), passkeys=[STICK.passkey])
    bundle = identities.bundle(people=[lapsed], desk=BUNDLE.desk)
    for token in (by_desk(claimed()), attested(claimed())):
        assert read(token, bundle=bundle)
        with pytest.raises(Rejected) as refused:
            read(token, bundle=bundle, later_s=60)
        assert refused.value.code is Code.HOLD_NOT_PERMITTED


def test_a_desk_that_is_not_or_no_longer_enrolled_is_nobody() -> None:
    other = replace(BUNDLE, desk=replace(BUNDLE.desk, keys=(key("another desk").public,)))
    for token in (by_desk(claimed()), attested(claimed())):
        assert refusal(token, bundle=other).code is Code.RELEASE_INVALID
        assert refusal(token, bundle=replace(BUNDLE, desk=ReviewDesk())).code is Code.RELEASE_INVALID
        both = replace(other.desk, keys=(*other.desk.keys, DESK_KEY.public))
        assert read(token, bundle=replace(BUNDLE, desk=both))


# --- assertions inside a statement -----------------------------------------------------------------------------------

OTHERS: dict[str, str] = {
    "an assertion over another hold": attested(claimed(WORLDLY), over=claimed(replace(WORLDLY, id="h-2"))),
    "an assertion over other bytes": attested(
        claimed(WORLDLY), over=claimed(replace(WORLDLY, call_digest=ROUTINE.root_id))
    ),
    "an assertion over a denial": attested(claimed(WORLDLY), over=claimed(WORLDLY, Verdict.DENY)),
    "an assertion for another node": attested(claimed(WORLDLY), over=claimed(replace(WORLDLY, node="n2"))),
    "an assertion for longer": attested({**claimed(WORLDLY), "exp": 2_000_000_000}, over=claimed(WORLDLY)),
    "an assertion with another nonce": attested({**claimed(WORLDLY), "nonce": nonce("x")}, over=claimed(WORLDLY)),
    "an assertion with another reason": attested({**claimed(WORLDLY), "reason": "none"}, over=claimed(WORLDLY)),
    "an assertion by another person": attested(claimed(WORLDLY, by=DEPUTY), over=claimed(WORLDLY)),
    "another person's passkey": attested(claimed(WORLDLY), BENS),
    "another origin": attested(claimed(WORLDLY), origin="http://localhost:8091"),
    "another RP id": attested(claimed(WORLDLY), rp_id="evil.example"),
    "nobody verified": attested(claimed(WORLDLY), flags=UP),
    "no assertion": seal({**claimed(WORLDLY), WEBAUTHN: None}, typ=RELEASE_TYP, key=DESK_KEY),
    "an assertion signed by its owner's own key": attested(claimed(WORLDLY), signer=key(SPONSOR)),
    "an assertion signed by an agent": attested(claimed(WORLDLY), signer=key(AGENT)),
    "an assertion signed by the passkey itself": attested(claimed(WORLDLY), signer=STICK.key),
}


@pytest.mark.parametrize("token", OTHERS.values(), ids=OTHERS)
def test_an_assertion_of_anything_else_makes_no_release(token: str) -> None:
    refused = refusal(token, WORLDLY)
    assert refused.code is Code.RELEASE_INVALID
    assert refused.detail.isprintable()
    assert read(attested(claimed(WORLDLY)), WORLDLY).means is Means.PASSKEY


@pytest.mark.parametrize("name", [*claimed(WORLDLY)])
def test_no_claim_can_be_edited_under_an_assertion(name: str) -> None:
    claims = claimed(WORLDLY)
    edited: dict[str, Json] = {**claims, name: _other(claims[name])}
    refused = refusal(attested(edited, over=claims), WORLDLY)
    assert refused.code in (Code.RELEASE_INVALID, Code.HOLD_NOT_PERMITTED)
    assert read(attested(claims), WORLDLY)


def _other(value: Json) -> Json:
    return value + 1 if isinstance(value, int) else f"{value}x"


def test_a_passkey_that_was_removed_or_swapped_no_longer_counts() -> None:
    token = attested(claimed(WORLDLY))
    for passkeys in ((), (BENS.passkey,), (replace(STICK.passkey, key=BENS.key.public),)):
        people = (identities.person(SPONSOR, passkeys=passkeys), *PEOPLE[1:])
        bundle = identities.bundle(people=people, desk=BUNDLE.desk)
        assert refusal(token, WORLDLY, bundle=bundle).code is Code.RELEASE_INVALID
    assert read(token, WORLDLY)


def test_a_key_of_the_chain_never_votes_as_a_passkey_or_as_a_desk() -> None:
    token, kid = attested(claimed(WORLDLY)), STICK.key.public.kid
    assert refusal(token, WORLDLY, barred=frozenset({kid})).code is Code.HOLD_NOT_PERMITTED
    agents = [identities.agent(keys=[STICK.key.public])]
    bundle = identities.bundle(people=PEOPLE, agents=agents, desk=BUNDLE.desk)
    assert refusal(token, WORLDLY, bundle=bundle).code is Code.HOLD_NOT_PERMITTED
    barred = frozenset({DESK_KEY.public.kid})
    assert refusal(by_desk(claimed()), barred=barred).code is Code.HOLD_NOT_PERMITTED
    assert read(token, WORLDLY, barred=barred), "the desk's key only carries it"
    check_no_agent(kid, BUNDLE, NOBODY)


def test_every_flipped_bit_of_a_release_by_passkey_is_refused() -> None:
    data = attested(claimed(WORLDLY)).encode()
    for bit in range(0, len(data) * 8, 7):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert refusal(flipped.decode("latin-1"), WORLDLY).code is Code.RELEASE_INVALID


# --- other words -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", NoteAct)
def test_notes_need_what_a_decision_needs(act: NoteAct) -> None:
    until = NOW + timedelta(hours=1) if act is NoteAct.EXTEND else None
    for hold in HOLDS.values():
        claims = note_claims(
            act,
            hold=hold,
            by=SPONSOR,
            reason="on the train",
            deployment=DEPLOYMENT,
            now=NOW,
            nonce=nonce("note"),
            until=until,
        )

        def means(token: str, hold: Hold = hold) -> Means:
            return read_note(token, hold=hold, bundle=BUNDLE, barred=NOBODY, now=NOW).means

        assert means(seal(claims, typ=NOTE_TYP, key=key(SPONSOR))) is Means.KEY
        assert means(attested(claims, typ=NOTE_TYP)) is Means.PASSKEY
        if hold is ROUTINE:
            assert means(by_desk(claims, NOTE_TYP)) is Means.DESK
        else:
            with pytest.raises(Rejected) as refused:
                means(by_desk(claims, NOTE_TYP))
            assert refused.value.code is Code.HOLD_NOT_PERMITTED
        if act is NoteAct.ESCALATE:
            said = (Said(version=2, statement=by_desk(claims, NOTE_TYP)),)
            since = escalated_at(replace(hold, said=said), BUNDLE, barred=NOBODY, now=NOW)
            assert since == (NOW if hold is ROUTINE else None)


def test_so_do_resolutions() -> None:
    for hold in HOLDS.values():
        claims = resolution_claims(
            hold=hold,
            found=Found.ARRIVED,
            by=SPONSOR,
            reason="they have it",
            deployment=DEPLOYMENT,
            now=NOW,
            nonce=nonce("found"),
        )

        def means(token: str, hold: Hold = hold) -> Means:
            return read_resolution(token, hold=hold, bundle=BUNDLE, barred=NOBODY, now=NOW).means

        assert means(attested(claims, typ=RESOLUTION_TYP)) is Means.PASSKEY
        if hold is ROUTINE:
            assert means(by_desk(claims, RESOLUTION_TYP)) is Means.DESK
        else:
            with pytest.raises(Rejected) as refused:
                means(by_desk(claims, RESOLUTION_TYP))
            assert refused.value.code is Code.HOLD_NOT_PERMITTED


def test_an_assertion_of_one_kind_of_statement_is_none_of_another() -> None:
    claims = claimed(WORLDLY)
    assertion = STICK.sign(challenge_of(claims, typ=NOTE_TYP))
    token = seal({**claims, WEBAUTHN: assertion.as_claim()}, typ=RELEASE_TYP, key=DESK_KEY)
    assert refusal(token, WORLDLY).field == "challenge"


# --- route grants ----------------------------------------------------------------------------------------------------


def granted(count: int, lasts: timedelta) -> dict[str, Json]:
    call = Call(
        method="GET",
        scheme="https",
        host="erp.example",
        port=443,
        path="/v1/x",
        segments=("v1", "x"),
        query="",
        has_query=False,
        parameters=(),
        headers=(),
        body=b"",
    )
    decision = Decision(
        decision_id="d-1",
        verdict=Verdict.HOLD,
        code=Code.NOT_COVERED,
        message="held",
        at=NOW,
        manifest=ROUTINE.root_id,
        hold_id=ROUTINE.id,
    )
    filed = StoredCall(call=call, decision=decision, proof=Proof.REQUEST, call_digest="x", sub_path=AGENT)
    return grant_claims(
        Route(method="GET", origin="https://erp.example", path="/v1/x", query="", vary=(), body="", media=""),
        grant_id="g-1",
        filed=filed,
        by=SPONSOR,
        count=count,
        reason="stock-taking",
        deployment=DEPLOYMENT,
        now=NOW,
        not_after=NOW + lasts,
        nonce=nonce("grant"),
    )


MORE = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("count", "lasts", "passes"),
    [
        pytest.param(DESK_GRANT_COUNT, DESK_GRANT_LASTS, True, id="as much as a desk may"),
        pytest.param(DESK_GRANT_COUNT + 1, DESK_GRANT_LASTS, False, id="a call more"),
        pytest.param(DESK_GRANT_COUNT, DESK_GRANT_LASTS + MORE, False, id="a second more"),
    ],
)
def test_a_desk_grants_so_much_and_people_more(count: int, lasts: timedelta, passes: bool) -> None:
    assert fits_the_desk(count, lasts) is passes
    claims = granted(count, lasts)
    own = read_grant(seal(claims, typ=GRANT_TYP, key=key(SPONSOR)), bundle=BUNDLE, now=NOW)
    passkey = read_grant(attested(claims, typ=GRANT_TYP), bundle=BUNDLE, now=NOW)
    assert (own.means, own.kid) == (Means.KEY, key(SPONSOR).public.kid)
    assert (passkey.means, passkey.kid) == (Means.PASSKEY, STICK.key.public.kid)
    token = by_desk(claims, GRANT_TYP)
    if passes:
        grant = read_grant(token, bundle=BUNDLE, now=NOW)
        assert (grant.by, grant.means, grant.kid, grant.token) == (SPONSOR, Means.DESK, DESK_KEY.public.kid, token)
    else:
        with pytest.raises(Rejected) as refused:
            read_grant(token, bundle=BUNDLE, now=NOW)
        assert (refused.value.code, refused.value.field) == (Code.HOLD_NOT_PERMITTED, "count")


def test_a_grant_whose_words_have_no_canonical_form_cannot_be_attested() -> None:
    claims = granted(1, MORE)
    assertion = STICK.sign(challenge_of(claims, typ=GRANT_TYP)).as_claim()
    token = identities.resealed(by_desk(claims, GRANT_TYP), DESK_KEY, typ=GRANT_TYP, path="/\ud800", webauthn=assertion)
    assert open_envelope(token, typ=GRANT_TYP, code=Code.RELEASE_INVALID).claims["path"] == "/\ud800"
    with pytest.raises(Rejected) as refused:
        read_grant(token, bundle=BUNDLE, now=NOW)
    assert refused.value.code is Code.RELEASE_INVALID


def test_the_algorithm_of_a_passkey_is_that_of_its_key() -> None:
    assert {STICK.key.public.alg, BENS.key.public.alg} == {ES256, ED25519}
    assert read(attested(claimed(replace(WORLDLY, who=(DEPUTY,)), by=DEPUTY), BENS), replace(WORLDLY, who=(DEPUTY,)))
