"""How the story is told: short lines, eighty columns at most, colours only on a terminal."""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.text import Text

from proxy.cli.visible import visible, visible_lines

COLUMNS = 80
ASKED = 24  # columns for method and path

PLAIN = ""
HEADING = "bold cyan"
COMMAND = "bold"
PROMPT = "bold yellow"
QUOTE = "dim"
PASSED, STOPPED, REFUSED = "green", "yellow", "red"


class Teller:
    """Prints the story. Whatever comes from outside is made visible first."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False)
        self.width = min(COLUMNS, self._console.width) if self._console.is_terminal else COLUMNS
        self._fresh = True  # nothing stands above
        self.asks = sys.stdin.isatty() and self._console.is_terminal

    def heading(self, text: str) -> None:
        """The beginning of a chapter."""
        self._line()
        self._line(text, HEADING)
        self._fresh = True

    def say(self, text: str, style: str = PLAIN, *, apart: bool = True) -> None:
        """A sentence or two; apart from what was told before, unless told otherwise."""
        if apart and not self._fresh:
            self._line()
        self._fresh = False
        for line in textwrap.wrap(visible(text), self.width - 2, break_on_hyphens=False):
            self._line(f"  {line}", style)

    def call(self, asked: str, status: int, remark: str, style: str) -> None:
        """A call and what became of it."""
        shown = visible(asked)
        self._line(f"    {shown:<{max(ASKED, len(shown) + 2)}}{status}  {visible(remark)}", style)

    def command(self, lines: Sequence[str]) -> None:
        """A command as one would type it."""
        for number, line in enumerate(lines):
            self._line(f"  {'  ' if number else '$ '}{visible(line)}", COMMAND)

    def line(self, text: str) -> None:
        """What is copied as it is: never folded, however narrow the terminal, and with nothing beside it."""
        self._line()
        self._line(f"  {visible(text)}", COMMAND)

    def quote(self, text: str) -> None:
        """What somebody else reads, word for word; long lines are folded."""
        width = self.width - 4
        for line in visible_lines(text.rstrip("\n")):
            depth = len(line) - len(line.lstrip())
            folded = textwrap.wrap(
                line, width, subsequent_indent=" " * (depth + 2), break_on_hyphens=False, drop_whitespace=True
            )
            for part in folded or [""]:
                self._line(f"  │ {part}".rstrip(), QUOTE)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Says what is waited for, while it is; on a terminal only."""
        with self._console.status(text) if self._console.is_terminal else nullcontext():
            yield

    def _line(self, text: str = "", style: str = PLAIN) -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)
