"""The command line for tests: in this process, or in one of its own."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from proxy.cli.main import main

PROGRAM = (sys.executable, "-m", "proxy.cli.main")
READY_S = 60.0


@dataclass(frozen=True, slots=True)
class Ran:
    """One command's exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def ok(self) -> "Ran":
        assert self.code == 0, f"exit {self.code}\n{self.out}\n{self.err}"
        return self


def cli(*words: str | Path, typed: str = "") -> Ran:
    """Run one command in this process, with no terminal; `typed` is its standard input."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), mock.patch.object(sys, "stdin", io.StringIO(typed)):
        code = main([str(word) for word in words])
    return Ran(int(code), out.getvalue(), err.getvalue())


def spawn(*words: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Ran:
    """Run one command in a process of its own."""
    done = subprocess.run(
        [*PROGRAM, *map(str, words)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        text=True,
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running(
    *words: str | Path, env: Mapping[str, str] | None = None, errors: int = subprocess.DEVNULL
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A command that runs on: the process and the first line it prints. It is told to end when the block does.

    `errors` is where its standard error goes: `subprocess.STDOUT` for among the output. The proxy runs without its
    review desk, unless the words say something of it: several tests run at once, and its port is one.
    """
    if words[0] == "run" and not any("desk" in str(word) for word in words):
        words = (*words, "--no-desk")
    process = subprocess.Popen(
        [*PROGRAM, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=errors,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=READY_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def on_terminal(*words: str | Path, typed: str = "", env: Mapping[str, str] | None = None) -> str:
    """Everything one command prints on a terminal of its own, `typed` into it."""
    ours, theirs = os.openpty()
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "CI", "GITHUB_ACTIONS")}
    process = subprocess.Popen(
        [*PROGRAM, *map(str, words)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**plain, "TERM": "xterm", **(env or {})},
    )
    os.close(theirs)
    said = b""
    try:
        os.write(ours, typed.encode())
        while True:
            try:
                said += os.read(ours, 65_536)
            except OSError:  # the program has ended
                break
        process.wait(30)
        return said.decode()
    finally:
        os.close(ours)
