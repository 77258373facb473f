"""What servers read differently in a URL that has one spelling, and who may settle it.

Three things pass the canonical form although not every server reads them alike: an encoded slash in a path (`%2F`), a
matrix parameter (`;`, raw or `%3B`), and a query value that is percent-encoded twice. Where one is permitted a rule
says so, for the very part of the path or the very parameter it stands in.

Two more need no rule, for they stand in ordinary calls: other reserved characters of a path, raw or encoded (`:` and
`%3A`; most servers read them alike, some split at the raw one alone), and a raw `+` in a query, a space to most.

What restricts takes every reading for meant: denials do, and the terms of clusters do with reserved characters.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from urllib.parse import unquote, unquote_plus

from proxy.core.errors import Code, Rejected
from proxy.core.model import Call
from proxy.core.urls import path_segments, query_parameters

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
_RESERVED = "!$&'()*+,=:@"  # what a part of a path may hold raw (RFC 3986 §3.3), but for ";"
_ENCODED = {f"%{ord(char):02X}": char for char in _RESERVED}
_ENCODED_RESERVED = re.compile("|".join(_ENCODED))
_MAY_READ_OTHERWISE = re.compile(r"[%!$&'()*+,=:@]")
_RAW_RESERVED = str.maketrans({char: escape for escape, char in _ENCODED.items()})
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


# --- for what restricts ----------------------------------------------------------------------------------------------


def raw(text: str) -> str:
    """Part of a canonical path with its reserved characters raw, as most servers read it."""
    return _ENCODED_RESERVED.sub(lambda escape: _ENCODED[escape[0]], text) if "%" in text else text


def spelt_otherwise(call: Call) -> Iterator[Call]:
    """The call with every reserved character of its path raw, and with every one encoded, where that is another."""
    if _MAY_READ_OTHERWISE.search(call.path) is None:
        return
    for path in {raw(call.path), call.path.translate(_RAW_RESERVED)} - {call.path}:
        yield replace(call, path=path, segments=path_segments(path))


def path_readings(call: Call) -> list[tuple[str, ...]]:
    """The parts of the path, reserved characters `raw`, in every way an origin may take its encoded slashes, parameters
    and closing slash.
    """
    own = tuple(map(raw, call.segments)) if "%" in call.path else call.segments
    if own[-1] and not oddities(call.path):
        return [own]
    readings = {own}
    if oddities(call.path):
        for parameter in (";", "%3B", _SEMICOLON.pattern):
            stripped = _stripped(own, parameter)
            readings |= {stripped, _split(stripped), _stripped(_split(own), parameter)}
        readings.add(_split(own))
    readings |= {parts[:-1] for parts in readings if len(parts) > 1 and not parts[-1]}
    return sorted(readings)


def query_readings(call: Call) -> tuple[tuple[str, str], ...]:
    """The parameters of the query, and once more for servers to which "+" is no space, if there is one."""
    if "+" not in call.query:
        return call.parameters
    return call.parameters + query_parameters(call.query.replace("+", "%2B"))


def value_readings(value: str) -> set[str]:
    """A query value as it is, and decoded again, in either way, for as long as that changes it."""
    readings: set[str] = set()
    latest = {value}
    for _ in range(_MAX_DECODINGS):
        readings |= latest
        latest = {decode(each) for each in latest for decode in (unquote, unquote_plus)} - readings
    return readings


def _split(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple("/".join(parts).replace(_SLASH, "/").split("/"))


def _stripped(parts: Sequence[str], parameter: str) -> tuple[str, ...]:
    return tuple(re.split(parameter, part)[0] for part in parts)
