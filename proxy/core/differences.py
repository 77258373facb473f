"""What changed between two texts of a cluster or two manifests, in plain words, for whoever has to sign the newer."""

from collections.abc import Iterator, Mapping

from proxy.core.bodies.changes import body_changes
from proxy.core.compare import repeated, required, sets, values
from proxy.core.credential import Credential
from proxy.core.describe import operation_words
from proxy.core.model import Cluster, Constraints, Grant, Manifest, Operation, QueryRule, Risk
from proxy.core.shown import shown, some_of
from proxy.core.spans import span


def cluster_difference(old: Cluster, new: Cluster) -> tuple[str, ...]:
    """Every respect in which `new` permits more, less or other things than `old`; empty when their digests are equal.

    Each begins with "adds", "loosens" (more is possible), "removes", "tightens" (less is), or "changes".
    """
    return tuple(_cluster(old, new))


def manifest_difference(
    old: Manifest, new: Manifest, old_pins: Mapping[str, Cluster], new_pins: Mapping[str, Cluster]
) -> tuple[str, ...]:
    """Every respect in which signing `new` in place of `old` changes what is answered for; pins are by digest.

    Not told: ids, times of issue and the depth of the link itself.
    """
    return tuple(_manifest(old, new, old_pins, new_pins))


# --- clusters --------------------------------------------------------------------------------------------------------


def _cluster(old: Cluster, new: Cluster) -> Iterator[str]:
    if old.id != new.id:
        yield f"changes the name from {old.id} to {new.id}"
    yield from sets("host", map(str, old.hosts), map(str, new.hosts))
    yield from sets("port", map(str, old.ports), map(str, new.ports))
    yield from sets("scheme", old.schemes, new.schemes)
    yield from _addresses(old, new)
    yield from _operations(old, new)
    yield from _credential(old.credential, new.credential)
    yield from _review(old, new)


def _credential(old: Credential | None, new: Credential | None) -> Iterator[str]:
    if old == new:
        return
    if old is None or new is None:
        verb, there = ("removes", old) if new is None else ("adds", new)
        yield f"{verb} the credential: {_credential_words(there)}"
    else:
        yield f"changes the credential from {_credential_words(old)} to {_credential_words(new)}"


def _credential_words(credential: Credential | None) -> str:
    assert credential is not None
    return f"{credential.words}{', also over plain HTTP' if credential.over_http else ''}"


def _addresses(old: Cluster, new: Cluster) -> Iterator[str]:
    before, after = sorted(map(str, old.addresses)), sorted(map(str, new.addresses))
    if bool(before) == bool(after):
        yield from sets("network", before, after)
    else:
        names = ("public addresses alone", some_of(before or after))
        was, becomes = names if after else names[::-1]
        yield f"changes where it may resolve from {was} to {becomes}"


def _operations(old: Cluster, new: Cluster) -> Iterator[str]:
    before = {operation.name: operation for operation in old.operations}
    after = {operation.name: operation for operation in new.operations}
    for name in sorted(after.keys() - before.keys()):
        yield f"adds operation {operation_words(after[name])}"
    for name in sorted(before.keys() - after.keys()):
        yield f"removes operation {operation_words(before[name])}"
    for name in sorted(before.keys() & after.keys()):
        for change in _operation(before[name], after[name]):
            yield f"{change} (operation {name})"


def _operation(old: Operation, new: Operation) -> Iterator[str]:
    yield from sets("method", old.methods, new.methods)
    if old.template != new.template:
        yield f"changes the path from {old.template} to {new.template}"
    if old.websocket != new.websocket:
        yield "changes it to open WebSockets alone" if new.websocket else "changes it to open no WebSocket"
    if old.any_query != new.any_query:
        yield "loosens the query to any at all" if new.any_query else "tightens the query from any to what is listed"
    else:
        before, after = {rule.name: rule for rule in old.query}, {rule.name: rule for rule in new.query}
        yield from sets("query parameter", before, after)
        for name in sorted(before.keys() & after.keys()):
            yield from _query_rule(before[name], after[name])
    yield from body_changes(old.body, new.body)


def _query_rule(old: QueryRule, new: QueryRule) -> Iterator[str]:
    what = f"query parameter {shown(old.name)}"
    yield from required(what, old.required, new.required)
    yield from repeated(what, old.repeated, new.repeated)
    if old.encoded != new.encoded:
        yield f"loosens {what} to text encoded twice" if new.encoded else f"tightens {what} to text encoded once"
    yield from values(what, old.values, new.values)


def _review(old: Cluster, new: Cluster) -> Iterator[str]:
    if old.proof is not new.proof:
        verb = "tightens" if new.proof > old.proof else "loosens"
        yield f"{verb} the least proof from {old.proof.label} to {new.proof.label}"
    if old.risk is not new.risk:
        verb = "tightens" if new.risk is Risk.TRANSFORMATIVE else "loosens"
        yield f"{verb} the risk class from {old.risk.value} to {new.risk.value}"
    if old.review.always != new.review.always:
        yield "tightens review: every call is held" if new.review.always else "loosens review: calls pass without one"
    yield from sets("reviewer", old.review.who, new.review.who)
    if old.review.quorum != new.review.quorum:
        verb = "tightens" if new.review.quorum > old.review.quorum else "loosens"
        yield f"{verb} how many people must release a call from {old.review.quorum} to {new.review.quorum}"
    if old.review.effect is not new.review.effect:
        yield f"changes how a released call is sent from {old.review.effect.value} to {new.review.effect.value}"
    if old.review.idempotency_key != new.review.idempotency_key:
        yield f"{'adds an' if new.review.idempotency_key else 'no longer adds an'} Idempotency-Key to delivered calls"
    for what, before, after in (
        ("how long a hold may wait for a decision", old.review.ttl_s, new.review.ttl_s),
        ("how long a connection waits for one", old.review.wait_s, new.review.wait_s),
    ):
        if before != after:
            yield f"changes {what} from {span(before)} to {span(after)}"


# --- manifests -------------------------------------------------------------------------------------------------------


def _manifest(
    old: Manifest, new: Manifest, old_pins: Mapping[str, Cluster], new_pins: Mapping[str, Cluster]
) -> Iterator[str]:
    for what, before, after in (
        ("the agent", old.sub, new.sub),
        ("the sponsor", old.sponsor_id, new.sponsor_id),
        ("the deployment", old.aud, new.aud),
        ("the purpose", f'"{old.purpose}"', f'"{new.purpose}"'),
        ("the key that may act under it", old.cnf.kid, new.cnf.kid),
    ):
        if before != after:
            yield f"changes {what} from {before} to {after}"
    if old.certificate != new.certificate:
        bound = f"the client certificate {new.certificate}" if new.certificate else "no client certificate any more"
        # Not "tightens": whoever shows the certificate may act under a registered manifest without its key.
        verb = "changes" if new.certificate else "loosens"
        yield f"{verb} what it is bound to: {bound}"
    if old.exp != new.exp:
        verb = "loosens" if new.exp > old.exp else "tightens"
        yield f"{verb} the expiry from {old.exp:%Y-%m-%d %H:%M} to {new.exp:%Y-%m-%d %H:%M} UTC"
    if old.del_max_depth != new.del_max_depth:
        verb = "loosens" if new.del_max_depth > old.del_max_depth else "tightens"
        yield f"{verb} how often it may be delegated on from {old.del_max_depth} to {new.del_max_depth}"
    yield from sets("delegate", old.may_delegate_to, new.may_delegate_to)
    had, has = {grant.cluster: grant for grant in old.grants}, {grant.cluster: grant for grant in new.grants}
    yield from sets("cluster", had, has)
    for name in sorted(had.keys() & has.keys()):
        for change in (*_grant(had[name], has[name]), *_pinned(had[name], has[name], old_pins, new_pins)):
            yield f"cluster {name}: {change}"


def _grant(old: Grant, new: Grant) -> Iterator[str]:
    yield from sets("action", old.actions, new.actions)
    yield from sets("location", old.locations, new.locations)
    yield from _constraints(old.constraints, new.constraints)


def _constraints(old: Constraints, new: Constraints) -> Iterator[str]:
    yield from values("the constraint on methods", old.methods, new.methods)
    for kind, before, after in (
        ("path parameter", old.params, new.params),
        ("query parameter", old.query, new.query),
        ("what the body holds at", old.body, new.body),
    ):
        for name in sorted(before.keys() | after.keys()):
            yield from values(f"the constraint on {kind} {shown(name)}", before.get(name), after.get(name))


def _pinned(old: Grant, new: Grant, old_pins: Mapping[str, Cluster], new_pins: Mapping[str, Cluster]) -> Iterator[str]:
    if old.digest == new.digest:
        return
    before, after = old_pins.get(old.digest), new_pins.get(new.digest)
    if before is None or after is None:
        lost = "approved before" if before is None else "to be approved"
        yield f"changes its text, but the text {lost} is lost: read the whole cluster"
    else:
        yield from _cluster(before, after)
