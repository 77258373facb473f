"""What the doctor found: one line each, and the mend under it."""

import enum
import json
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.core.encoding import Json


class State(enum.StrEnum):
    """How a question was answered."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"  # it was asked, and the answer proves nothing: not a pass
    SKIP = "skip"  # it could not be asked, or there was nothing to ask about


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The answer to one question. A failure has its mend, and so has what could not be told."""

    name: str
    state: State
    text: str
    mend: str = ""
    lines: tuple[str, ...] = ()  # what more there is to say
    tried: str = ""
    expected: str = ""

    @property
    def fails(self) -> bool:
        return self.state in (State.FAIL, State.UNKNOWN)


def ok(name: str, text: str, *lines: str) -> Finding:
    return Finding(name=name, state=State.OK, text=text, lines=lines)


def fail(name: str, text: str, mend: str) -> Finding:
    return Finding(name=name, state=State.FAIL, text=text, mend=mend)


def unknown(name: str, text: str, mend: str) -> Finding:
    return Finding(name=name, state=State.UNKNOWN, text=text, mend=mend)


def skip(name: str, text: str) -> Finding:
    return Finding(name=name, state=State.SKIP, text=text)


_MARKS = {State.OK: ("ok", "32"), State.FAIL: ("FAIL", "1;31"), State.UNKNOWN: ("?", "1;33"), State.SKIP: ("-", "2")}
_INDENT = " " * 6


def as_text(findings: Iterable[Finding], *, colours: bool) -> str:
    """For people: `ok`, `FAIL`, `?` or `-`, the question, the answer; below it the mend."""
    shown = tuple(findings)
    width = max((len(each.name) for each in shown), default=0)
    lines: list[str] = []
    for each in shown:
        mark, colour = _MARKS[each.state]
        mark = f"{mark:<6}"
        lines.append(f"{f'\x1b[{colour}m{mark}\x1b[0m' if colours else mark}{each.name:<{width}}  {plain(each.text)}")
        lines += [f"{_INDENT}{'':<{width}}  {plain(line)}" for line in each.lines]
        if each.tried:
            lines.append(f"{_INDENT}{'':<{width}}  tried: {plain(each.tried)}; expected: {plain(each.expected)}")
        if each.mend:
            lines.append(f"{_INDENT}{'':<{width}}  mend: {plain(each.mend)}")
    return "\n".join(lines) + "\n"


def as_json(findings: Iterable[Finding]) -> str:
    """For programs: whether all is well, and every finding."""
    shown = tuple(findings)
    value: Json = {
        "ok": not any(each.fails for each in shown),
        "findings": [
            {
                "name": each.name,
                "state": each.state.value,
                "text": each.text,
                "mend": each.mend or None,
                "lines": list(each.lines),
                **({"tried": each.tried, "expected": each.expected} if each.tried else {}),
            }
            for each in shown
        ],
    }
    return json.dumps(value, indent=2) + "\n"


def plain(text: str) -> str:
    """The text without what a terminal would obey: others wrote some of it."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
