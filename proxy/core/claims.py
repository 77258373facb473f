"""One claim of a manifest at a time: of exactly one type, and in exactly one spelling.

Each of these returns the claim's value, or raises `Rejected(MANIFEST_MALFORMED)` as `unfit` says it; `field` names it.
"""

import re
from collections.abc import Mapping
from datetime import datetime

from proxy.core.encoding import MAX_EPOCH_S, Json, from_epoch
from proxy.core.errors import Code, Rejected

MAX_NAME_CHARS = 128


def members_of(
    value: Json, field: str, required: frozenset[str], *, optional: frozenset[str] = frozenset()
) -> Mapping[str, Json]:
    """An object with all of `required`, and besides them nothing but what is `optional`."""
    if not isinstance(value, Mapping):
        raise unfit(field, "an object", value)
    missing, unknown = required - set(value), set(value) - required - optional
    if missing or unknown:
        expected = f"an object with {', '.join(sorted(required))}" if required else "an object of known members"
        raise unfit(field, expected, f"missing {sorted(missing)}, unknown {sorted(unknown)}")
    return value


def list_of(value: Json, field: str) -> list[Json]:
    """A list, of whatever."""
    if not isinstance(value, list):
        raise unfit(field, "a list", value)
    return value


def set_of(value: Json, field: str, pattern: re.Pattern[str], expected: str) -> frozenset[str]:
    """A list of texts that match, none of them twice; `expected` says in words what `pattern` is."""
    return unique([matching(item, field, pattern, expected) for item in list_of(value, field)], field)


def unique(texts: list[str], field: str) -> frozenset[str]:
    """The texts as a set; one that stands twice is refused, for a signed set has one spelling."""
    found = frozenset(texts)
    if len(found) != len(texts):
        raise unfit(field, "without repeats", len(texts))
    return found


def matching(value: Json, field: str, pattern: re.Pattern[str], expected: str) -> str:
    """A text that matches as a whole; `expected` says in words what `pattern` is."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise unfit(field, expected, value)
    return value


def text_of(value: Json, field: str, max_chars: int, *, least: int = 1) -> str:
    """Text for people: printable, so that no control, bidi or line-breaking character hides in what is approved."""
    if not isinstance(value, str) or not least <= len(value) <= max_chars or not value.isprintable():
        raise unfit(field, f"{least} to {max_chars} printable characters", value)
    return value


def time_of(value: Json, field: str) -> datetime:
    """A NumericDate of whole seconds (RFC 7519 §2), aware."""
    if type(value) is not int or not 0 <= value <= MAX_EPOCH_S:
        raise unfit(field, "whole seconds since 1970", value)
    return from_epoch(value)


def unfit(field: str, expected: str, got: Json) -> Rejected:
    """The fault of one claim. `got` is cut short and escaped: it came from outside and goes to a log and a terminal."""
    shown = ascii(got)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return Rejected(Code.MANIFEST_MALFORMED, f"{field} must be {expected}, got {shown}", field=field)
