"""Explicit denials: rules that need no mandate and that nothing later in the order overrules.

They share the grammar of clusters, read the other way: where a cluster in doubt does not permit, a denial in doubt
denies. So a denial without ports, schemes or query stands for all of them, further query parameters do not slip past
it, and it also holds for a path that only differs by a closing slash or by what is encoded in it, or is its own in one
reading of `%2F` and `;`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from proxy.core.matching import Destination, GivenQuery, PreparedOperation, prepare
from proxy.core.model import Call, DenyRule, RuleRef
from proxy.core.paths import Entry, PathIndex, index_paths
from proxy.core.readings import path_readings


@dataclass(frozen=True, slots=True, kw_only=True)
class _Denied:
    """One operation of one denial; `operation` None stands for every operation."""

    rule: DenyRule
    operation: PreparedOperation | None

    @property
    def at(self) -> RuleRef:
        return self.rule.at if self.operation is None else self.operation.operation.at

    def names(self, call: Call, there: Destination, given: GivenQuery) -> bool:
        rule = self.rule
        return (
            (not rule.ports or there.port in rule.ports)
            and (not rule.schemes or there.scheme in rule.schemes)
            and (self.operation is None or self.operation.names(call, given))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """The denials of one host, or of everything below one name."""

    whole: tuple[_Denied, ...]
    paths: PathIndex[_Denied]


@dataclass(frozen=True, slots=True, kw_only=True)
class Denials:
    """Every denial of a policy, by host."""

    exact: Mapping[str, _Place]
    below: Mapping[str, _Place]

    def find(self, call: Call, there: Destination) -> RuleRef | None:
        """The rule that denies this call, or None; of several the first by id and place."""
        places = [place for name in there.above if (place := self.below.get(name)) is not None]
        if (exact := self.exact.get(there.host)) is not None:
            places.append(exact)
        if not places:
            return None
        given = GivenQuery(call)
        found = [
            denied.at
            for place in places
            for denied in (*place.whole, *_on_path(place.paths, call))
            if denied.names(call, there, given)
        ]
        return min(found, key=lambda at: (at.id, at.file, at.line), default=None)


def _on_path(paths: PathIndex[_Denied], call: Call) -> list[_Denied]:
    """What the path leads to in any reading."""
    return [denied for segments in path_readings(call) for denied in paths.find(call.method, segments)]


def compile_denials(rules: Sequence[DenyRule]) -> Denials:
    """The index of all denials.

    Raises:
        Rejected(CONFIG_INVALID): a template is none, or templates for one host overlap too much (see `index_paths`).
    """
    exact: dict[str, list[DenyRule]] = {}
    below: dict[str, list[DenyRule]] = {}
    for rule in rules:
        for host in rule.hosts:
            (below if host.wildcard else exact).setdefault(host.name, []).append(rule)
    return Denials(
        exact={name: _place(group) for name, group in exact.items()},
        below={name: _place(group) for name, group in below.items()},
    )


def _place(rules: Iterable[DenyRule]) -> _Place:
    whole: list[_Denied] = []
    entries: list[Entry[_Denied]] = []
    for rule in rules:
        if not rule.operations:
            whole.append(_Denied(rule=rule, operation=None))
        for operation in map(prepare, rule.operations):
            denied = _Denied(rule=rule, operation=operation)
            entries.append(
                Entry(
                    template=operation.template.taking_everything(),
                    methods=operation.operation.methods,
                    at=denied.at,
                    value=denied,
                )
            )
    return _Place(whole=tuple(whole), paths=index_paths(entries))
