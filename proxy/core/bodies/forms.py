"""Bodies of type application/x-www-form-urlencoded, where all readers read the same fields (WHATWG URL §5.1)."""

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from proxy.core.bodies.coding import BodyCaps, check_size
from proxy.core.errors import Code, Rejected
from proxy.core.folding import folded

MAX_FIELDS = 1_000
"""More are cut off by some servers, without a word (PHP)."""

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_RAW_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_LINE = re.compile(r"[\t\r\n]")
_BOM = "\ufeff"


def read_form(data: bytes, caps: BodyCaps) -> tuple[tuple[str, str], ...]:
    """The fields of a form in order, decoded: split at "&" alone, "+" is a space, empty parts dropped.

    A name may stand several times. Raw bytes need not be escaped unless they mean something to some reader: ";"
    separates fields for some, and spaces at the ends are trimmed by others.

    Raises:
        Rejected(BODY_MALFORMED): a raw ";" or control, white space at an end, a broken escape, not UTF-8, a control
            other than CR, LF and TAB in a value, more than `MAX_FIELDS`, or names as in `check_names`.
        Rejected(BODY_NOT_INSPECTED): larger than `caps.decoded_bytes`.
    """
    check_size(len(data), caps)
    if b";" in data:
        raise _bad('must not hold a raw ";", at which some servers split: write %3B')
    if _RAW_CONTROL.search(data) or data != data.strip(b" "):
        raise _bad("must not hold raw controls or line ends, or begin or end with a space: escape them")
    if _BROKEN_ESCAPE.search(data):
        raise _bad('must not hold a "%" without two hex digits after it: a plain one is written %25')
    if data.count(b"&") >= MAX_FIELDS:
        raise _bad(f"may have at most {MAX_FIELDS} fields")
    pairs = (part.partition(b"=") for part in data.split(b"&") if part)
    fields = tuple((_text(name), _text(value)) for name, _, value in pairs)
    check_names(name for name, _ in fields)
    return fields


def check_names(names: Iterable[str]) -> None:
    """Accept the names of a form's fields if no reader takes one of them for another.

    Raises:
        Rejected(BODY_MALFORMED): an empty name, white space at its ends or a line end in it, `_charset_` (which sets
            how the others are decoded, RFC 7578 §4.6), or two that differ only in case (`proxy.core.folding`).
    """
    spelt: dict[str, str] = {}
    for name in names:
        if not name or name != name.strip() or _LINE.search(name):
            raise _bad("must give each field a name, without white space around it")
        key = folded(name)
        if spelt.setdefault(key, name) != name:
            raise _bad("must not have two names that differ only in case, or in another way that some do not see")
    if "_charset_" in spelt:
        raise _bad("must be UTF-8 throughout, without a field _charset_")


def _text(raw: bytes) -> str:
    try:
        text = unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise _bad("must be well-formed UTF-8") from None
    if _CONTROL.search(text) or text.startswith(_BOM):
        raise _bad("must not hold controls other than CR, LF and TAB, or a byte-order mark")
    return text


def _bad(rule: str) -> Rejected:
    return Rejected(Code.BODY_MALFORMED, f"the form {rule}", field="body")
