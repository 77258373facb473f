"""The newest part of a journal, however large it is: as much as a reader is ready to read, and whether that was all.

Not checked here: that the journal is as it was written. That is `verify`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, pairwise
from pathlib import Path

from proxy.audit.lines import JournalFile
from proxy.audit.reading import journal_files
from proxy.audit.show import Row, Unreadable, merged
from proxy.core.errors import Code, Unavailable

MOST_BYTES = 256 * 2**20
"""So much of a journal is read at most: some half a million lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Rows, oldest first, read as they are asked for. `whole`: nothing was left out that is not older than `since`."""

    rows: Iterator[Row | Unreadable]
    whole: bool


def newest(directory: Path, *, since: datetime | None, most_bytes: int = MOST_BYTES) -> Window:
    """The newest `most_bytes` of the journal. Files that ended before `since` are not opened; other lines may be older.

    Raises:
        Unavailable(JOURNAL_DOWN): the directory, or later a file in it, cannot be read.
    """
    files = [
        file for _, chain in groupby(journal_files(directory), lambda file: file.slot) for file in _after(chain, since)
    ]
    begins: dict[JournalFile, int] = {}
    left = most_bytes
    for file in sorted(files, key=lambda file: file.boot, reverse=True):
        size = _size(directory / file.name)
        if left > 0:
            begins[file] = max(0, size - left)
        left -= size
    kept = [file for file in files if file in begins]
    slots = [
        [(directory / file.name, begins[file]) for file in chain] for _, chain in groupby(kept, lambda file: file.slot)
    ]
    return Window(rows=merged(slots), whole=left >= 0)


def sizes(directory: Path) -> tuple[tuple[str, int], ...]:
    """Every file of a journal by name, and its size: lines are only ever added.

    Raises:
        Unavailable(JOURNAL_DOWN): the directory, or a file in it, cannot be read.
    """
    return tuple((file.name, _size(directory / file.name)) for file in journal_files(directory))


def _after(chain: Iterator[JournalFile], since: datetime | None) -> list[JournalFile]:
    """The files of one slot that can have lines at or after `since`: each ends when the next one begins."""
    files = list(chain)
    ended = {one for one, following in pairwise(files) if since is not None and _opened(following) < since.timestamp()}
    return [file for file in files if file not in ended]


def _opened(file: JournalFile) -> float:
    try:
        return file.opened_at.timestamp()
    except ValueError:  # no date: nobody of ours made such a name, and nothing follows from it
        return float("inf")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as fault:
        raise Unavailable(Code.JOURNAL_DOWN, f"cannot read the journal file {path}: {fault.strerror}") from None
