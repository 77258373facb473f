"""First messages of TLS, as a client makes them and as it should not."""

import ssl
import struct
from contextlib import suppress

_SERVER_NAME = 0


def client_hello(name: str | None) -> bytes:
    """A ClientHello in one record, naming this server or none."""
    context = ssl.create_default_context()
    context.check_hostname = False
    out = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    return out.read()


def with_extension(hello: bytes, kind: int, content: bytes) -> bytes:
    """The same with one extension more, at the end."""
    at, extensions = _extensions(hello)
    return _joined(hello[:at], extensions + struct.pack("!HH", kind, len(content)) + content)


def with_second_name(hello: bytes, name: str) -> bytes:
    """The same, naming a second server beside the first (RFC 6066 §3 forbids it)."""
    at, extensions = _extensions(hello)
    out, rest = b"", extensions
    while rest:
        kind, length = struct.unpack_from("!HH", rest)
        content, rest = rest[4 : 4 + length], rest[4 + length :]
        if kind == _SERVER_NAME:
            names = content[2:] + b"\0" + struct.pack("!H", len(name)) + name.encode()
            content = struct.pack("!H", len(names)) + names
        out += struct.pack("!HH", kind, len(content)) + content
    return _joined(hello[:at], out)


def _extensions(hello: bytes) -> tuple[int, bytes]:
    """Where the length of the extensions stands, and the extensions."""
    at = 5 + 4 + 2 + 32  # record, message, version, random
    at += 1 + hello[at]  # session
    at += 2 + int.from_bytes(hello[at : at + 2])  # ciphers
    at += 1 + hello[at]  # compression
    return at, hello[at + 2 :]


def _joined(before: bytes, extensions: bytes) -> bytes:
    body = before[9:] + struct.pack("!H", len(extensions)) + extensions
    message = b"\x01" + len(body).to_bytes(3) + body
    return before[:3] + struct.pack("!H", len(message)) + message
