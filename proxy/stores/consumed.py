"""Which held calls this node has sent, or seen sent: on its own disk, whatever the store is made to say later."""

import asyncio
import fcntl
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from proxy.core.encoding import Json, canonical_json, parse_json, to_epoch
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.ports import Consumed
from proxy.stores.files import read_private, sync_dir, write_atomically

_TAKEN, _UNSENT, _ELSEWHERE = "taken", "unsent", "elsewhere"
_HOLD_ID = re.compile(r"[a-z0-9-]{1,64}")


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
    elsewhere: bool = False  # another node claimed it

    @property
    def consumed(self) -> bool:
        return self.elsewhere or self.taken is not None

    def add(self, entry: _Entry) -> None:
        self.until_s = max(self.until_s, entry.until_s)
        match entry.what:
            case "taken":
                self.own.add(entry.number)
                self.taken = entry.number
            case "unsent":
                self.taken = None if self.taken == entry.number else self.taken
            case _:
                self.elsewhere = True


class ConsumedFile(Consumed):
    """One JSON line for each claim, shared by the workers of a node. Only we can write it, so it is trusted.

    A line is on disk before its call may be sent. If we die in between, the call counts as sent: a human may release
    it anew, nothing is sent twice.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.Lock()
        self._descriptor: int | None = None
        self._read_bytes = 0
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

    async def untake(self, hold_id: str, number: int) -> None:
        entry = _Entry(what=_UNSENT, hold_id=hold_id, number=number, until_s=0)
        await _in_thread(lambda: self._add(entry, unless=lambda known: known.taken != number))

    async def seen(self, hold_id: str, number: int, *, sent: bool, until: datetime) -> None:
        entry = _Entry(what=_ELSEWHERE, hold_id=hold_id, number=number, until_s=to_epoch(until))

        def old_news(known: _Known) -> bool:
            return known.elsewhere or (known.taken == number if sent else number in known.own)

        if _HOLD_ID.fullmatch(hold_id):  # the store says so: no other id can be a hold of ours
            await _in_thread(lambda: self._add(entry, unless=old_news))

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
            return True

    def _drop(self, now_s: int) -> None:
        with self._locked():
            kept = {hold_id for hold_id, known in self._holds.items() if known.until_s > now_s}
            if len(kept) < len(self._holds):
                lines = read_private(self._path)[: self._read_bytes].splitlines(keepends=True)
                write_atomically(
                    self._path, b"".join(line for line in lines if _entry(line, self._path).hold_id in kept)
                )

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
            isinstance(value, Mapping) and len(value) == 4 and what in (_TAKEN, _UNSENT, _ELSEWHERE)
        ):
            return _Entry(what=what, hold_id=hold_id, number=number, until_s=until_s)
    raise Rejected(Code.CONFIG_INVALID, f"{path} must hold one claim a line: restore it from a copy, do not edit")
