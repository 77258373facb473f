"""Path templates: `/v1/invoices/{id}`, how they are written and what they match.

A template is a sequence of parts. `{name}` stands for one non-empty part, `{name:encoded}` for one that may also
hold an encoded slash (`%2F`: npm scopes, GitLab ids), and a last `{name:rest}` for one or more parts.
"""

import enum
import re
from dataclasses import dataclass

from proxy.core.errors import Code, Rejected

MAX_PARTS = 64
ENCODED_SLASH = "%2F"

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})(?::([a-z]+))?\}")
_LITERAL = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})*")
_UNRESERVED = re.compile(r"%(?:2D|2E|5F|7E|3[0-9]|[46][1-9A-F]|[57][0-9A])")
_DOTS = frozenset({".", ".."})


class Kind(enum.Enum):
    """What one part of a template stands for."""

    LITERAL = "literal"
    PART = "part"
    ENCODED = "encoded"
    REST = "rest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a template: `text` is the literal itself, or the parameter's name."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A parsed path template."""

    text: str
    parts: tuple[Part, ...]

    @property
    def parameters(self) -> frozenset[str]:
        return frozenset(part.text for part in self.parts if part.kind is not Kind.LITERAL)


def parse_template(text: str) -> Template:
    """The parts of a path template; "/" is one empty literal part, as in `Call.segments`.

    Raises:
        Rejected(CONFIG_INVALID): it does not start with "/", a literal is not as it would stand in a canonical URL
            (so that it could never match), a parameter is misspelt or named twice, `rest` is not last, or there
            are more than 64 parts.
    """
    if not text.startswith("/"):
        raise _bad(f'a path must start with "/", got {text!r}')
    pieces = text[1:].split("/")
    if len(pieces) > MAX_PARTS:
        raise _bad(f"a path may have at most {MAX_PARTS} parts, got {len(pieces)}")
    last = len(pieces) - 1
    parts = tuple(_part(piece, text, last=place == last) for place, piece in enumerate(pieces))
    names = [part.text for part in parts if part.kind is not Kind.LITERAL]
    for name in names:
        if names.count(name) > 1:
            raise _bad(f"parameter {{{name}}} may appear only once in {text!r}")
    return Template(text=text, parts=parts)


def _part(piece: str, text: str, *, last: bool) -> Part:
    if "{" in piece or "}" in piece:
        return _parameter(piece, text, last=last)
    if not _LITERAL.fullmatch(piece):
        raise _bad(f"{piece!r} in {text!r} must be written as it stands in a URL: percent-encoded, hex in upper case")
    if piece in _DOTS or (piece == "" and not last):
        raise _bad(f'a path may not hold "{piece or "//"}", got {text!r}')
    if ENCODED_SLASH in piece:
        raise _bad(f"an encoded slash matches only a part written {{name:encoded}}, got {piece!r} in {text!r}")
    if spelt := _UNRESERVED.search(piece):
        plain = bytes.fromhex(spelt[0][1:]).decode("ascii")
        raise _bad(f"{spelt[0]} in {text!r} must be written {plain!r}: unreserved characters stand for themselves")
    return Part(kind=Kind.LITERAL, text=piece)


def _parameter(piece: str, text: str, *, last: bool) -> Part:
    written = _PARAMETER.fullmatch(piece)
    if written is None:
        raise _bad(
            f"a parameter must fill its part, as {{name}}, {{name:encoded}} or {{name:rest}}; got {piece!r} in {text!r}"
        )
    name, kind = written.groups()
    match kind:
        case None:
            return Part(kind=Kind.PART, text=name)
        case "encoded":
            return Part(kind=Kind.ENCODED, text=name)
        case "rest" if last:
            return Part(kind=Kind.REST, text=name)
        case "rest":
            raise _bad(f"{piece} must be the last part, got {text!r}")
        case _:
            raise _bad(
                f"{piece!r} in {text!r} is of no known kind: write {{{name}}}, {{{name}:encoded}} or {{{name}:rest}}"
            )


def _bad(detail: str) -> Rejected:
    return Rejected(Code.CONFIG_INVALID, detail, field="path")
