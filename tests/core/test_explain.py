"""Decisions in plain words, for people who review them."""

from dataclasses import replace

import identities
import pytest
from identities import cluster, grant, operation
from questions import URL, bundle_of, call, deny, question

from proxy.core.bodies.reading import Reading
from proxy.core.decide import Question, decide
from proxy.core.errors import Code, Rejected
from proxy.core.explain import AsRead, Explanation, as_read, consequence, describe_cluster, explain
from proxy.core.model import Constraints, QueryRule, Review, Risk

CUSTOMER = "https://erp.example/v1/customers/42"


def explained(asked: Question) -> Explanation:
    assert asked.call is not None
    return explain(decide(asked), asked.call, asked.policy, asked.mandate)


def sentence(asked: Question) -> str:
    assert asked.call is not None
    return consequence(decide(asked), asked.call, asked.mandate)


def test_an_allowed_call() -> None:
    assert explained(question()).lines == (
        "Allowed: GET https://erp.example/v1/invoices/17 (allowed): allowed.",
        "Rule: supplier-invoices.read-invoice (clusters.yaml:7)",
        "Nothing to do.",
    )


def read(asked: Question) -> AsRead:
    assert asked.call is not None
    return as_read(decide(asked), Reading(asked.call, asked.caps), asked.policy)


def test_how_a_covered_call_was_read() -> None:
    told = read(question(url=f"{URL}?"))
    assert told.lines == (
        "Read as: GET https://erp.example/v1/invoices/17?",
        "Operation: read-invoice of cluster supplier-invoices (clusters.yaml:7)",
        "Path: /v1/invoices/{id}, where id is 17",
        "Body: none",
    )
    assert (told.template, told.captured) == ("/v1/invoices/{id}", (("id", "17"),))


def test_how_text_around_parameters_and_text_encoded_twice_were_read() -> None:
    cars = operation("cars", template="/cars/{model:matrix}/x.{format}", query=[QueryRule(name="to", encoded=True)])
    told = read(question(cluster(operations=(cars,)), url="https://erp.example/cars/b%6Dw;a=b/x.pdf?to=%252f%7C"))
    assert told.lines == (
        "Read as: GET https://erp.example/cars/bmw;a=b/x.pdf?to=%252f%7C",
        "Query: to is %2f|",
        "Operation: cars of cluster supplier-invoices (clusters.yaml:7)",
        "Path: /cars/{model:matrix}/x.{format}, where model is bmw;a=b; format is pdf",
        "Body: none",
    )


def test_a_path_without_parameters_and_a_websocket() -> None:
    live = operation("live", template="/live", websocket=True)
    asked = question(cluster(operations=(live,)), call=replace(call("https://erp.example/live"), websocket=True))
    assert read(asked).lines[0] == "Read as: GET https://erp.example/live to open a WebSocket"
    assert "Path: /live" in read(asked).lines


def test_a_call_that_nothing_covers_has_no_operation() -> None:
    told = read(question(url=f"{CUSTOMER}?a=1"))
    assert told.lines == ("Read as: GET https://erp.example/v1/customers/42?a=1", "Query: a is 1")
    assert (told.operation, told.template, told.captured, told.body) == (None, None, (), ())
    gone = question(grants=[replace(grant(), cluster="gone")])
    assert read(gone).operation is None


def test_a_call_beyond_the_mandate() -> None:
    told = explained(question(url=f"{CUSTOMER}?token=secret", method="DELETE"))
    assert told.verdict == (
        "Held: DELETE https://erp.example/v1/customers/42 with a query (mandate.not_covered): "
        "the mandate does not cover this call."
    )
    assert told.rule is None
    assert told.failed == (
        "method: expected GET, got DELETE",
        "path: expected /v1/invoices/{id}, got /v1/customers/42",
    )
    assert told.near[0] == (
        "supplier-invoices, operation read-invoice (clusters.yaml:7): method: expected GET, got DELETE; "
        "path: expected /v1/invoices/{id}, got /v1/customers/42"
    )
    assert len(told.near) == 3
    assert told.next_step == (
        "May be released by sponsor or deputy (ada is the sponsor) within 4 h; it then passes once."
    )
    assert told.lines[1:4] == (f"Failed: {told.failed[0]}", f"Failed: {told.failed[1]}", f"Near: {told.near[0]}")
    assert "secret" not in " ".join(told.lines)


def test_a_denied_call() -> None:
    told = explained(question(bundle=bundle_of(cluster(), deny=[deny("no-erp", line=44)])))
    assert told.lines == (
        "Denied: GET https://erp.example/v1/invoices/17 (policy.denied): "
        "an explicit rule denies this call to everyone.",
        "Rule: no-erp (clusters.yaml:44)",
        "No release can change this.",
    )


def test_a_refusal_without_a_mandate() -> None:
    refusal = Rejected(Code.PROOF_SIGNATURE, "the signature does not verify", field="signature")
    told = explained(question(mandate=None, evidence=None, refusal=refusal))
    assert told.failed == ("signature: the signature does not verify",)


WIDER = cluster(operations=(*identities.OPERATIONS, operation("lines", template="/v1/invoices/{id}/lines")))
ALL = [item.name for item in WIDER.operations]


def test_a_cluster_that_changed_is_shown() -> None:
    told = explained(
        question(bundle=bundle_of(WIDER, approved=[cluster()]), grants=[grant(actions=ALL)], url=f"{URL}/lines")
    )
    assert told.changes == ("adds operation lines: GET /v1/invoices/{id}/lines without a query",)
    assert "Changed since approval: adds operation lines" in " ".join(told.lines)
    crm = cluster("crm", hosts=["crm.example"])
    lost = explained(
        question(bundle=bundle_of(crm, WIDER), grants=[grant(crm), grant(actions=ALL)], url=f"{URL}/lines")
    )
    assert lost.changes == ("the text the sponsor approved is lost",)


def test_without_the_cluster_there_is_nothing_to_compare() -> None:
    asked = question(bundle=bundle_of(WIDER), grants=[grant(actions=ALL)])
    assert asked.call is not None
    elsewhere = question(cluster("crm")).policy
    assert explain(decide(asked), asked.call, elsewhere, asked.mandate).changes == ()


def test_a_reviewer_without_the_mandate_at_hand_reads_the_same() -> None:
    house = bundle_of(WIDER, approved=[cluster()])
    for asked in (
        question(),
        question(url=CUSTOMER),
        question(bundle=house, grants=[grant(actions=ALL)], url=f"{URL}/lines"),
    ):
        assert asked.call is not None
        decision = decide(asked)
        assert explain(decision, asked.call, asked.policy, None) == explained(asked)
        assert consequence(decision, asked.call, None) == sentence(asked)


def test_who_the_sponsor_is_may_be_unknown() -> None:
    asked = question(url=CUSTOMER)
    assert asked.call is not None
    told = explain(replace(decide(asked), sponsor=None), asked.call, asked.policy, None)
    assert told.next_step == "May be released by sponsor or deputy within 4 h; it then passes once."


def test_how_many_must_release_it_is_said() -> None:
    asked = question(url=CUSTOMER)
    assert asked.call is not None
    decision = replace(decide(asked), review=Review(quorum=2))
    told = explain(decision, asked.call, asked.policy, None)
    assert told.next_step.startswith("May be released by 2 of sponsor or deputy (ada is the sponsor) within")


def test_a_near_miss_that_lacks_nothing_says_so() -> None:
    asked = question()
    decision = decide(question(url=CUSTOMER))
    assert asked.call is not None
    bare = replace(decision, nearest=(replace(decision.nearest[0], failed=()),))
    told = explain(bare, asked.call, asked.policy, asked.mandate)
    assert told.near == ("supplier-invoices, operation read-invoice (clusters.yaml:7): nothing failed in it",)


def test_a_verdict_that_is_none_is_a_fault() -> None:
    asked = question()
    assert asked.call is not None
    odd = replace(decide(asked), verdict="perhaps")  # type: ignore[arg-type]
    with pytest.raises(KeyError):
        explain(odd, asked.call, asked.policy, asked.mandate)


READ = grant(cluster(), actions=["read-invoice"])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        pytest.param(
            question(url=URL, method="DELETE"),
            "invoice-bot wants to DELETE /v1/invoices/17 on erp.example; its mandate allows only GET there.",
            id="another method",
        ),
        pytest.param(
            question(url=CUSTOMER),
            "invoice-bot wants to GET /v1/customers/42 on erp.example; "
            "the nearest its mandate allows there is /v1/invoices/{id}.",
            id="another path",
        ),
        pytest.param(
            question(url="https://crm.example:8443/"),
            "invoice-bot wants to GET / on crm.example:8443 (not the usual port); "
            "its mandate does not reach that place.",
            id="another place",
        ),
        pytest.param(
            question(url=f"{URL}?x=1"),
            "invoice-bot wants to GET /v1/invoices/17 on erp.example; its mandate allows that only with no query.",
            id="a query",
        ),
        pytest.param(
            question(call=replace(call(URL), websocket=True)),
            "invoice-bot wants to GET /v1/invoices/17 on erp.example; its mandate allows that only with no WebSocket.",
            id="a WebSocket",
        ),
        pytest.param(
            question(grants=[grant(actions=["list-invoices"])]),
            "invoice-bot wants to GET /v1/invoices/17 on erp.example; "
            "of that cluster its mandate allows only list-invoices.",
            id="another action",
        ),
        pytest.param(
            question(grants=[grant(constraints=Constraints(params={"id": frozenset({"1"})}))]),
            "invoice-bot wants to GET /v1/invoices/17 on erp.example; "
            "its mandate allows that only with constraints.params.id 1.",
            id="a constraint",
        ),
        pytest.param(
            question(grants=[replace(grant(), cluster="gone")]),
            "invoice-bot wants to GET /v1/invoices/17 on erp.example; the mandate does not cover this call.",
            id="nothing near",
        ),
        pytest.param(
            question(cluster(review=Review(always=True))),
            "invoice-bot wants to GET /v1/invoices/17 on erp.example; "
            "every call of cluster supplier-invoices is reviewed by a person.",
            id="always reviewed",
        ),
        pytest.param(
            question(mandate=None, evidence=None),
            "A caller without a mandate wants to GET /v1/invoices/17 on erp.example; "
            "the call carries no proof of a mandate.",
            id="no mandate",
        ),
    ],
)
def test_the_consequence_in_one_sentence(asked: Question, words: str) -> None:
    assert sentence(asked) == words


def test_a_cluster_is_described_here_too() -> None:
    assert describe_cluster(cluster(risk=Risk.ROUTINE))[0] == "It reaches https to erp.example, port 443."
