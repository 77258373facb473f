"""Delivering: a released call that this node sends by itself, and the response it keeps for the call's agent.

A delivery is the agent's own `POST http://intent.internal/holds/ID/redeem`, made on a connection that exists in this
process only. What would be its proof is that the connection was made here: who asks is read from the sealed record of
the call, and everything else is asked anew, on the same way as for every call.
"""

import asyncio
import logging
from dataclasses import dataclass, field

from proxy.core.canonical import Limits, canonicalise
from proxy.core.delivering import KeptResponse, kept_from_bytes, kept_to_bytes
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Hold, Leg, Received
from proxy.core.names import INTERNAL_HOST
from proxy.holding import Holding
from proxy.identify import Identifier
from proxy.ports import Holds, Vault
from proxy.recording import Admission

logger = logging.getLogger(__name__)

SOURCE = "deliver"
"""What the journal says of where such a call came from."""

KEEP_AGAIN_S = (0.0, 0.5, 1.0, 2.0, 4.0)
"""The pauses before each attempt to keep a response: it comes once, and the store may be away just then."""

_HEADERS_NOT_KEPT = frozenset(
    {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "trailer"}
)


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One delivery from its connection to its response."""

    hold_id: str
    most_bytes: int  # of a response's body that are kept
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytearray = field(default_factory=bytearray)
    body_bytes: int = 0
    complete: bool = False

    def head(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        """Note the head of the response."""
        self.status = status
        self.headers = tuple(
            (name, value)
            for name, value in headers
            if name.lower() not in _HEADERS_NOT_KEPT and (name + value).isascii() and value.isprintable()
        )

    def take(self, data: bytes) -> None:
        """Note a part of its body. One that is too large is not kept at all: half a document misleads."""
        self.body_bytes += len(data)
        if self.body_bytes <= self.most_bytes:
            self.body += data
        else:
            self.body.clear()

    @property
    def kept(self) -> KeptResponse | None:
        """The response as far as it came; None when none came."""
        if self.status is None:
            return None
        return KeptResponse(
            status=self.status,
            headers=self.headers,
            body=bytes(self.body),
            body_bytes=self.body_bytes,
            complete=self.complete,
        )


class Deliveries:
    """The deliveries of this worker under way, by client connection, and the responses that are kept."""

    def __init__(
        self,
        *,
        identifier: Identifier,
        holding: Holding,
        holds: Holds,
        vault: Vault,
        limits: Limits,
        response_bytes: int,
        response_ttl_s: int,
    ) -> None:
        self._identifier = identifier
        self._holding = holding
        self._holds = holds
        self._vault = vault
        self._limits = limits
        self._response_bytes = response_bytes
        self._response_ttl_s = response_ttl_s
        self._of_client: dict[str, Delivery] = {}

    def begin(self, client_id: str, hold_id: str) -> Delivery:
        """From now on the one request of this connection, which is ours alone, delivers this hold."""
        delivery = Delivery(hold_id=hold_id, most_bytes=self._response_bytes)
        self._of_client[client_id] = delivery
        return delivery

    def end(self, client_id: str) -> None:
        self._of_client.pop(client_id, None)

    def of_client(self, client_id: str) -> Delivery | None:
        """The delivery this connection was made for; None for every connection that came from outside."""
        return self._of_client.get(client_id)

    def under_way(self, hold_id: str) -> bool:
        return any(each.hold_id == hold_id for each in self._of_client.values())

    async def admit(self, received: Received, client_id: str, delivery: Delivery) -> Admission:
        """Read the head of a delivery: who asks is who filed the call."""
        leg = Leg(id=client_id, source=SOURCE, tls=False, local=True)
        try:
            call = canonicalise(received, leg, self._limits)
        except Rejected as fault:
            return Admission(leg=leg, received=received, ambiguous=fault)
        if (call.host, call.path) != (INTERNAL_HOST, f"/holds/{delivery.hold_id}/redeem"):
            other = Rejected(Code.GUARD_SELF, "a delivery asks for its own hold, and for nothing else")
            return Admission(leg=leg, received=received, ambiguous=other)
        try:
            identity = self._identifier.as_filed(await self._holding.stored_of(delivery.hold_id))
        except (Rejected, Unavailable) as fault:
            return Admission(leg=leg, received=received, call=call, refusal=fault)
        return Admission(leg=leg, received=received, call=call, identity=identity)

    async def keep(self, delivery: Delivery) -> None:
        """Keep the response for the agent. The call was sent whether that can be done or not."""
        kept = delivery.kept
        if kept is None:
            return
        sealed = self._vault.seal(_named(delivery.hold_id), kept_to_bytes(kept))
        for pause_s in KEEP_AGAIN_S:
            await asyncio.sleep(pause_s)
            try:
                await self._holds.keep_response(delivery.hold_id, sealed, ttl_s=self._response_ttl_s)
                return
            except (Rejected, Unavailable) as fault:
                told = fault.detail
        logger.error("hold %s was delivered, and the response could not be kept: %s", delivery.hold_id, told)

    async def response(self, hold: Hold) -> KeptResponse:
        """The response that was kept for a hold.

        Raises:
            Rejected(HOLD_UNKNOWN): there is none, or not any more.
            Rejected(HOLD_TAMPERED): what is stored is not what was kept.
            Unavailable: the store does not answer.
        """
        sealed = await self._holds.kept_response(hold.id)
        if sealed is None:
            raise Rejected(Code.HOLD_UNKNOWN, "no response is kept for this hold", field="response")
        return kept_from_bytes(self._vault.unseal(_named(hold.id), sealed))


def _named(hold_id: str) -> str:
    """What a response is sealed for: no call's ciphertext passes as one."""
    return f"{hold_id}/response"
