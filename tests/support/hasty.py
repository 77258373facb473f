"""An origin that reads no more than the head of a request: it answers at once, or never, and does not read on.

    with HastyOrigin(b"HTTP/1.1 413 Content Too Large\r\n…", then="close") as origin:
        ...
        assert origin.received.startswith(b"POST ")

`then` says what it does after its answer: "close" with everything unread, "wait" with the connection open, or "read"
all that comes. It has its own thread, and ends with the test.
"""

import socket
import ssl
import threading
from typing import Self

from certs import Leaf

WAIT_S = 10.0


class HastyOrigin:
    """One listening socket; each connection is served once."""

    def __init__(self, answer: bytes, *, then: str, tls: Leaf | None = None) -> None:
        self.received = bytearray()
        self._answer, self._then = answer, then
        self._context = tls.server_context() if tls else None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)  # else the kernel takes whole bodies
        self.port: int = self._listener.getsockname()[1]
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(WAIT_S)

    def wait_for(self, text: bytes) -> None:
        """Block until these bytes came."""
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.received, WAIT_S), bytes(self.received[-200:])

    def _run(self) -> None:
        serving = []
        while not self._stop.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                break
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            thread.start()
            serving.append(thread)
        for thread in serving:
            thread.join(WAIT_S)

    def _serve(self, sock: socket.socket) -> None:
        try:
            sock.settimeout(WAIT_S)
            with self._context.wrap_socket(sock, server_side=True) if self._context else sock as conn:
                head = b""
                while b"\r\n\r\n" not in head and (data := self._read(conn)):
                    head += data
                conn.sendall(self._answer)
                if self._then == "read":
                    while self._read(conn):
                        pass
                elif self._then == "wait":
                    self._stop.wait(WAIT_S)
        except (OSError, ssl.SSLError):
            pass  # the other side has left, too

    def _read(self, conn: socket.socket) -> bytes:
        data = conn.recv(1024)
        with self._changed:
            self.received += data
            self._changed.notify_all()
        return data
