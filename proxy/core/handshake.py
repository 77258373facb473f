"""The opening handshake of a WebSocket (RFC 6455 §4): what a client asks it with, and the one way we ask it.

The fields of the handshake belong to a connection, not to the call. None of them is among the headers that are judged
and stored; whoever opens the connection to the origin writes `opening_lines`. Only `Sec-WebSocket-Protocol`, which
says what is spoken inside, is the call's.
"""

from collections.abc import Collection, Mapping

from proxy.core.encoding import unb64
from proxy.core.errors import Code, Rejected
from proxy.core.model import Received

UPGRADE = b"upgrade"
HANDSHAKE = frozenset({UPGRADE, b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions"})
"""What is taken out. Without extensions no compression is negotiated, so that messages are what they seem."""

_VERSION = b"13"
_KEY_BYTES = 16


def opens_websocket(received: Received, lines: Mapping[bytes, bytes], options: Collection[bytes]) -> bool:
    """Whether a head asks to open a WebSocket; any other upgrade, or half of this one, is refused (RFC 6455 §4.2.1).

    `lines` are the head's fields by name in lower case, `options` those of `Connection`. Not checked here: that the
    request is HTTP/1.1, which the reader of the wire sees to, and `Sec-WebSocket-Protocol`, which is the server's.

    Raises:
        Rejected(REQUEST_UNSUPPORTED): another protocol or version, several, or one that `Connection` does not name.
        Rejected(REQUEST_MALFORMED): a key that is not 16 bytes, or a body.
    """
    upgrade = lines.get(UPGRADE)
    if upgrade is None:
        return False
    if upgrade.lower() != b"websocket" or UPGRADE not in options or received.method != b"GET":
        detail = "upgrade may only be websocket, in a GET whose Connection names Upgrade"
        raise Rejected(Code.REQUEST_UNSUPPORTED, detail, field="upgrade")
    if lines.get(b"sec-websocket-version") != _VERSION:
        detail = "sec-websocket-version must be 13 (RFC 6455)"
        raise Rejected(Code.REQUEST_UNSUPPORTED, detail, field="sec-websocket-version")
    field = "sec-websocket-key"
    key = unb64(lines.get(field.encode(), b"").decode("latin-1"), code=Code.REQUEST_MALFORMED, field=field)
    if len(key) != _KEY_BYTES:
        raise Rejected(Code.REQUEST_MALFORMED, f"{field} must be {_KEY_BYTES} bytes in base64", field=field)
    if b"content-length" in lines or b"transfer-encoding" in lines:
        detail = "a request that opens a WebSocket has no body: leave content-length and transfer-encoding out"
        raise Rejected(Code.REQUEST_MALFORMED, detail, field="upgrade")
    return True


def opening_lines(key: str) -> tuple[tuple[str, str], ...]:
    """The lines that open a WebSocket to an origin, after the call's own; `key` is 16 bytes in base64, always new."""
    return (
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", _VERSION.decode("ascii")),
        ("Sec-WebSocket-Key", key),
    )
