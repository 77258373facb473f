"""The queue of held calls on Redis: every transition is one Lua script, every field is read back strictly."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime

from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.holds import (
    BEAT_S,
    DENIAL_STICKS_S,
    EXCLUSIVE_S,
    FENCED,
    LONGEST_SEND_S,
    OPEN,
    RETRY_DELIVERY_S,
    TRANSITIONS,
    Event,
)
from proxy.core.model import Hold, HoldState, Risk
from proxy.ports import Filed, HoldCaps, HoldNews, Holds, Moved, Sealing, Swept
from proxy.stores.hold_records import fields_of, millis, read_all, read_found, read_hold, read_news, unexpected
from proxy.stores.memory_holds import RETAIN_S, cap_reached
from proxy.stores.redis import RedisServer, Reply, Script, prefix, script
from proxy.stores.redis_shards import Places, merged

EVENTS = f"{prefix(0)}events"

_FILE = script("stream", "hold", "hold_file")
_APPLY = script("stream", "hold", "hold_apply")
_LOOK = script("stream", "hold", "hold_look", durable=False)
_FIND = script("stream", "hold", "hold_look")  # an agent is told of what is found
_LIST = script("stream", "hold", "hold_list", durable=False)
_SWEEP = script("stream", "hold", "hold_sweep", durable=False)
_SEALINGS = script("stream", "hold", "hold_sealings", durable=False)
_RESEAL = script("stream", "hold", "hold_reseal")
_WAIT = script("stream", "hold", "hold_wait")
_RESPONSE = script("stream", "hold", "hold_response")

logger = logging.getLogger(__name__)

_BLOCK_MS = 1000


class RedisHolds(Holds):
    """Holds in one deployment. Deadlines are the server's clock's; an overdue hold is expired by whichever script
    meets it first. In a cluster all of a root mandate's holds are in one shard, and whoever lists them merges."""

    def __init__(self, server: RedisServer, *, retain_s: int = RETAIN_S) -> None:
        sources, end = TRANSITIONS[Event.EXPIRE]
        house: dict[str, Json] = {
            "retain_ms": retain_s * 1000,
            "expirable": sorted(sources),
            "expired": end,
            "held": HoldState.HELD,
            "approved": HoldState.APPROVED,
            "sending": HoldState.RELEASING,
            "lost": HoldState.UNCERTAIN,
            "bound": Risk.TRANSFORMATIVE,
            "exclusive_ms": EXCLUSIVE_S * 1000,
            "beat_ms": BEAT_S * 1000,
            "longest_send_ms": LONGEST_SEND_S * 1000,
            "deliver_ms": [pause_s * 1000 for pause_s in RETRY_DELIVERY_S],
        }
        self._server = server
        self._houses = tuple(json.dumps({"prefix": prefix(shard)} | house) for shard in range(server.shards))
        self._places = Places(server)

    async def file(self, draft: Hold, sealed: bytes, *, ttl_s: int, caps: HoldCaps) -> Filed:
        elsewhere = await self._places.open_elsewhere(draft)
        limits: dict[str, Json] = {
            "open_per_root": caps.open_per_root,
            "open_per_sponsor": max(0, caps.open_per_sponsor - elsewhere),
            "per_hour_per_root": caps.per_hour_per_root,
            "bytes_per_root": caps.bytes_per_root,
        }
        asked: dict[str, Json] = {"fields": fields_of(draft), "ttl_ms": ttl_s * 1000, "caps": limits}
        asked["confirm"] = self._server.replicas > 0
        match await self._run(_FILE, asked, sealed):
            case [b"created", [*flat]]:
                return Filed(hold=read_hold(flat), created=True)
            case [b"exists", [*flat]]:
                return Filed(hold=read_hold(flat), created=False)
            case [b"cap", bytes(name)]:
                raise cap_reached(caps, name.decode("ascii"))
            case [b"taken"]:
                raise Rejected(Code.HOLD_TAMPERED, f"another call is already held as {draft.id}", field="id")
            case other:
                raise unexpected(other)

    async def get(self, hold_id: str) -> Hold | None:
        return read_found(await self._run(_LOOK, {"id": hold_id}))

    async def find(self, root_id: str, call_digest: str) -> Hold | None:
        asked: dict[str, Json] = {"root_id": root_id, "call_digest": call_digest, "confirm": self._server.replicas > 0}
        return read_found(await self._run(_FIND, asked))

    async def sealed(self, hold_id: str) -> bytes | None:
        match await self._run(_LOOK, {"id": hold_id, "sealed": True}):
            case [b"found", _, bytes(sealed)]:
                return sealed
            case [b"found", _] | [b"found", _, None] | [b"none"]:
                return None
            case other:
                raise unexpected(other)

    async def apply(
        self,
        hold_id: str,
        event: Event,
        *,
        fence: int | None = None,
        statement: str | None = None,
        by: str | None = None,
        reason: str | None = None,
        sticky_until: datetime | None = None,
        said: str | None = None,
        expires_at: datetime | None = None,
        version: int | None = None,
        worker: str = "",
    ) -> Moved:
        sources, target = TRANSITIONS[event]
        changes = {"statement": statement, "decided_by": by, "reason": reason}
        changes["expires_at"] = None if expires_at is None else millis(expires_at)
        asked: dict[str, Json] = {"id": hold_id, "sources": sorted(sources), "target": target}
        if event is Event.CLAIM:
            asked["claims"] = worker
        if event in FENCED:
            asked["fence"] = "" if fence is None else str(fence)
            asked["by"] = worker
        if event is Event.DENY:
            asked["sticky_ms"] = DENIAL_STICKS_S * 1000
            changes["sticky_until"] = None if sticky_until is None else millis(sticky_until)
        if event is Event.LIFT:
            asked["lifts"], changes["sticky_until"] = True, "0"
        if said is not None:
            asked["said"] = said
        if version is not None:
            asked["version"] = str(version)
        asked["changes"] = {name: value for name, value in changes.items() if value is not None}
        match await self._run(_APPLY, asked):
            case [b"moved", int(applied), [*flat]]:
                return Moved(hold=read_hold(flat), applied=applied == 1)
            case [b"unknown"]:
                raise Rejected(Code.HOLD_UNKNOWN, f"there is no hold {hold_id}")
            case other:
                raise unexpected(other)

    async def listing(
        self,
        *,
        states: frozenset[HoldState] | None = None,
        agent: str | None = None,
        sponsor: str | None = None,
        root_id: str | None = None,
        limit: int = 200,
    ) -> tuple[Hold, ...]:
        wanted = OPEN if states is None else states
        filters = {"agent": agent, "sponsor": sponsor, "root_id": root_id}
        asked: dict[str, Json] = {name: value for name, value in filters.items() if value is not None}
        asked |= {"states": sorted(wanted), "open": wanted <= OPEN, "limit": limit}
        if root_id is not None:
            return read_all(await self._run(_LIST, asked))
        found = [hold for reply in await self._run_everywhere(_LIST, asked) for hold in read_all(reply)]
        return tuple(sorted(found, key=lambda hold: hold.filed_at, reverse=True)[:limit])

    async def wait_at(self, hold_id: str, worker: str) -> None:
        if await self._run(_WAIT, {"id": hold_id, "worker": worker}) != [b"noted"]:
            raise unexpected(None)

    async def keep_response(self, hold_id: str, sealed: bytes, *, ttl_s: int) -> None:
        if await self._run(_RESPONSE, {"id": hold_id, "ttl_ms": ttl_s * 1000}, sealed) != [b"kept"]:
            raise unexpected(None)

    async def kept_response(self, hold_id: str) -> bytes | None:
        match await self._run(_RESPONSE, {"id": hold_id}):
            case [b"response", bytes(sealed)]:
                return sealed
            case [b"response"] | [b"response", None]:
                return None
            case other:
                raise unexpected(other)

    async def sweep(self, worker: str = "", node: str = "", told: Collection[str] = ()) -> Swept:
        ended: list[Hold] = []
        deliver: list[str] = []
        asked: dict[str, Json] = {"worker": worker, "node": node, "told": list(told)}
        shards = range(self._server.shards)
        runs = (self._run_in(shard, _SWEEP, asked) for shard in shards)
        replies = await asyncio.gather(*runs, return_exceptions=True)
        faults = [reply for reply in replies if isinstance(reply, BaseException)]
        if len(faults) == len(replies):
            raise faults[0]
        for fault in faults:  # what the others said was said once, and must not be lost with it
            logger.warning("one shard could not be swept: %s", fault)
        for reply in replies:
            match reply:
                case BaseException():
                    continue
                case [b"swept", [*over], [*due]]:
                    ended += read_all(over)
                    deliver += [each.decode("utf-8", "replace") for each in due if isinstance(each, bytes)]
                case other:
                    raise unexpected(other)
        return Swept(ended=tuple(ended), deliver=tuple(deliver))

    async def sealings(self, head_bytes: int) -> AsyncIterator[Sealing]:
        for shard in range(self._server.shards):
            cursor = "0"
            while True:
                match await self._run_in(shard, _SEALINGS, {"cursor": cursor, "head_bytes": head_bytes}):
                    case [b"page", bytes(following), [*flat]]:
                        for hold_id, head in zip(flat[::2], flat[1::2], strict=True):
                            if isinstance(hold_id, bytes) and isinstance(head, bytes):
                                yield Sealing(hold_id=hold_id.decode("utf-8", "replace"), head=head)
                    case other:
                        raise unexpected(other)
                cursor = following.decode("ascii", "replace")
                if cursor == "0":
                    break

    async def reseal(self, hold_id: str, before: bytes, after: bytes, *, whole: bool) -> bool:
        return await self._run(_RESEAL, {"id": hold_id, "whole": whole}, before, after) == 1

    async def cursor(self) -> str:
        """Where the event streams are now: `news` from here misses nothing that happens after this call."""
        return ",".join([await self._server.last_entry(stream) for stream in self._streams()])

    async def news(self, after: str = "$") -> AsyncIterator[HoldNews]:
        start = await self.cursor() if after == "$" else after
        async for cursor, entry in merged(self._server, self._streams(), start, block_ms=_BLOCK_MS):
            yield read_news(entry, cursor)

    def _streams(self) -> tuple[str, ...]:
        return tuple(f"{prefix(shard)}events" for shard in range(self._server.shards))

    async def _run(self, what: Script, asked: Mapping[str, Json], *more: bytes) -> Reply:
        """Run a script in the shard of the root mandate, or of the hold, that `asked` names."""
        return await self._run_in(await self._places.of(asked), what, asked, *more)

    async def _run_everywhere(self, what: Script, asked: Mapping[str, Json]) -> list[Reply]:
        return await asyncio.gather(*(self._run_in(shard, what, asked) for shard in range(self._server.shards)))

    async def _run_in(self, shard: int, what: Script, asked: Mapping[str, Json], *more: bytes) -> Reply:
        stream, house = f"{prefix(shard)}events", self._houses[shard]
        return await self._server.run(what, (stream,), (house, json.dumps(asked), *more))
