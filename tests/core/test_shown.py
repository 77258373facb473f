"""Text made fit to show."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.shown import shown, some_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("/v1/a b", "/v1/a b", id="printable ASCII stays"),
        pytest.param("\x1b[2J", "\\x1b[2J", id="an escape sequence"),
        pytest.param("a\nb", "a\\nb", id="a line break"),
        pytest.param("\u202eexe", "\\u202eexe", id="a bidirectional override"),
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
