"""Task clusters: the normal form a sponsor signs, its digest, the way back, and the index a policy is judged by."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

from proxy.core.bodies.normal import body_from_normal, normal_body
from proxy.core.bodies.rules import ANY_BODY
from proxy.core.credential import credential_from_normal, normal_credential
from proxy.core.denials import Denials, compile_denials
from proxy.core.encoding import Json, canonical_json, sha256_b64u
from proxy.core.matching import Destination, PreparedOperation, prepare
from proxy.core.model import (
    Bundle,
    Call,
    Cluster,
    Effect,
    HostPattern,
    Mandate,
    Mismatch,
    Operation,
    Proof,
    QueryRule,
    Review,
    Risk,
    RuleRef,
)
from proxy.core.normal import as_flag, as_list, as_members, as_text, as_texts, as_whole, check_once, not_normal
from proxy.core.offers import Http2Offers, index_offers
from proxy.core.paths import Entry, PathIndex, index_paths
from proxy.core.shown import some_of
from proxy.core.templates import parse_template
from proxy.core.warrants import Warrant, Warrants

_CLUSTER = frozenset({"id", "hosts", "ports", "schemes", "addresses", "operations", "proof", "risk", "review"})
_CLUSTER_MAY = frozenset({"credential"})
_FIXED: Mapping[str, Json] = {"limits": {}, "mode": "enforce"}  # not settable in this version, but part of the form
_OPERATION = frozenset({"name", "methods", "path", "query"})
_OPERATION_MAY = frozenset({"body", "websocket"})
_QUERY = frozenset({"name", "values", "required"})
_QUERY_MAY = frozenset({"encoded", "repeated"})
_REVIEW = frozenset({"always", "who", "ttl_s", "wait_s"})
_REVIEW_MAY = frozenset({"quorum", "effect", "idempotency_key"})


def normalised(cluster: Cluster) -> dict[str, Json]:
    """The cluster as a sponsor signs it: everything that changes what is permitted, sets in order, each item once.

    Left out: descriptions, where it was written, and what was added to the form later where it says nothing, so that
    older digests stay what they were. The id is in it: a sponsor approves a cluster by its name.
    """
    review = cluster.review
    return {
        "id": cluster.id,
        "hosts": sorted({str(host) for host in cluster.hosts}),
        "ports": sorted(cluster.ports),
        "schemes": sorted(cluster.schemes),
        "addresses": sorted({str(network) for network in cluster.addresses}),
        "operations": sorted((_normal_operation(item) for item in cluster.operations), key=canonical_json),
        "proof": cluster.proof.label,
        "risk": cluster.risk.value,
        "review": {
            "always": review.always,
            "who": sorted(set(review.who)),
            "ttl_s": review.ttl_s,
            "wait_s": review.wait_s,
            **({"quorum": review.quorum} if review.quorum != 1 else {}),
            **({"effect": review.effect.value} if review.effect is not Effect.RETRY else {}),
            **({"idempotency_key": True} if review.idempotency_key else {}),
        },
        **({"credential": normal_credential(cluster.credential)} if cluster.credential is not None else {}),
        **_FIXED,
    }


def _normal_operation(operation: Operation) -> Json:
    query: Json = "any"
    if not operation.any_query:
        query = sorted((_normal_query_rule(rule) for rule in operation.query), key=canonical_json)
    normal: dict[str, Json] = {
        "name": operation.name,
        "methods": sorted(operation.methods),
        "path": operation.template,
        "query": query,
        **({"websocket": True} if operation.websocket else {}),
    }
    if operation.body != ANY_BODY:
        normal["body"] = normal_body(operation.body)
    return normal


def _normal_query_rule(rule: QueryRule) -> Json:
    values: Json = None if rule.values is None else sorted(rule.values)
    normal: dict[str, Json] = {"name": rule.name, "values": values, "required": rule.required}
    if rule.encoded:
        normal["encoded"] = True
    if rule.repeated:
        normal["repeated"] = True
    return normal


def cluster_digest(cluster: Cluster) -> str:
    """Base64url SHA-256 of the RFC 8785 form of the normalised cluster; `cluster.digest` itself is not looked at."""
    return sha256_b64u(canonical_json(normalised(cluster)))


def from_normalised(value: Json) -> Cluster:
    """The cluster a normal form stands for, with its digest; `pinned/<digest>.json` is the place of every rule.

    Not checked here: that the digest is the one the file is named for, and that hosts are canonical names.

    Raises:
        Rejected(CONFIG_INVALID): not exactly what `normalised` writes.
    """
    try:
        cluster = _cluster(as_members(value, _CLUSTER | set(_FIXED), "a pinned cluster", may=_CLUSTER_MAY))
        if normalised(cluster) != value:
            raise not_normal("a pinned cluster must be in normal form: members as written by this program, sets sorted")
        digest = cluster_digest(cluster)
    except ValueError as fault:  # an address, a number or a string that has no canonical form
        raise not_normal(f"a pinned cluster must be in normal form: {fault}") from None
    where = f"pinned/{digest}.json"
    operations = tuple(replace(operation, at=replace(operation.at, file=where)) for operation in cluster.operations)
    return replace(cluster, digest=digest, operations=operations, at=replace(cluster.at, file=where))


def _cluster(value: Mapping[str, Json]) -> Cluster:
    name = as_text(value["id"], "id")
    operations = tuple(_operation(item, name) for item in as_list(value["operations"], "operations"))
    check_once([operation.name for operation in operations], "operation")
    review = as_members(value["review"], _REVIEW, "review", may=_REVIEW_MAY)
    ports = as_list(value["ports"], "ports")
    return Cluster(
        id=name,
        description="",
        hosts=tuple(_host(text) for text in as_texts(value["hosts"], "hosts")),
        ports=frozenset(as_whole(port, "ports", least=1, most=65_535) for port in ports),
        schemes=frozenset(as_texts(value["schemes"], "schemes")),
        addresses=tuple(ip_network(text) for text in as_texts(value["addresses"], "addresses")),
        operations=operations,
        proof=_proof(as_text(value["proof"], "proof")),
        risk=Risk(as_text(value["risk"], "risk")),
        review=Review(
            always=as_flag(review["always"], "review.always"),
            who=as_texts(review["who"], "review.who"),
            ttl_s=as_whole(review["ttl_s"], "review.ttl_s"),
            wait_s=as_whole(review["wait_s"], "review.wait_s"),
            quorum=as_whole(review.get("quorum", 1), "review.quorum", least=1),
            effect=Effect(as_text(review.get("effect", Effect.RETRY.value), "review.effect")),
            idempotency_key=as_flag(review.get("idempotency_key", False), "review.idempotency_key"),
        ),
        digest="",
        at=RuleRef(id=name, file="", line=1),
        credential=credential_from_normal(value["credential"]) if "credential" in value else None,
    )


def _operation(value: Json, cluster: str) -> Operation:
    members = as_members(value, _OPERATION, "an operation", may=_OPERATION_MAY)
    name, query = as_text(members["name"], "name"), members["query"]
    any_query = query == "any"
    rules = () if any_query else tuple(_query_rule(item) for item in as_list(query, "query"))
    check_once([rule.name for rule in rules], "query parameter")
    return Operation(
        name=name,
        methods=frozenset(as_texts(members["methods"], "methods")),
        template=parse_template(as_text(members["path"], "path")).text,
        any_query=any_query,
        query=rules,
        at=RuleRef(id=f"{cluster}.{name}", file="", line=1),
        websocket=as_flag(members.get("websocket", False), "websocket"),
        body=body_from_normal(members["body"]) if "body" in members else ANY_BODY,
    )


def _query_rule(value: Json) -> QueryRule:
    members = as_members(value, _QUERY, "a query rule", may=_QUERY_MAY)
    values = members["values"]
    return QueryRule(
        name=as_text(members["name"], "name"),
        values=None if values is None else frozenset(as_texts(values, "values", empty=True)),
        required=as_flag(members["required"], "required"),
        encoded=as_flag(members.get("encoded", False), "encoded"),
        repeated=as_flag(members.get("repeated", False), "repeated"),
    )


def _host(text: str) -> HostPattern:
    return HostPattern(name=text.removeprefix("*."), wildcard=text.startswith("*."))


def _proof(label: str) -> Proof:
    for proof in Proof:
        if proof.label == label:
            return proof
    raise not_normal(f"proof must be one of {', '.join(proof.label for proof in Proof)}; got {label!r}")


# --- the index -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledCluster:
    """A cluster ready to be asked; the cost of asking does not grow with its operations."""

    cluster: Cluster
    exact: frozenset[str]  # hosts
    below: frozenset[str]  # names whose subdomains belong to it, never the name itself
    operations: tuple[PreparedOperation, ...]
    paths: PathIndex[PreparedOperation]

    def matching(self, call: Call, there: Destination) -> list[PreparedOperation]:
        """Every operation that permits the head: destination, method, path, query, and whether it opens a WebSocket."""
        if not self.reaches(there) or not (found := self.paths.find(call.method, call.segments)):
            return []
        return [
            each
            for each in found
            if each.fits_protocol(call) and next(each.query_faults(call.parameters), None) is None
        ]

    def reaches(self, there: Destination) -> bool:
        """Whether the destination is one of the cluster's."""
        cluster = self.cluster
        return (
            (there.host in self.exact or not self.below.isdisjoint(there.above))
            and there.port in cluster.ports
            and there.scheme in cluster.schemes
            and (there.literal is None or any(there.literal in network for network in cluster.addresses))
        )

    def destination_faults(self, there: Destination) -> Iterator[Mismatch]:
        """What of a destination is not the cluster's. An IP literal must also lie inside its address rule."""
        cluster = self.cluster
        if there.host not in self.exact and self.below.isdisjoint(there.above):
            hosts = some_of([str(host) for host in cluster.hosts])
            yield Mismatch(field="host", expected=hosts or "no host", got=there.host)
        if there.port not in cluster.ports:
            ports = some_of([str(port) for port in cluster.ports])
            yield Mismatch(field="port", expected=ports or "no port", got=str(there.port))
        if there.scheme not in cluster.schemes:
            yield Mismatch(field="scheme", expected=some_of(cluster.schemes) or "no scheme", got=there.scheme)
        if there.literal is not None and not any(there.literal in network for network in cluster.addresses):
            networks = some_of([str(network) for network in cluster.addresses])
            yield Mismatch(field="address", expected=networks or "a name: there is no address rule", got=there.host)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A bundle and its indexes. A mandate names its few clusters, so nothing here is ever searched as a whole."""

    bundle: Bundle
    clusters: Mapping[str, CompiledCluster]  # as they are now, by id
    pins: Mapping[str, CompiledCluster]  # as a sponsor once saw them, by digest
    denials: Denials
    http2: Http2Offers
    warrants: Warrants = field(default_factory=Warrants, compare=False, repr=False)

    def warrant(self, mandate: Mandate) -> Warrant:
        """What does not change from one call of a mandate to the next."""
        return self.warrants.of(self, mandate)


def compile_policy(bundle: Bundle) -> Policy:
    """Index a bundle.

    Not checked here: that each cluster's digest is its own, which is the loader's part.

    Raises:
        Rejected(CONFIG_INVALID): a path template is none, or templates of one cluster (or denials of one host) overlap
            so much that a lookup would branch too far; the message names the rules, their places and the mend.
    """
    clusters = {name: compile_cluster(cluster) for name, cluster in bundle.clusters.items()}
    unchanged = {compiled.cluster.digest: compiled for compiled in clusters.values()}
    return Policy(
        bundle=bundle,
        clusters=clusters,
        pins={digest: unchanged.get(digest) or compile_cluster(cluster) for digest, cluster in bundle.pins.items()},
        denials=compile_denials(bundle.deny),
        http2=index_offers(bundle.clusters.values()),
    )


def compile_cluster(cluster: Cluster) -> CompiledCluster:
    """Index one cluster.

    Raises:
        Rejected(CONFIG_INVALID): as `compile_policy`.
    """
    operations = tuple(prepare(operation) for operation in cluster.operations)
    return CompiledCluster(
        cluster=cluster,
        exact=frozenset(host.name for host in cluster.hosts if not host.wildcard),
        below=frozenset(host.name for host in cluster.hosts if host.wildcard),
        operations=operations,
        paths=index_paths(
            Entry(template=item.template, methods=item.operation.methods, at=item.operation.at, value=item)
            for item in operations
        ),
    )
