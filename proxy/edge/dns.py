"""The DNS stub of transparent mode: it gives each name an address that leads to this proxy, and asks nobody.

An agent's question tells the world nothing: a name is resolved only when a call to it was allowed. What an agent may
ask for is bounded by its place (`transparent.dns.quota`), and what it is answered stands in the journal.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial

from proxy.audit.records import allotment_fields, unanswered_fields
from proxy.core.dnswire import Query, Rcode, Wanted, address_of, nothing_of, read_query, wanted
from proxy.core.encoding import Json
from proxy.core.errors import Unavailable
from proxy.core.places import Place
from proxy.edge.interfaces import Places
from proxy.stores.book import AddressBook

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S = 1.5
UNDER_WAY = 512
"""How many questions are answered at a time; what comes beyond is dropped, and asked again by whoever waits."""
PACE = 500
"""How many questions of one place are answered within a second."""
WINDOW_S = 60.0
"""However often a place is refused something, the journal says so once in this time, and how often it was."""
STREAMS = 64
IDLE_S = 10.0
_LONGEST = 1024  # of a question over TCP

type Note = Callable[[Mapping[str, Json]], None]
"""Writes a line of the journal, whose end nobody waits for."""


class DnsStub:
    """Answers questions at the sockets it is given."""

    def __init__(
        self, book: AddressBook, places: Places, *, note: Note, quota: int, absent: tuple[str, ...] = ()
    ) -> None:
        self._book = book
        self._places = places
        self._note = note
        self._quota = quota
        self._absent = absent
        self._asked: Counter[str] = Counter()  # this second, by place
        self._refused: Counter[tuple[str, str]] = Counter()  # since it was last written down, by place and why
        self._tasks: set[asyncio.Task[None]] = set()
        self._transports: list[asyncio.DatagramTransport] = []
        self._servers: list[asyncio.Server] = []

    async def start(self, sockets: Sequence[tuple[socket.socket, socket.socket]]) -> None:
        """Answer at these pairs of a datagram and a stream socket, which are bound, until `stop`."""
        loop = asyncio.get_running_loop()
        for datagrams, streams in sockets:
            local = str(datagrams.getsockname()[0])
            transport, _ = await loop.create_datagram_endpoint(partial(_Datagrams, self, local), sock=datagrams)
            self._transports.append(transport)
            self._servers.append(await asyncio.start_server(self._stream, sock=streams, limit=_LONGEST))
        if sockets:
            self._keep(self._every(1.0, self._asked.clear))
            self._keep(self._every(WINDOW_S, self._tell))

    async def stop(self) -> None:
        """Answer nothing any more, and write down what was refused."""
        for transport in self._transports:
            transport.close()
        for server in self._servers:
            server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tell()

    def heard(self, data: bytes, peer: str, local: str, reply: Callable[[bytes], None]) -> None:
        """Answer a datagram in its time; what is too much is dropped."""
        if len(self._tasks) >= UNDER_WAY:
            self._count("", "too many at a time")
            return

        async def answered() -> None:
            answer = await self.answer(data, peer, local)
            if answer is not None:
                reply(answer)

        self._keep(answered())

    async def answer(self, data: bytes, peer: str, local: str) -> bytes | None:
        """The answer to one message; None: it gets none."""
        query = read_query(data)
        if query is None:
            return None
        try:
            place = self._places.place_of(peer, local)
        except Unavailable as fault:
            logger.warning("a question cannot be answered: %s", fault.detail)
            return nothing_of(query, Rcode.SERVFAIL)
        self._asked[place.label] += 1
        if self._asked[place.label] > PACE:
            self._count(place.label, "too many in a second")
            return None
        if query.fault is not None:
            self._count(place.label, "a question that cannot be read")
            return nothing_of(query, query.fault)
        match wanted(query, self._absent):
            case Wanted.ADDRESS:
                assert query.name is not None
                return await self._allotted(query, query.name, place)
            case Wanted.NOTHING:
                return nothing_of(query, Rcode.NOERROR)
            case Wanted.ABSENT:
                return nothing_of(query, Rcode.NXDOMAIN)
            case Wanted.REFUSED:
                self._count(place.label, "a question for something else than an address")
                return nothing_of(query, Rcode.REFUSED)

    async def _allotted(self, query: Query, name: str, place: Place) -> bytes:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                given = await self._book.allot(place, name, quota=self._quota)
        except (TimeoutError, Unavailable):
            self._count(place.label, "the store does not answer")
            return nothing_of(query, Rcode.SERVFAIL)
        if given is None:
            self._count(place.label, "more names than it may have")
            return nothing_of(query, Rcode.REFUSED)
        if given.created:
            self._note(allotment_fields(place, name, given.address))
        return address_of(query, given.address)

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The questions of one connection, one after the other (RFC 7766)."""
        task = asyncio.current_task()
        assert task is not None
        if sum(each.get_name() == "dns stream" for each in self._tasks) >= STREAMS:
            writer.transport.abort()
            return
        task.set_name("dns stream")
        self._tasks.add(task)
        peer, local = str(writer.get_extra_info("peername")[0]), str(writer.get_extra_info("sockname")[0])
        try:
            while True:
                async with asyncio.timeout(IDLE_S):
                    size = int.from_bytes(await reader.readexactly(2))
                    if size > _LONGEST:
                        return
                    answer = await self.answer(await reader.readexactly(size), peer, local)
                    if answer is None:
                        return
                    writer.write(struct.pack("!H", len(answer)) + answer)
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            return
        finally:
            self._tasks.discard(task)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    def _count(self, place: str, why: str) -> None:
        """Write down what was refused: the first time at once, then with how often it was."""
        self._refused[place, why] += 1
        if self._refused[place, why] == 1:
            self._note(unanswered_fields(place, why, 1))

    def _tell(self) -> None:
        for (place, why), count in self._refused.items():
            if count > 1:
                self._note(unanswered_fields(place, why, count - 1))
        self._refused.clear()

    async def _every(self, seconds: float, do: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(seconds)
            do()

    def _keep(self, coroutine: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Datagrams(asyncio.DatagramProtocol):
    """One datagram socket; `local` is the address it is bound to."""

    def __init__(self, stub: DnsStub, local: str) -> None:
        self._stub = stub
        self._local = local
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._stub.heard(data, str(addr[0]), self._local, lambda answer: self._reply(answer, addr))

    def _reply(self, answer: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            with contextlib.suppress(OSError):
                self._transport.sendto(answer, addr)
