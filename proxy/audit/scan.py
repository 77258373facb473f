"""One pass over a journal file: what is needed of every line to compare the file with what was signed about it."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from proxy.audit.lines import Kind, Line, read_line
from proxy.audit.reading import RawLine
from proxy.core.errors import Rejected


@dataclass(slots=True, kw_only=True)
class Scan:
    """A file's lines, as columns: entry i is of line i + 1. An unreadable line has seq 0 and an empty mark and hash."""

    first: Line | None = None
    seqs: "array[int]" = field(default_factory=lambda: array("q"))
    marks: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    ends: "array[int]" = field(default_factory=lambda: array("q"))  # the offset after each line
    times: "array[float]" = field(default_factory=lambda: array("d"))  # seconds since 1970
    broken_links: list[int] = field(default_factory=list)  # lines whose `prev` is not the hash of the line before
    stop_line: int = 0  # the first line that says the chain was closed; 0: none
    torn_bytes: int = 0  # after the last newline

    @property
    def lines(self) -> int:
        return len(self.seqs)

    def at(self, line: int) -> datetime | None:
        """When the line was written, if it can be read."""
        seconds = self.times[line - 1] if 1 <= line <= self.lines else 0.0
        return datetime.fromtimestamp(seconds, tz=UTC) if seconds else None

    def bytes_after(self, line: int) -> int:
        """How many bytes stand after `line`; 0 is the beginning of the file."""
        total = (self.ends[-1] if self.ends else 0) + self.torn_bytes
        return total - (self.ends[line - 1] if line else 0)

    def cut_after(self, line: int) -> None:
        """Forget the lines after `line`: a crash left them, and the next chain says so."""
        self.torn_bytes = self.bytes_after(line)
        del self.seqs[line:], self.marks[line:], self.hashes[line:], self.ends[line:], self.times[line:]
        self.broken_links = [number for number in self.broken_links if number <= line]


def scan(lines: Iterable[RawLine]) -> Scan:
    """Read a whole file once."""
    seen = Scan()
    before = ""
    for raw in lines:
        if raw.torn:
            seen.torn_bytes = len(raw.data)
            break
        line = _line_or_none(raw.data)
        if raw.number == 1:
            seen.first = line
        elif line is not None and line.prev != before:
            seen.broken_links.append(raw.number)
        if line is not None and line.kind == Kind.STOP and not seen.stop_line:
            seen.stop_line = raw.number
        before = line.hash if line else ""
        seen.seqs.append(line.seq if line else 0)
        seen.marks.append(line.mark if line else "")
        seen.hashes.append(before)
        seen.times.append(line.at.timestamp() if line else 0.0)
        seen.ends.append((seen.ends[-1] if seen.ends else 0) + len(raw.data) + 1)
    return seen


def _line_or_none(data: bytes) -> Line | None:
    try:
        return read_line(data)
    except Rejected:
        return None
