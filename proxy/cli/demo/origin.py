"""The demo's server: two data sets behind one API key, over TLS; every byte that reaches it is written down.

    python -m proxy.cli.demo.origin FOLDER

FOLDER has `server.pem`, `server.key` and `api.key`; it gets `origin.jsonl`, where each line is a connection that was
opened or bytes that came over one (TLS removed, as Latin-1, so that nothing is lost). Beside the ERP system there is a
door that nobody may knock at: it stands in for a cloud's metadata service. One line of JSON on standard output says
where both listen. The end of standard input ends it.
"""

import io
import itertools
import json
import socket
import ssl
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

HOST = "localhost"
ERP, FORBIDDEN = "erp", "forbidden"

_ANSWERS: dict[str, tuple[int, dict[str, object]]] = {
    "/v1/invoices/2043": (200, {"supplier": "Nordic Paper", "amount": "1,240.00"}),
    "/v1/invoices/2044": (409, {"error": "payee 88 is not in the supplier register"}),
    "/v1/payroll/88": (200, {"employee": "Lena Hoff", "salary": "74,200.00"}),
}


class Log:
    """What arrived, in the order in which it did. Written before it is answered."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="ascii")
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def opened(self, door: str) -> int:
        with self._lock:
            number = next(self._numbers)
        self._write({"door": door, "connection": number, "event": "opened"})
        return number

    def received(self, door: str, connection: int, data: bytes) -> None:
        text = data.decode("latin-1")
        self._write({"door": door, "connection": connection, "event": "received", "bytes": text})

    def _write(self, line: dict[str, object]) -> None:
        with self._lock:
            self._file.write(json.dumps({"at": datetime.now(UTC).isoformat(), **line}) + "\n")
            self._file.flush()


class _Tap(io.RawIOBase):
    """A socket's incoming bytes, each written down before anybody reads it."""

    def __init__(self, connection: socket.socket, log: Log, door: str) -> None:
        self._connection, self._log, self._door = connection, log, door
        self._number = log.opened(door)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        count = self._connection.recv_into(buffer)
        if count:
            self._log.received(self._door, self._number, bytes(memoryview(buffer)[:count]))
        return count


class Door(ThreadingHTTPServer):
    """One listening address; what comes in is logged under its name."""

    daemon_threads = True

    def __init__(self, name: str, log: Log, api_key: str, context: ssl.SSLContext | None) -> None:
        # The address the proxy will try first is the one that must answer.
        family, *_, address = socket.getaddrinfo(HOST, 0, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)[0]
        self.address_family = family
        self.name, self.log, self.api_key, self._context = name, log, api_key, context
        super().__init__((str(address[0]), 0), _Handler)

    def get_request(self) -> tuple[socket.socket, object]:
        accepted, address = super().get_request()
        if self._context is not None:  # the handshake happens in the connection's own thread, at the first read
            accepted = self._context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        return accepted, address

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that broke is of no interest to the story."""


class _Handler(BaseHTTPRequestHandler):
    server: Door
    protocol_version = "HTTP/1.1"
    timeout = 30
    rfile: IO[bytes]  # type: ignore[assignment]

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BufferedReader(_Tap(self.connection, self.server.log, self.server.name))

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {self.server.api_key}":
            self._answer(401, {"error": "no valid API key"})
        else:
            self._answer(*_ANSWERS.get(self.path, (404, {"error": "not found"})))

    def log_message(self, format: str, *args: object) -> None:
        """The log is `origin.jsonl`."""

    def _answer(self, status: int, document: dict[str, object]) -> None:
        body = json.dumps(document).encode("ascii")
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(folder: Path) -> None:
    """Serve until standard input ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    log, api_key = Log(folder / "origin.jsonl"), (folder / "api.key").read_text("ascii").strip()
    doors = {ERP: Door(ERP, log, api_key, context), FORBIDDEN: Door(FORBIDDEN, log, api_key, None)}
    for door in doors.values():
        threading.Thread(target=door.serve_forever, daemon=True).start()
    where = {
        name: {"host": str(door.server_address[0]), "port": door.server_address[1]} for name, door in doors.items()
    }
    sys.stdout.write(json.dumps(where) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
