"""Stopping what is already under way: a mandate that no longer stands ends its open streams, uploads and WebSockets,
the calls that wait for a person under it, and the tunnels and connections that nobody else uses.

A call is judged once, when it begins; its bytes may flow for an hour after that. So every allowed exchange that has
not ended is looked at again and again, as `Gate` looks at a new call: kill switch, quarantine, revocation, expiry,
sponsor, and what its proof rests on (`proxy.footing`). What fails is ended on both sides at once; nothing that waits in
a buffer still goes out. A stop that was taken back between two looks ends what it would have ended: whoever said it saw
everything end on other nodes.
"""

import asyncio
import logging
import time
from collections.abc import Mapping

from addons.exchange import Exchange, Exchanges
from addons.tidings import Stopped
from addons.transports import Connections, abort
from proxy.core.control import EVERYTHING, ControlView
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Mandate, Proof
from proxy.footing import Footings
from proxy.gate import Gate
from proxy.identity import Identity

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
"""Two looks and a store that is half a second behind stay within the two seconds that are promised."""

BLIND_S = 5.0
"""How long what is under way may go on once nobody can tell us of a stop any more. New calls are refused at once."""


class Live:
    """Looks after every allowed exchange of this worker until its last byte."""

    def __init__(self, gate: Gate, exchanges: Exchanges, connections: Connections, footings: Footings) -> None:
        self._gate = gate
        self._footings = footings
        self._exchanges = exchanges
        self._connections = connections
        self._seen_s = time.monotonic()
        self._heard: Mapping[str, int] | None = None  # the last stop of each target at the last look
        self._missed: frozenset[str] = frozenset()  # what was stopped since then, and may be going on again
        self._answering: set[str] = set()  # connections to end, which were still answering a call at the last look

    async def watch(self) -> None:
        """Look until cancelled. Runs for the life of the worker, which ends with it when looking fails for too long."""
        await asyncio.gather(self._watch_stops(), self._watch_registry())  # the store is slow when it is: a stop is not

    async def _watch_registry(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._footings.look(self._exchanges.identities())

    async def _watch_stops(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except Exception:
                logger.exception("what is under way could not be looked at")
                if self._is_blind:
                    raise

    async def look(self) -> None:
        """End every exchange under way whose mandate does not stand at this moment."""
        try:
            view = self._gate.view()
        except Unavailable as blind:
            if self._is_blind:
                for exchange in self._exchanges.under_way():
                    await self._stop(exchange, blind)
            return
        heard = view.last_stops()  # what began since, too: nobody knows which came first
        self._missed = (
            frozenset()
            if self._heard is None
            else frozenset(target for target, serial in heard.items() if serial > self._heard.get(target, -1))
        )
        self._heard = heard
        faults: dict[tuple[int, bool], Rejected | None] = {}  # by mandate: many exchanges have the same one
        for exchange in self._exchanges.under_way():
            identity, released = _identity(exchange), exchange.claimed
            asked = id(identity.mandate), released
            if asked not in faults:
                faults[asked] = self._fault(identity.mandate, view, filed=released)
            # What was to end ends, also when its agent may go on by now.
            fault = faults[asked] or self._unfounded(identity, released=released) or exchange.stopped
            if fault is not None:
                await self._stop(exchange, fault)
        self._gate.holding.waits.stop(lambda mandate: self._fault(mandate, view, filed=True) is not None)
        self._end_connections(view)
        self._seen_s = time.monotonic()

    def _end_connections(self, view: ControlView) -> None:
        """End what is open and idle, on which calls were let pass under mandates of which none stands any more.

        A connection that answers a call at this moment, with a refusal it can only be, has until the next look.
        """
        answering: set[str] = set()
        faults: dict[int, bool] = {}
        for client_id, identities in self._exchanges.served():
            for mandate in (identity.mandate for identity in identities):
                if id(mandate) not in faults:
                    faults[id(mandate)] = self._fault(mandate, view, filed=True) is not None
            # Where a session has ended, another may follow; the certificate of a connection stays the same.
            if client_id not in self._answering and not all(
                faults[id(each.mandate)]
                or (each.evidence.proof is not Proof.SESSION and self._unfounded(each, released=False) is not None)
                for each in identities
            ):
                continue
            if client_id not in self._answering and any(self._exchanges.of_client(client_id)):
                answering.add(client_id)
                continue
            handler = self._connections.get(client_id)
            for io in () if handler is None else tuple(handler.transports.values()):
                abort(io, "the mandate no longer stands")
        self._answering = answering

    @property
    def _is_blind(self) -> bool:
        return time.monotonic() - self._seen_s > BLIND_S

    def _fault(self, mandate: Mandate, view: ControlView, *, filed: bool) -> Rejected | None:
        try:
            self._gate.check_standing(mandate, view, filed=filed)
        except Rejected as fault:
            return fault
        if EVERYTHING in self._missed:
            return Rejected(Code.KILL_SWITCH, "everything was stopped while this was under way")
        for link in mandate.chain if self._missed else ():
            if link.sub in self._missed:
                return Rejected(Code.QUARANTINED, f"agent {link.sub} was quarantined while this was under way")
        return None

    def _unfounded(self, identity: Identity, *, released: bool) -> Rejected | None:
        try:
            self._footings.check(identity, released=released)
        except Rejected as fault:
            return fault
        return None

    async def _stop(self, exchange: Exchange, why: Rejected | Unavailable) -> None:
        """End a call on both sides. An agent whose answer has not begun is told why.

        Over HTTP/1 the connections carry nothing else, and are aborted. Over HTTP/2 the call's own streams are ended,
        which leaves the others; but what has not ended so by the next look ends with its connections.
        """
        first, exchange.stopped = exchange.stopped is None, exchange.stopped or why
        exchange.gone.set()  # what has not been sent is not sent any more
        handler = self._connections.get(exchange.client_id)
        if handler is None:
            return  # its client has left, and its last hooks are on their way
        if first:
            logger.warning("a call under way is ended: %s", why.detail)
        shared = handler.client.alpn == b"h2"
        for connection, io in tuple(handler.transports.items()):
            alone = not shared or (connection is exchange.flow.server_conn and connection.alpn != b"h2")
            tells = connection is handler.client and exchange.status is None
            if not first or (alone and not tells):
                abort(io, "the mandate no longer stands")
        if first and shared:
            await handler.server_event(Stopped(exchange.flow_id))


def _identity(exchange: Exchange) -> Identity:
    assert exchange.admission is not None and exchange.admission.identity is not None  # it was allowed
    return exchange.admission.identity
