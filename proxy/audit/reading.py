"""Journal files on disk, read without trusting them: torn and foreign bytes are reported, never an exception."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proxy.audit.lines import MAX_LINE_BYTES, JournalFile, Line, file_named, read_line
from proxy.audit.starts import Previous
from proxy.core.errors import Code, Rejected, Unavailable

TAIL_BYTES = 8 * 2**20
"""How much of a crashed chain's end is sealed again by its successor; far more than one second's lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawLine:
    """The bytes between two newlines. `torn` when the file ended before the newline came."""

    number: int  # counted from 1
    data: bytes
    torn: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """The end of a chain as a successor finds it: its last unbroken run of whole lines, oldest first."""

    lines: tuple[Line, ...]
    torn_bytes: int

    def as_previous(self, file: JournalFile) -> Previous:
        """What the successor's first line says of it."""
        last = self.lines[-1] if self.lines else None
        return Previous(
            file=file.name,
            seq=last.seq if last else 0,
            head=last.hash if last else "",
            torn_bytes=self.torn_bytes,
        )


def journal_files(directory: Path) -> tuple[JournalFile, ...]:
    """Every journal file in `directory`, by slot, oldest first.

    Raises:
        Unavailable(JOURNAL_DOWN): the directory cannot be read.
    """
    try:
        found = [file_named(entry.name) for entry in directory.iterdir()]
    except OSError as fault:
        raise Unavailable(Code.JOURNAL_DOWN, f"cannot list the journal {directory}: {fault.strerror}") from None
    return tuple(sorted((file for file in found if file is not None), key=lambda file: (file.slot, file.boot)))


def raw_lines(path: Path, *, from_byte: int = 0) -> Iterator[RawLine]:
    """The lines of a file as bytes. One that is longer than any line of ours comes in pieces, each unreadable.

    With `from_byte` it begins at the first whole line after it, and numbers are counted from there.

    Raises:
        Unavailable(JOURNAL_DOWN): the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            if from_byte:
                file.seek(from_byte - 1)
                file.readline(MAX_LINE_BYTES + 1)  # the end of a line that began before
            number = 0
            while data := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                whole = data.endswith(b"\n")
                torn = not whole and len(data) <= MAX_LINE_BYTES
                yield RawLine(number=number, data=data[:-1] if whole else data, torn=torn)
    except OSError as fault:
        raise Unavailable(Code.JOURNAL_DOWN, f"cannot read the journal file {path}: {fault.strerror}") from None


def read_tail(path: Path) -> Tail:
    """The end of a chain whose writer is gone.

    Not checked here: signatures. What is found is what the successor signs; whether it is all there ever was, the
    checkpoints say.

    Raises:
        Unavailable(JOURNAL_DOWN): the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            begin = max(0, size - TAIL_BYTES)
            file.seek(begin)
            data = file.read()
    except OSError as fault:
        raise Unavailable(Code.JOURNAL_DOWN, f"cannot read the journal file {path}: {fault.strerror}") from None
    pieces = data.split(b"\n")
    torn_bytes = len(pieces.pop())
    if begin > 0 and pieces:
        pieces.pop(0)  # the end of a line whose beginning was not read
    run: list[Line] = []
    for piece in reversed(pieces):
        line = _line_or_none(piece)
        fits = line is not None and (not run or (run[-1].prev == line.hash and run[-1].seq == line.seq + 1))
        if line is not None and fits:
            run.append(line)
        elif run:
            break
        else:
            torn_bytes += len(piece) + 1  # rubbish after the last good line, as a power cut may leave
    return Tail(lines=tuple(reversed(run)), torn_bytes=torn_bytes)


def _line_or_none(data: bytes) -> Line | None:
    try:
        return read_line(data)
    except Rejected:
        return None
