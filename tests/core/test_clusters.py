"""The normal form of a cluster, its digest, the strict way back, and what a compiled cluster matches."""

import copy
from dataclasses import replace
from ipaddress import ip_network

import identities
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import operation
from questions import bundle_of, call, deny

from proxy.core.clusters import cluster_digest, compile_cluster, compile_policy, from_normalised, normalised
from proxy.core.encoding import Json, canonical_json, parse_json
from proxy.core.errors import Code, Rejected
from proxy.core.matching import destination_of
from proxy.core.model import Cluster, Effect, HostPattern, Operation, Proof, QueryRule, Review, Risk, RuleRef


def at(name: str, line: int = 1) -> RuleRef:
    return RuleRef(id=name, file="clusters.yaml", line=line)


LIST = Operation(
    name="list",
    methods=frozenset({"GET", "HEAD"}),
    template="/v1/invoices",
    any_query=False,
    query=(QueryRule(name="state", values=frozenset({"open", "paid"})), QueryRule(name="page", required=True)),
    at=at("supplier-invoices.list", 9),
)
SEARCH = Operation(
    name="search", methods=frozenset({"GET"}), template="/v1/search", any_query=True, query=(), at=at("search", 14)
)
INVOICES = Cluster(
    id="supplier-invoices",
    description="Read what suppliers bill us",
    hosts=(HostPattern(name="erp.example"), HostPattern(name="cdn.example", wildcard=True)),
    ports=frozenset({443, 8443}),
    schemes=frozenset({"https"}),
    addresses=(ip_network("10.1.0.0/16"), ip_network("fd00::/8")),
    operations=(LIST, SEARCH),
    proof=Proof.SESSION,
    risk=Risk.ROUTINE,
    review=Review(who=("sponsor", "deputy")),
    digest="",
    at=at("supplier-invoices", 3),
)


@pytest.mark.parametrize(
    "same",
    [
        pytest.param(replace(INVOICES, description="Other words"), id="a description is not signed"),
        pytest.param(replace(INVOICES, at=at("supplier-invoices", 77)), id="a line number is not signed"),
        pytest.param(replace(INVOICES, hosts=INVOICES.hosts[::-1]), id="the order of hosts is not signed"),
        pytest.param(replace(INVOICES, hosts=INVOICES.hosts * 2), id="a repeated host is one host"),
        pytest.param(replace(INVOICES, addresses=INVOICES.addresses[::-1]), id="the order of networks is not signed"),
        pytest.param(replace(INVOICES, operations=(SEARCH, LIST)), id="the order of operations is not signed"),
        pytest.param(
            replace(INVOICES, operations=(replace(LIST, query=LIST.query[::-1]), SEARCH)),
            id="the order of query rules is not signed",
        ),
        pytest.param(
            replace(INVOICES, review=Review(who=("deputy", "sponsor"))), id="the order of reviewers is not signed"
        ),
        pytest.param(replace(INVOICES, digest="old"), id="the digest it bore before is not signed"),
    ],
)
def test_what_does_not_change_the_digest(same: Cluster) -> None:
    assert cluster_digest(same) == cluster_digest(INVOICES)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(INVOICES, id="invoices"), id="the name"),
        pytest.param(replace(INVOICES, hosts=INVOICES.hosts[:1]), id="a host"),
        pytest.param(
            replace(INVOICES, hosts=(HostPattern(name="erp.example"), HostPattern(name="cdn.example"))),
            id="a wildcard made exact",
        ),
        pytest.param(replace(INVOICES, ports=frozenset({443})), id="a port"),
        pytest.param(replace(INVOICES, schemes=frozenset({"https", "http"})), id="a scheme"),
        pytest.param(replace(INVOICES, addresses=()), id="the address rule"),
        pytest.param(replace(INVOICES, operations=(LIST,)), id="an operation"),
        pytest.param(replace(INVOICES, operations=(replace(LIST, name="all"), SEARCH)), id="an operation's name"),
        pytest.param(replace(INVOICES, operations=(replace(LIST, methods=frozenset({"GET"})), SEARCH)), id="a method"),
        pytest.param(replace(INVOICES, operations=(replace(LIST, template="/v1"), SEARCH)), id="a path"),
        pytest.param(replace(INVOICES, operations=(replace(LIST, query=()), SEARCH)), id="a query rule"),
        pytest.param(replace(INVOICES, operations=(LIST, replace(SEARCH, any_query=False))), id="`query: any`"),
        pytest.param(replace(INVOICES, operations=(LIST, replace(SEARCH, websocket=True))), id="`websocket`"),
        pytest.param(
            replace(INVOICES, operations=(replace(LIST, query=(replace(LIST.query[0], encoded=True),)), SEARCH)),
            id="a query value encoded twice",
        ),
        pytest.param(
            replace(INVOICES, operations=(replace(LIST, query=(replace(LIST.query[0], repeated=True),)), SEARCH)),
            id="a query parameter that may be repeated",
        ),
        pytest.param(
            replace(INVOICES, operations=(LIST, SEARCH, replace(SEARCH, template="/v2"))),
            id="an operation hidden behind another's name",
        ),
        pytest.param(replace(INVOICES, proof=Proof.REQUEST), id="the proof"),
        pytest.param(replace(INVOICES, risk=Risk.TRANSFORMATIVE), id="the risk"),
        pytest.param(replace(INVOICES, review=Review(always=True)), id="the review rule"),
        pytest.param(replace(INVOICES, review=Review(ttl_s=60)), id="how long a hold may take"),
        pytest.param(replace(INVOICES, review=Review(quorum=2)), id="how many must release a call"),
        pytest.param(replace(INVOICES, review=Review(effect=Effect.DELIVER)), id="that the proxy sends by itself"),
        pytest.param(replace(INVOICES, review=Review(idempotency_key=True)), id="that it adds a key"),
    ],
)
def test_what_changes_the_digest(other: Cluster) -> None:
    assert cluster_digest(other) != cluster_digest(INVOICES)


def test_a_pinned_cluster_comes_back_as_it_was_signed() -> None:
    stored = canonical_json(normalised(INVOICES))

    back = from_normalised(parse_json(stored, code=Code.CONFIG_INVALID, what="pin"))

    assert normalised(back) == normalised(INVOICES)
    assert back.digest == cluster_digest(back) == cluster_digest(INVOICES)
    assert back.at == RuleRef(id="supplier-invoices", file=f"pinned/{back.digest}.json", line=1)
    assert {operation.at.file for operation in back.operations} == {back.at.file}


def _with(path: tuple[str | int, ...], value: Json) -> Json:
    """The normal form of `INVOICES` with one member replaced; `...` as a new name adds it."""
    form = copy.deepcopy(normalised(INVOICES))
    place: object = form
    for step in path[:-1]:
        assert isinstance(place, dict | list)
        place = place[step]  # type: ignore[index, call-overload]
    assert isinstance(place, dict | list)
    place[path[-1]] = value  # type: ignore[index, call-overload]
    return form


@pytest.mark.parametrize(
    ("form", "words"),
    [
        pytest.param([], "exactly the members", id="a list"),
        pytest.param(_with(("description",), "x"), "exactly the members", id="an unknown member"),
        pytest.param(_with(("mode",), "observe"), "normal form", id="a mode of a later version"),
        pytest.param(_with(("limits",), {"calls": 5}), "normal form", id="limits of a later version"),
        pytest.param(_with(("id",), ""), "non-empty string", id="an empty name"),
        pytest.param(_with(("id",), 5), "non-empty string", id="a number for a name"),
        pytest.param(_with(("id",), "\ud800"), "normal form", id="a lone surrogate"),
        pytest.param(_with(("hosts",), "erp.example"), "must be a list", id="a host that is no list"),
        pytest.param(_with(("hosts",), ["erp.example", "*.cdn.example"]), "normal form", id="hosts out of order"),
        pytest.param(_with(("hosts",), ["a.example", "a.example"]), "normal form", id="a host twice"),
        pytest.param(_with(("ports",), [True]), "whole number", id="true for a port"),
        pytest.param(_with(("ports",), [443.0]), "whole number", id="a fraction for a port"),
        pytest.param(_with(("ports",), [0]), "whole number", id="port 0"),
        pytest.param(_with(("ports",), [65_536]), "whole number", id="a port too high"),
        pytest.param(_with(("addresses",), ["10.1.0.1/16"]), "normal form", id="a network with host bits"),
        pytest.param(_with(("addresses",), ["10.1.0.1"]), "normal form", id="an address for a network"),
        pytest.param(_with(("proof",), "strong"), "proof must be one of", id="an unknown proof"),
        pytest.param(_with(("risk",), "huge"), "normal form", id="an unknown risk"),
        pytest.param(_with(("review", "always"), 1), "true or false", id="1 for true"),
        pytest.param(_with(("review", "quorum"), 1), "normal form", id="a default quorum written out"),
        pytest.param(_with(("review", "quorum"), 0), "whole number", id="a quorum of nobody"),
        pytest.param(_with(("review", "effect"), "retry"), "normal form", id="the usual effect, said all the same"),
        pytest.param(_with(("review", "effect"), "perhaps"), "normal form", id="an unknown effect"),
        pytest.param(_with(("review", "ttl_s"), -1), "whole number", id="a negative time"),
        pytest.param(_with(("operations", 0, "path"), "v1"), 'must start with "/"', id="a broken template"),
        pytest.param(_with(("operations", 0, "query"), None), "must be a list", id="no query rule at all"),
        pytest.param(_with(("operations", 1, "name"), "list"), "only once", id="an operation name twice"),
        pytest.param(_with(("operations", 0, "query", 0, "name"), "state"), "only once", id="a query parameter twice"),
        pytest.param(_with(("operations", 0, "websocket"), False), "normal form", id="a default written out"),
        pytest.param(_with(("operations", 0, "query", 0, "encoded"), False), "normal form", id="another default"),
        pytest.param(_with(("operations", 0, "websocket"), 1), "true or false", id="1 for a WebSocket"),
        pytest.param(
            _with(("operations", 0, "query", 1, "values"), [1]), "must be strings", id="a number for a query value"
        ),
    ],
)
def test_anything_else_is_refused(form: Json, words: str) -> None:
    with pytest.raises(Rejected, match=words) as refused:
        from_normalised(form)
    assert refused.value.code is Code.CONFIG_INVALID


def test_an_empty_query_value_is_a_value() -> None:
    loose = replace(INVOICES, operations=(replace(LIST, query=(QueryRule(name="q", values=frozenset({""})),)),))
    assert from_normalised(normalised(loose)).operations[0].query[0].values == {""}


def test_what_was_added_later_comes_back_and_changes_no_older_digest() -> None:
    listed = replace(LIST, query=(QueryRule(name="id", repeated=True), QueryRule(name="to", encoded=True)))
    newer = replace(INVOICES, operations=(listed, replace(SEARCH, websocket=True)))
    assert {
        op.name: (op.websocket, [(rule.encoded, rule.repeated) for rule in op.query])
        for op in from_normalised(normalised(newer)).operations
    } == {
        "list": (False, [(True, False), (False, True)]),
        "search": (True, []),
    }
    several = replace(INVOICES, review=Review(quorum=2))
    assert from_normalised(normalised(several)).review.quorum == 2
    assert b"quorum" not in canonical_json(normalised(INVOICES))
    assert b"websocket" not in canonical_json(normalised(INVOICES))
    assert b"encoded" not in canonical_json(normalised(INVOICES))
    assert b"repeated" not in canonical_json(normalised(INVOICES))


def test_parsing_a_pin_raises_nothing_but_rejected() -> None:
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )

    @given(st.sampled_from(sorted(normalised(INVOICES))), json_values)
    @settings(max_examples=150)
    def check(member: str, value: Json) -> None:
        try:
            from_normalised(_with((member,), value))
        except Rejected as fault:
            assert fault.code is Code.CONFIG_INVALID

    check()


# --- the index -------------------------------------------------------------------------------------------------------


def matches(cluster: Cluster, url: str, method: str = "GET") -> list[str]:
    asked = call(url, method)
    found = compile_cluster(cluster).matching(asked, destination_of(asked))
    return [prepared.operation.name for prepared in found]


def faults(cluster: Cluster, url: str) -> list[tuple[str, str, str]]:
    there = destination_of(call(url))
    return [(item.field, item.expected, item.got) for item in compile_cluster(cluster).destination_faults(there)]


@pytest.mark.parametrize(
    ("cluster", "url", "fault"),
    [
        pytest.param(identities.cluster(), "https://erp.example/", None, id="its host"),
        pytest.param(
            identities.cluster(), "https://a.erp.example/", ("host", "erp.example", "a.erp.example"), id="not below it"
        ),
        pytest.param(
            identities.cluster(hosts=["b.example", "*.c.example"]),
            "https://a.example/",
            ("host", "*.c.example, b.example", "a.example"),
            id="not beside them",
        ),
        pytest.param(identities.cluster(hosts=["*.example"]), "https://a.b.example/", None, id="below its wildcard"),
        pytest.param(
            identities.cluster(hosts=["*.b.example"]),
            "https://b.example/",
            ("host", "*.b.example", "b.example"),
            id="a wildcard is not its apex",
        ),
        pytest.param(
            identities.cluster(hosts=["*.b.example"]),
            "https://notb.example/",
            ("host", "*.b.example", "notb.example"),
            id="a longer name is not a child",
        ),
        pytest.param(identities.cluster(ports=[8443]), "https://erp.example:8443/", None, id="its port"),
        pytest.param(identities.cluster(), "https://erp.example:22/", ("port", "443", "22"), id="another port"),
        pytest.param(
            identities.cluster(ports=[443], schemes=["http"]), "http://erp.example:443/", None, id="its scheme"
        ),
        pytest.param(identities.cluster(), "http://erp.example:443/", ("scheme", "https", "http"), id="another scheme"),
        pytest.param(
            identities.cluster(hosts=["10.1.2.3"], addresses=["10.1.0.0/16"]),
            "https://10.1.2.3/",
            None,
            id="an address with a rule for it",
        ),
        pytest.param(
            identities.cluster(hosts=["10.1.2.3"]),
            "https://10.1.2.3/",
            ("address", "a name: there is no address rule", "10.1.2.3"),
            id="an address without one",
        ),
        pytest.param(
            identities.cluster(hosts=["10.1.2.3"], addresses=["10.2.0.0/16", "fd00::/8"]),
            "https://10.1.2.3/",
            ("address", "10.2.0.0/16, fd00::/8", "10.1.2.3"),
            id="an address outside the rule",
        ),
        pytest.param(
            identities.cluster(hosts=[]),
            "https://erp.example/",
            ("host", "no host", "erp.example"),
            id="no host at all",
        ),
        pytest.param(identities.cluster(ports=[]), "https://erp.example/", ("port", "no port", "443"), id="no port"),
        pytest.param(
            identities.cluster(schemes=[]), "https://erp.example/", ("scheme", "no scheme", "https"), id="no scheme"
        ),
    ],
)
def test_where_a_cluster_reaches(cluster: Cluster, url: str, fault: tuple[str, str, str] | None) -> None:
    assert faults(cluster, url) == ([] if fault is None else [fault])
    everywhere = replace(cluster, operations=(operation("root", template="/"),))
    assert matches(everywhere, url) == ([] if fault else ["root"])


@pytest.mark.parametrize(
    ("url", "method", "found"),
    [
        pytest.param("https://erp.example/v1/invoices?page=1&state=open", "GET", ["list"], id="all of it fits"),
        pytest.param("https://erp.example/v1/invoices?page=1", "POST", [], id="another method"),
        pytest.param("https://erp.example/v1/invoice?page=1", "GET", [], id="another path"),
        pytest.param("https://erp.example/v1/invoices", "GET", [], id="a query that lacks something"),
        pytest.param("https://crm.example/v1/invoices?page=1", "GET", [], id="another host"),
        pytest.param("https://erp.example/v1/search?whatever=1", "GET", ["search"], id="another operation"),
    ],
)
def test_what_a_cluster_permits(url: str, method: str, found: list[str]) -> None:
    assert matches(INVOICES, url, method) == found


def test_a_policy_has_its_clusters_by_id_and_its_pins_by_digest() -> None:
    now, before = identities.cluster(), identities.cluster(risk=Risk.TRANSFORMATIVE)
    policy = compile_policy(bundle_of(now, approved=[before], deny=[deny()]))
    assert {name: compiled.cluster for name, compiled in policy.clusters.items()} == {now.id: now}
    assert {digest: compiled.cluster for digest, compiled in policy.pins.items()} == {
        now.digest: now,
        before.digest: before,
    }
    assert policy.pins[now.digest] is policy.clusters[now.id], "what did not change is indexed once"
    assert policy.denials.exact.keys() == {"erp.example"}


def test_a_policy_whose_templates_overlap_too_much_is_refused_with_the_rules_places() -> None:
    crowd = [replace(operation(f"op-{number}"), at=at(f"c.op-{number}", 10 + number)) for number in range(33)]
    with pytest.raises(Rejected, match=r"clusters.yaml:10: below /v1/invoices/\{id\} one path could mean") as refused:
        compile_policy(bundle_of(identities.cluster(operations=crowd)))
    assert refused.value.code is Code.CONFIG_INVALID
    compile_policy(bundle_of(identities.cluster(operations=crowd[:32])))
