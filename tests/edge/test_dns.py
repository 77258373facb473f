"""The stub on real sockets: what is answered, what is not, and what the journal is told."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

import pytest
from mitmproxy import dns

from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.places import Place
from proxy.core.transparent import STUB_NETWORK
from proxy.edge import dns as stub_module
from proxy.edge.dns import DnsStub
from proxy.edge.sockets import shared_datagrams, shared_socket
from proxy.stores.book import Allotment
from proxy.stores.memory_book import MemoryBook

HERE = Place(interface="lo", address=None, generation="1")
A, TXT, AAAA = 1, 16, 28


class OnePlace:
    """Everybody is here."""

    def place_of(self, peer: str, local: str) -> Place:
        return HERE


class Away(MemoryBook):
    async def allot(self, place: Place, name: str, *, quota: int) -> Allotment | None:
        raise Unavailable(Code.STORE_DOWN, "away")


class Silent(MemoryBook):
    async def allot(self, place: Place, name: str, *, quota: int) -> Allotment | None:
        await asyncio.sleep(60)
        return None


@dataclass(kw_only=True)
class Running:
    stub: DnsStub
    port: int
    lines: list[Mapping[str, Json]] = field(default_factory=list)

    async def asked(self, *data: bytes) -> list[bytes]:
        """What comes back for datagrams, until nothing more comes."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", self.port))
            for each in data:
                await loop.sock_sendall(sock, each)
            found = []
            while len(found) < len(data):
                try:
                    found.append(await asyncio.wait_for(loop.sock_recv(sock, 2048), 3))
                except TimeoutError:
                    break
            return found

    async def told(self, name: str, kind: int = A) -> dns.DNSMessage:
        [answer] = await self.asked(question(name, kind))
        return dns.DNSMessage.unpack(answer)


def question(name: str, kind: int = A, flags: int = 0x0100) -> bytes:
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    return struct.pack("!6H", 7, flags, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


@pytest.fixture
async def run() -> AsyncIterator[object]:
    started: list[DnsStub] = []

    async def begin(book: MemoryBook | None = None, quota: int = 8) -> Running:
        lines: list[Mapping[str, Json]] = []
        stub = DnsStub(
            book or MemoryBook(),
            OnePlace(),  # type: ignore[arg-type]
            note=lines.append,
            quota=quota,
            absent=("cluster.local",),
        )
        stream, datagrams = pair()
        port = stream.getsockname()[1]
        await stub.start([(datagrams, stream)])
        started.append(stub)
        return Running(stub=stub, port=port, lines=lines)

    yield begin
    for stub in started:
        await stub.stop()


def pair() -> tuple[socket.socket, socket.socket]:
    """A port that was free for both."""
    for _ in range(20):
        stream = shared_socket("127.0.0.1", 0)
        try:
            return stream, shared_datagrams("127.0.0.1", stream.getsockname()[1])
        except Rejected:
            stream.close()
    raise AssertionError("no port is free for both")


async def test_a_name_gets_an_address_and_the_journal_one_line(run) -> None:
    here = await run()
    first, again = await here.told("Erp.Example"), await here.told("erp.example")
    assert first.answers[0].ipv4_address == again.answers[0].ipv4_address
    assert IPv4Address(str(first.answers[0].ipv4_address)) in STUB_NETWORK
    assert first.answers[0].ttl <= 30 and first.questions[0].name == "Erp.Example"
    [line] = here.lines
    assert (line["place"], line["name"], line["address"]) == (
        HERE.label,
        "erp.example",
        str(first.answers[0].ipv4_address),
    )


async def test_other_questions_get_nothing_and_are_written_down_once(run) -> None:
    here = await run()
    assert (await here.told("erp.example", AAAA)).response_code == 0
    assert (await here.told("db.cluster.local")).response_code == 3
    for _ in range(3):
        assert (await here.told("erp.example", TXT)).response_code == 5
    assert [each.get("refused") for each in here.lines] == ["a question for something else than an address"]
    await here.stub.stop()
    assert here.lines[-1]["count"] == 2


async def test_what_is_no_question_gets_no_answer_and_what_cannot_be_read_gets_its_fault(run) -> None:
    here = await run()
    assert await here.asked(b"x", question("erp.example", flags=0x8180)) == []
    [odd] = await here.asked(question("erp.example") + b"x")
    assert odd[3] & 0x0F == 1


async def test_a_tunnel_of_names_ends_at_the_quota(run) -> None:
    here = await run(quota=3)
    codes = [(await here.told(f"x{number}.evil.example")).response_code for number in range(6)]
    assert codes == [0, 0, 0, 5, 5, 5]
    assert (await here.told("x1.evil.example")).response_code == 0
    assert [each["refused"] for each in here.lines if "refused" in each] == ["more names than it may have"]


@pytest.mark.parametrize("book", [Away, Silent])
async def test_without_the_store_the_answer_is_that_there_is_none_within_two_seconds(run, book) -> None:
    here = await run(book())
    async with asyncio.timeout(2):
        assert (await here.told("erp.example")).response_code == 2


async def test_over_a_connection_one_question_after_the_other_is_answered(run) -> None:
    here = await run()
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    for name in ("a.example", "b.example"):
        data = question(name)
        writer.write(struct.pack("!H", len(data)) + data)
        size = int.from_bytes(await asyncio.wait_for(reader.readexactly(2), 3))
        assert dns.DNSMessage.unpack(await reader.readexactly(size)).questions[0].name == name
    writer.write(struct.pack("!H", 5000))
    assert await asyncio.wait_for(reader.read(), 3) == b""
    writer.close()


async def test_a_flood_is_dropped_and_written_down(run, monkeypatch) -> None:
    monkeypatch.setattr(stub_module, "PACE", 5)
    here = await run()
    assert len(await here.asked(*[question("a.example")] * 9)) == 5
    assert [each["refused"] for each in here.lines if "refused" in each] == ["too many in a second"]
