"""Taking JSON apart: what is said of a wrong thing, and that its value is never told."""

import pytest

from proxy.core.bodies.shapes import a_list, a_text, an_object, escaped, kind_of, only
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param(None, "null", id="null"),
        pytest.param(True, "true or false", id="a truth value is not a number"),
        pytest.param(3, "a number", id="a whole number"),
        pytest.param(0.5, "a number", id="a fraction"),
        pytest.param("secret", "a string", id="a string"),
        pytest.param("", "an empty string", id="an empty string"),
        pytest.param({"a": 1}, "an object", id="an object"),
        pytest.param([1], "a list", id="a list"),
    ],
)
def test_kinds_have_words(value: Json, words: str) -> None:
    assert kind_of(value) == words


def test_what_is_expected_is_handed_back() -> None:
    assert an_object({"a": 1}, "/x") == {"a": 1}
    assert a_list([1], "/x") == [1]
    assert a_text("a", "/x") == "a"
    only({"a": 1}, {"a", "b"}, "/x")


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        pytest.param(an_object, ["secret"], "/x: expected an object, got a list", id="a list for an object"),
        pytest.param(a_list, {"secret": 1}, "/x: expected a list, got an object", id="an object for a list"),
        pytest.param(a_list, "secret", "/x: expected a list, got a string", id="a string is no list of characters"),
        pytest.param(a_text, 5, "/x: expected a string with something in it, got a number", id="a number for a string"),
        pytest.param(a_text, "", "/x: expected a string with something in it, got an empty string", id="empty"),
    ],
)
def test_anything_else_is_refused_with_its_place(read: object, value: Json, expected: str) -> None:
    assert callable(read)
    with pytest.raises(Rejected) as caught:
        read(value, "/x")
    assert (caught.value.code, caught.value.field, caught.value.detail) == (Code.BODY_MALFORMED, "/x", expected)


def test_the_whole_body_has_words_too() -> None:
    with pytest.raises(Rejected, match=r"^the body: expected an object, got null$"):
        an_object(None, "")


def test_a_member_that_is_not_known_is_named_with_its_mend() -> None:
    with pytest.raises(Rejected) as caught:
        only({"a": 1, "b_c": 2}, {"a"}, "/x", mend="send it elsewhere")
    assert caught.value.field == "/x/b_c"
    assert caught.value.detail.endswith("; send it elsewhere")


def test_a_name_that_may_be_a_secret_is_not_told() -> None:
    with pytest.raises(Rejected) as caught:
        only({"b/c~d": 2}, set(), "/x")
    assert caught.value.field == "/x/*"
    assert "b/c" not in caught.value.detail


def test_a_long_name_is_cut() -> None:
    assert len(escaped("x" * 1000)) == 80
