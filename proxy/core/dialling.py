"""What follows from what covers a call: where its destination may resolve, and which credential leaves with it."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from proxy.core.clusters import CompiledCluster, Policy
from proxy.core.coverage import Coverage, both_networks, location_faults
from proxy.core.credential import Credential
from proxy.core.errors import Code, Rejected
from proxy.core.matching import Destination
from proxy.core.model import Cluster, Grant, IPNetwork, Mandate


def dialable(policy: Policy, mandate: Mandate, coverage: Coverage, there: Destination) -> tuple[IPNetwork, ...] | None:
    """Where the destination may resolve: () public addresses only, None nowhere.

    The address rules of every grant that reaches the call count together; without one, public addresses only. When
    nothing reaches it (a human may still release it), the rules of granted clusters with this destination count: they
    say where it lives, whatever may be asked there.
    """
    if coverage.chosen is not None:
        rules = [each.addresses for each in coverage.found if each.reach >= coverage.reach]
    else:
        rules = [compiled.cluster.addresses for _, compiled in _there(policy, mandate.leaf.grants, there)]
    common: tuple[IPNetwork, ...] | None = ()
    for rule in rules:
        if rule and common is not None:
            common = both_networks(common, rule) if common else rule
    return common


# --- credentials -----------------------------------------------------------------------------------------------------


def credential_for(
    policy: Policy, mandate: Mandate, coverage: Coverage, there: Destination, *, declared: str | None
) -> Credential | None:
    """What is set on the call when it leaves: the credential of the declared cluster, else of all that might be meant.

    Those are the leaf's clusters that reach the call, or, when nothing does (a human may still release it), those with
    this destination, as far as the sponsor approved their credential. One without says something else than one with.

    Raises:
        Rejected(CREDENTIAL_UNCLEAR): they do not say the same, or it may not be sent over plain HTTP.
    """
    if coverage.chosen is not None and all(each.cluster.credential is None for each in coverage.found):
        return None
    meant = [grant for grant in mandate.leaf.grants if declared in (None, grant.cluster)]
    if coverage.chosen is not None:
        clusters = [each.cluster for each in coverage.found if each.grant in meant and each.reach >= coverage.reach]
    else:
        reaching = _there(policy, meant, there)
        clusters = [_as_approved(policy, grant, compiled.cluster, there) for grant, compiled in reaching]
    found = {cluster.credential for cluster in clusters}
    names = ", ".join(sorted({cluster.id for cluster in clusters}))
    if len(found) > 1:
        detail = f"the clusters {names} do not say the same of its credential: declare which one it serves"
        raise Rejected(Code.CREDENTIAL_UNCLEAR, detail)
    credential = found.pop() if found else None
    if credential is not None and there.scheme != "https" and not credential.over_http:
        detail = f"the credential of {names} is not sent over plain HTTP: use https"
        raise Rejected(Code.CREDENTIAL_UNCLEAR, detail)
    return credential


def _as_approved(policy: Policy, grant: Grant, cluster: Cluster, there: Destination) -> Cluster:
    """The cluster, with no credential if the sponsor did not approve this one for this destination."""
    pinned = policy.pins.get(grant.digest)
    same = pinned is not None and pinned.reaches(there) and pinned.cluster.credential == cluster.credential
    return cluster if same else replace(cluster, credential=None)


def _there(policy: Policy, grants: Iterable[Grant], there: Destination) -> Iterator[tuple[Grant, CompiledCluster]]:
    """The granted clusters with this destination, whatever may be asked there."""
    for grant in grants:
        compiled = policy.clusters.get(grant.cluster)
        if compiled is not None and compiled.reaches(there) and next(location_faults(grant, there), None) is None:
            yield grant, compiled
