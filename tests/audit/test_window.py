"""The newest part of a journal: what is read of it, and whether that is said to be all."""

from datetime import timedelta
from pathlib import Path

import pytest
from identities import NOW
from journals import Desk

from proxy.audit.show import Row
from proxy.audit.window import Window, newest
from proxy.core.errors import Code, Unavailable


async def chain(desk: Desk, *names: str, worker: int = 0) -> Path:
    journal = await desk.open(worker=worker)
    for name in names:
        await journal.append("decision", {"decision_id": name})
    await journal.close()
    return desk.path(journal)


def told(window: Window) -> list[str]:
    return [str(row.decision_id) for row in window.rows if isinstance(row, Row) and row.decision_id is not None]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(directory=tmp_path / "journal")


async def test_all_of_it_is_read_in_order_where_there_is_room(desk: Desk) -> None:
    await chain(desk, "a", "b")
    await chain(desk, "c", worker=1)
    await chain(desk, "d")
    window = newest(desk.directory, since=None)
    assert (told(window), window.whole) == (["a", "b", "c", "d"], True)


async def test_what_ended_before_is_not_opened(desk: Desk) -> None:
    old = await chain(desk, "a")
    desk.clock.now += timedelta(days=1)
    await chain(desk, "b")
    desk.clock.now += timedelta(days=1)
    await chain(desk, "c")
    old.write_bytes(b"\xff" * 10)
    window = newest(desk.directory, since=NOW + timedelta(days=1, hours=1))
    assert (told(window), window.whole) == (["b", "c"], True)  # the second may have lines from then on


async def test_of_more_than_that_the_newest_is_read_from_a_whole_line_on(desk: Desk) -> None:
    first = await chain(desk, "a")
    second = await chain(desk, *(f"b{number}" for number in range(20)))
    lines = second.read_bytes().splitlines(keepends=True)
    room = sum(map(len, lines[-6:])) + 10  # and the end of the line before
    window = newest(desk.directory, since=None, most_bytes=room)
    assert (told(window), window.whole) == ([f"b{number}" for number in range(15, 20)], False)
    exact = newest(desk.directory, since=None, most_bytes=sum(map(len, lines[-6:])))
    assert told(exact) == [f"b{number}" for number in range(15, 20)]
    both = newest(desk.directory, since=None, most_bytes=len(second.read_bytes()) + len(first.read_bytes()))
    assert len(told(both)) == 21 and both.whole


def test_a_journal_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as gone:
        newest(tmp_path / "none", since=None)
    assert gone.value.code is Code.JOURNAL_DOWN
