"""The queue of held calls on Redis: every transition is one Lua script, every field is read back strictly."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from proxy.core.encoding import Json, parse_json
from proxy.core.errors import Code, Rejected, Unavailable
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
from proxy.core.model import Hold, HoldState, Proof, Risk, Said
from proxy.ports import Filed, HoldCaps, HoldNews, Holds, Missed, Moved, Sealing, Swept
from proxy.stores.memory_holds import RETAIN_S, cap_reached
from proxy.stores.redis import Entry, RedisServer, Reply, Script, prefix, script
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

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BLOCK_MS = 1000
_NUMBER = re.compile(r"[0-9]{1,15}")
_REQUIRED = frozenset(
    {"id", "state", "version", "fence", "call_digest", "root_id", "agent", "sponsor", "cluster", "task"}
    | {"code", "risk", "proof", "who", "filed_at", "expires_at", "body_bytes"}
)
_OPTIONAL = frozenset(
    {"statement", "decided_by", "decided_at", "reason", "sticky_until", "not_stored", "quorum", "said", "first_end"}
    | {"node", "waits_at", "delivers", "claimed_at", "claimed_by"}
)


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
        asked: dict[str, Json] = {"fields": _fields(draft), "ttl_ms": ttl_s * 1000, "caps": limits}
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
                raise _unexpected(other)

    async def get(self, hold_id: str) -> Hold | None:
        return _found(await self._run(_LOOK, {"id": hold_id}))

    async def find(self, root_id: str, call_digest: str) -> Hold | None:
        asked: dict[str, Json] = {"root_id": root_id, "call_digest": call_digest, "confirm": self._server.replicas > 0}
        return _found(await self._run(_FIND, asked))

    async def sealed(self, hold_id: str) -> bytes | None:
        match await self._run(_LOOK, {"id": hold_id, "sealed": True}):
            case [b"found", _, bytes(sealed)]:
                return sealed
            case [b"found", _] | [b"found", _, None] | [b"none"]:
                return None
            case other:
                raise _unexpected(other)

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
        changes["expires_at"] = None if expires_at is None else _millis(expires_at)
        asked: dict[str, Json] = {"id": hold_id, "sources": sorted(sources), "target": target}
        if event is Event.CLAIM:
            asked["claims"] = worker
        if event in FENCED:
            asked["fence"] = "" if fence is None else str(fence)
            asked["by"] = worker
        if event is Event.DENY:
            asked["sticky_ms"] = DENIAL_STICKS_S * 1000
            changes["sticky_until"] = None if sticky_until is None else _millis(sticky_until)
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
                raise _unexpected(other)

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
            return _readable(await self._run(_LIST, asked))
        found = [hold for reply in await self._run_everywhere(_LIST, asked) for hold in _readable(reply)]
        return tuple(sorted(found, key=lambda hold: hold.filed_at, reverse=True)[:limit])

    async def wait_at(self, hold_id: str, worker: str) -> None:
        if await self._run(_WAIT, {"id": hold_id, "worker": worker}) != [b"noted"]:
            raise _unexpected(None)

    async def keep_response(self, hold_id: str, sealed: bytes, *, ttl_s: int) -> None:
        if await self._run(_RESPONSE, {"id": hold_id, "ttl_ms": ttl_s * 1000}, sealed) != [b"kept"]:
            raise _unexpected(None)

    async def kept_response(self, hold_id: str) -> bytes | None:
        match await self._run(_RESPONSE, {"id": hold_id}):
            case [b"response", bytes(sealed)]:
                return sealed
            case [b"response"] | [b"response", None]:
                return None
            case other:
                raise _unexpected(other)

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
                    ended += _readable(over)
                    deliver += [each.decode("utf-8", "replace") for each in due if isinstance(each, bytes)]
                case other:
                    raise _unexpected(other)
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
                        raise _unexpected(other)
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
            yield _news(entry, cursor)

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


def _fields(draft: Hold) -> dict[str, Json]:
    """A fresh draft as the script stores it; what the store's clock sets is left out."""
    return {
        "id": draft.id,
        "state": HoldState.HELD,
        "call_digest": draft.call_digest,
        "root_id": draft.root_id,
        "agent": draft.agent,
        "sponsor": draft.sponsor,
        "cluster": draft.cluster,
        "task": draft.task,
        "code": draft.code,
        "risk": draft.risk,
        "proof": draft.proof.label,
        "who": json.dumps(draft.who),
        "body_bytes": str(draft.body_bytes),
        **({} if draft.stored else {"not_stored": "body"}),
        **({} if draft.quorum == 1 else {"quorum": str(draft.quorum)}),
        **({"node": draft.node} if draft.node else {}),
        **({"waits_at": draft.waits_at} if draft.waits_at else {}),
        **({"delivers": "1"} if draft.delivers else {}),
    }


def read_hold(flat: Sequence[Reply]) -> Hold:
    """A hold from its hash as the server sent it: names and values in turn.

    Raises:
        Rejected(HOLD_TAMPERED): anything our scripts would not have written.
    """
    try:
        texts = [_utf8(part) for part in flat]
        fields = dict(zip(texts[::2], texts[1::2], strict=True))
        if not fields.keys() >= _REQUIRED or not fields.keys() <= _REQUIRED | _OPTIONAL:
            raise ValueError("members are missing or foreign")
        who = parse_json(fields["who"].encode(), code=Code.HOLD_TAMPERED, what="who")
        if not isinstance(who, list) or not all(isinstance(one, str) for one in who):
            raise ValueError("who is not a list of names")
        decided_at, first_end = fields.get("decided_at"), fields.get("first_end")
        return Hold(
            id=fields["id"],
            state=HoldState(fields["state"]),
            version=_number(fields["version"]),
            fence=_number(fields["fence"]),
            call_digest=fields["call_digest"],
            root_id=fields["root_id"],
            agent=fields["agent"],
            sponsor=fields["sponsor"],
            cluster=fields["cluster"],
            task=fields["task"],
            code=Code(fields["code"]),
            risk=Risk(fields["risk"]),
            proof=Proof[fields["proof"].upper()],
            who=tuple(str(one) for one in who),
            filed_at=_moment(fields["filed_at"]),
            expires_at=_moment(fields["expires_at"]),
            first_end=None if first_end is None else _moment(first_end),
            quorum=_number(fields.get("quorum", "1")),
            statement=fields.get("statement"),
            said=_said(fields.get("said")),
            decided_by=fields.get("decided_by"),
            decided_at=None if decided_at is None else _moment(decided_at),
            reason=fields.get("reason"),
            body_bytes=_number(fields["body_bytes"]),
            stored="not_stored" not in fields,
            node=fields.get("node", ""),
            waits_at=fields.get("waits_at", ""),
            delivers="delivers" in fields,
            claimed_by=fields.get("claimed_by", ""),
        )
    except (ValueError, KeyError, OverflowError) as fault:
        raise Rejected(Code.HOLD_TAMPERED, f"a stored hold was changed by someone else: {fault}") from None


def _said(text: str | None) -> tuple[Said, ...]:
    """One statement a line, each after the version it gave the hold."""
    lines = () if text is None else (line.partition(" ") for line in text.split("\n"))
    return tuple(Said(version=_number(version), statement=statement) for version, _, statement in lines)


def _found(reply: Reply) -> Hold | None:
    match reply:
        case [b"found", [*flat], *_]:
            return read_hold(flat)
        case [b"none"]:
            return None
        case other:
            raise _unexpected(other)


def _readable(reply: Reply) -> tuple[Hold, ...]:
    """Every hold that can be read. One that cannot is left out: it can never be released, and must not hide others."""
    if not isinstance(reply, list):
        raise _unexpected(reply)
    holds: list[Hold] = []
    for flat in reply:
        with suppress(Rejected):
            holds.append(read_hold(flat if isinstance(flat, list) else ()))
    return tuple(holds)


def _unexpected(reply: Reply) -> Rejected | Unavailable:
    if reply == [b"tampered"]:
        return Rejected(Code.HOLD_TAMPERED, "a stored hold was changed by someone else")
    return Unavailable(Code.STORE_DOWN, "the store answered a script with something else than its result")


def _news(entry: Entry, cursor: str) -> HoldNews:
    try:
        return HoldNews(
            cursor=cursor,
            hold_id=entry.fields["id"],
            state=HoldState(entry.fields["state"]),
            version=_number(entry.fields["version"]),
        )
    except (ValueError, KeyError):  # whatever it was to say is lost
        raise Missed(Code.STORE_DOWN, f"the event {entry.id} was changed by someone else") from None


def _utf8(part: Reply) -> str:
    if not isinstance(part, bytes):
        raise ValueError("a member is not text")
    return part.decode("utf-8")


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError("a number is not decimal")
    return int(text)


def _moment(text: str) -> datetime:
    return _EPOCH + timedelta(milliseconds=_number(text))


def _millis(moment: datetime) -> str:
    return str(max(0, (moment - _EPOCH) // timedelta(milliseconds=1)))
