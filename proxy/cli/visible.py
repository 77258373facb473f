"""Text from outside, made harmless for a terminal: what cannot be seen, or moves what can, is written out.

Held calls, journals and manifests are written by programs that may be hostile. A raw escape sequence could clear a
warning, a bidirectional override could turn a path around, a zero-width space could hide in a host name. Every string
that the command line prints goes through `visible`.
"""

import json
import re

from proxy.core.encoding import Json

# Characters that `str.isprintable` calls printable but that show as nothing: Unicode's Default_Ignorable_Code_Point
# outside category Cf, fillers, and the blank Braille pattern.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef\U0001d159]"
)


def visible(text: str) -> str:
    """`text` on one line of printable characters; every other one as `\\x1b`, `\\u202e` or `\\U000e0041`.

    Covers control characters, ANSI and OSC escapes, line breaks, bidirectional and zero-width characters, tags,
    fillers, lone surrogates and unassigned code points. Printable text comes back as it is, so that nothing is ever
    escaped twice.
    """
    if text.isprintable() and _BLANK.search(text) is None:
        return text
    return "".join(char if char.isprintable() and not _BLANK.match(char) else _escaped(char) for char in text)


def visible_lines(text: str) -> list[str]:
    """The lines of `text`, broken at line feeds only, each made visible."""
    return [visible(line.removesuffix("\r")) for line in text.split("\n")]


def ascii_json(value: Json, *, indent: int | None = 2) -> str:
    """`value` as JSON in printable ASCII: every other character is an escape."""
    return json.dumps(value, ensure_ascii=True, indent=indent, allow_nan=False).replace("\x7f", "\\u007f")


def _escaped(char: str) -> str:
    number = ord(char)
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
