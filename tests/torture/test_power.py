"""The power fails: what was never synced is gone. Every hold an agent was told of is there, and the journal is whole.

kill -9 alone spares the page cache. So store and worker run under strace, both are killed at any moment, and before
they are started again every AOF and journal file is cut back to the length it had when it was last synced.
"""

import os
import random
import re
import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import plant_house
import pytest
import tracing
from certs import Authority
from clirun import cli
from houses import CLUSTERS, house
from origins import Origin
from survivors import Agents, kill, lost
from towns import ROOMY
from valkeys import Valkey

OUTSIDE = "/v1/payments"


class TracedValkey(Valkey):
    """A server whose writes and syncs are recorded."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        words = ["strace", "-DD", "-f", "--seccomp-bpf", "-yy", "-qq", "-s", "0", "-e", "signal=none", "-o", str(log)]
        self.prefix = (*words, "-e", "trace=write,fdatasync,fsync")


_TOLD = re.compile(r"(\) += -?\d+[^\"]*|<unfinished \.\.\.>)$")
"""How a whole line ends. Of a call in which its process was killed the result is missing, or more."""


def synced(log: Path, files: Iterable[tuple[Path, int]]) -> dict[Path, int]:
    """How much of each file was certainly on disk. `files`: with the length each had when the trace began."""
    clean = log.with_suffix(".clean")
    lines = log.read_text("ascii").splitlines() if log.exists() else []
    clean.write_text("".join(f"{line}\n" for line in lines if _TOLD.search(line)), "ascii")
    trace = tracing.read_trace(clean)
    found = {}
    for path, before in files:
        mine = [call for call in trace if call.what == str(path)]
        syncs = [call for call in mine if call.name in ("fdatasync", "fsync") and call.result == 0]
        last = max((call.began for call in syncs), default=-1)
        found[path] = before + sum(call.result for call in mine if call.name == "write" and call.ended < last)
    return found


def cut(lengths: dict[Path, int]) -> int:
    """Take away what was not synced. Returns how many bytes that were."""
    gone = 0
    for path, length in lengths.items():
        if path.exists() and path.stat().st_size > length:
            gone += path.stat().st_size - length
            os.truncate(path, length)
    return gone


def kept(*folders: Path) -> dict[Path, int]:
    """AOF and journal files and their lengths."""
    return {
        path.resolve(): path.stat().st_size
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and (path.suffix == ".jsonl" or path.name.endswith(".aof"))
    }


def wait_for_tracer(log: Path) -> None:
    """Until whoever writes this trace has written all of it. It was not killed: what it traced was."""
    deadline_s = time.monotonic() + 10
    while any(_mentions(process, log) for process in Path("/proc").glob("[0-9]*/cmdline")):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def _mentions(process: Path, log: Path) -> bool:
    try:
        words = process.read_bytes().split(b"\0")
    except OSError:  # it has ended
        return False
    return words[0] == b"strace" and os.fsencode(log) in words


def lose_power(folder: Path, *, rounds: int, calls: int, seed: int) -> str:
    chance, authority, bytes_gone = random.Random(seed), Authority(), 0
    told: dict[str, bytes] = {}
    (folder / "house").mkdir(parents=True)
    store_log, worker_log = folder / "store.trace", folder / "worker.trace"
    valkey = TracedValkey(store_log)
    command = (
        sys.executable,
        plant_house.__file__,
        shlex.join("-DD" if word == "-D" else word for word in tracing.strace(worker_log)),
    )
    with Origin() as plain, Origin(tls=authority.server("erp.example")) as tls:
        text = CLUSTERS.format(http=plain.port, https=tls.port)
        extra = f"upstream_cas: [{authority.write(folder)}]\n{ROOMY}redis_url: {valkey.url}\n"
        before: dict[Path, int] = {}
        valkey.start()
        try:
            with house(folder / "house", clusters=text, extra=extra, start=False) as built:
                journal, aof = built.settings.state / "journal", valkey.directory / "appendonlydir"
                for _ in range(rounds):
                    built.start(workers=1, command=command, listen_port=built.address[1])
                    agents = Agents(houses=[built], url=plain.url(OUTSIDE, host="erp.example"), calls=calls)
                    agents.until_killed(chance.uniform(0.3, 1.0))
                    kill(built)
                    valkey.kill()
                    told |= agents.gather()
                    for log in (store_log, worker_log):
                        wait_for_tracer(log)
                    lengths = {}
                    for log, where in ((store_log, aof), (worker_log, journal)):
                        files = [(path, before.get(path, 0)) for path in kept(where)]
                        lengths |= synced(log, files)
                    bytes_gone += cut(lengths)
                    for log in (store_log, worker_log):
                        log.unlink(missing_ok=True)
                    before = kept(aof, journal)
                    valkey.start()
                assert len(told) >= rounds
                assert lost(built, OUTSIDE, told, store_url=valkey.url) == []
                ran = cli("audit", "verify", "-c", built.folder)
                assert ran.code == 0, ran.out + ran.err
                assert plain.since(()).nothing
        finally:
            valkey.__exit__(None, None, None)
    return f"seed {seed}: {len(told)} holds told of, {rounds} power failures, {bytes_gone} unsynced bytes cut, lost 0"


@pytest.fixture(autouse=True)
def _strace() -> None:
    if not tracing.available():
        pytest.skip(tracing.INSTALL)


def test_what_is_cut_is_what_was_not_synced(tmp_path: Path) -> None:
    """The instrument itself."""
    path, log = tmp_path / "a.aof", tmp_path / "trace"
    lines = [
        f'1 write(3<{path}>, ""..., 10) = 10',
        f"1 fdatasync(3<{path}>) = 0",
        f'1 write(3<{path}>, ""..., 7) = 7',
        f"2 fdatasync(3<{path}> <unfinished ...>",
        f'1 write(3<{path}>, ""..., 5) = 5',
        "2 <... fdatasync resumed>) = 0",
        f'1 write(3<{path}>, ""..., 4) = ?',
        f'1 write(3<{path}>, ""..., ',
    ]
    log.write_text("".join(f"{line}\n" for line in lines))
    path.write_bytes(bytes(3 + 10 + 7 + 5))
    assert synced(log, [(path, 3)]) == {path: 3 + 10 + 7}
    assert cut({path: 20}) == 5
    assert path.stat().st_size == 20


@pytest.mark.system
def test_no_hold_is_lost_when_the_power_fails(tmp_path: Path) -> None:
    print(lose_power(tmp_path, rounds=2, calls=40, seed=1))


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_hold_is_lost_in_many_power_failures(tmp_path: Path, seed: int) -> None:
    print(lose_power(tmp_path, rounds=20, calls=200, seed=seed))
