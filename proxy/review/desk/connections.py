"""The desk's connections: who says nothing, or very slowly, is let go, so that there is room for others.

uvicorn waits for a request's head and body as long as a client likes, and answers 503 to everybody once there are too
many connections. So a program that opens many and sends little, or asks for much and takes nothing, would shut
reviewers out.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

SENT_WITHIN_S = 20.0
"""A request, with its body, is here in this time after its connection was ready for it."""
TAKEN_WITHIN_S = 20.0
"""Whoever takes nothing of what was sent for so long is let go; one who takes it slowly is not."""
MOST_CONNECTIONS = 500
"""Beyond them, requests are answered 503."""
ROOMY = 400
"""While there are more, each new one takes the place of the one that has kept us waiting longest."""


class Prompt(H11Protocol):
    """A connection that does not wait for ever, save for the answer that we owe and have not found yet."""

    _since: float | None = None  # when we began to wait for what the client has to send; None while we do not
    _deadline: asyncio.TimerHandle | None = None
    _untaken: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room, and begin to wait."""
        super().connection_made(transport)
        if len(self.connections) > ROOMY:
            waiting = [each for each in self.connections if isinstance(each, Prompt) and each._since is not None]
            if waiting:
                min(waiting, key=lambda each: each._since or 0.0).let_go()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_waiting()
        self._is_taken()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        """What was sent waits here, for the client does not take it."""
        super().pause_writing()
        if self._untaken is None:
            self._untaken = self.loop.call_later(TAKEN_WITHIN_S, self.let_go)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._is_taken()

    def let_go(self) -> None:
        """Close the connection without a word."""
        self._stop_waiting()
        self._is_taken()
        self.transport.abort()

    def _look(self) -> None:
        """Whether there is something to wait for: the next request, or the rest of this one."""
        waits = self.cycle is None or self.cycle.response_complete or self.cycle.more_body
        if not waits or self.transport.is_closing():
            self._stop_waiting()
        elif self._since is None:
            self._since = self.loop.time()
            self._deadline = self.loop.call_later(SENT_WITHIN_S, self.let_go)

    def _stop_waiting(self) -> None:
        self._since = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_taken(self) -> None:
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None
