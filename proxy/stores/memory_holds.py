"""Held calls within one process: the same semantics as on Redis, held to the same tests."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from proxy.core.errors import Code, Rejected
from proxy.core.holds import (
    BEAT_S,
    DENIAL_STICKS_S,
    EXCLUSIVE_S,
    FENCED,
    LONGEST_SEND_S,
    OPEN,
    RETRY_DELIVERY_S,
    TERMINAL,
    TRANSITIONS,
    Event,
    after,
)
from proxy.core.model import Hold, HoldState, Risk, Said
from proxy.ports import Filed, HoldCaps, HoldNews, Holds, Missed, Moved, Sealing, Swept
from proxy.stores.memory import Clock, system_clock

RETAIN_S = 86_400
"""How long the record of a hold that is over can still be read."""

EVENTS_KEPT = 10_000

DELIVER_AT_ONCE = 16
"""So many released calls of each queue are handed to a worker at one look."""

_BEAT = timedelta(seconds=BEAT_S)


def cap_reached(caps: HoldCaps, name: str) -> Rejected:
    """The refusal of a call that would be held beyond the cap `name`."""
    return Rejected(Code.HOLD_CAP, f"no more can be held now: {name} is {getattr(caps, name)}", field=name)


@dataclass(slots=True, kw_only=True)
class _Record:
    hold: Hold
    sealed: bytes | None
    sticky_until: datetime | None = None
    forget_at: datetime | None = None
    claimed_at: datetime | None = None
    deliver_at: datetime | None = None
    response: tuple[bytes, datetime] | None = None  # and until when it is kept


class MemoryHolds(Holds):
    """Holds of one process. An overdue hold is expired by whichever call meets it first."""

    def __init__(self, *, now: Clock = system_clock, retain_s: int = RETAIN_S, events_kept: int = EVENTS_KEPT) -> None:
        self._clock = now
        self._retain = timedelta(seconds=retain_s)
        self._records: dict[str, _Record] = {}
        self._untold: dict[str, datetime] = {}  # hold id -> when somebody is told that it ended
        self._events: deque[HoldNews] = deque(maxlen=events_kept)
        self._beats: dict[str, tuple[datetime, datetime]] = {}  # worker -> since when it is there, and last heard of
        self._event_count = 0
        self._bell = asyncio.Event()

    async def file(self, draft: Hold, sealed: bytes, *, ttl_s: int, caps: HoldCaps) -> Filed:
        now = self._lapse_all()
        twin = self._counting(draft.root_id, draft.call_digest, now)
        if twin is not None:
            return Filed(hold=twin.hold, created=False)
        if draft.id in self._records:
            raise Rejected(Code.HOLD_TAMPERED, f"another call is already held as {draft.id}", field="id")
        self._check_caps(draft, caps, now)
        deadline = now + timedelta(seconds=ttl_s)
        hold = replace(draft, state=HoldState.HELD, version=1, fence=0, filed_at=now, expires_at=deadline)
        self._records[hold.id] = _Record(hold=hold, sealed=sealed)
        self._announce(hold)
        return Filed(hold=hold, created=True)

    async def get(self, hold_id: str) -> Hold | None:
        self._lapse_all()
        record = self._records.get(hold_id)
        return None if record is None else record.hold

    async def find(self, root_id: str, call_digest: str) -> Hold | None:
        record = self._counting(root_id, call_digest, self._lapse_all())
        return None if record is None else record.hold

    async def sealed(self, hold_id: str) -> bytes | None:
        self._lapse_all()
        record = self._records.get(hold_id)
        return None if record is None else record.sealed

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
        record = self._records.get(hold_id)
        if record is None:
            raise Rejected(Code.HOLD_UNKNOWN, f"there is no hold {hold_id}")
        before, now = record.hold.state, self._lapse_all()
        hold = record.hold
        if event is Event.EXPIRE:
            return Moved(hold=hold, applied=before is not hold.state)
        state = after(hold.state, event)
        if state is None or version not in (None, hold.version):
            return Moved(hold=hold, applied=False)
        if event in FENCED and (fence, worker) != (hold.fence, hold.claimed_by):
            return Moved(hold=hold, applied=False)
        if event is Event.CLAIM:
            if self._reserved(hold, worker, now):
                return Moved(hold=hold, applied=False)
            record.claimed_at = now
        if event is Event.DENY:
            record.sticky_until = sticky_until or now + timedelta(seconds=DENIAL_STICKS_S)
        if event is Event.LIFT:
            record.sticky_until = None
        if said is not None:
            hold = replace(hold, said=(*hold.said, Said(version=hold.version + 1, statement=said)))
        if expires_at is not None:
            hold = replace(hold, expires_at=expires_at, first_end=hold.first_end or hold.expires_at)
        record.hold = replace(
            hold,
            fence=hold.fence + (event is Event.CLAIM),
            statement=hold.statement if statement is None else statement,
            decided_by=hold.decided_by if by is None else by,
            decided_at=hold.decided_at if by is None else now,
            reason=hold.reason if reason is None else reason,
            claimed_by=worker if event is Event.CLAIM else hold.claimed_by,
        )
        self._move(record, state, now)
        return Moved(hold=record.hold, applied=True)

    async def listing(
        self,
        *,
        states: frozenset[HoldState] | None = None,
        agent: str | None = None,
        sponsor: str | None = None,
        root_id: str | None = None,
        limit: int = 200,
    ) -> tuple[Hold, ...]:
        self._lapse_all()
        wanted = OPEN if states is None else states
        found = [
            record.hold
            for record in self._records.values()
            if record.hold.state in wanted
            and agent in (None, record.hold.agent)
            and sponsor in (None, record.hold.sponsor)
            and root_id in (None, record.hold.root_id)
        ]
        found.sort(key=lambda hold: (hold.filed_at, hold.id), reverse=True)
        return tuple(found[:limit])

    async def wait_at(self, hold_id: str, worker: str) -> None:
        record = self._records.get(hold_id)
        if record is not None and record.hold.state is HoldState.HELD:
            record.hold = replace(record.hold, waits_at=worker)

    async def keep_response(self, hold_id: str, sealed: bytes, *, ttl_s: int) -> None:
        if hold_id in self._records:
            self._records[hold_id].response = sealed, self._now() + timedelta(seconds=ttl_s)

    async def kept_response(self, hold_id: str) -> bytes | None:
        record = self._records.get(hold_id)
        if record is None or record.response is None or record.response[1] <= self._now():
            return None
        return record.response[0]

    async def sweep(self, worker: str = "", node: str = "", told: Collection[str] = ()) -> Swept:
        now = self._lapse_all()
        judges = bool(worker) and self._beat(worker, now) <= now - _BEAT
        for record in list(self._records.values()):
            if record.forget_at is not None and record.forget_at <= now:
                del self._records[record.hold.id]
                self._untold.pop(record.hold.id, None)
            elif record.hold.state is HoldState.RELEASING and self._is_abandoned(record, judges, now):
                self._move(record, HoldState.UNCERTAIN, now)
                self._untold[record.hold.id] = now
        for hold_id in told:
            self._untold.pop(hold_id, None)
        ended = [hold_id for hold_id, at in self._untold.items() if _has_come(at, now, _BEAT)]
        self._untold |= dict.fromkeys(ended, now + _BEAT)
        return Swept(
            ended=tuple(self._records[hold_id].hold for hold_id in ended if hold_id in self._records),
            deliver=self._hand_out(worker, node, now) if worker else (),
        )

    def _hand_out(self, worker: str, node: str, now: datetime) -> tuple[str, ...]:
        """What is due for this worker, those that waited longest first; each comes up again after a pause."""
        due = sorted(
            (record.deliver_at, record.hold.id)
            for record in self._records.values()
            if record.deliver_at is not None
            and _has_come(record.deliver_at, now, timedelta(seconds=RETRY_DELIVERY_S[1]))
            and _node_for(record.hold) in (None, node)
            and not self._reserved(record.hold, worker, now)
        )[:DELIVER_AT_ONCE]
        first_s, most_s = RETRY_DELIVERY_S
        for _, hold_id in due:
            record = self._records[hold_id]
            released_s = (now - (record.hold.decided_at or now)).total_seconds()
            record.deliver_at = now + timedelta(seconds=max(first_s, min(most_s, released_s / 2)))
        return tuple(hold_id for _, hold_id in due)

    def _beat(self, worker: str, now: datetime) -> datetime:
        """Note that a worker is there; since when it has been, without a gap that would make it dead."""
        since, last = self._beats.get(worker, (now, now))
        since = now if abs(now - last) >= _BEAT else since
        self._beats[worker] = since, now
        return since

    def _lives(self, worker: str, now: datetime) -> bool:
        return worker in self._beats and abs(now - self._beats[worker][1]) < _BEAT

    def _reserved(self, hold: Hold, worker: str, now: datetime) -> bool:
        if hold.waits_at in ("", _worker_of(worker)) or hold.decided_at is None:
            return False
        return hold.decided_at + timedelta(seconds=EXCLUSIVE_S) > now and self._lives(hold.waits_at, now)

    def _is_abandoned(self, record: _Record, judges: bool, now: datetime) -> bool:
        claimed_at = record.claimed_at or now
        old = _has_come(claimed_at + _BEAT, now, 2 * _BEAT)
        gone = judges and old and not self._lives(_worker_of(record.hold.claimed_by), now)
        return gone or claimed_at <= now - timedelta(seconds=LONGEST_SEND_S)

    async def sealings(self, head_bytes: int) -> AsyncIterator[Sealing]:
        for record in list(self._records.values()):
            if record.sealed is not None:
                yield Sealing(hold_id=record.hold.id, head=record.sealed[:head_bytes])

    async def reseal(self, hold_id: str, before: bytes, after: bytes, *, whole: bool) -> bool:
        record = self._records.get(hold_id)
        if record is None or record.sealed is None or not record.sealed.startswith(before):
            return False
        record.sealed = after if whole else after + record.sealed[len(after) :]
        return True

    async def cursor(self) -> str:
        """Where the event stream is now: `news` from here misses nothing that happens after this call."""
        return f"{self._event_count}-0"

    async def news(self, after: str = "$") -> AsyncIterator[HoldNews]:
        seen = self._event_count if after == "$" else _position(after)
        while True:
            oldest = self._event_count - len(self._events)
            if not oldest <= seen <= self._event_count:
                raise Missed(Code.STORE_DOWN, f"events after {after} are gone: read everything again")
            if seen == self._event_count:
                await self._bell.wait()
                continue
            seen += 1
            yield self._events[seen - oldest - 1]

    def _now(self) -> datetime:
        moment = self._clock()
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    def _check_caps(self, draft: Hold, caps: HoldCaps, now: datetime) -> None:
        of_root = [record.hold for record in self._records.values() if record.hold.root_id == draft.root_id]
        open_of_root = [hold for hold in of_root if hold.state in OPEN]
        sponsored = sum(
            record.hold.sponsor == draft.sponsor and record.hold.state in OPEN for record in self._records.values()
        )
        last_hour = sum(hold.filed_at > now - timedelta(hours=1) for hold in of_root)
        if len(open_of_root) >= caps.open_per_root:
            raise cap_reached(caps, "open_per_root")
        if sponsored >= caps.open_per_sponsor:
            raise cap_reached(caps, "open_per_sponsor")
        if last_hour >= caps.per_hour_per_root:
            raise cap_reached(caps, "per_hour_per_root")
        if draft.stored_bytes + sum(hold.stored_bytes for hold in open_of_root) > caps.bytes_per_root:
            raise cap_reached(caps, "bytes_per_root")

    def _counting(self, root_id: str, call_digest: str, now: datetime) -> _Record | None:
        for record in self._records.values():
            if record.hold.root_id == root_id and record.hold.call_digest == call_digest:
                sticky = record.sticky_until is not None and record.sticky_until > now
                if record.hold.state in OPEN or sticky:
                    return record
        return None

    def _lapse_all(self) -> datetime:
        now = self._now()
        expirable, end = TRANSITIONS[Event.EXPIRE]
        for record in self._records.values():
            if record.hold.state in expirable and record.hold.expires_at <= now:
                self._move(record, end, now)
                self._untold[record.hold.id] = now
        return now

    def _move(self, record: _Record, state: HoldState, now: datetime) -> None:
        record.hold = hold = replace(record.hold, state=state, version=record.hold.version + 1)
        record.deliver_at = None
        if state is HoldState.APPROVED and hold.delivers:
            first_s, most_s = RETRY_DELIVERY_S
            pause_s = min(most_s, first_s * 2 ** min(hold.fence - 1, 20)) if hold.fence else 0
            record.deliver_at = now + timedelta(seconds=pause_s)
        if state in TERMINAL:
            record.sealed = None
            record.forget_at = max(now + self._retain, record.sticky_until or now)
        self._announce(record.hold)

    def _announce(self, hold: Hold) -> None:
        self._event_count += 1
        cursor = f"{self._event_count}-0"
        self._events.append(HoldNews(cursor=cursor, hold_id=hold.id, state=hold.state, version=hold.version))
        self._bell.set()
        self._bell = asyncio.Event()


def _worker_of(claim: str) -> str:
    """The worker that a claim's name begins with."""
    return claim.partition("/")[0]


def _node_for(hold: Hold) -> str | None:
    """The node at which alone a released call is delivered; None: at any."""
    if hold.risk is Risk.TRANSFORMATIVE:
        return hold.node
    return hold.claimed_by.partition(".")[0] if "." in hold.claimed_by else "" if hold.claimed_by else None


def _has_come(at: datetime, now: datetime, most: timedelta) -> bool:
    """Also what is further ahead than it can be: the clock was set back."""
    return at <= now or at > now + most


def _position(cursor: str) -> int:
    number, _, rest = cursor.partition("-")
    if rest != "0" or not number.isdecimal():
        raise Missed(Code.STORE_DOWN, f"there was never an event {cursor}: read everything again")
    return int(number)
