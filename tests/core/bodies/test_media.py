"""Content-Type: one media type in one reading."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.bodies.media import MediaType, check_charset, media_type, parse_media_type
from proxy.core.errors import Code, Rejected


@pytest.mark.parametrize(
    ("text", "media", "parameters"),
    [
        pytest.param("application/json", "application/json", {}, id="a type alone"),
        pytest.param("Application/JSON", "application/json", {}, id="a type in capitals"),
        pytest.param("application/vnd.api+json", "application/vnd.api+json", {}, id="a structured suffix"),
        pytest.param("text/plain;charset=UTF-8", "text/plain", {"charset": "UTF-8"}, id="a parameter"),
        pytest.param("text/plain \t; \tCharset=utf-8", "text/plain", {"charset": "utf-8"}, id="white space around ;"),
        pytest.param('text/plain; charset="utf-8"', "text/plain", {"charset": "utf-8"}, id="a quoted value"),
        pytest.param('a/b; x=""', "a/b", {"x": ""}, id="an empty quoted value"),
        pytest.param('a/b; start="<r=1>"; y=z', "a/b", {"start": "<r=1>", "y": "z"}, id="two parameters"),
        pytest.param(
            "application/json; charset=utf-8;", "application/json", {"charset": "utf-8"}, id="one ; at the end"
        ),
    ],
)
def test_a_media_type_is_read(text: str, media: str, parameters: dict[str, str]) -> None:
    assert parse_media_type(text) == MediaType(type=media, parameters=parameters)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("json", id="no subtype"),
        pytest.param("application/", id="an empty subtype"),
        pytest.param("/json", id="an empty type"),
        pytest.param(" application/json", id="a space before it"),
        pytest.param("application /json", id="a space within it"),
        pytest.param("application/json, text/plain", id="two types"),
        pytest.param("application/json charset=utf-8", id="a parameter without ;"),
        pytest.param("a/b;;", id="an empty parameter at the end"),
        pytest.param("a/b;; x=y", id="an empty parameter"),
        pytest.param("a/b; x", id="a parameter without a value"),
        pytest.param("a/b; x=", id="a value of no length"),
        pytest.param("a/b; x = y", id="spaces around ="),
        pytest.param('a/b; x="y', id="a quoted value without an end"),
        pytest.param('a/b; x="y"z', id="something behind a quoted value"),
        pytest.param('a/b; x="\\y"', id="an escape in a quoted value"),
        pytest.param('a/b; x="; charset=utf-7; y="', id="a semicolon in a quoted value"),
        pytest.param('a/b; x="y, c/d"', id="a comma in a quoted value"),
        pytest.param("a/b; charset=utf-8; charset=utf-7", id="a parameter twice"),
        pytest.param("a/b; charset=utf-8; CHARSET=utf-8", id="a parameter twice, in capitals"),
        pytest.param("a/b; boundary*0=x; boundary*1=y", id="a value in pieces"),
        pytest.param("a/b; charset*=utf-8''utf-7", id="a value with a character set of its own"),
        pytest.param("a/b; x='é'", id="not ASCII"),
        pytest.param("ａ/b", id="full-width letters"),
        pytest.param("a/b\n", id="a line end"),
    ],
)
def test_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(Rejected, match="content-type") as refused:
        parse_media_type(text)
    assert (refused.value.code, refused.value.field) == (Code.BODY_MALFORMED, "content-type")


def test_blanks_are_gone_through_once() -> None:
    """A million of them would take an hour, were each looked at from every other."""
    with pytest.raises(Rejected):
        parse_media_type(f"a/b{' ' * 1_000_000}x")


def test_a_call_has_one_content_type_or_none() -> None:
    one = (("Accept", "*/*"), ("CONTENT-TYPE", "text/plain"))
    assert media_type(one) == MediaType(type="text/plain", parameters={})
    assert media_type(()) is None
    with pytest.raises(Rejected, match="exactly one line"):
        media_type((*one, ("Content-Type", "text/plain")))


@pytest.mark.parametrize(
    ("text", "data"),
    [
        pytest.param(None, b"\xc3\xa9", id="no type"),
        pytest.param("a/b", b"\xc3\xa9", id="no charset"),
        pytest.param("a/b; charset=UTF-8", b"\xc3\xa9", id="UTF-8"),
        pytest.param("a/b; charset=utf8", b"\xc3\xa9", id="UTF-8 as many write it"),
        pytest.param("a/b; charset=us-ascii", b"e", id="ASCII that is"),
    ],
)
def test_text_may_be_utf_8(text: str | None, data: bytes) -> None:
    check_charset(None if text is None else parse_media_type(text), data)


@pytest.mark.parametrize(
    ("charset", "data"),
    [
        pytest.param("us-ascii", b"\xc3\xa9", id="ASCII that is not"),
        pytest.param("utf-7", b"+AD0-", id="UTF-7"),
        pytest.param("utf-16", b"{}", id="UTF-16"),
        pytest.param("iso-8859-1", b"e", id="Latin-1"),
        pytest.param("cp037", b"e", id="EBCDIC"),
    ],
)
def test_text_may_be_nothing_else(charset: str, data: bytes) -> None:
    with pytest.raises(Rejected, match="charset must be utf-8") as refused:
        check_charset(parse_media_type(f"text/plain; charset={charset}"), data)
    assert refused.value.code is Code.BODY_MALFORMED


@given(st.text(max_size=60) | st.text(alphabet='a/;= "*\\,b\t', max_size=30))
def test_reading_raises_only_rejected(text: str) -> None:
    try:
        media = parse_media_type(text)
    except Rejected as refused:
        assert refused.code is Code.BODY_MALFORMED
    else:
        plain = "".join(f'; {name}="{value}"' for name, value in media.parameters.items())
        assert parse_media_type(media.type + plain) == media
