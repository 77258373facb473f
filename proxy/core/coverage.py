"""Which grants of a mandate cover a call: pinned ∩ current, in every link of the chain.

A grant covers a call when its cluster does, now and as the sponsor approved it, with an operation that is among its
`actions`, from one of its `locations`, within its `constraints`. A grant whose constraints fail does not cover; it
neither permits nor restricts. One that would cover but for a body that cannot be read does not permit, but restricts.
"""

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from urllib.parse import unquote

from proxy.core.bodies.narrowing import narrowing_faults
from proxy.core.bodies.reading import Reading
from proxy.core.bodies.rules import Unexamined
from proxy.core.clusters import CompiledCluster, Policy
from proxy.core.delegation import location_covers
from proxy.core.errors import Code, Rejected
from proxy.core.folding import same_parameter
from proxy.core.matching import Destination, PreparedOperation
from proxy.core.model import Call, Cluster, Constraints, Grant, IPNetwork, Mandate, Mismatch, Nearest, Operation
from proxy.core.readings import spelt_otherwise
from proxy.core.shown import shown, some_of
from proxy.core.warrants import Warrant

MAX_NEAREST = 3
_LOOKED_AT = 512
"""Near misses are a courtesy: no more operations than this are compared for one refused call."""
_BODY_FAULTS = 8
"""How many faults of one body are told."""


class Reach(enum.IntEnum):
    """How far an authority reaches a call."""

    NONE = 0
    UNREAD = 1  # an operation would cover it, but for a body that has no one reading or is not here to be read, or (in
    # `Coverage.found` alone) if the reserved characters of its path were spelt otherwise
    CHANGED = 2  # the cluster as it is now covers it, the approved one does not or is lost
    COVERED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Covering:
    """One grant that reaches a call."""

    grant: Grant
    reach: Reach
    cluster: Cluster  # as it is now
    operation: Operation  # of the cluster as it is now
    terms: tuple[Cluster, ...]  # whose proof, risk and review apply: this one, and the approved one where it differs
    addresses: tuple[IPNetwork, ...]  # common to all `terms`
    fault: Rejected | None = None  # why the body could not be read, where that is how far it reaches


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """An operation that would cover a call, and why its body could not be read."""

    operation: Operation
    fault: Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What a mandate makes of a call."""

    reach: Reach
    chosen: Covering | None  # of the weakest link, the declared cluster's or the first by id; None: nothing covers
    found: tuple[Covering, ...]  # every grant of every link that reaches, declared or not: their terms apply
    unread: Unreadable | None = None  # with Reach.UNREAD, and only then
    unexamined: bool = False  # every link leaves the body unexamined


def cover(policy: Policy, mandate: Mandate, reading: Reading, there: Destination, *, declared: str | None) -> Coverage:
    """What the mandate makes of a call; with `declared`, what that cluster alone makes of it.

    Every link must reach the call by itself, and the terms of every link's grants count: a child that leaves out its
    parent's stricter grant gains nothing by it, and neither does a body that hides what it is, or a path that says the
    same in other characters.
    """
    asked = Asked(reading, there)
    otherwise = [Asked(reading.of(call), there) for call in spelt_otherwise(reading.call)]
    warrant = policy.warrant(mandate)
    alike = None if otherwise else _alike(warrant, asked, declared)
    if alike is None:
        return _cover(policy, mandate, asked, otherwise, declared)
    known = warrant.coverages.get(alike)
    if known is None:
        known = _cover(policy, mandate, asked, otherwise, declared)
        warrant.keep(alike, known)
    return known


def _alike(warrant: Warrant, asked: "Asked", declared: str | None) -> tuple[str | int | None, ...] | None:
    """What all calls have in common that are covered as this one is; None: it depends on more, such as a body.

    Where no grant is constrained and every cluster is as it was approved, they are for one destination and permitted by
    the same operations.
    """
    if not (warrant.is_plain and asked.reading.empty) or not (declared is None or declared in warrant.declarable):
        return None
    permitting = [each for cluster in warrant.clusters for each in asked.matching(cluster)]
    if any(each.body.reads for each in permitting):
        return None
    return declared, asked.there.origin, *map(id, permitting)


def _cover(
    policy: Policy, mandate: Mandate, asked: "Asked", otherwise: Sequence["Asked"], declared: str | None
) -> Coverage:
    found: list[Covering] = []
    chosen: list[Covering] = []
    for link in mandate.chain:
        reaching = [each for grant in link.grants if (each := cover_one(policy, grant, asked)) is not None]
        counting = [each for each in reaching if declared is None or each.grant.cluster == declared]
        chosen += sorted(counting, key=lambda each: (-each.reach, _gravity(each.fault), each.grant.cluster))[:1]
        found += reaching
        found += [
            replace(each, reach=Reach.UNREAD)
            for other in otherwise
            for grant in link.grants
            if (each := cover_one(policy, grant, other)) is not None
        ]
    if not chosen or len(chosen) < len(mandate.chain):
        return Coverage(reach=Reach.NONE, chosen=None, found=tuple(found))
    weakest = min(reversed(chosen), key=lambda each: (each.reach, -_gravity(each.fault)))
    if weakest.fault is not None:
        unread = Unreadable(operation=weakest.operation, fault=weakest.fault)
        return Coverage(reach=Reach.UNREAD, chosen=None, found=tuple(found), unread=unread)
    unexamined = all(isinstance(each.operation.body, Unexamined) for each in chosen)
    return Coverage(reach=weakest.reach, chosen=weakest, found=tuple(found), unexamined=unexamined)


class Asked:
    """A call, and what of each cluster it matches: every link of a chain asks that of the same few."""

    def __init__(self, reading: Reading, there: Destination) -> None:
        self.reading = reading
        self.there = there
        self._matching: dict[int, list[PreparedOperation]] = {}

    def matching(self, compiled: CompiledCluster) -> list[PreparedOperation]:
        """The operations of this cluster that permit the head, by name."""
        found = self._matching.get(id(compiled))
        if found is None:
            found = compiled.matching(self.reading.call, self.there)
            found.sort(key=lambda each: each.operation.name)
            self._matching[id(compiled)] = found
        return found


def cover_one(policy: Policy, grant: Grant, asked: Asked) -> Covering | None:
    """How one grant reaches a call, or None when the cluster as it is now does not cover it under this grant."""
    current = policy.clusters.get(grant.cluster)
    if current is None or (fit := _granted(current, grant, asked)) is None:
        return None
    cluster = current.cluster
    terms: tuple[Cluster, ...] = (cluster,)
    addresses: tuple[IPNetwork, ...] | None = cluster.addresses
    other = False  # credential than the sponsor saw
    if cluster.digest != grant.digest:
        approved = _approved(policy, grant, asked)
        terms = (cluster, approved) if approved is not None else terms
        addresses = both_networks(cluster.addresses, approved.addresses) if approved is not None else None
        other = approved is None or approved.credential != cluster.credential
    reach = Reach.CHANGED if addresses is None or other else Reach.COVERED
    return Covering(
        grant=grant,
        reach=reach if fit.fault is None else Reach.UNREAD,
        cluster=cluster,
        operation=fit.operation,
        terms=terms,
        addresses=cluster.addresses if addresses is None else addresses,
        fault=fit.fault,
    )


def _approved(policy: Policy, grant: Grant, asked: Asked) -> Cluster | None:
    """The cluster as the sponsor approved it, if its text is kept and it covers the call, too."""
    pinned = policy.pins.get(grant.digest)
    if pinned is None or pinned.cluster.id != grant.cluster:
        return None
    fit = _granted(pinned, grant, asked)
    return pinned.cluster if fit is not None and fit.fault is None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """An operation that covers the call, or (`fault`) would, if its body could be read."""

    operation: Operation
    fault: Rejected | None = None


def _granted(compiled: CompiledCluster, grant: Grant, asked: Asked) -> _Fit | None:
    """The operation that covers the call under this grant; of several the first by name.

    A body that one of the operations can read, and does not permit, has a reading: no fault of another counts then.
    """
    matching = asked.matching(compiled)
    if not matching or next(location_faults(grant, asked.there), None) is not None:
        return None
    reading, was_read = asked.reading, False
    unread: list[_Fit] = []
    for prepared in matching:
        if prepared.operation.name not in grant.actions:
            continue
        if next(_constraint_faults(grant.constraints, prepared, reading), None) is not None:
            continue
        try:
            fault = next(_body_faults(grant.constraints, prepared, reading), None)
        except Rejected as why:
            unread.append(_Fit(operation=prepared.operation, fault=why))
            continue
        if fault is None:
            return _Fit(operation=prepared.operation)
        was_read = was_read or prepared.body.reads or bool(grant.constraints.body)
    return None if was_read else min(unread, key=lambda fit: _gravity(fit.fault), default=None)


def _gravity(fault: Rejected | None) -> int:
    """What a person may still release comes before what nobody may."""
    return 0 if fault is None else 1 if fault.code is Code.BODY_NOT_INSPECTED else 2


def _body_faults(constraints: Constraints, prepared: PreparedOperation, reading: Reading) -> Iterator[Mismatch]:
    """What in the body is not permitted. Raises Rejected (BODY_MALFORMED, BODY_NOT_INSPECTED): it cannot be read."""
    yield from prepared.body.faults(reading)
    yield from narrowing_faults(constraints.body, reading)


def location_faults(grant: Grant, there: Destination) -> Iterator[Mismatch]:
    places = grant.locations
    if there.origin not in places and not any(location_covers(place, there.origin) for place in places):
        yield Mismatch(field="location", expected=some_of(places) or "no location is granted", got=there.origin)


def _constraint_faults(constraints: Constraints, prepared: PreparedOperation, reading: Reading) -> Iterator[Mismatch]:
    """What in a call that the operation matches lies outside the grant's constraints (RFC 9396 §2).

    A constrained query parameter must be there with permitted values alone, and nothing else that servers take for it.
    """
    call, bases = reading.call, reading.bases
    if constraints.methods is not None and call.method not in constraints.methods:
        yield Mismatch(field="constraints.methods", expected=some_of(constraints.methods) or "none", got=call.method)
    if constraints.params:
        yield from _parameter_faults(constraints.params, prepared, call)
    for name, values in constraints.query.items():
        given = [value for parameter, value in call.parameters if parameter == name]
        alike = {other for other, _ in call.parameters if other != name and bases[other] & bases[name]}
        also = [other for other in sorted(alike) if same_parameter(name, other)]
        if also:
            yield Mismatch(field=f"constraints.query.{shown(name)}", expected="under one name", got=shown(also[0]))
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


# --- near misses -----------------------------------------------------------------------------------------------------


def nearest(
    policy: Policy, mandate: Mandate, reading: Reading, there: Destination, *, declared: str | None
) -> tuple[Nearest, ...]:
    """The granted operations that come nearest to covering the call, nearest first; the declared cluster's before all.

    For reviewers, `explain` and the journal only.
    """
    call = reading.call
    ranked: list[tuple[tuple[bool, int, int, str, str], Nearest]] = []
    for grant in mandate.leaf.grants:
        compiled = policy.clusters.get(grant.cluster)
        if compiled is None:
            continue
        elsewhere = [*compiled.destination_faults(there), *location_faults(grant, there)]
        if declared not in (None, grant.cluster):
            elsewhere.append(Mismatch(field="declared", expected=grant.cluster, got=shown(declared)))
        for prepared in compiled.operations[: _LOOKED_AT - len(ranked)]:
            operation = prepared.operation
            failed = (*elsewhere, *_operation_faults(grant, prepared, reading))
            near = Nearest(cluster=grant.cluster, operation=operation.name, rule=operation.at, failed=failed)
            template = prepared.template
            alike = template.fitting(call.segments) - abs(len(template.parts) - len(call.segments))
            ranked.append(((grant.cluster != declared, len(failed), -alike, grant.cluster, operation.name), near))
    return tuple(near for _, near in sorted(ranked, key=lambda item: item[0])[:MAX_NEAREST])


def _operation_faults(grant: Grant, prepared: PreparedOperation, reading: Reading) -> Iterator[Mismatch]:
    operation, call = prepared.operation, reading.call
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
        yield from _constraint_faults(grant.constraints, prepared, reading)
        try:
            yield from islice(_body_faults(grant.constraints, prepared, reading), _BODY_FAULTS)
        except Rejected as fault:
            yield Mismatch(field=fault.field, expected=fault.detail, got="")
