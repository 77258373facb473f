"""What a reader at a terminal does in the story: they decide a held call, and look around on the review desk."""

import json
import select
import sys
import termios
import time
from collections.abc import Callable

from proxy.cli.demo.actors import PROGRAM, run
from proxy.cli.demo.stage import Stage, sign_in_link, still_signs_in
from proxy.cli.demo.teller import PROMPT, Teller
from proxy.cli.exits import Exit
from proxy.core.encoding import Json
from proxy.core.model import HoldState
from proxy.review.desk.links import LIVES

POLL_S = 1.0


class Reader:
    """Somebody at a terminal, who may have a browser."""

    def __init__(self, stage: Stage, teller: Teller, *, desk: str | None, person: str, name: str) -> None:
        """`desk` is where the review desk is, None where there is none; there they are `person`, called `name`."""
        self._stage, self._tell = stage, teller
        self._desk, self._person, self._name = desk, person, name
        self._word = ""  # of the link that signs them in
        self._ends_at_s = float("inf")

    def is_shown_the_desk(self) -> None:
        """Say how the call is decided in a browser."""
        _forget_what_was_typed()
        if self._desk is None:
            return
        self._tell.say("You are Maria now. Open this link in a browser; it signs you in as her, once:", PROMPT)
        self._link()
        self._tell.say(f"1. Press “Continue as {self._name}”. The call that waits is the first page.")
        self._tell.say("2. Read it. Press “Release once”; or say why not, and press “Deny”.", apart=False)
        self._tell.say("“Continue” and “Release once” have the focus: Enter presses them.", apart=False)
        self._tell.say("Without a browser, the same by command:")

    def decides(self, state: Callable[[], Json]) -> bool:
        """Wait until they press Enter (False), or until the hold was decided elsewhere (True)."""
        self._tell.say("Press Enter to run it here; or run it yourself, in another terminal.", PROMPT)
        self._tell.say("The call waits until you decide; nothing of it was sent. Ctrl-C ends the demo.", apart=False)
        while state() == HoldState.HELD.value:
            if self._desk is not None and time.monotonic() >= self._ends_at_s:
                self._tell.say("That link has ended by now. Another, if you are not signed in:", PROMPT)
                self._link()
            readable, _, _ = select.select([sys.stdin], [], [], POLL_S)
            if readable:
                sys.stdin.readline()
                return False
        return True

    def let_more_pass(self) -> bool:
        """Whether they let calls like it pass, too."""
        listed = run([*PROGRAM, "grants", "list", "--json", "-c", str(self._stage.edge)])
        return listed.status == Exit.OK and bool(json.loads(listed.output))

    def looks_around(self) -> None:
        """Keep everything up until they have seen the desk."""
        if self._desk is None:
            return
        _forget_what_was_typed()
        self._tell.say("Look around on the review desk: it stays open until you press Enter here.", PROMPT)
        if still_signs_in(self._stage, self._word):
            self._tell.say("The link above was not used. It still signs you in, once:", apart=False)
            self._tell.line(self._address())
        else:
            self._tell.say(
                f"{self._desk}/history has what was decided, {self._desk}/agents who may do what.", apart=False
            )
        sys.stdin.readline()

    def _link(self) -> None:
        self._word = sign_in_link(self._stage, self._person)
        self._ends_at_s = time.monotonic() + LIVES.total_seconds()
        self._tell.line(self._address())

    def _address(self) -> str:
        return f"{self._desk}/enter?link={self._word}"


def _forget_what_was_typed() -> None:
    """An Enter that was pressed before the question is no answer to it."""
    termios.tcflush(sys.stdin, termios.TCIFLUSH)
