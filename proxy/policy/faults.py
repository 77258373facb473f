"""What is wrong with what people wrote: collected line by line, raised together."""

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from proxy.core.errors import Code, Rejected

MAX_SHOWN = 50
_MAX_QUOTED = 80
_MAX_LISTED = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing to mend. `line` counts from 1; 0 means the file as a whole."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


class Faults:
    """The faults found so far in one file, so that a person sees all of them at once."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: list[Fault] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, line: int, text: str) -> None:
        self._found.append(Fault(file=self.file, line=line, text=text))

    def listed(self) -> tuple[Fault, ...]:
        """In the order of the file, each once."""
        return tuple(dict.fromkeys(sorted(self._found, key=lambda fault: fault.line)))


def refuse(faults: Iterable[Fault], *, code: Code = Code.CONFIG_INVALID) -> NoReturn:
    """Raise all of them as one `Rejected`, a line each; after `MAX_SHOWN` only their number is told."""
    lines = [str(fault) for fault in faults]
    if len(lines) > MAX_SHOWN:
        lines[MAX_SHOWN:] = [f"and {len(lines) - MAX_SHOWN} more"]
    raise Rejected(code, "\n".join(lines))


def refuse_any(*collected: Faults) -> None:
    """Raise everything collected, file by file, or return when there is nothing.

    Raises:
        Rejected(CONFIG_INVALID): at least one fault was found.
    """
    faults = [fault for found in collected for fault in found.listed()]
    if faults:
        refuse(faults)


def shown(text: str) -> str:
    """`text` in quotes, cut short, harmless on a terminal: nothing but printable characters."""
    cut = text if len(text) <= _MAX_QUOTED else text[: _MAX_QUOTED - 1] + "…"
    return json.dumps(cut, ensure_ascii=not cut.isprintable())


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` most likely stands for."""
    near = difflib.get_close_matches(word[:_MAX_QUOTED], sorted(known), n=1)
    return near[0] if near else None


def instead(word: str, known: Iterable[str]) -> str:
    """How a message goes on after an unknown name: `; did you mean "hosts"?`, or what is known if that is not much."""
    names = sorted(known)
    near = nearest(word, names)
    if near is not None:
        return f"; did you mean {shown(near)}?"
    return f"; expected one of {', '.join(names)}" if 0 < len(names) <= _MAX_LISTED else ""
