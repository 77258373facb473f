"""Path templates: what may be written, what matches, and the index that must agree with the plain reading."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.canonical import path_segments
from proxy.core.errors import Code, Rejected
from proxy.core.model import RuleRef
from proxy.core.templates import (
    MAX_BRANCHES,
    MAX_PARTS,
    Entry,
    PathIndex,
    index_paths,
    parse_template,
)


def entry(text: str, *methods: str, line: int = 1) -> Entry[str]:
    at = RuleRef(id=f"c.{line}", file="clusters.yaml", line=line)
    return Entry(template=parse_template(text), methods=frozenset(methods or ("GET",)), at=at, value=text)


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("/", id="the root"),
        pytest.param("/v1/invoices/{id}", id="a parameter"),
        pytest.param("/v1/invoices/", id="a closing slash"),
        pytest.param("/npm/{package:encoded}/latest", id="a parameter with an encoded slash"),
        pytest.param("/files/{path:rest}", id="a rest"),
        pytest.param("/{path:rest}", id="a rest of everything"),
        pytest.param("/caf%C3%A9/~me/a@b:c", id="a literal as it stands in a URL"),
        pytest.param("/" + "/".join(["a"] * MAX_PARTS), id="as many parts as there may be"),
    ],
)
def test_a_template_is_read_back_as_written(text: str) -> None:
    template = parse_template(text)
    assert "".join(f"/{part}" for part in template.parts) == template.text == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", 'must start with "/"', id="nothing"),
        pytest.param("v1/invoices", 'must start with "/"', id="no leading slash"),
        pytest.param("/" + "/".join(["a"] * (MAX_PARTS + 1)), "at most 64 parts", id="too many parts"),
        pytest.param("/v1/inv-{id}", "must fill its part", id="a parameter beside a literal"),
        pytest.param("/v1/{}", "must fill its part", id="a parameter without a name"),
        pytest.param("/v1/{id:number}", "must fill its part", id="a parameter of an unknown kind"),
        pytest.param("/v1/{id", "must fill its part", id="an open brace"),
        pytest.param("/{a}/{a}", "only once", id="a parameter named twice"),
        pytest.param("/{a}/b/{a:rest}", "only once", id="a rest named like a parameter"),
        pytest.param("/{path:rest}/x", "only be the last part", id="a rest that is not last"),
        pytest.param("/a/../b", "cannot match any call", id="dot segments"),
        pytest.param("/a//b", "cannot match any call", id="an empty part"),
        pytest.param("/a b", "cannot match any call", id="a space"),
        pytest.param("/a?b=c", "cannot match any call", id="a query in the path"),
        pytest.param("/a;v=1", "cannot match any call", id="a path parameter"),
        pytest.param("/%7Eme", "'~me'", id="an escape of an unreserved character"),
        pytest.param("/caf%c3%a9", "'caf%C3%A9'", id="hex in lower case"),
        pytest.param("/a%2Fb", "{name:encoded}", id="an encoded slash in a literal"),
    ],
)
def test_a_template_that_could_not_match_is_refused(text: str, words: str) -> None:
    with pytest.raises(Rejected, match=re.escape(words)) as refused:
        parse_template(text)
    assert refused.value.code is Code.CONFIG_INVALID


@given(st.text(max_size=40) | st.from_regex(r"/[a-z%{}:./0-9A-F]{0,30}", fullmatch=True))
@settings(max_examples=200)
def test_parsing_raises_nothing_but_rejected(text: str) -> None:
    try:
        template = parse_template(text)
    except Rejected as fault:
        assert fault.code is Code.CONFIG_INVALID
    else:
        assert template.text == text


# --- matching --------------------------------------------------------------------------------------------------------

MATCHES = [
    pytest.param("/", "/", True, id="the root is itself"),
    pytest.param("/", "/a", False, id="the root is nothing else"),
    pytest.param("/a", "/a/", False, id="a closing slash makes another path"),
    pytest.param("/a/", "/a/", True, id="a closing slash that is asked for"),
    pytest.param("/a/{x}", "/a/b", True, id="a parameter is one part"),
    pytest.param("/a/{x}", "/a/", False, id="a parameter is not empty"),
    pytest.param("/a/{x}", "/a/b/c", False, id="a parameter is only one part"),
    pytest.param("/a/{x}", "/a", False, id="a parameter is there"),
    pytest.param("/a/{x}", "/a/b%2Fc", False, id="a parameter has no encoded slash"),
    pytest.param("/a/{x:encoded}", "/a/b%2Fc", True, id="an encoded parameter may have one"),
    pytest.param("/a/{x:encoded}", "/a/b", True, id="an encoded parameter may have none"),
    pytest.param("/a/{x:encoded}", "/a/", False, id="an encoded parameter is not empty"),
    pytest.param("/a/{x:rest}", "/a/b", True, id="a rest is one part"),
    pytest.param("/a/{x:rest}", "/a/b/c/d", True, id="a rest is more"),
    pytest.param("/a/{x:rest}", "/a/b/", True, id="a rest may end in a slash"),
    pytest.param("/a/{x:rest}", "/a/", False, id="a rest is not empty"),
    pytest.param("/a/{x:rest}", "/a", False, id="a rest is there"),
    pytest.param("/a/{x:rest}", "/a/b/c%2Fd", False, id="a rest has no encoded slash"),
    pytest.param("/a/{x:rest}", "/b/c", False, id="a rest has its place"),
    pytest.param("/a", "/A", False, id="case matters"),
]


@pytest.mark.parametrize(("text", "path", "fits"), MATCHES)
def test_what_a_template_matches(text: str, path: str, fits: bool) -> None:
    segments = path_segments(path)
    assert parse_template(text).matches(segments) is fits
    assert index_paths([entry(text)]).find("GET", segments) == [text] * fits


def test_a_template_captures_what_its_parameters_stand_for() -> None:
    template = parse_template("/v1/{tenant}/{package:encoded}/{path:rest}")
    captured = template.captured(path_segments("/v1/acme/@scope%2Fpkg/a/b/"))
    assert captured == {"tenant": "acme", "package": "@scope%2Fpkg", "path": "a/b/"}


def test_the_method_belongs_to_the_entry() -> None:
    index = index_paths([entry("/a/{x}", "GET", "HEAD"), entry("/a/{x:rest}", "PUT")])
    assert index.find("HEAD", ("a", "b")) == ["/a/{x}"]
    assert index.find("PUT", ("a", "b")) == ["/a/{x:rest}"]
    assert index.find("POST", ("a", "b")) == []


PARTS = st.sampled_from(["a", "b", "{x}", "{x:encoded}"])
TEMPLATES = st.tuples(st.lists(PARTS, max_size=4), st.sampled_from(["", "a", "{y:rest}"])).map(
    lambda parts: "/" + "/".join([*(text.replace("x", f"x{i}") for i, text in enumerate(parts[0])), parts[1]])
)
PATHS = st.lists(st.sampled_from(["a", "b", "c", "a%2Fb"]), max_size=5).map(lambda parts: "/" + "/".join(parts))
CLOSED = st.tuples(PATHS, st.booleans()).map(lambda item: item[0] + "/" * (item[1] and item[0] != "/"))


def plain_reading(text: str, path: str) -> bool:
    """The documented meaning as a regular expression: the oracle."""
    pattern = re.sub(r"\{\w+:rest\}", "(?!/)(?!.*%2F).+", text)
    pattern = re.sub(r"\{\w+:encoded\}", "[^/]+", pattern)
    pattern = re.sub(r"\{\w+\}", "(?:(?!%2F)[^/])+", pattern)
    return re.fullmatch(pattern, path) is not None


@given(st.lists(TEMPLATES, max_size=8, unique=True), CLOSED)
@settings(max_examples=200)
def test_the_index_agrees_with_the_plain_reading(texts: list[str], path: str) -> None:
    segments = path_segments(path)
    expected = sorted(text for text in texts if plain_reading(text, path))
    assert sorted(text for text in texts if parse_template(text).matches(segments)) == expected
    assert sorted(index_paths(map(entry, texts)).find("GET", segments)) == expected


# --- the bound -------------------------------------------------------------------------------------------------------


def doubled(depth: int) -> list[Entry[str]]:
    """Templates of which any two overlap: at each depth a literal and a parameter."""
    texts = [""]
    for place in range(depth):
        texts = [f"{text}/{part}" for text in texts for part in ("a", f"{{p{place}}}")]
    return [entry(text, line=number) for number, text in enumerate(texts, 1)]


def test_overlap_up_to_the_bound_is_indexed() -> None:
    index = index_paths(doubled(5))
    assert index.branches == MAX_BRANCHES == len(index.find("GET", ("a",) * 5))


def test_overlap_beyond_the_bound_is_refused_with_places_and_the_mend() -> None:
    with pytest.raises(Rejected, match="put fixed parts where parameters stand") as refused:
        index_paths(doubled(6))
    assert refused.value.code is Code.CONFIG_INVALID
    assert refused.value.detail.startswith(
        "clusters.yaml:1: below / one path could mean more than 32 operations: c.1 ("
    )
    assert "and 60 more" in refused.value.detail


def test_entries_beside_the_crowd_are_not_named() -> None:
    with pytest.raises(Rejected) as refused:
        index_paths([entry("/quiet/x", line=99), *(entry("/a/{x}/z", line=line) for line in range(1, 34))])
    assert "below /a/{x}/z one path" in refused.value.detail
    assert "quiet" not in refused.value.detail

    with pytest.raises(Rejected) as refused:
        resting = [entry("/a/{x:rest}", line=line) for line in range(1, 20)]
        index_paths([entry("/a/b/quiet", line=99), *resting, *(entry("/a/c", line=line) for line in range(20, 40))])
    assert "below /a one path" in refused.value.detail
    assert refused.value.detail.count("/a/{x:rest}") == 4
    assert "and 35 more" in refused.value.detail


def test_few_entries_that_overlap_too_much_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.core.templates.MAX_BRANCHES", 1)
    with pytest.raises(Rejected) as refused:
        index_paths([entry("/{x}"), entry("/a", line=2)])
    assert "c.1 (clusters.yaml:1, /{x}), c.2 (clusters.yaml:2, /a);" in refused.value.detail


def test_many_entries_that_do_not_overlap_are_no_crowd() -> None:
    index: PathIndex[str] = index_paths(entry(f"/v1/things/{number}/{{part}}") for number in range(2000))
    assert index.branches == 1
    assert index.find("GET", ("v1", "things", "1999", "x")) == ["/v1/things/1999/{part}"]


def test_methods_of_one_path_are_no_crowd() -> None:
    assert index_paths([entry("/a", "GET"), entry("/a", "PUT"), entry("/a", "POST")]).branches == 1


def test_an_empty_index_finds_nothing() -> None:
    empty: PathIndex[str] = index_paths([])
    assert empty.find("GET", ("",)) == []
