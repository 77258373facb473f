"""people.yaml: who may sponsor, deputise and review, and what is refused with which words."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from identities import key

from proxy.core.errors import Rejected
from proxy.core.keys import ES256, jwk
from proxy.core.model import Passkey, Person, ReviewDesk
from proxy.policy.faults import Faults
from proxy.policy.passkeys import passkey_line, read_passkey_line
from proxy.policy.people import Enrolled, read_people
from proxy.policy.yaml import load

ADA = json.dumps(jwk(key("ada").public))
BEN = json.dumps(jwk(key("ben", ES256).public))
OPERATOR = key("operator").public

BASE = f"""\
version: 1
people:
  - id: ada
    name: Ada Example
    role: Head of accounts payable
    deputy: ben
    certified_until: 2027-06-30
    keys:
      - {ADA}
  - id: ben
    name: Ben Example
    role: Controller
    certified_until: 2027-06-30T18:00:00+02:00
    keys: [{BEN}]
"""


def people(text: str) -> tuple[dict[str, Person], list[str]]:
    found, _, faults = read(text)
    return found, faults


def read(text: str) -> tuple[dict[str, Person], ReviewDesk, list[str]]:
    faults = Faults("people.yaml")
    root = load(text.encode(), faults)
    nobody: dict[str, Person] = {}
    found, desk = read_people(root, faults, Enrolled([OPERATOR])) if root is not None else (nobody, ReviewDesk())
    return found, desk, [str(fault) for fault in faults.listed()]


def changed(old: str, new: str) -> str:
    assert old in BASE
    return BASE.replace(old, new, 1)


def test_every_key_is_read() -> None:
    found, faults = people(BASE)
    assert faults == []
    assert found["ada"] == Person(
        id="ada",
        name="Ada Example",
        role="Head of accounts payable",
        deputy="ben",
        certified_until=datetime(2027, 7, 1, tzinfo=UTC),
        keys=(key("ada").public,),
    )
    assert found["ben"].deputy is None
    assert found["ben"].certified_until == datetime(2027, 6, 30, 16, tzinfo=UTC)
    assert found["ben"].keys == (key("ben", ES256).public,)


@pytest.mark.parametrize(
    ("written", "until"),
    [
        pytest.param("2027-06-30", datetime(2027, 7, 1, tzinfo=UTC), id="a date counts until its end"),
        pytest.param("'2027-06-30'", datetime(2027, 7, 1, tzinfo=UTC), id="a date in quotes"),
        pytest.param("2027-12-31", datetime(2028, 1, 1, tzinfo=UTC), id="the last day of a year"),
        pytest.param("2027-06-30T10:00:00Z", datetime(2027, 6, 30, 10, tzinfo=UTC), id="a moment in UTC"),
        pytest.param("2027-06-30T10:00:00-05:00", datetime(2027, 6, 30, 15, tzinfo=UTC), id="a moment elsewhere"),
    ],
)
def test_reads_dates_and_moments(written: str, until: datetime) -> None:
    found, faults = people(changed("2027-06-30", written))
    assert faults == []
    assert found["ada"].certified_until == until


def test_a_person_without_keys_or_deputy_is_a_person() -> None:
    found, faults = people(
        "version: 1\npeople:\n  - {id: a, name: A, role: R, certified_until: 2027-01-01, keys: []}\n"
    )
    assert (found["a"].keys, found["a"].deputy, faults) == ((), None, [])


WHEN = "expected a date such as 2027-06-30, or a time such as 2027-06-30T18:00:00Z, got"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param(
            changed("deputy: ben", "deputy: bin"),
            '6: deputy of person "ada": there is no person "bin"; did you mean "ben"?',
            id="an unknown deputy",
        ),
        pytest.param(
            changed("deputy: ben", "deputy: ada"),
            '6: deputy of person "ada": deputies form a circle, ada → ada; name somebody outside it, or nobody',
            id="one's own deputy",
        ),
        pytest.param(
            changed("role: Controller", "role: Controller\n    deputy: ada"),
            '6: deputy of person "ada": deputies form a circle, ada → ben → ada; name somebody outside it, or nobody',
            id="deputies of each other",
        ),
        pytest.param(
            changed("deputy:", "deputee:"),
            '6: unknown key "deputee" in person "ada"; did you mean "deputy"?',
            id="a misspelt key",
        ),
        pytest.param(changed("    role: Controller\n", ""), '10: person "ben" has no "role"; add it', id="no role"),
        pytest.param(
            changed("2027-06-30", "30.6.2027"),
            f'7: certified_until of person "ada": {WHEN} "30.6.2027"',
            id="another date",
        ),
        pytest.param(
            changed("2027-06-30", "2027-02-30"),
            f'7: certified_until of person "ada": {WHEN} 2027-02-30',
            id="no such day",
        ),
        pytest.param(
            changed("2027-06-30", "2027-06-30 10:00:00"),
            f'7: certified_until of person "ada": {WHEN} 2027-06-30 10:00:00',
            id="a moment without an offset",
        ),
        pytest.param(
            changed("2027-06-30", "9999-12-31"), f'7: certified_until of person "ada": {WHEN} 9999-12-31', id="no end"
        ),
        pytest.param(
            changed("2027-06-30", "2027"), f'7: certified_until of person "ada": {WHEN} 2027', id="only a year"
        ),
        pytest.param(
            BASE.replace(": ben", ": operator"),
            '10: id of person "operator": "operator" is reserved; choose another',
            id="the id operators have",
        ),
        pytest.param(
            BASE.replace(": ben", ": deputy"),
            '10: id of person "deputy": "deputy" is reserved; choose another',
            id="an id that means something else in a review",
        ),
        pytest.param(
            BASE.replace("    deputy: ben\n", "").replace("id: ben", "id: ada"),
            '9: id of person "ada": "ada" is already person "ada"; choose another',
            id="two people of one id",
        ),
        pytest.param(
            BASE.replace(BEN, ADA),
            f'14: keys of person "ben": the key {key("ada").public.kid} is already that of person "ada"; '
            "everyone needs a key of their own",
            id="two people of one key",
        ),
        pytest.param(
            BASE.replace(ADA, json.dumps(jwk(OPERATOR))),
            f'9: keys of person "ada": the key {OPERATOR.kid} is already that of an operator; '
            "everyone needs a key of their own",
            id="an operator's key",
        ),
        pytest.param(
            BASE.replace(ADA, ADA[:-1] + ', "d": "secret"}'),
            '9: keys of person "ada": a private key ("d") stands here: make a new key, this one is not secret now',
            id="a private key",
        ),
        pytest.param(
            BASE.replace(ADA, ADA[:-1] + ', "kid": "x"}'),
            '9: keys of person "ada": key must be a public JWK, OKP/Ed25519 or EC/P-256, and nothing more',
            id="a key with more than a key",
        ),
        pytest.param(
            BASE.replace(ADA, "ssh-ed25519 AAAA"),
            '9: keys of person "ada": expected a public key as JWK, got "ssh-ed25519 AAAA"',
            id="a key of another kind",
        ),
        pytest.param(
            changed("Ada Example", '"Ada\\u202e"'),
            '4: name of person "ada": expected one line of at most 200 printable characters, got "Ada\\u202e"',
            id="a name that turns the line around",
        ),
    ],
)
def test_refuses_with_place_and_mend(text: str, fault: str) -> None:
    told = people(text)[1]
    if (
        fault.split(": ", 1)[1].startswith(("deputy", "id")) and len(told) > 1
    ):  # a changed id leaves a deputy without one
        told = [line for line in told if fault in line]
    assert told == [f"people.yaml:{fault}"]


def test_a_circle_of_three_is_told_once_with_its_way() -> None:
    text = "version: 1\npeople:\n" + "".join(
        f"  - {{id: {one}, name: X, role: R, certified_until: 2027-01-01, deputy: {other}}}\n"
        for one, other in (("c", "a"), ("a", "b"), ("b", "c"), ("d", "a"))
    )
    circle = "deputies form a circle, a → b → c → a; name somebody outside it, or nobody"
    assert people(text)[1] == [f'people.yaml:4: deputy of person "a": {circle}']


def test_a_chain_of_deputies_is_no_circle() -> None:
    text = "version: 1\npeople:\n" + "".join(
        f"  - {{id: {one}, name: X, role: R, certified_until: 2027-01-01{rest}}}\n"
        for one, rest in (("a", ", deputy: b"), ("b", ", deputy: c"), ("c", ""))
    )
    assert people(text)[1] == []


@given(st.text(max_size=30))
def test_any_value_is_read_or_refused_with_faults(value: str) -> None:
    for place in ("ben", "Ada Example", "2027-06-30", ADA):
        people(BASE.replace(place, json.dumps(value), 1))


# --- the review desk and passkeys ------------------------------------------------------------------------------------

DESK = json.dumps(jwk(key("desk").public))
STICK = Passkey(id=bytes(range(16)), key=key("stick", ES256).public, rp_id="desk.example", name="the blue stick")
PHONE = Passkey(id=bytes(range(32)), key=key("phone").public, rp_id="example", name="phone")
AT_DESK = f"""\
version: 1
desk:
  keys: [{DESK}]
  origins: [https://desk.example, "http://localhost:8090"]
people:
  - id: ada
    name: Ada Example
    role: Head
    certified_until: 2027-06-30
    keys: [{ADA}]
    passkeys:
      - {passkey_line(STICK)}
      - {passkey_line(PHONE)}
  - {{id: ben, name: Ben, role: R, certified_until: 2027-06-30, keys: [{BEN}]}}
"""


def test_the_desk_and_passkeys_are_read() -> None:
    found, desk, faults = read(AT_DESK)
    assert faults == []
    assert desk == ReviewDesk(keys=(key("desk").public,), origins=("https://desk.example", "http://localhost:8090"))
    assert found["ada"].passkeys == (STICK, PHONE)
    assert found["ben"].passkeys == ()
    assert read(BASE)[1] == ReviewDesk()


def at_desk(old: str, new: str) -> str:
    assert old in AT_DESK
    return AT_DESK.replace(old, new, 1)


ORIGIN = "expected an origin such as https://desk.example, https://desk.example:8443 or http://localhost:8090, got"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param(
            at_desk("https://desk.example", "https://desk.example/"),
            f'4: origins of desk of the file: {ORIGIN} "https://desk.example/"',
            id="an origin with a path",
        ),
        pytest.param(
            at_desk("https://desk.example", "https://desk.example:443"),
            f'4: origins of desk of the file: {ORIGIN} "https://desk.example:443"',
            id="an origin with the usual port",
        ),
        pytest.param(
            at_desk("https://desk.example", "http://desk.example"),
            f'4: origins of desk of the file: {ORIGIN} "http://desk.example"',
            id="an origin without TLS",
        ),
        pytest.param(
            at_desk("https://desk.example", "https://192.0.2.1"),
            f'4: origins of desk of the file: {ORIGIN} "https://192.0.2.1"',
            id="an origin that is an address",
        ),
        pytest.param(
            at_desk("https://desk.example", "https://desk.example:99999"),
            "4: origins of desk of the file: a port must be from 1 to 65535, got 99999",
            id="an origin with an impossible port",
        ),
        pytest.param(
            at_desk(f"keys: [{DESK}]", f"keys: [{ADA}]"),
            f'10: keys of person "ada": the key {key("ada").public.kid} is already that of the review desk; '
            "everyone needs a key of their own",
            id="a desk with a person's key",
        ),
        pytest.param(
            at_desk(json.dumps(jwk(PHONE.key)), BEN),
            f'14: keys of person "ben": the key {key("ben", ES256).public.kid} is already that of passkey "phone" of '
            'person "ada"; everyone needs a key of their own',
            id="a passkey with another person's key",
        ),
        pytest.param(
            at_desk(passkey_line(PHONE), passkey_line(replace(PHONE, name=STICK.name))),
            '12: passkeys of person "ada": "the blue stick" is already a passkey of person "ada", under that name; '
            "remove one of them",
            id="two passkeys of one name",
        ),
        pytest.param(
            at_desk(passkey_line(PHONE), passkey_line(replace(PHONE, id=STICK.id))),
            '12: passkeys of person "ada": "phone" is already a passkey of person "ada"; remove one of them',
            id="two passkeys of one id",
        ),
        pytest.param(
            at_desk('"desk.example"', '"other.example"'),
            '12: passkeys of person "ada": "the blue stick" was made for other.example, and the desk\'s origins are '
            "https://desk.example, http://localhost:8090; add its page to desk.origins, or remove it",
            id="a passkey of another domain",
        ),
        pytest.param(
            at_desk('"desk.example"', '"192.0.2.1"'),
            '12: rp_id of passkey "the blue stick" of person "ada": expected the domain of the desk, such as '
            'desk.example, got "192.0.2.1"',
            id="a passkey of an address",
        ),
        pytest.param(
            at_desk("AAECAwQFBgcICQoLDA0ODw", "AAEC"),
            '12: id of passkey "the blue stick" of person "ada": expected a credential id of 16 to 1023 bytes, got 3',
            id="a short credential id",
        ),
        pytest.param(
            at_desk("AAECAwQFBgcICQoLDA0ODw", "AAECAwQFBgcICQoLDA0ODx"),
            '12: id of passkey "the blue stick" of person "ada": id must be unpadded canonical base64url',
            id="a credential id with stray bits",
        ),
    ],
)
def test_what_is_wrong_with_the_desk_or_a_passkey_is_told(text: str, fault: str) -> None:
    assert read(text)[2] == [f"people.yaml:{fault}"]


def test_a_passkey_is_handed_over_as_it_is_written() -> None:
    assert read_passkey_line(passkey_line(STICK)) == STICK
    named = replace(PHONE, name='Zoë\'s "phone"')
    assert read_passkey_line(passkey_line(named)) == named


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("[]", "expected a mapping", id="a list"),
        pytest.param(passkey_line(STICK)[:-1], "the passkey", id="half of it"),
        pytest.param(passkey_line(STICK).replace('"name"', '"nom"'), 'unknown key "nom" in the passkey', id="a typo"),
    ],
)
def test_what_is_no_passkey_is_refused(text: str, told: str) -> None:
    with pytest.raises(Rejected) as refused:
        read_passkey_line(text)
    assert told in refused.value.detail
