"""What browsers are asked for, and what of their answers is read. What a real one says: test_passkeys_in_a_browser."""

from dataclasses import replace

import identities
import pytest
from authenticators import ORIGIN, authenticator
from identities import DEPLOYMENT, SPONSOR

from proxy.core.encoding import Json, b64u, unb64u
from proxy.core.errors import Code, Rejected
from proxy.core.model import Means, Person
from proxy.core.release import RELEASE_TYP
from proxy.review.ceremonies import made, signed, to_make, to_sign, usable
from proxy.review.drafts import Draft

STICK, PHONE = authenticator(SPONSOR), authenticator("phone")
ELSEWHERE = replace(authenticator("office").passkey, rp_id="desk.example")
DRAFT = Draft(
    hold=identities.hold(), call=None, typ=RELEASE_TYP, claims={"iss": SPONSOR}, means=frozenset({Means.PASSKEY})
)


def ada(*passkeys: object) -> Person:
    return identities.person(passkeys=passkeys)  # type: ignore[arg-type]


def test_a_person_is_asked_for_the_passkeys_of_this_page_and_to_be_verified() -> None:
    asked = to_sign(DRAFT, ada(ELSEWHERE, STICK.passkey, PHONE.passkey), origin=ORIGIN)
    assert (asked["rpId"], asked["userVerification"]) == ("localhost", "required")
    assert asked["challenge"] == b64u(DRAFT.challenge)
    assert asked["allowCredentials"] == [{"type": "public-key", "id": b64u(each.id)} for each in (STICK, PHONE)]


def test_only_passkeys_of_one_domain_are_asked_for_together() -> None:
    above = replace(PHONE.passkey, rp_id="example")
    assert usable(ada(ELSEWHERE, above), "https://desk.example") == (ELSEWHERE,)
    assert usable(ada(above, ELSEWHERE), "https://desk.example") == (above,)


def test_who_has_none_for_this_page_is_told_so() -> None:
    for person in (ada(), ada(ELSEWHERE)):
        with pytest.raises(Rejected, match="ada has no passkey for http://localhost:8090") as refused:
            to_sign(DRAFT, person, origin=ORIGIN)
        assert refused.value.code is Code.HOLD_NOT_PERMITTED


def answered(**response: bytes) -> dict[str, Json]:
    coded: dict[str, Json] = {name: b64u(data) for name, data in response.items()}
    return {"id": "x", "rawId": b64u(STICK.id), "type": "public-key", "response": coded, "clientExtensionResults": {}}


def test_an_assertion_is_read_as_it_is() -> None:
    true = STICK.sign(DRAFT.challenge)
    answer = answered(
        authenticatorData=true.authenticator_data, clientDataJSON=true.client_data, signature=true.signature
    )
    assert signed(answer) == true


def test_a_new_passkey_is_asked_for_and_read() -> None:
    challenge = b"c" * 32
    asked = to_make(ada(STICK.passkey), deployment=DEPLOYMENT, origin=ORIGIN, challenge=challenge)
    assert (asked["rp"], asked["challenge"]) == (
        {"id": "localhost", "name": f"Review desk of {DEPLOYMENT}"},
        b64u(challenge),
    )
    assert asked["excludeCredentials"] == [{"type": "public-key", "id": b64u(STICK.id)}]
    user = asked["user"]
    assert isinstance(user, dict) and isinstance(user["id"], str)
    assert len(unb64u(user["id"], code=Code.RELEASE_INVALID, field="id")) == 32
    client_data, data = PHONE.make(challenge)
    answer = answered(clientDataJSON=client_data, authenticatorData=data)
    assert made(answer, origin=ORIGIN, challenge=challenge, name="stick") == PHONE.passkey
    with pytest.raises(Rejected, match="challenge"):
        made(answer, origin=ORIGIN, challenge=b"d" * 32, name="stick")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(None, id="nothing"),
        pytest.param([], id="a list"),
        pytest.param({"rawId": 7}, id="a number for an id"),
        pytest.param({"rawId": "AA", "response": "x"}, id="a text for a response"),
        pytest.param({"rawId": "AA", "response": {}}, id="an empty response"),
        pytest.param({"rawId": "A A", "response": {}}, id="other base64"),
    ],
)
def test_what_is_no_answer_is_refused(answer: Json) -> None:
    for read in (signed, lambda given: made(given, origin=ORIGIN, challenge=b"", name="x")):
        with pytest.raises(Rejected) as refused:
            read(answer)
        assert refused.value.code is Code.RELEASE_INVALID
