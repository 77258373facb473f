"""Sealing: every second, to every sink, in order; one sink is enough, none is a refusal."""

import asyncio
from pathlib import Path

import journals
import pytest
from journals import NODE_KEY, Desk, MemorySink, fill

from proxy.audit import sealer as sealer_module
from proxy.audit.checkpoints import MAX_MARKS, read_checkpoint
from proxy.core.errors import Code, Unavailable

KEYS = {NODE_KEY.public.kid: NODE_KEY.public}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(directory=tmp_path / "journal")


async def until(true: object, *, within_s: float) -> None:
    """Wait until `true()` holds; the deadline is the promise under test."""
    assert callable(true)
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.005)


def sealed(sink: MemorySink) -> list[tuple[int, int]]:
    return [(checkpoint.first, checkpoint.seq) for checkpoint in (read_checkpoint(token, KEYS) for token in sink.kept)]


async def test_the_start_line_is_sealed_before_the_first_call(desk: Desk) -> None:
    journal = await desk.open()
    assert sealed(desk.sink) == [(1, 1)]
    await journal.close()
    assert sealed(desk.sink) == [(1, 1), (2, 2)]


async def test_what_is_durable_is_sealed_within_two_seconds_by_itself(desk: Desk) -> None:
    journal = await desk.open()
    await journal.append("decision", {})
    await until(lambda: sealed(desk.sink)[-1] == (2, 2), within_s=2)
    await journal.close()


async def test_nothing_new_is_not_sealed_again(desk: Desk) -> None:
    journal = await desk.open()
    assert await journal.seal()
    assert await journal.seal()
    assert sealed(desk.sink) == [(1, 1)]
    await journal.close()


async def test_many_lines_take_several_checkpoints(desk: Desk) -> None:
    journal = await desk.open()
    await asyncio.gather(*(journal.append("decision", {}) for _ in range(MAX_MARKS + 5)))
    await journal.close()
    spans = sealed(desk.sink)
    assert [begin for begin, _ in spans[1:]] == [end + 1 for _, end in spans[:-1]]
    assert spans[-1][1] == MAX_MARKS + 7
    assert desk.verify().ok


async def test_a_sink_that_is_down_gets_everything_in_order_once_it_is_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealer_module, "RETRY_S", 0.01)
    other = MemorySink()
    journal = await desk.open(sinks=(desk.sink, other))
    other.fault = ConnectionError("down")
    await journal.append("decision", {})
    journal._sealer._sign_fresh()
    await until(lambda: len(desk.sink.kept) == 2, within_s=2)
    await journal.append("decision", {})
    journal._sealer._sign_fresh()
    await until(lambda: len(desk.sink.kept) == 3, within_s=2)
    await until(lambda: journal.faults() == ("ConnectionError('down')",), within_s=2)
    assert sealed(other) == [(1, 1)]
    other.fault = None
    await until(lambda: other.kept == desk.sink.kept, within_s=2)
    assert journal.faults() == ()
    await journal.close()
    assert other.kept == desk.sink.kept


async def test_a_sink_that_hangs_holds_up_nobody(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer_module, "PUBLISH_DEADLINE_S", 0.05)

    class Hanging:
        async def publish(self, checkpoint: str) -> None:
            await asyncio.Event().wait()

    journal = await desk.open(sinks=(desk.sink, Hanging()))
    await journal.append("decision", {})
    assert not await journal.seal()
    assert sealed(desk.sink) == [(1, 1), (2, 2)]
    await until(lambda: journal.faults() == ("TimeoutError()",), within_s=2)
    await journal.close()
    assert desk.verify().ok


async def test_with_no_sink_for_too_long_calls_are_refused_until_one_is_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealer_module, "RETRY_S", 0.01)
    monkeypatch.setattr(sealer_module, "SEAL_GRACE_S", 0.05)
    other = MemorySink()
    journal = await desk.open(sinks=(desk.sink, other))
    desk.sink.fault = other.fault = ConnectionError("down")
    await journal.append("decision", {})
    journal._sealer._sign_fresh()
    await until(journal._sealer.overdue, within_s=2)
    with pytest.raises(Unavailable, match=r"no checkpoint sink takes .*down") as caught:
        await journal.append("decision", {})
    assert caught.value.code is Code.JOURNAL_DOWN
    other.fault = None
    await until(lambda: not journal._sealer.overdue(), within_s=2)
    await journal.append("decision", {})  # one sink is enough
    desk.sink.fault = None
    await journal.close()
    assert (desk.deaths, desk.verify().ok) == ([], True)


async def test_a_sealer_that_no_longer_signs_is_a_refusal(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer_module, "SEAL_GRACE_S", 0.05)
    journal = await desk.open()
    journal._sealer._tasks[-1].cancel()  # the ticking
    await journal.append("decision", {})
    await until(journal._sealer.overdue, within_s=2)
    with pytest.raises(Unavailable, match="no checkpoint sink"):
        await journal.append("decision", {})
    assert await journal.seal()
    await journal.append("decision", {})
    await journal.close()


async def test_a_signature_that_fails_is_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer_module, "SEAL_EVERY_S", 0.01)
    original = sealer_module.seal_checkpoints
    journal = await desk.open()

    def fail(*_: object, **__: object) -> tuple[str, ...]:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(sealer_module, "seal_checkpoints", fail)
    await journal.append("decision", {})
    await until(lambda: journal.faults() == ("ZeroDivisionError('planted')",), within_s=2)
    monkeypatch.setattr(sealer_module, "seal_checkpoints", original)
    await until(lambda: journal.faults() == (), within_s=2)
    await until(lambda: sealed(desk.sink)[-1] == (2, 2), within_s=2)
    await journal.close()
    assert desk.verify().ok


async def test_only_what_is_durable_is_sealed(desk: Desk) -> None:
    journal = await desk.open()
    await fill(journal, 2)
    with journals.stuck_disk():
        waiting = asyncio.create_task(journal.append("decision", {}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await journal.seal()
        assert sealed(desk.sink)[-1] == (2, 3)
    await waiting
    assert await journal.seal()
    assert sealed(desk.sink)[-1] == (4, 4)
    await journal.close()
