"""Both ends of a WebSocket for tests, on wsproto, without threads: the agent's through the proxy, and the origin's.

    agent = ask(house, url, chain, ends)        # the handshake is sent
    origin = listener.accept(ends)              # the proxy has dialled; its handshake is read and answered
    agent.opened()                              # the answer has come
    agent.say("hello")
    assert origin.hear() == ("text", "hello")

What is heard is a tuple: ("text", …), ("binary", …), ("ping", …), ("pong", …), ("close", code, reason) or ("gone",).
"""

import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Self

import rawclient
from certs import Leaf
from houses import House
from wsproto import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from proxy.core.handshake import accept_of

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
OPENING = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
)
WAIT_S = 10.0

type Heard = tuple[object, ...]


class End:
    """One end of an open WebSocket: what it says is correct, unless it is said in `raw` bytes."""

    def __init__(self, kind: ConnectionType, send: Callable[[bytes], None], receive: Callable[[], bytes]) -> None:
        self._frames, self._send, self._receive = Connection(kind), send, receive
        self._heard: list[Heard] = []
        self.pieces: list[int] = []  # the sizes of the fragments that the last message came in

    def say(self, data: str | bytes, *, last: bool = True) -> None:
        message = TextMessage if isinstance(data, str) else BytesMessage
        self.raw(self._frames.send(message(data=data, message_finished=last)))

    def ping(self, payload: bytes = b"") -> None:
        self.raw(self._frames.send(Ping(payload=payload)))

    def pong(self, payload: bytes = b"") -> None:
        self.raw(self._frames.send(Pong(payload=payload)))

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.raw(self._frames.send(CloseConnection(code=code, reason=reason)))

    def raw(self, data: bytes) -> None:
        self._send(bytes(data))

    def hear(self) -> Heard:
        """The next thing said, a message only when it is whole."""
        parts: list[str | bytes] = []
        sizes = [0]
        while True:
            for event in self._frames.events():
                match event:
                    case TextMessage() | BytesMessage():
                        parts.append(event.data)
                        sizes[-1] += len(event.data)
                        if event.message_finished:
                            self.pieces = sizes
                            whole = parts[0][:0].join(parts)  # type: ignore[arg-type]
                            return ("text" if isinstance(whole, str) else "binary"), whole
                        if event.frame_finished:
                            sizes.append(0)
                    case Ping():
                        return "ping", bytes(event.payload)
                    case Pong():
                        return "pong", bytes(event.payload)
                    case CloseConnection():
                        return "close", int(event.code), event.reason or ""
            try:
                data = self._receive()
            except ConnectionError:
                data = b""
            if not data:
                return ("gone",)
            self._frames.receive_data(data)


class Agent(End):
    """The agent's end, through the proxy."""

    def __init__(self, wire: rawclient.Wire) -> None:
        super().__init__(ConnectionType.CLIENT, wire.send, wire.receive)
        self.wire = wire

    def opened(self, key: str = KEY) -> rawclient.Response:
        """Read the answer to the handshake, which must have opened the WebSocket."""
        answer = self.wire.response()
        assert answer.status == 101, answer
        assert (answer.header("upgrade"), answer.header("connection")) == ("websocket", "Upgrade")
        assert answer.header("sec-websocket-accept") == accept_of(key)
        assert answer.header("sec-websocket-extensions") is None
        return answer


def ask(
    house: House,
    url: str,
    chain: Sequence[str],
    ends: ExitStack,
    *,
    headers: Sequence[tuple[str, str]] = (),
    opening: Sequence[tuple[str, str]] = OPENING,
) -> Agent:
    """Send a signed handshake for a ws: or wss: URL; the answer is not read."""
    url = url.replace("ws", "http", 1)
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    wire = ends.enter_context(house.open(url, timeout_s=3 * WAIT_S))
    lines = [("Host", host), *opening, *house.signed("GET", url, chain=chain, headers=headers)]
    wire.send(rawclient.request_bytes("GET", url if scheme == "http" else slash + path, lines))
    return Agent(wire)


class Origin(End):
    """The origin's end. `head` is the request as it came."""

    def __init__(self, sock: socket.socket, head: bytes) -> None:
        super().__init__(ConnectionType.SERVER, sock.sendall, lambda: sock.recv(65_536))
        self.sock, self.head = sock, head

    def header(self, name: str) -> str | None:
        """The one value of a field of the request."""
        pairs = [line.decode("latin-1").partition(":") for line in self.head.split(b"\r\n")[1:-2]]
        (value,) = [value.strip() for key, _, value in pairs if key.lower() == name.lower()] or [None]
        return value


class Listener:
    """Where the proxy dials to. Nothing happens here but in `accept`."""

    def __init__(self, tls: Leaf | None = None, port: int = 0) -> None:
        self._context: ssl.SSLContext | None = None
        if tls:
            self.use(tls)
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def use(self, tls: Leaf) -> None:
        """Speak TLS from here on."""
        self._context = tls.server_context()

    def url(self, path: str) -> str:
        return f"{'wss' if self._context else 'ws'}://erp.example:{self.port}{path}"

    @property
    def nothing(self) -> bool:
        """Whether nobody has dialled that was not accepted."""
        self._listener.setblocking(False)
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return True
        return False

    def accept(self, ends: ExitStack, *, reply: bytes | None = None, headers: Sequence[str] = ()) -> Origin:
        """Take the next connection, read the handshake and open the WebSocket, or answer with exactly `reply`."""
        self._listener.settimeout(WAIT_S)
        sock, _ = self._listener.accept()
        sock.settimeout(WAIT_S)
        if self._context:
            sock = self._context.wrap_socket(sock, server_side=True)
        ends.callback(_hang_up, sock)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            part = sock.recv(65_536)
            assert part, f"it ended after {head!r}"
            head += part
        opened = Origin(sock, head)
        sock.sendall(opening_answer(opened.header("sec-websocket-key") or "", *headers) if reply is None else reply)
        return opened


def opening_answer(key: str, *headers: str) -> bytes:
    """A 101 that opens a WebSocket."""
    lines = ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept_of(key)}", *headers]
    return "\r\n".join(["HTTP/1.1 101 Switching Protocols", *lines, "", ""]).encode("latin-1")


def _hang_up(sock: socket.socket) -> None:
    with suppress(OSError, ssl.SSLError):
        sock.close()
