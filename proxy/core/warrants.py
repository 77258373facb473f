"""What a mandate grants under one policy, worked out once: decisions on its calls ask the same again and again.

Nothing here decides. Whatever is kept depends on the mandate and the policy alone, both of which never change.
"""

from functools import cached_property
from typing import TYPE_CHECKING

from proxy.core.model import Constraints, Mandate, Person
from proxy.core.standing import check_enrolment

if TYPE_CHECKING:
    from proxy.core.clusters import CompiledCluster, Policy
    from proxy.core.coverage import Coverage
    from proxy.core.terms import Terms


MOST = 256
"""How many answers of one kind are kept for a mandate; destinations below a wildcard, for one, are without number."""


class Warrant:
    """A mandate under a policy."""

    def __init__(self, policy: "Policy", mandate: Mandate) -> None:
        """Nothing is looked at before it is asked for."""
        self.mandate = mandate
        self.coverages: dict[tuple[str | int | None, ...], Coverage] = {}
        self.terms: dict[tuple[str, ...], Terms] = {}
        """Of calls that clusters cover as they were approved, by the method and the clusters that count."""
        self._policy = policy

    def enrolled(self) -> Person:
        """Who sponsors it, if everyone and every key it names is enrolled. Raises Rejected: as `check_enrolment`."""
        return self._sponsor

    def keep(self, alike: tuple[str | int | None, ...], coverage: "Coverage") -> None:
        """Remember how calls are covered that are all `alike`."""
        if len(self.coverages) >= MOST:
            self.coverages.clear()
        self.coverages[alike] = coverage

    @cached_property
    def _sponsor(self) -> Person:
        return check_enrolment(self.mandate.chain, self._policy.bundle)

    @cached_property
    def clusters(self) -> tuple["CompiledCluster", ...]:
        """Each cluster that a link grants, once, as it is now."""
        names = dict.fromkeys(grant.cluster for link in self.mandate.chain for grant in link.grants)
        return tuple(self._policy.clusters[name] for name in names if name in self._policy.clusters)

    @cached_property
    def is_plain(self) -> bool:
        """Whether no grant of any link has constraints, and every cluster is as it was when that was signed."""
        digests = {each.cluster.id: each.cluster.digest for each in self.clusters}
        return all(
            digests.get(grant.cluster, grant.digest) == grant.digest and grant.constraints == Constraints()
            for link in self.mandate.chain
            for grant in link.grants
        )

    @cached_property
    def declarable(self) -> frozenset[str]:
        """The clusters that a call may declare."""
        return frozenset(grant.cluster for grant in self.mandate.leaf.grants)


class Warrants:
    """The warrants of one policy, for the mandates that are in use."""

    def __init__(self, most: int = 1024) -> None:
        self._most = most
        self._known: dict[int, Warrant] = {}

    def of(self, policy: "Policy", mandate: Mandate) -> Warrant:
        """The warrant of this very mandate. It is kept together with the mandate, whose place nothing else can take."""
        known = self._known.get(id(mandate))
        if known is None:
            if len(self._known) >= self._most:
                self._known.clear()
            known = self._known[id(mandate)] = Warrant(policy, mandate)
        return known
