"""The one spelling of a URL's path and query, or a refusal (RFC 3986 §6.2.2).

Made one: percent-encoded unreserved characters, the case of hex digits, and the few characters that a URL must not hold
raw but that browsers and their kin send so. Nothing is decoded that would make it another URL.
"""

import re
import unicodedata
from urllib.parse import unquote, unquote_plus, unquote_to_bytes

from proxy.core.errors import Code, Rejected

# RFC 3986 pchar and "/", and in a query "?" but no ";"; and what WHATWG clients send raw.
_FOREIGN_TO_PATH = re.compile(r"[^A-Za-z0-9._~!$&'()*+,;=:@/%\[\]{}|^`-]")
_FOREIGN_TO_QUERY = re.compile(r"[^A-Za-z0-9._~!$&'()*+,=:@/?%\[\]{}|^`-]")
_ENCODED_RAW = str.maketrans({char: f"%{ord(char):02X}" for char in "[]{}|^`"})
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TWICE = re.compile(r"%25[0-9A-Fa-f]{2}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_QUERY = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # lines and tabs are ordinary text there
_NOT_IN_A_NAME = re.compile(r"%0[9AD]")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DOTS = frozenset({".", ".."})
_BREAKS = re.compile(r"[;/\\]")  # NFKC makes these of their full-width forms


def canonical_path(text: str) -> str:
    """The one spelling of a URL path. `%2F` stays as it is; every other reserved character, too, raw or encoded.

    Raises:
        Rejected(URL_AMBIGUOUS): not absolute, dot segments or empty parts in any spelling (also behind `%2F`, and once
            what follows a `;` is taken off), a backslash raw or encoded, characters that must be encoded, ill-formed or
            double encoding, controls.
    """
    if not text.startswith("/"):
        raise _ambiguous("path", 'a path must start with "/"')
    path = _normal_escapes(text, _FOREIGN_TO_PATH, "path")
    if _TWICE.search(path):
        raise _twice("path")
    if "%5C" in path:
        raise _ambiguous("path", "a path must not hold a backslash, encoded or not")
    parts = path[1:].split("/")
    if "" in parts[:-1]:
        raise _ambiguous("path", 'a path must not hold "//": write one "/"')
    for part in parts:
        pieces = part.split("%2F")
        if len(pieces) > 1 and "" in pieces:
            raise _ambiguous("path", "an encoded slash (%2F) must stand between two names")
        for piece in pieces:
            _check_piece(piece)
    return path


def _check_piece(piece: str) -> None:
    """Refuse what is nothing, or dots, to a server that takes off what follows a `;`."""
    if piece.startswith((";", "%3B")):
        raise _ambiguous("path", 'a ";" must stand behind a name: without it the part is empty to some servers')
    # NFKC and strip: some servers read U+2025, full-width dots or a trailing space as plain dots.
    names = _BREAKS.split(unicodedata.normalize("NFKC", unquote(piece)))
    if any(name.strip() in _DOTS for name in names):
        raise _ambiguous("path", 'a path must not hold "." or ".." as a part: send the path they lead to')


def path_segments(path: str) -> tuple[str, ...]:
    """The parts of a canonical path after the first "/"; "/" has one, which is empty."""
    return tuple(path[1:].split("/"))


def canonical_query(text: str) -> str:
    """The one spelling of a query, without "?". `+` and `%20` stay as they came; an encoded ";" or backslash is data.

    Raises:
        Rejected(URL_AMBIGUOUS): a raw ";" (some servers split there), characters that must be encoded, ill-formed
            escapes, double encoding in a parameter's name, controls but for encoded line ends and tabs in a value.
    """
    query = _normal_escapes(text, _FOREIGN_TO_QUERY, "query")
    if "%" in query:
        for parameter in query.split("&"):
            name = parameter.partition("=")[0]
            if _TWICE.search(name):
                raise _twice("query")
            if _NOT_IN_A_NAME.search(name):
                raise _ambiguous("query", "a parameter's name must not hold control characters, encoded or not")
    return query


def query_parameters(query: str) -> tuple[tuple[str, str], ...]:
    """The decoded parameters of a canonical query, in order: split at "&" alone, "+" is a space, empty ones dropped."""
    pairs = (part.partition("=") for part in query.split("&") if part)
    return tuple((unquote_plus(name), unquote_plus(value)) for name, _, value in pairs)


def _normal_escapes(text: str, foreign: re.Pattern[str], field: str) -> str:
    """Refuse what must not stand in a URL, encode what may stand in it raw but not for long, make escapes one."""
    if found := foreign.search(text):
        raise _ambiguous(field, _why_not(found[0]))
    text = text.translate(_ENCODED_RAW)
    if "%" not in text:
        return text
    if _BROKEN_ESCAPE.search(text):
        raise _ambiguous(field, f'a "%" in a {field} must be followed by two hex digits; a plain one is written %25')
    normal = _ESCAPE.sub(_normal_escape, text)
    try:
        decoded = unquote_to_bytes(normal).decode("utf-8")
    except UnicodeDecodeError:
        raise _ambiguous(field, f"the escapes of a {field} must be well-formed UTF-8") from None
    if (_CONTROL if field == "path" else _CONTROL_IN_QUERY).search(decoded):
        raise _ambiguous(field, f"a {field} must not hold control characters, encoded or not")
    return normal


def _normal_escape(escape: re.Match[str]) -> str:
    char = chr(int(escape[1], 16))
    return char if char in _UNRESERVED else escape[0].upper()


def _why_not(char: str) -> str:
    match char:
        case "#":
            return "a fragment (#…) is not sent to a server: leave it out"
        case ";":
            return 'a raw ";" in a query is a separator to some servers alone: write "&", or %3B where it is data'
        case "\\":
            return "a backslash must not stand in a URL"
        case _ if char.isascii() and char.isprintable() and char != " ":
            return f"{char!r} must be percent-encoded, as %{ord(char):02X}"
        case _:
            return "spaces, controls and non-ASCII characters must be percent-encoded UTF-8"


def _twice(field: str) -> Rejected:
    return _ambiguous(
        field, f"a {field} must not be percent-encoded twice, save in a query value whose rule permits it"
    )


def _ambiguous(field: str, detail: str) -> Rejected:
    return Rejected(Code.URL_AMBIGUOUS, detail, field=field)
