"""Text from outside, made harmless for eyes: what cannot be seen, moves what can, or passes for another is written out.

Held calls, journals and manifests are written by programs that may be hostile. A raw escape sequence could clear a
warning, a bidirectional override could turn a path around, a zero-width space could hide in a host name, a Cyrillic
letter could make one name look like another. Every string that the command line prints, and every one that the review
desk shows, goes through `visible`. It is no escaping for HTML: the desk's templates do that besides.
"""

import re
import unicodedata
from dataclasses import dataclass

# Characters that `str.isprintable` calls printable but that show as nothing: Unicode's Default_Ignorable_Code_Point
# outside category Cf, fillers, and the blank Braille pattern.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef\U0001d159]"
)
# What shows as an ASCII character and is another: full-width and mathematical forms, and what passes for "/", ".", ":".
_POSING = re.compile(
    "[\u2024\u2044\u2215\u2236\u29f8\u29f5\u017f\u212a\u212b\ua789\ufe50-\ufe6b\uff01-\uff5e\U0001d400-\U0001d7ff]"
)
# What stands over, under or within the letter before it: no browser breaks a line there, and many pile up over others.
_JOINING = "\u0e33\u0eb3"
_MOST_JOINED = 4
"""So many marks may stand on one letter; no writing has more."""
_WORD = re.compile(r"[^\W_]+")
_LATIN = re.compile("[A-Za-z]")
_LIKE_LATIN = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU", "DESERET", "OSMANYA", "WARANG")
"""Scripts whose letters are drawn as Latin ones. In one word with Latin letters they have no innocent use."""
_PHONETIC = re.compile("[\u0131\u0237\u0250-\u02af]")
"""Latin letters that few can tell from the plain ones: dotless, turned, of the phonetic alphabet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a text as it is shown. `odd`: it stands for a character that was written out."""

    text: str
    odd: bool


def visible(text: str) -> str:
    """`text` on one line of printable characters; every other one as `\\x1b`, `\\u202e` or `\\U000e0041`.

    Covers control characters, ANSI and OSC escapes, line breaks, bidirectional and zero-width characters, tags,
    fillers, lone surrogates, unassigned code points, marks piled up on one letter, and characters that pass for others:
    full-width and mathematical forms, and letters of another script within a word of Latin ones. Other printable text
    comes back as it is, so that nothing is ever escaped twice.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(piece.text for piece in visible_pieces(text))


def visible_pieces(text: str) -> tuple[Piece, ...]:
    """`visible(text)` in parts, so that what was written out can be marked."""
    piled = _piled(text)
    hidden = [
        not char.isprintable() or place in piled or bool(_BLANK.match(char) or _POSING.match(char))
        for place, char in enumerate(text)
    ]
    # Words are those of the text as it is shown, where what was written out begins with a backslash: what is shown
    # stays as it is when it is shown again.
    shown = [_escaped(char) if odd else char for char, odd in zip(text, hidden, strict=True)]
    posing = _posing("".join(shown))
    pieces: list[Piece] = []
    place = 0
    for char, odd, written in zip(text, hidden, shown, strict=True):
        odd = odd or place in posing
        part = _escaped(char) if odd else written
        place += len(written)
        if pieces and pieces[-1].odd is odd:
            pieces[-1] = Piece(text=pieces[-1].text + part, odd=odd)
        else:
            pieces.append(Piece(text=part, odd=odd))
    return tuple(pieces)


def visible_lines(text: str) -> list[str]:
    """The lines of `text`, broken at line feeds only, each made visible."""
    return [visible(line.removesuffix("\r")) for line in text.split("\n")]


def _piled(text: str) -> frozenset[int]:
    """Where marks stand beyond those that one letter may have."""
    found, run = set(), 0
    for place, char in enumerate(text):
        run = run + 1 if char in _JOINING or unicodedata.category(char).startswith("M") else 0
        if run > _MOST_JOINED:
            found.add(place)
    return frozenset(found)


def _posing(text: str) -> frozenset[int]:
    """Where letters stand that pass for Latin ones, in words that have some."""
    words = (word for word in _WORD.finditer(text) if not word[0].isascii() and _LATIN.search(word[0]))
    return frozenset(
        word.start() + number for word in words for number, char in enumerate(word[0]) if _is_like_latin(char)
    )


def _is_like_latin(char: str) -> bool:
    return bool(_PHONETIC.match(char)) or unicodedata.name(char, "").startswith(_LIKE_LATIN)


def _escaped(char: str) -> str:
    number = ord(char)
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
