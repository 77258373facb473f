"""What changed between two clusters or manifests: told in plain words, and never left out."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import identities
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import NOW, cluster, draft, grant, key, operation, root

from proxy.core.differences import cluster_difference, manifest_difference
from proxy.core.manifest import Draft, parse_manifest
from proxy.core.model import Cluster, Constraints, Effect, Grant, Manifest, Proof, QueryRule, Review, Risk

STATE = QueryRule(name="state", values=frozenset({"open"}))


def with_query(*rules: QueryRule, any_query: bool = False) -> Cluster:
    return cluster(operations=(operation("read", query=rules, any_query=any_query),))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param(cluster(), cluster(), [], id="nothing"),
        pytest.param(cluster("a"), cluster("b"), ["changes the name from a to b"], id="the name"),
        pytest.param(
            cluster(),
            cluster(hosts=["*.erp.example"]),
            ["adds host *.erp.example", "removes host erp.example"],
            id="hosts",
        ),
        pytest.param(cluster(), cluster(ports=[443, 8443]), ["adds port 8443"], id="ports"),
        pytest.param(cluster(), cluster(schemes=["http", "https"]), ["adds scheme http"], id="schemes"),
        pytest.param(
            cluster(),
            cluster(addresses=["10.0.0.0/8"]),
            ["changes where it may resolve from public addresses alone to 10.0.0.0/8"],
            id="public to private",
        ),
        pytest.param(
            cluster(addresses=["10.0.0.0/8"]),
            cluster(),
            ["changes where it may resolve from 10.0.0.0/8 to public addresses alone"],
            id="private to public",
        ),
        pytest.param(
            cluster(addresses=["10.0.0.0/8"]),
            cluster(addresses=["10.1.0.0/16"]),
            ["adds network 10.1.0.0/16", "removes network 10.0.0.0/8"],
            id="networks",
        ),
        pytest.param(
            cluster(operations=(operation("a"),)),
            cluster(operations=(operation("b", template="/b"),)),
            ["adds operation b: GET /b without a query", "removes operation a: GET /v1/invoices/{id} without a query"],
            id="operations",
        ),
        pytest.param(
            cluster(operations=(operation("a"),)),
            cluster(operations=(operation("a", methods=["PUT"], template="/b"),)),
            [
                "adds method PUT (operation a)",
                "removes method GET (operation a)",
                "changes the path from /v1/invoices/{id} to /b (operation a)",
            ],
            id="an operation",
        ),
        pytest.param(
            with_query(),
            with_query(any_query=True),
            ["loosens the query to any at all (operation read)"],
            id="any query",
        ),
        pytest.param(
            with_query(any_query=True),
            with_query(STATE),
            ["tightens the query from any to what is listed (operation read)"],
            id="no longer any query",
        ),
        pytest.param(
            with_query(STATE),
            with_query(replace(STATE, name="page")),
            ["adds query parameter page (operation read)", "removes query parameter state (operation read)"],
            id="query parameters",
        ),
        pytest.param(
            with_query(STATE),
            with_query(replace(STATE, required=True)),
            ["tightens query parameter state to required (operation read)"],
            id="a parameter required",
        ),
        pytest.param(
            with_query(replace(STATE, required=True)),
            with_query(STATE),
            ["loosens query parameter state to optional (operation read)"],
            id="a parameter optional",
        ),
        pytest.param(
            with_query(STATE),
            with_query(replace(STATE, repeated=True)),
            ["loosens query parameter state to any number of times (operation read)"],
            id="a parameter that may be repeated",
        ),
        pytest.param(
            with_query(replace(STATE, repeated=True)),
            with_query(STATE),
            ["tightens query parameter state to once (operation read)"],
            id="a parameter that may not be repeated",
        ),
        pytest.param(
            with_query(STATE),
            with_query(replace(STATE, encoded=True)),
            ["loosens query parameter state to text encoded twice (operation read)"],
            id="a value encoded twice",
        ),
        pytest.param(
            with_query(replace(STATE, encoded=True)),
            with_query(STATE),
            ["tightens query parameter state to text encoded once (operation read)"],
            id="a value encoded once",
        ),
        pytest.param(
            cluster(operations=(operation("a"),)),
            cluster(operations=(operation("a", websocket=True),)),
            ["changes it to open WebSockets alone (operation a)"],
            id="a WebSocket",
        ),
        pytest.param(
            cluster(operations=(operation("a", websocket=True),)),
            cluster(operations=(operation("a"),)),
            ["changes it to open no WebSocket (operation a)"],
            id="no WebSocket",
        ),
        pytest.param(
            with_query(STATE),
            with_query(replace(STATE, values=None)),
            ["loosens query parameter state from open to any value (operation read)"],
            id="any value",
        ),
        pytest.param(
            with_query(replace(STATE, values=None)),
            with_query(replace(STATE, values=frozenset())),
            ["tightens query parameter state from any value to no value (operation read)"],
            id="no value",
        ),
        pytest.param(
            with_query(STATE),
            with_query(replace(STATE, values=frozenset({"open", ""}))),
            ['loosens query parameter state from open to "", open (operation read)'],
            id="a further value",
        ),
        pytest.param(
            with_query(replace(STATE, values=frozenset({"open", "paid"}))),
            with_query(STATE),
            ["tightens query parameter state from open, paid to open (operation read)"],
            id="a value fewer",
        ),
        pytest.param(
            with_query(STATE),
            with_query(replace(STATE, values=frozenset({"paid"}))),
            ["changes query parameter state from open to paid (operation read)"],
            id="another value",
        ),
        pytest.param(
            cluster(),
            cluster(proof=Proof.REQUEST),
            ["tightens the least proof from session to request"],
            id="more proof",
        ),
        pytest.param(
            cluster(proof=Proof.REQUEST),
            cluster(),
            ["loosens the least proof from request to session"],
            id="less proof",
        ),
        pytest.param(
            cluster(),
            cluster(risk=Risk.TRANSFORMATIVE),
            ["tightens the risk class from routine to transformative"],
            id="more risk",
        ),
        pytest.param(
            cluster(risk=Risk.TRANSFORMATIVE),
            cluster(),
            ["loosens the risk class from transformative to routine"],
            id="less risk",
        ),
        pytest.param(
            cluster(),
            cluster(review=Review(always=True, who=("cleo",), ttl_s=60, wait_s=1)),
            [
                "tightens review: every call is held",
                "adds reviewer cleo",
                "removes reviewer deputy",
                "removes reviewer sponsor",
                "changes how long a hold may wait for a decision from 4 h to 1 min",
                "changes how long a connection waits for one from 0 s to 1 s",
            ],
            id="review",
        ),
        pytest.param(
            cluster(),
            cluster(review=Review(quorum=2)),
            ["tightens how many people must release a call from 1 to 2"],
            id="more reviewers",
        ),
        pytest.param(
            cluster(review=Review(quorum=3)),
            cluster(review=Review(quorum=2)),
            ["loosens how many people must release a call from 3 to 2"],
            id="fewer reviewers",
        ),
        pytest.param(
            cluster(),
            cluster(review=Review(effect=Effect.DELIVER, idempotency_key=True)),
            [
                "changes how a released call is sent from retry to deliver",
                "adds an Idempotency-Key to delivered calls",
            ],
            id="delivered",
        ),
        pytest.param(
            cluster(review=Review(effect=Effect.DELIVER, idempotency_key=True)),
            cluster(review=Review(effect=Effect.DELIVER)),
            ["no longer adds an Idempotency-Key to delivered calls"],
            id="delivered without a key",
        ),
        pytest.param(
            cluster(review=Review(always=True)), cluster(), ["loosens review: calls pass without one"], id="less review"
        ),
    ],
)
def test_what_changed_in_a_cluster(old: Cluster, new: Cluster, told: list[str]) -> None:
    assert list(cluster_difference(old, new)) == told


VARIANTS = st.builds(
    cluster,
    st.sampled_from(["a", "b"]),
    hosts=st.lists(st.sampled_from(["a.example", "*.a.example"]), unique=True),
    ports=st.sets(st.sampled_from([80, 443])),
    schemes=st.sets(st.sampled_from(["http", "https"])),
    addresses=st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16"]), unique=True),
    operations=st.lists(
        st.builds(
            operation,
            st.sampled_from(["x", "y"]),
            methods=st.sets(st.sampled_from(["GET", "PUT"])),
            template=st.sampled_from(["/", "/{a}"]),
            any_query=st.booleans(),
            query=st.sampled_from([(), (STATE,), (replace(STATE, required=True),), (replace(STATE, values=None),)]),
        ),
        max_size=2,
        unique_by=lambda item: item.name,
    ),
    proof=st.sampled_from([Proof.SESSION, Proof.REQUEST]),
    risk=st.sampled_from(Risk),
    review=st.builds(
        Review,
        always=st.booleans(),
        who=st.sampled_from([(), ("cleo",)]),
        ttl_s=st.integers(1, 2),
        effect=st.sampled_from(Effect),
        idempotency_key=st.booleans(),
    ),
)


@given(VARIANTS, VARIANTS)
@settings(max_examples=150)
def test_no_change_of_what_is_signed_goes_untold(old: Cluster, new: Cluster) -> None:
    assert (cluster_difference(old, new) == ()) is (old.digest == new.digest)


# --- manifests -------------------------------------------------------------------------------------------------------


def manifest(**changed: object) -> Manifest:
    of: Draft = replace(draft(), **changed)  # type: ignore[arg-type]
    return parse_manifest(root(of))


def granting(*grants: Grant) -> Manifest:
    return manifest(grants=grants)


def constrained(constraints: Constraints) -> Manifest:
    return granting(grant(constraints=constraints))


OTHER = cluster("crm")
GET, BOTH = Constraints(methods=frozenset({"GET"})), Constraints(methods=frozenset({"GET", "PUT"}))
EXP = draft().exp


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param(manifest(), manifest(jti="m-2", iat=NOW, nbf=NOW), [], id="only its id and times of issue"),
        pytest.param(
            manifest(),
            manifest(purpose="Pay them."),
            ['changes the purpose from "Match supplier invoices with purchase orders." to "Pay them."'],
            id="the purpose",
        ),
        pytest.param(manifest(), manifest(sub="x"), ["changes the agent from invoice-bot to x"], id="the agent"),
        pytest.param(
            manifest(), manifest(aud="prod"), ["changes the deployment from edge-test to prod"], id="the audience"
        ),
        pytest.param(
            manifest(),
            manifest(cnf=key("other").public),
            [
                "changes the key that may act under it from "
                f"{key(identities.AGENT).public.kid} to {key('other').public.kid}"
            ],
            id="the key",
        ),
        pytest.param(
            manifest(),
            parse_manifest(root(draft(sponsor="ben"))),
            ["changes the sponsor from ada to ben"],
            id="the sponsor",
        ),
        pytest.param(
            manifest(),
            manifest(certificate="A" * 43),
            [f"changes what it is bound to: the client certificate {'A' * 43}"],
            id="bound to a certificate",
        ),
        pytest.param(
            manifest(certificate="A" * 43),
            manifest(certificate="B" * 43),
            [f"changes what it is bound to: the client certificate {'B' * 43}"],
            id="bound to another certificate",
        ),
        pytest.param(
            manifest(certificate="A" * 43),
            manifest(),
            ["loosens what it is bound to: no client certificate any more"],
            id="bound to no certificate any more",
        ),
        pytest.param(
            manifest(),
            manifest(exp=EXP + timedelta(days=1)),
            ["loosens the expiry from 2026-03-31 09:30 to 2026-04-01 09:30 UTC"],
            id="a later end",
        ),
        pytest.param(
            manifest(),
            manifest(exp=EXP - timedelta(days=1)),
            ["tightens the expiry from 2026-03-31 09:30 to 2026-03-30 09:30 UTC"],
            id="an earlier end",
        ),
        pytest.param(
            manifest(),
            manifest(del_max_depth=1),
            ["tightens how often it may be delegated on from 3 to 1"],
            id="less delegation",
        ),
        pytest.param(
            manifest(del_max_depth=1),
            manifest(),
            ["loosens how often it may be delegated on from 1 to 3"],
            id="more delegation",
        ),
        pytest.param(
            manifest(), manifest(may_delegate_to=frozenset()), ["removes delegate lookup-bot"], id="delegates"
        ),
        pytest.param(
            manifest(),
            granting(grant(OTHER)),
            ["adds cluster crm", "removes cluster supplier-invoices"],
            id="clusters",
        ),
        pytest.param(
            granting(grant(actions=["read-invoice"])),
            granting(grant(actions=["list-invoices"], locations=["https://x.example"])),
            [
                "cluster supplier-invoices: adds action list-invoices",
                "cluster supplier-invoices: removes action read-invoice",
                "cluster supplier-invoices: adds location https://x.example",
                "cluster supplier-invoices: removes location https://erp.example",
            ],
            id="actions and locations",
        ),
        pytest.param(
            constrained(GET),
            constrained(Constraints()),
            ["cluster supplier-invoices: loosens the constraint on methods from GET to any value"],
            id="a constraint dropped",
        ),
        pytest.param(
            constrained(BOTH),
            constrained(GET),
            ["cluster supplier-invoices: tightens the constraint on methods from GET, PUT to GET"],
            id="a constraint tightened",
        ),
        pytest.param(
            constrained(Constraints(params={"id": frozenset({"1"})}, query={"q": frozenset({"1"})})),
            constrained(
                Constraints(
                    params={"id": frozenset({"2"})}, query={"p": frozenset({"1"})}, body={"/to": frozenset({"88"})}
                )
            ),
            [
                "cluster supplier-invoices: changes the constraint on path parameter id from 1 to 2",
                "cluster supplier-invoices: tightens the constraint on query parameter p from any value to 1",
                "cluster supplier-invoices: loosens the constraint on query parameter q from 1 to any value",
                "cluster supplier-invoices: tightens the constraint on what the body holds at /to from any value to 88",
            ],
            id="constraints on values",
        ),
    ],
)
def test_what_changed_in_a_manifest(old: Manifest, new: Manifest, told: list[str]) -> None:
    pins = {item.digest: item for item in (cluster(), OTHER)}
    assert list(manifest_difference(old, new, pins, pins)) == told


WIDER = cluster(ports=[443, 8443])


@pytest.mark.parametrize(
    ("old_pins", "new_pins", "told"),
    [
        pytest.param({cluster().digest: cluster()}, {WIDER.digest: WIDER}, "adds port 8443", id="both texts are there"),
        pytest.param(
            {},
            {WIDER.digest: WIDER},
            "changes its text, but the text approved before is lost: read the whole cluster",
            id="the old text is lost",
        ),
        pytest.param(
            {cluster().digest: cluster()},
            {},
            "changes its text, but the text to be approved is lost: read the whole cluster",
            id="the new text is lost",
        ),
    ],
)
def test_a_cluster_that_changed_is_shown_through_its_pins(
    old_pins: Mapping[str, Cluster], new_pins: Mapping[str, Cluster], told: str
) -> None:
    new = granting(replace(grant(), digest=WIDER.digest))
    assert manifest_difference(granting(grant()), new, old_pins, new_pins) == (f"cluster supplier-invoices: {told}",)
