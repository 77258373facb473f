"""Request heads as they come off the wire, for tests of the pure core: one plain good head, changed in one place."""

from proxy.core.handshake import opening_lines
from proxy.core.model import Call, Leg, Received, Unread

OUTSIDE = Leg(id="leg-1", source="127.0.0.1", tls=False, local=True)
INSIDE = Leg(
    id="leg-1",
    source="127.0.0.1",
    tls=False,
    local=True,
    tunnel=("erp.example", 443),
    inner_tls=True,
    sni="erp.example",
)
INSIDE_PLAIN = Leg(id="leg-1", source="127.0.0.1", tls=False, local=True, tunnel=("erp.example", 80))

ANY_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3

type Lines = tuple[tuple[bytes, bytes], ...]


def lines(*texts: str) -> Lines:
    """Header lines from "Name: value"; a value may be anything after the first ": "."""
    parts = (text.partition(": ") for text in texts)
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, _, value in parts)


def absolute(
    url: str = "http://erp.example/v1/invoices",
    *more: str,
    host: str | None = None,
    method: str = "GET",
    body: bytes | None = None,
) -> Received:
    """A request in absolute form; `Host` is the URL's authority unless given, and "" leaves it out."""
    scheme, _, rest = url.partition("://")
    authority, slash, target = rest.partition("/")
    named = authority if host is None else host
    return Received(
        method=method.encode("latin-1"),
        scheme=scheme,
        form="absolute",
        authority=authority.encode("latin-1"),
        target=(slash + target).encode("latin-1"),
        headers=lines(*([f"Host: {named}"] if named else []), *more),
        body=body,
    )


def origin(
    target: str = "/v1/invoices", *more: str, host: str = "erp.example", scheme: str = "https", authority: str = ""
) -> Received:
    """A request in origin form, as it stands inside a tunnel."""
    return Received(
        method=b"GET",
        scheme=scheme,
        form="origin",
        authority=authority.encode("latin-1"),
        target=target.encode("latin-1"),
        headers=lines(f"Host: {host}", *more),
    )


def http2(
    target: str = "/v1/invoices",
    *more: str,
    authority: str = "erp.example",
    scheme: str = "https",
    method: str = "GET",
    body: bytes | None = None,
) -> Received:
    """A request of HTTP/2 as it stands inside a tunnel: names in lower case, `:authority` and no Host."""
    return Received(
        method=method.encode("latin-1"),
        scheme=scheme,
        form="origin",
        authority=authority.encode("latin-1"),
        target=target.encode("latin-1"),
        headers=lines(*more),
        body=body,
        http2=True,
    )


OPENING = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
"""What a request must have to open a WebSocket (RFC 6455 §4.1)."""


def connect(authority: str = "erp.example:443", *more: str, host: str | None = None) -> Received:
    """A CONNECT; `Host` is its target unless given, and "" leaves it out."""
    named = authority if host is None else host
    return Received(
        method=b"CONNECT",
        scheme="",
        form="authority",
        authority=authority.encode("latin-1"),
        target=b"",
        headers=lines(*([f"Host: {named}"] if named else []), *more),
    )


def as_received(call: Call) -> Received:
    """A call as it would come off the wire, in absolute form; `canonicalise` makes the same call of a whole one."""
    headers = (*call.headers, *opening_lines(ANY_KEY)) if call.websocket else call.headers
    return Received(
        method=call.method.encode("ascii"),
        scheme=call.scheme,
        form="absolute",
        authority=call.authority.encode("ascii"),
        target=call.target.encode("ascii"),
        headers=tuple((name.encode("ascii"), value.encode("ascii")) for name, value in headers),
        body=None if isinstance(call.body, Unread) else call.body,
    )
