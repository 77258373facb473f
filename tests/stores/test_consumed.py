"""What a node has sent under a release: kept on its own disk, shared by its workers, dropped when no release counts."""

import asyncio
import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from identities import NOW

from proxy.core.errors import Code, Unavailable
from proxy.stores import consumed
from proxy.stores.consumed import ConsumedFile

UNTIL = NOW + timedelta(days=30)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "consumed.jsonl"


async def test_a_hold_is_taken_once_and_by_one_worker(path: Path) -> None:
    one, other = ConsumedFile(path), ConsumedFile(path)
    assert await one.take("h", 2, until=UNTIL)
    for file in (one, other, ConsumedFile(path)):
        assert not await file.take("h", 2, until=UNTIL)
        assert not await file.take("h", 4, until=UNTIL)
    assert await other.take("another", 2, until=UNTIL)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_many_workers_at_once_take_it_once(path: Path) -> None:
    files = [ConsumedFile(path) for _ in range(6)]
    taken = await asyncio.gather(*(file.take("h", 2, until=UNTIL) for file in files))
    assert sum(taken) == 1


async def test_what_was_not_sent_may_be_taken_again(path: Path) -> None:
    one, other = ConsumedFile(path), ConsumedFile(path)
    assert await one.take("h", 2, until=UNTIL)
    await one.untake("h", 2)
    assert await other.take("h", 4, until=UNTIL)
    await one.untake("h", 2)  # said before, of another claim
    assert not await one.take("h", 6, until=UNTIL)


async def test_a_hold_put_back_with_an_old_version_is_not_taken_again(path: Path) -> None:
    """The version in the store is the store's word: an undone claim of that number says nothing of the next one."""
    file = ConsumedFile(path)
    assert await file.take("h", 2, until=UNTIL)
    await file.untake("h", 2)
    assert await file.take("h", 2, until=UNTIL)
    assert not await ConsumedFile(path).take("h", 2, until=UNTIL)


@pytest.mark.parametrize("sent", [False, True])
async def test_what_another_node_claims_is_taken(path: Path, sent: bool) -> None:
    file = ConsumedFile(path)
    await file.seen("h", 2, sent=sent, until=UNTIL)
    await file.untake("h", 2)
    assert not await ConsumedFile(path).take("h", 4, until=UNTIL)


@pytest.mark.parametrize("sent", [False, True])
async def test_news_of_our_own_claim_is_none(path: Path, sent: bool) -> None:
    one, other = ConsumedFile(path), ConsumedFile(path)
    assert await one.take("h", 2, until=UNTIL)
    await other.seen("h", 2, sent=sent, until=UNTIL)
    await one.untake("h", 2)
    await other.seen("h", 2, sent=False, until=UNTIL)  # late news
    assert await other.take("h", 4, until=UNTIL)


async def test_news_that_a_call_was_sent_under_an_undone_claim_is_not_of_ours(path: Path) -> None:
    file = ConsumedFile(path)
    assert await file.take("h", 2, until=UNTIL)
    await file.untake("h", 2)
    await file.seen("h", 2, sent=True, until=UNTIL)
    assert not await file.take("h", 4, until=UNTIL)


async def test_the_same_news_is_written_once_and_foreign_ids_never(path: Path) -> None:
    file = ConsumedFile(path)
    for _ in range(3):
        await file.seen("h", 2, sent=True, until=UNTIL)
    await file.seen("x" * 65, 2, sent=True, until=UNTIL)
    await file.seen('h"\n', 2, sent=True, until=UNTIL)
    assert len(path.read_text().splitlines()) == 1


async def test_old_entries_are_dropped_at_start_and_running_workers_read_on(path: Path) -> None:
    running = ConsumedFile(path)
    assert await running.take("old", 2, until=NOW)
    assert await running.take("young", 2, until=UNTIL)
    starting = ConsumedFile(path)
    await starting.ready(now=NOW + timedelta(seconds=1))
    assert len(path.read_text().splitlines()) == 1
    for file in (running, starting):
        assert not await file.take("young", 2, until=UNTIL)
    assert await running.take("new", 2, until=UNTIL)
    assert not await starting.take("new", 2, until=UNTIL)
    await starting.ready(now=NOW + timedelta(seconds=1))
    assert path.stat().st_mode & 0o777 == 0o600


async def test_an_undone_claim_keeps_its_deadline(path: Path) -> None:
    file = ConsumedFile(path)
    assert await file.take("h", 2, until=UNTIL)
    await file.untake("h", 2)
    await file.ready(now=NOW)
    assert len(path.read_text().splitlines()) == 2


async def test_attempts_that_come_to_nothing_do_not_fill_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A released call whose origin is away is tried again and again; at 64 MiB nothing could be read any more."""
    monkeypatch.setattr(consumed, "FOLD_BYTES", 4096)
    file, other = ConsumedFile(path, now=lambda: NOW), ConsumedFile(path, now=lambda: NOW)
    assert await file.take("kept", 2, until=UNTIL)
    await file.seen("elsewhere", 2, sent=True, until=UNTIL)
    await file.seen("claimed", 2, sent=False, until=UNTIL)
    assert await file.take("over", 2, until=NOW)
    for number in range(2, 2000, 4):
        assert await file.take("h", number, until=UNTIL)
        await other.untake("h", number)
        assert await other.take("h", number + 2, until=UNTIL)
        await file.untake("h", number + 2)
    assert path.stat().st_size < 3 * 4096
    for each in (file, other, ConsumedFile(path)):
        for hold_id in ("kept", "elsewhere", "claimed"):
            assert not await each.take(hold_id, 4, until=UNTIL)
        assert [await each.spent(one) for one in ("kept", "elsewhere", "claimed", "h")] == [True, True, False, False]
        await each.seen("h", 1998, sent=False, until=UNTIL)  # news of our own claim
    assert '"over"' not in path.read_text()
    assert await file.take("h", 2002, until=UNTIL)


async def test_while_nobody_can_tell_the_time_nothing_is_dropped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumed, "FOLD_BYTES", 100)

    def unknown() -> datetime:
        raise Unavailable(Code.CLOCK_WRONG, "nobody has told the time")

    file = ConsumedFile(path, now=unknown)
    for number in range(10):
        assert await file.take(f"h{number}", 2, until=NOW)
    assert len(path.read_text().splitlines()) == 10


async def test_a_line_that_a_crash_cut_short_is_dropped(path: Path) -> None:
    assert await ConsumedFile(path).take("h", 2, until=UNTIL)
    with path.open("ab") as file:
        file.write(b'{"hold":"half')
    again = ConsumedFile(path)
    assert not await again.take("h", 2, until=UNTIL)
    assert await again.take("half", 2, until=UNTIL)
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("nonsense", id="no JSON"),
        pytest.param('{"hold":"h","number":1,"until":1,"what":"eaten"}', id="an unknown word"),
        pytest.param('{"hold":"h","number":1,"until":1,"what":"taken","x":1}', id="a member too many"),
        pytest.param('{"hold":"h","number":"1","until":1,"what":"taken"}', id="a number that is none"),
    ],
)
async def test_a_file_that_is_not_ours_lets_nothing_be_sent(path: Path, line: str) -> None:
    path.write_text(f"{line}\n")
    path.chmod(0o600)
    file = ConsumedFile(path)
    for work in (file.ready(now=NOW), file.take("h", 2, until=UNTIL)):
        with pytest.raises(Unavailable) as refused:
            await work
        assert refused.value.code is Code.STORE_DOWN


async def test_a_file_others_may_read_or_that_cannot_be_written_lets_nothing_be_sent(path: Path) -> None:
    assert await ConsumedFile(path).take("h", 2, until=UNTIL)
    path.chmod(0o644)
    with pytest.raises(Unavailable):
        await ConsumedFile(path).take("i", 2, until=UNTIL)
    with pytest.raises(Unavailable):
        await ConsumedFile(path.parent / "gone" / "consumed.jsonl").take("i", 2, until=UNTIL)


async def test_a_claim_counts_only_once_it_is_on_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ConsumedFile(path)

    def broken(_descriptor: int) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        with pytest.raises(Unavailable):
            await file.take("h", 2, until=UNTIL)
    assert await file.take("i", 2, until=UNTIL)


@pytest.mark.parametrize("broken", ["_in_place", "_read_on"])
async def test_whatever_goes_wrong_the_other_workers_go_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    file, other = ConsumedFile(path), ConsumedFile(path)

    def fails(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(file, broken, fails)
    with pytest.raises(RuntimeError):
        await file.take("h", 2, until=UNTIL)
    async with asyncio.timeout(2):
        assert await other.take("h", 2, until=UNTIL)
