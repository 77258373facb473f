"""clusters.yaml: the task clusters and the deny rules, from YAML to the model, each with its place in the file."""

import re
from collections.abc import Collection
from dataclasses import replace

from proxy.core.clusters import cluster_digest
from proxy.core.model import (
    Cluster,
    DenyRule,
    Effect,
    HostPattern,
    IPNetwork,
    Operation,
    Proof,
    QueryRule,
    Review,
    Risk,
    RuleRef,
)
from proxy.core.names import DEFAULT_PORTS, ip_literal
from proxy.core.reviewers import most_people
from proxy.core.templates import parse_template
from proxy.policy.bodies import no_body_rule, read_body
from proxy.policy.credentials import read_credential
from proxy.policy.document import (
    THE_FILE,
    Fields,
    Misread,
    any_text,
    choice,
    flag,
    identifier,
    listed,
    prose,
    says,
    seconds,
    version,
    whole,
    word,
)
from proxy.policy.faults import Faults, instead, shown
from proxy.policy.hosts import host_pattern, network
from proxy.policy.yaml import Node, Scalar, Table

ROLES = ("sponsor", "deputy")
"""Words in `review.who` that mean whoever holds that place for the mandate; no person may have them as id."""

PROOFS = {proof.label: proof for proof in (Proof.SOURCE, Proof.SESSION, Proof.MTLS, Proof.TUNNEL, Proof.REQUEST)}
MAX_QUORUM = 9
LATER = frozenset({"limits", "behaviour"})
_LATER_MODES = frozenset({"observe", "shadow"})
METHOD_PATTERN = r"(?=.{1,32}$)[A-Z]+(?:-[A-Z]+)*"
_METHOD = re.compile(METHOD_PATTERN)
_NEVER_METHODS = frozenset({"CONNECT", "TRACE", "TRACK", "PRI"})
_LEAST_PROOF = {Risk.ROUTINE: Proof.SESSION, Risk.TRANSFORMATIVE: Proof.REQUEST}


class Rules:
    """The clusters and deny rules of all files, with their ids: each may be used once in the whole deployment."""

    def __init__(self, *, people: Collection[str] | None) -> None:
        """`people`: the Person.ids a review may name; None when they are not known, so that none is checked."""
        self.clusters: dict[str, Cluster] = {}
        self.deny: dict[str, DenyRule] = {}
        self._people = people
        self._written: dict[tuple[str, str], str] = {}

    def read(self, root: Table, faults: Faults) -> None:
        """Add what one file says; what is wrong with it goes to `faults`."""
        fields = Fields(root, THE_FILE, faults)
        fields.need("version", version, 1)
        for entry in fields.each("clusters", "cluster", named_by="id", needed=fields.node("deny") is None):
            cluster = self._cluster(entry)
            if self._first(entry, "cluster", cluster.id):
                self.clusters[cluster.id] = cluster
        for entry in fields.each("deny", "deny rule", named_by="id"):
            rule = _deny(entry)
            if self._first(entry, "deny rule", rule.id):
                self.deny[rule.id] = rule
        fields.done()

    def _first(self, entry: Fields, kind: str, name: str) -> bool:
        """Whether the entry may be used: free of faults, and the first of its name."""
        before = self._written.get((kind, name))
        if before is not None and name:
            entry.fault("id", f"there is a {kind} of this name at {before}; choose another")
        self._written.setdefault((kind, name), f"{entry.faults.file}:{entry.line}")
        return entry.clean

    def _cluster(self, entry: Fields) -> Cluster:
        name = entry.need("id", identifier, "")
        hosts = entry.need("hosts", listed(host_pattern), ())
        schemes = entry.take("schemes", listed(_scheme), ("https",))
        usual = tuple(DEFAULT_PORTS[scheme] for scheme in schemes)
        addresses = entry.take("addresses", listed(network), ())
        _check_literals(entry, hosts, addresses)
        risk = entry.need("risk", choice(Risk), Risk.ROUTINE)
        cluster = Cluster(
            id=name,
            description=entry.take("description", prose, ""),
            hosts=hosts,
            ports=frozenset(entry.take("ports", _ports, usual)),
            schemes=frozenset(schemes),
            addresses=addresses,
            operations=tuple(_operations(entry, name, needed=True)),
            proof=_proof(entry, risk),
            risk=risk,
            review=self._review(entry),
            digest="",
            at=_place(entry, name),
            http2=entry.take("http2", flag, False),
        )
        if cluster.http2 and "https" not in schemes:
            entry.fault("http2", "HTTP/2 is spoken inside TLS only; add https to schemes, or leave http2 out")
        cluster = replace(cluster, credential=read_credential(entry, cluster))
        entry.take("mode", _mode, None)
        entry.done(later=LATER)
        return replace(cluster, digest=cluster_digest(cluster)) if entry.clean else cluster

    def _review(self, entry: Fields) -> Review:
        fields = entry.inner("review")
        if fields is None:
            return Review()
        usual = Review()
        review = Review(
            always=fields.take("always", flag, usual.always),
            who=fields.take("who", listed(self._reviewer), usual.who),
            ttl_s=fields.take("ttl", seconds("1m", "7d"), usual.ttl_s),
            wait_s=fields.take("wait", seconds("0s", "1h"), usual.wait_s),
            quorum=fields.take("quorum", whole(1, MAX_QUORUM), usual.quorum),
            effect=fields.take("effect", choice(Effect), usual.effect),
            idempotency_key=fields.take("idempotency_key", flag, usual.idempotency_key),
        )
        if review.quorum > (able := most_people(review.who)):
            names = ", ".join(review.who) or "nobody"
            fields.fault("quorum", f"expected at most {able}, as many as who can mean ({names}), got {review.quorum}")
        if review.wait_s > review.ttl_s:
            fields.fault("wait", f"expected at most the ttl of {review.ttl_s} seconds, got {review.wait_s}")
        if review.idempotency_key and review.effect is not Effect.DELIVER:
            fields.fault("idempotency_key", "is added to delivered calls only; add effect: deliver, or leave it out")
        fields.done()
        return review

    def _reviewer(self, node: Node) -> str:
        text = word(node)
        if self._people is not None and text not in ROLES and text not in self._people:
            raise Misread(node, f"there is no person {shown(text)}{instead(text, {*ROLES, *self._people})}")
        return text


def _deny(entry: Fields) -> DenyRule:
    """A denial; left out, ports, schemes and operations each stand for all of them."""
    name = entry.need("id", identifier, "")
    rule = DenyRule(
        id=name,
        description=entry.take("description", prose, ""),
        hosts=entry.need("hosts", listed(host_pattern), ()),
        ports=frozenset(entry.take("ports", _ports, ())),
        schemes=frozenset(entry.take("schemes", listed(_scheme), ())),
        operations=tuple(_operations(entry, name, needed=False)),
        at=_place(entry, name),
    )
    entry.done()
    return rule


def _place(entry: Fields, name: str) -> RuleRef:
    return RuleRef(id=name, file=entry.faults.file, line=entry.line)


# --- where -----------------------------------------------------------------------------------------------------------


def _ports(node: Node) -> tuple[int, ...]:
    return listed(whole(1, 65_535))(node)


def _scheme(node: Node) -> str:
    text = word(node)
    if text not in DEFAULT_PORTS:
        raise Misread(node, f"got {shown(text)}{instead(text, DEFAULT_PORTS)}")
    return text


def _check_literals(entry: Fields, hosts: tuple[HostPattern, ...], addresses: tuple[IPNetwork, ...]) -> None:
    for host in hosts:
        literal = None if host.wildcard else ip_literal(host.name)
        if literal is not None and not any(literal in net for net in addresses):
            entry.fault("hosts", f"the address {host} must lie in a network listed under addresses; add it there")


# --- how -------------------------------------------------------------------------------------------------------------


def _proof(entry: Fields, risk: Risk) -> Proof:
    least = _LEAST_PROOF[risk]
    proof = entry.take("proof", _proof_level, least)
    if proof < least and not (proof is Proof.SOURCE and risk is Risk.ROUTINE):
        entry.fault("proof", f"a {risk.value} cluster needs {least.label} proof, got {proof.label}")
    return proof


def _proof_level(node: Node) -> Proof:
    text = word(node)
    if text not in PROOFS:
        raise Misread(node, f"got {shown(text)}{instead(text, PROOFS)}")
    return PROOFS[text]


def _mode(node: Node) -> None:
    text = word(node)
    if text in _LATER_MODES:
        raise Misread(node, f"{shown(text)} is not supported in this version; remove it, or write enforce")
    if text != "enforce":
        raise Misread(node, f"got {shown(text)}; expected enforce")


# --- what ------------------------------------------------------------------------------------------------------------


def _operations(entry: Fields, cluster: str, *, needed: bool) -> list[Operation]:
    """In the order of their names, since the order in the file means nothing."""
    found: dict[str, Operation] = {}
    there = 0
    for item in entry.each("operations", "operation", named_by="name", needed=needed):
        there += 1
        operation = _operation(item, cluster, denies=not needed)
        if operation.name in found:
            item.fault("name", f"there is one of this name on line {found[operation.name].at.line}; choose another")
        found.setdefault(operation.name, operation)
    if not there and entry.node("operations") is not None:
        entry.fault("operations", "expected at least one item, got an empty list")
    return [found[name] for name in sorted(found)]


def _operation(item: Fields, cluster: str, *, denies: bool) -> Operation:
    name = item.need("name", identifier, "")
    any_query, query = _query(item)
    operation = Operation(
        name=name,
        methods=frozenset(item.need("methods", listed(_method), ())),
        template=item.need("path", _path, "/"),
        any_query=any_query,
        query=query,
        at=RuleRef(id=f"{cluster}.{name}", file=item.faults.file, line=item.line),
        websocket=item.take("websocket", flag, False),
        body=no_body_rule(item) if denies else read_body(item),
    )
    if operation.websocket and operation.methods - {"GET"}:
        item.fault("websocket", "a WebSocket is opened with GET alone; write methods: [GET]")
    item.done(later=LATER)
    return operation


def _method(node: Node) -> str:
    text = word(node)
    if not _METHOD.fullmatch(text):
        upper = text.upper()
        mend = f"; write {upper}" if _METHOD.fullmatch(upper) else ""
        raise Misread(node, f"expected a method in capitals such as GET, got {shown(text)}{mend}")
    if text in _NEVER_METHODS:
        raise Misread(node, f"{text} is never forwarded; remove it")
    return text


def _path(node: Node) -> str:
    return parse_template(word(node)).text


def _query(item: Fields) -> tuple[bool, tuple[QueryRule, ...]]:
    """(any query at all, the rules): `any`, or a mapping from each permitted parameter to what it may be."""
    node = item.node("query")
    if node is None:
        return False, ()
    if says(node, "any"):
        return True, ()
    if not isinstance(node, Table):
        item.fault("query", f'expected "any", or a mapping from parameters to values, got {node}')
        return False, ()
    rules = (_query_rule(item, name, value) for name, value in node.entries)
    return False, tuple(sorted(rules, key=lambda rule: rule.name))


def _query_rule(item: Fields, name: Scalar, node: Node) -> QueryRule:
    if not name.text:
        item.fault("query", "expected the name of a parameter, got nothing")
    if says(node, "any"):
        return QueryRule(name=name.text)
    what = f"query parameter {shown(name.text)} of {item.what}"
    if not isinstance(node, Table):
        return QueryRule(name=name.text, values=item.read(node, _values, frozenset(), what=what))
    fields = Fields(node, what, item.faults)
    rule = QueryRule(
        name=name.text,
        values=fields.take("one_of", _values, None),
        required=fields.take("required", flag, False),
        encoded=fields.take("encoded", flag, False),
        repeated=fields.take("repeated", flag, False),
    )
    fields.done()
    return rule


def _values(node: Node) -> frozenset[str]:
    return frozenset(listed(any_text)(node))
