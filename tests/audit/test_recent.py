"""The newest lines about one mandate, from the ends of the files, however long they are."""

from datetime import timedelta
from pathlib import Path

import pytest
from identities import NOW
from journals import NODE, Desk

from proxy.audit import recent
from proxy.audit.lines import Kind
from proxy.audit.recent import recent_lines
from proxy.core.errors import Unavailable

LATER = NOW + timedelta(days=1)


async def written(directory: Path, *lines: tuple[Kind, dict[str, str]]) -> Desk:
    desk = Desk(directory=directory)
    journal = await desk.open()
    for kind, fields in lines:
        await journal.append(kind, fields)
    await journal.close()
    return desk


def one(manifest: str, number: int) -> tuple[Kind, dict[str, str]]:
    return Kind.DECISION, {"manifest": manifest, "url": str(number)}


async def test_the_newest_of_one_mandate_come_oldest_first(tmp_path: Path) -> None:
    lines = [one("a", 1), one("b", 2), one("a", 3), (Kind.HOLD, {"manifest": "a", "url": "4"}), one("a", 5)]
    await written(tmp_path, *lines)
    found = recent_lines(tmp_path, manifest="a", before=LATER, kinds=(Kind.DECISION,), limit=2)
    assert [line.fields["url"] for line in found] == ["3", "5"]


async def test_what_came_after_is_left_out(tmp_path: Path) -> None:
    await written(tmp_path, one("a", 1), one("a", 2))
    lines = recent_lines(tmp_path, manifest="a", before=LATER, kinds=(Kind.DECISION,), limit=9)
    found = recent_lines(tmp_path, manifest="a", before=lines[1].at, kinds=(Kind.DECISION,), limit=9)
    assert [line.fields["url"] for line in found] == ["1"]


async def test_only_the_end_of_a_long_file_is_read_and_torn_lines_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(tmp_path, *(one("a", number) for number in range(50)))
    (file,) = tmp_path.glob(f"{NODE}-*.jsonl")
    file.write_bytes(file.read_bytes() + b'{"seq":99,"prev"')
    monkeypatch.setattr(recent, "READ_BYTES", 1_000)
    found = recent_lines(tmp_path, manifest="a", before=LATER, kinds=(Kind.DECISION,), limit=100)
    assert 0 < len(found) < 10 and found[-1].fields["url"] == "49"


def test_a_journal_that_is_not_there_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        recent_lines(tmp_path / "none", manifest="a", before=LATER, kinds=(Kind.DECISION,), limit=1)
