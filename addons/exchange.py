"""What is known about each request while it is in the house: one `Exchange` per mitmproxy flow, found by its id.

This is the only state the addons share. It is kept here, not in `flow.metadata`, so that it is typed, bounded by the
life of the flow, and cannot be read back from a file.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from mitmproxy import http
from mitmproxy.connection import Server

from addons.websocket import Conversation
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import IPAddress, Verdict
from proxy.core.problems import Answer
from proxy.recording import Admission, Outcome


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request from its head to its outcome. Mutable: each stage fills in what it learned."""

    flow: http.HTTPFlow
    client_id: str
    body_cap: int  # bytes of body that may be buffered
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # the client left
    admission: Admission | None = None
    outcome: Outcome | None = None
    refusal: Answer | None = None  # decided before the body came
    fault: Code | None = None  # what went wrong behind us
    fault_detail: str = ""
    stopped: Rejected | Unavailable | None = None  # why it was ended while its bytes still flowed
    status: int | None = None  # of the origin's response, once its head came
    conversation: Conversation | None = None  # of a call that opens a WebSocket
    dialled: bool = False  # a connection was begun for it
    dial_failed: bool = False  # that connection, or its TLS, never came to be: nothing was sent
    settled: bool = False  # its hold was told what became of it
    recorded: bool = False  # its outcome line was written
    bytes_up: int = 0
    bytes_down: int = 0
    started_s: float = 0.0  # the worker's monotonic clock

    @property
    def flow_id(self) -> str:
        return self.flow.id

    @property
    def under_way(self) -> bool:
        """Whether it was allowed, so that its bytes may be flowing."""
        return self.outcome is not None and self.outcome.decision.verdict is Verdict.ALLOW

    @property
    def maybe_sent(self) -> bool:
        """Whether bytes of this call may have left. For calls that dial afresh, as released ones do."""
        return self.dialled and not self.dial_failed


class Head(NamedTuple):
    """What a stream knows of a request before its flow exists."""

    authority: bytes  # of an absolute-form or CONNECT target, or HTTP/2's own; mitmproxy clears it
    inside: bool  # a tunnel carries it
    scheme: str  # of the target, or HTTP/2's own; "" in origin form


class Upstream(Server):
    """A connection to an origin, and the exchange it is dialled for."""

    exchange: Exchange | None = None


class Exchanges:
    """Every live exchange of this worker, and what is known of heads not yet announced."""

    def __init__(self) -> None:
        self._by_flow: dict[str, Exchange] = {}
        self._heads: dict[int, Head] = {}

    def note_head(self, request: http.Request, *, inside: bool) -> None:
        """Remember what no hook will see any more: the authority of the target, and whether a tunnel carries it."""
        self._heads[id(request)] = Head(request.data.authority, inside, request.scheme)

    def take_head(self, request: http.Request) -> Head:
        return self._heads.pop(id(request), Head(b"", True, ""))

    def open(self, exchange: Exchange) -> None:
        self._by_flow[exchange.flow_id] = exchange

    def find(self, flow: http.HTTPFlow) -> Exchange | None:
        return self._by_flow.get(flow.id)

    def may_reuse(self, flow: http.HTTPFlow, address: IPAddress) -> bool:
        """Whether a kept connection to this address may serve the call: one its own decision resolved to."""
        exchange = self.find(flow)
        return exchange is not None and exchange.outcome is not None and address in exchange.outcome.addresses

    def is_claimed(self, flow: http.HTTPFlow) -> bool:
        """Whether this is a released call, which dials a connection of its own."""
        exchange = self.find(flow)
        return exchange is not None and exchange.outcome is not None and exchange.outcome.claim is not None

    def under_way(self) -> tuple[Exchange, ...]:
        """Every allowed exchange that has not ended."""
        return tuple(each for each in self._by_flow.values() if each.under_way)

    def note_gone(self, flow: http.HTTPFlow) -> None:
        """The client gave the call up: nothing of it is to be sent any more."""
        exchange = self.find(flow)
        if exchange is not None:
            exchange.gone.set()

    def is_gone(self, flow: http.HTTPFlow) -> bool:
        exchange = self.find(flow)
        return exchange is not None and exchange.gone.is_set()

    def note_unsent(self, flow: http.HTTPFlow) -> None:
        """A connection was made for the call, but not a byte of it was sent."""
        exchange = self.find(flow)
        if exchange is not None:
            exchange.dialled = False

    def forget(self, flow: http.HTTPFlow) -> None:
        self._by_flow.pop(flow.id, None)

    def drop(self, exchange: Exchange) -> None:
        self._by_flow.pop(exchange.flow_id, None)

    def of_client(self, client_id: str) -> Iterator[Exchange]:
        return (each for each in tuple(self._by_flow.values()) if each.client_id == client_id)

    def __len__(self) -> int:
        return len(self._by_flow)
