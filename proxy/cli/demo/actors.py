"""The processes of the demo: each started here, spoken to over pipes, and ended here by its own id."""

import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Self

from proxy.cli.typed import as_called
from proxy.core.encoding import Json
from proxy.core.errors import Code, Unavailable
from proxy.stores.embedded import EmbeddedStore

START_S = 60.0
DESK_S = 15.0
ANSWER_S = 30.0
STOP_S = 20.0

_READY = re.compile(r"ready on \[?([^\s\]]+)\]?:(\d+)")
_DESK = re.compile(r"review desk ready on (http://\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one run of the command line printed."""

    status: int
    output: str  # standard output and standard error, as they came


class _Actor:
    """Ends with the block it was entered for."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self.end()

    def end(self) -> None:
        """End the process, whatever state it is in."""
        raise NotImplementedError


class Child(_Actor):
    """A Python module of ours in a process of its own, which answers each line with one line."""

    def __init__(self, module: str, folder: Path) -> None:
        self._log = folder / f"{module.rpartition('.')[2]}.log"
        self._process = _start([sys.executable, "-m", module, str(folder)], self._log, stdin=subprocess.PIPE)

    def hear(self) -> Json:
        """The next line it says."""
        line = _line(self._process, ANSWER_S)
        if not line:
            raise _silent(self._log)
        answer: Json = json.loads(line)
        return answer

    def tell(self, order: Json) -> Json:
        """Give an order, and return what it says to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self.hear()

    def end(self) -> None:
        """The end of its input is the end of its work."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        _wait(self._process, 2.0)


class Edge(_Actor):
    """`intent-proxy run`, with two workers and the embedded store, and with the review desk if somebody may use it."""

    def __init__(self, deployment: Path, log: Path, *, desk: bool) -> None:
        self._state, self._log = deployment / "state", log
        self._has_desk = desk
        command = [*PROGRAM, "run", "-c", str(deployment), "--workers", "2", *([] if desk else ["--no-desk"])]
        self._process = _start(command, log, stdin=subprocess.DEVNULL)

    def ready(self) -> tuple[str, int]:
        """Where it listens, as soon as it serves."""
        found = _READY.search(_line(self._process, START_S))
        if found is None:
            raise _silent(self._log)
        return found[1], int(found[2])

    def desk(self) -> str | None:
        """Where its review desk is; None where it has none."""
        found = _DESK.search(_line(self._process, DESK_S)) if self._has_desk else None
        return None if found is None else found[1]

    def stop(self) -> int:
        """Ask it to end as an operator would; its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return _wait(self._process, STOP_S)

    def end(self) -> None:
        """Whatever happened, nothing of it stays."""
        try:
            self.stop()
        finally:
            store = EmbeddedStore(self._state)
            if store.directory.exists() and store.alive():
                store.stop()
            if store.socket.parent != store.directory:  # the folder's own name was too long for a socket
                with suppress(OSError):
                    store.socket.parent.rmdir()


def run(command: Sequence[str]) -> Said:
    """Run a command that the story shows, exactly as it is shown."""
    done = subprocess.run(  # noqa: S603 (our own program, no shell)
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(),
        text=True,
        timeout=START_S,
        check=False,
    )
    return Said(status=done.returncode, output=done.stdout)


PROGRAM = as_called()


def as_typed(command: Sequence[str], width: int) -> list[str]:
    """A command as lines to copy into a shell, broken where it is longer than `width`, but never after an option."""
    lines = [""]
    for part in _parts(command):
        if lines[-1] and len(lines[-1]) + len(part) + 3 > width:
            lines[-1] += " \\"
            lines.append(f"  {part}")
        else:
            lines[-1] += f" {part}" if lines[-1] else part
    return lines


def _parts(command: Sequence[str]) -> Iterator[str]:
    """The words of a command, an option together with its value."""
    words = iter(command)
    for word in words:
        yield shlex.join([word, *islice(words, 1)] if word.startswith("-") else [word])


def _environment() -> dict[str, str]:
    """Ours, without what would send calls elsewhere or read another deployment."""
    unwanted = {"intent_proxy_config", "intent_proxy_as"}
    return {
        name: value
        for name, value in os.environ.items()
        if name.lower() not in unwanted and not name.lower().endswith("_proxy")
    }


def _start(command: Sequence[str], log: Path, *, stdin: int) -> "subprocess.Popen[str]":
    """A process in a session of its own: Ctrl-C at the terminal reaches this program alone, which ends the others."""
    with log.open("wb") as errors:
        return subprocess.Popen(  # noqa: S603 (our own program, no shell)
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(),
            text=True,
            start_new_session=True,
        )


def _line(process: "subprocess.Popen[str]", within_s: float) -> str:
    """The next line it prints, or "" when none comes in time."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], within_s)
    return process.stdout.readline() if readable else ""


def _silent(log: Path) -> Unavailable:
    last = log.read_text("utf-8", "replace").strip().splitlines()[-5:]
    return Unavailable(Code.UNDECIDED, "\n".join([f"the demo's {log.stem} did not do its part", *last]))


def _wait(process: "subprocess.Popen[str]", within_s: float) -> int:
    try:
        return process.wait(within_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its own session and group, begun in `_start`
        return process.wait()
    finally:
        if process.stdout is not None:
            process.stdout.close()
