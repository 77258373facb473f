"""Verification: the one place where a chain of manifests becomes a mandate."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from proxy.core.delegation import check_narrows
from proxy.core.errors import Code, Rejected
from proxy.core.jws import check_signature
from proxy.core.manifest import MAX_DEPTH, parse_manifest
from proxy.core.model import Agent, AgentClass, Bundle, Cluster, Intent, Mandate, Manifest, Proof, Risk
from proxy.core.sponsoring import check_sponsored
from proxy.core.standing import SKEW_S, answerable, check_enrolment, check_window

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that only read (RFC 9110 §9.2.1); every other one writes. TRACE is never forwarded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """How long signed things may live: credentials are short, mandates are long."""

    root_max_s: int = 90 * 86_400
    leaf_max_s: int = 3_600
    skew_s: int = SKEW_S
    grace_s: int = 7 * 86_400

    def lasting(self) -> "Lifetimes":
        """For a chain at rest: its last link may live as long as a root, because it is not what is shown as proof."""
        return replace(self, leaf_max_s=max(self.leaf_max_s, self.root_max_s))


def verify_chain(tokens: tuple[str, ...], bundle: Bundle, *, lifetimes: Lifetimes, now: datetime) -> Mandate:
    """Verify a chain of manifests, root first, and make the mandate it stands for.

    The steps, in order; the first that fails decides:

    1. Every token is exactly a manifest (RFC 7515 §7.1, RFC 7519 §7.2), 1 to 4 of them, the first a root.
    2. Everyone and every key the chain names is enrolled: audience (RFC 7519 §4.1.3), sponsor, agents, `cnf`.
    3. The root is signed by its sponsor: with the algorithm of the enrolled key (RFC 8725 §3.1), or with a passkey
       inside what the review desk's key signed (WebAuthn §7.2).
    4. Every child is signed with its parent's `cnf` key (RFC 7800 §3.2), bears its hash, and only narrows.
    5. Neither the root nor the last link was made to live longer than is allowed.
    6. Every link is within its lifetime (RFC 7519 §4.1.4, §4.1.5).
    7. The sponsor is competent, or was at signing and has a competent deputy during the grace.

    The result depends on nothing but the arguments. Whoever keeps it must keep it per bundle, and call
    `standing.check_standing` on every use. Not checked here: revocation, quarantine and the kill switch, which that
    does; the proof that whoever calls holds the leaf's key; and pinning (`decide`).

    Raises:
        Rejected(MANIFEST_*, DELEGATION_*, SPONSOR_*, AGENT_UNKNOWN): the step that failed.
    """
    # 1. Shape.
    if not 1 <= len(tokens) <= MAX_DEPTH + 1:
        raise Rejected(Code.MANIFEST_MALFORMED, f"a chain has 1 to {MAX_DEPTH + 1} links, got {len(tokens)}")
    chain = tuple(parse_manifest(token) for token in tokens)
    root, leaf = chain[0], chain[-1]
    if root.del_depth != 0:
        detail = f"the first link must be the root (del_depth 0), got del_depth {root.del_depth}"
        raise Rejected(Code.DELEGATION_PARENT, detail, field="del_depth")
    # 2. Everyone is known.
    sponsor = check_enrolment(chain, bundle)
    # 3. The sponsor said so.
    check_sponsored(root, sponsor, bundle)
    # 4. Each link said so to the next, and less.
    for parent, child in pairwise(chain):
        check_narrows(parent, child, bundle.agents)
        check_signature(child, parent.cnf, code=Code.MANIFEST_SIGNATURE)
    # 5. Short credentials.
    _check_lifetime(root, "the root manifest", lifetimes.root_max_s)
    _check_lifetime(leaf, "the last link of the chain", lifetimes.leaf_max_s)
    # 6. Now.
    for link in chain:
        check_window(link, now=now, skew_s=lifetimes.skew_s)
    # 7. Someone answers for it.
    return Mandate(
        root_id=root.id,
        chain=chain,
        agent=bundle.agents[leaf.sub],
        sponsor=sponsor,
        answerable=answerable(sponsor, bundle.people, issued_at=root.iat, now=now, grace_s=lifetimes.grace_s),
        not_after=min(link.exp for link in chain),
    )


def _check_lifetime(link: Manifest, what: str, max_s: int) -> None:
    lifetime = link.exp - link.iat
    if lifetime > timedelta(seconds=max_s):
        detail = f"{what} may live {max_s} s, but exp is {lifetime.total_seconds():.0f} s after iat"
        raise Rejected(Code.MANIFEST_LIFETIME, f"{detail}: issue a shorter one", field="exp")


def check_declares(mandate: Mandate, intent: Intent) -> None:
    """Reject a call that names no cluster by an agent that must (`embedded` agents, unless configured otherwise).

    Raises:
        Rejected(INTENT_REQUIRED): `Agent-Intent` is absent or has no cluster.
    """
    if mandate.agent.must_declare and intent.cluster is None:
        detail = f'agent {mandate.agent.id} must declare its intent: send Agent-Intent: cluster="...", task="..."'
        raise Rejected(Code.INTENT_REQUIRED, detail, field="agent-intent")


def least_proof(agent: Agent, cluster: Cluster, method: str) -> Proof:
    """The weakest proof that is enough for this agent to use this cluster with this method.

    `request` for transformative clusters and for writes by embedded agents, otherwise what the cluster asks.
    """
    writes = agent.agent_class is AgentClass.EMBEDDED and method not in SAFE_METHODS
    if writes or cluster.risk is Risk.TRANSFORMATIVE:
        return Proof.REQUEST
    return cluster.proof
