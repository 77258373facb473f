"""A child may only narrow (THREATS E03)."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import product

import identities
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import AGENT, HELPER, NOW, key

from proxy.core.delegation import check_narrows, check_scope, check_subject, is_location, location_covers
from proxy.core.errors import Code, Rejected
from proxy.core.manifest import issue_child, parse_manifest
from proxy.core.model import Constraints, Grant, Manifest

AGENTS = identities.bundle().agents
GRANT = identities.grant(
    locations=["https://erp.example", "https://*.files.example:8443"],
    constraints=Constraints(
        methods=frozenset({"GET", "POST"}),
        params={"id": frozenset({"17", "18"})},
        query={"q": frozenset({"a", "b"})},
        body={"/payee": frozenset({"88", '"x"'})},
    ),
)
PARENT = parse_manifest(identities.root(identities.draft(grants=[GRANT], nbf=NOW - timedelta(hours=1))))
CHILD = parse_manifest(identities.child(PARENT.token))
PERSON = "eve"


def narrowed(**changed: object) -> Manifest:
    """The child with its only grant changed."""
    return replace(CHILD, grants=(replace(GRANT, **changed),))  # type: ignore[arg-type]


def constrained(**changed: object) -> Manifest:
    return narrowed(constraints=replace(GRANT.constraints, **changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "child",
    [
        pytest.param(CHILD, id="the same again"),
        pytest.param(replace(CHILD, grants=()), id="no cluster at all"),
        pytest.param(narrowed(actions=frozenset({"read-invoice"})), id="fewer actions"),
        pytest.param(narrowed(actions=frozenset()), id="no action"),
        pytest.param(narrowed(locations=frozenset({"https://erp.example"})), id="fewer locations"),
        pytest.param(narrowed(locations=frozenset({"https://a.files.example:8443"})), id="one name of a wildcard"),
        pytest.param(narrowed(locations=frozenset({"https://*.a.files.example:8443"})), id="a narrower wildcard"),
        pytest.param(constrained(methods=frozenset({"GET"})), id="fewer methods"),
        pytest.param(constrained(methods=frozenset()), id="no method"),
        pytest.param(constrained(params={"id": frozenset({"17"})}), id="fewer values"),
        pytest.param(constrained(params={**GRANT.constraints.params, "x": frozenset({"1"})}), id="one constraint more"),
        pytest.param(replace(CHILD, exp=PARENT.exp), id="the parent's own end"),
        pytest.param(replace(CHILD, exp=NOW + timedelta(seconds=1)), id="an earlier end"),
        pytest.param(replace(CHILD, may_delegate_to=frozenset()), id="no further delegation to others"),
        pytest.param(replace(CHILD, del_max_depth=1), id="no further delegation at all"),
        pytest.param(replace(CHILD, sub=HELPER), id="a listed agent of the inventory"),
        pytest.param(replace(CHILD, purpose="Fetch invoice 17."), id="a purpose in its own words"),
    ],
)
def test_a_child_that_narrows_is_accepted(child: Manifest) -> None:
    check_narrows(PARENT, child, AGENTS)


@pytest.mark.parametrize(
    ("child", "field"),
    [
        pytest.param(replace(CHILD, aud="other"), "aud", id="another audience"),
        pytest.param(replace(CHILD, sponsor_id=PERSON), "sponsor", id="another sponsor"),
        pytest.param(replace(CHILD, sponsor_name="Eve"), "sponsor", id="the sponsor by another name"),
        pytest.param(replace(CHILD, exp=PARENT.exp + timedelta(seconds=1)), "exp", id="a later end"),
        pytest.param(replace(CHILD, nbf=PARENT.nbf - timedelta(seconds=1)), "nbf", id="an earlier start"),
        pytest.param(
            replace(CHILD, may_delegate_to=frozenset({HELPER, "x"})), "may_delegate_to", id="one more delegate"
        ),
        pytest.param(narrowed(cluster="payments"), "authorization_details", id="another cluster"),
        pytest.param(narrowed(digest=PARENT.id), "digest", id="another version of the cluster"),
        pytest.param(narrowed(actions=GRANT.actions | {"delete"}), "actions", id="one more action"),
        pytest.param(narrowed(locations=GRANT.locations | {"https://x.example"}), "locations", id="one more place"),
        pytest.param(narrowed(locations=frozenset({"http://erp.example"})), "locations", id="without TLS"),
        pytest.param(narrowed(locations=frozenset({"https://erp.example:8443"})), "locations", id="another port"),
        pytest.param(narrowed(locations=frozenset({"https://*.erp.example"})), "locations", id="a name made wild"),
        pytest.param(narrowed(locations=frozenset({"https://*.example:8443"})), "locations", id="a wider wildcard"),
        pytest.param(narrowed(locations=frozenset({"https://files.example:8443"})), "locations", id="the bare apex"),
        pytest.param(constrained(methods=None), "constraints.methods", id="the methods dropped"),
        pytest.param(constrained(methods=frozenset({"GET", "PUT"})), "constraints.methods", id="one more method"),
        pytest.param(constrained(params={}), "constraints.params", id="a parameter dropped"),
        pytest.param(constrained(params={"id": frozenset({"19"})}), "constraints.params", id="another value"),
        pytest.param(constrained(query={}), "constraints.query", id="a query parameter dropped"),
        pytest.param(constrained(body={}), "constraints.body", id="a place in the body dropped"),
        pytest.param(constrained(body={"/payee": frozenset({"88", "89"})}), "constraints.body", id="another payee"),
        pytest.param(constrained(body={"/payee": frozenset({'"88"'})}), "constraints.body", id="text for a number"),
        pytest.param(constrained(query={"q": frozenset("abc")}), "constraints.query", id="one more query value"),
        pytest.param(narrowed(constraints=Constraints()), "constraints.methods", id="all constraints dropped"),
        pytest.param(replace(CHILD, sub="stranger"), "sub", id="an agent nobody listed"),
    ],
)
def test_a_child_that_widens_is_refused(child: Manifest, field: str) -> None:
    with pytest.raises(Rejected) as refused:
        check_narrows(PARENT, child, AGENTS)
    assert (refused.value.code, refused.value.field) == (Code.DELEGATION_WIDENED, field)


@pytest.mark.parametrize(
    ("child", "code", "field"),
    [
        pytest.param(replace(CHILD, par_hash=CHILD.id), Code.DELEGATION_PARENT, "par_hash", id="of another parent"),
        pytest.param(replace(CHILD, par_hash=None), Code.DELEGATION_PARENT, "par_hash", id="of no parent"),
        pytest.param(replace(CHILD, iss="ada"), Code.DELEGATION_PARENT, "iss", id="issued by someone else"),
        pytest.param(replace(CHILD, kid="k"), Code.DELEGATION_PARENT, "iss", id="signed with another key"),
        pytest.param(replace(CHILD, del_depth=0), Code.DELEGATION_DEPTH, "del_depth", id="not one deeper"),
        pytest.param(replace(CHILD, del_depth=2), Code.DELEGATION_DEPTH, "del_depth", id="two deeper"),
        pytest.param(replace(CHILD, del_max_depth=4), Code.DELEGATION_DEPTH, "del_max_depth", id="a longer chain"),
    ],
)
def test_a_child_that_is_not_its_parents_is_refused(child: Manifest, code: Code, field: str) -> None:
    with pytest.raises(Rejected) as refused:
        check_narrows(PARENT, child, AGENTS)
    assert (refused.value.code, refused.value.field) == (code, field)


BOUND = replace(PARENT, certificate="A" * 43)


@pytest.mark.parametrize("certificate", [None, "B" * 43], ids=["no certificate", "another certificate"])
def test_a_child_of_the_same_agent_keeps_the_certificate_its_parent_is_bound_to(certificate: str | None) -> None:
    with pytest.raises(Rejected, match="must keep the parent's client certificate") as refused:
        check_narrows(BOUND, replace(CHILD, certificate=certificate), AGENTS)
    assert (refused.value.code, refused.value.field) == (Code.DELEGATION_WIDENED, "cnf")
    check_narrows(BOUND, replace(CHILD, certificate=BOUND.certificate), AGENTS)
    check_narrows(PARENT, replace(CHILD, certificate=certificate), AGENTS)  # bound to none: it may bind itself


def test_a_parent_that_may_not_delegate_has_no_child() -> None:
    with pytest.raises(Rejected, match="del_depth must be 1 and at most 0") as refused:
        check_narrows(replace(PARENT, del_max_depth=0), replace(CHILD, del_max_depth=0), AGENTS)
    assert refused.value.code is Code.DELEGATION_DEPTH


def test_both_the_sponsor_and_the_operator_must_list_a_delegate() -> None:
    child = replace(CHILD, sub=HELPER)
    check_subject(PARENT, child, AGENTS)
    for agents in (
        {**AGENTS, AGENT: replace(AGENTS[AGENT], may_delegate_to=frozenset())},
        {AGENT: AGENTS[AGENT]},
        {HELPER: AGENTS[HELPER]},
    ):
        with pytest.raises(Rejected, match=f"{AGENT} may not delegate to {HELPER}") as refused:
            check_subject(PARENT, child, agents)
        assert refused.value.code is Code.DELEGATION_WIDENED
    with pytest.raises(Rejected, match="may not delegate"):
        check_subject(replace(PARENT, may_delegate_to=frozenset()), child, AGENTS)


# --- locations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "https://erp.example",
        "http://erp.example:8080",
        "https://*.erp.example",
        "https://*.erp.example:8443",
        "https://xn--bcher-kva.example",
        "https://192.0.2.1",
        "http://192.0.2.1:81",
        "https://[2001:db8::1]",
        "https://[2001:db8::1]:8443",
        "http://build_1",
    ],
)
def test_a_location_in_its_one_spelling(text: str) -> None:
    assert is_location(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("erp.example", id="no scheme"),
        pytest.param("ftp://erp.example", id="another scheme"),
        pytest.param("https://erp.example/", id="a path"),
        pytest.param("https://ERP.example", id="upper case"),
        pytest.param("https://erp.example.", id="a trailing dot"),
        pytest.param("https://erp..example", id="an empty label"),
        pytest.param("https://bücher.example", id="not ASCII"),
        pytest.param("https://erp.example:443", id="the default port of https"),
        pytest.param("http://erp.example:80", id="the default port of http"),
        pytest.param("https://erp.example:0443", id="a padded port"),
        pytest.param("https://erp.example:65536", id="a port that is none"),
        pytest.param("https://user@erp.example", id="userinfo"),
        pytest.param("https://*", id="everything"),
        pytest.param("https://a.*.example", id="a wildcard inside"),
        pytest.param("https://*.*.example", id="two wildcards"),
        pytest.param("https://*.0.0.1", id="a wildcard over addresses"),
        pytest.param("https://127.1", id="a short address"),
        pytest.param("https://0177.0.0.1", id="an octal address"),
        pytest.param("https://2130706433", id="an address as one number"),
        pytest.param("https://[::0001]", id="a long IPv6 address"),
        pytest.param("https://[::1", id="half a bracket"),
        pytest.param("https://[1.2.3.4]", id="IPv4 in brackets"),
        pytest.param("https://*.[::1]", id="a wildcard over IPv6"),
        pytest.param("https://" + "a." * 130 + "example", id="a name too long"),
        pytest.param("https://erp.example\n", id="a line break"),
    ],
)
def test_no_location(text: str) -> None:
    assert not is_location(text)


@pytest.mark.parametrize(
    ("outer", "inner", "covers"),
    [
        pytest.param("https://a.example", "https://a.example", True, id="itself"),
        pytest.param("https://*.example", "https://*.example", True, id="a wildcard itself"),
        pytest.param("https://*.example", "https://a.example", True, id="one label"),
        pytest.param("https://*.example", "https://b.a.example", True, id="several labels"),
        pytest.param("https://*.example", "https://*.a.example", True, id="a wildcard below"),
        pytest.param("https://*.example:8443", "https://a.example:8443", True, id="the same other port"),
        pytest.param("https://a.example", "https://b.a.example", False, id="a name is no wildcard"),
        pytest.param("https://*.example", "https://example", False, id="not the apex"),
        pytest.param("https://*.b.example", "https://notb.example", False, id="a longer name is not a child"),
        pytest.param("https://*.example", "http://a.example", False, id="another scheme"),
        pytest.param("http://*.example", "https://a.example", False, id="another scheme, the other way"),
        pytest.param("https://*.example", "https://a.example:8443", False, id="another port"),
        pytest.param("https://*.example:8443", "https://a.example", False, id="the default port only"),
        pytest.param("https://*.a.example", "https://*.example", False, id="a wider wildcard"),
        pytest.param("https://*.example", "https://[::1]", False, id="an address"),
    ],
)
def test_location_covers(outer: str, inner: str, covers: bool) -> None:
    assert location_covers(outer, inner) is covers


# --- properties ------------------------------------------------------------------------------------------------------

LOCATIONS = ["https://a.example", "https://*.example", "https://*.b.example", "https://b.b.example", "http://a.example"]
ORIGINS = ["https://a.example", "https://b.b.example", "https://x.b.example", "https://example", "http://a.example"]
CLUSTERS, ACTIONS, METHODS, VALUES = ["c1", "c2"], ["read", "write"], ["GET", "PUT"], ["1", "2"]

_values = st.dictionaries(st.sampled_from(["id"]), st.frozensets(st.sampled_from(VALUES)), max_size=1)
_constraints = st.builds(
    Constraints,
    methods=st.none() | st.frozensets(st.sampled_from(METHODS)),
    params=_values,
    query=_values,
    body=st.dictionaries(st.sampled_from(["/id"]), st.frozensets(st.sampled_from(VALUES)), max_size=1),
)


def _grant(cluster: str) -> st.SearchStrategy[Grant]:
    return st.builds(
        Grant,
        cluster=st.just(cluster),
        digest=st.sampled_from([PARENT.id, PARENT.id, CHILD.id]),
        actions=st.frozensets(st.sampled_from(ACTIONS)),
        locations=st.frozensets(st.sampled_from(LOCATIONS)),
        constraints=_constraints,
    )


_grants = st.tuples(*(st.none() | _grant(cluster) for cluster in CLUSTERS)).map(
    lambda pair: tuple(item for item in pair if item is not None)
)

type Point = tuple[str, str, str, str, str, str, str, str]


def permitted(grants: tuple[Grant, ...]) -> Iterator[Point]:
    """Every combination these grants permit, by the meaning of each part and not by the code under test."""
    for grant in grants:
        narrow = grant.constraints
        for action, origin, method, identifier, value, said in product(ACTIONS, ORIGINS, METHODS, *[VALUES] * 3):
            if (
                action in grant.actions
                and any(stands_for(location, origin) for location in grant.locations)
                and (narrow.methods is None or method in narrow.methods)
                and identifier in narrow.params.get("id", VALUES)
                and value in narrow.query.get("id", VALUES)
                and said in narrow.body.get("/id", VALUES)
            ):
                yield (grant.cluster, grant.digest, action, origin, method, identifier, value, said)


def stands_for(location: str, origin: str) -> bool:
    scheme, host = location.split("://")
    other_scheme, other_host = origin.split("://")
    if not host.startswith("*."):
        return location == origin
    labels, wanted = other_host.split("."), host.split(".")[1:]
    return scheme == other_scheme and len(labels) > len(wanted) and labels[-len(wanted) :] == wanted


@settings(max_examples=200)
@given(ours=_grants, theirs=_grants)
def test_a_child_that_is_accepted_permits_nothing_its_parent_does_not(
    ours: tuple[Grant, ...], theirs: tuple[Grant, ...]
) -> None:
    try:
        check_scope(replace(PARENT, grants=ours), replace(CHILD, grants=theirs))
    except Rejected as refused:
        assert refused.code is Code.DELEGATION_WIDENED
    else:
        assert set(permitted(theirs)) <= set(permitted(ours))


@settings(max_examples=100)
@given(ours=_grants, data=st.data())
def test_a_child_made_only_by_taking_away_is_accepted(ours: tuple[Grant, ...], data: st.DataObject) -> None:
    def less(values: frozenset[str]) -> frozenset[str]:
        return data.draw(st.frozensets(st.sampled_from(sorted(values)))) if values else values

    theirs = tuple(
        replace(
            grant,
            actions=less(grant.actions),
            locations=less(grant.locations),
            constraints=Constraints(
                methods=less(frozenset(METHODS) if grant.constraints.methods is None else grant.constraints.methods),
                params={"id": less(grant.constraints.params.get("id", frozenset(VALUES)))},
                query=dict(grant.constraints.query),
                body=dict(grant.constraints.body),
            ),
        )
        for grant in ours
        if data.draw(st.booleans())
    )
    parent = parse_manifest(identities.root(identities.draft(grants=ours)))
    child = parse_manifest(
        issue_child(parent, key=key(AGENT), cnf=key("leaf").public, jti="c", now=NOW, lifetime_s=60, grants=theirs)
    )
    check_narrows(parent, child, AGENTS)
    assert set(permitted(child.grants)) <= set(permitted(parent.grants))
