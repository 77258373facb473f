"""Request and response heads on their way through the sidecar: what goes on, and what each is signed as.

Lines keep their order, their spelling and their values. What is malformed is for the proxy to refuse.
"""

import base64
import hmac
from collections.abc import Iterable

from proxy.agent.signer import OWN_FIELDS
from proxy.core.headers import connection_options

type Line = tuple[bytes, bytes]

_OURS = frozenset(name.encode() for name in OWN_FIELDS)
_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_FRAMED = frozenset({b"content-length", b"expect"})  # the body is whole here, so its length is ours to say
_ANSWERED = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"accept-signature"})


def forwarded(lines: Iterable[Line], *, body_bytes: int) -> list[Line]:
    """The lines of a request that go on, unsigned: nothing of the agent's own making that could speak for a mandate.

    `body_bytes` is announced where there is a body, or the agent said that there is none.
    """
    given = list(lines)
    names = {name.lower() for name, _ in given}
    options = frozenset(connection_options(b",".join(value for name, value in given if name.lower() == b"connection")))
    dropped = _OURS | _HOP | _FRAMED | options
    kept = [(name, value) for name, value in given if name.lower() not in dropped]
    if wants_websocket(given):
        kept += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    if body_bytes or b"content-length" in names or b"transfer-encoding" in names:
        kept.append((b"Content-Length", str(body_bytes).encode()))
    return kept


def wants_websocket(lines: Iterable[Line]) -> bool:
    """Whether this is a WebSocket's opening handshake (RFC 6455 §4.1)."""
    return any(name.lower() == b"upgrade" and value.strip().lower() == b"websocket" for name, value in lines)


def answered(lines: Iterable[Line], *, switching: bool = False) -> list[Line]:
    """The lines of a response that go back. The proxy's challenges are for us: an agent could not answer them."""
    given = list(lines)
    if switching:
        return given
    options = frozenset(connection_options(b",".join(value for name, value in given if name.lower() == b"connection")))
    dropped = _ANSWERED | (options - {b"content-length", b"transfer-encoding"})
    return [(name, value) for name, value in given if name.lower() not in dropped]


def absolute(target: bytes) -> bytes | None:
    """The target of a request in absolute form as it is sent on, with a path; None for anything but http://."""
    scheme, separator, rest = target.partition(b"://")
    if scheme.lower() != b"http" or not separator:
        return None
    end = next((at for at, byte in enumerate(rest) if byte in b"/?"), len(rest))
    authority, path = rest[:end], rest[end:]
    return scheme + separator + authority + (path if path.startswith(b"/") else b"/" + path)


def first(lines: Iterable[Line], name: bytes) -> bytes | None:
    """The first value of a field."""
    return next((value for given, value in lines if given.lower() == name), None)


def knows_secret(lines: Iterable[Line], secret: str) -> bool:
    """Whether the caller gave `secret` as the password of the proxy's URL (RFC 7617)."""
    kind, _, credentials = (first(lines, b"proxy-authorization") or b"").partition(b" ")
    try:
        _, _, password = base64.b64decode(credentials.strip(), validate=True).partition(b":")
    except ValueError:
        return False
    return kind.lower() == b"basic" and hmac.compare_digest(password, secret.encode())
