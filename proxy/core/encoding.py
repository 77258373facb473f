"""Bytes to text and back, one way only: strict base64url, strict JSON in, RFC 8785 JSON out."""

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from proxy.core.errors import Code, Rejected
from proxy.core.folding import are_apart

type Json = bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None

SHA256_B64U = re.compile(r"[A-Za-z0-9_-]{43}")
"""How an id by hash, a digest or a key's thumbprint looks."""

NONCE = re.compile(r"[A-Za-z0-9_-]{22,86}")
"""128 to 512 bits in base64url."""

MAX_EPOCH_S = 253_402_300_799
"""9999-12-31T23:59:59Z, the last second a datetime can hold."""

MAX_EXACT_INT = 2**53 - 1
"""The largest whole number that is exact wherever JSON is read (RFC 7493 §2.2)."""

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")

_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)  # also one that has no end: linear in any text
_BRACKET = re.compile(r"[\[\]{}]")
_PROTOTYPE = "__proto__"
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_NOT_ZERO = re.compile(r"-?[0.]*[1-9]")
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1
_MAX_INTEGER_CHARS = 20
_MAX_NUMBER_CHARS = 64


def b64u(data: bytes) -> str:
    """Base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def unb64u(text: str, *, code: Code, field: str) -> bytes:
    """The bytes of a canonical base64url text: no padding, no foreign characters, no stray bits in the last one.

    Raises:
        Rejected(code): anything else, so that one value has one spelling.
    """
    if _BASE64URL.fullmatch(text) and len(text) % 4 != 1:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if b64u(data) == text:
            return data
    raise Rejected(code, f"{field} must be unpadded canonical base64url", field=field)


def unb64(text: str, *, code: Code, field: str) -> bytes:
    """The bytes of a canonical, padded base64 text, as in structured-field byte sequences (RFC 9651 §3.3.5).

    Raises:
        Rejected(code): anything else.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if text and base64.b64encode(data).decode("ascii") == text:
        return data
    raise Rejected(code, f"{field} must be canonical base64", field=field)


def sha256_b64u(data: bytes) -> str:
    """Base64url SHA-256."""
    return b64u(hashlib.sha256(data).digest())


def parse_json(
    data: bytes, *, code: Code, what: str, depth: int = 64, members: int = 100_000, one_reading: bool = False
) -> Json:
    """One JSON value from UTF-8 bytes: no duplicate members, no NaN or Infinity, no byte-order mark (RFC 8259).

    At most `depth` levels, and `members` values in all: both are counted before anything is built.

    `one_reading` is for what others read as well: it must not mean two things to two of them (RFC 7493 §2). No lone
    surrogates, no member `__proto__`, no two members of an object whose names some readers take for the same
    (`proxy.core.folding`), integers that fit into 64 bits, and other numbers into a double without becoming infinite,
    or zero. Not checked even then: that a reader keeps more digits of a number than a double has, or fewer of an
    integer.

    Raises:
        Rejected(code): anything else; the message names `what` and the first fault.
    """

    def distinct(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a member appears twice in one object")
        if one_reading and not are_apart(found):
            raise ValueError("two members of one object differ only in case, or in another way that some do not see")
        if one_reading and _PROTOTYPE in found:
            raise ValueError("a member __proto__ gives an object further members where JavaScript copies it")
        return found

    try:
        text = data.decode("utf-8", "strict")
        _check_bounds(text, depth, members)
        value: Json = json.loads(
            text,
            object_pairs_hook=distinct,
            parse_constant=_no_number,
            parse_float=_double if one_reading else None,
            parse_int=_integer if one_reading else None,
        )
        if one_reading and _SURROGATE.search(text):
            _check_surrogates(value)
    except ValueError as fault:
        raise Rejected(code, f"{what} must be strict JSON in UTF-8: {fault}") from None
    return value


def _check_bounds(text: str, depth: int, members: int) -> None:
    """Refuse what is too deep or too much. Of what is no JSON, at least everything up to the fault is counted."""
    at_most = text.count("[") + text.count("{")  # strings may hold some that do not count
    if at_most <= depth and at_most + text.count(",") < members:
        return
    bare = _STRING.sub("", text)
    opened, closed = bare.count("[") + bare.count("{"), bare.count("]") + bare.count("}")
    if opened + bare.count(",") >= members:
        raise ValueError(f"it has more than {members} values")
    if opened != closed:
        raise ValueError("its brackets do not match")
    level = 0
    for bracket in _BRACKET.findall(bare):
        level += 1 if bracket in "[{" else -1
        if level > depth:
            raise ValueError(f"it nests deeper than {depth} levels")


def _no_number(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> Json:
    if len(digits) <= _MAX_INTEGER_CHARS and _MIN_INTEGER <= (value := int(digits)) <= _MAX_INTEGER:
        return value
    raise ValueError(f"an integer of {len(digits)} digits does not fit into 64 bits")


def _double(text: str) -> Json:
    value = float(text) if len(text) <= _MAX_NUMBER_CHARS else math.inf
    if math.isinf(value) or (value == 0 and _NOT_ZERO.match(text)):
        raise ValueError("a number does not fit into a double (IEEE 754)")
    return value


def _check_surrogates(value: Json) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("half a surrogate pair is no character") from None


def canonical_json(value: Json) -> bytes:
    """The RFC 8785 form of `value`, for values without fractions: integers within ±(2^53 − 1).

    Raises:
        ValueError: a float, a larger integer or a lone surrogate; nothing this product signs has them.
    """
    return _canonical(value).encode("utf-8")


def _canonical(value: Json) -> str:
    match value:
        case None | bool() | str():
            return json.dumps(value, ensure_ascii=False)
        case int():
            if abs(value) > MAX_EXACT_INT:
                raise ValueError(f"integer out of the exact range of JSON: {value}")
            return str(value)
        case float():
            raise ValueError("fractions have no place in a signed document")
        case Mapping():
            names = sorted(value, key=lambda name: name.encode("utf-16-be"))
            members = (f"{json.dumps(name, ensure_ascii=False)}:{_canonical(value[name])}" for name in names)
            return "{" + ",".join(members) + "}"
        case _:
            return "[" + ",".join(_canonical(item) for item in value) + "]"


def from_epoch(seconds: int) -> datetime:
    """An aware UTC datetime from whole seconds since 1970."""
    return datetime.fromtimestamp(seconds, tz=UTC)


def to_epoch(moment: datetime) -> int:
    """Whole seconds since 1970, rounded down."""
    return int(moment.timestamp() // 1)
