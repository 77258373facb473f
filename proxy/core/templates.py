"""Path templates: `/v1/invoices/{id}`, how they are written, and what they match (docs/urls.md).

A template is a sequence of parts, each fixed text around at most one parameter: `report.{format}`, `Products({id})`.
`{name}` stands for any text that is not empty and, alone in its part, for a whole part. Flags behind the name say what
else it takes: `encoded` an encoded slash (`%2F`), `matrix` a matrix parameter (`;`, raw or encoded). A last part
`{name:rest}` stands for one or more parts, of which only the very last may be empty (a directory's closing slash).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from proxy.core.errors import Code, Rejected
from proxy.core.readings import ENCODED, EVERY_ODDITY, MATRIX, oddities, raw
from proxy.core.urls import canonical_path

MAX_PARTS = 64

REST = "rest"
_FLAGS = (REST, ENCODED, MATRIX)
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})(?::([a-z,]*))?\}")
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a template. Without a parameter (`name` None), `before` is the whole of it."""

    before: str
    name: str | None = None
    after: str = ""
    rest: bool = False
    takes: frozenset[str] = _NOTHING  # of "encoded" and "matrix"

    def __str__(self) -> str:
        if self.name is None:
            return self.before
        flags = ",".join(flag for flag in _FLAGS if flag in self.takes or (flag == REST and self.rest))
        return f"{self.before}{{{self.name}{':' if flags else ''}{flags}}}{self.after}"

    def captured(self, ahead: Sequence[str]) -> str | None:
        """What the part's parameter stands for in the first of the segments `ahead`; a rest, in all of them.

        "" for a part without a parameter that is the segment; None where the part does not fit.
        """
        if self.name is None:
            return "" if ahead[0] == self.before else None
        own = "/".join(ahead) if self.rest else between(ahead[0], self.before, self.after)
        return own if own and ahead[0] and oddities(own) <= self.takes else None


def between(segment: str, before: str, after: str) -> str:
    """What stands between two fixed texts of a segment; "" if they, or something between them, do not stand there.

    An escape is never cut: in `%C3%BC` the text `BC` is no end.
    """
    end = len(segment) - len(after)
    inner = segment[len(before) : end]
    fits = segment.startswith(before) and segment.endswith(after) and "%" not in inner[-2:]
    return inner if fits else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A parsed path template."""

    text: str
    parts: tuple[Part, ...]

    def fitting(self, segments: Sequence[str]) -> int:
        """How many of the template's parts stand where the path has what they take; for near misses."""
        places = range(min(len(self.parts), len(segments)))
        return sum(self.parts[place].captured(segments[place:]) is not None for place in places)

    def matches(self, segments: Sequence[str]) -> bool:
        """Whether the whole path fits, as `PathIndex.find` would say."""
        whole = len(segments) == len(self.parts) or self.parts[-1].rest
        return whole and self.fitting(segments) == len(self.parts)

    def captured(self, segments: Sequence[str]) -> dict[str, str]:
        """What each parameter stands for in a path that the template matches, as it stands there (still encoded)."""
        found = ((part.name, part.captured(segments[place:])) for place, part in enumerate(self.parts))
        return {name: value for name, value in found if name is not None and value is not None}

    def taking_everything(self) -> "Template":
        """The template with every flag that lets its parameters take more, for rules that in doubt apply.

        Its fixed text is `raw`, to be compared with `path_readings`.
        """
        return replace(self, parts=tuple(map(_taking_everything, self.parts)))


def _taking_everything(part: Part) -> Part:
    takes = part.takes if part.name is None else EVERY_ODDITY
    return replace(part, before=raw(part.before), after=raw(part.after), takes=takes)


def parse_template(text: str) -> Template:
    """The parts of a path template; "/" is one empty part, as in `Call.segments`.

    Raises:
        Rejected(CONFIG_INVALID): it does not start with "/", its fixed text is not spelt as in a canonical URL (so that
            it could never match), a parameter is misspelt or named twice, or two stand in one part, `rest` is not alone
            in the last part, or there are more than 64 parts.
    """
    if not text.startswith("/"):
        raise _bad(f'a path must start with "/", got {text!r}')
    pieces = text[1:].split("/")
    if len(pieces) > MAX_PARTS:
        raise _bad(f"a path may have at most {MAX_PARTS} parts, got {len(pieces)}")
    parts = tuple(_part(piece, text) for piece in pieces)
    if any(part.rest for part in parts[:-1]):
        raise _bad(f"{{name:rest}} may only be the last part, got {text!r}")
    names = [part.name for part in parts if part.name is not None]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise _bad(f"parameter {{{repeated[0]}}} may appear only once in {text!r}")
    _check_spelling(text, parts)
    return Template(text=text, parts=parts)


def _part(piece: str, text: str) -> Part:
    before, opening, _ = piece.partition("{")
    if not opening and "}" not in piece:
        return Part(before=piece)
    written = _PARAMETER.match(piece, len(before))
    after = "" if written is None else piece[written.end() :]
    flags = [] if written is None or written[2] is None else written[2].split(",")
    if written is None or "{" in after or "}" in before + after or flags != [flag for flag in _FLAGS if flag in flags]:
        raise _bad(
            "a part may hold one parameter, written {name} or with flags in this order: {name:rest,encoded,matrix}; "
            f"got {piece!r} in {text!r}"
        )
    if REST in flags and (before or after):
        raise _bad(f"{{name:rest}} must fill its part, got {piece!r} in {text!r}")
    return Part(
        before=before, name=written[1], after=after, rest=REST in flags, takes=frozenset(flags) - frozenset({REST})
    )


def _check_spelling(text: str, parts: tuple[Part, ...]) -> None:
    spelt = [part.before if part.name is None else f"{part.before}x{part.after}" for part in parts]
    try:
        canonical = canonical_path("/" + "/".join(spelt))
    except Rejected as fault:
        raise _bad(f"{text!r} cannot match any call: {fault.detail}") from None
    for part, got, expected in zip(parts, spelt, canonical[1:].split("/"), strict=True):
        if got != expected:
            raise _bad(f"{str(part)!r} in {text!r} must be written as it stands in a canonical URL: {expected!r}")
        if odd := oddities(got):
            raise _bad(
                f'an encoded slash or a ";" matches only a parameter that takes it, as {{name:{min(odd)}}}; '
                f"got {str(part)!r} in {text!r}"
            )


def _bad(detail: str) -> Rejected:
    return Rejected(Code.CONFIG_INVALID, detail, field="path")
