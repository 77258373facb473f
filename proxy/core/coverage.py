"""Which grants of a mandate cover a call: pinned ∩ current, in every link of the chain.

A grant covers a call when its cluster does, now and as the sponsor approved it, with an operation that is among its
`actions`, from one of its `locations`, within its `constraints`. A grant whose constraints fail does not cover; it
neither permits nor restricts.
"""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from proxy.core.clusters import CompiledCluster, Policy
from proxy.core.delegation import location_covers
from proxy.core.matching import Destination, PreparedOperation
from proxy.core.model import Call, Cluster, Constraints, Grant, IPNetwork, Mandate, Mismatch, Nearest, Operation
from proxy.core.shown import shown, some_of

MAX_NEAREST = 3
_LOOKED_AT = 512
"""Near misses are a courtesy: no more operations than this are compared for one refused call."""


class Reach(enum.IntEnum):
    """How far an authority reaches a call."""

    NONE = 0
    CHANGED = 1  # the cluster as it is now covers it, the approved one does not or is lost
    COVERED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Covering:
    """One grant that reaches a call."""

    grant: Grant
    reach: Reach
    cluster: Cluster  # as it is now
    operation: Operation  # of the cluster as it is now
    terms: tuple[Cluster, ...]  # whose proof, risk and review apply: this one, and the approved one where it differs
    addresses: tuple[IPNetwork, ...]  # common to all `terms`


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What a mandate makes of a call."""

    reach: Reach
    chosen: Covering | None  # of the weakest link, the declared cluster's or the first by id; None: nothing reaches
    found: tuple[Covering, ...]  # every grant of every link that reaches, declared or not: their terms apply


def cover(policy: Policy, mandate: Mandate, call: Call, there: Destination, *, declared: str | None) -> Coverage:
    """What the mandate makes of a call; with `declared`, what that cluster alone makes of it.

    Every link must reach the call by itself, and the terms of every link's grants count: a child that leaves out its
    parent's stricter grant gains nothing by it.
    """
    found: list[Covering] = []
    chosen: list[Covering] = []
    for link in mandate.chain:
        reaching = [each for grant in link.grants if (each := cover_one(policy, grant, call, there)) is not None]
        counting = [each for each in reaching if declared is None or each.grant.cluster == declared]
        chosen += sorted(counting, key=lambda each: (-each.reach, each.grant.cluster))[:1]
        found += reaching
    if not chosen or len(chosen) < len(mandate.chain):
        return Coverage(reach=Reach.NONE, chosen=None, found=tuple(found))
    weakest = min(reversed(chosen), key=lambda each: each.reach)
    return Coverage(reach=weakest.reach, chosen=weakest, found=tuple(found))


def cover_one(policy: Policy, grant: Grant, call: Call, there: Destination) -> Covering | None:
    """How one grant reaches a call, or None when the cluster as it is now does not cover it under this grant."""
    current = policy.clusters.get(grant.cluster)
    if current is None or (operation := _granted(current, grant, call, there)) is None:
        return None
    cluster = current.cluster
    terms: tuple[Cluster, ...] = (cluster,)
    addresses: tuple[IPNetwork, ...] | None = cluster.addresses
    if cluster.digest != grant.digest:
        approved = _approved(policy, grant, call, there)
        terms = (cluster, approved) if approved is not None else terms
        addresses = both_networks(cluster.addresses, approved.addresses) if approved is not None else None
    return Covering(
        grant=grant,
        reach=Reach.CHANGED if addresses is None else Reach.COVERED,
        cluster=cluster,
        operation=operation,
        terms=terms,
        addresses=cluster.addresses if addresses is None else addresses,
    )


def _approved(policy: Policy, grant: Grant, call: Call, there: Destination) -> Cluster | None:
    """The cluster as the sponsor approved it, if its text is kept and it covers the call, too."""
    pinned = policy.pins.get(grant.digest)
    if pinned is None or pinned.cluster.id != grant.cluster or _granted(pinned, grant, call, there) is None:
        return None
    return pinned.cluster


def _granted(compiled: CompiledCluster, grant: Grant, call: Call, there: Destination) -> Operation | None:
    """The operation that covers the call under this grant; of several the first by name."""
    if next(_location_faults(grant, there), None) is not None:
        return None
    covering = [
        prepared.operation
        for prepared in compiled.matching(call, there)
        if prepared.operation.name in grant.actions
        and next(_constraint_faults(grant.constraints, prepared, call), None) is None
    ]
    return min(covering, key=lambda operation: operation.name, default=None)


def _location_faults(grant: Grant, there: Destination) -> Iterator[Mismatch]:
    places = grant.locations
    if there.origin not in places and not any(location_covers(place, there.origin) for place in places):
        yield Mismatch(field="location", expected=some_of(places) or "no location is granted", got=there.origin)


def _constraint_faults(constraints: Constraints, prepared: PreparedOperation, call: Call) -> Iterator[Mismatch]:
    """What in a call that the operation matches lies outside the grant's constraints (RFC 9396 §2).

    A constrained query parameter must be there, and each of its values permitted.
    """
    if constraints.methods is not None and call.method not in constraints.methods:
        yield Mismatch(field="constraints.methods", expected=some_of(constraints.methods) or "none", got=call.method)
    if constraints.params:
        yield from _parameter_faults(constraints.params, prepared, call)
    for name, values in constraints.query.items():
        given = [value for parameter, value in call.parameters if parameter == name]
        if not given or not values.issuperset(given):
            got = some_of(given) or "absent"
            yield Mismatch(field=f"constraints.query.{shown(name)}", expected=some_of(values) or "none", got=got)


def _parameter_faults(
    permitted: Mapping[str, frozenset[str]], prepared: PreparedOperation, call: Call
) -> Iterator[Mismatch]:
    """Template parameters outside their constraint. One that the template does not have fails: it cannot be checked.

    Values are compared decoded (`group/project`, not `group%2Fproject`); bytes that are no UTF-8 equal nothing.
    """
    captured = prepared.template.captured(call.segments)
    for name, values in permitted.items():
        raw = captured.get(name)
        if raw is None or _decoded(raw) not in values:
            got = "absent" if raw is None else shown(raw)
            yield Mismatch(field=f"constraints.params.{shown(name)}", expected=some_of(values) or "none", got=got)


def _decoded(raw: str) -> str | None:
    try:
        return unquote(raw, errors="strict")
    except UnicodeDecodeError:
        return None


# --- networks --------------------------------------------------------------------------------------------------------


def both_networks(ours: tuple[IPNetwork, ...], theirs: tuple[IPNetwork, ...]) -> tuple[IPNetwork, ...] | None:
    """The networks inside both rules, or None when there is none. An empty rule stands for public addresses alone."""
    if not ours and not theirs:
        return ()
    common = {narrow for a in ours for b in theirs if (narrow := _narrower(a, b)) is not None}
    return tuple(sorted(common, key=str)) or None


def _narrower(a: IPNetwork, b: IPNetwork) -> IPNetwork | None:
    small, large = (a, b) if a.prefixlen >= b.prefixlen else (b, a)
    return small if small.network_address in large else None


def dialable(policy: Policy, mandate: Mandate, coverage: Coverage, there: Destination) -> tuple[IPNetwork, ...] | None:
    """Where the destination may resolve: () public addresses only, None nowhere.

    The address rules of every grant that reaches the call count together; without one, public addresses only. When
    nothing reaches it (a human may still release it), the rules of granted clusters with this destination count: they
    say where it lives, whatever may be asked there.
    """
    if coverage.chosen is not None:
        rules = [each.addresses for each in coverage.found if each.reach >= coverage.reach]
    else:
        rules = [
            compiled.cluster.addresses
            for grant in mandate.leaf.grants
            if (compiled := policy.clusters.get(grant.cluster)) is not None
            and compiled.reaches(there)
            and next(_location_faults(grant, there), None) is None
        ]
    common: tuple[IPNetwork, ...] | None = ()
    for rule in rules:
        if rule and common is not None:
            common = both_networks(common, rule) if common else rule
    return common


# --- near misses -----------------------------------------------------------------------------------------------------


def nearest(
    policy: Policy, mandate: Mandate, call: Call, there: Destination, *, declared: str | None
) -> tuple[Nearest, ...]:
    """The granted operations that come nearest to covering the call, nearest first; the declared cluster's before all.

    For reviewers, `explain` and the journal only.
    """
    ranked: list[tuple[tuple[bool, int, int, str, str], Nearest]] = []
    for grant in mandate.leaf.grants:
        compiled = policy.clusters.get(grant.cluster)
        if compiled is None:
            continue
        elsewhere = [*compiled.destination_faults(there), *_location_faults(grant, there)]
        if declared not in (None, grant.cluster):
            elsewhere.append(Mismatch(field="declared", expected=grant.cluster, got=shown(declared)))
        for prepared in compiled.operations[: _LOOKED_AT - len(ranked)]:
            operation = prepared.operation
            failed = (*elsewhere, *_operation_faults(grant, prepared, call))
            near = Nearest(cluster=grant.cluster, operation=operation.name, rule=operation.at, failed=failed)
            template = prepared.template
            alike = template.fitting(call.segments) - abs(len(template.parts) - len(call.segments))
            ranked.append(((grant.cluster != declared, len(failed), -alike, grant.cluster, operation.name), near))
    return tuple(near for _, near in sorted(ranked, key=lambda item: item[0])[:MAX_NEAREST])


def _operation_faults(grant: Grant, prepared: PreparedOperation, call: Call) -> Iterator[Mismatch]:
    operation = prepared.operation
    if operation.name not in grant.actions:
        granted = some_of(grant.actions) or "no action is granted"
        yield Mismatch(field="action", expected=granted, got=f"{call.method} {shown(call.path)}")
    if call.method not in operation.methods:
        yield Mismatch(field="method", expected=some_of(operation.methods) or "no method", got=call.method)
    if not prepared.fits_protocol(call):
        expected, got = ("a WebSocket", "no WebSocket")[:: 1 if operation.websocket else -1]
        yield Mismatch(field="websocket", expected=expected, got=got)
    if not prepared.template.matches(call.segments):
        yield Mismatch(field="path", expected=operation.template, got=shown(call.path))
    elif operation.name in grant.actions:  # agents see what `got` says: nothing of what they lack
        yield from prepared.query_faults(call.parameters)
        yield from _constraint_faults(grant.constraints, prepared, call)
