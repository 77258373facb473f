"""One connection of an `origins.Origin`: bytes logged as they come, requests parsed out of them, replies written."""

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from origin_replies import Gate, Reply, Request


@dataclass(kw_only=True)
class Connection:
    """One accepted connection. `raw` is every application byte received on it, in order."""

    id: int
    peer: str
    raw: bytearray = field(default_factory=bytearray, repr=False)
    requests: list[Request] = field(default_factory=list)
    tls: bool = False  # the handshake was completed
    sni: str | None = None
    gone: bool = False  # its client ended it, maybe in the middle of a reply
    closed: bool = False

    @property
    def unparsed(self) -> bytes:
        """What came after the last complete request."""
        return bytes(self.raw[sum(len(request.raw) for request in self.requests) :])


class Note(Protocol):
    """Logs one event of a connection."""

    def __call__(self, event: str, connection: Connection, **facts: object) -> None: ...


_TARGET_LINE = re.compile(rb"([^ \r\n]+) ([^ \r\n]+) (HTTP/\d\.\d)")


class Wire(asyncio.Protocol):
    """One connection's bytes: logged as they come, whether or not anybody reads them yet."""

    def __init__(self, note: Note, connection: Connection) -> None:
        self.gone = asyncio.Event()
        self._note, self._connection = note, connection
        self._transport: asyncio.Transport | None = None
        self._at = 0  # everything in `connection.raw` before this has been parsed
        self._news, self._writable = asyncio.Event(), asyncio.Event()
        self._writable.set()

    # protocol callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._connection.tls, self._connection.sni = True, getattr(tls, "seen_sni", None)
            self._note("tls", self._connection, sni=self._connection.sni)

    def data_received(self, data: bytes) -> None:
        self._connection.raw += data
        self._note("bytes", self._connection, base64=data)
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.gone = True
        self._note("gone", self._connection, reason=str(exc or ""))
        self.gone.set()
        self._news.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def end(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # reading

    async def next_request(self) -> Request | None:
        """The next complete request, or None when the client has gone or sent something else."""
        start = self._at
        head = await self._until(b"\r\n\r\n")
        lines = head[:-4].split(b"\r\n") if head else []
        first = _TARGET_LINE.fullmatch(lines[0]) if lines else None
        if first is None:
            return None
        method, target, version = (part.decode("latin-1") for part in first.groups())
        pairs = [line.decode("latin-1").partition(":") for line in lines[1:]]
        headers = tuple((name, value.strip(" \t")) for name, _, value in pairs)
        fields = {name.lower(): value for name, value in headers}
        if fields.get("expect", "").lower() == "100-continue" and self._transport:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await self._body(fields)
        if body is None:
            return None
        return Request(
            connection=self._connection.id,
            method=method,
            target=target,
            version=version,
            headers=headers,
            body=body,
            raw=bytes(self._connection.raw[start : self._at]),
        )

    async def _body(self, fields: Mapping[str, str]) -> bytes | None:
        if fields.get("transfer-encoding", "").lower() != "chunked":
            return await self._exactly(int(fields.get("content-length", "0")))
        body = b""
        while size_line := await self._until(b"\r\n"):
            size = int(size_line.partition(b";")[0], 16)
            data = await self._exactly(size)
            end = await self._until(b"\r\n") if size else await self._trailer()
            if data is None or end is None:
                return None
            body += data
            if size == 0:
                return body
        return None

    async def _trailer(self) -> bytes | None:
        while (line := await self._until(b"\r\n")) not in (b"\r\n", None):
            pass
        return line

    async def _until(self, mark: bytes) -> bytes | None:
        while (end := self._connection.raw.find(mark, self._at)) < 0:
            if not await self._more():
                return None
        return self._take(end + len(mark))

    async def _exactly(self, size: int) -> bytes | None:
        while len(self._connection.raw) < self._at + size:
            if not await self._more():
                return None
        return self._take(self._at + size)

    def _take(self, end: int) -> bytes:
        data = bytes(self._connection.raw[self._at : end])
        self._at = end
        return data

    async def _more(self) -> bool:
        self._news.clear()
        if not self.gone.is_set():
            await self._news.wait()
        return not self.gone.is_set()

    # writing

    async def answer(self, request: Request, reply: Reply) -> None:
        """Write the reply. Ends the connection where the reply or the request says so."""
        if reply.before is not None:
            await reply.before.pass_through()
        left = reply.cut_after
        for part in reply.parts(request.method):
            if isinstance(part, Gate):
                await part.pass_through()
            elif isinstance(part, bytes):
                await self._write(part[:left])
                left = None if left is None else left - len(part)
                if left is not None and left <= 0:
                    raise ConnectionAbortedError("cut, as told")
            else:
                await asyncio.sleep(part)
        if reply.then == "reset" and self._transport is not None:
            reset_on_close(self._transport.get_extra_info("socket"))
            self._transport.abort()
        elif "close" in (reply.then, reply.framing, (request.header("connection") or "").lower()):
            self.end()

    async def _write(self, data: bytes) -> None:
        await self._writable.wait()
        if self._transport is None or self.gone.is_set():
            raise ConnectionResetError("the client went away")
        self._transport.write(data)


def reset_on_close(sock: socket.socket) -> None:
    """Let closing this socket send RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def note_sni(tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
    tls.seen_sni = name  # type: ignore[attr-defined]  # the only place the callback and the transport share
