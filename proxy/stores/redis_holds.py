"""The queue of held calls on Redis: every transition is one Lua script, every field is read back strictly."""

import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
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
from proxy.core.model import Hold, HoldState, Proof, Risk
from proxy.ports import Filed, HoldCaps, HoldNews, Holds, Moved, Swept
from proxy.stores.memory import RETAIN_S, cap_reached
from proxy.stores.redis import PREFIX, Entry, RedisServer, Reply, Script, script

EVENTS = f"{PREFIX}events"

_FILE = script("stream", "hold", "hold_file")
_APPLY = script("stream", "hold", "hold_apply")
_LOOK = script("stream", "hold", "hold_look")
_LIST = script("stream", "hold", "hold_list")
_SWEEP = script("stream", "hold", "hold_sweep")
_WAIT = script("stream", "hold", "hold_wait")
_RESPONSE = script("stream", "hold", "hold_response")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BLOCK_MS = 1000
_NUMBER = re.compile(r"[0-9]{1,15}")
_REQUIRED = frozenset(
    {"id", "state", "version", "fence", "call_digest", "root_id", "agent", "sponsor", "cluster", "task"}
    | {"code", "risk", "proof", "who", "filed_at", "expires_at", "body_bytes"}
)
_OPTIONAL = frozenset(
    {"statement", "decided_by", "decided_at", "reason", "sticky_until", "not_stored"}
    | {"node", "waits_at", "delivers", "claimed_at", "claimed_by"}
)


class RedisHolds(Holds):
    """Holds on one server. Deadlines are its clock's; an overdue hold is expired by whichever script meets it first."""

    def __init__(self, server: RedisServer, *, retain_s: int = RETAIN_S) -> None:
        sources, end = TRANSITIONS[Event.EXPIRE]
        house: dict[str, Json] = {
            "prefix": PREFIX,
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
        self._house = json.dumps(house)

    async def file(self, draft: Hold, sealed: bytes, *, ttl_s: int, caps: HoldCaps) -> Filed:
        limits: dict[str, Json] = {
            "open_per_root": caps.open_per_root,
            "open_per_sponsor": caps.open_per_sponsor,
            "per_hour_per_root": caps.per_hour_per_root,
            "bytes_per_root": caps.bytes_per_root,
        }
        asked: dict[str, Json] = {"fields": _fields(draft), "ttl_ms": ttl_s * 1000, "caps": limits}
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
        return _found(await self._run(_LOOK, {"root_id": root_id, "call_digest": call_digest}))

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
        worker: str = "",
    ) -> Moved:
        sources, target = TRANSITIONS[event]
        changes = {"statement": statement, "decided_by": by, "reason": reason}
        asked: dict[str, Json] = {"id": hold_id, "sources": sorted(sources), "target": target}
        if event is Event.CLAIM:
            asked["claims"] = worker
        if event in FENCED:
            asked["fence"] = "" if fence is None else str(fence)
            asked["by"] = worker
        if event is Event.DENY:
            asked["sticky_ms"] = DENIAL_STICKS_S * 1000
            changes["sticky_until"] = None if sticky_until is None else _millis(sticky_until)
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
        return _readable(await self._run(_LIST, asked))

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

    async def sweep(self, worker: str = "", node: str = "") -> Swept:
        match await self._run(_SWEEP, {"worker": worker, "node": node}):
            case [b"swept", [*ended], [*deliver]]:
                return Swept(
                    ended=_readable(ended),
                    deliver=tuple(each.decode("utf-8", "replace") for each in deliver if isinstance(each, bytes)),
                )
            case other:
                raise _unexpected(other)

    async def cursor(self) -> str:
        """Where the event stream is now: `news` from here misses nothing that happens after this call."""
        return await self._server.last_entry(EVENTS)

    async def news(self, after: str = "$") -> AsyncIterator[HoldNews]:
        cursor = await self.cursor() if after == "$" else after
        while True:
            for entry in await self._server.entries_after(EVENTS, cursor, block_ms=_BLOCK_MS):
                cursor = entry.id
                yield _news(entry)

    async def _run(self, what: Script, asked: Mapping[str, Json], *more: bytes) -> Reply:
        return await self._server.run(what, (EVENTS,), (self._house, json.dumps(asked), *more))


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
        decided_at = fields.get("decided_at")
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
            statement=fields.get("statement"),
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


def _news(entry: Entry) -> HoldNews:
    try:
        return HoldNews(
            cursor=entry.id,
            hold_id=entry.fields["id"],
            state=HoldState(entry.fields["state"]),
            version=_number(entry.fields["version"]),
        )
    except (ValueError, KeyError):
        raise Unavailable(Code.STORE_DOWN, f"the event {entry.id} was changed by someone else") from None


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
