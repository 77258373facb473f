"""Calls that stay under way: a stream, a large download, a large upload, a WebSocket, as agent and origin see them.

flow = stream(house, origin, url, chain, ends)      # the first event has come, the second waits for `goes_on`
...
assert flow.aborted(within_s=2)                     # the origin saw the end of it before it was whole
assert flow.goes_on() == WHOLE                      # or: the origin sends the rest, and the agent gets all of it
"""

import json
import secrets
import select
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Self

from houses import House
from origin_replies import Gate, Reply
from origins import Origin
from rawclient import Broken, Wire, request_bytes
from wsends import Listener, ask

FIRST, LAST = b"data: one\n\n", b"data: two\n\n"
LARGE = b"x" * 8_388_608
WAIT_S = 10.0

WHOLE, CUT = "whole", "cut"
"""How a call ended for its agent. Anything else is the code of the answer it got."""


@dataclass(frozen=True, kw_only=True)
class UnderWay:
    """One call whose bytes flow. `goes_on` may be asked once."""

    url: str
    aborted: Callable[[float], bool]
    goes_on: Callable[[], str]


class Sink:
    """A plain origin that reads the first bytes of each request and no more, until it is told to."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self._listener.settimeout(WAIT_S)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def accept(self) -> socket.socket:
        sock, _ = self._listener.accept()
        sock.settimeout(WAIT_S)
        return sock


def send(house: House, method: str, url: str, chain: Sequence[str], body: bytes, ends: ExitStack) -> Wire:
    """A signed call, sent; its answer is not read."""
    wire = ends.enter_context(house.open(url, timeout_s=3 * WAIT_S))
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    lines = house.signed(method, url, chain=chain, body=body or None)
    wire.send(request_bytes(method, url if scheme == "http" else slash + path, [("Host", host), *lines], body))
    return wire


def stream(house: House, origin: Origin, chain: Sequence[str], ends: ExitStack) -> UnderWay:
    """Server-sent events, of which the first has come."""
    return _response(house, origin, chain, ends, FIRST, LAST, type_="text/event-stream")


def download(house: House, origin: Origin, chain: Sequence[str], ends: ExitStack) -> UnderWay:
    """A large response, of which its agent has not taken much."""
    return _response(house, origin, chain, ends, LARGE, LARGE, type_="application/octet-stream")


def _response(
    house: House, origin: Origin, chain: Sequence[str], ends: ExitStack, first: bytes, last: bytes, *, type_: str
) -> UnderWay:
    gate, path = Gate(), f"/v1/invoices/{secrets.token_hex(6)}"
    url = origin.url(path, host="erp.example")
    ends.callback(gate.open)
    origin.on("GET", path, Reply(headers=(("Content-Type", type_),), stream=(first, gate, last)))
    wire = send(house, "GET", url, chain, b"", ends)
    assert wire.head()[0] == 200
    if first is FIRST:
        assert wire.chunk() == FIRST
        gate.wait_until_reached()
    (connection,) = [each for each in origin.connections if any(seen.target == path for seen in each.requests)]

    def aborted(within_s: float) -> bool:
        with suppress(AssertionError):
            origin.wait_for(lambda _: connection.gone, within_s)
        return connection.gone

    def goes_on() -> str:
        gate.open()
        due = len(last) if first is FIRST else len(first + last)
        try:
            while part := wire.chunk():
                due -= len(part)
        except (Broken, OSError):
            return CUT
        return WHOLE if due == 0 else CUT

    return UnderWay(url=url, aborted=aborted, goes_on=goes_on)


def upload(house: House, sink: Sink, chain: Sequence[str], ends: ExitStack) -> UnderWay:
    """A large request that its origin takes slowly. It has no answer yet, so that its agent can be told why it ends."""
    url = f"http://erp.example:{sink.port}/v1/invoices"
    wire = send(house, "POST", url, chain, LARGE, ends)
    sock = ends.enter_context(sink.accept())
    taken = bytearray(sock.recv(64))

    def whole() -> bool:
        head_end = taken.find(b"\r\n\r\n")
        return head_end >= 0 and len(taken) - head_end - 4 == len(LARGE)

    def take() -> None:
        while not whole() and (part := sock.recv(65_536)):
            taken.extend(part)

    def aborted(within_s: float) -> bool:
        return _has_ended(sock, within_s)

    def goes_on() -> str:
        with suppress(ConnectionError):
            take()
        if whole():
            sock.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        answer = wire.response(to="POST")
        return WHOLE if answer.status == 204 else str(json.loads(answer.body)["code"])

    return UnderWay(url=url, aborted=aborted, goes_on=goes_on)


def websocket(house: House, listener: Listener, chain: Sequence[str], ends: ExitStack) -> UnderWay:
    """An open WebSocket, on which each side has said something."""
    url = listener.url(f"/v1/live/{secrets.token_hex(6)}")
    agent = ask(house, url, chain, ends)
    origin = listener.accept(ends)
    agent.opened()
    agent.say("one")
    origin.say("two")
    assert (origin.hear(), agent.hear()) == (("text", "one"), ("text", "two"))

    def aborted(within_s: float) -> bool:
        return _has_ended(origin.sock, within_s)

    def goes_on() -> str:
        with suppress(OSError):
            origin.say("three")
        return WHOLE if agent.hear() == ("text", "three") else CUT

    return UnderWay(url=url, aborted=aborted, goes_on=goes_on)


def _has_ended(sock: socket.socket, within_s: float) -> bool:
    """Whether the peer ends the connection. Nothing is read: whoever reads lets an upload go on."""
    ended = select.poll()
    ended.register(sock, select.POLLRDHUP)
    return bool(ended.poll(within_s * 1000))
