"""The path and the query: one spelling for each reading, and no spelling for what has several (THREATS.md D01, D02)."""

import re
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import unquote, unquote_to_bytes

import heads
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.canonical import canonicalise
from proxy.core.errors import Code, Rejected
from proxy.core.model import Leg, Received
from proxy.core.urls import canonical_path, canonical_query, path_segments, query_parameters


def refusal(received: Received, leg: Leg = heads.OUTSIDE) -> tuple[Code, str]:
    with pytest.raises(Rejected) as caught:
        canonicalise(received, leg)
    assert caught.value.detail.isprintable()
    return caught.value.code, caught.value.field


# --- the path --------------------------------------------------------------------------------------------------------

PATHS = {
    "the root": ("/", "/", ("",)),
    "names": ("/v1/invoices/7", "/v1/invoices/7", ("v1", "invoices", "7")),
    "a trailing slash": ("/v1/", "/v1/", ("v1", "")),
    "escaped unreserved characters are plain ones": ("/%7ea%2Db%2e%5f%41%7A%39", "/~a-b._Az9", ("~a-b._Az9",)),
    "hex digits are capitals": ("/a%2fb%c3%bc", "/a%2Fb%C3%BC", ("a%2Fb%C3%BC",)),
    "D01 an encoded slash stays": ("/@scope%2fname", "/@scope%2Fname", ("@scope%2Fname",)),
    "reserved characters stay raw": ("/a!$&'()*+,=:@b", "/a!$&'()*+,=:@b", ("a!$&'()*+,=:@b",)),
    "and encoded": ("/a%21%24%26%40", "/a%21%24%26%40", ("a%21%24%26%40",)),
    "an encoded space": ("/Purchase%20Orders", "/Purchase%20Orders", ("Purchase%20Orders",)),
    "an encoded percent sign": ("/100%25", "/100%25", ("100%25",)),
    "an encoded percent sign before other letters": ("/100%25xy", "/100%25xy", ("100%25xy",)),
    "an encoded question mark": ("/a%3Fb", "/a%3Fb", ("a%3Fb",)),
    "what browsers send raw": ("/a[0]{b}|c^d`e", "/a%5B0%5D%7Bb%7D%7Cc%5Ed%60e", ("a%5B0%5D%7Bb%7D%7Cc%5Ed%60e",)),
    "D01 a matrix parameter stays raw": ("/cars;color=red/bmw", "/cars;color=red/bmw", ("cars;color=red", "bmw")),
    "D01 and encoded": ("/cars%3bcolor=red", "/cars%3Bcolor=red", ("cars%3Bcolor=red",)),
    "D01 an empty matrix parameter": ("/cars;/bmw;;a", "/cars;/bmw;;a", ("cars;", "bmw;;a")),
    "D01 a matrix parameter beside an encoded slash": ("/a;b%2fc", "/a;b%2Fc", ("a;b%2Fc",)),
    "unicode composed": ("/caf%c3%a9", "/caf%C3%A9", ("caf%C3%A9",)),
    "unicode decomposed is another path": ("/cafe%cc%81", "/cafe%CC%81", ("cafe%CC%81",)),
    "a plus is a plus": ("/a+b/c%2bd", "/a+b/c%2Bd", ("a+b", "c%2Bd")),
    "a name of three dots": ("/a/.../b", "/a/.../b", ("a", "...", "b")),
    "a name that begins with dots": ("/..a/.well-known", "/..a/.well-known", ("..a", ".well-known")),
}


@pytest.mark.parametrize(("raw", "path", "segments"), PATHS.values(), ids=PATHS.keys())
def test_a_path_with_one_reading_becomes_one_spelling(raw: str, path: str, segments: tuple[str, ...]) -> None:
    call = canonicalise(heads.absolute(f"http://erp.example{raw}"), heads.OUTSIDE)
    assert (call.path, call.segments) == (path, segments)
    assert canonical_path(path) == path


BAD_PATHS = {
    "D01 two dots": "/safe/../admin",
    "D01 two dots at the end": "/safe/..",
    "D01 one dot": "/safe/./admin",
    "D01 one dot at the end": "/safe/.",
    "D01 encoded dots": "/safe/%2e%2e/admin",
    "D01 half encoded dots": "/safe/.%2E/admin",
    "D01 dots and a parameter": "/safe/..;/admin",
    "D01 dots and an encoded semicolon": "/safe/..%3b/admin",
    "D01 dots behind an encoded slash": "/safe/a%2f..%2fadmin",
    "D01 encoded dots and slash": "/safe/%2e%2e%2fadmin",
    "D01 dots before an encoded backslash": "/safe/..%5cadmin",
    "D01 dots before a backslash": "/safe/..\\admin",
    "D01 dots and an encoded space": "/safe/..%20/admin",
    "D01 full-width dots": "/safe/%EF%BC%8E%EF%BC%8E/admin",
    "D01 a two dot leader": "/safe/%E2%80%A5/admin",
    "D01 double encoding": "/safe/%252e%252e/admin",
    "D01 double encoding in pieces": "/safe/%25%32%65/admin",
    "D01 a double encoded slash": "/safe%252fadmin",
    "D01 an empty part": "/safe//admin",
    "D01 an empty part at the front": "//evil.example/",
    "D01 an empty part at the end": "/safe//",
    "D01 an encoded empty part": "/safe%2f%2fadmin",
    "D01 an encoded slash at the front of a part": "/%2fadmin",
    "D01 an encoded slash at the end of a part": "/admin%2f",
    "D01 a dot and a parameter": "/safe/.;x=y/admin",
    "D01 dots and a parameter at the end": "/safe/..;",
    "D01 dots as a parameter": "/safe/a;../admin",
    "D01 dots behind an encoded semicolon": "/safe/a%3b..%3bb",
    "D01 dots behind a parameter and an encoded slash": "/safe/a;x=%2f..%2fadmin",
    "D01 a parameter of nothing": "/safe/;x=y/admin",
    "D01 an encoded parameter of nothing": "/safe/%3bx=y/admin",
    "D01 a parameter of nothing at the front": "/;x=y/admin",
    "D01 a parameter of nothing behind an encoded slash": "/safe/a%2f;x=y",
    "D01 dots and a full-width semicolon": "/safe/..%EF%BC%9B/admin",
    "D01 dots and a full-width slash": "/safe/..%EF%BC%8Fadmin",
    "D01 dots and a full-width backslash": "/safe/..%EF%BC%BCadmin",
    "D01 overlong dots": "/safe/%c0%ae%c0%ae/admin",
    "D01 an overlong slash": "/safe%c0%afadmin",
    "D01 a surrogate": "/%ed%a0%80",
    "D01 a lonely byte": "/caf%e9",
    "an encoded NUL": "/a%00b",
    "an encoded line break": "/a%0d%0aHost:%20evil",
    "an encoded tab": "/a%09b",
    "an encoded DEL": "/a%7fb",
    "an encoded C1 control": "/a%c2%85b",
    "a bare percent sign": "/100%",
    "half an escape": "/a%2",
    "an escape of other letters": "/a%zz",
    "an escape of IIS": "/a%u002e",
    "two percent signs": "/a%%32%65",
    "a backslash": "/a\\b",
    "an encoded backslash": "/a%5cb",
    "a space": "/a b",
    "a tab": "/a\tb",
    "a NUL": "/a\0b",
    "a raw letter outside ASCII": "/caf\xe9",
    "a fragment": "/a#b",
    "a quotation mark": '/a"b',
    "angle brackets": "/<a>",
}


@pytest.mark.parametrize("path", BAD_PATHS.values(), ids=BAD_PATHS.keys())
def test_a_path_with_more_than_one_reading_is_refused(path: str) -> None:
    assert refusal(heads.absolute(f"http://erp.example{path}")) == (Code.URL_AMBIGUOUS, "path")


@pytest.mark.parametrize(
    ("form", "target"),
    [
        pytest.param("origin", b"", id="nothing"),
        pytest.param("origin", b"*", id="an asterisk"),
        pytest.param("origin", b"v1", id="a relative path"),
        pytest.param("origin", b"?x=1", id="a query alone"),
    ],
)
def test_a_target_that_does_not_begin_with_a_slash_is_refused(form: str, target: bytes) -> None:
    assert refusal(replace(heads.origin(), form=form, target=target), heads.INSIDE) == (Code.URL_AMBIGUOUS, "path")


def test_an_absolute_form_without_a_path_means_the_root() -> None:
    call = canonicalise(heads.absolute("http://erp.example"), heads.OUTSIDE)
    assert (call.path, call.has_query, call.url) == ("/", False, "http://erp.example/")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("/a#b", "a fragment (#…) is not sent to a server: leave it out", id="a fragment"),
        pytest.param("/a\\b", "a backslash must not stand in a URL", id="a backslash"),
        pytest.param('/a"b', "'\"' must be percent-encoded, as %22", id="a quotation mark"),
        pytest.param("/a<b", "'<' must be percent-encoded, as %3C", id="an angle bracket"),
        pytest.param("/a b", "spaces, controls and non-ASCII characters must be percent-encoded UTF-8", id="a space"),
        pytest.param(
            "/a\tb", "spaces, controls and non-ASCII characters must be percent-encoded UTF-8", id="a control"
        ),
        pytest.param(
            "/caf\xe9", "spaces, controls and non-ASCII characters must be percent-encoded UTF-8", id="a letter"
        ),
        pytest.param("a", 'a path must start with "/"', id="no slash"),
        pytest.param(
            "/a%", 'a "%" in a path must be followed by two hex digits; a plain one is written %25', id="a percent sign"
        ),
        pytest.param("/a%e9", "the escapes of a path must be well-formed UTF-8", id="half a letter"),
        pytest.param("/a%00", "a path must not hold control characters, encoded or not", id="a NUL"),
        pytest.param("/a%5cb", "a path must not hold a backslash, encoded or not", id="an encoded backslash"),
        pytest.param("/a//b", 'a path must not hold "//": write one "/"', id="an empty part"),
        pytest.param("/a%2f", "an encoded slash (%2F) must stand between two names", id="an encoded empty part"),
        pytest.param(
            "/;a", 'a ";" must stand behind a name: without it the part is empty to some servers', id="a lone parameter"
        ),
        pytest.param(
            "/a/..", 'a path must not hold "." or ".." as a part: send the path they lead to', id="dot segments"
        ),
        pytest.param(
            "/%2541",
            "a path must not be percent-encoded twice, save in a query value whose rule permits it",
            id="encoded twice",
        ),
    ],
)
def test_the_reason_says_what_is_amiss_and_how_to_write_it(text: str, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        canonical_path(text)
    assert (caught.value.detail, caught.value.field) == (reason, "path")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            "a=b;c",
            'a raw ";" in a query is a separator to some servers alone: write "&", or %3B where it is data',
            id="a semicolon",
        ),
        pytest.param("a=b#", "a fragment (#…) is not sent to a server: leave it out", id="a fragment"),
        pytest.param(
            "a=%",
            'a "%" in a query must be followed by two hex digits; a plain one is written %25',
            id="a percent sign",
        ),
        pytest.param("a=%e9", "the escapes of a query must be well-formed UTF-8", id="half a letter"),
        pytest.param("a=%00", "a query must not hold control characters, encoded or not", id="a NUL"),
        pytest.param(
            "%2561=b",
            "a query must not be percent-encoded twice, save in a query value whose rule permits it",
            id="a name encoded twice",
        ),
        pytest.param(
            "b=%0A&a%0A=b", "a parameter's name must not hold control characters, encoded or not", id="a line in a name"
        ),
    ],
)
def test_the_reason_for_a_query_too(text: str, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        canonical_query(text)
    assert (caught.value.detail, caught.value.field) == (reason, "query")


# --- the query -------------------------------------------------------------------------------------------------------

QUERIES = {
    "no parameters": ("", "", ()),
    "one": ("limit=2", "limit=2", (("limit", "2"),)),
    "D02 one twice, both kept for the rule to see": ("a=1&a=2", "a=1&a=2", (("a", "1"), ("a", "2"))),
    "D02 encoded brackets are part of the name": ("a%5b%5D=1", "a%5B%5D=1", (("a[]", "1"),)),
    "D02 an encoded semicolon is data": ("a=1%3bb=2", "a=1%3Bb=2", (("a", "1;b=2"),)),
    "an encoded ampersand is data": ("a=1%26b=2", "a=1%26b=2", (("a", "1&b=2"),)),
    "a name without a value": ("a&b=", "a&b=", (("a", ""), ("b", ""))),
    "a value with an equals sign": ("a=b=c", "a=b=c", (("a", "b=c"),)),
    "a value without a name": ("=b", "=b", (("", "b"),)),
    "empty ones are none": ("&a=1&&", "&a=1&&", (("a", "1"),)),
    "a plus is a space, an encoded one is a plus": ("q=a+b%2bc%20d", "q=a+b%2Bc%20d", (("q", "a b+c d"),)),
    "names are decoded, too": ("%6cimit=%32", "limit=2", (("limit", "2"),)),
    "a URL as a value": ("to=https://a.example/x?y", "to=https://a.example/x?y", (("to", "https://a.example/x?y"),)),
    "letters outside ASCII": ("q=%c3%bc", "q=%C3%BC", (("q", "\u00fc"),)),
    "an encoded backslash is data": ("q=%5cw", "q=%5Cw", (("q", "\\w"),)),
    "D02 raw brackets are encoded": ("a[]=1&b[c]=2", "a%5B%5D=1&b%5Bc%5D=2", (("a[]", "1"), ("b[c]", "2"))),
    "what browsers send raw is encoded": ("q={a}|^`", "q=%7Ba%7D%7C%5E%60", (("q", "{a}|^`"),)),
    "D02 a value encoded twice, for the rule to see": ("to=%252fx", "to=%252fx", (("to", "%2fx"),)),
    "D02 a value encoded twice in pieces": ("to=%25%32%66x", "to=%252fx", (("to", "%2fx"),)),
    "D02 a value encoded three times": ("to=%25252f", "to=%25252f", (("to", "%252f"),)),
    "lines and tabs are data": ("q=a%0d%0Ab%09c", "q=a%0D%0Ab%09c", (("q", "a\r\nb\tc"),)),
    "dots are data": ("file=../a", "file=../a", (("file", "../a"),)),
}


@pytest.mark.parametrize(("raw", "query", "parameters"), QUERIES.values(), ids=QUERIES.keys())
def test_a_query_becomes_one_spelling(raw: str, query: str, parameters: tuple[tuple[str, str], ...]) -> None:
    call = canonicalise(heads.absolute(f"http://erp.example/?{raw}"), heads.OUTSIDE)
    assert (call.query, call.parameters, call.has_query) == (query, parameters, True)
    assert call.url == f"http://erp.example/?{query}"


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("a=1;b=2", id="D02 a semicolon, which some servers take for an ampersand"),
        pytest.param("a%2561=1", id="D02 a name encoded twice"),
        pytest.param("b=1&%25%36%31=%2561", id="D02 a name encoded twice in pieces"),
        pytest.param("%2561", id="D02 a name encoded twice without a value"),
        pytest.param("a=%c0%ae", id="overlong UTF-8"),
        pytest.param("a=%ff", id="ill-formed UTF-8"),
        pytest.param("a=%00", id="an encoded NUL"),
        pytest.param("a=%0b", id="an encoded vertical tab"),
        pytest.param("a=%1b[2J", id="an encoded escape"),
        pytest.param("a=%c2%85", id="an encoded C1 control"),
        pytest.param("a%0ab=1", id="an encoded line break in a name"),
        pytest.param("a=1&%09", id="an encoded tab in a name without a value"),
        pytest.param("a=1\n", id="a line break"),
        pytest.param("a=%", id="a bare percent sign"),
        pytest.param("a=b c", id="a space"),
        pytest.param("a=b\\c", id="a backslash"),
        pytest.param("a=caf\xe9", id="a raw letter outside ASCII"),
        pytest.param("a=b#c", id="a fragment"),
        pytest.param('a="b"', id="quotation marks"),
        pytest.param("a=<b>", id="angle brackets"),
    ],
)
def test_a_query_with_more_than_one_reading_is_refused(query: str) -> None:
    assert refusal(heads.absolute(f"http://erp.example/?{query}")) == (Code.URL_AMBIGUOUS, "query")


# --- properties ------------------------------------------------------------------------------------------------------

good_parts = st.text(alphabet="abcXYZ019-._~!$&'()*+,=:@", min_size=1, max_size=8).filter(
    lambda part: part.strip(".") != ""
)


@given(st.lists(good_parts, min_size=1, max_size=4), st.lists(st.tuples(good_parts, good_parts), max_size=3))
def test_ordinary_urls_pass_unchanged(parts: list[str], pairs: list[tuple[str, str]]) -> None:
    path = "/" + "/".join(parts)
    query = "&".join(f"{name}={value}" for name, value in pairs)
    call = canonicalise(heads.absolute(f"http://erp.example{path}?{query}"), heads.OUTSIDE)
    assert (call.path, call.query) == (path, query)
    assert path_segments(path) == tuple(parts)
    assert len(query_parameters(query)) >= len(pairs) or "&" in "".join(map("".join, pairs))


pieces = st.sampled_from([*"ab/;[|.+=&", "..", "%3B", "%2F", "%2e", "%5b", "%7C", "%25", "%2541", "%c3%bc"])


@given(st.lists(pieces, max_size=8).map("".join), st.sampled_from([canonical_path, canonical_query]))
@settings(max_examples=200)
def test_one_spelling_is_a_fixed_point_and_says_the_same(text: str, canonical: Callable[[str], str]) -> None:
    raw = f"/{text}" if canonical is canonical_path else text
    try:
        once = canonical(raw)
    except Rejected as fault:
        assert fault.code is Code.URL_AMBIGUOUS
        return
    assert canonical(once) == once
    assert unquote_to_bytes(once) == unquote_to_bytes(raw)
    for reserved in "/;&=+":  # an escape of what has a meaning is kept apart from the thing itself
        assert once.count(reserved) == raw.count(reserved)


@given(st.lists(pieces, max_size=10).map(lambda found: "/" + "".join(found)))
@settings(max_examples=200)
def test_no_reading_of_an_accepted_path_goes_up_or_has_an_empty_part(text: str) -> None:
    try:
        path = canonical_path(text)
    except Rejected:
        return
    for slashed in (path, path.replace("%2F", "/")):
        for semicolon in ("$", ";", "%3B", ";|%3B"):
            read = [re.split(semicolon, part, maxsplit=1)[0] for part in slashed[1:].split("/")]
            assert not {".", ".."} & set(map(unquote, read))
            assert "" not in read[:-1]
