"""The nonce store on Redis: each nonce once in the whole deployment, and no proof that it may have forgotten."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from proxy.core.encoding import canonical_json, sha256_b64u
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Evidence
from proxy.ports import Replays
from proxy.stores.memory import (
    REMEMBER_S,
    SETTLE_S,
    Clock,
    nonce_of,
    proof_replayed,
    proof_too_old,
    system_clock,
)
from proxy.stores.redis import RedisServer, Reply, prefix, script, shard_of
from proxy.stores.redis_probe import setting

logger = logging.getLogger(__name__)

CLOCK_TOLERANCE_S = 2
MOST_AT_ONCE = 64
"""So many nonces are spent in one step; those that come meanwhile wait for its answer, and then go together."""

EPOCH = f"{prefix(0)}epoch"

_READY = script("epoch", "replay_ready", durable=False)
_SPEND = script("epoch", "replay_spend", durable=False)


class RedisReplays(Replays):
    """Nonces of one deployment on one server, which may be another one than the holds', without persistence."""

    def __init__(self, server: RedisServer, *, deployment: str, now: Clock = system_clock) -> None:
        self._server = server
        self._deployment = deployment
        self._clock = now
        self._queues: dict[str, _Queue] = {}  # by the prefix of their shard

    async def ready(self) -> datetime:
        """Open the epoch at start, in a cluster that of every shard, and return when proofs begin to be accepted.

        Raises:
            Unavailable(STORE_DOWN): no answer in time.
        """
        durable = True
        for node in await self._server.primaries():
            durable = durable and await setting(self._server, "appendonly", at=node) == "yes"
            durable = durable and await setting(self._server, "appendfsync", at=node) == "always"
        return max([await self._open(shard, durable=durable) for shard in range(self._server.shards)])

    async def _open(self, shard: int, *, durable: bool) -> datetime:
        match await self._server.run(_READY, (f"{prefix(shard)}epoch",), ("1" if durable else "0",)):
            case [bytes(), bytes(born_ms)]:
                return _moment(born_ms) + timedelta(seconds=SETTLE_S)
            case other:
                raise _unexpected(other)

    async def spend(self, evidence: Evidence) -> None:
        name = sha256_b64u(canonical_json([self._deployment, evidence.keyid, nonce_of(evidence)]))
        home = prefix(shard_of(name, self._server.shards))
        queue = self._queues.setdefault(home, _Queue())
        loop = asyncio.get_running_loop()
        asked = _Asked(
            key=f"{home}nonce:{name}", created_ms=int(evidence.created.timestamp() * 1000), answer=loop.create_future()
        )
        queue.waiting.append(asked)
        if queue.sending is None or queue.sending.done():
            queue.sending = loop.create_task(self._send(home, queue))
            queue.sending.add_done_callback(queue.ended)
        await asked.answer

    async def _send(self, home: str, queue: "_Queue") -> None:
        """Spend what waits, one batch after the other, until nothing does."""
        await asyncio.sleep(0)  # whoever else is ready joins the first batch
        while queue.waiting:
            batch, queue.waiting = queue.waiting[:MOST_AT_ONCE], queue.waiting[MOST_AT_ONCE:]
            await self._spend(home, batch)

    async def _spend(self, home: str, batch: Sequence["_Asked"]) -> None:
        """Spend one batch in one step, and answer each; after a fault none is taken for new."""
        faults: list[Rejected | Unavailable | None] = [_unsent()] * len(batch)
        try:
            faults = await self._ask(home, batch)
        except Unavailable as fault:
            faults = [fault] * len(batch)
        finally:
            _answer(batch, faults)

    async def _ask(self, home: str, batch: Sequence["_Asked"]) -> "list[Rejected | Unavailable | None]":
        """What speaks against each of a batch; None: it was new, and is spent now.

        Raises:
            Unavailable: no answer in time, or none that could be trusted.
        """
        before = self._clock()
        reply = await self._server.run(
            _SPEND,
            (f"{home}epoch", *(each.key for each in batch)),
            (str(SETTLE_S * 1000), str(REMEMBER_S * 1000), *(str(each.created_ms) for each in batch)),
        )
        after = self._clock()
        match reply:
            case [bytes(now_ms), bytes(born_ms), [*outcomes]] if len(outcomes) == len(batch):
                now = _moment(now_ms)
            case other:
                raise _unexpected(other)
        tolerance = timedelta(seconds=CLOCK_TOLERANCE_S)
        if not before - tolerance <= now <= after + tolerance:
            ahead_s = (before - now).total_seconds()
            raise Unavailable(
                Code.CLOCK_WRONG,
                f"our clock must be within {CLOCK_TOLERANCE_S} s of the store's, got {ahead_s:+.1f} s: run NTP on both",
            )
        young_s = (_moment(born_ms) + timedelta(seconds=SETTLE_S) - now).total_seconds()
        return [_fault(outcome, young_s) for outcome in outcomes]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Asked:
    """One nonce that somebody waits to have spent."""

    key: str
    created_ms: int
    answer: "asyncio.Future[None]"


@dataclass(slots=True)
class _Queue:
    """The nonces of one shard that wait for the answer to those before them."""

    waiting: list[_Asked] = field(default_factory=list)
    sending: "asyncio.Task[None] | None" = None

    def ended(self, sending: "asyncio.Task[None]") -> None:
        """Nobody sends any more. What still waits is of a task that failed or was ended: nothing of it was spent."""
        if self.sending is not sending:
            return  # another one sends already
        waiting, self.waiting = self.waiting, []
        _answer(waiting, [_unsent()] * len(waiting))
        if not sending.cancelled() and (fault := sending.exception()) is not None:
            logger.error("the nonces that waited could not be sent: %r", fault)


def _answer(asked: Sequence[_Asked], faults: Sequence[Rejected | Unavailable | None]) -> None:
    for each, fault in zip(asked, faults, strict=True):
        if each.answer.done():
            continue  # its caller has left
        if fault is None:
            each.answer.set_result(None)
        else:
            each.answer.set_exception(fault)


def _unsent() -> Unavailable:
    return Unavailable(Code.STORE_DOWN, "the nonce store was left before it answered")


def _fault(outcome: Reply, young_s: float) -> Rejected | Unavailable | None:
    match outcome:
        case b"spent":
            return None
        case b"young":
            return proof_too_old(young_s)
        case _:
            return proof_replayed()


def _moment(millis: bytes) -> datetime:
    return datetime.fromtimestamp(int(millis) / 1000, tz=UTC)


def _unexpected(reply: Reply) -> Unavailable:
    return Unavailable(Code.STORE_DOWN, f"the store answered a script with {type(reply).__name__}")
