"""Nothing that a hostile program wrote reaches a terminal raw (THREATS F03)."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.visible import ascii_json, visible, visible_lines

ANYTHING = st.text(st.characters(codec=None, exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("\x1b[2J", "\\x1b[2J", id="clear screen"),
        pytest.param("\x1b]8;;http://evil\x07x", "\\x1b]8;;http://evil\\x07x", id="an OSC hyperlink"),
        pytest.param("\x9b31m", "\\x9b31m", id="an 8-bit CSI"),
        pytest.param("a\r\nb", "a\\x0d\\x0ab", id="line breaks"),
        pytest.param("\x7f\x00\t", "\\x7f\\x00\\x09", id="DEL, NUL, tab"),
        pytest.param("/safe/\u202egnp.exe", "/safe/\\u202egnp.exe", id="right-to-left override"),
        pytest.param("\u2066x\u2069", "\\u2066x\\u2069", id="bidi isolates"),
        pytest.param("er\u200bp.example", "er\\u200bp.example", id="zero-width space"),
        pytest.param("a\ufeffb", "a\\ufeffb", id="byte-order mark"),
        pytest.param("a\u2028b", "a\\u2028b", id="line separator"),
        pytest.param("a\u00a0b", "a\\xa0b", id="no-break space"),
        pytest.param("\U000e0041", "\\U000e0041", id="a tag character"),
        pytest.param("\u3164", "\\u3164", id="a Hangul filler"),
        pytest.param("a\ufe0f", "a\\ufe0f", id="a variation selector"),
        pytest.param("\ud800", "\\ud800", id="a lone surrogate"),
        pytest.param("\U000f0000", "\\U000f0000", id="private use"),
    ],
)
def test_what_cannot_be_seen_or_moves_what_can_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize("text", ["", "GET /v1/invoices?page=2", "Ångström – ünïcode 日本語 🚀", "C:\\x1b is text"])
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@given(ANYTHING)
def test_nothing_but_printable_characters_comes_out_and_twice_is_once(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for char in shown)
    assert visible(shown) == shown


@given(ANYTHING)
def test_lines_break_at_line_feeds_alone(text: str) -> None:
    lines = visible_lines(text)
    assert len(lines) == text.count("\n") + 1
    assert all(line.isprintable() for line in lines)


@given(st.recursive(ANYTHING | st.integers() | st.booleans() | st.none(), lambda inner: st.lists(inner, max_size=3)))
def test_json_is_printable_ascii_and_means_the_same(value: object) -> None:
    text = ascii_json(value)  # type: ignore[arg-type]
    assert text.isascii() and text.replace("\n", "").isprintable()
    assert json.loads(text) == value
