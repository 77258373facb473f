"""Typed reading of a YAML tree: every value through one reader, every fault with its line, nothing left unread."""

import re
from collections.abc import Callable, Hashable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from proxy.core.errors import Code, Rejected
from proxy.core.keys import from_jwk
from proxy.core.model import PublicKey
from proxy.policy.faults import Faults, instead, nearest, shown
from proxy.policy.yaml import Items, Kind, Node, Scalar, Table

type Reader[T] = Callable[[Node], T]

ID_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"
DURATION_PATTERN = r"(?:0|[1-9][0-9]{0,8})[smhd]"
_ID = re.compile(ID_PATTERN)
_DURATION = re.compile(DURATION_PATTERN)
SIZE_PATTERN = r"([1-9][0-9]{0,8})(B|KiB|MiB|GiB)"
_SIZE = re.compile(SIZE_PATTERN)
_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:Z|[+-][0-9]{2}:[0-9]{2})")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Misread(Rejected):
    """A value is not what it should be. `line` is where the value stands."""

    def __init__(self, node: Node, detail: str) -> None:
        super().__init__(Code.CONFIG_INVALID, detail)
        self.line = node.line


# --- one value -------------------------------------------------------------------------------------------------------


def word(node: Node) -> str:
    """Text as written, of any length but zero. Numbers, dates and flags must be in quotes to be text."""
    if not isinstance(node, Scalar) or not node.text:
        raise Misread(node, f"expected text, got {'nothing' if isinstance(node, Scalar) else node}")
    if node.kind is not Kind.TEXT:
        raise Misread(node, f'expected text, got {node.kind.value}; write "{node.text}" in quotes')
    return node.text


def any_text(node: Node) -> str:
    """Text as written, the empty text in quotes too."""
    return "" if isinstance(node, Scalar) and node.kind is Kind.TEXT and not node.text else word(node)


def says(node: Node, text: str) -> bool:
    """Whether a value is this one word."""
    return isinstance(node, Scalar) and node.kind is Kind.TEXT and node.text == text


def one_line(node: Node) -> str:
    """Text to show to people: printable, on one line, at most 200 characters."""
    text = word(node)
    if len(text) > 200 or not text.isprintable() or text != text.strip():
        raise Misread(node, f"expected one line of at most 200 printable characters, got {shown(text)}")
    return text


def prose(node: Node) -> str:
    """Text to show to people, lines allowed: printable, at most 2000 characters. Surrounding space is dropped."""
    text = word(node).strip()
    if len(text) > 2000 or not all(line.isprintable() for line in text.split("\n")):
        raise Misread(node, f"expected at most 2000 printable characters, got {shown(text)}")
    return text


def is_identifier(text: str) -> bool:
    """Whether `text` can be the id of a person, agent, cluster, deny rule, operation or deployment."""
    return _ID.fullmatch(text) is not None


def identifier(node: Node) -> str:
    """A name other places refer to."""
    text = word(node)
    if not is_identifier(text):
        raise Misread(
            node,
            f"expected at most 64 lower-case letters, digits, dots, dashes and underscores, got {shown(text)}",
        )
    return text


def flag(node: Node) -> bool:
    """`true` or `false`, without quotes."""
    if not isinstance(node, Scalar) or node.kind is not Kind.BOOL:
        raise Misread(node, f"expected true or false, got {node}")
    return node.text == "true"


def whole(least: int, most: int) -> Reader[int]:
    """A whole number within bounds, both included."""

    def read(node: Node) -> int:
        number = int(node.text) if isinstance(node, Scalar) and node.kind is Kind.INT else None
        if number is None or not least <= number <= most:
            raise Misread(node, f"expected a whole number from {least} to {most}, got {node}")
        return number

    return read


def version(node: Node) -> int:
    """The version of a file's grammar."""
    if not isinstance(node, Scalar) or node.kind is not Kind.INT or node.text != "1":
        raise Misread(node, f"expected 1, got {node}")
    return 1


def duration_s(text: str) -> int:
    """Seconds from `30s`, `15m`, `4h` or `90d`.

    Raises:
        ValueError: another spelling.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError(f"expected a duration such as 30s, 15m, 4h or 90d, got {shown(text)}")
    return int(text[:-1]) * _SECONDS[text[-1]]


def seconds(least: str, most: str) -> Reader[int]:
    """A duration within bounds, both included and written as durations."""

    def read(node: Node) -> int:
        text = node.text if isinstance(node, Scalar) and node.kind in (Kind.TEXT, Kind.INT) else str(node)
        try:
            span = duration_s(text)
        except ValueError as fault:
            raise Misread(node, str(fault)) from None
        if not duration_s(least) <= span <= duration_s(most):
            raise Misread(node, f"expected a duration from {least} to {most}, got {text}")
        return span

    return read


def size_bytes(text: str) -> int:
    """Bytes from `512B`, `64KiB` or `10MiB`.

    Raises:
        ValueError: another spelling.
    """
    parts = _SIZE.fullmatch(text)
    if parts is None:
        raise ValueError(f"expected a size such as 512B, 64KiB or 10MiB, got {shown(text)}")
    return int(parts[1]) * _UNITS[parts[2]]


def sized(least: str, most: str) -> Reader[int]:
    """A number of bytes within bounds, both included and written as sizes."""

    def read(node: Node) -> int:
        try:
            number = size_bytes(node.text if isinstance(node, Scalar) else str(node))
        except ValueError as fault:
            raise Misread(node, str(fault)) from None
        if not size_bytes(least) <= number <= size_bytes(most):
            raise Misread(node, f"expected a size from {least} to {most}, got {node}")
        return number

    return read


def moment(node: Node) -> datetime:
    """An RFC 3339 time with its offset, or a date: the end of that day in UTC, so that the day itself counts."""
    text = node.text if isinstance(node, Scalar) and node.kind in (Kind.TEXT, Kind.DATE) else ""
    try:
        if _DAY.fullmatch(text):
            return datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), tzinfo=UTC)
        if _MOMENT.fullmatch(text):
            return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Misread(node, f"expected a date such as 2027-06-30, or a time such as 2027-06-30T18:00:00Z, got {node}")


def choice[E: StrEnum](kind: type[E]) -> Reader[E]:
    """One member of an enumeration, by its value."""

    def read(node: Node) -> E:
        text = word(node)
        for member in kind:
            if member.value == text:
                return member
        raise Misread(node, f"got {shown(text)}{instead(text, kind)}")

    return read


def public_key(node: Node) -> PublicKey:
    """A public JWK with exactly its required members."""
    if not isinstance(node, Table):
        raise Misread(node, f"expected a public key as JWK, got {node}")
    return read_public_jwk({name.text: word(value) for name, value in node.entries})


def read_public_jwk(value: object) -> PublicKey:
    """A public JWK with exactly its required members.

    Raises:
        Rejected(CONFIG_INVALID): anything else; a private key is told apart, because it is no longer secret.
    """
    given = value if isinstance(value, dict) else {}
    members = {str(name): text for name, text in given.items() if isinstance(text, str)}
    if "d" in members:
        told = 'a private key ("d") stands here: make a new key, this one is not secret now'
        raise Rejected(Code.CONFIG_INVALID, told)
    return from_jwk(members if len(members) == len(given) else None, code=Code.CONFIG_INVALID, field="key")


def listed[T: Hashable](read: Reader[T], *, empty: bool = False) -> Reader[tuple[T, ...]]:
    """A list, each item by `read` and none twice. An empty list is refused unless `empty`: it would permit nothing."""

    def read_all(node: Node) -> tuple[T, ...]:
        if not isinstance(node, Items):
            raise Misread(node, f"expected a list, got {node}")
        if not node.nodes and not empty:
            raise Misread(node, "expected at least one item, got an empty list")
        values: dict[T, None] = {}
        for item in node.nodes:
            value = placed(item, read)
            if value in values:
                raise Misread(item, f"{item} appears twice; keep one")
            values[value] = None
        return tuple(values)

    return read_all


def placed[T](node: Node, read: Reader[T]) -> T:
    """`read(node)`, with the node's line added to a refusal that has none."""
    try:
        return read(node)
    except Misread:
        raise
    except Rejected as fault:
        raise Misread(node, fault.detail) from None


# --- one mapping -----------------------------------------------------------------------------------------------------

THE_FILE = "the file"
"""What messages call the mapping on top."""


class Fields:
    """One mapping, read key by key. A fault is kept, not raised; `done` adds the keys nobody read.

    The fallback stands in for a value that is missing or wrong: the file is refused in the end, but the rest of it is
    still looked at. `clean` tells whether what was read may be used.
    """

    def __init__(self, node: Node, what: str, faults: Faults) -> None:
        self.what = what
        self.line = node.line
        self.faults = faults
        self._faults_before = len(faults)
        self._table = node if isinstance(node, Table) else Table((), node.line, node.column)
        self._known: set[str] = set()
        self._missing: list[str] = []
        if not isinstance(node, Table):
            faults.add(node.line, f"expected a mapping for {what}, got {node}")
            self._hopeless = True
        else:
            self._hopeless = False

    @property
    def clean(self) -> bool:
        return len(self.faults) == self._faults_before

    def need[T, D](self, key: str, read: Reader[T], fallback: D) -> T | D:
        """The value of a key that must be there."""
        if self.node(key) is None:
            self._missing.append(key)
        return self.take(key, read, fallback)

    def take[T, D](self, key: str, read: Reader[T], default: D) -> T | D:
        """The value of a key, or `default` when it is absent."""
        node = self.node(key)
        return default if node is None else self.read(node, read, default, what=f"{key} of {self.what}")

    def read[T, D](self, node: Node, read: Reader[T], fallback: D, *, what: str) -> T | D:
        """One value that is called `what`."""
        try:
            return placed(node, read)
        except Misread as fault:
            self.faults.add(fault.line, f"{what}: {fault.detail}")
            return fallback

    def node(self, key: str) -> Node | None:
        """The node of a key, which counts as read."""
        self._known.add(key)
        return self._table.get(key)

    def inner(self, key: str) -> "Fields | None":
        """The mapping under a key, or None when it is absent."""
        node = self.node(key)
        return None if node is None else Fields(node, f"{key} of {self.what}", self.faults)

    def each(self, key: str, kind: str, *, named_by: str, needed: bool = False) -> Iterator["Fields"]:
        """The mappings in the list under a key. Each is called `kind "name"` in messages, by its `named_by`."""
        nothing: tuple[Node, ...] = ()
        nodes = self.need(key, _nodes, nothing) if needed else self.take(key, _nodes, nothing)
        for place, node in enumerate(nodes, start=1):
            name = node.get(named_by) if isinstance(node, Table) else None
            called = shown(name.text) if isinstance(name, Scalar) and name.text else f"number {place}"
            within = "" if self.what == THE_FILE else f" of {self.what}"
            yield Fields(node, f"{kind} {called}{within}", self.faults)

    def fault(self, key: str, text: str) -> None:
        """Keep a fault about the value of a key."""
        node = self._table.get(key)
        self.faults.add(node.line if node else self.line, f"{key} of {self.what}: {text}")

    def done(self, *, later: frozenset[str] = frozenset()) -> None:
        """Nothing more will be read: every other key is a fault. Those in `later` are known but not supported yet."""
        if self._hopeless:
            return
        mistaken: set[str | None] = set()  # missing keys that were only misspelt
        for name, _ in self._table.entries:
            if name.text in later:
                self.faults.add(
                    name.line, f"{shown(name.text)} of {self.what} is not supported in this version; remove it"
                )
            elif name.text not in self._known:
                mistaken.add(nearest(name.text, self._known))
                hint = instead(name.text, self._known)
                self.faults.add(name.line, f"unknown key {shown(name.text)} in {self.what}{hint}")
        for key in self._missing:
            if key not in mistaken:
                self.faults.add(self.line, f"{self.what} has no {shown(key)}; add it")


def _nodes(node: Node) -> tuple[Node, ...]:
    if not isinstance(node, Items):
        raise Misread(node, f"expected a list, got {node}")
    return node.nodes
