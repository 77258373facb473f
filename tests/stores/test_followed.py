"""Since when a node has followed the events of holds: what it missed it does not act upon."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from held import ROOMY, draft

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.ports import Missed
from proxy.stores.files import write_atomically
from proxy.stores.followed import FollowedFile
from proxy.stores.memory_holds import MemoryHolds

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
BEFORE, AFTER = NOW - timedelta(minutes=5), NOW + timedelta(seconds=1)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def refused(followed: FollowedFile, issued_at: datetime) -> None:
    with pytest.raises(Rejected) as caught:
        followed.check(issued_at)
    assert caught.value.code is Code.RELEASE_INVALID


async def test_a_node_acts_on_what_was_released_since_it_followed(holds, tmp_path: Path) -> None:
    followed = FollowedFile(tmp_path / "followed.json", writes=True, clock=Clock())
    with pytest.raises(Unavailable):
        followed.check(AFTER)
    assert await followed.go_on(holds) == await holds.cursor()
    followed.check(AFTER)
    followed.check(NOW - timedelta(seconds=5))  # clocks may differ by so much
    refused(followed, BEFORE)


async def test_after_a_restart_it_goes_on_where_it_was(holds, tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / "followed.json"
    before = FollowedFile(file, writes=True, clock=clock)
    start = await before.go_on(holds)
    await holds.file(draft(), b"", ttl_s=60, caps=ROOMY)
    first = await anext(holds.news(start))
    before.passed(first.cursor)
    await before.write()
    await before.write()
    await holds.file(draft(), b"", ttl_s=60, caps=ROOMY)
    clock.now += timedelta(hours=1)

    again = FollowedFile(file, writes=True, clock=clock)

    assert await again.go_on(holds) == first.cursor
    again.check(NOW + timedelta(minutes=1))
    refused(again, BEFORE)


@pytest.mark.parametrize(
    "left",
    [
        pytest.param(None, id="nothing"),
        pytest.param(b"{", id="half a file"),
        pytest.param(b"[]", id="something else"),
        pytest.param(b'{"cursor":1,"since":1}', id="a cursor that is none"),
    ],
)
async def test_without_what_it_left_it_begins_anew(holds, tmp_path: Path, left: bytes | None) -> None:
    file = tmp_path / "followed.json"
    if left is not None:
        write_atomically(file, left)
    followed = FollowedFile(file, writes=True, clock=Clock())
    assert await followed.go_on(holds) == await holds.cursor()
    refused(followed, BEFORE)


async def test_after_a_gap_it_begins_anew(holds, tmp_path: Path) -> None:
    clock = Clock()
    followed = FollowedFile(tmp_path / "followed.json", writes=True, clock=clock)
    await followed.go_on(holds)
    clock.now += timedelta(hours=1)
    await followed.missed(holds)
    refused(followed, AFTER)
    followed.check(clock.now)
    assert await followed.go_on(holds) == await holds.cursor()


async def test_only_one_worker_writes_and_a_node_without_a_place_writes_nothing(holds, tmp_path: Path) -> None:
    for followed in (
        FollowedFile(tmp_path / "followed.json", writes=False, clock=Clock()),
        FollowedFile(None, writes=True, clock=Clock()),
    ):
        await followed.go_on(holds)
        await followed.write()
    assert list(tmp_path.iterdir()) == []


async def test_events_that_are_gone_are_told_apart_from_a_store_that_is_away() -> None:
    holds = MemoryHolds(events_kept=1)
    for _ in range(3):
        await holds.file(draft(), b"", ttl_s=60, caps=ROOMY)
    with pytest.raises(Missed):
        await anext(holds.news("0-0"))
