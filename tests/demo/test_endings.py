"""The demo at a terminal, interrupted, and where it does not keep its word. However it ends, nothing of it stays."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clones import environment, processes_of, temporary

pytestmark = pytest.mark.system  # a whole demo for each of its ends

DEMO = (sys.executable, "-m", "proxy.cli.main", "demo")
PROMPT = "Press Enter to run it here"
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


@pytest.fixture
def terminal(temporary: Path) -> Iterator[Terminal]:
    opened = Terminal(temporary)
    yield opened
    opened.close()


@pytest.fixture(name="temporary")
def _temporary() -> Iterator[Path]:
    with temporary() as folder:
        yield folder
        assert list(folder.iterdir()) == []
        assert processes_of(folder) == []


def test_the_reader_releases_by_hand_in_another_terminal(terminal: Terminal) -> None:
    terminal.read_until(PROMPT)
    command = terminal.text.rpartition("  $ ")[2].partition("\n\n")[0]
    done = subprocess.run(["bash", "-c", command], env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.partition("\n")[0]) == (0, "released by maria"), done
    assert terminal.end() == 0, terminal.text
    assert "released in another terminal" in terminal.text
    assert "steps did what they claim." in terminal.text
    assert "\x1b[" in terminal.raw, "on a terminal there are colours"


@pytest.mark.parametrize(
    ("moment", "stop"),
    [
        pytest.param(PROMPT, lambda terminal: terminal.type("\x03"), id="Ctrl-C at the prompt"),
        pytest.param("the proxy is starting", lambda terminal: terminal.process.terminate(), id="SIGTERM at the start"),
    ],
)
def test_an_interrupted_demo_leaves_nothing(
    terminal: Terminal, temporary: Path, moment: str, stop: Callable[[Terminal], None]
) -> None:
    terminal.read_until(moment)
    assert processes_of(temporary), "server, proxy, store and agent run"
    stop(terminal)
    assert terminal.end() == 130, terminal.text
    assert "Traceback" not in terminal.text


WIDER = """
import sys
import proxy.cli.demo.stage as stage
stage._CLUSTER = stage._CLUSTER.replace("{path}", "/v1/{{set}}/{{id}}")
from proxy.cli.main import main
sys.exit(main(["demo", "--keep", sys.argv[1]]))
"""


def test_a_claim_that_does_not_hold_ends_it_with_an_error(temporary: Path, tmp_path: Path) -> None:
    """The same demo with a policy that covers the payroll: the pivot is not held, and the story may not say it was."""
    done = subprocess.run(
        [sys.executable, "-c", WIDER, str(tmp_path / "kept")],
        env=environment(TMPDIR=str(temporary)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Step 6 did not do what it claims: Through the proxy: GET /v1/payroll/88" in done.stdout
    last = json.loads((tmp_path / "kept" / "story.json").read_text())[-1]
    assert (last["expected"]["status"], last["seen"]["status"]) == (403, 200)
    assert last["seen"]["requests"] == ["GET /v1/payroll/88"]
