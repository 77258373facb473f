"""The sidecar's connection to the proxy from call to call: what comes between two of them is no part of either."""

import asyncio
from collections import deque
from collections.abc import Callable

import h11
import pytest

from proxy.agent.sidecar.bodies import Body, Room
from proxy.agent.sidecar.upstream import Cut, NoAnswer, Upstream

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


class FakeStream:
    """A connection whose other end says these pieces after each call; `cuts`: then it ends."""

    def __init__(self, *after_each: list[bytes], cuts: bool = False) -> None:
        self._after_each, self._cuts = deque(after_each), cuts
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.is_closed = self.has_ended = False

    async def read(self) -> bytes:
        return await self._queue.get()

    def put(self, data: bytes) -> None:
        if data.startswith(b"GET"):
            for piece in self._after_each.popleft():
                self._queue.put_nowait(piece)
            if self._cuts and not self._after_each:
                self._queue.put_nowait(b"")

    async def drain(self) -> None: ...

    def finish(self) -> None: ...

    def close(self) -> None:
        self.is_closed = True


async def called(upstream: Upstream, path: str) -> bytes:
    """The body of one call's answer."""
    request = h11.Request(method="GET", target=path, headers=[("Host", "erp.example")])
    assert await upstream.begin(request, Body(Room())) is None
    content = b""
    try:
        while not isinstance(event := await upstream.next(), h11.EndOfMessage):
            content += bytes(event.data) if isinstance(event, h11.Data) else b""
    finally:
        await upstream.end()
    return content


@pytest.mark.parametrize(
    ("stream", "opened"),
    [
        pytest.param(lambda: FakeStream([ANSWER + b"a1"], [ANSWER + b"a2"]), 1, id="nothing"),
        pytest.param(lambda: FakeStream([ANSWER + b"a1"], cuts=True), 2, id="the end, or TLS's farewell"),
        pytest.param(lambda: FakeStream([ANSWER + b"a1", ANSWER + b"XX"], []), 2, id="an unasked answer"),
        pytest.param(lambda: FakeStream([ANSWER + b"a1" + ANSWER + b"XX"], []), 2, id="an unasked answer at once"),
    ],
)
async def test_between_two_calls_the_proxy_has_nothing_to_say(stream: Callable[[], FakeStream], opened: int) -> None:
    streams, used = [stream(), FakeStream([ANSWER + b"a2"])], list[FakeStream]()

    async def open_one() -> FakeStream:
        used.append(streams.pop(0))
        return used[-1]

    upstream = Upstream(open_one)
    assert await called(upstream, "/1") == b"a1"
    for _ in range(3):
        await asyncio.sleep(0)  # whatever is said meanwhile is heard
    assert await called(upstream, "/2") == b"a2"
    assert (len(used), used[0].is_closed) == (opened, opened == 2)
    upstream.close()


@pytest.mark.parametrize(
    ("said", "fault"),
    [pytest.param([], NoAnswer, id="no answer"), pytest.param([ANSWER + b"a"], Cut, id="half of one")],
)
async def test_an_answer_that_does_not_come_whole(said: list[bytes], fault: type[Exception]) -> None:
    stream = FakeStream(said, cuts=True)

    async def open_one() -> FakeStream:
        return stream

    with pytest.raises(fault):
        await called(Upstream(open_one), "/1")
    assert stream.is_closed


async def test_an_agent_that_leaves_in_the_middle_ends_it() -> None:
    stream = FakeStream([ANSWER + b"a"])

    async def open_one() -> FakeStream:
        return stream

    upstream = Upstream(open_one)
    await upstream.begin(h11.Request(method="GET", target="/1", headers=[("Host", "erp.example")]), Body(Room()))
    assert isinstance(await upstream.next(), h11.Response)
    upstream.close()
    with pytest.raises(Cut):
        await upstream.next()
    await upstream.end()
