"""Byte streams: plain ones, and TLS over any other, so that TLS within TLS is nothing special.

asyncio's own TLS cannot take over bytes that were read already, which is how the sidecar sees what a program speaks.
"""

import asyncio
import contextlib
import ssl
from typing import Protocol

PIECE_BYTES = 65_536
HANDSHAKE_S = 10.0


class Broken(ConnectionError):
    """The peer went away in the middle of something, or what it sent is not TLS."""


class Stream(Protocol):
    """A connection in both directions. Every method but `close` may raise `OSError` when it breaks."""

    async def read(self) -> bytes:
        """Some bytes; none at the end."""

    def put(self, data: bytes) -> None:
        """Send, without waiting until there is room."""

    async def drain(self) -> None:
        """Return when there is room for more."""

    def finish(self) -> None:
        """Tell the peer that no more will come."""

    def close(self) -> None:
        """End both directions, after what was put."""

    @property
    def has_ended(self) -> bool:
        """Whether the peer has closed, as far as is known without reading."""


class TcpStream:
    """A stream over asyncio's reader and writer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        return await self._reader.read(PIECE_BYTES)

    def put(self, data: bytes) -> None:
        self._writer.write(data)

    async def drain(self) -> None:
        await self._writer.drain()

    def finish(self) -> None:
        if self._writer.can_write_eof() and not self._writer.is_closing():
            self._writer.write_eof()

    def close(self) -> None:
        self._writer.close()

    @property
    def has_ended(self) -> bool:
        return self._reader.at_eof() or self._reader.exception() is not None or self._writer.is_closing()


class TlsStream:
    """TLS over another stream."""

    def __init__(
        self, inner: Stream, context: ssl.SSLContext, *, hostname: str | None = None, received: bytes = b""
    ) -> None:
        """A client that expects `hostname`, or without one a server; `received` was read from `inner` before."""
        self._inner = inner
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=hostname is None, server_hostname=hostname)
        self._in.write(received)

    async def handshake(self) -> None:
        """Agree with the peer.

        Raises:
            ssl.SSLError: either did not accept the other.
            OSError: the connection broke, or it took too long (TimeoutError).
        """
        async with asyncio.timeout(HANDSHAKE_S):
            while True:
                try:
                    self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    await self._feed()
                except ssl.SSLError:
                    self._push()  # the alert
                    raise
                else:
                    self._push()
                    return

    async def read(self) -> bytes:
        while True:
            try:
                return self._tls.read(PIECE_BYTES)
            except ssl.SSLWantReadError:
                await self._feed()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as fault:
                raise _broken(fault) from None

    def put(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            for start in range(0, len(view), PIECE_BYTES):
                self._tls.write(view[start : start + PIECE_BYTES])
        except ssl.SSLError as fault:
            raise _broken(fault) from None
        self._push()

    async def drain(self) -> None:
        await self._inner.drain()

    def finish(self) -> None:
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()  # writes our farewell, and would then read the peer's
        self._push()
        self._inner.finish()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # an SSLError is one, too
            self.finish()
        self._inner.close()

    @property
    def has_ended(self) -> bool:
        return self._inner.has_ended

    def _push(self) -> None:
        if data := self._out.read():
            self._inner.put(data)

    async def _feed(self) -> None:
        self._push()
        data = await self._inner.read()
        if not data:
            raise Broken("the TLS connection was cut off")
        self._in.write(data)


def _broken(fault: ssl.SSLError) -> Broken:
    return Broken(f"the TLS connection broke: {fault.reason or 'it was cut off'}")


async def relay(ours: Stream, theirs: Stream) -> None:
    """Carry bytes both ways, as they come, until both directions have ended or either breaks."""

    async def carry(source: Stream, sink: Stream) -> None:
        while data := await source.read():
            sink.put(data)
            await sink.drain()
        sink.finish()

    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(carry(ours, theirs))
            both.create_task(carry(theirs, ours))
    except* OSError:
        pass  # whoever is left learns it by the end of its connection
