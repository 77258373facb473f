"""Real journals for tests, written by the real writer, and what an intruder with a text editor does to them."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from identities import NOW, bundle, key

from proxy.audit import journal as journal_module
from proxy.audit.findings import Report
from proxy.audit.journal import FileJournal
from proxy.audit.sinks import CheckpointSink
from proxy.audit.verify import verify_journal
from proxy.core.encoding import b64u
from proxy.core.errors import Unavailable
from proxy.core.keys import PrivateKey

NODE = "edge-1"
NODE_KEY = key("node")


class Clock:
    """Every look at it is a millisecond later."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


class MemorySink:
    """A sink that keeps checkpoints in a list, or refuses while `fault` is set."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.fault: Exception | None = None

    async def publish(self, checkpoint: str) -> None:
        if self.fault is not None:
            raise self.fault
        self.kept.append(checkpoint)


@dataclass(slots=True, kw_only=True)
class Desk:
    """A journal directory with its clock and sink, and the chains written into it."""

    directory: Path
    clock: Clock = field(default_factory=Clock)
    sink: MemorySink = field(default_factory=MemorySink)
    deaths: list[Unavailable] = field(default_factory=list)

    async def open(
        self, *, worker: int = 0, node: str = NODE, signer: PrivateKey = NODE_KEY, sinks: Sequence[CheckpointSink] = ()
    ) -> FileJournal:
        return await FileJournal.open(
            self.directory,
            node=node,
            worker=worker,
            key=signer,
            bundle=bundle(),
            sinks=sinks or (self.sink,),
            clock=self.clock,
            on_dead=self.deaths.append,
        )

    def path(self, journal: FileJournal) -> Path:
        return self.directory / journal.file

    def verify(self, checkpoints: Iterable[str] | None = None, *, keys: Iterable[PrivateKey] = (NODE_KEY,)) -> Report:
        return verify_journal(
            self.directory,
            checkpoints=self.sink.kept if checkpoints is None else checkpoints,
            node_keys=[signer.public for signer in keys],
        )


async def crash(journal: FileJournal) -> None:
    """End a journal as kill -9 would: no stop line, no last checkpoint, the lock gone with the process."""
    sealer = journal._sealer
    for task in sealer._tasks:
        task.cancel()
    journal._disk.shutdown()
    journal._release()
    journal._ended = "the process was killed"


async def fill(journal: FileJournal, count: int, *, seal_every: int = 4) -> None:
    """Append `count` decisions, with a checkpoint after every few."""
    for number in range(1, count + 1):
        await journal.append(
            "decision", {"decision_id": f"d-{number}", "verdict": "allow", "url": "https://erp.example/"}
        )
        if number % seal_every == 0:
            assert await journal.seal()


# --- the intruder ----------------------------------------------------------------------------------------------------

_PREFIX = re.compile(rb'\{"seq":\d+,"prev":"[^"]*",')


def read(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def write(path: Path, lines: Iterable[bytes]) -> None:
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def rechain(lines: Iterable[bytes]) -> list[bytes]:
    """The same contents with every number and every hash made anew, as whoever knows the format can."""
    made: list[bytes] = []
    prev = ""
    for seq, line in enumerate(lines, 1):
        content = _PREFIX.sub(b"", line, count=1)
        fresh = b'{"seq":%d,"prev":"%s",' % (seq, prev.encode()) + content
        prev = b64u(hashlib.sha256(fresh).digest())
        made.append(fresh)
    return made


def as_they_are(lines: Iterable[bytes]) -> list[bytes]:
    """No hash is made anew."""
    return list(lines)


type Edit = Callable[[list[bytes]], None]


def change(line: int) -> Edit:
    """Make a decision that allowed look as if it had denied."""

    def edit(lines: list[bytes]) -> None:
        lines[line - 1] = lines[line - 1].replace(b'"allow"', b'"denyy"')

    return edit


def remove(line: int) -> Edit:
    def edit(lines: list[bytes]) -> None:
        del lines[line - 1]

    return edit


def insert(line: int) -> Edit:
    """A decision that was never made, before `line`."""

    def edit(lines: list[bytes]) -> None:
        lines.insert(line - 1, lines[line - 1].replace(b'"decision_id":"d-', b'"decision_id":"x-'))

    return edit


def repeat(line: int, *, at: int) -> Edit:
    """A copy of a genuine line at another place."""

    def edit(lines: list[bytes]) -> None:
        lines.insert(at - 1, lines[line - 1])

    return edit


def swap(line: int, other: int) -> Edit:
    def edit(lines: list[bytes]) -> None:
        lines[line - 1], lines[other - 1] = lines[other - 1], lines[line - 1]

    return edit


def cut(line: int) -> Edit:
    """Everything from `line` on is gone."""

    def edit(lines: list[bytes]) -> None:
        del lines[line - 1 :]

    return edit


def tamper(path: Path, edit: Edit, *, hashes: Callable[[Iterable[bytes]], list[bytes]] = rechain) -> None:
    lines = read(path)
    edit(lines)
    write(path, hashes(lines))


# --- the disk and the kernel ------------------------------------------------------------------------------------------


@contextmanager
def stuck_disk() -> Iterator[None]:
    """While inside, a thread that would write to a journal waits."""
    go = threading.Event()
    original = journal_module._write_through

    def wait(descriptor: int, data: bytes) -> None:
        go.wait(10)
        original(descriptor, data)

    journal_module._write_through = wait
    try:
        yield
    finally:
        journal_module._write_through = original
        go.set()


def descriptor_of(path: Path) -> int:
    """The number under which this process has `path` open for writing."""
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if entry.readlink() == path:
                return int(entry.name)
        except OSError:
            continue
    raise AssertionError(f"{path} is not open")
