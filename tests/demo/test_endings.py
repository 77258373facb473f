"""The demo at a terminal, interrupted, and where it does not keep its word. However it ends, nothing of it stays."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clones import environment, processes_of, temporary
from terminals import LOOK_AROUND, PROMPT, Terminal

pytestmark = pytest.mark.system  # a whole demo for each of its ends


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
    terminal.read_until(LOOK_AROUND)
    terminal.type("\n")
    assert terminal.end() == 0, terminal.text
    assert "You released it." in terminal.text
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
