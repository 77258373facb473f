"""What of a checked head goes on to the origin (RFC 9110 §7.6.1), and how its fields are written there."""

import re

import http_sf

from proxy.core.errors import Code, Rejected
from proxy.core.fields import is_sole
from proxy.core.grpc import is_grpc
from proxy.core.handshake import HANDSHAKE, UPGRADE
from proxy.core.headers import HOP, OURS, TRAILERS, connection_options
from proxy.core.proof import LABEL

_PREFERENCE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
_OUR_PREFERENCES = frozenset({"wait", "respond-async"})
_EMPTIED = frozenset({b"signature", b"signature-input", b"prefer"})


def forwardable(headers: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[str, str], ...]:
    """What of a checked head goes on, in order: without hop-by-hop fields, our own, and whatever `Connection` names.

    `TE: trailers` stays with a gRPC call, whose server asks for it, unless `Connection` names it. Of a WebSocket's
    opening handshake only `Sec-WebSocket-Protocol` stays (`proxy.core.handshake`). Of `Signature` and
    `Signature-Input` only our label is taken out; others' stay, re-serialised (RFC 9651 §4.1). Of `Prefer` what was
    meant for the proxy is: `wait` and `respond-async` (RFC 7240 §4).

    Raises:
        Rejected(REQUEST_MALFORMED): `Signature` or `Signature-Input` is not a dictionary of structured fields.
    """
    connection = b",".join(value for name, value in headers if name.lower() == b"connection")
    dropped = HOP | OURS
    if any(name.lower() == UPGRADE for name, _ in headers):
        dropped |= HANDSHAKE
    elif _wants_trailers(headers):
        dropped -= {b"te"}
    dropped |= frozenset(connection_options(connection))
    kept: list[tuple[str, str]] = []
    for name, value in headers:
        key, text = name.lower(), value.decode("latin-1")
        if key in dropped:
            continue
        if key in (b"signature", b"signature-input"):
            text = "" if is_sole(text, LABEL) else _without_our_label(key, value)
        if key == b"prefer":
            text = _without_our_preferences(text)
        if text or key not in _EMPTIED:
            kept.append((name.decode("latin-1"), text))
    return tuple(kept)


def _wants_trailers(headers: tuple[tuple[bytes, bytes], ...]) -> bool:
    """Whether this is a gRPC call with `TE: trailers`, as its protocol demands."""
    coded = {value for name, value in headers if name.lower() == b"te"}
    return coded == {TRAILERS} and is_grpc(headers)


def _without_our_preferences(text: str) -> str:
    """`Prefer` without what it asks of the proxy, so that a retry that asks to wait is still the same call."""
    parts = filter(None, map(str.strip, _PREFERENCE.findall(text)))  # an empty one counts for nothing: RFC 9110 §5.6.1
    return ", ".join(part for part in parts if re.split("[=; ]", part, maxsplit=1)[0].lower() not in _OUR_PREFERENCES)


def with_length(
    headers: tuple[tuple[str, str], ...], body_bytes: int, *, declared: bool = False
) -> tuple[tuple[str, str], ...]:
    """The headers with `Content-Length` as the body's: rewritten where it stands, else added when there is a body.

    `declared`: a body was announced in another way (chunked), so that even an empty one gets its length.
    """
    line = ("Content-Length", str(body_bytes))
    if any(name.lower() == "content-length" for name, _ in headers):
        return tuple((name, line[1]) if name.lower() == "content-length" else (name, value) for name, value in headers)
    return (*headers, line) if body_bytes or declared else headers


def without_length(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The headers without `Content-Length`, for a body whose end is marked in another way."""
    return tuple((name, value) for name, value in headers if name.lower() != "content-length")


def _without_our_label(key: bytes, value: bytes) -> str:
    """The field without our member: "" when nothing is left, and as it came when ours was not in it."""
    try:
        members = http_sf.parse(value, tltype="dictionary")
        if not isinstance(members, dict) or LABEL not in members:
            return value.decode("latin-1")
        del members[LABEL]
        return http_sf.ser(members) if members else ""
    except ValueError:
        name = key.decode("latin-1")
        detail = f"{name} must be a dictionary of structured fields (RFC 9421 §4)"
        raise Rejected(Code.REQUEST_MALFORMED, detail, field=name) from None
