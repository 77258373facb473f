"""Text made fit to show."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.shown import any_of, is_plain_name, shown, some_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("/v1/a b", "/v1/a b", id="printable ASCII stays"),
        pytest.param("\x1b[2J", "\\x1b[2J", id="an escape sequence"),
        pytest.param("a\nb", "a\\nb", id="a line break"),
        pytest.param("\u202eexe", "\\u202eexe", id="a bidirectional override"),
        pytest.param("", '""', id="no text at all"),
        pytest.param("x" * 200, "x" * 117 + "...", id="too long"),
    ],
)
def test_text_is_made_fit_to_show(text: str, words: str) -> None:
    assert shown(text) == words


@given(st.text())
@settings(max_examples=100)
def test_shown_text_is_short_printable_ascii(text: str) -> None:
    words = shown(text)
    assert words.isascii()
    assert words.isprintable()
    assert len(words) <= 120


def test_only_the_first_few_are_listed() -> None:
    assert some_of([]) == ""
    assert some_of({"b", "a"}) == "a, b"
    assert some_of([str(number) for number in range(8)]) == "0, 1, 2, 3, 4 and 3 more"


def test_all_of_them_are_listed() -> None:
    assert any_of([]) == ""
    assert any_of({"b"}) == "b"
    assert any_of({"c", "a", "b\n"}) == "a, b\\n or c"
    assert any_of(["c", "a"], ordered=True) == "c or a"


@pytest.mark.parametrize("name", ["amount", "filter[page]", "x-y.z_0"])
def test_a_plain_name_is_told(name: str) -> None:
    assert is_plain_name(name)


@pytest.mark.parametrize("name", ["", "a b", "x" * 33, "é", "a/b", "a\n"])
def test_any_other_may_be_a_secret(name: str) -> None:
    assert not is_plain_name(name)
