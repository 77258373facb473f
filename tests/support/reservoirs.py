"""An origin for bodies too large to be kept: it takes them without storing them, gives them, and stops when it is told.

    with Reservoir(size=50_000_000) as origin:   # plain, or with tls=leaf
        origin.sluice.clear()                   # from now on it takes nothing but heads, and the first bytes of a body
        ...
        origin.sluice.set()
        assert origin.taken == [Taken(size=50_000_000, sha256="…")]

A POST is taken and answered 200; a GET is answered with `size` bytes, the same every time (`content`). Each connection
has a thread, and what has moved so far (`moved`) is counted while it moves.
"""

import hashlib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from io import BufferedReader
from typing import Self

from certs import Leaf

WAIT_S = 60.0
STEP = 65_536


@dataclass(frozen=True, kw_only=True)
class Taken:
    """One whole body that came."""

    size: int
    sha256: str


def content(size: int) -> Iterator[bytes]:
    """The body that is given, piece by piece."""
    whole = bytes(range(256)) * (STEP // 256)
    for at in range(0, size, STEP):
        yield whole[: min(STEP, size - at)]


def told(pieces: Iterator[bytes]) -> Taken:
    """What these pieces are together."""
    size, digest = 0, hashlib.sha256()
    for piece in pieces:
        size += len(piece)
        digest.update(piece)
    return Taken(size=size, sha256=digest.hexdigest())


class Reservoir:
    """One listening socket, HTTP/1.1, plain or TLS."""

    def __init__(self, *, size: int, tls: Leaf | None = None) -> None:
        self.taken: list[Taken] = []
        self.moved = 0  # bytes of bodies, in either direction
        self.accepted = 0
        self.sluice = threading.Event()
        self.sluice.set()
        self._size = size
        self._context = tls.server_context() if tls else None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STEP)  # else the kernel takes whole bodies
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.sluice.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(WAIT_S)

    def url(self, path: str) -> str:
        return f"{'https' if self._context else 'http'}://erp.example:{self.port}{path}"

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.accepted += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(WAIT_S)
        with suppress(OSError, ValueError), ExitStack() as opened:  # the other side may leave
            conn = opened.enter_context(self._context.wrap_socket(sock, server_side=True) if self._context else sock)
            stream = opened.enter_context(conn.makefile("rb", buffering=STEP))
            while line := stream.readline():
                fields = dict(_fields(iter(stream.readline, b"\r\n")))
                if line.startswith(b"POST"):
                    self.taken.append(told(self._counted(_body(stream, fields))))
                    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                else:
                    conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self._size)
                    for piece in content(self._size):
                        conn.sendall(piece)
                        self.moved += len(piece)

    def _counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.moved += len(piece)
            yield piece
            assert self.sluice.wait(WAIT_S)


def _fields(lines: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    for line in lines:
        name, _, value = line.partition(b":")
        yield name.lower(), value.strip()


def _body(stream: BufferedReader, fields: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """The pieces of a body, as they come."""
    if fields.get(b"transfer-encoding") != b"chunked":
        yield from _exactly(stream, int(fields.get(b"content-length", b"0")))
        return
    while size := int(stream.readline(), 16):
        yield from _exactly(stream, size)
        stream.readline()
    stream.readline()


def _exactly(stream: BufferedReader, size: int) -> Iterator[bytes]:
    while size:
        piece = stream.read1(min(size, STEP))
        if not piece:
            raise ConnectionAbortedError("the body ended early")
        size -= len(piece)
        yield piece
