"""Reading the journal: every chain's lines merged in the order they were written, filtered, as typed rows.

Not checked here: that the journal is as it was written. That is `verify`.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

from proxy.audit.lines import JournalFile, Kind, read_line
from proxy.audit.reading import journal_files, raw_lines
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line. The named members are those a reader filters by or wants in a table; `fields` has everything."""

    file: str
    number: int
    seq: int
    at: datetime
    kind: str
    fields: Mapping[str, Json]
    decision_id: str | None
    hold_id: str | None
    agent: str | None
    sponsor: str | None
    manifest: str | None
    verdict: str | None
    code: str | None
    host: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A line that is none: torn by a crash at the end of a file, or damaged. `at` is that of the line before it."""

    file: str
    number: int
    at: datetime | None
    torn: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows to show: those that match every member given. An outcome is shown with its decision."""

    kind: str | None = None
    agent: str | None = None
    sponsor: str | None = None
    verdict: str | None = None
    code: str | None = None
    hold_id: str | None = None
    decision_id: str | None = None
    manifest: str | None = None
    host: str | None = None
    since: datetime | None = None  # at or after
    until: datetime | None = None  # before

    def matches(self, row: Row) -> bool:
        return (
            self.in_time(row)
            and self.kind in (None, row.kind)
            and self.agent in (None, row.agent)
            and self.sponsor in (None, row.sponsor)
            and self.verdict in (None, row.verdict)
            and self.code in (None, row.code)
            and self.hold_id in (None, row.hold_id)
            and self.decision_id in (None, row.decision_id)
            and self.manifest in (None, row.manifest)
            and self.host in (None, row.host)
        )

    def in_time(self, row: Row) -> bool:
        return (self.since is None or row.at >= self.since) and (self.until is None or row.at < self.until)


def show_journal(directory: Path, wanted: Wanted) -> Iterator[Row | Unreadable]:
    """The rows of every file in `directory` that `wanted` matches, oldest first, read as they are asked for.

    A line that cannot be read comes out in its place, whatever is wanted: nobody should think it was not there.

    Raises:
        Unavailable(JOURNAL_DOWN): the directory or a file in it cannot be read.
    """
    slots = [[(directory / file.name, 0) for file in files] for _, files in groupby(journal_files(directory), _slot)]
    decided: set[str] = set()
    for entry in merged(slots):
        if isinstance(entry, Unreadable):
            yield entry
            continue
        follows = wanted.kind is None and entry.kind == Kind.OUTCOME and entry.decision_id in decided
        if (follows and wanted.in_time(entry)) or wanted.matches(entry):
            if entry.kind == Kind.DECISION and entry.decision_id is not None:
                decided.add(entry.decision_id)
            yield entry


def merged(slots: Iterable[Iterable[tuple[Path, int]]]) -> Iterator[Row | Unreadable]:
    """Every entry of these files in the order they were written. One slot's files follow each other, each from a byte.

    Raises:
        Unavailable(JOURNAL_DOWN): a file cannot be read.
    """
    for _, _, _, entry in heapq.merge(*map(_timed, slots), key=lambda timed: timed[:3]):
        yield entry


def _slot(file: JournalFile) -> str:
    return file.slot


def _timed(places: Iterable[tuple[Path, int]]) -> Iterator[tuple[float, str, int, Row | Unreadable]]:
    """The entries of one slot's chains with what they are merged by. They follow each other in time; one is open."""
    at: datetime | None = None
    latest_s = 0.0
    for path, raw in ((file, raw) for file, begin in places for raw in raw_lines(file, from_byte=begin)):
        entry: Row | Unreadable
        try:
            if raw.torn:
                raise Rejected(Code.JOURNAL_INVALID, f"the file ends in the middle of a line ({len(raw.data)} bytes)")
            entry = _row(path.name, raw.number, raw.data)
        except Rejected as fault:
            entry = Unreadable(file=path.name, number=raw.number, at=at, torn=raw.torn, detail=fault.detail)
        else:
            at = entry.at
            latest_s = max(latest_s, at.timestamp())
        yield latest_s, path.name, raw.number, entry


def _row(file: str, number: int, data: bytes) -> Row:
    line = read_line(data)

    def text(name: str) -> str | None:
        value = line.fields.get(name)
        return value if isinstance(value, str) else None

    return Row(
        file=file,
        number=number,
        seq=line.seq,
        at=line.at,
        kind=line.kind,
        fields=line.fields,
        decision_id=text("decision_id"),
        hold_id=text("hold_id"),
        agent=text("agent"),
        sponsor=text("sponsor"),
        manifest=text("manifest"),
        verdict=text("verdict"),
        code=text("code"),
        host=text("host"),
    )
