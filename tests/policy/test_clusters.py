"""clusters.yaml: what each key means, and what is refused with which words."""

from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.clusters import cluster_digest
from proxy.core.model import Cluster, DenyRule, Effect, HostPattern, Proof, QueryRule, Review, Risk, RuleRef
from proxy.policy.clusters import Rules
from proxy.policy.faults import Faults
from proxy.policy.yaml import load

PEOPLE = ("ada", "ben")

BASE = """\
version: 1
clusters:
  - id: invoices
    hosts: [erp.example]
    risk: routine
    operations:
      - name: read
        methods: [GET]
        path: /v1/invoices/{id}
"""

DENY = """\
version: 1
deny:
  - id: no-admin
    hosts: [erp.example]
"""


def rules(text: str, *, people: tuple[str, ...] | None = PEOPLE) -> tuple[Rules, list[str]]:
    found, faults = Rules(people=people), Faults("clusters.yaml")
    root = load(text.encode(), faults)
    if root is not None:
        found.read(root, faults)
    return found, [str(fault) for fault in faults.listed()]


def cluster(text: str) -> Cluster:
    found, faults = rules(text)
    assert faults == []
    (only,) = found.clusters.values()
    return only


def denial(text: str) -> DenyRule:
    found, faults = rules(text)
    assert faults == []
    (only,) = found.deny.values()
    return only


def changed(old: str, new: str, base: str = BASE) -> str:
    assert old in base
    return base.replace(old, new, 1)


def added(line: str) -> str:
    """The base with one more line in the cluster, after its hosts on line 4."""
    return changed("    risk:", f"    {line}\n    risk:")


# --- what is read ----------------------------------------------------------------------------------------------------


def test_the_smallest_cluster_gets_the_strict_defaults() -> None:
    got = cluster(BASE)
    assert got.hosts == (HostPattern(name="erp.example"),)
    assert (got.ports, got.schemes, got.addresses) == (frozenset({443}), frozenset({"https"}), ())
    assert (got.risk, got.proof, got.review) == (Risk.ROUTINE, Proof.SESSION, Review())
    assert got.at == RuleRef(id="invoices", file="clusters.yaml", line=3)
    (operation,) = got.operations
    assert (operation.any_query, operation.query) == (False, ())
    assert operation.at == RuleRef(id="invoices.read", file="clusters.yaml", line=7)
    assert got.digest == cluster_digest(got)


def test_every_key_is_read() -> None:
    got = cluster("""\
version: 1
clusters:
  - id: invoices
    description: |
      Read invoices,
      all of them.
    hosts: [erp.example, "*.erp.example", "10.1.2.3"]
    ports: [8443, 8080]
    schemes: [https, http]
    addresses: [10.1.0.0/16, "fd00:1::/64"]
    risk: transformative
    proof: request
    mode: enforce
    http2: true
    review: {always: true, who: [sponsor, ben], quorum: 2, ttl: 15m, wait: 30s, effect: deliver, idempotency_key: true}
    operations:
      - name: write
        methods: [PUT, POST]
        path: /v1/{name:encoded}/{rest:rest}
        query:
          page: any
          status: [open, ""]
          sort: {one_of: [up], required: true}
          tag: {one_of: [a, b], repeated: true}
          to: {encoded: true}
          trace: {required: true}
      - {name: anything, methods: [GET], path: /, query: any}
      - {name: listen, methods: [GET], path: /live, websocket: true}
""")
    assert got.description == "Read invoices,\nall of them."
    assert got.hosts[1:] == (HostPattern(name="erp.example", wildcard=True), HostPattern(name="10.1.2.3"))
    assert (got.ports, got.schemes) == (frozenset({8443, 8080}), frozenset({"https", "http"}))
    assert got.addresses == (ip_network("10.1.0.0/16"), ip_network("fd00:1::/64"))
    assert (got.risk, got.proof) == (Risk.TRANSFORMATIVE, Proof.REQUEST)
    assert got.review == Review(
        always=True,
        who=("sponsor", "ben"),
        ttl_s=900,
        wait_s=30,
        quorum=2,
        effect=Effect.DELIVER,
        idempotency_key=True,
    )
    assert got.http2
    anything, listen, write = got.operations
    assert (anything.name, anything.any_query, anything.websocket) == ("anything", True, False)
    assert (listen.name, listen.websocket) == ("listen", True)
    assert write.methods == frozenset({"PUT", "POST"})
    assert write.query == (
        QueryRule(name="page"),
        QueryRule(name="sort", values=frozenset({"up"}), required=True),
        QueryRule(name="status", values=frozenset({"open", ""})),
        QueryRule(name="tag", values=frozenset({"a", "b"}), repeated=True),
        QueryRule(name="to", encoded=True),
        QueryRule(name="trace", required=True),
    )


def test_a_transformative_cluster_needs_request_proof_without_saying_so() -> None:
    assert cluster(changed("routine", "transformative")).proof is Proof.REQUEST


def test_a_routine_cluster_may_ask_for_more_proof() -> None:
    assert cluster(added("proof: request")).proof is Proof.REQUEST


def test_plain_http_brings_its_own_port() -> None:
    assert cluster(added("schemes: [http, https]")).ports == frozenset({80, 443})


def test_names_in_other_alphabets_become_a_labels() -> None:
    assert cluster(changed("erp.example", "Bücher.example")).hosts == (HostPattern(name="xn--bcher-kva.example"),)


def test_the_order_of_operations_means_nothing() -> None:
    more = "      - {name: another, methods: [GET], path: /v2}\n"
    one, other = cluster(BASE + more), cluster(changed("      - name", more + "      - name"))
    assert [item.name for item in one.operations] == [item.name for item in other.operations] == ["another", "read"]
    assert one.digest == other.digest


def test_a_description_does_not_change_the_digest_but_a_method_does() -> None:
    assert cluster(added("description: other words")).digest == cluster(BASE).digest
    assert cluster(changed("[GET]", "[GET, HEAD]")).digest != cluster(BASE).digest


def test_offering_http2_changes_no_digest() -> None:
    got = cluster(added("http2: true"))
    assert got.http2 and not cluster(BASE).http2
    assert got.digest == cluster(BASE).digest


def test_a_denial_without_more_covers_every_port_scheme_and_operation() -> None:
    got = denial(DENY)
    assert (got.ports, got.schemes, got.operations) == (frozenset(), frozenset(), ())
    assert got.at == RuleRef(id="no-admin", file="clusters.yaml", line=3)


def test_a_denial_may_be_narrow_and_may_name_an_address() -> None:
    got = denial(
        changed("[erp.example]", "['203.0.113.7', '*.erp.example']", DENY)
        + "    ports: [8443]\n    schemes: [https]\n    operations: [{name: x, methods: [GET], path: /x}]\n"
    )
    assert got.hosts == (HostPattern(name="203.0.113.7"), HostPattern(name="erp.example", wildcard=True))
    assert (got.ports, got.schemes) == (frozenset({8443}), frozenset({"https"}))
    assert [item.at.id for item in got.operations] == ["no-admin.x"]


def test_no_clusters_at_all_is_a_policy_that_permits_nothing() -> None:
    found, faults = rules("version: 1\nclusters: []\n")
    assert (found.clusters, faults) == ({}, [])


# --- what is refused -------------------------------------------------------------------------------------------------

OF = 'of cluster "invoices"'
READ = 'operation "read" of cluster "invoices"'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param(
            changed("hosts:", "host:"), f'4: unknown key "host" in {OF[3:]}; did you mean "hosts"?', id="a misspelt key"
        ),
        pytest.param(
            changed("clusters:", "cluster:"),
            '2: unknown key "cluster" in the file; did you mean "clusters"?',
            id="a misspelt key on top",
        ),
        pytest.param(
            changed("        methods", "        method"),
            f'8: unknown key "method" in {READ}; did you mean "methods"?',
            id="a misspelt key of an operation",
        ),
        pytest.param(
            added("colour: red"),
            f'5: unknown key "colour" in {OF[3:]}; expected one of addresses, credential, description, hosts, http2, '
            "id, mode, operations, ports, proof, review, risk, schemes",
            id="a key like no other",
        ),
        pytest.param(
            added("schemes: [http]\n    http2: true"),
            f"6: http2 {OF}: HTTP/2 is spoken inside TLS only; add https to schemes, or leave http2 out",
            id="HTTP/2 without TLS",
        ),
        pytest.param(changed("    risk: routine\n", ""), '3: cluster "invoices" has no "risk"; add it', id="no risk"),
        pytest.param(changed("version: 1\n", ""), '1: the file has no "version"; add it', id="no version"),
        pytest.param("version: 1", '1: the file has no "clusters"; add it', id="neither clusters nor deny"),
        pytest.param(
            changed("version: 1", "version: 2"),
            "1: version of the file: expected 1, got 2",
            id="another version",
        ),
        pytest.param(
            changed("version: 1", "version: '1'"),
            '1: version of the file: expected 1, got "1"',
            id="a version in quotes",
        ),
        pytest.param(
            "version: 1\nclusters: {}", "2: clusters of the file: expected a list, got a mapping", id="clusters no list"
        ),
        pytest.param(
            "version: 1\nclusters: [x]",
            '2: expected a mapping for cluster number 1, got "x"',
            id="a cluster no mapping",
        ),
        pytest.param(
            changed("id: invoices", "id: Invoices"),
            '3: id of cluster "Invoices": expected at most 64 lower-case letters, digits, dots, dashes and '
            'underscores, got "Invoices"',
            id="an id with capitals",
        ),
        pytest.param(
            changed("id: invoices", "id: 12"),
            '3: id of cluster "12": expected text, got a whole number; write "12" in quotes',
            id="an id that is a number",
        ),
        pytest.param(changed("erp.example", "''"), f"4: hosts {OF}: expected text, got nothing", id="an empty host"),
        pytest.param(
            changed("[erp.example]", "erp.example"),
            f'4: hosts {OF}: expected a list, got "erp.example"',
            id="one host without a list",
        ),
        pytest.param(
            changed("[erp.example]", "[]"),
            f"4: hosts {OF}: expected at least one item, got an empty list",
            id="no hosts",
        ),
        pytest.param(
            changed("[erp.example]", "[erp.example, erp.example]"),
            f'4: hosts {OF}: "erp.example" appears twice; keep one',
            id="a host twice",
        ),
        pytest.param(
            changed("[erp.example]", "\n      - a.example\n      - a.EXAMPLE."),
            f'6: hosts {OF}: "a.EXAMPLE." appears twice; keep one',
            id="a host twice in two spellings",
        ),
        pytest.param(
            changed("erp.example", "'*'"),
            f'4: hosts {OF}: expected "*" only as a leading "*.", got "*"',
            id="every host",
        ),
        pytest.param(
            changed("erp.example", "erp*.example"),
            f'4: hosts {OF}: expected "*" only as a leading "*.", got "erp*.example"',
            id="a wildcard within a label",
        ),
        pytest.param(
            changed("erp.example", "a.*.example"),
            f'4: hosts {OF}: expected "*" only as a leading "*.", got "a.*.example"',
            id="a wildcard in the middle",
        ),
        pytest.param(
            changed("erp.example", "'*.com'"),
            f'4: hosts {OF}: "*.com" would cover many owners: com is a public suffix; name the hosts one by one',
            id="a wildcard at a top-level domain",
        ),
        pytest.param(
            changed("erp.example", "'*.co.uk'"),
            f'4: hosts {OF}: "*.co.uk" would cover many owners: co.uk is a public suffix; name the hosts one by one',
            id="a wildcard at a public suffix of two labels",
        ),
        pytest.param(
            changed("erp.example", "'*.github.io'"),
            f'4: hosts {OF}: "*.github.io" would cover many owners: github.io is a public suffix; '
            "name the hosts one by one",
            id="a wildcard at a private public suffix",
        ),
        pytest.param(
            changed("erp.example", "'*.example'"),
            f'4: hosts {OF}: "*.example" would cover many owners: example is a public suffix; '
            "name the hosts one by one",
            id="a wildcard at a top-level domain nobody listed",
        ),
        pytest.param(
            changed("erp.example", "'*.公司.cn'"),
            f'4: hosts {OF}: "*.xn--55qx5d.cn" would cover many owners: xn--55qx5d.cn is a public suffix; '
            "name the hosts one by one",
            id="a wildcard at a public suffix in another alphabet",
        ),
        pytest.param(
            changed("erp.example", "https://erp.example"),
            f'4: hosts {OF}: expected a host without scheme or path, got "https://erp.example"; '
            "these are schemes, ports, paths",
            id="a URL",
        ),
        pytest.param(
            changed("erp.example", "'erp.example:8443'"),
            f'4: hosts {OF}: expected a host without a port, got "erp.example:8443"; write the port under ports',
            id="a host with its port",
        ),
        pytest.param(
            changed("erp.example", "intent.internal"),
            f"4: hosts {OF}: intent.internal is served by the proxy itself and cannot be a destination",
            id="the proxy's own name",
        ),
        pytest.param(
            changed("erp.example", "'*.Intent.Internal.'"),
            f"4: hosts {OF}: intent.internal is served by the proxy itself and cannot be a destination",
            id="below the proxy's own name",
        ),
        pytest.param(
            changed("erp.example", "Metadata.Google.Internal"),
            f'4: hosts {OF}: "metadata.google.internal" is a cloud metadata service, which no rule can permit',
            id="a metadata service",
        ),
        pytest.param(
            changed("erp.example", "203.0.113.7"),
            f"4: hosts {OF}: the address 203.0.113.7 must lie in a network listed under addresses; add it there",
            id="an address without an address rule",
        ),
        pytest.param(
            changed("[erp.example]", "[10.2.0.1]\n    addresses: [10.1.0.0/16]"),
            f"4: hosts {OF}: the address 10.2.0.1 must lie in a network listed under addresses; add it there",
            id="an address outside its address rule",
        ),
        pytest.param(
            changed("erp.example", "'*.10.0.0.1'"),
            f'4: hosts {OF}: expected a name after the wildcard, got "*.10.0.0.1"; write a network under addresses',
            id="a wildcard over addresses",
        ),
        pytest.param(
            added("addresses: [10.1.2.3/8]"),
            f'5: addresses {OF}: expected a network without host bits, got "10.1.2.3/8"; did you mean "10.0.0.0/8"?',
            id="a network with host bits",
        ),
        pytest.param(
            added("addresses: [ten]"),
            f'5: addresses {OF}: expected a network such as 10.1.0.0/16, got "ten"',
            id="no network",
        ),
        pytest.param(
            added("addresses: []"),
            f"5: addresses {OF}: expected at least one item, got an empty list",
            id="an address rule that would mean every public address",
        ),
        pytest.param(
            added("addresses: [169.254.0.0/16]"),
            f"5: addresses {OF}: 169.254.0.0/16 cannot be an address rule: it overlaps 169.254.0.0/16 (link_local), "
            "which is never reached through the proxy",
            id="link-local addresses",
        ),
        pytest.param(
            added("ports: [0]"),
            f"5: ports {OF}: expected a whole number from 1 to 65535, got 0",
            id="port nought",
        ),
        pytest.param(
            added("ports: [https]"),
            f'5: ports {OF}: expected a whole number from 1 to 65535, got "https"',
            id="a port by name",
        ),
        pytest.param(
            added("schemes: [htps]"), f'5: schemes {OF}: got "htps"; did you mean "https"?', id="a misspelt scheme"
        ),
        pytest.param(
            changed("routine", "routin"), f'5: risk {OF}: got "routin"; did you mean "routine"?', id="a misspelt risk"
        ),
        pytest.param(
            added("proof: source").replace("routine", "transformative"),
            f"5: proof {OF}: a transformative cluster needs request proof, got source",
            id="proof by source where calls change the world",
        ),
        pytest.param(
            added("proof: sesion"), f'5: proof {OF}: got "sesion"; did you mean "session"?', id="a misspelt proof"
        ),
        pytest.param(
            changed("risk: routine", "risk: transformative\n    proof: session"),
            f"6: proof {OF}: a transformative cluster needs request proof, got session",
            id="too little proof for the risk",
        ),
        pytest.param(
            added("limits: {calls: 3}"), f'5: "limits" {OF} is not supported in this version; remove it', id="limits"
        ),
        pytest.param(
            added("behaviour: {}"), f'5: "behaviour" {OF} is not supported in this version; remove it', id="behaviour"
        ),
        pytest.param(
            added("mode: observe"),
            f'5: mode {OF}: "observe" is not supported in this version; remove it, or write enforce',
            id="a mode that would not enforce",
        ),
        pytest.param(added("mode: off-ish"), f'5: mode {OF}: got "off-ish"; expected enforce', id="a mode of no kind"),
        pytest.param(
            added("review: {always: 1}"),
            f"5: always of review {OF}: expected true or false, got 1",
            id="a flag that is a number",
        ),
        pytest.param(
            added("review: {who: [adda]}"),
            f'5: who of review {OF}: there is no person "adda"; did you mean "ada"?',
            id="an unknown reviewer",
        ),
        pytest.param(
            added("review: {who: []}"),
            f"5: who of review {OF}: expected at least one item, got an empty list",
            id="nobody to review",
        ),
        pytest.param(
            added("review: {ttl: 4 hours}"),
            f'5: ttl of review {OF}: expected a duration such as 30s, 15m, 4h or 90d, got "4 hours"',
            id="a duration in words",
        ),
        pytest.param(
            added("review: {ttl: 30}"),
            f'5: ttl of review {OF}: expected a duration such as 30s, 15m, 4h or 90d, got "30"',
            id="a duration without a unit",
        ),
        pytest.param(
            added("review: {ttl: 8d}"),
            f"5: ttl of review {OF}: expected a duration from 1m to 7d, got 8d",
            id="a duration out of bounds",
        ),
        pytest.param(
            added("review: {idempotency_key: true}"),
            f"5: idempotency_key of review {OF}: is added to delivered calls only; "
            "add effect: deliver, or leave it out",
            id="a key for calls that are not delivered",
        ),
        pytest.param(
            added("review: {ttl: 1m, wait: 2m}"),
            f"5: wait of review {OF}: expected at most the ttl of 60 seconds, got 120",
            id="waiting longer than the hold lives",
        ),
        pytest.param(
            added("review: {who: [sponsor], quorum: 2}"),
            f"5: quorum of review {OF}: expected at most 1, as many as who can mean (sponsor), got 2",
            id="more people than are named",
        ),
        pytest.param(
            added("review: always"), f'5: expected a mapping for review {OF}, got "always"', id="a review of one word"
        ),
        pytest.param(
            changed("[GET]", "[get]"),
            f'8: methods of {READ}: expected a method in capitals such as GET, got "get"; write GET',
            id="a method in small letters",
        ),
        pytest.param(
            changed("[GET]", "['*']"),
            f'8: methods of {READ}: expected a method in capitals such as GET, got "*"',
            id="every method",
        ),
        pytest.param(
            changed("[GET]", "[CONNECT]"),
            f"8: methods of {READ}: CONNECT is never forwarded; remove it",
            id="a method that is never forwarded",
        ),
        pytest.param(
            changed("[GET]", "[]"),
            f"8: methods of {READ}: expected at least one item, got an empty list",
            id="no methods",
        ),
        pytest.param(
            changed("/v1/invoices/{id}", "v1"),
            f"9: path of {READ}: a path must start with \"/\", got 'v1'",
            id="a path without a slash",
        ),
        pytest.param(
            changed("/v1/invoices/{id}", "/a/../b"),
            f'9: path of {READ}: \'/a/../b\' cannot match any call: a path must not hold "." or ".." as a part: '
            "send the path they lead to",
            id="a path with dots",
        ),
        pytest.param(
            changed("[GET]", "[GET, POST]") + "        websocket: true\n",
            f"10: websocket of {READ}: a WebSocket is opened with GET alone; write methods: [GET]",
            id="a WebSocket with POST",
        ),
        pytest.param(
            BASE + "        query: all\n",
            f'10: query of {READ}: expected "any", or a mapping from parameters to values, got "all"',
            id="a query of another word",
        ),
        pytest.param(
            BASE + "        query: {page: [1]}\n",
            f'10: query parameter "page" of {READ}: expected text, got a whole number; write "1" in quotes',
            id="a query value that is a number",
        ),
        pytest.param(
            BASE + "        query: {page: []}\n",
            f'10: query parameter "page" of {READ}: expected at least one item, got an empty list',
            id="a query parameter without values",
        ),
        pytest.param(
            BASE + "        query: {page: {oneof: [a]}}\n",
            f'10: unknown key "oneof" in query parameter "page" of {READ}; did you mean "one_of"?',
            id="a misspelt key of a query parameter",
        ),
        pytest.param(
            BASE + "        query: {'': any}\n",
            f"10: query of {READ}: expected the name of a parameter, got nothing",
            id="a query parameter without a name",
        ),
        pytest.param(
            BASE + "      - {name: read, methods: [GET], path: /}\n",
            f"10: name of {READ}: there is one of this name on line 7; choose another",
            id="two operations of one name",
        ),
        pytest.param(
            BASE[: BASE.index("    operations")] + "    operations: []\n",
            f"6: operations {OF}: expected at least one item, got an empty list",
            id="no operations",
        ),
        pytest.param(
            BASE + BASE[BASE.index("  - id") :],
            f"10: id {OF}: there is a cluster of this name at clusters.yaml:3; choose another",
            id="two clusters of one name",
        ),
        pytest.param(
            DENY + "    proof: session\n",
            '5: unknown key "proof" in deny rule "no-admin"; expected one of description, hosts, id, operations, '
            "ports, schemes",
            id="a key denials do not have",
        ),
        pytest.param(
            DENY + "    operations: []\n",
            '5: operations of deny rule "no-admin": expected at least one item, got an empty list',
            id="a denial of no operations",
        ),
        pytest.param(
            added('description: "a\\u001b[31m"'),
            f'5: description {OF}: expected at most 2000 printable characters, got "a\\u001b[31m"',
            id="a terminal escape in a description",
        ),
    ],
)
def test_refuses_with_place_and_mend(text: str, fault: str) -> None:
    assert rules(text)[1] == [f"clusters.yaml:{fault}"]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("hosts: ['*.erp.example']", id="a wildcard below a registered name"),
        pytest.param("hosts: ['*.example.co.uk']", id="a wildcard below a public suffix"),
        pytest.param("hosts: ['*.me.github.io']", id="a wildcard below a private public suffix"),
        pytest.param("hosts: [github.io]", id="a public suffix itself"),
        pytest.param("hosts: [internal]", id="a name of one label"),
    ],
)
def test_the_twins_of_refused_hosts_pass(line: str) -> None:
    assert cluster(changed("hosts: [erp.example]", line)).hosts


def test_a_wildcard_above_public_suffixes_is_refused() -> None:
    _, (fault,) = rules(changed("erp.example", "'*.amazonaws.com'"))
    assert fault.startswith(f'clusters.yaml:4: hosts {OF}: "*.amazonaws.com" would cover many owners: ')
    assert fault.endswith(".amazonaws.com, below it, is a public suffix; name the hosts one by one")


def test_all_faults_of_a_file_are_told_in_its_order() -> None:
    _, faults = rules(changed("hosts:", "host:").replace("routine", "rutine").replace("GET", "get"))
    assert [fault.split(":")[1] for fault in faults] == ["4", "5", "8"]


def test_a_name_used_in_two_files_is_refused_with_both_places() -> None:
    found = Rules(people=PEOPLE)
    told = []
    for name in ("a.yaml", "b.yaml"):
        faults = Faults(name)
        root = load(BASE.encode(), faults)
        assert root is not None
        found.read(root, faults)
        told += [str(fault) for fault in faults.listed()]
    assert told == [f"b.yaml:3: id {OF}: there is a cluster of this name at a.yaml:3; choose another"]


def test_reviewers_are_not_checked_while_the_people_are_unknown() -> None:
    assert rules(added("review: {who: [adda]}"), people=None)[1] == []


_LINES = sorted(set((BASE + DENY).splitlines()) | {"    ports: [80]", "    review:", "      ttl: 4h"})


@settings(max_examples=200)
@given(st.lists(st.sampled_from(_LINES), max_size=12), st.text("abc[]{}:-'\" \n0", max_size=6))
def test_lines_in_any_order_are_read_or_refused_with_faults(lines: list[str], tail: str) -> None:
    rules("\n".join(lines) + tail)
