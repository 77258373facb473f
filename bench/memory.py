"""The resident memory of whole process trees, from /proc: now, and the most since the peak was forgotten."""

from pathlib import Path

from bench.cpu import tree


def resident_kib(pid: int, *, peak: bool = False) -> int:
    """What a process and its descendants have in memory, or the sum of the most each of them had."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    return sum(_line(each, wanted) for each in tree(pid))


def forget_peak(pid: int) -> None:
    """Count the peaks of a process and its descendants anew (proc_pid_clear_refs(5): 5)."""
    for each in tree(pid):
        Path(f"/proc/{each}/clear_refs").write_text("5")


def _line(pid: int, wanted: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(wanted):
            return int(line.split()[1])
    return 0  # it has ended
