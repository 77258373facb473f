"""Path templates: what may be written, what a template matches, and what its parameters stand for."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import Code, Rejected
from proxy.core.model import RuleRef
from proxy.core.paths import Entry, index_paths
from proxy.core.templates import MAX_PARTS, parse_template
from proxy.core.urls import canonical_path, path_segments

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
        pytest.param("/{path:rest,encoded,matrix}", id="a rest of anything"),
        pytest.param("/cars/{model:matrix}", id="a parameter with matrix parameters"),
        pytest.param("/cars/{model:encoded,matrix}", id="a parameter with everything"),
        pytest.param("/v{version}/x", id="a parameter behind a letter"),
        pytest.param("/models/{model}:generateContent", id="a parameter before a verb"),
        pytest.param("/Customers('{id}')/Orders({key:matrix})", id="parameters in brackets"),
        pytest.param("/~{user}", id="a parameter behind a tilde"),
        pytest.param("/caf%C3%A9-{id}.json", id="a parameter between letters of another alphabet and a suffix"),
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
        pytest.param("/v1/{}", "may hold one parameter", id="a parameter without a name"),
        pytest.param("/v1/{id:number}", "may hold one parameter", id="an unknown flag"),
        pytest.param("/v1/{id:}", "may hold one parameter", id="no flag"),
        pytest.param("/v1/{id:matrix,encoded}", "flags in this order", id="flags in another order"),
        pytest.param("/v1/{id:encoded,encoded}", "flags in this order", id="a flag twice"),
        pytest.param("/v1/{id:encoded, matrix}", "may hold one parameter", id="a space between flags"),
        pytest.param("/v1/{id", "may hold one parameter", id="an open brace"),
        pytest.param("/v1/id}", "may hold one parameter", id="a closing brace"),
        pytest.param("/v1/}{id}", "may hold one parameter", id="a closing brace before a parameter"),
        pytest.param("/v1/{id}}", "may hold one parameter", id="two closing braces"),
        pytest.param("/v1/{{id}}", "may hold one parameter", id="two opening braces"),
        pytest.param("/v1/{a}{b}", "may hold one parameter", id="two parameters in one part"),
        pytest.param("/v1/{a}-{b}", "may hold one parameter", id="two parameters with text between them"),
        pytest.param("/v1/x-{path:rest}", "must fill its part", id="a rest behind text"),
        pytest.param("/v1/{path:rest}.x", "must fill its part", id="a rest before text"),
        pytest.param("/v1/a b{id}", "cannot match any call", id="a space before a parameter"),
        pytest.param("/v1/%C3{id}", "cannot match any call", id="half a letter before a parameter"),
        pytest.param("/v1/{id}%A9", "cannot match any call", id="half a letter after a parameter"),
        pytest.param("/v1/%{id}", "cannot match any call", id="half an escape before a parameter"),
        pytest.param("/v1/a%7E{id}", "'a~x'", id="an escape of an unreserved character before a parameter"),
        pytest.param("/v1/a[{id}]", "'a%5Bx%5D'", id="square brackets around a parameter"),
        pytest.param("/v1/a%2F{id}", "{name:encoded}", id="an encoded slash before a parameter"),
        pytest.param("/v1/a;v={id}", "{name:matrix}", id="a semicolon before a parameter"),
        pytest.param("/{a}/{a}", "only once", id="a parameter named twice"),
        pytest.param("/{a}/b/{a:rest}", "only once", id="a rest named like a parameter"),
        pytest.param("/{path:rest}/x", "only be the last part", id="a rest that is not last"),
        pytest.param("/a/../b", "cannot match any call", id="dot segments"),
        pytest.param("/a//b", "cannot match any call", id="an empty part"),
        pytest.param("/a b", "cannot match any call", id="a space"),
        pytest.param("/a?b=c", "cannot match any call", id="a query in the path"),
        pytest.param("/a;v=1", "{name:matrix}", id="a matrix parameter"),
        pytest.param("/a%3Bv=1", "{name:matrix}", id="an encoded matrix parameter"),
        pytest.param("/;v=1", "cannot match any call", id="a matrix parameter of nothing"),
        pytest.param("/%7Eme", "'~me'", id="an escape of an unreserved character"),
        pytest.param("/caf%c3%a9", "'caf%C3%A9'", id="hex in lower case"),
        pytest.param("/a%2Fb", "{name:encoded}", id="an encoded slash in a literal"),
    ],
)
def test_a_template_that_could_not_match_is_refused(text: str, words: str) -> None:
    with pytest.raises(Rejected, match=re.escape(words)) as refused:
        parse_template(text)
    assert refused.value.code is Code.CONFIG_INVALID


@given(st.text(max_size=40) | st.from_regex(r"/[a-z%{}:,;()./0-9A-F]{0,30}", fullmatch=True))
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
    pytest.param("/a/{x}", "/a/b;v=1", False, id="a parameter has no semicolon"),
    pytest.param("/a/{x}", "/a/b%3Bv=1", False, id="nor an encoded one"),
    pytest.param("/a/{x:matrix}", "/a/b;v=1", True, id="a matrix parameter may have one"),
    pytest.param("/a/{x:matrix}", "/a/b%3Bv=1", True, id="or an encoded one"),
    pytest.param("/a/{x:matrix}", "/a/b", True, id="or none"),
    pytest.param("/a/{x:matrix}", "/a/b;v=c%2Fd", False, id="a matrix parameter has no encoded slash"),
    pytest.param("/a/{x:encoded}", "/a/b;v=1", False, id="an encoded parameter has no semicolon"),
    pytest.param("/a/{x:encoded,matrix}", "/a/b;v=c%2Fd", True, id="a parameter may have both"),
    pytest.param("/a/{x:matrix}", "/a;v=1/b", False, id="a semicolon belongs to its own part"),
    pytest.param("/a/{x:rest}", "/a/b/c;v=1", False, id="a rest has no semicolon"),
    pytest.param("/a/{x:rest,matrix}", "/a/b/c;v=1", True, id="a rest may have one"),
    pytest.param("/a/{x:rest,matrix}", "/a/b/c%2Fd", False, id="a rest with semicolons has no encoded slash"),
    pytest.param("/a/{x:rest,encoded}", "/a/b/c%2Fd", True, id="a rest may have an encoded slash"),
    pytest.param("/a/{x:rest,encoded,matrix}", "/a/b;v=1/c%2Fd/", True, id="a rest may have everything"),
    pytest.param("/v{x}", "/v1", True, id="text before a parameter"),
    pytest.param("/v{x}", "/v", False, id="and nothing in its place"),
    pytest.param("/v{x}", "/w1", False, id="other text before a parameter"),
    pytest.param("/v{x}", "/V1", False, id="case matters in it"),
    pytest.param("/{x}.json", "/a.json", True, id="text after a parameter"),
    pytest.param("/{x}.json", "/.json", False, id="and nothing before it"),
    pytest.param("/{x}.json", "/a.json/b", False, id="a part more"),
    pytest.param("/{x}.json", "/a.xml", False, id="other text after a parameter"),
    pytest.param("/P({x})", "/P(1)", True, id="text on both sides"),
    pytest.param("/P({x})", "/P()", False, id="with nothing between"),
    pytest.param("/P({x})", "/P(", False, id="with half of it"),
    pytest.param("/P({x})", "/P(1)(2)", True, id="the longest that stands between"),
    pytest.param("/aa{x}aa", "/aaa", False, id="text that overlaps itself"),
    pytest.param("/aa{x}aa", "/aaaaa", True, id="and does not"),
    pytest.param("/P('{x}')", "/P('a%2Fb')", False, id="between text no encoded slash either"),
    pytest.param("/P('{x:encoded}')", "/P('a%2Fb')", True, id="unless it is said"),
    pytest.param("/P('{x:matrix}')", "/P('a;b')", True, id="and so with a semicolon"),
    pytest.param("/{x}BC", "/a%C3%BC", False, id="an escape is not cut at its end"),
    pytest.param("/{x}C", "/a%C3%BC", False, id="nor within it"),
    pytest.param("/{x}%C3%BC", "/a%C3%BC", True, id="a whole letter is text like any other"),
    pytest.param("/{x}", "/gemini:delete", True, id="a parameter alone takes verbs"),
    pytest.param("/{x}", "/a.json", True, id="and suffixes"),
]


@pytest.mark.parametrize(("text", "path", "fits"), MATCHES)
def test_what_a_template_matches(text: str, path: str, fits: bool) -> None:
    assert canonical_path(path) == path
    segments = path_segments(path)
    assert parse_template(text).matches(segments) is fits
    at = RuleRef(id="c.1", file="clusters.yaml", line=1)
    entry = Entry(template=parse_template(text), methods=frozenset({"GET"}), at=at, value=text)
    assert index_paths([entry]).find("GET", segments) == [text] * fits


def test_a_template_captures_what_its_parameters_stand_for() -> None:
    template = parse_template("/v1/{tenant}/{package:encoded}/{path:rest}")
    captured = template.captured(path_segments("/v1/acme/@scope%2Fpkg/a/b/"))
    assert captured == {"tenant": "acme", "package": "@scope%2Fpkg", "path": "a/b/"}


@pytest.mark.parametrize(
    ("text", "path", "captured"),
    [
        pytest.param("/Customers('{id}')", "/Customers('ALFKI')", {"id": "ALFKI"}, id="a key in quotes"),
        pytest.param("/Lines({key})", "/Lines(Order=1,Line=2)", {"key": "Order=1,Line=2"}, id="a key of two fields"),
        pytest.param("/m/{model}:go", "/m/a:b:go", {"model": "a:b"}, id="text before the last verb"),
        pytest.param("/{car:matrix}/x", "/bmw;c=red%3Bd/x", {"car": "bmw;c=red%3Bd"}, id="with matrix parameters"),
        pytest.param("/{key:rest,encoded}", "/a/b%2Fc", {"key": "a/b%2Fc"}, id="a rest with an encoded slash"),
        pytest.param("/fixed", "/fixed", {}, id="nothing"),
    ],
)
def test_what_a_parameter_captures_stands_between_the_fixed_texts(
    text: str, path: str, captured: dict[str, str]
) -> None:
    assert parse_template(text).captured(path_segments(path)) == captured


@pytest.mark.parametrize("path", ["/a/b%2Fc/d", "/a/b;c/d", "/a/b%3Bc%2Fd/e", "/a/b/c%2Fd;e"])
def test_a_template_that_takes_everything_keeps_its_shape(path: str) -> None:
    template = parse_template("/a/{x}/{y:rest}")
    assert not template.matches(path_segments(path))
    assert template.taking_everything().matches(path_segments(path))
    assert not template.taking_everything().matches(path_segments(path.replace("a", "b", 1)))
