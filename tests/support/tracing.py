"""What a worker asks of the kernel, in order, as strace saw it.

    with running(folder, worker=strace(log)) as town: ...
    calls = read_trace(log)
    first = next(call for call in calls if call.name == "fdatasync")

`began` and `ended` are places in the trace: a call with a smaller `ended` had returned before one with a greater
`began` was made, in whatever thread. Descriptors are shown as what they stand for: a path, or both ends of a socket.
"""

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INSTALL = "strace is not installed: apt-get install strace"
SYSCALLS = ("fsync", "fdatasync", "sendto", "write", "writev", "sendmsg", "connect")
_WORKER = (sys.executable, "-m", "proxy.edge.worker")


@dataclass(frozen=True, kw_only=True)
class Syscall:
    """One call: its descriptor's number and meaning, the rest of its arguments as text, and what it returned."""

    thread: int
    name: str
    number: int
    what: str
    rest: str
    result: int
    began: int
    ended: int

    @property
    def data(self) -> bytes:
        """The first string among its arguments, as bytes."""
        found = _STRING.search(self.rest)
        return found[1].encode("latin-1").decode("unicode_escape").encode("latin-1") if found else b""


def available() -> bool:
    return shutil.which("strace") is not None


def strace(log: Path) -> Sequence[str]:
    """The command that runs a worker under strace; the worker stays the supervisor's own child."""
    flags = ["-D", "-f", "--seccomp-bpf", "-yy", "-qq", "-s", "1000000", "-e", f"trace={','.join(SYSCALLS)}"]
    return ["strace", *flags, "-e", "signal=none", "-o", str(log), *_WORKER]


_BEGUN = re.compile(r"(\d+) +(\w+)\((\d+)<([A-Za-z0-9-]+:\[[^\]]*\]|[^>]*)>(.*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")
_RESULT = re.compile(r"\) += (-?\d+)[^\"]*$")
_UNFINISHED = " <unfinished ...>"
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


def read_trace(log: Path) -> list[Syscall]:
    """Every finished call, in the order in which they began."""
    begun: dict[tuple[int, str], tuple[int, re.Match[str], str]] = {}
    calls: list[Syscall] = []
    for place, line in enumerate(log.read_text("ascii").splitlines()):
        if found := _BEGUN.fullmatch(line):
            thread, name, arguments = int(found[1]), found[2], found[5]
            if arguments.endswith(_UNFINISHED):
                begun[thread, name] = place, found, arguments.removesuffix(_UNFINISHED)
            else:
                calls.append(_call(found, arguments, place, place))
        elif again := _RESUMED.fullmatch(line):
            began, found, arguments = begun.pop((int(again[1]), again[2]))
            calls.append(_call(found, arguments + again[3], began, place))
    return sorted(calls, key=lambda call: call.began)


def _call(begun: re.Match[str], rest: str, began: int, ended: int) -> Syscall:
    result = _RESULT.search(rest)
    assert result is not None, f"no result in {rest[-200:]!r}"
    return Syscall(
        thread=int(begun[1]),
        name=begun[2],
        number=int(begun[3]),
        what=begun[4],
        rest=rest[: result.start()],
        result=int(result[1]),
        began=began,
        ended=ended,
    )
