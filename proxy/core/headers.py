"""The head of a request: what may stand in it (RFC 9110 §5; RFC 9112 §6). What of it goes on: `proxy.core.forwarding`.

Other parsers on the way repair, merge or guess. Nothing is repaired here: a head that two parsers could read in two
ways is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.core.errors import Code, Rejected
from proxy.core.folding import folded_field
from proxy.core.handshake import HANDSHAKE, UPGRADE, opens_websocket
from proxy.core.model import Received


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large a request may be, in bytes; `header_count` counts lines.

    A body is kept in memory up to `inspected_bytes` and may be examined; a larger one waits on disk, up to
    `body_bytes`. What an operation leaves unexamined may be of any size.
    """

    header_bytes: int = 65_536
    header_count: int = 100
    target_bytes: int = 8_192
    inspected_bytes: int = 4_194_304
    body_bytes: int = 67_108_864
    unproven_body_bytes: int = 65_536


_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"(?:[!-~](?:[\t -~]*[!-~])?)?")
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,15}")
_LINE_BYTES = 4  # ": " and CR LF

_OVERRIDES = frozenset(
    {
        b"x-original-url",
        b"x-original-uri",
        b"x-original-host",
        b"x-original-method",
        b"x-rewrite-url",
        b"x-rewrite-uri",
        b"x-override-url",
        b"x-host-override",
        b"x-http-host-override",
        b"x-http-path-override",
        b"x-envoy-original-path",
        b"x-envoy-original-host",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
    }
)
"""Servers that honour these serve another URL or method than the one that was judged."""

_UNSUPPORTED = frozenset({b"http2-settings", b"trailer"})
_UNSUPPORTED_OPTIONS = _UNSUPPORTED | {UPGRADE}

_SINGLE = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"expect",
        b"content-type",
        b"content-encoding",
        b"content-digest",
        b"authorization",
        b"proxy-authorization",
        b"cookie",
        b"idempotency-key",
        b"prefer",
        b"agent-intent",
        b"intent-manifest",
        b"signature",
        b"signature-input",
    }
)
"""Fields of one line each: two lines are read as the first, the last or both, depending on the reader."""

HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"te",
        b"transfer-encoding",
        b"expect",
    }
)
"""What of a request ends at the next hop (RFC 9110 §7.6.1)."""

_CONNECTION_SPECIFIC = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", UPGRADE, b"http2-settings"}
)
"""What HTTP/2 has no place for (RFC 9113 §8.2.2)."""

OURS = frozenset({b"agent-intent", b"intent-manifest", b"proxy-authorization"})
"""What is said to the proxy alone; and our label of `Signature` and `Signature-Input`."""

_END_TO_END = (_SINGLE - HOP - OURS) | {b"date", b"origin", b"cache-control", b"user-agent"}
_SPECIAL = _OVERRIDES | _UNSUPPORTED | _SINGLE | HOP | HANDSHAKE
TRAILERS = b"trailers"


def check_head(received: Received, limits: Limits) -> Mapping[bytes, bytes]:
    """Refuse a head that is not exactly one unambiguous request of HTTP/1.1 or (`received.http2`) of HTTP/2; else its
    fields, by name in lower case, several lines of one joined.

    Not checked here: what the method, the target and `Host` say (`proxy.core.canonical`), the proof fields, how large a
    body is announced (`check_announced`; some may be of any size), and of HTTP/2 the pseudo-header fields themselves,
    which are no fields: one of their names among `headers` is refused.

    Raises:
        Rejected(REQUEST_TOO_LARGE): more than `limits`; `field` is "target" or "headers".
        Rejected(REQUEST_MALFORMED): bytes that no field may hold, a missing `Host`, repeated or ill-formed fields; in
            HTTP/2 also capitals in a name, fields of a connection, and `TE` other than trailers (RFC 9113 §8.2).
        Rejected(URL_AMBIGUOUS): two `Host` lines, both framings, an odd transfer coding, an override header.
        Rejected(REQUEST_UNSUPPORTED): an upgrade other than to a WebSocket, trailers, or an expectation other than
            100-continue.
    """
    _check_size(received, limits)
    lines: dict[bytes, bytes] = {}
    for name, value in received.headers:
        key = _check_line(name, value)
        if received.http2:
            _check_http2_line(name, key, value)
        if key in _SINGLE and key in lines:
            code = Code.URL_AMBIGUOUS if key == b"host" else Code.REQUEST_MALFORMED
            raise _bad(code, key, "must stand on exactly one line")
        # Repeatable fields are one list over all their lines (RFC 9110 §5.3).
        lines[key] = lines[key] + b"," + value if key in lines else value
    connect = received.form == "authority"
    if received.http2 and received.form != "origin":
        raise _bad(Code.REQUEST_UNSUPPORTED, b"target", "must be a path: HTTP/2 is spoken inside a tunnel alone")
    if not connect and not lines.get(b"host") and not received.http2:
        raise _bad(Code.REQUEST_MALFORMED, b"host", "must stand on exactly one line and name the destination")
    if lines.get(b"expect", b"100-continue").lower() != b"100-continue":
        raise _bad(Code.REQUEST_UNSUPPORTED, b"expect", "may only be 100-continue")
    _check_framing(lines, connect=connect)
    options = connection_options(lines.get(b"connection", b""))
    websocket = opens_websocket(received, lines, options)
    for option in options:
        if not (websocket and option == UPGRADE):
            _check_option(option)
    return lines


def with_one_cookie(headers: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """The fields of an HTTP/2 request with its `cookie` lines made one, where the first stood (RFC 9113 §8.2.3).

    For HTTP/2 alone, which may split that line; to be done before anything else reads the head.
    """
    crumbs = [value for name, value in headers if name == b"cookie"]
    if len(crumbs) < 2:
        return headers
    first = next(place for place, (name, _) in enumerate(headers) if name == b"cookie")
    others = tuple(line for line in headers[first:] if line[0] != b"cookie")
    return (*headers[:first], (b"cookie", b"; ".join(crumbs)), *others)


def announced_bytes(received: Received) -> int | None:
    """What `Content-Length` of a checked head says; None without it."""
    length = field_value(received, b"content-length")
    return None if length is None else int(length)


def is_small(received: Received, limits: Limits) -> bool:
    """Whether a body of no more than what is read from anybody is announced (`limits.unproven_body_bytes`)."""
    size = announced_bytes(received)
    return size is not None and size <= limits.unproven_body_bytes


def check_announced(received: Received, limits: Limits) -> None:
    """Refuse a body that is larger than may wait for a decision, before any of it is read.

    Raises:
        Rejected(REQUEST_TOO_LARGE): `Content-Length` says more than `limits.body_bytes`.
    """
    size = announced_bytes(received)
    if size is not None and size > limits.body_bytes:
        raise _bad(Code.REQUEST_TOO_LARGE, b"content-length", f"may be at most {limits.body_bytes}")


def field_value(received: Received, name: bytes) -> bytes | None:
    """The value of a field that stands on one line, or None. `name` is in lower case."""
    return next((value for key, value in received.headers if key.lower() == name), None)


def _check_size(received: Received, limits: Limits) -> None:
    if len(received.authority) + len(received.target) > limits.target_bytes:
        detail = (
            f"the request target must be at most {limits.target_bytes} bytes: shorten the URL, or send data as a body"
        )
        raise Rejected(Code.REQUEST_TOO_LARGE, detail, field="target")
    size = sum(len(name) + len(value) + _LINE_BYTES for name, value in received.headers)
    if len(received.headers) > limits.header_count or size > limits.header_bytes:
        detail = f"a head may have at most {limits.header_count} lines and {limits.header_bytes} bytes of fields"
        raise Rejected(Code.REQUEST_TOO_LARGE, detail, field="headers")


def _check_line(name: bytes, value: bytes) -> bytes:
    """The field's name in lower case."""
    if not _TOKEN.fullmatch(name):
        detail = f"a field name must be a token (RFC 9110 §5.6.2), got {name.decode('latin-1')!a:.60}"
        raise Rejected(Code.REQUEST_MALFORMED, detail, field="headers")
    key = name.lower()
    text = value.decode("latin-1")
    plain = text.isascii() and text.isprintable() and text[:1] != " " and text[-1:] != " "
    if not plain and not _VALUE.fullmatch(value):
        raise _bad(Code.REQUEST_MALFORMED, key, "may hold only visible ASCII, and spaces or tabs inside")
    if key not in _SPECIAL and _folded(key) in _SPECIAL:
        raise _bad(Code.REQUEST_MALFORMED, key, "is read by some servers as if it were written with '-': write it so")
    if key in _OVERRIDES:
        raise _bad(Code.URL_AMBIGUOUS, key, "asks the server for another URL or method: send the one you mean")
    if key in _UNSUPPORTED:
        raise _bad(Code.REQUEST_UNSUPPORTED, key, "is not accepted: one HTTP/1.1 request at a time, without trailers")
    return key


def _check_http2_line(name: bytes, key: bytes, value: bytes) -> None:
    if name != key:
        raise _bad(Code.REQUEST_MALFORMED, key, "must be in lower case (RFC 9113 §8.2.1)")
    if key in _CONNECTION_SPECIFIC:
        raise _bad(Code.REQUEST_MALFORMED, key, "has no place in HTTP/2 (RFC 9113 §8.2.2)")
    if key == b"te" and value != TRAILERS:
        raise _bad(Code.REQUEST_MALFORMED, key, "may only be trailers in HTTP/2 (RFC 9113 §8.2.2)")


def _check_framing(lines: dict[bytes, bytes], *, connect: bool) -> None:
    length, coding = lines.get(b"content-length"), lines.get(b"transfer-encoding")
    if connect and (length is not None or coding is not None):
        raise _bad(Code.REQUEST_MALFORMED, b"content-length", "has no place in a CONNECT request, which has no body")
    if length is not None and coding is not None:
        raise _bad(Code.URL_AMBIGUOUS, b"transfer-encoding", "must not stand beside Content-Length (RFC 9112 §6.1)")
    if coding is not None and coding.lower() != b"chunked":
        raise _bad(Code.URL_AMBIGUOUS, b"transfer-encoding", "may only be chunked")
    if length is not None and not _LENGTH.fullmatch(length):
        raise _bad(Code.REQUEST_MALFORMED, b"content-length", "must be one decimal number without leading zeros")


def connection_options(connection: bytes) -> list[bytes]:
    """What `Connection` names (RFC 9110 §7.6.1), in lower case; `connection` is the list over all its lines."""
    return [option.strip(b" \t").lower() for option in connection.split(b",")]


def _check_option(option: bytes) -> None:
    if option and not _TOKEN.fullmatch(option):
        raise _bad(Code.REQUEST_MALFORMED, b"connection", "must be a list of tokens")
    if option in _UNSUPPORTED_OPTIONS:
        raise _bad(Code.REQUEST_UNSUPPORTED, b"connection", "asks for an upgrade or trailers, which are not accepted")
    if _folded(option) in _END_TO_END:
        raise _bad(
            Code.REQUEST_MALFORMED, b"connection", "names a field that is meant for the server (RFC 9110 §7.6.1)"
        )


def _folded(key: bytes) -> bytes:
    return folded_field(key.decode("latin-1")).encode("latin-1")


def _bad(code: Code, key: bytes, rule: str) -> Rejected:
    name = key.decode("latin-1")
    return Rejected(code, f"{name} {rule}", field=name)
