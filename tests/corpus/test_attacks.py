"""The instrument itself: a case cannot be written without a twin, and nothing that gets through goes unnoticed."""

from dataclasses import replace
from typing import Any

import pytest
from attacks import Case, against, corpus, try_case
from houses import WAYS
from shots import Answer, Shot, fire
from streets import PUBLIC, Street

CALL, ABROAD = Shot(), Shot(authority="api.public.example:{port}")
OUTSIDE = Shot(path="/admin")
HELD = "mandate.not_covered"


def case(way: str, twin: Shot = CALL, attack: Shot = OUTSIDE, **changes: Any) -> Case:
    given: dict[str, Any] = {
        "threat": "A01",
        "name": "test",
        "way": way,
        "twin": lambda street: fire(street, way, twin),
        "attack": lambda street: fire(street, way, attack),
        "code": HELD,
    }
    return Case(**{**given, **changes})


@pytest.mark.parametrize("way", WAYS)
def test_a_refused_attack_beside_a_passing_twin_is_a_success(street: Street, way: str) -> None:
    try_case(street, case(way))


FAILURES: dict[str, tuple[dict[str, Any], str]] = {
    "the twin is refused": ({"twin": OUTSIDE}, "the twin does not pass"),
    "the twin reaches another listener": ({"reaches": "world"}, "the twin reached"),
    "the attack gets through": ({"attack": CALL}, "saw"),
    "the attack gets through to the wide world": ({"attack": ABROAD}, "world"),
    "the attack is refused by another code": ({"code": "url.ambiguous"}, HELD),
    "the attack is refused though it should change nothing": ({"code": None}, HELD),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("changes", "said"), FAILURES.values(), ids=FAILURES.keys())
def test_a_case_fails_when(street: Street, way: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        try_case(street, case(way, **changes))
    street.trace()


@pytest.mark.parametrize("way", WAYS)
def test_a_shared_twin_that_is_refused_fails_every_case_that_rests_on_it(street: Street, way: str) -> None:
    for path in ("/other", "/another"):
        with pytest.raises(AssertionError, match="the twin does not pass"):
            try_case(street, against("A01", "test", way, OUTSIDE, {"path": path}, code=HELD))


def test_what_is_only_dialled_or_looked_up_is_noticed(street: Street) -> None:
    nobody = replace(
        ABROAD, resolves_to=("127.0.0.9",), clusters=("loopback-service",), authority="self.example:{port}"
    )
    with pytest.raises(AssertionError, match=r"dialled \('127\.0\.0\.9',\)"):
        try_case(street, case("plain", attack=nobody))
    street.trace()
    forbidden = replace(ABROAD, resolves_to=("10.0.0.5",))
    with pytest.raises(AssertionError, match=r"looked up \('api\.public\.example',\)"):
        try_case(street, case("plain", attack=forbidden))


def test_what_comes_late_fails_the_next_case(street: Street) -> None:
    assert fire(street, "plain", CALL).status == 200
    with pytest.raises(AssertionError, match="after an earlier case had ended"):
        try_case(street, case("plain"))


def test_a_public_address_leads_to_the_world_listener(street: Street) -> None:
    assert fire(street, "tls", ABROAD).status == 200
    after = street.trace()
    assert (after.reached, after.dialled) == ({"world"}, (PUBLIC,))


def test_a_case_has_a_twin_and_an_attack_changes_something() -> None:
    with pytest.raises(TypeError, match="twin"):
        Case(threat="A01", name="test", way="plain", attack=lambda _: Answer(status=0, code=""), code=HELD)
    with pytest.raises(AssertionError, match="an attack changes something"):
        against("A01", "test", "plain", CALL, {"path": CALL.path}, code=HELD)


WRONG_FILES = {
    "a file without an attack": ("A01-x.yaml", "{threat: A01, title: x, attacks: []}"),
    "an unknown field of a call": ("A01-x.yaml", "{threat: A01, title: x, attacks: [{name: x, code: x, hots: y}]}"),
    "an unknown key of the file": ("A01-x.yaml", "{threat: A01, title: x, twin: x, attacks: [{name: x, code: x}]}"),
    "an attack that changes nothing": ("A01-x.yaml", "{threat: A01, title: x, attacks: [{name: x, code: x}]}"),
    "a file of another threat": ("A02-x.yaml", "{threat: A01, title: x, attacks: [{name: x, code: x, host: y}]}"),
    "two attacks of one name": (
        "A01-x.yaml",
        "{threat: A01, title: x, attacks: [{name: x, code: x, host: y}, {name: x, code: x, host: z}]}",
    ),
}


@pytest.mark.parametrize(("name", "text"), WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_a_corpus_file_is_read_strictly(tmp_path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(AssertionError):
        corpus(tmp_path)
