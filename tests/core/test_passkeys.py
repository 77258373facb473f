"""Passkeys: an assertion counts only as the page of this desk asked for it (WebAuthn §7.2); new credentials (§7.1)."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from authenticators import AT, BE, BS, ED, ORIGIN, RP_ID, UP, UV, Authenticator, authenticator, cose
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import key

from proxy.core.encoding import Json, b64u
from proxy.core.errors import Code, Rejected
from proxy.core.keys import ED25519, ES256
from proxy.core.model import Passkey, ReviewDesk
from proxy.core.passkeys import (
    WEBAUTHN,
    Assertion,
    challenge_of,
    check_assertion,
    is_within,
    read_assertion,
    read_registration,
)

CLAIMS: dict[str, Json] = {"iss": "ada", "hold": "h-1", "exp": 12}
CHALLENGE = challenge_of(CLAIMS, typ="t+jwt")
DESK = ReviewDesk(origins=(ORIGIN, "https://desk.example:8443"))
STICK, PHONE = authenticator("ada"), authenticator("ada", alg=ED25519)
KEYS = (STICK.passkey, PHONE.passkey)


def check(
    assertion: Assertion, *, passkeys: tuple[Passkey, ...] = KEYS, desk: ReviewDesk = DESK, challenge: bytes = CHALLENGE
) -> Passkey:
    return check_assertion(assertion, challenge=challenge, passkeys=passkeys, desk=desk)


def fault_of(act: Callable[[], object]) -> str:
    with pytest.raises(Rejected) as refused:
        act()
    assert refused.value.code is Code.RELEASE_INVALID
    assert refused.value.detail.isprintable()
    return refused.value.field


# --- what is signed --------------------------------------------------------------------------------------------------


def test_the_challenge_is_the_hash_of_all_claims_in_their_one_form() -> None:
    written = b'{"claims":{"exp":12,"hold":"h-1","iss":"ada"},"typ":"t+jwt"}'
    assert hashlib.sha256(written).digest() == CHALLENGE
    assert challenge_of({**CLAIMS, WEBAUTHN: {"credential": "x"}}, typ="t+jwt") == CHALLENGE


@pytest.mark.parametrize("name", CLAIMS)
def test_no_claim_can_be_another_under_the_same_challenge(name: str) -> None:
    assert challenge_of({**CLAIMS, name: "another"}, typ="t+jwt") != CHALLENGE
    assert challenge_of({each: value for each, value in CLAIMS.items() if each != name}, typ="t+jwt") != CHALLENGE


def test_nor_can_its_type() -> None:
    assert challenge_of(CLAIMS, typ="u+jwt") != CHALLENGE


@pytest.mark.parametrize("value", [1.5, 2**60, "\ud800"])
def test_claims_without_a_canonical_form_have_no_challenge(value: Json) -> None:
    fault_of(lambda: challenge_of({"x": value}, typ="t+jwt"))


# --- assertions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stick", [pytest.param(STICK, id=ES256), pytest.param(PHONE, id="EdDSA")])
def test_an_assertion_says_which_passkey_made_it(stick: Authenticator) -> None:
    assert check(stick.sign(CHALLENGE)) == stick.passkey


GOOD: dict[str, dict[str, object]] = {
    "a counter, which is not compared": {"count": 7},
    "a passkey that may be synchronised": {"flags": UP | UV | BE},
    "a passkey that is synchronised": {"flags": UP | UV | BE | BS},
    "a reserved flag": {"flags": UP | UV | 0x02},
    "members that a browser adds": {"members": {"other_keys_can_be_added_here": "do not compare"}},
    "no word about frames": {"members": {"crossOrigin": False}},
}
BAD: dict[str, tuple[dict[str, object], str]] = {
    "nobody was there": ({"flags": UV}, "flags"),
    "nobody was verified": ({"flags": UP}, "flags"),
    "a backup of what cannot be backed up": ({"flags": UP | UV | BS}, "flags"),
    "extensions that nobody asked for": ({"flags": UP | UV | ED, "extensions": b"\xa0"}, "authenticator_data"),
    "a flag for extensions that are not there": ({"flags": UP | UV | ED}, "authenticator_data"),
    "a credential in the data": ({"flags": UP | UV | AT}, "authenticator_data"),
    "a byte more": ({"extensions": b"\0"}, "authenticator_data"),
    "another RP id": ({"rp_id": "desk.example"}, "rp_id"),
    "another origin": ({"origin": "http://localhost:8091"}, "origin"),
    "an origin of the desk that is not the passkey's": ({"origin": "https://desk.example:8443"}, "rp_id"),
    "an origin that looks alike": ({"origin": "http://localhost:8090/"}, "origin"),
    "no origin": ({"members": {"origin": None}}, "origin"),
    "a page inside another site's": ({"members": {"crossOrigin": True}}, "crossOrigin"),
    "a top origin": ({"members": {"topOrigin": ORIGIN}}, "crossOrigin"),
    "frames as a word": ({"members": {"crossOrigin": "false"}}, "crossOrigin"),
    "a registration": ({"kind": "webauthn.create"}, "type"),
    "a payment": ({"kind": "payment.get"}, "type"),
    "a challenge in other base64": ({"members": {"challenge": b64u(CHALLENGE) + "="}}, "challenge"),
    "a challenge that is a number": ({"members": {"challenge": 7}}, "challenge"),
    "another's key": ({"key": key("mallory", ES256)}, "signature"),
    "a credential that is not enrolled": ({"id": b"0123456789abcdef"}, "credential"),
}


@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD)
def test_what_does_not_matter_does_not_matter(changes: dict[str, object]) -> None:
    assert check(STICK.sign(CHALLENGE, **changes)) == STICK.passkey


@pytest.mark.parametrize(("changes", "field"), BAD.values(), ids=BAD)
def test_any_other_assertion_is_refused(changes: dict[str, object], field: str) -> None:
    assert fault_of(lambda: check(STICK.sign(CHALLENGE, **changes))) == field
    assert check(STICK.sign(CHALLENGE))


def test_an_assertion_for_another_statement_is_refused() -> None:
    other = challenge_of({**CLAIMS, "hold": "h-2"}, typ="t+jwt")
    assert fault_of(lambda: check(STICK.sign(CHALLENGE), challenge=other)) == "challenge"


def test_a_desk_without_origins_takes_no_passkeys() -> None:
    assert fault_of(lambda: check(STICK.sign(CHALLENGE), desk=ReviewDesk())) == "origin"


def test_a_passkey_that_was_removed_is_refused() -> None:
    assert fault_of(lambda: check(STICK.sign(CHALLENGE), passkeys=(PHONE.passkey,))) == "credential"


def test_a_passkey_enrolled_with_another_key_is_refused() -> None:
    swapped = replace(STICK.passkey, key=PHONE.passkey.key)
    assert fault_of(lambda: check(STICK.sign(CHALLENGE), passkeys=(swapped,))) == "signature"


@pytest.mark.parametrize("part", ["authenticator_data", "client_data", "signature"])
def test_every_flipped_bit_of_an_assertion_is_refused(part: str) -> None:
    true = STICK.sign(CHALLENGE)
    data: bytes = getattr(true, part)
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        fault_of(lambda flipped=flipped: check(replace(true, **{part: bytes(flipped)})))


@pytest.mark.parametrize(
    ("part", "data", "field"),
    [
        pytest.param("authenticator_data", STICK.head[:36], "authenticator_data", id="short authenticator data"),
        pytest.param("client_data", b"[]", "client_data", id="client data that is a list"),
        pytest.param("client_data", b"{", "", id="client data that is no JSON"),
        pytest.param(
            "client_data", STICK.client_data(CHALLENGE)[:-1] + b', "type": "webauthn.get"}', "", id="a member twice"
        ),
        pytest.param("signature", b"", "signature", id="no signature"),
        pytest.param("signature", b"\x30\x06\x02\x01\x00\x02\x01\x00", "signature", id="a signature of nothing"),
    ],
)
def test_what_is_no_assertion_at_all_is_refused(part: str, data: bytes, field: str) -> None:
    assert fault_of(lambda: check(replace(STICK.sign(CHALLENGE), **{part: data}))) == field


# --- as a claim ------------------------------------------------------------------------------------------------------


def test_an_assertion_goes_through_its_claim() -> None:
    assertion = STICK.sign(CHALLENGE)
    assert read_assertion(assertion.as_claim()) == assertion


CLAIM = STICK.sign(CHALLENGE).as_claim()


@pytest.mark.parametrize(
    ("claim", "field"),
    [
        pytest.param(None, WEBAUTHN, id="nothing"),
        pytest.param("x", WEBAUTHN, id="a text"),
        pytest.param({**CLAIM, "user_handle": ""}, WEBAUTHN, id="a member more"),
        pytest.param({name: CLAIM[name] for name in list(CLAIM)[1:]}, WEBAUTHN, id="a member less"),
        pytest.param({**CLAIM, "signature": 1}, WEBAUTHN, id="a signature that is a number"),
        pytest.param({**CLAIM, "signature": "a b"}, "webauthn.signature", id="another alphabet"),
        pytest.param({**CLAIM, "client_data": b64u(b"x" * 2049)}, WEBAUTHN, id="client data without end"),
        pytest.param({**CLAIM, "signature": b64u(b"x" * 129)}, WEBAUTHN, id="a signature without end"),
    ],
)
def test_any_other_claim_is_refused(claim: Json, field: str) -> None:
    assert fault_of(lambda: read_assertion(claim)) == field


_json = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.dictionaries(st.text(max_size=5), st.none())
)


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(["type", "challenge", "origin", "crossOrigin", "topOrigin"]), _json))
def test_whatever_a_browser_says_only_rejected_is_raised(members: dict[str, Json]) -> None:
    told = {"type": "webauthn.get", "challenge": b64u(CHALLENGE), "origin": ORIGIN, **members}
    assertion = replace(STICK.sign(b"another challenge"), client_data=json.dumps(told).encode())
    fault_of(lambda: check(assertion))


# --- new credentials -------------------------------------------------------------------------------------------------


def register(stick: Authenticator, *, challenge: bytes = CHALLENGE, name: str = "", **changes: object) -> Passkey:
    client_data, data = stick.make(CHALLENGE, **changes)
    return read_registration(client_data, data, challenge=challenge, rp_id=RP_ID, origin=ORIGIN, name=name)


@pytest.mark.parametrize("stick", [pytest.param(STICK, id=ES256), pytest.param(PHONE, id="EdDSA")])
def test_a_new_credential_is_read(stick: Authenticator) -> None:
    assert register(stick, name="stick") == stick.passkey
    assert check(stick.sign(CHALLENGE), passkeys=(register(stick),))


def test_extensions_of_a_new_credential_are_passed_over_where_they_are_announced() -> None:
    protected = b"\xa1\x6bcredProtect\x02"
    assert register(STICK, name="stick", flags=UP | UV | AT | ED, extensions=protected) == STICK.passkey
    assert fault_of(lambda: register(STICK, extensions=protected)) == "authenticator_data"


NOT_NEW: dict[str, tuple[dict[str, object], str]] = {
    "an assertion": ({"kind": "webauthn.get"}, "type"),
    "another origin": ({"origin": "https://evil.example"}, "origin"),
    "another RP id": ({"rp_id": "evil.example"}, "rp_id"),
    "nobody verified": ({"flags": UP | AT}, "flags"),
    "no credential": ({"flags": UP | UV}, "authenticator_data"),
    "a credential id that is too short": ({"id": b"0123"}, "authenticator_data"),
    "a credential id that is too long": ({"id": b"0" * 1024}, "authenticator_data"),
}


@pytest.mark.parametrize(("changes", "field"), NOT_NEW.values(), ids=NOT_NEW)
def test_what_is_no_new_credential_of_this_desk_is_refused(changes: dict[str, object], field: str) -> None:
    assert fault_of(lambda: register(STICK, **changes)) == field


def test_a_new_credential_for_another_ceremony_is_refused() -> None:
    assert fault_of(lambda: register(STICK, challenge=b"x" * 32)) == "challenge"


@pytest.mark.parametrize("stick", [pytest.param(STICK, id=ES256), pytest.param(PHONE, id="EdDSA")])
def test_half_a_credential_is_refused(stick: Authenticator) -> None:
    client_data, data = stick.make(CHALLENGE)
    for end in range(len(data)):
        fault_of(
            lambda end=end: read_registration(client_data, data[:end], challenge=CHALLENGE, rp_id=RP_ID, origin=ORIGIN)
        )


@pytest.mark.parametrize(
    "coded",
    [
        pytest.param(bytes.fromhex("a401030339010020590100"), id="RSA"),
        pytest.param(cose(STICK.key).replace(b"\x03\x26", b"\x03\x27"), id="ES256's curve with another algorithm"),
        pytest.param(b"\xa5\x03\x26" + cose(STICK.key)[3:], id="members in another order"),
        pytest.param(cose(STICK.key)[:10] + b"\xff" * 32 + cose(STICK.key)[42:], id="a point off the curve"),
    ],
)
def test_another_kind_of_key_is_refused(coded: bytes) -> None:
    client_data, data = STICK.make(CHALLENGE)
    changed = data.replace(cose(STICK.key), coded)
    assert changed != data
    fault_of(lambda: read_registration(client_data, changed, challenge=CHALLENGE, rp_id=RP_ID, origin=ORIGIN))


@pytest.mark.parametrize(
    ("origin", "rp_id", "within"),
    [
        pytest.param("https://desk.example", "desk.example", True, id="the host itself"),
        pytest.param("https://desk.example:8443", "desk.example", True, id="whatever the port"),
        pytest.param("https://desk.corp.example", "corp.example", True, id="a domain above"),
        pytest.param("https://desk.example", "sub.desk.example", False, id="a domain below"),
        pytest.param("https://notdesk.example", "desk.example", False, id="a longer name is not a child"),
        pytest.param("https://desk.example", "", False, id="nothing"),
    ],
)
def test_which_pages_may_use_which_credentials(origin: str, rp_id: str, within: bool) -> None:
    assert is_within(origin, rp_id) is within
