"""The terms of a call: what every granted cluster that reaches it asks for, taken together. The strictest wins."""

from dataclasses import dataclass

from proxy.core.clusters import Policy
from proxy.core.coverage import Coverage, Reach
from proxy.core.model import Call, Cluster, Effect, Mandate, Proof, Review, Risk
from proxy.core.reviewers import most_people
from proxy.core.verify import SAFE_METHODS, least_proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a call must meet, and who may decide it. `required_by` is a cluster whose every call is reviewed, if any."""

    proof: Proof
    risk: Risk
    review: Review
    required_by: Cluster | None


NO_TERMS = Terms(proof=Proof.SESSION, risk=Risk.ROUTINE, review=Review(), required_by=None)
"""Of a call without a mandate."""


def terms_of(policy: Policy, mandate: Mandate, coverage: Coverage, call: Call, *, declared: str | None) -> Terms:
    """The terms of every grant that reaches the call, as approved and as it is now, declared or not.

    A call that is not covered has the declared cluster's terms, too, if that is granted.
    """
    if coverage.chosen is None or any(
        len(each.terms) > 1 or each.reach is not Reach.COVERED for each in coverage.found
    ):
        return _terms(policy, mandate, coverage, call, declared)
    known = policy.warrant(mandate).terms
    key = (call.method, coverage.chosen.cluster.id, *[each.cluster.id for each in coverage.found])
    if (terms := known.get(key)) is None:
        terms = known[key] = _terms(policy, mandate, coverage, call, declared)
    return terms


def _terms(policy: Policy, mandate: Mandate, coverage: Coverage, call: Call, declared: str | None) -> Terms:
    reaching = [cluster for each in coverage.found for cluster in each.terms]
    asking = [
        cluster.review
        for each in coverage.found
        for cluster in each.terms
        if cluster.review.always or each.reach is Reach.CHANGED
    ]
    if coverage.chosen is None:
        meant = [cluster for cluster in _granted(policy, mandate) if cluster.id == declared]
        reaching += meant
        asking += [cluster.review for cluster in meant]
        usual = Review()
    else:
        usual = coverage.chosen.cluster.review
    return Terms(
        proof=_proof(policy, mandate, reaching, call),
        risk=_risk(reaching, coverage, call),
        review=_agreed(asking) if asking else usual,
        required_by=next((cluster for cluster in reaching if cluster.review.always), None),
    )


def _granted(policy: Policy, mandate: Mandate) -> list[Cluster]:
    names = (grant.cluster for grant in mandate.leaf.grants)
    return [policy.clusters[name].cluster for name in names if name in policy.clusters]


def _proof(policy: Policy, mandate: Mandate, reaching: list[Cluster], call: Call) -> Proof:
    """The strongest least proof; where no cluster speaks for the call, the weakest that any granted one would need."""
    if reaching:
        return max(least_proof(mandate.agent, cluster, call.method) for cluster in reaching)
    granted = (least_proof(mandate.agent, cluster, call.method) for cluster in _granted(policy, mandate))
    return min(granted, default=Proof.SESSION)


def _risk(reaching: list[Cluster], coverage: Coverage, call: Call) -> Risk:
    """Transformative if any cluster is; and what no cluster covers, if its method may write."""
    writes = coverage.chosen is None and call.method not in SAFE_METHODS
    if writes or any(cluster.risk is Risk.TRANSFORMATIVE for cluster in reaching):
        return Risk.TRANSFORMATIVE
    return Risk.ROUTINE


def _agreed(reviews: list[Review]) -> Review:
    """Who may decide for all of them, within the shortest time of any, as many together as the most that any asks for.

    `who` comes out empty where those whom all of them name are none, or too few: then nobody may.
    """
    quorum = max(review.quorum for review in reviews)
    who = tuple(name for name in reviews[0].who if all(name in review.who for review in reviews))
    return Review(
        always=any(review.always for review in reviews),
        who=who if most_people(who) >= quorum else (),
        ttl_s=min(review.ttl_s for review in reviews),
        wait_s=min(review.wait_s for review in reviews),
        quorum=quorum,
        effect=_effect(reviews),
        idempotency_key=any(review.idempotency_key for review in reviews),
    )


def _effect(reviews: list[Review]) -> Effect:
    """A node sends by itself only what every cluster that asks for a review lets it send."""
    return Effect.DELIVER if all(review.effect is Effect.DELIVER for review in reviews) else Effect.RETRY
