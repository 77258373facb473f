"""Root manifests signed by passkey: the desk's key and the sponsor's assertion, both or nothing (THREATS E01, F07)."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import identities
import pytest
from authenticators import BE, BS, ORIGIN, UP, UV, Authenticator, authenticator
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from identities import AGENT, DEPUTY, NOW, SPONSOR, key

from proxy.core.control import ControlView
from proxy.core.encoding import Json, b64u, canonical_json, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.jws import seal
from proxy.core.keys import ED25519, ES256, PrivateKey, one_form, sign, verifies_der
from proxy.core.manifest import MANIFEST_TYP, parse_manifest, root_claims
from proxy.core.model import Bundle, Mandate, Person, ReviewDesk
from proxy.core.passkeys import WEBAUTHN, Assertion, challenge_of
from proxy.core.release import RELEASE_TYP
from proxy.core.sponsoring import sponsored_challenge
from proxy.core.standing import check_standing
from proxy.core.verify import Lifetimes, verify_chain

STICK, BENS, PHONE = authenticator(SPONSOR), authenticator(DEPUTY), authenticator("ada phone", alg=ED25519)
DESK_KEY = key("desk")
DESK = ReviewDesk(keys=(DESK_KEY.public,), origins=(ORIGIN,))
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

CLAIMS = root_claims(identities.draft(iat=NOW, exp=NOW + timedelta(hours=1)))
LONG = root_claims(identities.draft())
GRACE_S = Lifetimes().grace_s


def people(**changes: object) -> tuple[Person, ...]:
    ada = identities.person(SPONSOR, deputy=DEPUTY, passkeys=[STICK.passkey, PHONE.passkey])
    ben = identities.person(DEPUTY, passkeys=[BENS.passkey])
    return replace(ada, **changes), ben  # type: ignore[arg-type]


BUNDLE = identities.bundle(people=people(), desk=DESK)


def asserted(stick: Authenticator = STICK, over: dict[str, Json] | None = None, **changes: object) -> Assertion:
    typ = str(changes.pop("typ", MANIFEST_TYP))
    kid = str(changes.pop("kid", DESK_KEY.public.kid))
    made = stick.sign(sponsored_challenge(over or CLAIMS, typ=typ, kid=kid), **changes)
    return replace(made, signature=one_form(stick.key.public, made.signature))


def attested(assertion: Assertion | None = None, claims: dict[str, Json] = CLAIMS, by: PrivateKey = DESK_KEY) -> str:
    """A root as the desk makes it of an assertion."""
    return seal({**claims, WEBAUTHN: (assertion or asserted()).as_claim()}, typ=MANIFEST_TYP, key=by)


def verify(*tokens: str, bundle: Bundle = BUNDLE) -> Mandate:
    return verify_chain(tokens, bundle, lifetimes=Lifetimes(), now=NOW)


def refusal(*tokens: str, bundle: Bundle = BUNDLE) -> Rejected:
    with pytest.raises(Rejected) as refused:
        verify(*tokens, bundle=bundle)
    return refused.value


# --- what passes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stick", [STICK, PHONE], ids=["ES256", "EdDSA"])
def test_a_sponsor_signs_with_a_passkey_what_they_could_sign_with_their_key(stick: Authenticator) -> None:
    token = attested(asserted(stick))
    mandate, own = verify(token), verify(seal(CLAIMS, typ=MANIFEST_TYP, key=key(SPONSOR)))
    assert (mandate.root.passkey, mandate.root.kid, own.root.passkey) == (stick.id, DESK_KEY.public.kid, None)
    assert (mandate.sponsor, mandate.agent, mandate.not_after) == (own.sponsor, own.agent, own.not_after)
    assert mandate.root.grants == own.root.grants


def test_it_delegates_as_any_other_does() -> None:
    top = attested(asserted(over=LONG), LONG)
    low = identities.child(top)
    assert [link.passkey for link in verify(top, low).chain] == [STICK.id, None]


def test_a_synchronised_passkey_counts() -> None:
    assert verify(attested(asserted(flags=UP | UV | BE | BS, count=7)))


# --- what does not ---------------------------------------------------------------------------------------------------

LATER: dict[str, Json] = {**CLAIMS, "exp": to_epoch(NOW) + 3_000}
OTHERS: dict[str, tuple[str, str]] = {
    "the desk's key alone": (seal(CLAIMS, typ=MANIFEST_TYP, key=DESK_KEY), "kid"),
    "an assertion over other claims": (attested(asserted(over=LATER)), "challenge"),
    "an assertion that names no key of the desk": (
        attested(STICK.sign(challenge_of(CLAIMS, typ=MANIFEST_TYP))),
        "challenge",
    ),
    "an assertion for a release": (attested(asserted(typ=RELEASE_TYP)), "challenge"),
    "another person's passkey": (attested(asserted(BENS)), "credential"),
    "another person's passkey under the sponsor's id": (attested(asserted(BENS, id=STICK.id)), "signature"),
    "a passkey that nobody enrolled": (attested(asserted(authenticator("mallory"))), "credential"),
    "another origin": (attested(asserted(origin="http://localhost:8091")), "origin"),
    "another RP id": (attested(asserted(rp_id="evil.example")), "rp_id"),
    "another kind of ceremony": (attested(asserted(kind="webauthn.create")), "type"),
    "a page inside another's": (attested(asserted(members={"crossOrigin": True})), "crossOrigin"),
    "nobody present": (attested(asserted(flags=UV)), "flags"),
    "nobody verified": (attested(asserted(flags=UP)), "flags"),
    "extensions": (attested(asserted(extensions=b"\xa0")), "authenticator_data"),
    "the sponsor's own key around it": (attested(by=key(SPONSOR)), "kid"),
    "the agent's key around it": (attested(by=key(AGENT)), "kid"),
    "a key nobody enrolled around it": (attested(by=key("mallory")), "kid"),
    "the passkey's own key around it": (attested(by=STICK.key), "kid"),
}


@pytest.mark.parametrize(("token", "field"), OTHERS.values(), ids=OTHERS)
def test_anything_else_makes_no_mandate(token: str, field: str) -> None:
    refused = refusal(token)
    assert (refused.code, refused.field) == (Code.MANIFEST_SIGNATURE, field)
    assert refused.detail.isprintable()
    assert verify(attested())


@pytest.mark.parametrize("name", [*CLAIMS])
def test_no_claim_can_be_edited_under_an_assertion(name: str) -> None:
    refused = refusal(attested(claims={**CLAIMS, name: _other(CLAIMS[name])}))
    assert refused.code.value.startswith(("manifest.", "agent.", "sponsor."))
    assert refused.code is not Code.MANIFEST_WINDOW


def _other(value: Json) -> Json:
    match value:
        case int():
            return value + 1
        case str():
            return f"{value}x"
        case list():
            return []
        case _:
            assert isinstance(value, dict)
            changed: dict[str, Json] = {**value, "name": "Eve"}
            return changed if "name" in value else {"jwk": CLAIMS["cnf"]}


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(None, id="null"),
        pytest.param({}, id="empty"),
        pytest.param({**asserted().as_claim(), "more": "x"}, id="more than an assertion"),
        pytest.param({**asserted().as_claim(), "signature": "+/=="}, id="another encoding"),
    ],
)
def test_what_is_no_assertion_is_no_manifest(claim: Json) -> None:
    refused = refusal(seal({**CLAIMS, WEBAUTHN: claim}, typ=MANIFEST_TYP, key=DESK_KEY))
    assert refused.code is Code.MANIFEST_MALFORMED
    assert str(refused.field).startswith(WEBAUTHN)


def test_a_delegation_carries_no_assertion() -> None:
    top = attested(asserted(over=LONG), LONG)
    low = identities.child(top)
    with_one = identities.resealed(low, key(AGENT), webauthn=asserted().as_claim())
    refused = refusal(top, with_one)
    assert (refused.code, refused.field) == (Code.MANIFEST_MALFORMED, WEBAUTHN)
    assert verify(top, low)


def test_every_flipped_bit_is_refused() -> None:
    data = attested().encode()
    for bit in range(0, len(data) * 8, 11):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        refused = refusal(flipped.decode("latin-1"))  # many a claim is looked at before the signature
        assert refused.code.value.startswith(("manifest.", "agent.", "sponsor."))


# --- one touch, one mandate: the desk cannot write what a passkey signed in two ways ----------------------------------


def _high_s(assertion: Assertion) -> Assertion:
    r, s = decode_dss_signature(assertion.signature)
    return replace(assertion, signature=encode_dss_signature(r, ORDER - s))


def _spelled(header: Callable[[dict[str, str]], bytes], payload: Callable[[dict[str, Json]], bytes]) -> str:
    head = {"typ": MANIFEST_TYP, "alg": DESK_KEY.public.alg, "kid": DESK_KEY.public.kid}
    claims: dict[str, Json] = {**CLAIMS, WEBAUTHN: asserted().as_claim()}
    signing_input = f"{b64u(header(head))}.{b64u(payload(claims))}"
    return f"{signing_input}.{b64u(sign(DESK_KEY, signing_input.encode()))}"


def _canonical(members: object) -> bytes:
    return canonical_json(members)  # type: ignore[arg-type]


def _spaced(members: object) -> bytes:
    return json.dumps(members, indent=1).encode()


@pytest.mark.parametrize(
    ("token", "field"),
    [
        pytest.param(attested(_high_s(asserted())), "signature", id="the other s"),
        pytest.param(_spelled(_canonical, _spaced), "payload", id="spaces in the payload"),
        pytest.param(_spelled(_spaced, _canonical), "payload", id="spaces in the header"),
    ],
)
def test_what_one_touch_signed_has_one_spelling_and_one_id(token: str, field: str) -> None:
    assert parse_manifest(token).id != parse_manifest(attested()).id, "another id would be counted for itself"
    refused = refusal(token)
    assert (refused.code, refused.field) == (Code.MANIFEST_SIGNATURE, field)
    plain = _spelled(_canonical, _canonical)
    assert verify(plain).root.passkey == STICK.id
    own = seal(CLAIMS, typ=MANIFEST_TYP, key=key(SPONSOR))
    assert verify(own), "what a person's own key signs may be spelled as it ever could"


def test_of_a_desk_with_two_keys_one_touch_makes_one_manifest() -> None:
    """While a desk changes its key both are enrolled; whoever has both had two ids of what was signed once."""
    other = key("another desk")
    both = identities.bundle(people=people(), desk=replace(DESK, keys=(DESK_KEY.public, other.public)))
    refused = refusal(attested(by=other), bundle=both)
    assert (refused.code, refused.field) == (Code.MANIFEST_SIGNATURE, "challenge")
    assert verify(attested(), bundle=both)
    assert verify(attested(asserted(kid=other.public.kid), by=other), bundle=both)


def test_signatures_of_authenticators_have_one_form() -> None:
    message = b"message"
    for stick in (STICK, PHONE):
        made = stick.sign(message)
        form = one_form(stick.key.public, made.signature)
        assert one_form(stick.key.public, form) == form
    es256 = STICK.key.public
    r, s = decode_dss_signature(asserted().signature)
    other = encode_dss_signature(r, ORDER - s)
    assert s <= ORDER // 2
    assert one_form(es256, other) == encode_dss_signature(r, s)
    assert one_form(es256, b"no signature") == b"no signature"
    beyond = encode_dss_signature(r, ORDER + 1)
    assert one_form(es256, beyond) == beyond
    assert not verifies_der(es256, message, beyond)
    assert es256.alg == ES256


# --- what ends it ----------------------------------------------------------------------------------------------------

ENDS: dict[str, tuple[Bundle, str]] = {
    "the passkey was removed": (identities.bundle(people=people(passkeys=(PHONE.passkey,)), desk=DESK), "credential"),
    "every passkey was removed": (identities.bundle(people=people(passkeys=()), desk=DESK), "credential"),
    "the desk has another key": (
        identities.bundle(people=people(), desk=replace(DESK, keys=(key("another desk").public,))),
        "kid",
    ),
    "there is no desk any more": (identities.bundle(people=people()), "kid"),
}


@pytest.mark.parametrize(("bundle", "field"), ENDS.values(), ids=ENDS)
def test_it_ends_with_the_passkey_and_with_the_desks_key(bundle: Bundle, field: str) -> None:
    """At once, also for what was verified before: inside a tunnel, and of a call that was filed."""
    token = attested()
    assert (refusal(token, bundle=bundle).code, refusal(token, bundle=bundle).field) == (Code.MANIFEST_SIGNATURE, field)
    mandate = verify(token)
    with pytest.raises(Rejected) as refused:
        check_standing(mandate, bundle, ControlView(), now=NOW, grace_s=GRACE_S)
    assert (refused.value.code, refused.value.field) == (Code.MANIFEST_SIGNATURE, field)
    assert check_standing(mandate, BUNDLE, ControlView(), now=NOW, grace_s=GRACE_S) == BUNDLE.people[SPONSOR]


def test_it_outlives_what_it_does_not_rest_on() -> None:
    token = attested()
    kept = replace(DESK, keys=(key("another desk").public, DESK_KEY.public))
    for bundle in (
        identities.bundle(people=people(keys=()), desk=DESK),
        identities.bundle(people=people(passkeys=(STICK.passkey,)), desk=kept),
    ):
        mandate = verify(token, bundle=bundle)
        assert check_standing(mandate, bundle, ControlView(), now=NOW, grace_s=GRACE_S)


def test_another_key_under_the_same_credential_did_not_sign_it() -> None:
    swapped = replace(STICK.passkey, key=BENS.key.public)
    refused = refusal(attested(), bundle=identities.bundle(people=people(passkeys=(swapped,)), desk=DESK))
    assert (refused.code, refused.field) == (Code.MANIFEST_SIGNATURE, "signature")


def test_a_sponsor_who_lapsed_signs_with_no_passkey_either() -> None:
    lapsed = identities.bundle(people=people(certified_until=NOW - timedelta(days=1)), desk=DESK)
    assert refusal(attested(), bundle=lapsed).code is Code.SPONSOR_LAPSED


def test_nobody_signs_by_passkey_for_an_agent_they_do_not_sponsor() -> None:
    claims = root_claims(identities.draft(sponsor=DEPUTY, iat=NOW, exp=NOW + timedelta(hours=1)))
    assert refusal(attested(asserted(BENS, claims), claims)).code is Code.MANIFEST_SUBJECT
    bundle = identities.bundle(people=people(), agents=[identities.agent(sponsor=DEPUTY)], desk=DESK)
    assert verify(attested(asserted(BENS, claims), claims), bundle=bundle).sponsor.id == DEPUTY


def test_such_a_manifest_is_little_longer() -> None:
    own = seal(CLAIMS, typ=MANIFEST_TYP, key=key(SPONSOR))
    assert 500 < len(attested()) - len(own) < 1_000
