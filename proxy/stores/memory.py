"""The stores within one process: the same semantics as on Redis, held to the same tests, gone when the process ends."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice

from proxy.core.control import ControlView
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Evidence
from proxy.ports import Control, Mandates, Replays
from proxy.stores.statements import Statements

REMEMBER_S = 180
"""How long a nonce is remembered: longer than any proof is valid."""

SETTLE_S = 5
"""Proofs made before the nonce store's birth plus this are refused: one may have been spent in a store now gone."""

type Clock = Callable[[], datetime]

system_clock: Clock = partial(datetime.now, UTC)


def proof_too_old(left_s: float) -> Unavailable:
    """The refusal of a proof that a store which has just begun cannot know."""
    return Unavailable(
        Code.REPLAY_EPOCH,
        "the store of used proofs has just begun and cannot know older ones: sign the call again",
        retry_after_s=max(1, math.ceil(left_s)),
    )


def proof_replayed() -> Rejected:
    """The refusal of a proof seen before."""
    return Rejected(Code.PROOF_REPLAYED, "this proof was used before: sign every call anew", field="nonce")


def nonce_of(evidence: Evidence) -> str:
    """The nonce to spend.

    Raises:
        Rejected(PROOF_MALFORMED): there is none, as with inherited proof; then there is nothing to spend.
    """
    if evidence.nonce is None:
        raise Rejected(Code.PROOF_MALFORMED, "a proof without a nonce cannot be spent", field="nonce")
    return evidence.nonce


class MemoryReplays(Replays):
    """Nonces of one process. It is born when made, unless `born_at` says that nothing was forgotten since then."""

    def __init__(self, *, now: Clock = system_clock, born_at: datetime | None = None) -> None:
        self._clock = now
        self._born_at = born_at or now()
        self._spent: dict[tuple[str, str], datetime] = {}

    async def ready(self) -> datetime:
        """When proofs begin to be accepted."""
        return self._born_at + timedelta(seconds=SETTLE_S)

    async def spend(self, evidence: Evidence) -> None:
        name = (evidence.keyid, nonce_of(evidence))
        now = self._clock()
        settled_at = self._born_at + timedelta(seconds=SETTLE_S)
        if evidence.created < settled_at:
            raise proof_too_old((settled_at - now).total_seconds())
        for old, until in list(islice(self._spent.items(), 64)):  # the oldest come first
            if until <= now:
                del self._spent[old]
        if name in self._spent:
            raise proof_replayed()
        self._spent[name] = now + timedelta(seconds=REMEMBER_S)


class MemoryMandates(Mandates):
    """Chains by root id, forgotten when they end; and registered manifests."""

    def __init__(self, *, now: Clock = system_clock) -> None:
        self._clock = now
        self._chains: dict[str, tuple[tuple[str, ...], datetime]] = {}
        self._registered: dict[str, dict[str, str]] = {}

    async def put(self, root_id: str, chain: tuple[str, ...], *, until: datetime) -> None:
        self._chains[root_id] = (chain, until)

    async def get(self, root_id: str) -> tuple[str, ...] | None:
        chain, until = self._chains.get(root_id, ((), self._clock()))
        if until <= self._clock():
            self._chains.pop(root_id, None)
            return None
        return chain

    async def register(self, name: str, manifest_id: str, manifest: str) -> None:
        self._registered.setdefault(name, {})[manifest_id] = manifest

    async def registered(self, name: str) -> tuple[str, ...]:
        return tuple(self._registered.get(name, {}).values())

    async def unregister(self, name: str, manifest_id: str) -> None:
        self._registered.get(name, {}).pop(manifest_id, None)


class MemoryControl(Control):
    """What is stopped, known as soon as it is published."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    def view(self) -> ControlView:
        return self._statements.view

    async def publish(self, statement: str) -> None:
        await self._statements.accept(self._statements.check(statement))
