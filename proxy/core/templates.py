"""Path templates: `/v1/invoices/{id}`, how they are written, what they match, and an index of many.

A template is a sequence of parts. `{name}` stands for one non-empty part, `{name:encoded}` for one that may also
hold an encoded slash (`%2F`: npm scopes, GitLab ids), and a last `{name:rest}` for one or more parts, none with an
encoded slash, of which only the very last may be empty (a directory's closing slash).
"""

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Never

from proxy.core.canonical import canonical_path
from proxy.core.errors import Code, Rejected
from proxy.core.model import RuleRef

MAX_PARTS = 64
MAX_BRANCHES = 32
"""How many operations of one index may be in question for one path, counted as if every overlap were the worst."""

ENCODED_SLASH = "%2F"

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})(?::(encoded|rest))?\}")


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

    def __str__(self) -> str:
        if self.kind is Kind.LITERAL:
            return self.text
        return f"{{{self.text}}}" if self.kind is Kind.PART else f"{{{self.text}:{self.kind.value}}}"

    def takes(self, ahead: Sequence[str]) -> bool:
        """Whether the part stands for the first of the segments `ahead`; a rest, for all of them."""
        if self.kind is Kind.LITERAL:
            return ahead[0] == self.text
        slashed = {Kind.PART: ahead[:1], Kind.ENCODED: (), Kind.REST: ahead}[self.kind]
        return ahead[0] != "" and not any(ENCODED_SLASH in segment for segment in slashed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A parsed path template."""

    text: str
    parts: tuple[Part, ...]

    def fitting(self, segments: Sequence[str]) -> int:
        """How many of the template's parts stand where the path has what they take; for near misses."""
        places = range(min(len(self.parts), len(segments)))
        return sum(self.parts[place].takes(segments[place:]) for place in places)

    def matches(self, segments: Sequence[str]) -> bool:
        """Whether the whole path fits, as `PathIndex.find` would say."""
        whole = len(segments) == len(self.parts) or self.parts[-1].kind is Kind.REST
        return whole and self.fitting(segments) == len(self.parts)

    def captured(self, segments: Sequence[str]) -> dict[str, str]:
        """What each parameter stands for in a path that the template matches, as it stands there (still encoded)."""
        found: dict[str, str] = {}
        for place, part in enumerate(self.parts):
            if part.kind is Kind.REST:
                found[part.text] = "/".join(segments[place:])
            elif part.kind is not Kind.LITERAL:
                found[part.text] = segments[place]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry[T]:
    """What goes into an index: `value` answers for `methods` on `template`. `at` is named when entries overlap."""

    template: Template
    methods: frozenset[str]
    at: RuleRef
    value: T


_NOTHING: Mapping[str, Never] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class PathIndex[T]:
    """A trie of path parts. Looking up costs the length of the path times at most `MAX_BRANCHES`, never the entries."""

    literals: Mapping[str, "PathIndex[T]"] = _NOTHING
    part: "PathIndex[T] | None" = None
    encoded: "PathIndex[T] | None" = None
    rest: Mapping[str, tuple[T, ...]] = _NOTHING  # method -> values whose `{name:rest}` begins here
    ends: Mapping[str, tuple[T, ...]] = _NOTHING  # method -> values whose template ends here
    branches: int = 0  # no path and method leads to more values than this

    def find(self, method: str, segments: Sequence[str]) -> list[T]:
        """The values of every template that matches the path, for this method."""
        found: list[T] = []
        nodes: list[PathIndex[T]] = [self]
        for place, segment in enumerate(segments):
            onward: list[PathIndex[T]] = []
            slashed = ENCODED_SLASH in segment
            for node in nodes:
                if (literal := node.literals.get(segment)) is not None:
                    onward.append(literal)
                if not segment:
                    continue
                if node.part is not None and not slashed:
                    onward.append(node.part)
                if node.encoded is not None:
                    onward.append(node.encoded)
                if method in node.rest and not any(ENCODED_SLASH in later for later in segments[place:]):
                    found.extend(node.rest[method])
            if not onward:
                return found
            nodes = onward
        for node in nodes:
            found.extend(node.ends.get(method, ()))
        return found


def index_paths[T](entries: Iterable[Entry[T]]) -> PathIndex[T]:
    """The index of `entries`; their order does not matter to what is found, only to its order.

    Raises:
        Rejected(CONFIG_INVALID): templates overlap so much that one path could lead to more than `MAX_BRANCHES` values;
            the message names the place of the first entries at fault and the mend.
    """
    return _node(tuple(entries), 0)


def _node[T](entries: Sequence[Entry[T]], depth: int) -> PathIndex[T]:
    onward: dict[str, list[Entry[T]]] = {}
    groups: dict[Kind, list[Entry[T]]] = {}
    ending: list[Entry[T]] = []
    for entry in entries:
        parts = entry.template.parts
        if depth == len(parts):
            ending.append(entry)
        elif parts[depth].kind is Kind.LITERAL:
            onward.setdefault(parts[depth].text, []).append(entry)
        else:
            groups.setdefault(parts[depth].kind, []).append(entry)
    literals = {text: _node(group, depth + 1) for text, group in onward.items()}
    part, encoded = (_node(groups[kind], depth + 1) if kind in groups else None for kind in (Kind.PART, Kind.ENCODED))
    rest, ends = _by_method(groups.get(Kind.REST, ())), _by_method(ending)
    passing = max((child.branches for child in literals.values()), default=0) + _widest(rest)
    passing += sum(child.branches for child in (part, encoded) if child is not None)
    node = PathIndex(
        literals=literals or _NOTHING,
        part=part,
        encoded=encoded,
        rest=rest,
        ends=ends,
        branches=max(passing, _widest(ends)),
    )
    if node.branches > MAX_BRANCHES:
        widest = max(literals, key=lambda text: literals[text].branches, default="")
        narrow = {id(entry) for text, group in onward.items() if text != widest for entry in group}
        raise _crowded([entry for entry in entries if id(entry) not in narrow], depth)
    return node


def _by_method[T](entries: Sequence[Entry[T]]) -> Mapping[str, tuple[T, ...]]:
    found: dict[str, list[T]] = {}
    for entry in entries:
        for method in entry.methods:
            found.setdefault(method, []).append(entry.value)
    return {method: tuple(values) for method, values in found.items()} or _NOTHING


def _widest[T](values: Mapping[str, tuple[T, ...]]) -> int:
    return max(map(len, values.values()), default=0)


def _crowded[T](entries: list[Entry[T]], depth: int) -> Rejected:
    start = "".join(f"/{part}" for part in entries[0].template.parts[:depth]) or "/"
    rules = sorted((entry.at.file, entry.at.line, entry.at.id, entry.template.text) for entry in entries)
    shown = ", ".join(f"{name} ({file}:{line}, {text})" for file, line, name, text in rules[:4])
    more = f" and {len(rules) - 4} more" if len(rules) > 4 else ""
    return Rejected(
        Code.CONFIG_INVALID,
        f"{rules[0][0]}:{rules[0][1]}: below {start} one path could mean more than {MAX_BRANCHES} operations: "
        f"{shown}{more}; put fixed parts where parameters stand, merge operations that differ only in name, "
        "or split the cluster",
        field="operations",
    )


def parse_template(text: str) -> Template:
    """The parts of a path template; "/" is one empty literal part, as in `Call.segments`.

    Raises:
        Rejected(CONFIG_INVALID): it does not start with "/", its literal parts are not spelt as in a canonical URL (so
            that they could never match), a parameter is misspelt or named twice, `rest` is not last, or there are more
            than 64 parts.
    """
    if not text.startswith("/"):
        raise _bad(f'a path must start with "/", got {text!r}')
    pieces = text[1:].split("/")
    if len(pieces) > MAX_PARTS:
        raise _bad(f"a path may have at most {MAX_PARTS} parts, got {len(pieces)}")
    parts = tuple(_part(piece, text) for piece in pieces)
    if any(part.kind is Kind.REST for part in parts[:-1]):
        raise _bad(f"{{name:rest}} may only be the last part, got {text!r}")
    names = [part.text for part in parts if part.kind is not Kind.LITERAL]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise _bad(f"parameter {{{repeated[0]}}} may appear only once in {text!r}")
    _check_spelling(text, parts)
    return Template(text=text, parts=parts)


def _part(piece: str, text: str) -> Part:
    if "{" not in piece and "}" not in piece:
        return Part(kind=Kind.LITERAL, text=piece)
    written = _PARAMETER.fullmatch(piece)
    if written is None:
        raise _bad(
            f"a parameter must fill its part, as {{name}}, {{name:encoded}} or {{name:rest}}; got {piece!r} in {text!r}"
        )
    return Part(kind=Kind(written[2] or Kind.PART), text=written[1])


def _check_spelling(text: str, parts: tuple[Part, ...]) -> None:
    spelt = "".join(f"/{part.text if part.kind is Kind.LITERAL else 'x'}" for part in parts)
    try:
        canonical = canonical_path(spelt)
    except Rejected as fault:
        raise _bad(f"{text!r} cannot match any call: {fault.detail}") from None
    for part, expected in zip(parts, canonical[1:].split("/"), strict=True):
        if part.kind is Kind.LITERAL and part.text != expected:
            raise _bad(f"{part.text!r} in {text!r} must be written as it stands in a canonical URL: {expected!r}")
        if part.kind is Kind.LITERAL and ENCODED_SLASH in part.text:
            raise _bad(f"an encoded slash matches only a part written {{name:encoded}}, got {part.text!r} in {text!r}")


def _bad(detail: str) -> Rejected:
    return Rejected(Code.CONFIG_INVALID, detail, field="path")
