"""The journal's writer: one chain, one file, one thread that writes; concurrent callers share one fdatasync.

A line gets its place in the chain the moment `append` is called, before anything is awaited, so neither a cancelled
caller nor a slow disk can lose or reorder it. The first write or fsync error ends the journal for good: what such a
descriptor says afterwards means nothing.
"""

import asyncio
import fcntl
import functools
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from proxy.audit.checkpoints import Durable
from proxy.audit.lines import JournalFile, Kind, Written, boot_name, compose, slot_of, stamp
from proxy.audit.reading import Tail, journal_files, read_tail
from proxy.audit.sealer import Sealer
from proxy.audit.sinks import CheckpointSink
from proxy.audit.starts import compose_start
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.keys import PrivateKey
from proxy.core.model import Bundle

DEADLINE_S = 1.2
"""How long a caller waits for the disk; an agent must have its answer within two seconds."""
MAX_WAITING = 4_096
GATHER_S = 0.002
"""After a write, so long until the next: under load many lines share one. The first line after a pause never waits."""
LATER_S = 0.02
"""How long a line may wait for others that nobody waits for."""
CLOCK_TOLERANCE = timedelta(milliseconds=100)
"""How far a clock may step back, as a slewed clock does, before every call is refused."""

_fdatasync = getattr(os, "fdatasync", os.fsync)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A chain whose first line is on disk."""

    descriptor: int
    lock: int
    file: JournalFile
    first: Written
    at: datetime
    before: JournalFile | None
    tail: Tail | None  # of `before`


class FileJournal:
    """The append-only audit trail of one worker (`ports.Journal`). Belongs to the loop it was opened in."""

    def __init__(
        self, opened: _Opened, sealer: Sealer, *, clock: Callable[[], datetime], on_dead: Callable[[Unavailable], None]
    ) -> None:
        """Use `open`."""
        self.file = opened.file.name
        self._descriptor = opened.descriptor
        self._lock = opened.lock
        self._seq = opened.first.seq
        self._head = opened.first.hash
        self._at = opened.at
        self._sealer = sealer
        self._clock = clock
        self._on_dead = on_dead
        self._loop = asyncio.get_running_loop()
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._waiting: list[tuple[Written, asyncio.Future[None]]] = []
        self._writing = False  # what waits is being written, or will be without anybody's doing
        self._timer: asyncio.TimerHandle | None = None  # when what nobody waits for is written
        self._job: asyncio.Future[None] | None = None  # what the disk's thread does, or did last
        self._ended = ""  # why nothing more can be appended

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        node: str,
        worker: int,
        key: PrivateKey,
        bundle: Bundle,
        sinks: Sequence[CheckpointSink],
        clock: Callable[[], datetime],
        on_dead: Callable[[Unavailable], None],
    ) -> "FileJournal":
        """Begin a new chain in `directory`, signed with the node's key and naming the last chain of the same slot.

        `on_dead` is called once, in the loop, when a write or fsync failed: the worker must then end.

        Raises:
            Rejected(CONFIG_INVALID): no sink, a node name that is none, or a directory others may write to.
            Unavailable(JOURNAL_DOWN): the disk refuses, or another live process writes for this node and worker.
            Unavailable(CLOCK_WRONG): the clock is behind the last line of the chain before.
        """
        if not sinks:
            raise Rejected(Code.CONFIG_INVALID, "a journal needs at least one checkpoint sink, got none")
        slot = slot_of(node, worker)
        begin = functools.partial(_begin, directory, node=node, slot=slot, key=key, bundle=bundle, clock=clock)
        try:
            opened = await asyncio.to_thread(begin)
        except OSError as fault:
            raise Unavailable(Code.JOURNAL_DOWN, f"journal {directory}: {fault.strerror}") from None
        sealer = Sealer(node=node, slot=slot, file=opened.file.name, key=key, sinks=sinks, clock=clock)
        if opened.before is not None and opened.tail is not None:
            lines = [Durable(seq=line.seq, hash=line.hash, mark=line.mark) for line in opened.tail.lines]
            sealer.reseal(lines, opened.before.name)
        sealer.durable([_durable(opened.first)])
        await sealer.seal()
        return cls(opened, sealer, clock=clock, on_dead=on_dead)

    async def append(self, kind: str, fields: Mapping[str, Json]) -> None:
        """Write one line and return when it is durable. A cancelled caller's line is written all the same.

        Raises:
            Unavailable(JOURNAL_DOWN): it may not be durable: the disk failed or is too slow, or no sink has taken a
                checkpoint for too long.
            Unavailable(CLOCK_WRONG): the clock is behind the journal's last line; nothing was written.
            ValueError: an unknown kind, or fields that make no line. A fault of the caller; nothing was written.
        """
        self._check(kind)
        done = self._enqueue(Kind(kind), fields)
        self._write_soon()
        try:
            await _within_deadline(done)
        except Unavailable:
            if not self._ended and (self._job is None or self._job.done()):
                self._die(RuntimeError("a write was lost"), [])  # not a slow disk: nobody writes
            raise

    def note(self, kind: str, fields: Mapping[str, Json]) -> None:
        """Give a line its place in the chain, and have it durable soon, with the next one or `LATER_S` from now.

        Raises: as `append`, of what is known now.
        """
        self._check(kind)
        done = self._enqueue(Kind(kind), fields)
        done.add_done_callback(_heard)
        if not self._writing and self._timer is None:
            self._timer = self._loop.call_later(LATER_S, self._write_soon)

    def _check(self, kind: str) -> None:
        if kind in (Kind.START, Kind.STOP):
            raise ValueError(f"only the journal itself writes {kind!r} lines")
        if self._sealer.overdue():
            said = "; ".join(self._sealer.faults()) or "none answers"
            raise Unavailable(Code.JOURNAL_DOWN, f"no checkpoint sink takes the journal's checkpoints: {said}")
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable(Code.JOURNAL_DOWN, f"{MAX_WAITING} lines wait for the disk already")

    async def seal(self) -> bool:
        """Sign and publish a checkpoint of everything durable now; True when every sink took it in time."""
        return await self._sealer.seal()

    def faults(self) -> tuple[str, ...]:
        """What is wrong without being fatal yet: the last words of every sink that is behind."""
        return self._sealer.faults()

    async def close(self) -> None:
        """End the chain in good order as far as the disk and the sinks allow: stop line, last checkpoint, unlock."""
        if not self._ended:
            with suppress(Unavailable):
                done = self._enqueue(Kind.STOP, {})
                self._write_soon()
                self._ended = "it was closed"
                await _within_deadline(done)
            self._ended = self._ended or "it was closed"
        try:
            await self._sealer.close()
        finally:
            if not self._writing:  # else the disk is stuck and a thread holds the descriptor; the process will end it
                self._disk.shutdown(wait=False)
                self._release()

    def _enqueue(self, kind: Kind, fields: Mapping[str, Json]) -> "asyncio.Future[None]":
        """Give a line its place in the chain; the future tells when it is durable."""
        if self._ended:
            raise Unavailable(Code.JOURNAL_DOWN, f"the journal takes no more lines: {self._ended}")
        at = self._moment()
        line = compose(kind, fields, seq=self._seq + 1, prev=self._head, at=at)
        self._seq, self._head, self._at = line.seq, line.hash, at
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((line, done))
        return done

    def _write_soon(self) -> None:
        """Soon, not now: whoever else is ready joins this batch."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._writing and self._waiting:
            self._writing = True
            self._loop.call_soon(self._write)

    def _moment(self) -> datetime:
        now = self._clock()
        if self._at - now > CLOCK_TOLERANCE:
            detail = f"the clock says {stamp(now)}, but the last journal line is of {stamp(self._at)}"
            raise Unavailable(Code.CLOCK_WRONG, detail)
        return max(now, self._at)

    def _write(self) -> None:
        if self._descriptor < 0:
            return  # it died meanwhile, and everybody who waits was told
        batch, self._waiting = self._waiting, []
        data = b"".join(line.data + b"\n" for line, _ in batch)
        try:
            writing = self._loop.run_in_executor(self._disk, _write_through, self._descriptor, data)
        except RuntimeError as fault:  # no thread can be had
            self._die(fault, batch)
            return
        self._job = writing
        writing.add_done_callback(functools.partial(self._written, batch))

    def _written(self, batch: list[tuple[Written, "asyncio.Future[None]"]], writing: "asyncio.Future[None]") -> None:
        try:
            writing.result()
            self._sealer.durable([_durable(line) for line, _ in batch])
        except (Exception, asyncio.CancelledError) as fault:  # noqa: BLE001 - whatever it was, nobody knows what is on disk
            self._die(fault, batch)
            return
        for _, done in batch:
            if not done.done():
                done.set_result(None)
        if self._waiting:
            self._loop.call_later(GATHER_S, self._write)
        else:
            self._writing = False

    def _die(self, fault: BaseException, batch: list[tuple[Written, "asyncio.Future[None]"]]) -> None:
        said = fault.strerror if isinstance(fault, OSError) else repr(fault)
        self._ended = f"a write to {self.file} failed: {said}"
        self._writing = False
        for _, done in batch + self._waiting:
            if not done.done():
                done.set_exception(Unavailable(Code.JOURNAL_DOWN, self._ended))
        self._waiting = []
        self._release()
        self._on_dead(Unavailable(Code.JOURNAL_DOWN, self._ended))

    def _release(self) -> None:
        for descriptor in (self._descriptor, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._lock = -1


def _heard(done: "asyncio.Future[None]") -> None:
    """A line that nobody waits for was lost: the worker is told by `on_dead`."""
    if not done.cancelled():
        done.exception()


async def _within_deadline(done: "asyncio.Future[None]") -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            await done
    except TimeoutError:
        detail = f"the disk did not confirm a line within {DEADLINE_S} s"
        raise Unavailable(Code.JOURNAL_DOWN, detail) from None


def _begin(
    directory: Path, *, node: str, slot: str, key: PrivateKey, bundle: Bundle, clock: Callable[[], datetime]
) -> _Opened:
    """Lock the slot, look at its last chain, and put the first line of a new one on disk."""
    directory.mkdir(mode=0o700, exist_ok=True)
    mode = directory.stat().st_mode & 0o777
    if mode & 0o022:
        raise Rejected(
            Code.CONFIG_INVALID,
            f"the journal directory {directory} may be written by others (mode {mode:o}): chmod 700 {directory}",
        )
    lock = _lock(directory, slot)
    try:
        before, tail, earliest = _chain_before(directory, slot)
        now = clock()
        if earliest is not None and earliest - now > CLOCK_TOLERANCE:
            detail = f"the clock says {stamp(now)}, but the last chain of {slot} ends at {stamp(earliest)}"
            raise Unavailable(Code.CLOCK_WRONG, detail)
        at = now if earliest is None else max(now, earliest)
        file = JournalFile(slot=slot, boot=boot_name(at, secrets.token_bytes(4)))
        previous = tail.as_previous(before) if before is not None and tail is not None else None
        first = compose_start(bundle, file, node, previous, at=at, key=key)
        descriptor = _create(directory, file, first)
    except BaseException:
        os.close(lock)
        raise
    return _Opened(descriptor=descriptor, lock=lock, file=file, first=first, at=at, before=before, tail=tail)


def _lock(directory: Path, slot: str) -> int:
    lock = os.open(directory / f"{slot}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        detail = (
            f"another process writes the journal of {slot} in {directory}: stop that one, or give this one a state or "
        )
        detail += "a number of its own"
        raise Unavailable(Code.JOURNAL_DOWN, detail) from None
    return lock


def _chain_before(directory: Path, slot: str) -> tuple[JournalFile | None, Tail | None, datetime | None]:
    """The last chain of this slot, its end, and the earliest moment the next one may bear."""
    chains = [file for file in journal_files(directory) if file.slot == slot]
    if not chains:
        return None, None, None
    before = chains[-1]
    tail = read_tail(directory / before.name)
    last = tail.lines[-1].at if tail.lines else before.opened_at
    return before, tail, max(last, before.opened_at) + timedelta(microseconds=1)


def _create(directory: Path, file: JournalFile, first: Written) -> int:
    descriptor = os.open(directory / file.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    try:
        _write_through(descriptor, first.data + b"\n")
        entry = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(entry)  # the file's name is durable, too
        finally:
            os.close(entry)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _write_through(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    _fdatasync(descriptor)


def _durable(line: Written) -> Durable:
    return Durable(seq=line.seq, hash=line.hash, mark=line.mark)
