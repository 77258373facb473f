"""Calls, verified mandates and questions for tests of the decision: everything good unless a test says otherwise."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

import identities
from heads import OUTSIDE, absolute
from identities import NOW

from proxy.core.addresses import OwnSurfaces
from proxy.core.canonical import canonicalise
from proxy.core.clusters import compile_policy
from proxy.core.control import ControlView
from proxy.core.decide import Question
from proxy.core.model import (
    Bundle,
    Call,
    Cluster,
    DenyRule,
    Evidence,
    Grant,
    Intent,
    Mandate,
    Operation,
    Proof,
    RuleRef,
)
from proxy.core.verify import Lifetimes, verify_chain

URL = f"https://{identities.HOST}/v1/invoices/17"
GRACE_S = 7 * 86_400


def call(url: str = URL, method: str = "GET") -> Call:
    """The canonical call of a plain request."""
    return canonicalise(absolute(url, method=method, body=b""), OUTSIDE)


def deny(
    id: str = "no-secrets",
    *,
    hosts: Iterable[str] = (identities.HOST,),
    ports: Iterable[int] = (),
    schemes: Iterable[str] = (),
    operations: Sequence[Operation] = (),
    line: int = 40,
) -> DenyRule:
    """A denial; of everything on its hosts unless told otherwise."""
    return DenyRule(
        id=id,
        description="",
        hosts=identities.cluster(hosts=hosts).hosts,
        ports=frozenset(ports),
        schemes=frozenset(schemes),
        operations=tuple(operations),
        at=RuleRef(id=id, file="clusters.yaml", line=line),
    )


def bundle_of(
    *clusters: Cluster, approved: Iterable[Cluster] = (), deny: Sequence[DenyRule] = (), like: Bundle | None = None
) -> Bundle:
    """A bundle whose clusters are pinned as they are, with further approved texts, and denials."""
    made = identities.bundle(clusters=clusters) if like is None else like
    return replace(made, pins={**made.pins, **{old.digest: old for old in approved}}, deny=tuple(deny))


def mandate_of(bundle: Bundle, *links: Iterable[Grant], sub: str = identities.AGENT) -> Mandate:
    """A verified chain, root first, one link for each tuple of grants; a lone link is a root that lives an hour."""
    first, *others = (tuple(grants) for grants in links)
    exp = None if others else NOW + timedelta(minutes=50)
    iat = None if others else NOW - timedelta(minutes=5)
    token = identities.root(identities.draft(sub=sub, grants=first, iat=iat, exp=exp))
    tokens, signer = [token], identities.key(sub)
    for depth, grants in enumerate(others):
        cnf = identities.key(f"link-{depth}")
        token = identities.child(token, signer=signer, cnf=cnf.public, jti=f"m-{depth}", grants=grants)
        tokens, signer = [*tokens, token], cnf
    return verify_chain(tuple(tokens), bundle, lifetimes=Lifetimes(), now=NOW)


def evidence(proof: Proof = Proof.REQUEST) -> Evidence:
    return Evidence(proof=proof, keyid=identities.key("leaf").public.kid, created=NOW, nonce="n")


def question(
    *clusters: Cluster,
    bundle: Bundle | None = None,
    grants: Iterable[Grant] | None = None,
    declared: str | None = None,
    url: str = URL,
    method: str = "GET",
    proof: Proof = Proof.REQUEST,
    **changed: object,
) -> Question:
    """A question whose answer is ALLOW: one cluster, granted whole, and a signed call it covers."""
    listed = clusters or (identities.cluster(),)
    house = bundle or bundle_of(*listed)
    given = tuple(identities.grant(item) for item in house.clusters.values()) if grants is None else tuple(grants)
    asked = Question(
        decision_id="d-1",
        now=NOW,
        policy=compile_policy(house),
        view=ControlView(),
        own=OwnSurfaces(ports=frozenset({8080})),
        grace_s=GRACE_S,
        intent=Intent(cluster=declared),
        call=call(url, method),
        mandate=mandate_of(house, given),
        evidence=evidence(proof),
    )
    return replace(asked, **changed)  # type: ignore[arg-type]
