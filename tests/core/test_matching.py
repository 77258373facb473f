"""Destinations taken apart, and queries compared."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from identities import operation
from questions import call

from proxy.core.errors import Code, Rejected
from proxy.core.matching import GivenQuery, destination_of, prepare
from proxy.core.model import IPAddress, QueryRule


@pytest.mark.parametrize(
    ("url", "host", "above", "literal"),
    [
        pytest.param("https://a.b.example/", "a.b.example", {"b.example", "example"}, None, id="a name"),
        pytest.param("https://erp/", "erp", set(), None, id="a single label"),
        pytest.param("https://node7/", "node7", set(), None, id="a label that ends in a digit"),
        pytest.param(
            "https://10.1.2.3/", "10.1.2.3", set(), ip_address("10.1.2.3"), id="an IPv4 address is below nothing"
        ),
        pytest.param("https://[fd00::1]/", "fd00::1", set(), ip_address("fd00::1"), id="an IPv6 address"),
    ],
)
def test_a_destination(url: str, host: str, above: set[str], literal: IPAddress | None) -> None:
    there = destination_of(call(url))
    assert (there.host, there.above, there.literal) == (host, above, literal)
    assert there.origin == url.removesuffix("/")
    assert (there.scheme, there.port) == ("https", 443)


STATE = QueryRule(name="state", values=frozenset({"open", "paid"}))
PAGE = QueryRule(name="page")
TENANT = QueryRule(name="tenant", required=True)
ARRAY = QueryRule(name="page[]")
NUMBER, SIZE = QueryRule(name="page[number]"), QueryRule(name="page[size]")
LINK = QueryRule(name="to", encoded=True)
MANY = QueryRule(name="id", values=frozenset({"1", "2"}), repeated=True)

QUERIES = [
    pytest.param((), "", [], id="no rule and no query"),
    pytest.param((), "?", [], id="no rule and an empty query"),
    pytest.param((), "?a=1", [("query", "no query", "a=")], id="no rule permits no query"),
    pytest.param((STATE, PAGE), "?state=open&page=2", [], id="every listed parameter once"),
    pytest.param((STATE, PAGE), "", [], id="none of the optional ones"),
    pytest.param((PAGE,), "?page=", [], id="an empty value where any is permitted"),
    pytest.param((STATE,), "?state=", [("query.state", "open, paid", '""')], id="an empty value where some are"),
    pytest.param((STATE,), "?state=all", [("query.state", "open, paid", "all")], id="a value that is not listed"),
    pytest.param((STATE,), "?State=open", [("query", "state", "State=")], id="another case is another name"),
    pytest.param((STATE,), "?state[]=open", [("query", "state", "state[]=")], id="D02 an array is another name"),
    pytest.param((STATE,), "?state%5B%5D=open", [("query", "state", "state[]=")], id="D02 an encoded array, too"),
    pytest.param(
        (PAGE, ARRAY),
        "?page=1&page[]=2",
        [("query.page[]", "at most once", "more than once")],
        id="D02 a parameter and its array, both listed",
    ),
    pytest.param(
        (PAGE, ARRAY),
        "?page[]=1&page=2",
        [("query.page", "at most once", "more than once")],
        id="D02 an array and its parameter",
    ),
    pytest.param((PAGE, ARRAY), "?page[]=1", [], id="D02 the array alone"),
    pytest.param((NUMBER, SIZE), "?page[number]=1&page[size]=2", [], id="D02 two members of one mapping"),
    pytest.param((MANY,), "?id=1&id=2&id=1", [], id="D02 repeated where a rule says so"),
    pytest.param((MANY,), "?id=1&id=3", [("query.id", "1, 2", "3")], id="D02 repeated with another value"),
    pytest.param(
        (MANY, PAGE), "?id=1&page=1&page=2", [("query.page", "at most once", "more than once")], id="D02 other"
    ),
    pytest.param((MANY,), "?id=1&id[]=2", [("query", "id", "id[]=")], id="D02 an array beside what may be repeated"),
    pytest.param(
        (MANY, QueryRule(name="id[]", repeated=True)),
        "?id=1&id[]=2",
        [("query.id[]", "at most once", "more than once")],
        id="D02 an array and what may be repeated, both listed",
    ),
    pytest.param((PAGE,), "?page=%252e", [("query.page", "encoded once", "encoded twice")], id="D02 encoded twice"),
    pytest.param((LINK,), "?to=https%3A//a.example/%252e", [], id="D02 encoded twice where a rule says so"),
    pytest.param((LINK,), "?to=/x", [], id="and once, too"),
    pytest.param((replace(LINK, values=frozenset({"/%2e"})),), "?to=/%252e", [], id="a value is compared decoded once"),
    pytest.param(
        (replace(LINK, values=frozenset({"/."})),),
        "?to=/%252e",
        [("query.to", "/.", "/%2e")],
        id="and not decoded twice",
    ),
    pytest.param(
        (PAGE,), "?page=1&page=2", [("query.page", "at most once", "more than once")], id="a listed parameter twice"
    ),
    pytest.param((PAGE,), "?page=1&key=secret", [("query", "page", "key=")], id="an unlisted value is not repeated"),
    pytest.param((TENANT,), "?tenant=acme", [], id="a required parameter"),
    pytest.param((TENANT, PAGE), "?page=1", [("query.tenant", "present", "absent")], id="a required one is missing"),
]


@pytest.mark.parametrize(("rules", "query", "faults"), QUERIES)
def test_what_a_query_may_be(rules: tuple[QueryRule, ...], query: str, faults: list[tuple[str, str, str]]) -> None:
    parameters = call(f"https://erp.example/x{query}").parameters
    found = prepare(operation(template="/x", query=rules)).query_faults(parameters)
    assert [(item.field, item.expected, item.got) for item in found] == faults


def test_any_query_permits_all() -> None:
    prepared = prepare(operation(template="/x", any_query=True))
    assert list(prepared.query_faults((("a", "1"), ("a", "2")))) == []


def test_any_query_does_not_permit_text_encoded_twice() -> None:
    prepared = prepare(operation(template="/x", any_query=True))
    found = list(prepared.query_faults((("a", "100%"), ("b", "%2e"))))
    assert [(item.field, item.expected, item.got) for item in found] == [("query.b", "encoded once", "encoded twice")]


@pytest.mark.parametrize(
    ("rules", "query", "named"),
    [
        pytest.param((), "", True, id="without rules every query, also none"),
        pytest.param((), "?a=1", True, id="without rules any query"),
        pytest.param((STATE,), "?state=open", True, id="a listed value"),
        pytest.param((STATE,), "?state=x", False, id="a value that is not listed"),
        pytest.param((STATE,), "", False, id="the parameter is absent"),
        pytest.param((STATE,), "?state=x&state=open", True, id="a repeat does not hide it"),
        pytest.param((STATE,), "?state[]=open", True, id="D02 an array does not hide it"),
        pytest.param((STATE,), "?STATE=open", True, id="D02 nor do capitals"),
        pytest.param((STATE,), "?state=%256fpen", True, id="D02 nor does encoding it twice"),
        pytest.param((STATE,), "?state=%25256fpen", True, id="D02 or thrice"),
        pytest.param((STATE,), "?state=%2570ai", False, id="D02 another value encoded twice"),
        pytest.param((STATE,), "?state=open&z=1", True, id="a further parameter does not hide it"),
        pytest.param((STATE, PAGE), "?state=open", False, id="every listed parameter must be there"),
    ],
)
def test_what_a_denial_names(rules: tuple[QueryRule, ...], query: str, named: bool) -> None:
    asked = call(f"https://erp.example/x{query}")
    assert prepare(operation(template="/x", query=rules)).names(asked, GivenQuery(asked)) is named


@pytest.mark.parametrize(
    ("asks", "is_for", "permits", "denies"),
    [
        pytest.param(False, False, True, True, id="neither"),
        pytest.param(True, True, True, True, id="both"),
        pytest.param(True, False, False, True, id="a WebSocket needs a rule for it, but none to be denied"),
        pytest.param(False, True, False, False, id="a rule for WebSockets is for nothing else"),
    ],
)
def test_who_opens_a_websocket(asks: bool, is_for: bool, permits: bool, denies: bool) -> None:
    asked = replace(call("https://erp.example/x"), websocket=asks)
    prepared = prepare(operation(template="/x", websocket=is_for))
    assert (prepared.fits_protocol(asked), prepared.names(asked, GivenQuery(asked))) == (permits, denies)


def test_an_operation_needs_a_template() -> None:
    with pytest.raises(Rejected) as refused:
        prepare(operation(template="x"))
    assert refused.value.code is Code.CONFIG_INVALID
