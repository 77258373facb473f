"""`intent-proxy demo`: the whole story on one machine, on real parts, and nothing of it left behind."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from proxy.cli.demo.claims import BrokenClaim, Claim, Claims
from proxy.cli.demo.stage import Stage
from proxy.cli.demo.story import Story
from proxy.cli.demo.teller import REFUSED, Teller
from proxy.cli.exits import Exit
from proxy.cli.founding import check_empty

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def demo(
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the server's log of every byte, the journal, and story.json: what was expected and seen.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Tell the story of an agent that strays, on this machine: with a server, a proxy, an agent and a reviewer.

    Every step is really done, over TCP, and checked against what the server
    saw. Exit codes: 0 every step did what it claims, 1 one did not, 7 a part of
    it does not start.

    Example:
      intent-proxy demo --keep evidence
    """
    if keep is not None:
        check_empty(keep)
    teller = Teller()
    with _interruptible(), tempfile.TemporaryDirectory(prefix="ip-demo-") as folder:
        stage = Stage(folder=Path(folder))
        story = Story(stage, teller)
        try:
            story.play()
        except BrokenClaim as broken:
            _admit(teller, broken.claim)
            return Exit.REFUSED
        finally:
            if keep is not None:
                _keep(stage, story.claims, keep)
    teller.heading(f"All {len(story.claims.made)} steps did what they claim.")
    if keep is not None:
        teller.say(f"The evidence is in {keep}.")
    teller.say("Your own agent takes five commands more: see README.md.")
    return Exit.OK


def _admit(teller: Teller, claim: Claim) -> None:
    teller.heading(f"Step {claim.step} did not do what it claims: {claim.title}")
    teller.say(f"expected  {claim.expected}", REFUSED)
    teller.say(f"seen      {claim.seen}", REFUSED)


def _keep(stage: Stage, claims: Claims, target: Path) -> None:
    """Copy out what proves the story."""
    target.mkdir(parents=True, exist_ok=True)
    claims.write(target / "story.json")
    for source in (stage.log, stage.state / "checkpoints.jsonl"):
        if source.exists():
            shutil.copy(source, target)
    if (stage.state / "journal").exists():
        shutil.copytree(stage.state / "journal", target / "journal")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Whoever ends us by a signal finds everything tidied up. The first one counts; tidying up is not interrupted."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in _ENDINGS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
