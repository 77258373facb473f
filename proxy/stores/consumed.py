"""Which held calls this node has sent, or seen sent: on its own disk, whatever the store is made to say later."""

import asyncio
import fcntl
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from proxy.core.encoding import Json, canonical_json, parse_json, to_epoch
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.ports import Consumed
from proxy.stores.files import MAX_PRIVATE_BYTES, read_private, sync_dir, write_atomically
from proxy.stores.memory import Clock, system_clock

_TAKEN, _UNSENT, _ELSEWHERE, _CLAIMED = "taken", "unsent", "elsewhere", "claimed"
_HOLD_ID = re.compile(r"[a-z0-9-]{1,64}")

FOLD_BYTES = 1024 * 1024
"""A file that has grown by this, and to twice what it was, is written anew with what it adds up to."""

OWN_KEPT = 16
"""How many of a hold's claims that came to nothing are told from another node's; news of older ones is long past."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    what: str
    hold_id: str
    number: int
    until_s: int

    def line(self) -> bytes:
        members: dict[str, Json] = {
            "hold": self.hold_id,
            "number": self.number,
            "until": self.until_s,
            "what": self.what,
        }
        return canonical_json(members) + b"\n"


@dataclass(slots=True, kw_only=True)
class _Known:
    """What the lines about one hold add up to, read in their order."""

    until_s: int = 0
    own: set[int] = field(default_factory=set)  # every claim this node ever made
    taken: int | None = None  # the one of them that was not taken back
    claimed: bool = False  # another node claimed it
    elsewhere: bool = False  # and it was sent, or may have been

    @property
    def consumed(self) -> bool:
        return self.claimed or self.spent

    @property
    def spent(self) -> bool:
        return self.elsewhere or self.taken is not None

    def add(self, entry: _Entry) -> None:
        self.until_s = max(self.until_s, entry.until_s)
        match entry.what:
            case "taken":
                self.own.add(entry.number)
                self.taken = entry.number
            case "unsent":
                self.taken = None if self.taken == entry.number else self.taken
            case "claimed":
                self.claimed = True
            case _:
                self.elsewhere = True

    def lines(self, hold_id: str) -> Iterator[bytes]:
        """As few lines as say the same."""

        def line(what: str, number: int) -> bytes:
            return _Entry(what=what, hold_id=hold_id, number=number, until_s=self.until_s).line()

        for number in sorted(self.own - {self.taken})[-OWN_KEPT:]:
            yield line(_TAKEN, number) + line(_UNSENT, number)
        if self.taken is not None:
            yield line(_TAKEN, self.taken)
        if self.elsewhere or self.claimed:
            yield line(_ELSEWHERE if self.elsewhere else _CLAIMED, 0)


class ConsumedFile(Consumed):
    """One JSON line for each claim, shared by the workers of a node. Only we can write it, so it is trusted.

    A line is on disk before its call may be sent. If we die in between, the call counts as sent: a human may release
    it anew, nothing is sent twice.
    """

    def __init__(self, path: Path, *, now: Clock = system_clock) -> None:
        """`now` may raise `Unavailable`: while nobody can tell the time nothing is dropped."""
        self._path = path
        self._now = now
        self._turn = threading.Lock()
        self._descriptor: int | None = None
        self._read_bytes = 0
        self._fold_at = FOLD_BYTES
        self._holds: dict[str, _Known] = {}

    async def ready(self, *, now: datetime) -> None:
        """Read what is there, and drop what no release can reach any more.

        Raises:
            Unavailable(STORE_DOWN): the file cannot be read, or is not as we left it.
        """
        await _in_thread(lambda: self._drop(to_epoch(now)))

    async def take(self, hold_id: str, number: int, *, until: datetime) -> bool:
        entry = _Entry(what=_TAKEN, hold_id=hold_id, number=number, until_s=to_epoch(until))
        return await _in_thread(lambda: self._add(entry, unless=lambda known: known.consumed))

    async def spent(self, hold_id: str) -> bool:
        return await _in_thread(lambda: self._is_spent(hold_id))

    async def untake(self, hold_id: str, number: int) -> None:
        entry = _Entry(what=_UNSENT, hold_id=hold_id, number=number, until_s=0)
        await _in_thread(lambda: self._add(entry, unless=lambda known: known.taken != number))

    async def seen(self, hold_id: str, number: int, *, sent: bool, until: datetime) -> None:
        what = _ELSEWHERE if sent else _CLAIMED
        entry = _Entry(what=what, hold_id=hold_id, number=number, until_s=to_epoch(until))

        def old_news(known: _Known) -> bool:
            if sent:
                return known.elsewhere or known.taken == number
            return known.claimed or known.elsewhere or number in known.own

        if _HOLD_ID.fullmatch(hold_id):  # the store says so: no other id can be a hold of ours
            await _in_thread(lambda: self._add(entry, unless=old_news))

    def _is_spent(self, hold_id: str) -> bool:
        with self._locked():
            return self._holds.get(hold_id, _Known()).spent

    def _add(self, entry: _Entry, *, unless: Callable[[_Known], bool]) -> bool:
        with self._locked() as descriptor:
            if unless(self._holds.get(entry.hold_id, _Known())):
                return False
            line, at = entry.line(), self._read_bytes
            os.ftruncate(descriptor, at)  # cuts what a crash left of an unfinished line
            if os.pwrite(descriptor, line, at) != len(line):
                raise OSError("the disk took half a line")
            os.fsync(descriptor)
            if at == 0:
                sync_dir(self._path.parent)
            self._read_on()
            if self._read_bytes > self._fold_at:
                self._fold_at = self._read_bytes + FOLD_BYTES  # what cannot be done now is not tried with every line
                with suppress(OSError, Unavailable):  # the line is on disk, whatever becomes of the others
                    self._fold(to_epoch(self._now()))
            return True

    def _drop(self, now_s: int) -> None:
        with self._locked():
            self._fold(now_s)

    def _fold(self, now_s: int) -> None:
        """Put what the lines add up to in their place; without holds that no release can reach any more."""
        kept = [(hold_id, known) for hold_id, known in self._holds.items() if known.until_s > now_s]
        folded = b"".join(line for hold_id, known in kept for line in known.lines(hold_id))
        if len(folded) < self._read_bytes:
            write_atomically(self._path, folded)

    def _read_on(self) -> None:
        data = read_private(self._path, from_byte=self._read_bytes)
        whole = data[: data.rfind(b"\n") + 1]  # a line without its end was never acknowledged
        for line in whole.splitlines():
            entry = _entry(line, self._path)
            self._holds.setdefault(entry.hold_id, _Known()).add(entry)
        self._read_bytes += len(whole)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file for ourselves, every line of it read."""
        with self._turn:
            try:
                descriptor = self._lock()
                self._read_on()
                yield descriptor
            finally:  # whatever went wrong, wherever: a lock that stays would stop every worker of this node
                if self._descriptor is not None:
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _lock(self) -> int:
        while True:
            if self._descriptor is None:
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                self._descriptor = os.open(self._path, flags, 0o600)
                self._read_bytes, self._holds = 0, {}
                size = os.fstat(self._descriptor).st_size
                self._fold_at = min(size + max(size, FOLD_BYTES), MAX_PRIVATE_BYTES - FOLD_BYTES)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            if self._in_place(self._descriptor):
                return self._descriptor
            os.close(self._descriptor)  # another worker dropped old lines: its file is in place of ours
            self._descriptor = None

    def _in_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.lstat())
        except FileNotFoundError:
            return False


async def _in_thread[T](work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except (OSError, Rejected) as fault:
        detail = f"what was sent under a release could not be kept on this node's disk: {fault}"
        raise Unavailable(Code.STORE_DOWN, detail) from fault


def _entry(line: bytes, path: Path) -> _Entry:
    value = parse_json(line, code=Code.CONFIG_INVALID, what=f"a line of {path}")
    match value:
        case {"hold": str(hold_id), "number": int(number), "until": int(until_s), "what": str(what)} if (
            isinstance(value, Mapping) and len(value) == 4 and what in (_TAKEN, _UNSENT, _ELSEWHERE, _CLAIMED)
        ):
            return _Entry(what=what, hold_id=hold_id, number=number, until_s=until_s)
    raise Rejected(Code.CONFIG_INVALID, f"{path} must hold one claim a line: restore it from a copy, do not edit")
