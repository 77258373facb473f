"""What servers read differently: which of it a rule may settle, and every reading a denial must take for meant."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from questions import call

from proxy.core.errors import Code, Rejected
from proxy.core.readings import (
    doubt,
    encoded_twice,
    oddities,
    path_readings,
    query_readings,
    spelt_otherwise,
    value_readings,
)
from proxy.core.urls import canonical_path, path_segments


@pytest.mark.parametrize(
    ("part", "odd"),
    [
        pytest.param("a", set(), id="nothing"),
        pytest.param("a%2Fb", {"encoded"}, id="an encoded slash"),
        pytest.param("a;b", {"matrix"}, id="a semicolon"),
        pytest.param("a%3Bb", {"matrix"}, id="an encoded semicolon"),
        pytest.param("a;b%2Fc", {"encoded", "matrix"}, id="both"),
        pytest.param("a%2Cb", set(), id="another escape"),
    ],
)
def test_what_is_odd_about_a_part(part: str, odd: set[str]) -> None:
    assert oddities(part) == odd


@pytest.mark.parametrize(
    ("url", "field"),
    [
        pytest.param("https://erp.example/a/b?c=d", None, id="none"),
        pytest.param("https://erp.example/a%2Fb", None, id="an encoded slash"),
        pytest.param("https://erp.example/a;b", "path", id="a semicolon"),
        pytest.param("https://erp.example/a%3Bb/c", "path", id="an encoded semicolon"),
        pytest.param("https://erp.example/a?b=%2541", "query", id="a value encoded twice"),
        pytest.param("https://erp.example/a;b?b=%2541", "path", id="both"),
        pytest.param("https://erp.example/a?b=100%25", None, id="a percent sign"),
        pytest.param("https://erp.example/a?b=c%3Bd", None, id="an encoded semicolon in a query"),
    ],
)
def test_what_only_a_rule_can_settle(url: str, field: str | None) -> None:
    fault = doubt(call(url))
    assert (fault and (fault.code, fault.field)) == (field and (Code.URL_AMBIGUOUS, field))


READINGS = {
    "/": {("",)},
    "/a/b": {("a", "b")},
    "/a/": {("a", ""), ("a",)},
    "/a%2Fb": {("a%2Fb",), ("a", "b")},
    "/a;b/c": {("a;b", "c"), ("a", "c")},
    "/a%3Bb;c/d": {("a%3Bb;c", "d"), ("a%3Bb", "d"), ("a", "d")},
    "/a;b%3Bc": {("a;b%3Bc",), ("a;b",), ("a",)},
    "/a%3Ab/%40c": {("a:b", "@c")},
    "/a%28b%29;c": {("a(b);c",), ("a(b)",)},
    "/a%3D%2Fb": {("a=%2Fb",), ("a=", "b")},
    "/a%5B": {("a%5B",)},
    "/a;b%2Fc/": {
        *[("a;b%2Fc", ""), ("a;b%2Fc",), ("a", ""), ("a",)],
        *[("a;b", "c", ""), ("a;b", "c"), ("a", "c", ""), ("a", "c")],
    },
}


@pytest.mark.parametrize("path", READINGS)
def test_every_reading_of_a_path(path: str) -> None:
    assert set(path_readings(call(f"https://erp.example{path}"))) == READINGS[path]


@given(st.lists(st.sampled_from(["a", "b", "/", ";", "%3B", "%2F"]), max_size=10))
@settings(max_examples=100)
def test_no_reading_has_an_empty_part_save_the_last(found: list[str]) -> None:
    try:
        path = canonical_path("/" + "".join(found))
    except Rejected:
        return
    for parts in path_readings(call(f"https://erp.example{path}")):
        assert "" not in parts[:-1]


@pytest.mark.parametrize(
    ("value", "readings"),
    [
        pytest.param("a", ["a"], id="plain text"),
        pytest.param("100%", ["100%"], id="a percent sign"),
        pytest.param("%61", ["%61", "a"], id="encoded once more"),
        pytest.param("%252561", ["%252561", "%2561", "%61", "a"], id="and more"),
        pytest.param("a%2Bb", ["a%2Bb", "a+b", "a b"], id="encoded, then a space"),
    ],
)
def test_every_reading_of_a_value(value: str, readings: list[str]) -> None:
    assert value_readings(value) == set(readings)
    assert encoded_twice(value) is (len(readings) > 1)


def test_a_plus_is_also_a_space() -> None:
    assert value_readings("a+b") == {"a+b", "a b"}


def test_decoding_comes_to_an_end() -> None:
    assert len(value_readings("%" + "25" * 100 + "61")) == 8


@pytest.mark.parametrize(
    ("query", "readings"),
    [
        pytest.param("a=b%20c", [("a", "b c")], id="no plus has one reading"),
        pytest.param("a=b%2Bc", [("a", "b+c")], id="an encoded one is itself"),
        pytest.param("a=b+c", [("a", "b c"), ("a", "b+c")], id="a raw one is a space or itself"),
        pytest.param("a+b=c", [("a b", "c"), ("a+b", "c")], id="in a name, too"),
    ],
)
def test_every_reading_of_a_query(query: str, readings: list[tuple[str, str]]) -> None:
    assert list(query_readings(call(f"https://erp.example/?{query}"))) == readings


@pytest.mark.parametrize(
    ("path", "others"),
    [
        pytest.param("/a/b", set(), id="nothing reserved"),
        pytest.param("/a:b", {"/a%3Ab"}, id="raw"),
        pytest.param("/a%3Ab", {"/a:b"}, id="encoded"),
        pytest.param("/a:b/c%40d", {"/a:b/c@d", "/a%3Ab/c%40d"}, id="both"),
        pytest.param("/a%2Fb;c%3Bd", set(), id="slashes and semicolons are not among them"),
    ],
)
def test_a_path_spelt_otherwise(path: str, others: set[str]) -> None:
    found = list(spelt_otherwise(call(f"https://erp.example{path}?x=1")))
    assert {each.path for each in found} == others
    assert all(each.segments == path_segments(each.path) and each.query == "x=1" for each in found)
