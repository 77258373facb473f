"""Processor time of whole process trees, from /proc: what a system costs is what all its processes cost."""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from bench.failures import Failed

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stat:
    """One process, as far as it matters here. Ticks are user and system time together."""

    parent: int
    ticks: int  # its own and those of children it has waited for


def tree_cpu_s(pid: int) -> float:
    """Seconds of user and system time of a process, all its living descendants, and the dead ones it has waited for.

    The kernel counts in ticks (10 ms on most machines), so measure over seconds.

    Raises:
        Failed: there is no such process.
    """
    stats = _every_process()
    if pid not in stats:
        raise Failed(f"process {pid} is gone, and with it the count of what it used")
    return sum(stats[each].ticks for each in _tree(pid, stats)) / TICKS_PER_S


def tree(pid: int) -> tuple[int, ...]:
    """A process and all its living descendants."""
    return tuple(_tree(pid, _every_process()))


def _tree(pid: int, stats: dict[int, _Stat]) -> list[int]:
    children: defaultdict[int, list[int]] = defaultdict(list)
    for each, stat in stats.items():
        children[stat.parent].append(each)
    found = [pid]
    for each in found:
        found.extend(children[each])
    return found


def _every_process() -> dict[int, _Stat]:
    found = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (stat := _read(entry / "stat")) is not None:
            found[int(entry.name)] = stat
    return found


def _read(path: Path) -> _Stat | None:
    try:
        text = path.read_text()
    except OSError:  # it ended in this very moment
        return None
    after_name = text.rpartition(")")[2].split()  # the name may hold anything, a parenthesis too
    utime, stime, cutime, cstime = (int(ticks) for ticks in after_name[11:15])  # proc_pid_stat(5), fields 14 to 17
    return _Stat(parent=int(after_name[1]), ticks=utime + stime + cutime + cstime)
