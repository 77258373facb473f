"""Bytes to text and back, one way only: strict base64url, strict JSON in, RFC 8785 JSON out."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from proxy.core.errors import Code, Rejected

type Json = bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None

SHA256_B64U = re.compile(r"[A-Za-z0-9_-]{43}")
"""How an id by hash, a digest or a key's thumbprint looks."""

NONCE = re.compile(r"[A-Za-z0-9_-]{22,86}")
"""128 to 512 bits in base64url."""

MAX_EPOCH_S = 253_402_300_799
"""9999-12-31T23:59:59Z, the last second a datetime can hold."""

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
_MAX_SAFE_INT = 2**53 - 1


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


def parse_json(data: bytes, *, code: Code, what: str) -> Json:
    """One JSON value from UTF-8 bytes: no duplicate members, no NaN or Infinity, no byte-order mark, bounded depth.

    Raises:
        Rejected(code): anything else; the message names `what` and the first fault.
    """

    def no_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        members: dict[str, Json] = {}
        for name, member in pairs:
            if name in members:
                raise ValueError(f"member {name!r} appears twice")
            members[name] = member
        return members

    def no_constant(name: str) -> Json:
        raise ValueError(f"{name} is not JSON")

    try:
        value: Json = json.loads(
            data.decode("utf-8", "strict"), object_pairs_hook=no_duplicates, parse_constant=no_constant
        )
    except (ValueError, RecursionError) as fault:
        raise Rejected(code, f"{what} must be strict JSON in UTF-8: {fault}") from None
    return value


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
            if abs(value) > _MAX_SAFE_INT:
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
