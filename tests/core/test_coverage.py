"""What a mandate makes of a call: grants, pins, chains, networks and near misses."""

import re
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import cluster, grant, operation
from questions import URL, bundle_of, call, mandate_of

from proxy.core.bodies.reading import Reading
from proxy.core.bodies.rules import Unexamined
from proxy.core.clusters import compile_policy
from proxy.core.coverage import MAX_NEAREST, Asked, Coverage, Reach, both_networks, cover, cover_one, nearest
from proxy.core.dialling import dialable
from proxy.core.matching import destination_of
from proxy.core.model import (
    Bundle,
    Call,
    Cluster,
    Constraints,
    Grant,
    HostPattern,
    Nearest,
    Operation,
    QueryRule,
    Unread,
)

READ = operation("read", template="/v1/{tenant}/invoices/{id}")
WRITE = operation("write", methods=("PUT",), template="/v1/{tenant}/invoices/{id}")
LIST = operation("list", template="/v1/invoices", any_query=True)
FETCH = operation("fetch", template="/raw/{path:rest}")
PROJECT = operation("project", template="/api/{project:encoded}")
ERP = cluster("erp", hosts=["erp.example", "*.erp.example"], operations=(READ, WRITE, LIST, FETCH, PROJECT))
ONE = "https://erp.example/v1/acme/invoices/42"


def reach(
    given: Grant, url: str = ONE, method: str = "GET", now: Cluster = ERP, approved: Sequence[Cluster] = ()
) -> tuple[Reach, str | None]:
    policy = compile_policy(bundle_of(now, approved=approved))
    asked = call(url, method)
    found = cover_one(policy, given, Asked(Reading(asked), destination_of(asked)))
    return (Reach.NONE, None) if found is None else (found.reach, found.operation.name)


# --- one grant -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "url", "name"),
    [
        pytest.param(grant(ERP), ONE, "read", id="everything is granted"),
        pytest.param(grant(ERP, actions=["read"]), ONE, "read", id="this action is granted"),
        pytest.param(grant(ERP, actions=["list"]), ONE, None, id="another action is granted"),
        pytest.param(grant(ERP, actions=[]), ONE, None, id="no action is granted"),
        pytest.param(grant(ERP, locations=["https://erp.example"]), ONE, "read", id="this location is granted"),
        pytest.param(
            grant(ERP, locations=["https://*.erp.example"]),
            ONE.replace("erp.", "a.erp.", 1),
            "read",
            id="a location below is granted",
        ),
        pytest.param(grant(ERP, locations=["https://*.erp.example"]), ONE, None, id="a wildcard is not its apex"),
        pytest.param(grant(ERP, locations=["http://erp.example"]), ONE, None, id="another scheme is granted"),
        pytest.param(grant(ERP, locations=["https://erp.example:8443"]), ONE, None, id="another port is granted"),
        pytest.param(grant(ERP, locations=[]), ONE, None, id="no location is granted"),
        pytest.param(grant(ERP), "https://www.example/v1/invoices", None, id="the cluster does not cover it"),
    ],
)
def test_actions_and_locations(given: Grant, url: str, name: str | None) -> None:
    assert reach(given, url) == (Reach.NONE if name is None else Reach.COVERED, name)


@pytest.mark.parametrize(
    ("constraints", "url", "covers"),
    [
        pytest.param(Constraints(methods=frozenset({"GET"})), ONE, True, id="a permitted method"),
        pytest.param(Constraints(methods=frozenset({"PUT"})), ONE, False, id="another method"),
        pytest.param(Constraints(methods=frozenset()), ONE, False, id="an empty list of methods"),
        pytest.param(Constraints(params={"id": frozenset({"42"})}), ONE, True, id="a permitted parameter"),
        pytest.param(Constraints(params={"id": frozenset({"43"})}), ONE, False, id="another parameter value"),
        pytest.param(Constraints(params={"id": frozenset()}), ONE, False, id="an empty list of parameter values"),
        pytest.param(
            Constraints(params={"id": frozenset({"42"}), "tenant": frozenset({"x"})}), ONE, False, id="one of two fails"
        ),
        pytest.param(
            Constraints(params={"id": frozenset({"42"})}),
            "https://erp.example/v1/invoices",
            False,
            id="an operation without that parameter cannot be checked",
        ),
        pytest.param(
            Constraints(params={"project": frozenset({"group/app"})}),
            "https://erp.example/api/group%2Fapp",
            True,
            id="values are compared decoded",
        ),
        pytest.param(
            Constraints(params={"path": frozenset({"a/b c"})}),
            "https://erp.example/raw/a/b%20c",
            True,
            id="a rest is compared whole and decoded",
        ),
        pytest.param(
            Constraints(params={"id": frozenset({"\ufffd"})}),
            "https://erp.example/v1/acme/invoices/%C3%A9",
            False,
            id="other text is another value",
        ),
        pytest.param(
            Constraints(query={"state": frozenset({"open"})}),
            "https://erp.example/v1/invoices?state=open&page=1",
            True,
            id="a permitted query value",
        ),
        pytest.param(
            Constraints(query={"state": frozenset({"open"})}),
            "https://erp.example/v1/invoices?state=paid",
            False,
            id="another query value",
        ),
        pytest.param(
            Constraints(query={"state": frozenset({"open"})}),
            "https://erp.example/v1/invoices?state=open&state=paid",
            False,
            id="a repeat with another value",
        ),
        pytest.param(
            Constraints(query={"state": frozenset({"open"})}),
            "https://erp.example/v1/invoices",
            False,
            id="a constrained query parameter must be there",
        ),
        pytest.param(
            Constraints(query={"state": frozenset({"open"})}),
            "https://erp.example/v1/invoices?state=open&state[]=paid",
            None,
            id="D02 and not as an array beside it",
        ),
        pytest.param(
            Constraints(query={"state": frozenset({"open"})}),
            "https://erp.example/v1/invoices?STATE=paid&state=open",
            None,
            id="D02 nor in other letters",
        ),
        pytest.param(
            Constraints(query={"state": frozenset({"open"})}),
            "https://erp.example/v1/invoices?state=open&filter[state]=paid",
            "list",
            id="D02 another parameter may have it inside",
        ),
    ],
)
def test_constraints(constraints: Constraints, url: str, covers: bool) -> None:
    assert reach(grant(ERP, constraints=constraints), url)[0] is (Reach.COVERED if covers else Reach.NONE)


def test_bytes_that_are_no_utf8_equal_no_value() -> None:
    asked = replace(call(ONE), segments=("v1", "acme", "invoices", "%FF"))
    policy = compile_policy(bundle_of(ERP))
    there = destination_of(asked)
    free, bound = grant(ERP), grant(ERP, constraints=Constraints(params={"id": frozenset({"\ufffd", "%FF"})}))
    assert cover_one(policy, free, Asked(Reading(asked), there)) is not None
    assert cover_one(policy, bound, Asked(Reading(asked), there)) is None


def test_of_several_operations_the_first_by_name_is_named() -> None:
    twice = cluster("erp", operations=(operation("b"), operation("a", template="/v1/{x:rest}")))
    assert reach(grant(twice), URL, now=twice) == (Reach.COVERED, "a")
    assert reach(grant(twice, actions=["b"]), URL, now=twice) == (Reach.COVERED, "b")


# --- pinned and current ----------------------------------------------------------------------------------------------

NARROW = cluster("erp", hosts=["erp.example", "*.erp.example"], operations=(READ, WRITE))
LISTS = "https://erp.example/v1/invoices"


@pytest.mark.parametrize(
    ("approved", "now", "kept", "url", "expected"),
    [
        pytest.param(ERP, ERP, False, LISTS, Reach.COVERED, id="unchanged needs no pinned text"),
        pytest.param(NARROW, ERP, True, ONE, Reach.COVERED, id="both cover"),
        pytest.param(NARROW, ERP, True, LISTS, Reach.CHANGED, id="only the current one covers"),
        pytest.param(ERP, NARROW, True, LISTS, Reach.NONE, id="only the approved one covers"),
        pytest.param(NARROW, ERP, False, ONE, Reach.CHANGED, id="the approved text is lost"),
        pytest.param(ERP, NARROW, False, LISTS, Reach.NONE, id="the approved text is lost and nothing covers"),
    ],
)
def test_authority_is_what_was_approved_and_still_is(
    approved: Cluster, now: Cluster, kept: bool, url: str, expected: Reach
) -> None:
    given = grant(approved, actions=[item.name for item in ERP.operations])
    assert reach(given, url, now=now, approved=[approved] if kept else [])[0] is expected


def test_another_clusters_text_is_no_approval() -> None:
    other = replace(NARROW, id="crm")
    given = replace(grant(NARROW), digest="D" * 43)
    policy = compile_policy(bundle_of(ERP))
    asked = call(ONE)
    pins = {"D" * 43: compile_policy(bundle_of(other)).clusters["crm"]}
    found = cover_one(replace(policy, pins=pins), given, Asked(Reading(asked), destination_of(asked)))
    assert found is not None
    assert found.reach is Reach.CHANGED


def test_a_cluster_that_is_gone_covers_nothing() -> None:
    assert reach(grant(ERP), now=cluster("crm"), approved=[ERP]) == (Reach.NONE, None)


def test_the_terms_of_both_texts_apply() -> None:
    policy = compile_policy(bundle_of(ERP, approved=[NARROW]))
    asked = call(ONE)
    found = cover_one(policy, grant(NARROW), Asked(Reading(asked), destination_of(asked)))
    assert found is not None
    assert found.terms == (ERP, NARROW)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param([], [], (Reach.COVERED, []), id="public before and after"),
        pytest.param(["10.0.0.0/8"], ["10.1.0.0/16"], (Reach.COVERED, ["10.1.0.0/16"]), id="the narrower of two"),
        pytest.param(["10.1.0.0/16"], ["10.0.0.0/8"], (Reach.COVERED, ["10.1.0.0/16"]), id="the wider came later"),
        pytest.param(["10.1.0.0/16"], ["10.2.0.0/16"], (Reach.CHANGED, ["10.2.0.0/16"]), id="nothing in common"),
        pytest.param([], ["10.1.0.0/16"], (Reach.CHANGED, ["10.1.0.0/16"]), id="public before"),
        pytest.param(["10.1.0.0/16"], [], (Reach.CHANGED, []), id="public now"),
    ],
)
def test_networks_are_part_of_what_was_approved(
    before: list[str], after: list[str], expected: tuple[Reach, list[str]]
) -> None:
    old, new = cluster("erp", addresses=before, proof=ERP.proof), cluster("erp", addresses=after, ports=[443, 444])
    policy = compile_policy(bundle_of(new, approved=[old]))
    asked = call(URL)
    found = cover_one(policy, grant(old), Asked(Reading(asked), destination_of(asked)))
    assert found is not None
    assert (found.reach, [str(network) for network in found.addresses]) == expected


def test_networks_in_common() -> None:
    four, six = (ip_network("10.0.0.0/8"), ip_network("192.168.0.0/16")), (ip_network("fd00::/8"),)
    inner = (ip_network("10.1.0.0/16"), ip_network("192.168.0.0/15", strict=False))
    assert both_networks((), ()) == ()
    assert both_networks(four, ()) is None
    assert both_networks(four, six) is None
    assert both_networks(four, inner) == (ip_network("10.1.0.0/16"), ip_network("192.168.0.0/16"))


# --- a chain ---------------------------------------------------------------------------------------------------------

A = cluster("a", operations=(operation("read"),))
B = cluster("b", operations=(operation("read"),))
HOUSE = bundle_of(A, B)


def covered(bundle: Bundle, *links: tuple[Grant, ...], declared: str | None = None, url: str = URL) -> Coverage:
    asked = call(url)
    return cover(
        compile_policy(bundle), mandate_of(bundle, *links), Reading(asked), destination_of(asked), declared=declared
    )


def chosen(coverage: Coverage) -> str | None:
    return None if coverage.chosen is None else coverage.chosen.grant.cluster


def test_without_a_declaration_the_first_covering_cluster_is_named() -> None:
    for grants in ((grant(A), grant(B)), (grant(B), grant(A))):
        coverage = covered(HOUSE, grants)
        assert (coverage.reach, chosen(coverage)) == (Reach.COVERED, "a")
        assert {each.grant.cluster for each in coverage.found} == {"a", "b"}


def test_a_cluster_that_covers_is_chosen_before_one_that_changed() -> None:
    changed = replace(grant(A), digest="D" * 43)
    coverage = covered(HOUSE, (changed, grant(B)))
    assert (coverage.reach, chosen(coverage)) == (Reach.COVERED, "b")


def test_with_a_declaration_only_that_cluster_counts_but_all_are_found() -> None:
    coverage = covered(HOUSE, (grant(A), grant(B)), declared="b")
    assert (coverage.reach, chosen(coverage)) == (Reach.COVERED, "b")
    assert len(coverage.found) == 2
    missed = covered(HOUSE, (grant(A), grant(B, actions=[])), declared="b")
    assert (missed.reach, chosen(missed), len(missed.found)) == (Reach.NONE, None, 1)


ANY = cluster("any", operations=[operation("any", template="/v1/{name}")])
VERB = cluster("verb", operations=[operation("purge", template="/v1/{name}:purge")])
SPELT = cluster("spelt", operations=[operation("purge", template="/v1/{name}%3Apurge")])


@pytest.mark.parametrize(
    ("path", "found"),
    [
        pytest.param("/v1/x:purge", {"any": Reach.COVERED, "verb": Reach.COVERED, "spelt": Reach.UNREAD}, id="raw"),
        pytest.param(
            "/v1/x%3Apurge", {"any": Reach.COVERED, "verb": Reach.UNREAD, "spelt": Reach.COVERED}, id="encoded"
        ),
        pytest.param("/v1/x:read", {"any": Reach.COVERED}, id="another verb"),
        pytest.param("/v1/x", {"any": Reach.COVERED}, id="nothing reserved"),
    ],
)
def test_a_grant_that_covers_another_spelling_of_the_path_only_restricts(path: str, found: dict[str, Reach]) -> None:
    house = bundle_of(ANY, VERB, SPELT)
    coverage = covered(house, (grant(ANY), grant(VERB), grant(SPELT)), url=f"https://erp.example{path}")
    assert (coverage.reach, chosen(coverage)) == (Reach.COVERED, "any")
    best = {each.grant.cluster: each.reach for each in sorted(coverage.found, key=lambda each: each.reach)}
    assert best == found


def test_another_spelling_of_the_path_permits_nothing() -> None:
    coverage = covered(bundle_of(VERB), (grant(VERB),), url="https://erp.example/v1/x%3Apurge")
    assert (coverage.reach, chosen(coverage)) == (Reach.NONE, None)


def test_no_grant_covers_nothing() -> None:
    assert covered(HOUSE, ()).reach is Reach.NONE


def test_every_link_must_reach_the_call() -> None:
    assert covered(HOUSE, (grant(A), grant(B)), (grant(A),)).reach is Reach.COVERED
    assert covered(HOUSE, (grant(A),), ()).reach is Reach.NONE


def test_a_grant_that_a_child_leaves_out_still_has_its_say() -> None:
    coverage = covered(HOUSE, (grant(A), grant(B)), (grant(B),))
    assert (coverage.reach, chosen(coverage)) == (Reach.COVERED, "b")
    assert [each.grant.cluster for each in coverage.found] == ["a", "b", "b"]


def test_the_weakest_link_decides_whatever_verification_let_through() -> None:
    mandate = mandate_of(HOUSE, (grant(A),), (grant(A),))
    above = replace(mandate.chain[0], grants=(replace(grant(A), digest="D" * 43),))
    asked = call(URL)
    policy = compile_policy(HOUSE)
    for chain, expected in (
        ((above, mandate.leaf), Reach.CHANGED),
        ((mandate.root, replace(mandate.leaf, grants=above.grants)), Reach.CHANGED),
        ((replace(above, grants=()), mandate.leaf), Reach.NONE),
        ((), Reach.NONE),
    ):
        coverage = cover(policy, replace(mandate, chain=chain), Reading(asked), destination_of(asked), declared=None)
        assert coverage.reach is expected
        assert (coverage.chosen is None) is (expected is Reach.NONE)


LOOSE = cluster("loose", operations=(replace(operation("read"), body=Unexamined()),))
CLOSE = cluster("close", operations=(operation("read"),))


@pytest.mark.parametrize(
    ("links", "declared", "streams"),
    [
        pytest.param([(LOOSE,)], None, True, id="it is left so"),
        pytest.param([(LOOSE,), (LOOSE,)], None, True, id="by every link"),
        pytest.param([(LOOSE, CLOSE), (LOOSE,)], None, True, id="by one of a parent's grants"),
        pytest.param([(CLOSE,)], None, False, id="it is not"),
        pytest.param([(LOOSE, CLOSE), (CLOSE,)], None, False, id="not by the last link"),
        pytest.param([(LOOSE, CLOSE)], "close", False, id="not by what was declared"),
        pytest.param([()], None, False, id="nothing is granted"),
    ],
)
def test_a_body_streams_only_where_every_link_leaves_it_unexamined(
    links: list[tuple[Cluster, ...]], declared: str | None, streams: bool
) -> None:
    house = bundle_of(LOOSE, CLOSE)
    mandate = mandate_of(house, *(tuple(map(grant, granted)) for granted in links))
    asked = replace(call(URL), body=Unread(size=None, sha256=None))
    coverage = cover(compile_policy(house), mandate, Reading(asked), destination_of(asked), declared=declared)
    assert (coverage.reach is Reach.COVERED, coverage.unexamined) == (streams, streams)


def test_a_body_streams_only_where_the_sponsor_left_it_unexamined_too() -> None:
    old = replace(LOOSE, operations=CLOSE.operations, digest="D" * 43)
    mandate = mandate_of(bundle_of(LOOSE), (grant(LOOSE),))
    signed = replace(mandate.leaf, grants=(replace(grant(LOOSE), digest=old.digest),))
    asked = replace(call(URL), body=Unread(size=None, sha256=None))
    policy = compile_policy(bundle_of(LOOSE, approved=[old]))
    coverage = cover(policy, replace(mandate, chain=(signed,)), Reading(asked), destination_of(asked), declared=None)
    assert coverage.reach is not Reach.COVERED


# --- where the destination may lie -----------------------------------------------------------------------------------

TEN = cluster("ten", addresses=["10.0.0.0/8"])
TEN_ONE = cluster("ten-one", addresses=["10.1.0.0/16", "fd00::/8"])
OTHER = cluster("other", addresses=["192.168.0.0/16"])
PUBLIC = cluster("public")
ELSEWHERE = cluster("elsewhere", hosts=["crm.example"], addresses=["192.168.0.0/16"])
WORLD = bundle_of(TEN, TEN_ONE, OTHER, PUBLIC, ELSEWHERE)


@pytest.mark.parametrize(
    ("grants", "declared", "url", "networks"),
    [
        pytest.param([PUBLIC], None, URL, [], id="no rule: public addresses"),
        pytest.param([TEN], None, URL, ["10.0.0.0/8"], id="one rule"),
        pytest.param([TEN, TEN_ONE], None, URL, ["10.1.0.0/16"], id="two rules: what they share"),
        pytest.param([TEN, OTHER], None, URL, None, id="two rules that share nothing: nowhere"),
        pytest.param([TEN, PUBLIC], None, URL, ["10.0.0.0/8"], id="a cluster without a rule adds none"),
        pytest.param([TEN, PUBLIC], "public", URL, ["10.0.0.0/8"], id="declaring it changes nothing"),
        pytest.param([TEN, ELSEWHERE], None, URL, ["10.0.0.0/8"], id="a rule for another host does not count"),
        pytest.param([TEN], None, f"{URL}/lines", ["10.0.0.0/8"], id="an operation beyond the mandate, same host"),
        pytest.param([TEN], None, "https://crm.example/", [], id="another host"),
        pytest.param([TEN, OTHER], None, f"{URL}/lines", None, id="an operation beyond, on a host that is nowhere"),
    ],
)
def test_where_a_destination_may_lie(
    grants: list[Cluster], declared: str | None, url: str, networks: list[str] | None
) -> None:
    policy, mandate, asked = compile_policy(WORLD), mandate_of(WORLD, [grant(item) for item in grants]), call(url)
    there = destination_of(asked)
    found = dialable(policy, mandate, cover(policy, mandate, Reading(asked), there, declared=declared), there)
    assert (None if found is None else [str(network) for network in found]) == networks


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(grant(TEN, locations=["https://erp.example:8443"]), id="from a location that is not granted"),
        pytest.param(replace(grant(TEN), cluster="gone"), id="of a cluster that is gone"),
    ],
)
def test_a_rule_that_does_not_count(given: Grant) -> None:
    policy, mandate, asked = compile_policy(WORLD), mandate_of(WORLD, [given]), call(f"{URL}/lines")
    there = destination_of(asked)
    assert dialable(policy, mandate, cover(policy, mandate, Reading(asked), there, declared=None), there) == ()


def test_a_changed_clusters_rule_counts_only_when_nothing_better_covers() -> None:
    changed = replace(grant(TEN), digest="D" * 43)
    policy, asked = compile_policy(WORLD), call(URL)
    there = destination_of(asked)
    for grants, networks in (([changed, grant(PUBLIC)], ()), ([changed], TEN.addresses)):
        mandate = mandate_of(WORLD, grants)
        assert (
            dialable(policy, mandate, cover(policy, mandate, Reading(asked), there, declared=None), there) == networks
        )


# --- near misses -----------------------------------------------------------------------------------------------------


def near(url: str, *grants: Grant, method: str = "GET", declared: str | None = None) -> tuple[Nearest, ...]:
    bundle, asked = bundle_of(ERP, A, B), call(url, method)
    return nearest(
        compile_policy(bundle), mandate_of(bundle, grants), Reading(asked), destination_of(asked), declared=declared
    )


@pytest.mark.parametrize(
    ("url", "method", "given", "operation", "failed"),
    [
        pytest.param(ONE, "DELETE", grant(ERP), "read", [("method", "GET", "DELETE")], id="another method"),
        pytest.param(
            "https://erp.example/v1/acme/customers/42",
            "GET",
            grant(ERP),
            "read",
            [("path", "/v1/{tenant}/invoices/{id}", "/v1/acme/customers/42")],
            id="another path",
        ),
        pytest.param(f"{ONE}?x=1", "GET", grant(ERP), "read", [("query", "no query", "x=")], id="a query"),
        pytest.param(
            "https://crm.example/v1/acme/invoices/42",
            "GET",
            grant(ERP),
            "read",
            [
                ("host", "*.erp.example, erp.example", "crm.example"),
                ("location", "https://*.erp.example, https://erp.example", "https://crm.example"),
            ],
            id="another host",
        ),
        pytest.param(
            ONE,
            "PUT",
            grant(ERP, constraints=Constraints(methods=frozenset({"GET"}))),
            "write",
            [("constraints.methods", "GET", "PUT")],
            id="a constraint on methods",
        ),
        pytest.param(
            ONE,
            "GET",
            grant(ERP, actions=["read"], constraints=Constraints(params={"id": frozenset({"7"})})),
            "read",
            [("constraints.params.id", "7", "42")],
            id="a constraint on a parameter",
        ),
        pytest.param(
            "https://erp.example/v1/invoices",
            "GET",
            grant(
                ERP,
                actions=["list"],
                constraints=Constraints(params={"id": frozenset({"7"})}, query={"state": frozenset({"open"})}),
            ),
            "list",
            [("constraints.params.id", "7", "absent"), ("constraints.query.state", "open", "absent")],
            id="constraints on what is not there",
        ),
        pytest.param(
            "https://erp.example/v1/invoices?state=paid",
            "GET",
            grant(ERP, actions=["list"], constraints=Constraints(query={"state": frozenset()})),
            "list",
            [("constraints.query.state", "none", "paid")],
            id="a constraint that permits nothing",
        ),
        pytest.param(
            ONE,
            "GET",
            grant(ERP, actions=["list"]),
            "read",
            [("action", "list", "GET /v1/acme/invoices/42")],
            id="an action",
        ),
        pytest.param(
            ONE,
            "GET",
            grant(ERP, actions=[], locations=[]),
            "read",
            [
                ("location", "no location is granted", "https://erp.example"),
                ("action", "no action is granted", "GET /v1/acme/invoices/42"),
            ],
            id="nothing granted",
        ),
    ],
)
def test_the_nearest_operation(
    url: str, method: str, given: Grant, operation: str, failed: list[tuple[str, str, str]]
) -> None:
    first = near(url, given, method=method)[0]
    assert (first.cluster, first.operation) == ("erp", operation)
    assert [(item.field, item.expected, item.got) for item in first.failed] == failed


@pytest.mark.parametrize(
    ("asks", "failed"),
    [
        pytest.param(True, [("websocket", "no WebSocket", "a WebSocket")], id="a WebSocket where none is permitted"),
        pytest.param(False, [("websocket", "a WebSocket", "no WebSocket")], id="no WebSocket where one is meant"),
    ],
)
def test_a_websocket_needs_an_operation_for_it(asks: bool, failed: list[tuple[str, str, str]]) -> None:
    live = operation("live", template="/live", websocket=not asks)
    house = bundle_of(cluster("live", operations=(live,)))
    policy, asked = compile_policy(house), replace(call("https://erp.example/live"), websocket=asks)
    given, there = grant(house.clusters["live"]), destination_of(asked)
    assert cover_one(policy, given, Asked(Reading(asked), there)) is None
    assert cover_one(policy, given, Asked(Reading(replace(asked, websocket=not asks)), there)) is not None
    first = nearest(policy, mandate_of(house, [given]), Reading(asked), there, declared=None)[0]
    assert [(item.field, item.expected, item.got) for item in first.failed] == failed


def test_no_more_than_three_and_only_granted_ones() -> None:
    found = near("https://erp.example/v1/invoices/17/lines", grant(ERP), grant(B))
    assert len(found) == MAX_NEAREST
    assert {item.cluster for item in found} <= {"erp", "b"}
    assert near(URL) == ()
    assert near(URL, replace(grant(A), cluster="gone")) == ()


def test_the_declared_cluster_comes_first_and_the_others_say_why_not() -> None:
    found = near(URL, grant(ERP, actions=["list"]), grant(A), declared="erp")
    assert [item.cluster for item in found] == ["erp", "erp", "erp"]
    found = near(URL, grant(A), grant(B, actions=[]), declared="b")
    assert [item.cluster for item in found] == ["b", "a"]
    assert [(item.field, item.expected, item.got) for item in found[1].failed] == [("declared", "a", "b")]


def test_only_so_many_operations_are_compared() -> None:
    many = cluster("many", operations=[operation(f"op-{n}", template=f"/v1/things/{n}") for n in range(600)])
    bundle, asked = bundle_of(many, A), call(URL)
    mandate = mandate_of(bundle, (grant(many), grant(A)))
    found = nearest(compile_policy(bundle), mandate, Reading(asked), destination_of(asked), declared=None)
    assert {item.cluster for item in found} == {"many"}


# --- the plain reading -----------------------------------------------------------------------------------------------


def plain_host(pattern: HostPattern, host: str) -> bool:
    return host.endswith(f".{pattern.name}") if pattern.wildcard else host == pattern.name


def plain_path(template: str, path: str) -> bool:
    pattern = re.sub(r"\{\w+:rest\}", "(?!/)(?!.*%2F).+", template)
    pattern = re.sub(r"\{\w+:encoded\}", "[^/]+", pattern)
    pattern = re.sub(r"\{\w+\}", "(?:(?!%2F)[^/])+", pattern)
    return re.fullmatch(pattern, path) is not None


def plain_query(item: Operation, asked: Call) -> bool:
    names = [name for name, _ in asked.parameters]
    rules = {rule.name: rule for rule in item.query}
    return item.any_query or (
        len(set(names)) == len(names)
        and all(name in rules and value in (rules[name].values or {value}) for name, value in asked.parameters)
        and all(rule.name in names for rule in item.query if rule.required)
    )


def plain_cover(one: Cluster, given: Grant, asked: Call) -> bool:
    """Every operation one by one, every condition spelt out: the oracle."""
    return (
        given.cluster == one.id
        and any(plain_host(pattern, asked.host) for pattern in one.hosts)
        and asked.port in one.ports
        and asked.scheme in one.schemes
        and asked.origin in given.locations
        and any(
            item.name in given.actions
            and asked.method in item.methods
            and plain_path(item.template, asked.path)
            and plain_query(item, asked)
            and (given.constraints.methods is None or asked.method in given.constraints.methods)
            for item in one.operations
        )
    )


HOSTS = st.sampled_from(["a.example", "b.a.example", "*.example", "*.a.example"])
QUERY_RULES = st.lists(
    st.builds(
        QueryRule,
        name=st.sampled_from(["p", "q"]),
        values=st.none() | st.just(frozenset({"1"})),
        required=st.booleans(),
    ),
    max_size=2,
    unique_by=lambda rule: rule.name,
)
OPERATIONS = st.lists(
    st.builds(
        operation,
        st.sampled_from(["one", "two", "three"]),
        methods=st.sets(st.sampled_from(["GET", "PUT"]), max_size=2),
        template=st.sampled_from(["/", "/v/{x}", "/v/w", "/v/{x:encoded}", "/v/{x:rest}", "/{x}/w"]),
        any_query=st.booleans(),
        query=QUERY_RULES,
    ),
    max_size=3,
    unique_by=lambda item: item.name,
)
CLUSTERS = st.builds(
    cluster,
    st.just("c"),
    hosts=st.lists(HOSTS, max_size=3, unique=True),
    ports=st.sets(st.sampled_from([443, 8443]), max_size=2),
    schemes=st.sets(st.sampled_from(["http", "https"]), max_size=2),
    operations=OPERATIONS,
)
URLS = st.builds(
    lambda scheme, host, port, path, query: f"{scheme}://{host}:{port}{path}{query}",
    st.sampled_from(["http", "https"]),
    st.sampled_from(["a.example", "b.a.example", "c.example", "example"]),
    st.sampled_from([443, 8443]),
    st.sampled_from(["/", "/v/w", "/v/w/", "/v/w%2Fx", "/v/w/x", "/z/w"]),
    st.sampled_from(["", "?p=1", "?p=2", "?p=1&p=1", "?q=1&p=1", "?r=1"]),
)
EMPTY = mandate_of(HOUSE, ())
METHODS = st.sampled_from(["GET", "PUT"])


@given(
    CLUSTERS,
    URLS,
    METHODS,
    st.sets(st.sampled_from(["one", "two", "three"])),
    st.booleans(),
    st.sampled_from([None, frozenset({"GET"})]),
)
@settings(max_examples=200)
def test_coverage_agrees_with_the_plain_reading(
    one: Cluster, url: str, method: str, actions: set[str], here: bool, methods: frozenset[str] | None
) -> None:
    asked = call(url, method)
    given = grant(one, actions=actions, locations=[asked.origin] * here, constraints=Constraints(methods=methods))
    policy, there = compile_policy(bundle_of(one)), destination_of(asked)
    found = cover_one(policy, given, Asked(Reading(asked), there))
    assert (found is not None) is plain_cover(one, given, asked)

    misses = nearest(
        policy, replace(EMPTY, chain=(replace(EMPTY.root, grants=(given,)),)), Reading(asked), there, declared=None
    )
    assert (found is not None) is any(not item.failed for item in misses)
