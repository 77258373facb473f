"""The terms of a call: the strictest of every granted cluster that reaches it, declared or not."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from identities import AGENT, HELPER, agent, bundle, cluster, grant, operation
from questions import URL, bundle_of, call, mandate_of

from proxy.core.bodies.reading import Reading
from proxy.core.clusters import compile_policy
from proxy.core.coverage import cover
from proxy.core.matching import destination_of
from proxy.core.model import AgentClass, Cluster, Effect, Proof, Review, Risk
from proxy.core.terms import Terms, terms_of


def terms(
    *clusters: Cluster,
    url: str = URL,
    method: str = "GET",
    declared: str | None = None,
    agent_class: AgentClass = AgentClass.AUGMENTING,
    approved: Sequence[Cluster] = (),
) -> Terms:
    house = bundle_of(
        approved=approved,
        like=bundle(clusters=clusters, agents=(agent(AGENT, agent_class=agent_class), agent(HELPER))),
    )
    granted = [*approved, *(item for item in clusters if item.id not in {old.id for old in approved})]
    policy, mandate, asked = (
        compile_policy(house),
        mandate_of(house, [grant(item) for item in granted]),
        call(url, method),
    )
    coverage = cover(policy, mandate, Reading(asked), destination_of(asked), declared=declared)
    return terms_of(policy, mandate, coverage, asked, declared=declared)


EASY = cluster("easy", review=Review(ttl_s=100, wait_s=5))
SIGNED = cluster("signed", proof=Proof.REQUEST)
RISKY = cluster("risky", risk=Risk.TRANSFORMATIVE, proof=Proof.REQUEST)
ADA = cluster("ada-reviews", review=Review(always=True, who=("ada", "cleo"), ttl_s=900, wait_s=0))
CLEO = cluster("cleo-reviews", review=Review(always=True, who=("cleo", "ben"), ttl_s=600, wait_s=9))
BEN = cluster("ben-reviews", review=Review(always=True, who=("ben",)))
BOTH = cluster("both-review", review=Review(always=True, who=("ada", "cleo"), quorum=2))
BEYOND = f"{URL}/lines"


@pytest.mark.parametrize(
    ("clusters", "proof", "risk"),
    [
        pytest.param([EASY], Proof.SESSION, Risk.ROUTINE, id="one cluster's own"),
        pytest.param([EASY, SIGNED], Proof.REQUEST, Risk.ROUTINE, id="the strongest proof of two"),
        pytest.param([EASY, RISKY], Proof.REQUEST, Risk.TRANSFORMATIVE, id="transformative if any is"),
    ],
)
@pytest.mark.parametrize("declares", [False, True])
def test_the_strictest_wins_whatever_is_declared(
    clusters: list[Cluster], proof: Proof, risk: Risk, declares: bool
) -> None:
    found = terms(*clusters, declared="easy" if declares else None)
    assert (found.proof, found.risk) == (proof, risk)


def test_both_texts_of_a_changed_cluster_have_their_say() -> None:
    before, now = cluster(proof=Proof.REQUEST), cluster(risk=Risk.TRANSFORMATIVE, proof=Proof.REQUEST)
    assert terms(cluster(), approved=[before]).proof is Proof.REQUEST
    assert terms(cluster()).proof is Proof.SESSION
    assert terms(now, approved=[cluster()]).risk is Risk.TRANSFORMATIVE
    assert terms(cluster(), approved=[now]).risk is Risk.TRANSFORMATIVE


@pytest.mark.parametrize(
    ("clusters", "review"),
    [
        pytest.param([EASY], Review(ttl_s=100, wait_s=5), id="nobody asks: the chosen cluster's own rule"),
        pytest.param([ADA], ADA.review, id="one asks"),
        pytest.param([ADA, EASY], ADA.review, id="who does not ask has no say"),
        pytest.param([ADA, CLEO], Review(always=True, who=("cleo",), ttl_s=600, wait_s=0), id="what both agree to"),
        pytest.param(
            [ADA, BOTH], Review(always=True, who=("ada", "cleo"), ttl_s=900, wait_s=0, quorum=2), id="the larger quorum"
        ),
        pytest.param(
            [CLEO, BOTH],
            Review(always=True, who=(), ttl_s=600, wait_s=0, quorum=2),
            id="nobody where too few are left for it",
        ),
        pytest.param([ADA, BEN], Review(always=True, who=(), ttl_s=900, wait_s=0), id="nobody whom both agree to"),
    ],
)
def test_who_decides_is_who_all_that_ask_agree_to(clusters: list[Cluster], review: Review) -> None:
    found = terms(*clusters)
    assert found.review == review
    assert (found.required_by is not None) is review.always


@pytest.mark.parametrize(
    ("others", "effect"),
    [
        pytest.param([], Effect.DELIVER, id="the only one that asks lets a node send it"),
        pytest.param([CLEO], Effect.RETRY, id="another that asks does not"),
        pytest.param([EASY], Effect.DELIVER, id="another does not ask"),
    ],
)
def test_a_node_sends_by_itself_what_all_that_ask_let_it_send(others: list[Cluster], effect: Effect) -> None:
    review = replace(ADA.review, effect=Effect.DELIVER, idempotency_key=True)
    found = terms(replace(ADA, review=review), *others)
    assert (found.review.effect, found.review.idempotency_key) == (effect, True)


def test_a_cluster_that_changed_asks_for_its_reviewers() -> None:
    changed = cluster("easy", review=Review(who=("cleo",)), operations=(operation(template="/v1/{path:rest}"),))
    before = cluster("easy", operations=(operation(template="/v2/{path:rest}"),))
    assert terms(changed, approved=[before]).review.who == ("cleo",)


@pytest.mark.parametrize(
    ("clusters", "declared", "method", "proof", "risk"),
    [
        pytest.param([EASY], None, "GET", Proof.SESSION, Risk.ROUTINE, id="reading"),
        pytest.param([EASY], None, "DELETE", Proof.SESSION, Risk.TRANSFORMATIVE, id="writing changes things"),
        pytest.param([EASY, SIGNED], None, "GET", Proof.SESSION, Risk.ROUTINE, id="the least that any would need"),
        pytest.param([SIGNED, RISKY], None, "GET", Proof.REQUEST, Risk.ROUTINE, id="when all need more"),
        pytest.param([], None, "GET", Proof.SESSION, Risk.ROUTINE, id="nothing granted"),
        pytest.param([EASY, SIGNED], "signed", "GET", Proof.REQUEST, Risk.ROUTINE, id="the declared cluster's proof"),
        pytest.param([EASY, RISKY], "risky", "GET", Proof.REQUEST, Risk.TRANSFORMATIVE, id="the declared one's risk"),
        pytest.param([EASY, RISKY], "easy", "GET", Proof.SESSION, Risk.ROUTINE, id="not another one's"),
        pytest.param([EASY], "gone", "GET", Proof.SESSION, Risk.ROUTINE, id="a declared one that is not granted"),
    ],
)
def test_of_a_call_that_nothing_covers(
    clusters: list[Cluster], declared: str | None, method: str, proof: Proof, risk: Risk
) -> None:
    found = terms(*clusters, url=BEYOND, method=method, declared=declared)
    assert (found.proof, found.risk) == (proof, risk)


def test_embedded_agents_sign_what_they_write_also_beyond_their_mandate() -> None:
    for url in ("https://erp.example/v1/invoices", BEYOND):
        assert terms(EASY, url=url, method="POST", agent_class=AgentClass.EMBEDDED).proof is Proof.REQUEST
        assert terms(EASY, url=url, method="POST").proof is Proof.SESSION


def test_the_declared_clusters_reviewers_decide_what_nothing_covers() -> None:
    assert terms(EASY, url=BEYOND, declared="easy").review == EASY.review
    assert terms(EASY, url=BEYOND).review == Review()
