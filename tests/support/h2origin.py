"""A real HTTP/2 origin over TLS that logs every connection, every stream's fields and every byte of its body.

    with Http2Origin(tls=authority.server("erp.example")) as origin:
        origin.on("/v1/invoices/*", Reply2(body=[b"one"], trailers=((b"grpc-status", b"0"),)))
        ...
        assert origin.streams[0].header("host") is None

Like `origins.Origin` it runs in its own thread and pauses only at `Gate`s that the test opens. It validates nothing it
receives: what it logs is what was in the frames.
"""

import asyncio
import fnmatch
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import h2.connection
import h2.events
from certs import Leaf
from h2.config import H2Configuration
from h2.exceptions import ProtocolError, StreamClosedError
from origin_replies import WAIT_S, Gate

type Fields2 = tuple[tuple[bytes, bytes], ...]
type Part2 = bytes | Gate


@dataclass(kw_only=True)
class Stream2:
    """One request as received, still growing until it has `ended`."""

    connection: int
    id: int
    fields: Fields2
    body: bytearray = field(default_factory=bytearray)
    trailers: Fields2 | None = None
    ended: bool = False
    reset: int | None = None

    def header(self, name: str) -> bytes | None:
        values = [value for key, value in self.fields if key == name.encode()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def path(self) -> str:
        return (self.header(":path") or b"").decode("latin-1")


@dataclass(frozen=True, kw_only=True)
class Reply2:
    """What to answer: fields beside the status, parts of a body, trailers; or a reset, or bytes no library writes."""

    status: int = 200
    headers: Fields2 = ()
    body: Sequence[Part2] = (b"",)
    trailers: Fields2 | None = None
    head_only: bool = False  # END_STREAM on the head, as in gRPC's Trailers-Only
    interim: int = 0
    before: Gate | None = None
    at_head: bool = False  # begin when the head is there, not the whole request
    echo: bool = False  # send back each part of the request's body as it comes
    reset: int | None = None  # after what was written so far
    goaway: int | None = None  # before the answer, with this error code
    raw: Callable[[Stream2], bytes] | None = None  # exactly these frames instead
    then: str = ""  # or "close": end the connection


type Route2 = Reply2 | Callable[[Stream2], Reply2]


class Http2Origin:
    """The origin. `settings` are announced at once."""

    def __init__(self, *, tls: Leaf, settings: dict[int, int] | None = None, alpn: tuple[str, ...] = ("h2",)) -> None:
        self.streams: list[Stream2] = []
        self.accepted = 0
        self.raw = bytearray()
        self.alpn: list[str | None] = []
        self.settings = settings or {}
        self.hoards = False  # takes what comes, and gives nothing of its windows back
        self._routes: list[tuple[str, Route2]] = []
        self._context = tls.server_context(alpn=alpn)
        self._loop, self._stop = asyncio.new_event_loop(), asyncio.Event()
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self._wires: list[_Wire2] = []
        self._thread = threading.Thread(target=self._run, name="h2 origin", daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the origin did not stop"

    def url(self, path: str = "/", *, host: str = "erp.example") -> str:
        return f"https://{host}:{self.port}{path}"

    def on(self, path: str, reply: Route2) -> None:
        """Answer a path pattern; the newest route wins."""
        self._routes.insert(0, (path, reply))

    def mark(self) -> tuple[int, int, int]:
        return self.accepted, len(self.streams), len(self.raw)

    def since(self, mark: tuple[int, int, int]) -> tuple[int, list[Stream2], bytes]:
        """New connections, streams and bytes."""
        return self.accepted - mark[0], self.streams[mark[1] :], bytes(self.raw[mark[2] :])

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout_s), f"not seen: {self.streams}"

    def give_back(self) -> None:
        """Take what comes again, and open the windows for what was hoarded."""
        self.hoards = False
        for wire in list(self._wires):
            self._loop.call_soon_threadsafe(wire.give_back)

    @property
    def open_connections(self) -> int:
        return sum(not wire.gone for wire in list(self._wires))

    # --- its own thread -----------------------------------------------------------------------------------------------

    def reply_to(self, stream: Stream2) -> Reply2:
        for pattern, route in list(self._routes):
            if fnmatch.fnmatchcase(stream.path.partition("?")[0], pattern):
                return route if isinstance(route, Reply2) else route(stream)
        return Reply2(headers=((b"content-type", b"text/plain"),), body=[b"served over h2"])

    def note(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        server = await self._loop.create_server(lambda: _Wire2(self), "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for wire in self._wires:
            wire.end()

    def opened(self, wire: "_Wire2") -> int:
        self._wires.append(wire)
        self.accepted += 1
        return len(self._wires) - 1


class _Wire2(asyncio.Protocol):
    """One connection."""

    def __init__(self, origin: Http2Origin) -> None:
        self.gone = False
        self._origin = origin
        self._h2 = h2.connection.H2Connection(
            H2Configuration(
                client_side=False,
                header_encoding=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._streams: dict[int, Stream2] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._hoarded: list[tuple[int, int]] = []
        self._room = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._id = self._origin.opened(self)
        self._origin.alpn.append(transport.get_extra_info("ssl_object").selected_alpn_protocol())
        if self._origin.settings:
            self._h2.local_settings.update(self._origin.settings)  # type: ignore[arg-type]
            self._h2.local_settings.acknowledge()
        self._h2.initiate_connection()
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._room.set()
        self._writable.set()
        self._origin.note()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def end(self) -> None:
        self._transport.close()
        for task in self._answering:
            task.cancel()

    def flush(self) -> None:
        if data := self._h2.data_to_send():
            self._transport.write(data)

    def give_back(self) -> None:
        for stream_id, size in self._hoarded:
            self._h2.acknowledge_received_data(size, stream_id)
        self._hoarded.clear()
        self.flush()

    def data_received(self, data: bytes) -> None:
        self._origin.raw += data
        try:
            for event in self._h2.receive_data(data):
                self._note(event)
        except ProtocolError:
            self._transport.close()
        self.flush()
        self._origin.note()

    def _note(self, event: h2.events.Event) -> None:
        stream_id: Any = getattr(event, "stream_id", None)
        match event:
            case h2.events.RequestReceived():
                fields = tuple((bytes(name), bytes(value)) for name, value in event.headers or ())
                stream = Stream2(connection=self._id, id=stream_id, fields=fields)
                self._streams[stream_id] = stream
                self._origin.streams.append(stream)
                if (reply := self._origin.reply_to(stream)).at_head or reply.echo:
                    self._start(stream, reply)
            case h2.events.DataReceived():
                self._streams[stream_id].body += event.data
                self._hoarded.append((stream_id, event.flow_controlled_length))
                if not self._origin.hoards:
                    self.give_back()
                if self._origin.reply_to(self._streams[stream_id]).echo and event.data:
                    self._h2.send_data(stream_id, event.data)
            case h2.events.TrailersReceived():
                self._streams[stream_id].trailers = tuple(event.headers or ())  # type: ignore[arg-type]
            case h2.events.StreamEnded():
                stream = self._streams[stream_id]
                stream.ended = True
                reply = self._origin.reply_to(stream)
                if reply.echo:
                    self._h2.send_headers(stream_id, list(reply.trailers or ()), end_stream=True)
                elif not reply.at_head:
                    self._start(stream, reply)
            case h2.events.StreamReset():
                if stream_id in self._streams:
                    self._streams[stream_id].reset = int(event.error_code)
                self._room.set()
            case h2.events.WindowUpdated():
                self._room.set()

    def _start(self, stream: Stream2, reply: Reply2) -> None:
        task = asyncio.create_task(self._answer(stream, reply))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, stream: Stream2, reply: Reply2) -> None:
        try:
            await self._write(stream, reply)
        except (StreamClosedError, ProtocolError, ConnectionError):
            pass  # the proxy ended the stream, or the connection
        finally:
            self.flush()
            self._origin.note()

    async def _write(self, stream: Stream2, reply: Reply2) -> None:
        if reply.before is not None:
            await reply.before.pass_through()
        if reply.raw is not None:
            self._transport.write(reply.raw(stream))
            return
        if reply.goaway is not None:
            self._goaway(reply.goaway, stream.id)
        for _ in range(reply.interim):
            self._h2.send_headers(stream.id, [(b":status", b"103")])
        status = (b":status", str(reply.status).encode())
        self._h2.send_headers(stream.id, [status, *reply.headers], end_stream=reply.head_only)
        self.flush()
        if reply.head_only or reply.echo:
            return
        for part in reply.body:
            if isinstance(part, Gate):
                await part.pass_through()
            else:
                await self._send(stream.id, part)
        if reply.reset is not None:
            self._h2.reset_stream(stream.id, reply.reset)
        elif reply.trailers is not None:
            self._h2.send_headers(stream.id, list(reply.trailers), end_stream=True)
        elif reply.then != "close":
            self._h2.end_stream(stream.id)
        self.flush()
        if reply.then == "close":
            self._transport.close()

    def _goaway(self, code: int, last_stream_id: int) -> None:
        """GOAWAY as a server says it that will still answer: h2's own would close the connection for good."""
        head = (8).to_bytes(3, "big") + b"\x07\x00" + (0).to_bytes(4, "big")
        self.flush()
        self._transport.write(head + last_stream_id.to_bytes(4, "big") + code.to_bytes(4, "big"))

    async def _send(self, stream_id: int, data: bytes) -> None:
        at = 0
        while at < len(data):
            room = min(self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size)
            if room <= 0:
                self._room.clear()
                self.flush()
                await self._room.wait()
                continue
            self._h2.send_data(stream_id, data[at : at + room])
            at += room
            self.flush()
            await self._writable.wait()
