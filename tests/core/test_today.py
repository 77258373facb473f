"""What today's rules say of a call that was held: as strict as whoever sends it will be."""

from dataclasses import replace
from datetime import timedelta

import identities
import pytest
from filing import Filer
from identities import AGENT, CLUSTER, DEPUTY, NOW, SPONSOR, key

from proxy.core.clusters import compile_policy
from proxy.core.model import Bundle, Cluster, Decision, Review, Risk, StoredCall, Verdict
from proxy.core.today import decided_today
from proxy.stores.memory_holds import MemoryHolds
from proxy.stores.vault import SecretVault

FILER = Filer(
    holds=MemoryHolds(now=lambda: NOW),
    vault=SecretVault(b"s" * 32),
    bundle=identities.bundle(),
    tokens=identities.world().tokens,
    now=NOW,
)
FILED = FILER.stored(method="GET")
LATER = NOW + timedelta(hours=2)  # the leaf has ended since


def today(bundle: Bundle, filed: StoredCall = FILED) -> Decision | None:
    return decided_today(filed, compile_policy(bundle), now=LATER)


def test_while_nothing_changed_it_is_decided_as_it_was() -> None:
    found = today(identities.bundle())
    assert found is not None
    assert (found.verdict, found.code) == (Verdict.HOLD, FILED.decision.code)
    assert (found.risk, found.review) == (Risk.ROUTINE, FILED.decision.review)
    assert (found.agent, found.sponsor, found.manifest) == (AGENT, SPONSOR, FILED.decision.manifest)


@pytest.mark.parametrize(
    ("changed", "risk", "review"),
    [
        pytest.param(identities.cluster(risk=Risk.TRANSFORMATIVE), Risk.TRANSFORMATIVE, Review(), id="worldly"),
        pytest.param(
            identities.cluster(review=Review(quorum=2)), Risk.ROUTINE, Review(quorum=2), id="two must release it"
        ),
        pytest.param(
            identities.cluster(review=Review(who=(DEPUTY,))),
            Risk.ROUTINE,
            Review(who=(DEPUTY,)),
            id="another must",
        ),
    ],
)
def test_what_operators_changed_since_is_seen(changed: Cluster, risk: Risk, review: Review) -> None:
    found = today(identities.bundle(clusters=[changed]))
    assert found is not None
    assert (found.intent.cluster, found.risk, found.review) == (CLUSTER, risk, review)


def test_a_mandate_that_verifies_no_more_says_nothing() -> None:
    others = identities.person(SPONSOR, keys=[key("another of hers").public])
    assert today(identities.bundle(people=[others])) is None


def test_nor_does_a_call_that_no_node_would_have_read() -> None:
    assert today(identities.bundle(), replace(FILED, call=replace(FILED.call, host="<b>10.0.0.1"))) is None
