"""A connection is closed with what was written to it taken, or in its time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from proxy.edge.connection import close_within

MUCH = b"x" * 20_000_000  # more than the buffers of the system hold


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamWriter, asyncio.StreamReader]]:
    """Our end of a connection, and the peer's, which reads what it is told to."""
    accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda _, writer: accepted.set_result(writer), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    try:
        async with asyncio.timeout(20):
            yield await accepted, reader
    finally:
        writer.close()
        server.close()


async def test_a_peer_that_reads_gets_all_that_was_written() -> None:
    async with connected() as (ours, peer):
        ours.write(MUCH)
        close_within(ours, 60)
        assert await peer.read() == MUCH


async def test_a_peer_that_never_reads_does_not_keep_the_connection() -> None:
    async with connected() as (ours, peer):
        ours.write(MUCH)
        close_within(ours, 0.01)
        await ours.wait_closed()
        assert len(await peer.read()) < len(MUCH), "what the system had taken already"
