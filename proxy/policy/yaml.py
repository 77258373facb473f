"""YAML with a line and a column for every node, and without its surprises.

libyaml (through PyYAML's CSafeLoader) splits the text into events; the tree is built here, so that nothing is ever
constructed from a tag. What different YAML readers understand differently is refused rather than guessed: `yes`,
`0777`, `1:30`, duplicate keys. What hides meaning from a reviewer is refused too: anchors, aliases, merge keys, tags,
invisible characters.
"""

import enum
import re
from dataclasses import dataclass

import yaml as pyyaml

from proxy.policy.faults import Faults, shown

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
"""A JSON Schema within an operation is some levels deep by itself."""


class Kind(enum.Enum):
    """What a scalar is by the YAML 1.2 core schema, as far as 1.1 agrees."""

    TEXT = "text"
    INT = "a whole number"
    BOOL = "true or false"
    NULL = "nothing"
    DATE = "a date"


@dataclass(frozen=True, slots=True)
class Scalar:
    """One word, number or quoted text. `text` is as written, quotes and escapes resolved."""

    text: str
    kind: Kind
    line: int
    column: int

    def __str__(self) -> str:
        match self.kind:
            case Kind.TEXT:
                return shown(self.text)
            case Kind.NULL:
                return "nothing"
            case _:
                return self.text


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    nodes: tuple["Node", ...]
    line: int
    column: int

    def __str__(self) -> str:
        return "a list"


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping from text to nodes, in the order written; no key twice."""

    entries: tuple[tuple[Scalar, "Node"], ...]
    line: int
    column: int

    def __str__(self) -> str:
        return "a mapping"

    def get(self, key: str) -> "Node | None":
        return next((node for name, node in self.entries if name.text == key), None)


type Node = Scalar | Items | Table

type Plain = str | int | bool | tuple[Plain, ...] | dict[str, Plain] | None


def plain(node: Node) -> Plain:
    """The same as plain values; a date stays the text it was written as."""
    match node:
        case Table():
            return {name.text: plain(value) for name, value in node.entries}
        case Items():
            return tuple(plain(item) for item in node.nodes)
        case Scalar(kind=Kind.INT):
            return int(node.text)
        case Scalar(kind=Kind.BOOL):
            return node.text == "true"
        case Scalar(kind=Kind.NULL):
            return None
        case _:
            return node.text


# Raw characters that do not look like what they are. In double quotes each may be written as an escape.
_HIDDEN = re.compile("[\t\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|\r(?!\n)")

_INT = re.compile(r"0|-?[1-9][0-9]{0,17}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9:.]+[ \t]*(?:Z|z|[-+][0-9:]+)?)?")
# Everything YAML 1.1 or 1.2 takes for a number, other than what `_INT` accepts: octal, hexadecimal, binary, base 60,
# fractions, exponents, underscores, signs, infinities.
_NUMERIC = re.compile(
    r"""[-+]?(?:
        0[bB][01_]+ | 0[oO][0-7_]+ | 0[xX][0-9a-fA-F_]+
      | [0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?
      | (?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?
      | \.(?:inf|nan)
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_FLAGS = frozenset({"true", "false"})
_WORDS = frozenset({"yes", "no", "on", "off", "y", "n", "true", "false", "null"})
_DOUBTFUL = "is not the same to every YAML reader"
_STARTS_NUMERIC = frozenset("0123456789+-.")


def load(data: bytes, faults: Faults) -> Table | None:
    """The one mapping in a YAML file, or None when it is not strict, unsurprising YAML in UTF-8: `faults` says why."""
    text = _text(data, faults)
    if faults:
        return None
    root = _compose(text, faults)
    if not faults and not isinstance(root, Table):
        faults.add(1, f'expected a mapping that begins with "version: 1", got {root or "an empty file"}')
    return root if isinstance(root, Table) and not faults else None


def _text(data: bytes, faults: Faults) -> str:
    if len(data) > MAX_FILE_BYTES:
        faults.add(0, f"expected at most {MAX_FILE_BYTES} bytes, got {len(data)}; split it into several files")
        return ""
    if data.startswith(b"\xef\xbb\xbf"):
        faults.add(1, "expected UTF-8 without a byte-order mark; save it without one")
        return ""
    try:
        text = data.decode("utf-8", "strict")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        faults.add(line, f"expected UTF-8, got the byte 0x{data[fault.start]:02x}; save it as UTF-8")
        return ""
    for hidden in _HIDDEN.finditer(text):
        line = text.count("\n", 0, hidden.start()) + 1
        faults.add(line, _hidden(hidden.group()))
        if len(faults) == 20:  # the rest is likely more of the same
            break
    return text


def _hidden(character: str) -> str:
    match character:
        case "\t":
            return 'a tab; indent and separate with spaces, or write "\\t" in double quotes'
        case "\r":
            return "a carriage return without a line feed; end lines with a line feed"
        case _:
            return f"the invisible character U+{ord(character):04X}; remove it, or escape it in double quotes"


class _Frame:
    """A list or mapping that is still open."""

    __slots__ = ("column", "line", "nodes", "table")

    def __init__(self, line: int, column: int, *, table: bool) -> None:
        self.line = line
        self.column = column
        self.table = table
        self.nodes: list[Node] = []


def _compose(text: str, faults: Faults) -> Node | None:
    """The tree of the one document, or None when the file is empty or was given up with a fault."""
    try:
        return _build(pyyaml.CSafeLoader(text), faults)
    except pyyaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        told = ", ".join(part for part in (fault.context, fault.problem) if part)
        if fault.context == "while scanning an alias":
            told = 'a plain text may not begin with "*"; put it in quotes: "*.example.com"'
        faults.add(mark.line + 1 if mark else 0, f"not valid YAML: {told}")
    return None


def _build(parser: pyyaml.CSafeLoader, faults: Faults) -> Node | None:
    stack = [_Frame(1, 1, table=False)]
    documents = 0
    while parser.check_event():
        event = parser.get_event()
        line, column = _place(event)
        match event:
            case pyyaml.ScalarEvent():
                _bare(event, line, faults)
                plain = not event.style  # libyaml's binding gives "" where pure Python gives None
                kind = _kind(event.value, line, faults) if plain else Kind.TEXT
                stack[-1].nodes.append(Scalar(event.value, kind, line, column))
            case pyyaml.MappingStartEvent() | pyyaml.SequenceStartEvent():
                _bare(event, line, faults)
                if len(stack) > MAX_DEPTH:
                    faults.add(line, f"expected at most {MAX_DEPTH} levels of nesting")
                    return None
                stack.append(_Frame(line, column, table=isinstance(event, pyyaml.MappingStartEvent)))
            case pyyaml.MappingEndEvent() | pyyaml.SequenceEndEvent():
                node = _close(stack.pop(), faults)
                stack[-1].nodes.append(node)
            case pyyaml.AliasEvent():
                faults.add(line, f"the alias {shown(f'*{event.anchor}')}; write the value out")
                stack[-1].nodes.append(Scalar("", Kind.TEXT, line, column))
            case pyyaml.DocumentStartEvent():
                documents += 1
                if documents > 1:
                    faults.add(line, "a second document; keep one document in a file")
                    return None
                if event.version or event.tags:
                    faults.add(line, "a % directive; remove it")
    return stack[0].nodes[0] if stack[0].nodes else None


def _place(event: pyyaml.Event | None) -> tuple[int, int]:
    mark = event.start_mark if event is not None else None
    return (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)


def _bare(event: pyyaml.ScalarEvent | pyyaml.CollectionStartEvent, line: int, faults: Faults) -> None:
    if event.anchor is not None:
        faults.add(line, f"the anchor {shown(f'&{event.anchor}')}; write each value out where it is used")
    if event.tag is not None:
        faults.add(line, f"the tag {shown(event.tag)}; values here have no tags")


def _close(frame: _Frame, faults: Faults) -> Node:
    if not frame.table:
        return Items(tuple(frame.nodes), frame.line, frame.column)
    first: dict[str, int] = {}
    entries: list[tuple[Scalar, Node]] = []
    for key, value in zip(frame.nodes[::2], frame.nodes[1::2], strict=True):
        if not isinstance(key, Scalar) or key.kind is not Kind.TEXT:
            faults.add(key.line, f"expected a word as key, got {key}; put it in quotes if it is one")
        elif key.text == "<<":
            faults.add(key.line, 'the merge key "<<"; write the keys out')
        elif key.text in first:
            faults.add(key.line, f"the key {shown(key.text)} appears twice, first on line {first[key.text]}; keep one")
        else:
            first[key.text] = key.line
            entries.append((key, value))
    return Table(tuple(entries), frame.line, frame.column)


def _kind(text: str, line: int, faults: Faults) -> Kind:
    if text in _FLAGS:
        return Kind.BOOL
    if text in ("", "~", "null"):
        return Kind.NULL
    if text[0] in _STARTS_NUMERIC:
        if _INT.fullmatch(text):
            return Kind.INT
        if _DATE.fullmatch(text):
            return Kind.DATE
        if _NUMERIC.fullmatch(text):
            faults.add(line, f"{shown(text)} {_DOUBTFUL}; write a plain decimal number, or put it in quotes")
    elif text.lower() in _WORDS or text == "=":
        faults.add(line, f"{shown(text)} {_DOUBTFUL}; write true or false, or put it in quotes")
    return Kind.TEXT
