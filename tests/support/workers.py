"""The worker processes of a running house, as the kernel sees them: their memory, and the files they have open."""

import time
from pathlib import Path

from houses import House

WAIT_S = 5.0


def workers(house: House) -> list[int]:
    """The process ids of the workers, all below the process that was started."""
    assert house.process is not None
    return [pid for pid in _below(house.process.pid) if b"proxy.edge.worker" in _command(pid)]


def _below(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        children += [int(child) for child in (task / "children").read_text().split()]
    return children + [each for child in children for each in _below(child)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def memory_kib(pid: int, what: str = "VmRSS") -> int:
    """A line of /proc/PID/status: VmRSS is what is resident now, VmHWM the most it has been."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1])
    raise AssertionError(f"no {what}")


def reset_peak(pid: int) -> None:
    """From now on VmHWM counts anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def spools(house: House) -> list[Path]:
    """The descriptors of all workers that are files in the spool directory; none of these has a name."""
    folder = f"{house.settings.state / 'spool'}/"
    found = []
    for pid in workers(house):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if str(entry.readlink()).startswith(folder):
                    found.append(entry)
            except OSError:  # closed meanwhile
                continue
    return found


def wait_for_spools(house: House, count: int) -> list[Path]:
    """Until so many are open. They are closed in threads, so soon and not at once."""
    deadline = time.monotonic() + WAIT_S
    while len(found := spools(house)) != count:
        assert time.monotonic() < deadline, f"{len(found)} spools are open, not {count}"
        time.sleep(0.02)
    return found
