"""The first bytes a program sends: TLS or not, and which protocols it would speak inside (RFC 8446 §4.1.2, RFC 7301).

Not checked here: anything else. What cannot be read has no protocols, and TLS itself refuses it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

_HANDSHAKE, _CLIENT_HELLO, _ALPN = 0x16, 1, 16
MAX_HELLO_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """A ClientHello, as far as it matters here."""

    protocols: tuple[str, ...]  # ALPN, in the client's order; none when it names none

    @property
    def speaks_http1(self) -> bool:
        """Who names nothing speaks HTTP/1.1."""
        return not self.protocols or "http/1.1" in self.protocols


def is_tls(data: bytes) -> bool:
    """Whether these first bytes begin a TLS handshake."""
    return data[:1] == bytes([_HANDSHAKE])


def read_hello(data: bytes) -> Hello | None:
    """The ClientHello these bytes begin with, or None while it is not whole."""
    message = b"".join(_records(data))
    if len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4]):
        return None if len(data) < MAX_HELLO_BYTES else Hello(protocols=())
    if message[0] != _CLIENT_HELLO:
        return Hello(protocols=())
    return Hello(protocols=tuple(_protocols(message[4 : 4 + int.from_bytes(message[1:4])])))


def _records(data: bytes) -> Iterator[bytes]:
    """What the whole handshake records at the beginning carry."""
    while len(data) >= 5 and data[0] == _HANDSHAKE:
        length = int.from_bytes(data[3:5])
        if len(data) < 5 + length:
            return
        yield data[5 : 5 + length]
        data = data[5 + length :]


def _protocols(body: bytes) -> Iterator[str]:
    rest = body[34:]  # version and random
    for width in (1, 2, 1):  # session id, cipher suites, compression methods
        rest = rest[width + int.from_bytes(rest[:width]) :]
    extensions = rest[2 : 2 + int.from_bytes(rest[:2])]
    while len(extensions) >= 4:
        kind, length = int.from_bytes(extensions[:2]), int.from_bytes(extensions[2:4])
        content, extensions = extensions[4 : 4 + length], extensions[4 + length :]
        if kind == _ALPN:
            names = content[2:]
            while names:
                yield names[1 : 1 + names[0]].decode("latin-1")
                names = names[1 + names[0] :]
