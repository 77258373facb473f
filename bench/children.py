"""Child processes of a run: started on chosen cores, spoken to in lines, ended by their own process id."""

import json
import os
import select
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import ROOT
from bench.failures import Failed

type Message = dict[str, Any]

END_S = 15.0
_UNWANTED = ("SSLKEYLOGFILE", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONDEVMODE", "INTENT_PROXY_CONFIG")


def environment() -> dict[str, str]:
    """The environment of every child: no proxy settings, and nothing that would make one interpreter unlike another."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return {name: value for name, value in kept.items() if name not in _UNWANTED} | {"PYTHONUNBUFFERED": "1"}


@contextmanager
def on_cores(cores: Collection[int]) -> Iterator[None]:
    """Children started inside run on these cores only, from their first instruction; empty: wherever they like."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Child:
    """One process. What it prints on standard output is read line by line; its errors go to a file."""

    def __init__(self, name: str, words: Sequence[str], *, folder: Path, cores: Collection[int] = ()) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        self._buffer = b""
        with self._log.open("ab") as log, on_cores(cores):
            self._process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=ROOT, env=environment()
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def line(self, *, within_s: float) -> str:
        """The next line it prints.

        Raises:
            Failed: it ended, or says nothing in time.
        """
        assert self._process.stdout is not None
        deadline_s = time.monotonic() + within_s
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline_s - time.monotonic()))
            if not ready:
                raise Failed(f"{self.name} said nothing for {within_s:g} s; {self._said()}")
            data = os.read(descriptor, 1 << 20)
            if not data:
                raise Failed(f"{self.name} ended; {self._said()}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode("utf-8", "replace")

    def ask(self, message: Mapping[str, object], *, within_s: float = 60.0) -> Message:
        """Send one message and return the answer.

        Raises:
            Failed: it ended, says nothing in time, or says that it failed.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise Failed(f"{self.name} ended; {self._said()}") from None
        return self.answer(within_s=within_s)

    def answer(self, *, within_s: float = 60.0) -> Message:
        """The next message from it. Raises as `ask`."""
        answer: Message = json.loads(self.line(within_s=within_s))
        if "failed" in answer:
            raise Failed(f"{self.name}: {answer['failed']}")
        return answer

    def end(self) -> None:
        """Ask it to end; kill it, and it alone, when it does not."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _said(self) -> str:
        lines = self._log.read_text("utf-8", "replace").strip().splitlines()
        return "its last words: " + (" | ".join(lines[-4:]) or "none")
