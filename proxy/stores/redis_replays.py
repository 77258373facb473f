"""The nonce store on Redis: each nonce once in the whole deployment, and no proof that it may have forgotten."""

from datetime import UTC, datetime, timedelta

from proxy.core.encoding import canonical_json, sha256_b64u
from proxy.core.errors import Code, Unavailable
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

CLOCK_TOLERANCE_S = 2

EPOCH = f"{prefix(0)}epoch"

_READY = script("epoch", "replay_ready", durable=False)
_SPEND = script("epoch", "replay_spend", durable=False)


class RedisReplays(Replays):
    """Nonces of one deployment on one server, which may be another one than the holds', without persistence."""

    def __init__(self, server: RedisServer, *, deployment: str, now: Clock = system_clock) -> None:
        self._server = server
        self._deployment = deployment
        self._clock = now

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
        created_ms = str(int(evidence.created.timestamp() * 1000))
        before = self._clock()
        reply = await self._server.run(
            _SPEND,
            (f"{home}epoch", f"{home}nonce:{name}"),
            (created_ms, str(SETTLE_S * 1000), str(REMEMBER_S * 1000)),
        )
        after = self._clock()
        match reply:
            case [bytes(outcome), bytes(now_ms), bytes(born_ms)]:
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
        if outcome == b"young":
            raise proof_too_old((_moment(born_ms) + timedelta(seconds=SETTLE_S) - now).total_seconds())
        if outcome != b"spent":
            raise proof_replayed()


def _moment(millis: bytes) -> datetime:
    return datetime.fromtimestamp(int(millis) / 1000, tz=UTC)


def _unexpected(reply: Reply) -> Unavailable:
    return Unavailable(Code.STORE_DOWN, f"the store answered a script with {type(reply).__name__}")
