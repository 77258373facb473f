"""The opening handshake of a WebSocket (RFC 6455 §4): what a client asks with, the one way we ask, and the answer.

The fields of the handshake belong to a connection, not to the call. None of them is among the headers that are judged
and stored; whoever opens the connection to the origin writes `opening_lines`. Only `Sec-WebSocket-Protocol`, which
says what is spoken inside, is the call's.
"""

import base64
import hashlib
from collections.abc import Collection, Mapping

from proxy.core.encoding import unb64
from proxy.core.errors import Code, Rejected
from proxy.core.model import Received

UPGRADE = b"upgrade"
HANDSHAKE = frozenset({UPGRADE, b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions"})
"""What is taken out. Without extensions no compression is negotiated, so that messages are what they seem."""

ANSWER = frozenset({"sec-websocket-accept", "sec-websocket-extensions", "sec-websocket-protocol"})
"""What a server answers the handshake with, beside `Connection` and `Upgrade`; of one connection as well."""

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION = b"13"
KEY_BYTES = 16
"""Of `Sec-WebSocket-Key` (RFC 6455 §4.1)."""


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
    if len(key) != KEY_BYTES:
        raise Rejected(Code.REQUEST_MALFORMED, f"{field} must be {KEY_BYTES} bytes in base64", field=field)
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


def accept_of(key: str) -> str:
    """What a server that opens the WebSocket answers a key with (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1((key + _GUID).encode("ascii"), usedforsecurity=False).digest()).decode("ascii")


def offered_protocols(headers: Collection[tuple[str, str]]) -> frozenset[str]:
    """What a request says it could speak inside the WebSocket."""
    lists = (value for name, value in headers if name.lower() == "sec-websocket-protocol")
    return frozenset(item.strip() for item in ",".join(lists).split(",")) - {""}


def check_opened(headers: Collection[tuple[str, str]], *, key: str, offered: frozenset[str]) -> str | None:
    """Check a server's 101 to a handshake with `key`, and return the subprotocol it chose (RFC 6455 §4.1).

    Raises:
        Rejected(UPSTREAM_BROKEN): it does not switch to a WebSocket, does not answer this key, chose a subprotocol that
            was not `offered`, or an extension, of which none ever is.
    """
    lines: dict[str, list[str]] = {}
    for name, value in headers:
        lines.setdefault(name.lower(), []).append(value.strip(" \t"))
    options = {option.strip(" \t").lower() for option in ",".join(lines.get("connection", [])).split(",")}
    if [value.lower() for value in lines.get("upgrade", [])] != ["websocket"] or "upgrade" not in options:
        raise _broken("upgrade", "must be websocket, and named by Connection")
    if lines.get("sec-websocket-accept") != [accept_of(key)]:
        raise _broken("sec-websocket-accept", "must stand once and answer the key of this handshake")
    if "sec-websocket-extensions" in lines:
        raise _broken("sec-websocket-extensions", "must be absent: no extension was offered")
    chosen = lines.get("sec-websocket-protocol", [])
    if len(chosen) > 1 or not offered.issuperset(chosen):
        raise _broken("sec-websocket-protocol", "must be one of those that were offered")
    return chosen[0] if chosen else None


def answer_lines(key: str, protocol: str | None) -> tuple[tuple[str, str], ...]:
    """The lines that tell a client, whose key this is, that its WebSocket is open."""
    chosen = () if protocol is None else (("Sec-WebSocket-Protocol", protocol),)
    return (
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Accept", accept_of(key)),
        *chosen,
    )


def _broken(field: str, rule: str) -> Rejected:
    return Rejected(Code.UPSTREAM_BROKEN, f"it does not open the WebSocket: {field} {rule}", field=field)
