"""A cluster in plain words: everything that is signed is said."""

from dataclasses import replace

import pytest
from identities import cluster, operation

from proxy.core.describe import describe_cluster, operation_words
from proxy.core.model import Cluster, Effect, Operation, Proof, QueryRule, Review, Risk

STATE = QueryRule(name="state", values=frozenset({"paid", "open", ""}), required=True)


def test_a_cluster_in_plain_words() -> None:
    assert describe_cluster(cluster()) == (
        "It reaches https to erp.example, port 443.",
        "The hosts must lie inside the public internet.",
        "It permits list-invoices: GET /v1/invoices with query page (any value).",
        "It permits post-invoice: POST /v1/invoices without a query.",
        "It permits read-invoice: GET /v1/invoices/{id} without a query.",
        "Its risk is routine.",
        "A call must come with at least session proof.",
        "A call outside the mandate is held for sponsor or deputy, at most 4 h; the connection waits 0 s.",
    )


@pytest.mark.parametrize(
    ("of", "sentence"),
    [
        pytest.param(
            cluster(hosts=["b.example", "*.a.example", "c.example"], ports=[443, 80], schemes=["https", "http"]),
            "It reaches http or https to b.example, c.example or everything below a.example, port 443 or 80.",
            id="several of everything",
        ),
        pytest.param(cluster(hosts=[]), "It reaches nothing.", id="no host"),
        pytest.param(cluster(ports=[]), "It reaches nothing.", id="no port"),
        pytest.param(cluster(schemes=[]), "It reaches nothing.", id="no scheme"),
        pytest.param(
            cluster(addresses=["10.0.0.0/8", "fd00::/8"]),
            "The hosts must lie inside 10.0.0.0/8 or fd00::/8.",
            id="private networks",
        ),
        pytest.param(cluster(operations=()), "It permits no operation.", id="no operation"),
        pytest.param(
            cluster(risk=Risk.TRANSFORMATIVE, proof=Proof.REQUEST),
            "Its risk is transformative: it changes things, so every request and every release is signed.",
            id="transformative",
        ),
        pytest.param(
            cluster(review=Review(always=True, who=("cleo",), ttl_s=60, wait_s=5)),
            "Every call is held for cleo, at most 1 min; the connection waits 5 s.",
            id="always reviewed",
        ),
        pytest.param(
            cluster(review=Review(quorum=2)),
            "A call outside the mandate is held for sponsor or deputy, 2 of whom must release it, at most 4 h; "
            "the connection waits 0 s.",
            id="several reviewers",
        ),
        pytest.param(
            cluster(review=Review(always=True, who=("cleo",), effect=Effect.DELIVER)),
            "Every call is held for cleo, at most 4 h; the connection waits 0 s; "
            "once released, the proxy sends it by itself.",
            id="delivered",
        ),
        pytest.param(
            cluster(review=Review(always=True, who=("cleo",), effect=Effect.DELIVER, idempotency_key=True)),
            "Every call is held for cleo, at most 4 h; the connection waits 0 s; "
            "once released, the proxy sends it by itself with the hold's id as Idempotency-Key.",
            id="delivered with a key",
        ),
        pytest.param(
            cluster(review=Review(who=())),
            "A call outside the mandate is held but nobody may release it, at most 4 h; the connection waits 0 s.",
            id="no reviewer",
        ),
    ],
)
def test_every_part_is_said(of: Cluster, sentence: str) -> None:
    assert sentence in describe_cluster(of)


@pytest.mark.parametrize(
    ("of", "words"),
    [
        pytest.param(operation("a", any_query=True), "a: GET /v1/invoices/{id} with any query", id="any query"),
        pytest.param(
            operation("a", methods=["PUT", "GET"], query=[STATE, QueryRule(name="page")]),
            'a: GET or PUT /v1/invoices/{id} with query page (any value); state ("", open or paid, required)',
            id="query rules by name",
        ),
        pytest.param(
            operation("a", methods=[], query=[replace(STATE, values=frozenset(), required=False)]),
            "a: no method /v1/invoices/{id} with query state (no value)",
            id="empty lists",
        ),
        pytest.param(
            operation("a", query=[QueryRule(name="to", encoded=True)]),
            "a: GET /v1/invoices/{id} with query to (any value, also encoded twice)",
            id="a value encoded twice",
        ),
        pytest.param(
            operation("a", query=[QueryRule(name="id", required=True, repeated=True, encoded=True)]),
            "a: GET /v1/invoices/{id} with query id (any value, required, also repeated, also encoded twice)",
            id="all that may be said of a parameter",
        ),
        pytest.param(
            operation("a", websocket=True),
            "a: GET /v1/invoices/{id} without a query, only to open a WebSocket",
            id="a WebSocket",
        ),
        pytest.param(
            operation("a", query=[QueryRule(name="\u202e")]),
            "a: GET /v1/invoices/{id} with query \\u202e (any value)",
            id="characters that would turn a line around",
        ),
    ],
)
def test_an_operation_in_plain_words(of: Operation, words: str) -> None:
    assert operation_words(of) == words
