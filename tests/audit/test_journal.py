"""The writer: what is acknowledged is on disk, in order, and a disk that fails once is never trusted again."""

import asyncio
import errno
import json
import os
import pty
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import journals
import pytest
from identities import bundle, key
from journals import NODE_KEY, Desk, crash, fill, stuck_disk

from proxy.audit import journal as journal_module
from proxy.audit.journal import MAX_WAITING
from proxy.audit.lines import read_line
from proxy.audit.starts import read_start
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.ports import Journal


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(directory=tmp_path / "journal")


def kinds(path: Path) -> list[str]:
    return [read_line(line).kind for line in journals.read(path)]


# --- what is written -------------------------------------------------------------------------------------------------


async def test_a_line_is_on_disk_when_append_returns(desk: Desk) -> None:
    journal: Journal = (opened := await desk.open())
    await journal.append("decision", {"decision_id": "d-1", "verdict": "deny"})
    line = read_line(journals.read(desk.path(opened))[1])
    assert (line.seq, line.kind, dict(line.fields)) == (2, "decision", {"decision_id": "d-1", "verdict": "deny"})
    await opened.close()
    assert kinds(desk.path(opened)) == ["start", "decision", "stop"]
    assert desk.verify().ok


async def test_the_chain_begins_with_who_where_and_under_which_rules(desk: Desk) -> None:
    first = await desk.open()
    await first.close()
    second = await desk.open()
    await second.close()
    keys = {NODE_KEY.public.kid: NODE_KEY.public}
    one = read_start(read_line(journals.read(desk.path(first))[0]), keys)
    two = read_start(read_line(journals.read(desk.path(second))[0]), keys)
    last = read_line(journals.read(desk.path(first))[-1])
    assert (one.node, one.slot, one.previous) == ("edge-1", "edge-1-0", None)
    assert (one.bundle_sha256, one.bundle_version, one.bundle_signed) == (bundle().sha256, 1, True)
    assert two.previous is not None
    assert (two.previous.file, two.previous.seq, two.previous.head) == (first.file, 2, last.hash)
    assert two.previous.torn_bytes == 0


async def test_the_file_is_ours_alone_and_new(desk: Desk) -> None:
    journal = await desk.open()
    assert stat.S_IMODE(desk.path(journal).stat().st_mode) == 0o600
    assert stat.S_IMODE(desk.directory.stat().st_mode) == 0o700
    await journal.close()


async def test_concurrent_callers_share_one_write_and_one_sync(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    original = journal_module._write_through

    def counted(descriptor: int, data: bytes) -> None:
        batches.append(data.count(b"\n"))
        original(descriptor, data)

    journal = await desk.open()
    monkeypatch.setattr(journal_module, "_write_through", counted)
    await asyncio.gather(*(journal.append("decision", {"decision_id": f"d-{n}"}) for n in range(200)))
    assert sum(batches) == 200
    assert len(batches) < 10
    await journal.close()
    lines = [read_line(line) for line in journals.read(desk.path(journal))]
    assert [line.seq for line in lines] == list(range(1, 203))
    assert [line.fields["decision_id"] for line in lines[1:-1]] == [f"d-{n}" for n in range(200)]
    assert desk.verify().ok


async def test_cancelled_callers_lose_no_line_and_change_no_order(desk: Desk) -> None:
    journal = await desk.open()
    with stuck_disk():
        callers = [asyncio.create_task(journal.append("decision", {"decision_id": f"d-{n}"})) for n in range(60)]
        await asyncio.sleep(0)
        for caller in callers[::2]:
            caller.cancel()
        ends = await asyncio.gather(*callers[::2], return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    await asyncio.gather(*callers[1::2])
    await journal.close()
    lines = [read_line(line) for line in journals.read(desk.path(journal))]
    assert [line.fields.get("decision_id") for line in lines[1:-1]] == [f"d-{n}" for n in range(60)]
    assert desk.verify().ok


async def test_a_closed_journal_takes_nothing_after_its_stop_line(desk: Desk) -> None:
    journal = await desk.open()
    closing = asyncio.create_task(journal.close())
    late = asyncio.create_task(journal.append("decision", {}))
    await closing
    with pytest.raises(Unavailable, match="closed") as caught:
        await late
    assert caught.value.code is Code.JOURNAL_DOWN
    await journal.close()  # once more does no harm
    assert kinds(desk.path(journal)) == ["start", "stop"]
    assert desk.verify().ok


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        pytest.param("start", {}, id="a start line is the journal's own"),
        pytest.param("stop", {}, id="a stop line is the journal's own"),
        pytest.param("gossip", {}, id="no such kind"),
        pytest.param("decision", {"seq": 7}, id="a field named as the journal's own"),
        pytest.param("decision", {"ratio": float("nan")}, id="a value that is not JSON"),
        pytest.param("decision", {"text": "x" * 40_000}, id="a line too long"),
    ],
)
async def test_a_line_that_is_none_is_the_callers_fault_and_harms_nobody(
    desk: Desk, kind: str, fields: dict[str, str]
) -> None:
    journal = await desk.open()
    with pytest.raises(ValueError):
        await journal.append(kind, fields)
    await journal.append("decision", {"decision_id": "d-1"})
    await journal.close()
    assert kinds(desk.path(journal)) == ["start", "decision", "stop"]
    assert desk.verify().ok


# --- disks that fail -------------------------------------------------------------------------------------------------


def full_device() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def hung_up_terminal() -> int:
    master, slave = pty.openpty()
    os.close(master)
    return slave


def device_that_cannot_sync() -> int:
    return os.open("/dev/null", os.O_WRONLY)


@pytest.mark.parametrize(
    ("device", "said"),
    [
        pytest.param(full_device, os.strerror(errno.ENOSPC), id="write says ENOSPC"),
        pytest.param(hung_up_terminal, os.strerror(errno.EIO), id="write says EIO"),
        pytest.param(device_that_cannot_sync, os.strerror(errno.EINVAL), id="write succeeds and fdatasync fails"),
    ],
)
async def test_the_first_fault_is_the_end(desk: Desk, device: Callable[[], int], said: str) -> None:
    journal = await desk.open()
    await fill(journal, 4)
    number = journals.descriptor_of(desk.path(journal))
    failing = device()
    os.dup2(failing, number)
    os.close(failing)
    callers = [asyncio.create_task(journal.append("decision", {"decision_id": f"x-{n}"})) for n in range(3)]
    ends = await asyncio.gather(*callers, return_exceptions=True)
    assert [end.code for end in ends if isinstance(end, Unavailable)] == [Code.JOURNAL_DOWN] * 3
    assert [said in str(end) for end in ends] == [True] * 3
    for _ in range(2):
        with pytest.raises(Unavailable, match="takes no more lines") as caught:
            await journal.append("decision", {"decision_id": "later"})
        assert caught.value.code is Code.JOURNAL_DOWN
    assert [death.code for death in desk.deaths] == [Code.JOURNAL_DOWN]
    await journal.close()
    assert kinds(desk.path(journal)) == ["start"] + ["decision"] * 4  # nothing more, not even a stop line
    again = await desk.open()  # the worker that comes next can write again
    await again.append("decision", {})
    await again.close()
    assert desk.verify().ok


@pytest.mark.parametrize("name", ["_durable", "_write_through"])
async def test_a_fault_of_ours_ends_the_journal_like_one_of_the_disk(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("planted")

    journal = await desk.open()
    monkeypatch.setattr(journal_module, name, fail)
    with pytest.raises(Unavailable, match="planted") as caught:
        await journal.append("decision", {})
    assert caught.value.code is Code.JOURNAL_DOWN
    assert len(desk.deaths) == 1
    monkeypatch.undo()
    await journal.close()
    await (await desk.open()).close()
    assert desk.verify().ok


async def test_callers_waiting_for_the_next_batch_are_told_too(desk: Desk) -> None:
    journal = await desk.open()
    number = journals.descriptor_of(desk.path(journal))
    with stuck_disk():
        first = asyncio.create_task(journal.append("decision", {}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # its batch is with the thread now
        second = asyncio.create_task(journal.append("decision", {}))
        await asyncio.sleep(0)
        failing = full_device()
        os.dup2(failing, number)
        os.close(failing)
    for caller in (first, second):
        with pytest.raises(Unavailable, match=os.strerror(errno.ENOSPC)):
            await caller
    assert len(desk.deaths) == 1
    await journal.close()


_FILLS_A_DISK = """
import asyncio, json, resource, sys
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[2])
import journals
from proxy.core.errors import Unavailable

async def main():
    desk = journals.Desk(directory=Path(sys.argv[1]))
    journal = await desk.open()
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
    written, refused = 0, []
    for number in range(60):
        try:
            await journal.append("decision", {"decision_id": f"d-{number}", "text": "x" * 100})
            written += 1
        except Unavailable as fault:
            refused.append(fault.code.value)
    await journal.close()
    print(json.dumps([written, refused, len(desk.deaths), desk.sink.kept]))

asyncio.run(main())
"""


async def test_a_file_that_may_not_grow_keeps_what_was_acknowledged(desk: Desk) -> None:
    """A real limit of the kernel: the last write stops half-way, as on a full disk."""
    command = [sys.executable, "-c", _FILLS_A_DISK, str(desk.directory), json.dumps(sys.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    written, refused, deaths, kept = json.loads(done.stdout)
    assert (deaths, written + len(refused)) == (1, 60)
    assert written > 5
    assert set(refused) == {"service.journal"}
    desk.sink.kept += kept
    before = desk.verify()
    assert before.ok
    assert before.files[0].lines == before.files[0].bound_lines == 1 + written
    assert before.files[0].torn_bytes > 0
    desk.clock.now += timedelta(seconds=5)
    await (await desk.open()).close()
    assert desk.verify().ok


async def test_a_disk_that_hangs_refuses_in_time_and_loses_nothing_when_it_comes_back(desk: Desk) -> None:
    journal = await desk.open()
    loop = asyncio.get_running_loop()
    with stuck_disk():
        begun_s = loop.time()
        with pytest.raises(Unavailable, match="did not confirm") as caught:
            await journal.append("decision", {"decision_id": "d-1"})
        assert loop.time() - begun_s < 2
        assert caught.value.code is Code.JOURNAL_DOWN
    await journal.append("decision", {"decision_id": "d-2"})
    await journal.close()
    assert kinds(desk.path(journal)) == ["start", "decision", "decision", "stop"]
    assert (desk.deaths, desk.verify().ok) == ([], True)


async def test_a_disk_that_hangs_is_not_waited_for_by_everybody(desk: Desk) -> None:
    journal = await desk.open()
    with stuck_disk():
        first = asyncio.create_task(journal.append("decision", {}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(journal.append("decision", {})) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="wait for the disk already"):
            await journal.append("decision", {})
    await asyncio.gather(first, *waiting)
    await journal.close()
    assert desk.verify().ok


# --- kill -9 ---------------------------------------------------------------------------------------------------------

_WRITES_FOR_EVER = """
import asyncio, json, sys
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[2])
import journals
from proxy.audit.sinks import FileCheckpoints

async def caller(journal, name):
    number = 0
    while True:
        number += 1
        await journal.append("decision", {"decision_id": f"{name}-{number}"})
        print(f"{name}-{number}", flush=True)

async def main():
    desk = journals.Desk(directory=Path(sys.argv[1]))
    journal = await desk.open(sinks=[FileCheckpoints(Path(sys.argv[1]) / "checkpoints")])
    await asyncio.gather(*(caller(journal, name) for name in "abcd"))

asyncio.run(main())
"""


async def test_what_was_acknowledged_before_a_kill_is_there_and_bound_by_the_next_start(desk: Desk) -> None:
    command = [sys.executable, "-c", _WRITES_FOR_EVER, str(desk.directory), json.dumps(sys.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(100)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]
    (path,) = desk.directory.glob("*.jsonl")
    written = [read_line(line).fields.get("decision_id") for line in journals.read(path)[1:]]
    assert set(acknowledged) <= set(written)
    desk.clock.now += timedelta(hours=1)
    await (await desk.open()).close()
    assert desk.verify().ok
    assert [file.unsealed_lines for file in desk.verify().files] == [0, 0]


# --- starting --------------------------------------------------------------------------------------------------------


async def test_two_writers_cannot_share_a_slot(desk: Desk) -> None:
    first = await desk.open()
    with pytest.raises(Unavailable, match="another process writes the journal of edge-1-0") as caught:
        await desk.open()
    assert caught.value.code is Code.JOURNAL_DOWN
    other = await desk.open(worker=1)
    await other.close()
    await first.close()
    await (await desk.open()).close()
    assert desk.verify().ok


async def test_a_directory_others_may_write_to_is_refused(desk: Desk) -> None:
    desk.directory.mkdir()
    desk.directory.chmod(0o770)
    with pytest.raises(Rejected, match="chmod 700") as caught:
        await desk.open()
    assert caught.value.code is Code.CONFIG_INVALID
    desk.directory.chmod(0o750)
    await (await desk.open()).close()


@pytest.mark.parametrize("node", ["", "../etc", "Edge", "a" * 65, "a/b"])
async def test_a_node_name_that_is_none_is_refused(desk: Desk, node: str) -> None:
    with pytest.raises(Rejected) as caught:
        await desk.open(node=node)
    assert caught.value.code is Code.CONFIG_INVALID
    assert not desk.directory.exists()
    await (await desk.open(node="edge-1.example")).close()


async def test_a_place_that_is_no_directory_is_refused(desk: Desk) -> None:
    desk.directory.write_text("")
    with pytest.raises(Unavailable) as caught:
        await desk.open()
    assert caught.value.code is Code.JOURNAL_DOWN
    desk.directory.unlink()
    await (await desk.open()).close()


async def test_a_journal_without_a_sink_is_refused(desk: Desk) -> None:
    with pytest.raises(Rejected, match="at least one checkpoint sink") as caught:
        await journal_module.FileJournal.open(
            desk.directory,
            node="edge-1",
            worker=0,
            key=NODE_KEY,
            bundle=bundle(),
            sinks=(),
            clock=desk.clock,
            on_dead=desk.deaths.append,
        )
    assert caught.value.code is Code.CONFIG_INVALID


async def test_a_crashed_chain_is_sealed_again_by_the_next(desk: Desk) -> None:
    journal = await desk.open()
    await fill(journal, 6)
    await crash(journal)
    assert desk.verify().files[0].unsealed_lines == 2
    second = await desk.open(signer=key("node"))
    report = desk.verify()
    assert (report.ok, report.files[0].located_lines, report.files[0].lines) == (True, 7, 7)
    await second.close()


# --- the clock -------------------------------------------------------------------------------------------------------


async def test_a_clock_behind_the_last_line_is_refused_until_it_is_cured(desk: Desk) -> None:
    journal = await desk.open()
    await journal.append("decision", {"decision_id": "d-1"})
    desk.clock.now -= timedelta(seconds=1)
    with pytest.raises(Unavailable, match="the clock says") as caught:
        await journal.append("decision", {"decision_id": "d-2"})
    assert caught.value.code is Code.CLOCK_WRONG
    desk.clock.now += timedelta(seconds=1)
    await journal.append("decision", {"decision_id": "d-3"})
    await journal.close()
    lines = [read_line(line) for line in journals.read(desk.path(journal))]
    assert [line.fields.get("decision_id") for line in lines] == [None, "d-1", "d-3", None]
    assert (desk.deaths, desk.verify().ok) == ([], True)


async def test_a_clock_slewed_back_a_little_never_shows(desk: Desk) -> None:
    journal = await desk.open()
    await journal.append("decision", {})
    desk.clock.now -= timedelta(milliseconds=50)
    await journal.append("decision", {})
    await journal.close()
    times = [read_line(line).at for line in journals.read(desk.path(journal))]
    assert times == sorted(times)
    assert times[1] == times[2]


async def test_a_new_chain_does_not_begin_before_the_last_one_ended(desk: Desk) -> None:
    first = await desk.open()
    desk.clock.now += timedelta(hours=1)
    await first.close()
    desk.clock.now -= timedelta(minutes=30)
    with pytest.raises(Unavailable, match="the last chain of edge-1-0 ends at") as caught:
        await desk.open()
    assert caught.value.code is Code.CLOCK_WRONG
    await (await desk.open(worker=1)).close()  # its own last line is what counts
    desk.clock.now += timedelta(minutes=30)
    await (await desk.open()).close()
    assert desk.verify().ok
