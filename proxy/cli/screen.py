"""The terminal: answers on standard output, remarks on standard error, colours only where somebody sees them.

Every string passes through `visible` here, and rich never reads its markup from data: what is styled is told by the
caller, in a separate argument.
"""

import sys
from collections.abc import Iterable, Sequence

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.cli.visible import ascii_json, visible, visible_lines
from proxy.core.encoding import Json

NOTE = "dim"
GOOD = "green"
BAD = "bold red"
WARN = "yellow"
LABEL = "bold"

_UNBOUNDED = 100_000  # columns where nobody looks: a pipe gets every value whole


class Screen:
    """Prints for a person. What has `--json` prints documents instead; see `document`."""

    def __init__(self) -> None:
        self._out = _console(stderr=False)
        self._err = _console(stderr=True)

    def say(self, text: str = "", *, style: str = "") -> None:
        """One line of the answer."""
        self._out.print(Text(visible(text), style=style), soft_wrap=True)

    def paragraph(self, text: str, *, indent: int = 0, style: str = "") -> None:
        """Several lines of the answer, broken at line feeds."""
        for line in visible_lines(text):
            self._out.print(Text(" " * indent + line, style=style), soft_wrap=True)

    def note(self, text: str, *, style: str = NOTE) -> None:
        """One line beside the answer: progress, a hint, a warning. Goes to standard error."""
        self._err.print(Text(visible(text), style=style), soft_wrap=True)

    def facts(self, pairs: Iterable[tuple[str, str]], *, indent: int = 0) -> None:
        """Labels and values, one pair a line, values aligned. Pairs without a value are left out."""
        shown = [(label, value) for label, value in pairs if value]
        width = max((len(label) for label, _ in shown), default=0)
        for label, value in shown:
            line = Text(" " * indent)
            line.append(f"{visible(label):<{width}}  ", style=LABEL)
            line.append(visible(value))
            self._out.print(line, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
        """Rows under their headings, folded to the width of the terminal; `empty` is said when there is none."""
        table = Table(box=None, pad_edge=False, header_style=LABEL)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(visible(cell)) for cell in row))
        if not table.row_count:
            self.note(empty)
        elif self._out.is_terminal:
            self._out.print(table)
        else:  # rich pads the last column, too
            with self._out.capture() as drawn:
                self._out.print(table)
            self._out.file.write("".join(f"{line.rstrip()}\n" for line in drawn.get().splitlines()))

    def can_ask(self) -> bool:
        """Whether somebody could answer."""
        return sys.stdin.isatty()

    def ask(self, question: str) -> bool:
        """Whether a person at the terminal says yes. Without a terminal nobody can, so it is no."""
        if not self.can_ask():
            return False
        return typer.confirm(visible(question), default=False, err=True)


def document(value: Json) -> None:
    """Print a JSON document on standard output."""
    sys.stdout.write(ascii_json(value) + "\n")


def json_line(value: Json) -> None:
    """Print one JSON value on one line, at once: for streams."""
    sys.stdout.write(ascii_json(value, indent=None) + "\n")
    sys.stdout.flush()


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _UNBOUNDED
    return console
