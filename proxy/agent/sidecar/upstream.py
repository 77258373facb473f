"""The connection to the proxy that serves one connection of the agent's, call after call."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import h11

from proxy.agent.sidecar.bodies import Body
from proxy.agent.sidecar.heads import first
from proxy.agent.sidecar.route import HEAD_BYTES, Answered
from proxy.agent.sidecar.streams import Stream

type Opening = Callable[[], Awaitable[Stream | Answered]]
type Event = h11.InformationalResponse | h11.Response | h11.Data | h11.EndOfMessage


class NoAnswer(Exception):
    """The connection ended before an answer began: whether the call arrived, nobody knows."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Cut(ConnectionError):
    """The connection ended in the middle of an answer."""


class Upstream:
    """One call at a time; kept from call to call while it stands, and opened anew when it does not.

    Between calls the proxy has nothing to say: whatever comes then, be it the end, TLS's farewell or an answer that
    nobody asked for, is no part of the next call's answer, and the connection is not used again.
    """

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._stream: Stream | None = None
        self._theirs = _connection()
        self._sending: asyncio.Task[None] | None = None
        self._resting: asyncio.Task[None] | None = None  # ends when something comes between two calls
        self._has_begun = False
        self._root = b""  # under which its tunnel was opened: a renewed manifest needs another

    async def begin(self, request: h11.Request, body: Body) -> Answered | None:
        """Begin to send a call; or what the proxy answered to a tunnel that is needed for it.

        Raises:
            Refused: the proxy cannot be reached.
        """
        root = (first(request.headers, b"intent-manifest") or b"").partition(b",")[0]
        if self._stream is None or root != self._root or not await self._stands():
            self.close()
            opened = await self._opening()
            if isinstance(opened, Answered):
                return opened
            self._stream, self._theirs, self._root = opened, _connection(), root
        self._has_begun = False
        self._sending = asyncio.create_task(_send(self._stream, self._theirs, request, body))
        return None

    async def next(self) -> Event:
        """The next part of the answer. It may come before the call was sent to its end.

        Raises:
            NoAnswer: there will be none.
            Cut: it has begun, and broke off.
        """
        stream = self._stream
        if stream is None:
            raise self._ended("the agent has left")
        try:
            while (event := self._theirs.next_event()) is h11.NEED_DATA:
                self._theirs.receive_data(await stream.read())
        except (OSError, h11.RemoteProtocolError) as fault:
            raise self._ended(str(fault) or type(fault).__name__) from None
        if isinstance(event, h11.Response):
            self._has_begun = True
        elif not isinstance(event, h11.InformationalResponse | h11.Data | h11.EndOfMessage):
            raise self._ended("it closed the connection")
        return event

    def _ended(self, why: str) -> NoAnswer | Cut:
        return Cut("the answer broke off") if self._has_begun else NoAnswer(why)

    async def end(self) -> None:
        """The call is over, answered or not; whatever is left of it ends with the connection."""
        if self._sending is not None:
            await cancel(self._sending)
        whole = self._theirs.our_state is h11.DONE and self._theirs.their_state is h11.DONE
        if self._stream is not None and whole and not self._theirs.trailing_data[0]:
            self._theirs.start_next_cycle()
            self._resting = asyncio.create_task(_rest(self._stream))
        else:
            self.close()

    async def _stands(self) -> bool:
        """Whether the connection can take another call."""
        resting, self._resting = self._resting, None
        if resting is None:
            return False
        await cancel(resting)
        return resting.cancelled()

    def switched(self) -> tuple[Stream, bytes]:
        """After a 101: the connection, and what came on it since."""
        assert self._stream is not None
        return self._stream, self._theirs.trailing_data[0]

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._resting is not None:
            self._resting.cancel()
        if self._stream is not None:
            self._stream.close()
        self._stream = None


def _connection() -> h11.Connection:
    return h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)


async def _send(stream: Stream, theirs: h11.Connection, request: h11.Request, body: Body) -> None:
    try:
        stream.put(theirs.send(request) or b"")
        for piece in body.pieces():
            stream.put(theirs.send(h11.Data(data=piece)) or b"")
            await stream.drain()
        stream.put(theirs.send(h11.EndOfMessage()) or b"")
        await stream.drain()
    except (h11.LocalProtocolError, OSError):
        stream.close()  # nobody would answer half a request


async def _rest(stream: Stream) -> None:
    with contextlib.suppress(OSError):
        await stream.read()


async def cancel(task: "asyncio.Task[None]") -> None:
    """End a task and wait for its end; how it ended is nobody's affair any more."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
