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

from addons.conversation import Conversation
from addons.intake import Intake
from addons.valve import Valves
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.injection import Injection
from proxy.core.model import IPAddress, Unread, Verdict
from proxy.core.problems import Answer
from proxy.delivering import Delivery
from proxy.identity import Identity
from proxy.recording import Admission, Outcome


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request from its head to its outcome. Mutable: each stage fills in what it learned."""

    flow: http.HTTPFlow
    client_id: str
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # the client left
    admission: Admission | None = None
    outcome: Outcome | None = None
    refusal: Answer | None = None  # decided before the body came
    intake: Intake | None = None  # its body; without one none is taken in
    streams: bool = False  # its body passes through as it comes
    body_sha256: bytes | None = None  # of a body that passed through, once it was whole
    fault: Code | None = None  # what went wrong behind us
    fault_detail: str = ""
    stopped: Rejected | Unavailable | None = None  # why it was ended while its bytes still flowed
    status: int | None = None  # of the origin's response, once its head came
    conversation: Conversation | None = None  # of a call that opens a WebSocket
    delivery: Delivery | None = None  # of a call that this node sends by itself
    sent: bool = False  # it has a connection to its origin: from then on, bytes of it may have left
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
    def claimed(self) -> bool:
        """Whether it is a released call, the one that its release lets pass."""
        return self.outcome is not None and self.outcome.claim is not None

    @property
    def injection(self) -> Injection | None:
        """What is set on it as it leaves."""
        return self.outcome.injection if self.outcome is not None and self.under_way else None

    @property
    def spooled(self) -> bool:
        """Whether its body is sent from where it was spooled."""
        call = None if self.outcome is None else self.outcome.call
        return call is not None and isinstance(call.body, Unread) and not self.streams

    def let_go(self) -> None:
        """Forget the body: it was sent, or never will be."""
        if self.intake is not None:
            self.intake.let_go()


MOST_REMEMBERED = 32
"""Identities of one connection, by mandate. An agent has one, with a new leaf now and then; a relay more."""


class Head(NamedTuple):
    """What a stream knows of a request before its flow exists."""

    authority: bytes  # of an absolute-form or CONNECT target, or HTTP/2's own; mitmproxy clears it
    inside: bool  # a tunnel carries it
    ends: bool  # no body follows
    scheme: str  # of the target, or HTTP/2's own; "" in origin form


class Upstream(Server):
    """A connection to an origin, and the exchange it is dialled for."""

    exchange: Exchange | None = None


class Exchanges:
    """Every live exchange of this worker, and what is known of heads not yet announced."""

    def __init__(self) -> None:
        self._by_flow: dict[str, Exchange] = {}
        self._heads: dict[int, Head] = {}
        self._served: dict[str, dict[str, Identity]] = {}
        self.valves = Valves()

    def note_head(self, request: http.Request, *, inside: bool, ends: bool) -> None:
        """Remember what no hook sees: the target's authority, whether a tunnel carries it, whether it ends here."""
        self._heads[id(request)] = Head(request.data.authority, inside, ends, request.scheme)

    def take_head(self, request: http.Request) -> Head:
        return self._heads.pop(id(request), Head(b"", True, True, ""))

    def open(self, exchange: Exchange) -> None:
        self._by_flow[exchange.flow_id] = exchange

    def find(self, flow: http.HTTPFlow) -> Exchange | None:
        return self._by_flow.get(flow.id)

    def may_reuse(self, flow: http.HTTPFlow, address: IPAddress) -> bool:
        """Whether a kept connection to this address may serve the call: one its own decision resolved to."""
        exchange = self.find(flow)
        return exchange is not None and exchange.outcome is not None and address in exchange.outcome.addresses

    def on_whose_behalf(self, flow: http.HTTPFlow) -> tuple[str, ...] | None:
        """The mandate and the agent that a call is made for, and the credential it bears. A connection may remember who
        authenticated on it (Negotiate, NTLM), so it never serves another.
        """
        exchange = self.find(flow)
        identity = None if exchange is None or exchange.admission is None else exchange.admission.identity
        if exchange is None or identity is None:
            return None
        injection = exchange.injection
        bears = "" if injection is None else injection.credential.words
        return identity.mandate.root_id, identity.mandate.sub_path, bears

    def is_claimed(self, flow: http.HTTPFlow) -> bool:
        """Whether this is a released call, which dials a connection of its own."""
        exchange = self.find(flow)
        return exchange is not None and exchange.claimed

    def note_served(self, client_id: str, identity: Identity) -> None:
        """This identity opened the tunnel of this connection, or a call of its was allowed there."""
        served = self._served.setdefault(client_id, {})
        served[identity.mandate.leaf.id] = identity
        if len(served) > MOST_REMEMBERED:
            del served[next(iter(served))]

    def served(self) -> tuple[tuple[str, tuple[Identity, ...]], ...]:
        """Every client connection on which something was let pass, and for whom."""
        return tuple((client_id, tuple(each.values())) for client_id, each in self._served.items())

    def identities(self) -> tuple[Identity, ...]:
        """For whom something is under way, or may be soon, or was let pass on a connection that is open."""
        admitted = (each.admission.identity for each in self._by_flow.values() if each.admission is not None)
        served = (identity for _, identities in self.served() for identity in identities)
        return (*(identity for identity in admitted if identity is not None), *served)

    def forget_client(self, client_id: str) -> None:
        self._served.pop(client_id, None)

    def under_way(self) -> tuple[Exchange, ...]:
        """Every allowed exchange that has not ended."""
        return tuple(each for each in self._by_flow.values() if each.under_way)

    def note_gone(self, flow: http.HTTPFlow) -> None:
        """The client gave the call up: nothing of it is to be sent any more."""
        exchange = self.find(flow)
        if exchange is not None:
            exchange.gone.set()

    def note_sent(self, flow: http.HTTPFlow) -> bool:
        """Whether the call may be sent now: not when its client gave it up. If so, that is noted before it is."""
        exchange = self.find(flow)
        if exchange is None or exchange.gone.is_set():
            return False
        exchange.sent = True
        return True

    def forget(self, flow: http.HTTPFlow) -> None:
        exchange = self.find(flow)
        if exchange is not None:
            self.drop(exchange)

    def drop(self, exchange: Exchange) -> None:
        exchange.let_go()
        self._by_flow.pop(exchange.flow_id, None)

    def of_client(self, client_id: str) -> Iterator[Exchange]:
        return (each for each in tuple(self._by_flow.values()) if each.client_id == client_id)

    def __len__(self) -> int:
        return len(self._by_flow)
