"""An index of many path templates: what a path leads to, at a cost that does not grow with how many there are."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Never

from proxy.core.errors import Code, Rejected
from proxy.core.model import RuleRef
from proxy.core.readings import oddities
from proxy.core.templates import Template, between

MAX_BRANCHES = 32
"""How many operations of one index may be in question for one path, counted as if every overlap were the worst."""

MAX_LENGTHS = 64
"""How many lengths the fixed texts before a parameter may have at one place, and those after it behind one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry[T]:
    """What goes into an index: `value` answers for `methods` on `template`. `at` is named when entries overlap."""

    template: Template
    methods: frozenset[str]
    at: RuleRef
    value: T


_NOTHING: Mapping[str, Never] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fixed[T]:
    """What hangs on fixed texts, with several of which a segment may begin, or end."""

    lengths: tuple[int, ...]  # of the texts, each length once
    texts: Mapping[str, T]

    def beginning(self, segment: str) -> list[tuple[str, T]]:
        return self._among([segment[:length] for length in self.lengths if length <= len(segment)])

    def ending(self, segment: str) -> list[tuple[str, T]]:
        end = len(segment)
        return self._among([segment[end - length :] for length in self.lengths if length <= end])

    def _among(self, texts: Sequence[str]) -> list[tuple[str, T]]:
        return [(text, found) for text in texts if (found := self.texts.get(text)) is not None]


def _fixed[T](texts: Mapping[str, T]) -> _Fixed[T]:
    return _Fixed(lengths=tuple(sorted({len(text) for text in texts})), texts=texts)


type _Takers[T] = tuple[tuple[frozenset[str], T], ...]
"""What a parameter takes besides plain text, and what follows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathIndex[T]:
    """A trie of path parts. Looking up costs the length of the path times at most `MAX_BRANCHES` and `MAX_LENGTHS`."""

    literals: Mapping[str, "PathIndex[T]"]
    parameters: _Fixed[_Fixed[_Takers["PathIndex[T]"]]]  # by the text before the parameter, then by that after it
    rest: Mapping[str, _Takers[T]]  # method -> values whose `{name:rest}` begins here
    ends: Mapping[str, tuple[T, ...]]  # method -> values whose template ends here
    branches: int  # no path and method leads to more values than this

    def find(self, method: str, segments: Sequence[str]) -> list[T]:
        """The values of every template that matches the path, for this method."""
        found: list[T] = []
        nodes: list[PathIndex[T]] = [self]
        for place, segment in enumerate(segments):
            onward: list[PathIndex[T]] = []
            for node in nodes:
                if node.rest and segment and (resting := node.rest.get(method)):
                    odd = oddities("/".join(segments[place:]))
                    found += [value for takes, value in resting if odd <= takes]
                if (literal := node.literals.get(segment)) is not None:
                    onward.append(literal)
                if node.parameters.lengths:
                    onward += node._through_parameters(segment)
            if not onward:
                return found
            nodes = onward
        for node in nodes:
            found.extend(node.ends.get(method, ()))
        return found

    def _through_parameters(self, segment: str) -> list["PathIndex[T]"]:
        odd = oddities(segment)  # the parameter's: fixed text is never odd
        return [
            node
            for before, behind in self.parameters.beginning(segment)
            for after, takers in behind.ending(segment)
            if between(segment, before, after)
            for takes, node in takers
            if odd <= takes
        ]


def index_paths[T](entries: Iterable[Entry[T]]) -> PathIndex[T]:
    """The index of `entries`; their order does not matter to what is found, only to its order.

    Raises:
        Rejected(CONFIG_INVALID): templates overlap so much that one path could lead to more than `MAX_BRANCHES` values,
            or fixed texts around parameters have more than `MAX_LENGTHS` lengths; the message names the place of the
            first entries at fault and the mend.
    """
    return _node(tuple(entries), 0)


type _Around = tuple[str, str, frozenset[str]]
"""The fixed texts before and after a parameter, and what it takes."""


def _node[T](entries: Sequence[Entry[T]], depth: int) -> PathIndex[T]:
    fixed: dict[str, list[Entry[T]]] = {}
    around: dict[_Around, list[Entry[T]]] = {}
    resting: list[Entry[T]] = []
    ending: list[Entry[T]] = []
    for entry in entries:
        if depth == len(entry.template.parts):
            ending.append(entry)
            continue
        part = entry.template.parts[depth]
        if part.rest:
            resting.append(entry)
        elif part.name is None:
            fixed.setdefault(part.before, []).append(entry)
        else:
            around.setdefault((part.before, part.after, part.takes), []).append(entry)
    literals = {text: _node(group, depth + 1) for text, group in fixed.items()}
    parameters = _parameters({shape: _node(group, depth + 1) for shape, group in around.items()})
    _check_lengths(parameters, entries, depth)
    rest = _by_method(resting, lambda entry: (entry.template.parts[depth].takes, entry.value))
    ends = _by_method(ending, lambda entry: entry.value)
    widest = max(literals, key=lambda text: literals[text].branches, default=None)
    passing = 0 if widest is None else literals[widest].branches
    passing += _branches(parameters) + _widest(rest)
    node = PathIndex(
        literals=literals, parameters=parameters, rest=rest, ends=ends, branches=max(passing, _widest(ends))
    )
    if node.branches > MAX_BRANCHES:
        narrow = {id(entry) for text, group in fixed.items() if text != widest for entry in group}
        raise _crowded([entry for entry in entries if id(entry) not in narrow], depth)
    return node


def _parameters[T](nodes: Mapping[_Around, PathIndex[T]]) -> _Fixed[_Fixed[_Takers[PathIndex[T]]]]:
    nested: dict[str, dict[str, list[tuple[frozenset[str], PathIndex[T]]]]] = {}
    for (before, after, takes), node in nodes.items():
        nested.setdefault(before, {}).setdefault(after, []).append((takes, node))
    return _fixed(
        {
            before: _fixed({after: tuple(takers) for after, takers in behind.items()})
            for before, behind in nested.items()
        }
    )


def _branches[T](parameters: _Fixed[_Fixed[_Takers[PathIndex[T]]]]) -> int:
    """The most values one segment may lead to: through fixed texts of which each begins (or ends) the longest."""
    behind = {
        before: max(
            sum(node.branches for _, takers in fixed.ending(after) for _, node in takers) for after in fixed.texts
        )
        for before, fixed in parameters.texts.items()
    }
    return max((sum(behind[shorter] for shorter, _ in parameters.beginning(before)) for before in behind), default=0)


def _by_method[T, V](entries: Sequence[Entry[T]], made: Callable[[Entry[T]], V]) -> Mapping[str, tuple[V, ...]]:
    found: dict[str, list[V]] = {}
    for entry in entries:
        for method in entry.methods:
            found.setdefault(method, []).append(made(entry))
    return {method: tuple(values) for method, values in found.items()}


def _widest[T](values: Mapping[str, tuple[T, ...]]) -> int:
    return max(map(len, values.values()), default=0)


def _check_lengths[T](
    parameters: _Fixed[_Fixed[_Takers[PathIndex[T]]]], entries: Sequence[Entry[T]], depth: int
) -> None:
    lengths = [parameters.lengths, *(behind.lengths for behind in parameters.texts.values())]
    if any(len(each) > MAX_LENGTHS for each in lengths):
        raise _refused(
            [entry for entry in entries if len(entry.template.parts) > depth],
            depth,
            f"fixed texts around parameters have more than {MAX_LENGTHS} different lengths",
            "put parameters in parts of their own",
        )


def _crowded[T](entries: Sequence[Entry[T]], depth: int) -> Rejected:
    return _refused(
        entries,
        depth,
        f"one path could mean more than {MAX_BRANCHES} operations",
        "put fixed parts where parameters stand, merge operations that differ only in name, or split the cluster",
    )


def _refused[T](entries: Sequence[Entry[T]], depth: int, fault: str, mend: str) -> Rejected:
    start = "".join(f"/{part}" for part in entries[0].template.parts[:depth]) or "/"
    rules = sorted((entry.at.file, entry.at.line, entry.at.id, entry.template.text) for entry in entries)
    shown = ", ".join(f"{name} ({file}:{line}, {text})" for file, line, name, text in rules[:4])
    more = f" and {len(rules) - 4} more" if len(rules) > 4 else ""
    return Rejected(
        Code.CONFIG_INVALID,
        f"{rules[0][0]}:{rules[0][1]}: below {start} {fault}: {shown}{more}; {mend}",
        field="operations",
    )
