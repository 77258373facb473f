"""A demo at a terminal: a pseudo-terminal that is read, and typed into."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

from clones import environment

DEMO = (sys.executable, "-m", "proxy.cli.main", "demo")
PROMPT = "Press Enter to run it here"
LOOK_AROUND = "it stays open until you press Enter"
DEADLINE_S = 60.0

# Standard input becomes the controlling terminal, so that Ctrl-C is a signal.
AT_TERMINAL = "import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); os.execv(sys.argv[1], sys.argv[1:])"

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A demo at a terminal."""

    def __init__(self, temporary: Path) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", AT_TERMINAL, *DEMO],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(TMPDIR=str(temporary), TERM="xterm"),
            start_new_session=True,
        )
        os.close(theirs)
        self.raw = ""

    @property
    def text(self) -> str:
        return _ESCAPES.sub("", self.raw).replace("\r", "")

    def read_until(self, text: str) -> None:
        """Read until it has printed `text`; "" for its end."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not text or text not in self.text:
            assert select.select([self._ours], [], [], deadline_s - time.monotonic())[0], self.text
            try:
                data = os.read(self._ours, 65_536)
            except OSError:  # the terminal closed with its last process
                data = b""
            if not data:
                assert not text, self.text
                return
            self.raw += data.decode()

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """Read to the end; its exit code."""
        self.read_until("")
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        """After a test that failed: let it tidy up."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(DEADLINE_S)
        os.close(self._ours)
