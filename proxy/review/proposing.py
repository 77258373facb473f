"""Instead of "always": the change of policy that somebody would have to sign so that calls like a held one pass."""

from collections.abc import Iterator
from dataclasses import dataclass

from proxy.core.bodies.rules import ANY_BODY
from proxy.core.delegation import location_covers
from proxy.core.errors import Code, Rejected
from proxy.core.hiding import hides
from proxy.core.manifest import parse_manifest
from proxy.core.matching import destination_of, prepare
from proxy.core.model import Bundle, Call, Cluster, Constraints, Hold, Risk, StoredCall
from proxy.core.readings import oddities
from proxy.policy.permits import ANY, Permit, cluster_entries, operation_lines, operation_name
from proxy.review.groups import varying
from proxy.review.opened import HeldCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What would have to be written and signed so that such calls are no longer held."""

    kind: str  # "operation", "cluster", "review", "grant" or "renew"
    cluster: str | None  # the one to change; None: a new one
    where: str
    lines: tuple[str, ...]  # YAML; none where only a signature is missing
    then: tuple[str, ...]  # what to do after it


def proposal_for(held: HeldCall, bundle: Bundle) -> Proposal:
    """The change that a held call suggests.

    Raises:
        Rejected(HOLD_NOT_STORED): the call was deleted when the hold ended.
    """
    if held.shown is None:
        raise Rejected(Code.HOLD_NOT_STORED, f"the call of hold {held.hold.id} was deleted: propose while it waits")
    stored = held.shown.stored
    call, decision = stored.call, stored.decision
    sign = "intent-proxy bundle sign"
    renew = f"intent-proxy manifest renew --agent {held.hold.agent}"
    current = bundle.clusters.get(decision.cluster or "")
    if held.hold.code is Code.CLUSTER_CHANGED and current is not None:
        where = f"cluster {current.id} is as it should be; the sponsor has not signed its new text"
        return Proposal(kind="renew", cluster=current.id, where=where, lines=(), then=(_signed(renew),))
    asks = (
        None if decision.rule is None else bundle.clusters.get(decision.rule.id)
    )  # not always the one that was chosen
    if held.hold.code is Code.CLUSTER_REVIEW and asks is not None:
        lines: tuple[str, ...] = (
            f"- id: {asks.id}",
            "  review:",
            "    always: false # it is true: every call is held",
        )
        where = f"clusters.yaml:{asks.at.line}, in cluster {asks.id}"
        return Proposal(kind="review", cluster=asks.id, where=where, lines=lines, then=(sign, _signed(renew)))
    permit = _permit(call)
    then: tuple[str, ...]
    near = _reaching(stored, permit, bundle)
    if near is not None and (there := _not_granted(stored, near)) is not None:
        where = f"cluster {near.id} has operation {there}; the sponsor has not granted it"
        then = (_signed(f"{renew} --grant {near.id}/{there}"),)
        return Proposal(kind="grant", cluster=near.id, where=where, lines=(), then=then)
    if near is not None:
        taken = {operation.name for operation in near.operations}
        name = _unused(operation_name(*permit.methods, permit.path), taken)
        lines = (f"- id: {near.id}", "  operations:", *(f"    {line}" for line in operation_lines(name, permit)))
        where = f"clusters.yaml:{near.at.line}, one more operation of cluster {near.id}"
        then = (sign, _signed(f"{renew} --grant {near.id}/{name}"))
        return Proposal(kind="operation", cluster=near.id, where=where, lines=lines, then=then)
    ((new, entry),) = cluster_entries([permit], taken=bundle.clusters).items()
    then = (sign, _signed(f"{renew} --grant {new}/{operation_name(*permit.methods, permit.path)}"))
    if decision.intent.cluster is not None:
        then = (*then, f'the agent declares cluster="{new}" for such calls; it declared {decision.intent.cluster}')
    return Proposal(
        kind="cluster", cluster=None, where="clusters.yaml, one more cluster", lines=tuple(entry), then=then
    )


def _signed(command: str) -> str:
    return f"{command}    # the sponsor signs"


def _permit(call: Call) -> Permit:
    """The call as a rule: parts that look like ids as parameters, query values as they are unless they are secrets."""
    return Permit(
        methods=(call.method,),
        scheme=call.scheme,
        host=call.host,
        port=call.port,
        path="/" + "/".join(_parts(call)),
        any_query=False,
        query=tuple((name, ANY if hides(name, value) or not value else value) for name, value in call.parameters),
    )


def _parts(call: Call) -> Iterator[str]:
    number = 0
    for part, other in zip(call.segments, varying(call.segments), strict=True):
        odd = sorted(oddities(part))
        if not part or not (odd or other):
            yield part
            continue
        number += 1
        flags = f":{','.join(odd)}" if odd else ""
        yield f"{{id{number if number > 1 else ''}{flags}}}"


def _reaching(stored: StoredCall, permit: Permit, bundle: Bundle) -> Cluster | None:
    """The nearest cluster for which an operation more is all that is missing."""
    declared = stored.decision.intent.cluster
    names = dict.fromkeys(near.cluster for near in stored.decision.nearest)
    clusters = (bundle.clusters[name] for name in names if name in bundle.clusters and declared in (None, name))
    return next((cluster for cluster in clusters if _reaches(cluster, stored, permit)), None)


def _reaches(cluster: Cluster, stored: StoredCall, permit: Permit) -> bool:
    """Whether the cluster has the place, as far as the sponsor granted it, and is said to change what this changes."""
    if permit.risk is Risk.TRANSFORMATIVE and cluster.risk is Risk.ROUTINE:
        return False
    there = destination_of(stored.call)
    hosts = any(host.name in there.above if host.wildcard else host.name == there.host for host in cluster.hosts)
    granted = [grant for link in stored.chain[:1] for grant in parse_manifest(link).grants]
    free = any(
        any(location_covers(place, there.origin) for place in grant.locations)
        for grant in granted
        if grant.cluster == cluster.id and grant.constraints == Constraints()
    )
    return hosts and there.port in cluster.ports and there.scheme in cluster.schemes and free


def _not_granted(stored: StoredCall, near: Cluster) -> str | None:
    """The nearest of its operations for which all that is missing is that the sponsor grants it."""
    lacking = {
        each.operation
        for each in stored.decision.nearest
        if each.cluster == near.id and {fault.field for fault in each.failed} == {"action"}
    }
    fits = (
        operation.name
        for operation in near.operations
        if operation.name in lacking and operation.body == ANY_BODY
        if not any(prepare(operation).query_faults(stored.call.parameters))
    )
    return next(fits, None)


def _unused(wanted: str, taken: set[str]) -> str:
    number, name = 2, wanted
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    return name


def heading(hold: Hold, proposed: Proposal) -> Iterator[str]:
    """What to write above the lines: after which hold it was proposed, where it belongs, and what to do then."""
    yield f"Proposed after hold {hold.id} of {hold.agent} ({hold.code.value}); nobody has signed it."
    yield f"Where: {proposed.where}."
    for step in proposed.then:
        yield f"Then: {step}"
