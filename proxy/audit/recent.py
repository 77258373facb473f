"""The newest lines of the journal about one agent: what it did just before, for a person who decides about it.

Only the ends of the files are read, so that a long journal costs no more than a short one. What is read here is read,
not verified: that is `verify`.
"""

from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path

from proxy.audit.lines import Kind, Line, read_line
from proxy.audit.reading import journal_files
from proxy.core.errors import Code, Rejected, Unavailable

READ_BYTES = 512 * 1024
"""How much of the end of each slot's newest file is looked at."""


def recent_lines(
    directory: Path,
    *,
    before: datetime,
    kinds: Collection[Kind],
    limit: int,
    manifest: str | None = None,
    agent: str | None = None,
) -> tuple[Line, ...]:
    """The newest lines of these kinds, oldest first, as far as the files' ends have them.

    Under a root manifest, of an agent, or both; None: of any.

    Raises:
        Unavailable(JOURNAL_DOWN): the directory, or a file in it, cannot be read.
    """
    newest = {file.slot: file for file in journal_files(directory)}  # each slot's last: they come oldest first
    found = [
        line
        for file in newest.values()
        for line in _end_of(directory / file.name)
        if line.kind in kinds
        and line.at < before
        and manifest in (None, line.fields.get("manifest"))
        and agent in (None, line.fields.get("agent"))
    ]
    return tuple(sorted(found, key=lambda line: line.at)[-limit:])


def _end_of(path: Path) -> Iterator[Line]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            begin = max(0, size - READ_BYTES)
            file.seek(begin)
            pieces = file.read(READ_BYTES).split(b"\n")
    except OSError as fault:
        raise Unavailable(Code.JOURNAL_DOWN, f"cannot read the journal file {path}: {fault.strerror}") from None
    for piece in pieces[1 if begin else 0 : -1]:  # neither the end of a line nor one that is being written
        try:
            yield read_line(piece)
        except Rejected:
            continue
