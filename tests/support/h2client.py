"""A raw HTTP/2 client for attacks: streams opened, fed and read one by one, frames written as they are.

    with open_http2(house, "https://erp.example:8443/") as h2:
        stream = h2.call("GET", url, chain=chain)             # signed and fresh; returns the stream's id
        answer = h2.answer(stream)
        other = h2.send([(":method", "GET"), ...], end=False)  # exactly these fields
        h2.data(other, b"...")

It validates nothing that it sends, and takes every DATA frame at once unless told to `hoard`.
"""

import json
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import h2.connection
import h2.events
import h2.exceptions
import houses
import rawclient
from h2.config import H2Configuration
from hyperframe.frame import Frame

type Fields = Sequence[tuple[str | bytes, str | bytes]]

ALPN = ("h2", "http/1.1")


@dataclass(kw_only=True)
class Answer2:
    """What came on one stream so far."""

    headers: tuple[tuple[str, str], ...] = ()
    body: bytearray = field(default_factory=bytearray)
    trailers: tuple[tuple[str, str], ...] | None = None
    ended: bool = False
    reset: int | None = None
    interim: list[int] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.header(":status") or 0)

    def header(self, name: str) -> str | None:
        """The one value of a field or trailer, None when absent; several are an error."""
        values = [value for key, value in (*self.headers, *(self.trailers or ())) if key == name]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def code(self) -> str:
        """The problem's code; "" for an origin's response."""
        problem = self.header("content-type") == "application/problem+json"
        return str(json.loads(self.body)["code"]) if problem else ""

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.body)


class Http2Wire:
    """One HTTP/2 connection of a client, on whatever carries it."""

    def __init__(self, wire: rawclient.Wire, *, hoard: bool = False, settings: dict[int, int] | None = None) -> None:
        self.wire = wire
        self.answers: dict[int, Answer2] = {}
        self.goaway: h2.events.ConnectionTerminated | None = None
        self.closed = False
        self._hoard = hoard
        config = H2Configuration(
            client_side=True,
            header_encoding="latin-1",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=True,
        )
        self.h2 = h2.connection.H2Connection(config)
        if settings:
            self.h2.local_settings.update(settings)  # type: ignore[arg-type]
            self.h2.local_settings.acknowledge()
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    # --- out ----------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.wire.send(data)

    def frame(self, *frames: Frame) -> None:
        """Exactly these frames."""
        self.wire.send(b"".join(each.serialize() for each in frames))

    def send(self, fields: Fields, *, body: bytes | None = None, end: bool = True) -> int:
        """Open a stream with exactly these fields; with `body` all of it at once."""
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, list(fields), end_stream=end and body is None)
        self.answers[stream_id] = Answer2()
        self.flush()
        if body is not None:
            self.data(stream_id, body, end=end)
        return stream_id

    def data(self, stream_id: int, body: bytes, *, end: bool = False) -> None:
        """A part of a body, as fast as the windows allow."""
        at = 0
        while at < len(body):
            room = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size)
            if room <= 0:
                self.read_once()
                continue
            self.h2.send_data(stream_id, body[at : at + room])
            self.flush()
            at += room
        if end:
            self.h2.end_stream(stream_id)
            self.flush()

    def reset(self, stream_id: int, code: int = 8) -> None:
        self.h2.reset_stream(stream_id, code)
        self.flush()

    def take(self, stream_id: int, size: int) -> None:
        """Give so much of the windows back; for a client that hoards."""
        self.h2.acknowledge_received_data(size, stream_id)
        self.flush()

    # --- in -----------------------------------------------------------------------------------------------------------

    def answer(self, stream_id: int, *, timeout_s: float = 10.0) -> Answer2:
        """The whole answer of a stream, also one that ends in a reset or with the connection."""
        found = self.answers[stream_id]
        self.until(lambda: found.ended or found.reset is not None, timeout_s=timeout_s, or_closed=True)
        return found

    def until(self, condition: Callable[[], bool], *, timeout_s: float = 10.0, or_closed: bool = False) -> None:
        self.wire.extend(timeout_s)
        while not condition():
            if self.closed:
                assert or_closed, "the proxy ended the connection"
                return
            self.read_once()

    def until_closed(self, *, timeout_s: float = 10.0) -> None:
        self.until(lambda: self.closed, timeout_s=timeout_s)

    def rest(self, *, timeout_s: float = 10.0) -> list[Frame]:
        """Every frame until the connection ends; for whoever wrote frames past the library."""
        self.wire.extend(timeout_s)
        data, found = bytearray(), []
        try:
            while more := self.wire.receive():
                data += more
        except (ConnectionError, ssl.SSLError):
            pass
        while len(data) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(data[:9]))
            if len(data) < 9 + length:
                break
            frame.parse_body(memoryview(data[9 : 9 + length]))
            found.append(frame)
            del data[: 9 + length]
        return found

    def settle(self) -> None:
        """Everything sent so far has been read by the proxy: a ping came back, or the connection ended."""
        seen: list[bool] = []
        self._pong = lambda: seen.append(True)
        self.h2.ping(time.monotonic_ns().to_bytes(8, "big"))
        self.flush()
        self.until(lambda: bool(seen), or_closed=True)

    _pong: Callable[[], object] = staticmethod(lambda: None)

    def read_once(self) -> None:
        try:
            data = self.wire.receive()
        except ConnectionResetError:
            data = b""
        if not data:
            self.closed = True
            return
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError as fault:
            raise AssertionError(f"the proxy breaks the rules of HTTP/2: {fault!r}") from fault
        for event in events:
            self._note(event)
        self.flush_if_open()

    def flush_if_open(self) -> None:
        try:
            if self.goaway is None:
                self.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.closed = True

    def _note(self, event: h2.events.Event) -> None:
        found = self.answers.get(getattr(event, "stream_id", None) or 0, Answer2())
        match event:
            case h2.events.ResponseReceived():
                found.headers = _text(event.headers)
            case h2.events.InformationalResponseReceived():
                found.interim.append(int(dict(_text(event.headers))[":status"]))
            case h2.events.DataReceived():
                found.body += event.data
                if not self._hoard:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                found.trailers = _text(event.headers)
            case h2.events.StreamEnded():
                found.ended = True
            case h2.events.StreamReset():
                found.reset = int(event.error_code)
            case h2.events.ConnectionTerminated():
                self.goaway = event
            case h2.events.PingAckReceived():
                self._pong()


def open_http2(
    house: houses.House,
    url: str,
    *,
    alpn: tuple[str, ...] = ALPN,
    chain: Sequence[str] = (),
    hoard: bool = False,
    settings: dict[int, int] | None = None,
    timeout_s: float = 10.0,
) -> Http2Wire:
    """A tunnel to this URL's origin with TLS and HTTP/2 inside; with a `chain`, CONNECT is signed for all inside."""
    wire = tunnel(house, url, alpn=alpn, chain=chain, timeout_s=timeout_s)
    assert wire.tls is not None and wire.tls.alpn == "h2", f"agreed on {wire.tls and wire.tls.alpn}"
    return Http2Wire(wire, hoard=hoard, settings=settings)


def tunnel(
    house: houses.House,
    url: str,
    *,
    alpn: tuple[str, ...] = ALPN,
    chain: Sequence[str] = (),
    timeout_s: float = 10.0,
) -> rawclient.Wire:
    """A tunnel to this URL's origin with TLS inside, and whatever was agreed on."""
    wire = rawclient.connect(house.address, timeout_s=timeout_s)
    authority = url.split("/")[2]
    answer = wire.connect(authority, house.signed("CONNECT", authority, chain=chain) if chain else ())
    assert answer.status == 200, answer
    wire.start_tls(house.ca, sni=authority.rpartition(":")[0], alpn=alpn)
    return wire


def fields(
    house: houses.House,
    method: str,
    url: str,
    *,
    chain: Sequence[str],
    headers: Sequence[tuple[str, str]] = (),
    body: bytes | None = None,
    **signing: object,
) -> list[tuple[str | bytes, str | bytes]]:
    """A good signed head, ready to be spoiled."""
    lines = house.signed(method, url, chain=chain, headers=headers, body=body, **signing)  # type: ignore[arg-type]
    authority, path = url.split("/", 3)[2:]
    pseudo = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", f"/{path}")]
    return [*pseudo, *((name.lower(), value) for name, value in lines)]


def unsigned(method: str, url: str, *lines: tuple[str, str]) -> list[tuple[str | bytes, str | bytes]]:
    """A head without proof of its own."""
    authority, path = url.split("/", 3)[2:]
    return [(":method", method), (":scheme", "https"), (":authority", authority), (":path", f"/{path}"), *lines]


def _text(headers: object) -> tuple[tuple[str, str], ...]:
    assert isinstance(headers, list)
    return tuple((str(name), str(value)) for name, value in headers)
