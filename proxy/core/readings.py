"""What servers read differently in a URL that has one spelling, and who may settle it.

Three things pass the canonical form although not every server reads them alike: an encoded slash in a path (`%2F`), a
matrix parameter (`;`, raw or `%3B`), and a query value that is percent-encoded twice. Where one is permitted a rule
says so, for the very part of the path or the very parameter it stands in. Denials take every reading for meant.
"""

import re
from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from proxy.core.errors import Code, Rejected
from proxy.core.model import Call

ENCODED = "encoded"
MATRIX = "matrix"
"""What a parameter of a path template may take besides plain text, by the words that say so."""

_SLASH = "%2F"
_SEMICOLON = re.compile(r";|%3B")
_ODDITIES = {
    (False, False): frozenset[str](),
    (True, False): frozenset({ENCODED}),
    (False, True): frozenset({MATRIX}),
    (True, True): frozenset({ENCODED, MATRIX}),
}
EVERY_ODDITY = _ODDITIES[True, True]
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_MAX_DECODINGS = 8


def oddities(part: str) -> frozenset[str]:
    """What a part of a canonical path holds that only some parameters take."""
    return _ODDITIES[_SLASH in part, ";" in part or "%3B" in part]


def encoded_twice(value: str) -> bool:
    """Whether a query value, decoded, could be decoded again."""
    return _ESCAPE.search(value) is not None


def doubt(call: Call) -> Rejected | None:
    """Why the call has no one reading unless a rule that covers it gives it one; None: it has.

    An encoded slash is no doubt: a call with one that no rule covers is only outside the mandate.
    """
    if any(MATRIX in oddities(part) for part in call.segments):
        detail = (
            'a ";" in a path, raw or encoded, is a parameter to some servers and a letter to others: '
            "it passes only where a rule has {name:matrix}"
        )
        return Rejected(Code.URL_AMBIGUOUS, detail, field="path")
    if any(encoded_twice(value) for _, value in call.parameters):
        detail = "a query value must not be percent-encoded twice, save in a parameter whose rule says encoded"
        return Rejected(Code.URL_AMBIGUOUS, detail, field="query")
    return None


# --- for denials -----------------------------------------------------------------------------------------------------


def path_readings(call: Call) -> list[tuple[str, ...]]:
    """The parts of the path in every way an origin may take its encoded slashes, parameters and its closing slash."""
    readings = {call.segments}
    if oddities(call.path):
        for parameter in (";", "%3B", _SEMICOLON.pattern):
            stripped = _stripped(call.segments, parameter)
            readings |= {stripped, _split(stripped), _stripped(_split(call.segments), parameter)}
        readings.add(_split(call.segments))
    readings |= {parts[:-1] for parts in readings if len(parts) > 1 and not parts[-1]}
    return sorted(readings)


def value_readings(value: str) -> Iterator[str]:
    """A query value as it is, and decoded again for as long as that changes it."""
    for _ in range(_MAX_DECODINGS):
        yield value
        if (again := unquote(value)) == value:
            return
        value = again


def _split(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple("/".join(parts).replace(_SLASH, "/").split("/"))


def _stripped(parts: Sequence[str], parameter: str) -> tuple[str, ...]:
    return tuple(re.split(parameter, part)[0] for part in parts)
