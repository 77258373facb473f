"""A byte-exact HTTP/1.1 client for attacks: it sends what it is given and reads strictly, with a deadline on all of it.

    with connect(proxy) as wire:                                    # TCP to the proxy
        wire.send(b"GET http://erp.example/ HTTP/1.1\r\nHost: erp.example\r\n\r\n")
        answer = wire.response()

    with connect(proxy) as wire:                                    # CONNECT, then TLS with any SNI, or none
        assert wire.connect("erp.example:443", headers=signed).status == 200
        wire.start_tls(proxy_ca_pem, sni="erp.example")
        answer = wire.get("/v1/invoices/7", host="erp.example")

`connect(proxy, tls=ca_pem)` speaks TLS to the proxy itself; a second `start_tls` then runs inside the first.
"""

import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

TIMEOUT_S = 10.0

type Address = tuple[str, int] | str  # host and port, or the path of a unix socket
type Headers = tuple[tuple[str, str], ...]


class Broken(Exception):
    """What came was not HTTP/1.1 as RFC 9112 writes it, or it ended too early."""


class Closed(Broken):
    """The peer closed the connection before anything of an answer came."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """One response, with its bytes exactly as they came."""

    status: int
    reason: str
    headers: Headers
    body: bytes
    raw: bytes
    interim: tuple[int, ...] = ()

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a field, in order."""
        return tuple(value for key, value in self.headers if key.lower() == name.lower())

    def header(self, name: str) -> str | None:
        """The one value of a field, None when absent; several are an error."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


class _Layer(Protocol):
    def send(self, data: bytes) -> None: ...

    def receive(self) -> bytes: ...


class _Tcp:
    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self.sock, self.deadline = sock, deadline

    def send(self, data: bytes) -> None:
        self._arm()
        self.sock.sendall(data)

    def receive(self) -> bytes:
        self._arm()
        return self.sock.recv(65536)

    def _arm(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline of this connection passed")
        self.sock.settimeout(left)


class _Tls:
    """TLS over any layer, so that it can run inside a tunnel that is itself inside TLS."""

    def __init__(self, below: _Layer, context: ssl.SSLContext, sni: str | None) -> None:
        self._below, self._in, self._out = below, ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=sni)
        self._step(self._tls.do_handshake)

    @property
    def certificate(self) -> bytes:
        """The peer's certificate, DER."""
        return self._tls.getpeercert(binary_form=True) or b""

    @property
    def alpn(self) -> str | None:
        return self._tls.selected_alpn_protocol()

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def receive(self) -> bytes:
        try:
            return self._step(lambda: self._tls.read(65536))
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    def _flush(self) -> None:
        if data := self._out.read():
            self._below.send(data)

    def _step[T](self, operation: Callable[[], T]) -> T:
        while True:
            try:
                done = operation()
                self._flush()
                return done
            except ssl.SSLWantReadError:
                self._flush()
                if data := self._below.receive():
                    self._in.write(data)
                else:
                    self._in.write_eof()
            except ssl.SSLError:
                self._flush()  # the alert
                raise


class Wire:
    """One connection to the proxy, and what has been layered on it."""

    def __init__(self, sock: socket.socket, timeout_s: float) -> None:
        self._tcp = _Tcp(sock, time.monotonic() + timeout_s)
        self.tls: _Tls | None = None  # the innermost TLS
        self._layer: _Layer = self._tcp
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def sock(self) -> socket.socket:
        return self._tcp.sock

    def close(self) -> None:
        self._tcp.sock.close()

    def half_close(self) -> None:
        """Send FIN and go on reading."""
        self._tcp.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST."""
        self._tcp.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.close()

    def extend(self, timeout_s: float = TIMEOUT_S) -> None:
        """Start the deadline anew."""
        self._tcp.deadline = time.monotonic() + timeout_s

    @property
    def local(self) -> tuple[str, int]:
        """Our own end of the connection, as the proxy sees it."""
        host, port = self._tcp.sock.getsockname()[:2]
        return host, port

    # --- out ----------------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Exactly these bytes."""
        self._layer.send(data)

    def request(self, method: str, target: str, headers: Headers = (), body: bytes = b"") -> Response:
        """A request written from parts, as they are (no field is added), and its response."""
        self.send(request_bytes(method, target, headers, body))
        return self.response(to=method)

    def get(self, target: str, *, host: str, headers: Headers = ()) -> Response:
        return self.request("GET", target, (("Host", host), *headers))

    def connect(self, authority: str, headers: Headers = ()) -> Response:
        """CONNECT; on a 2xx the connection is the tunnel."""
        return self.request("CONNECT", authority, (("Host", authority), *headers))

    def start_tls(
        self,
        trust: bytes | Path | None,
        *,
        sni: str | None,
        alpn: tuple[str, ...] = (),
        check_name: bool = True,
        shows: tuple[Path, Path] | None = None,
    ) -> None:
        """TLS from here on, trusting only `trust` (None: anything). `sni` None sends none, and checks no name."""
        assert not self._buffer, f"bytes before the handshake: {bytes(self._buffer)!r}"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = trust is not None and sni is not None and check_name
        context.verify_mode = ssl.CERT_NONE if trust is None else ssl.CERT_REQUIRED
        if trust is not None:
            pem = trust.read_bytes() if isinstance(trust, Path) else trust
            context.load_verify_locations(cadata=pem.decode("ascii"))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if shows is not None:
            context.load_cert_chain(*shows)
        self._layer = self.tls = _Tls(self._layer, context, sni)

    # --- in -----------------------------------------------------------------------------------------------------------

    def response(self, *, to: str = "GET") -> Response:
        """The next complete response, read strictly.

        Raises:
            Closed: the connection ended and nothing had come.
            Broken: what came is not a whole, well-formed response.
            TimeoutError: it did not come in time.
        """
        interim: list[int] = []
        raw = b""
        while True:
            status, reason, headers, head = self.head()
            raw += head
            if status >= 200 or status == 101:
                break
            interim.append(status)
        body, coded = self._body(to, status, headers)
        return Response(
            status=status, reason=reason, headers=headers, body=body, raw=raw + coded, interim=tuple(interim)
        )

    def head(self) -> tuple[int, str, Headers, bytes]:
        """The next response head alone: status, reason, headers, its bytes. For reading a stream part by part."""
        head = self._until(b"\r\n\r\n", first=True)
        lines = head[:-4].split(b"\r\n")
        first = _STATUS_LINE.fullmatch(lines[0])
        if first is None:
            raise Broken(f"not a status line: {lines[0][:80]!r}")
        headers: list[tuple[str, str]] = []
        for line in lines[1:]:
            fields = _FIELD_LINE.fullmatch(line)
            if fields is None:
                raise Broken(f"not a field line: {line[:80]!r}")
            headers.append((fields[1].decode("ascii"), fields[2].strip(b" \t").decode("latin-1")))
        return int(first[1]), first[2].decode("latin-1"), tuple(headers), head

    def chunk(self) -> bytes:
        """The next chunk of a chunked body, b"" for the last one."""
        return self._chunk()[0]

    def ended(self) -> bool:
        """Whether the peer ends the connection here; a byte instead is an answer nobody asked for, hence False."""
        if self._buffer:
            return False
        try:
            return not self._more()
        except ConnectionResetError:
            return True

    def receive(self) -> bytes:
        """Whatever comes next, b"" at the end; for a client that reads by itself what is not HTTP/1.1."""
        return self._take(len(self._buffer)) or self._layer.receive()

    def rest(self) -> bytes:
        """Everything until the peer closes."""
        try:
            while self._more():
                pass
        except ConnectionResetError:
            pass
        return self._take(len(self._buffer))

    def _body(self, method: str, status: int, headers: Headers) -> tuple[bytes, bytes]:
        codings = [value.lower() for name, value in headers if name.lower() == "transfer-encoding"]
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        if len(codings) + len(lengths) > 1:
            raise Broken(f"more than one framing: Transfer-Encoding {codings}, Content-Length {lengths}")
        if method == "HEAD" or status in (101, 204, 304) or (method == "CONNECT" and 200 <= status < 300):
            return b"", b""
        if lengths:
            if not re.fullmatch(r"[0-9]+", lengths[0]):
                raise Broken(f"not a length: {lengths[0]!r}")
            body = self._exactly(int(lengths[0]))
            return body, body
        if codings == ["chunked"]:
            body, coded = b"", b""
            while True:
                data, raw = self._chunk()
                body, coded = body + data, coded + raw
                if not data:
                    return body, coded
        if codings:
            raise Broken(f"not a coding this client reads: {codings}")
        body = self.rest()
        return body, body

    def _chunk(self) -> tuple[bytes, bytes]:
        line = self._until(b"\r\n")
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}\r\n", line):
            raise Broken(f"not a chunk size: {line[:40]!r}")
        data = self._exactly(int(line, 16))
        if self._exactly(2) != b"\r\n":
            raise Broken("a chunk must end in CRLF, and the last one without trailers")
        return data, line + data + b"\r\n"

    def _until(self, mark: bytes, *, first: bool = False) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            if not self._more():
                raise (Closed if first and not self._buffer else Broken)(f"ended after {bytes(self._buffer[:200])!r}")
        return self._take(end + len(mark))

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if not self._more():
                raise Broken(f"ended after {len(self._buffer)} of {size} bytes")
        return self._take(size)

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _more(self) -> bool:
        data = self._layer.receive()
        self._buffer += data
        return bool(data)


_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2}) ([\t \x21-\x7e\x80-\xff]*)")
_FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t \x21-\x7e\x80-\xff]*)")


def connect(
    proxy: Address,
    *,
    tls: bytes | Path | None = None,
    sni: str | None = None,
    timeout_s: float = TIMEOUT_S,
    shows: tuple[Path, Path] | None = None,
    source: str = "",
) -> Wire:
    """A connection to the proxy; with `tls`, TLS to the proxy itself, trusting only that CA; `shows` is a client's
    certificate and key to show there, `source` the address to come from."""
    if isinstance(proxy, str):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout_s)
        sock.connect(proxy)
    else:
        sock = socket.create_connection(proxy, timeout=timeout_s, source_address=(source, 0) if source else None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wire = Wire(sock, timeout_s)
    if tls is not None:
        wire.start_tls(tls, sni=sni, shows=shows)
    return wire


def request_bytes(method: str, target: str, headers: Headers = (), body: bytes = b"") -> bytes:
    """A request head and body from parts exactly as given: nothing is added, nothing is checked."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
