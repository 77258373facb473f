"""What cannot be seen, moves what can, or passes for another character is written out (THREATS F03)."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.visible import visible, visible_lines, visible_pieces

ANYTHING = st.text(st.characters(codec=None, exclude_categories=()))
MIXED = st.text(st.sampled_from("aZ0_ .\\u\u0430\u03bf\u0561\u13aa\uff41\u200b\u202e\u0301é日"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("p\u0430ypal.example", "p\\u0430ypal.example", id="a Cyrillic letter among Latin ones"),
        pytest.param("g\u03bf\u03bfgle", "g\\u03bf\\u03bfgle", id="Greek letters among Latin ones"),
        pytest.param("\u0261ithub", "\\u0261ithub", id="a letter of the phonetic alphabet"),
        pytest.param("adm\u0131n", "adm\\u0131n", id="a dotless i"),
        pytest.param("\uff41dmin", "\\uff41dmin", id="a full-width letter"),
        pytest.param("\U0001d41admin", "\\U0001d41admin", id="a mathematical letter"),
        pytest.param("/a\u2044b\u2215c\u29f8d", "/a\\u2044b\\u2215c\\u29f8d", id="strokes that pass for a slash"),
        pytest.param("erp\u2024example", "erp\\u2024example", id="a dot that is none"),
        pytest.param("Z" + "\u0301" * 6 + "a", "Z" + "\u0301" * 4 + "\\u0301\\u0301a", id="marks piled up on a letter"),
        pytest.param("\u0e33" * 6, "\u0e33" * 4 + "\\u0e33\\u0e33", id="a letter that joins onto itself"),
        pytest.param("\u212aey pa\u017fs", "\\u212aey pa\\u017fs", id="signs that become letters in lower case"),
        pytest.param("\ufe64b\ufe65", "\\ufe64b\\ufe65", id="small forms"),
        pytest.param("\x1b[2Jb", "\\x1b[2Jb", id="an escape sequence"),
        pytest.param("a\u202eb", "a\\u202eb", id="a right-to-left override"),
        pytest.param("a\ufe0f", "a\\ufe0f", id="a variation selector"),
    ],
)
def test_what_passes_for_something_else_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert "".join(piece.text for piece in visible_pieces(text)) == shown
    assert all(piece.text.startswith("\\") for piece in visible_pieces(text) if piece.odd)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "Ångström – ünïcode 日本語 🚀",
        "Привет, мир",
        "Καλημέρα",
        "AWSの日本",
        "ж a",
        "שָׁלוֹם",
        "ที่นี่",
        "क्षत्रिय",
        "tiếng Việt",
        "C:\\x1b is text",
    ],
)
def test_texts_of_one_script_and_of_scripts_that_do_not_look_alike_stay(text: str) -> None:
    assert visible(text) == text
    assert not any(piece.odd for piece in visible_pieces(text))


def test_what_was_written_out_is_told_apart_from_what_was_not() -> None:
    pieces = [(piece.text, piece.odd) for piece in visible_pieces("a\u202e\u200bb")]
    assert pieces == [("a", False), ("\\u202e\\u200b", True), ("b", False)]


@given(ANYTHING | MIXED)
def test_nothing_but_printable_characters_comes_out_and_twice_is_once(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for char in shown)
    assert visible(shown) == shown


@given(ANYTHING)
def test_lines_break_at_line_feeds_alone(text: str) -> None:
    assert len(visible_lines(text)) == text.count("\n") + 1
