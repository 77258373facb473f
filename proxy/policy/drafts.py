"""Drafts of manifests: a YAML file that a sponsor edits before signing it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from proxy.core.constraints import constraint_claims
from proxy.core.delegation import is_location, location_covers
from proxy.core.describe import operation_words
from proxy.core.encoding import SHA256_B64U
from proxy.core.errors import Code, Rejected
from proxy.core.manifest import MAX_DEPTH
from proxy.core.model import Agent, Bundle, Cluster, Constraints, Grant, Manifest
from proxy.core.names import DEFAULT_PORTS
from proxy.policy.bodies import scalars
from proxy.policy.document import (
    THE_FILE,
    Fields,
    Misread,
    identifier,
    listed,
    one_line,
    seconds,
    whole,
    word,
)
from proxy.policy.enrolled import agent_in
from proxy.policy.faults import Faults, instead, refuse_any, shown
from proxy.policy.yaml import MAX_FILE_BYTES, Node, Table, load


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestDraft:
    """What a sponsor is asked to sign, before anybody has looked at it."""

    agent: str
    purpose: str
    lifetime_s: int
    depth: int  # how often it may be handed on
    may_delegate_to: frozenset[str]
    kid: str | None  # the agent's key it is bound to; None: the only one it has
    grants: tuple[Grant, ...]
    certificate: str | None = None  # x5t#S256 of the client certificate it is bound to besides


def draft_for(agent: Agent, clusters: Iterable[Cluster], *, purpose: str, lifetime_s: int) -> ManifestDraft:
    """A draft that grants everything in `clusters`; it is for the sponsor to strike out what is not needed."""
    return ManifestDraft(
        agent=agent.id,
        purpose=purpose,
        lifetime_s=lifetime_s,
        depth=1,
        may_delegate_to=frozenset(),
        kid=None,
        grants=tuple(
            Grant(
                cluster=cluster.id,
                digest=cluster.digest,
                actions=frozenset(operation.name for operation in cluster.operations),
                locations=frozenset(locations_of(cluster)),
                constraints=Constraints(),
            )
            for cluster in clusters
        ),
    )


def draft_again(old: Manifest, bundle: Bundle, *, lifetime_s: int) -> ManifestDraft:
    """The same grants again, of the clusters as they are now; what a cluster no longer has is left out."""
    return ManifestDraft(
        agent=old.sub,
        purpose=old.purpose,
        lifetime_s=lifetime_s,
        depth=old.del_max_depth,
        may_delegate_to=old.may_delegate_to,
        kid=old.cnf.kid,
        certificate=old.certificate,
        grants=tuple(
            _at_present(grant, bundle.clusters[grant.cluster])
            for grant in old.grants
            if grant.cluster in bundle.clusters
        ),
    )


def _at_present(grant: Grant, cluster: Cluster) -> Grant:
    reached = locations_of(cluster)
    return Grant(
        cluster=grant.cluster,
        digest=cluster.digest,
        actions=grant.actions & {operation.name for operation in cluster.operations},
        locations=frozenset(
            place for place in grant.locations if any(location_covers(outer, place) for outer in reached)
        ),
        constraints=grant.constraints,
    )


def locations_of(cluster: Cluster) -> list[str]:
    """Every `scheme://host[:port]` that a cluster reaches. The default port of one scheme is not meant for another."""
    found = []
    for scheme in sorted(cluster.schemes):
        others = {port for other, port in DEFAULT_PORTS.items() if other != scheme}
        for host in map(str, cluster.hosts):
            name = f"[{host}]" if ":" in host else host
            for port in sorted(cluster.ports - others):
                found.append(f"{scheme}://{name}" if port == DEFAULT_PORTS[scheme] else f"{scheme}://{name}:{port}")
    return found


def draft_text(draft: ManifestDraft, bundle: Bundle, *, sign: str) -> str:
    """The draft as a YAML file with its explanation in comments; `sign` is the command that signs it."""
    lines = [
        f"# A manifest for {draft.agent}, signed by nobody yet. Strike out what it does not need, then:",
        f"#   {sign}",
        "version: 1",
        f"agent: {draft.agent}",
        f"purpose: {json.dumps(draft.purpose, ensure_ascii=False)}",
        f"lifetime: {_duration(draft.lifetime_s)}",
        f"depth: {draft.depth} # how often it may be handed on; the agent's short-lived credential counts as one",
    ]
    if draft.may_delegate_to:
        lines.append(f"may_delegate_to: [{', '.join(sorted(draft.may_delegate_to))}]")
    if draft.kid is not None:
        lines.append(f"key: {json.dumps(draft.kid)} # which of the agent's keys may act under it")
    if draft.certificate is not None:
        lines.append(f"certificate: {json.dumps(draft.certificate)} # the client certificate it is bound to")
    lines.append("clusters:")
    for grant in draft.grants:
        operations = {operation.name: operation for operation in bundle.clusters[grant.cluster].operations}
        lines += [f"  - cluster: {grant.cluster}", "    actions:"]
        lines += [f"      - {name} # {operation_words(operations[name])}" for name in sorted(grant.actions)]
        lines += ["    locations:", *(f"      - {json.dumps(place)}" for place in sorted(grant.locations))]
        if kept := constraint_claims(grant.constraints):
            lines.append(f"    constraints: {json.dumps(kept)}")
            continue
        lines += [
            "    # constraints: {methods: [GET], params: {id: ['17']}, query: {status: [open]}, body: {/payee: [17]}}"
        ]
    return "\n".join(lines) + "\n"


def read_draft(path: Path, bundle: Bundle) -> ManifestDraft:
    """Read a draft from a file; see `parse_draft`."""
    return parse_draft(draft_bytes(path), bundle, name=path.name)


def parse_draft(data: bytes, bundle: Bundle, *, name: str) -> ManifestDraft:
    """Read a draft. Cluster names, operations and locations are those of `bundle`, at their present digests.

    Raises:
        Rejected(CONFIG_INVALID): with every fault as `NAME:LINE: …`.
    """
    faults = Faults(name)
    root = load(data, faults)
    refuse_any(faults)
    assert root is not None
    fields = Fields(root, THE_FILE, faults)
    fields.need("version", whole(1, 1), 1)
    draft = ManifestDraft(
        agent=fields.need("agent", identifier, ""),
        purpose=fields.need("purpose", one_line, ""),
        lifetime_s=fields.need("lifetime", seconds("1m", "366d"), 0),
        depth=fields.take("depth", whole(0, MAX_DEPTH), 1),
        may_delegate_to=frozenset(fields.take("may_delegate_to", listed(identifier, empty=True), ())),
        kid=fields.take("key", word, "") or None,
        certificate=fields.take("certificate", _thumbprint, None),
        grants=tuple(_grant(entry, bundle) for entry in fields.each("clusters", "cluster", named_by="cluster")),
    )
    fields.done()
    refuse_any(faults)
    agent_in(bundle, draft.agent)
    if not draft.grants:
        raise Rejected(Code.CONFIG_INVALID, f"{name}: clusters grants nothing; name at least one")
    return draft


def _grant(entry: Fields, bundle: Bundle) -> Grant:
    name = entry.need("cluster", identifier, "")
    cluster = bundle.clusters.get(name)
    if cluster is None and name:
        entry.fault("cluster", f"there is no cluster {shown(name)}{instead(name, bundle.clusters)}")
    actions = entry.need("actions", listed(identifier), ())
    locations = entry.need("locations", listed(_location), ())
    if cluster is not None:
        known = {operation.name for operation in cluster.operations}
        for action in sorted(set(actions) - known):
            entry.fault("actions", f"cluster {name} has no operation {shown(action)}{instead(action, known)}")
        for place in sorted(locations):
            if not any(location_covers(outer, place) for outer in locations_of(cluster)):
                entry.fault("locations", f"cluster {name} does not reach {shown(place)}")
    grant = Grant(
        cluster=name,
        digest=cluster.digest if cluster is not None else "",
        actions=frozenset(actions),
        locations=frozenset(locations),
        constraints=_constraints(entry.inner("constraints")),
    )
    entry.done()
    return grant


def _constraints(fields: Fields | None) -> Constraints:
    if fields is None:
        return Constraints()
    methods = fields.take("methods", listed(word), None)
    constraints = Constraints(
        methods=None if methods is None else frozenset(methods),
        params=_values(fields, "params"),
        query=_values(fields, "query"),
        body=_body(fields),
    )
    fields.done()
    return constraints


def _values(fields: Fields, key: str) -> dict[str, frozenset[str]]:
    return {name: fields.read(value, _words, frozenset(), what=what) for name, value, what in _entries(fields, key)}


def _body(fields: Fields) -> dict[str, frozenset[str]]:
    """Places in bodies: JSON pointers, which begin with "/", and names of form fields."""
    return {
        place: fields.read(value, scalars, frozenset(), what=what) for place, value, what in _entries(fields, "body")
    }


def _words(node: Node) -> frozenset[str]:
    return frozenset(listed(word)(node))


def _entries(fields: Fields, key: str) -> Iterator[tuple[str, Node, str]]:
    """Name, value and what to call it in a message, of each entry under a key."""
    node = fields.node(key)
    if isinstance(node, Table):
        yield from ((name.text, value, f"{key} {shown(name.text)}") for name, value in node.entries)
    elif node is not None:
        fields.fault(key, f"expected a mapping from names to lists of values, got {node}")


def _thumbprint(node: Node) -> str:
    text = word(node)
    if not SHA256_B64U.fullmatch(text):
        raise Misread(node, f"expected the SHA-256 of a certificate in base64url, got {shown(text)}")
    return text


def _location(node: Node) -> str:
    text = word(node)
    if not is_location(text):
        raise Misread(node, f"expected scheme://host, with a port only where it is unusual, got {shown(text)}")
    return text


def draft_bytes(path: Path) -> bytes:
    """The bytes of a draft's file.

    Raises:
        Rejected(CONFIG_INVALID): it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as fault:
        raise Rejected(Code.CONFIG_INVALID, f"{path}: cannot be read: {fault.strerror}") from None


def _duration(length_s: int) -> str:
    for unit, seconds_in in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if length_s % seconds_in == 0:
            return f"{length_s // seconds_in}{unit}"
    return f"{length_s}s"
