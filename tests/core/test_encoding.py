"""Bytes to text and back: one value, one spelling."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.encoding import (
    b64u,
    canonical_json,
    from_epoch,
    parse_json,
    sha256_b64u,
    to_epoch,
    unb64,
    unb64u,
)
from proxy.core.errors import Code, Rejected

CODE = Code.MANIFEST_MALFORMED


@given(st.binary(max_size=80))
def test_base64url_comes_back(data: bytes) -> None:
    assert unb64u(b64u(data), code=CODE, field="x") == data
    assert "=" not in b64u(data)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("QQ==", id="padding is not written"),
        pytest.param("QR", id="the unused bits of the last character are zero"),
        pytest.param("Q", id="a length that no bytes have"),
        pytest.param("QQ\n", id="a line break"),
        pytest.param("Q Q", id="a space"),
        pytest.param("+/", id="the other alphabet"),
        pytest.param("ＱＱ", id="full-width letters"),
    ],
)
def test_another_spelling_of_base64url_is_refused(text: str) -> None:
    with pytest.raises(Rejected, match="x must be unpadded canonical base64url") as refused:
        unb64u(text, code=CODE, field="x")
    assert (refused.value.code, refused.value.field) == (CODE, "x")


def test_its_twins_are_read() -> None:
    assert unb64u("QQ", code=CODE, field="x") == b"A"
    assert unb64u("-_8", code=CODE, field="x") == b"\xfb\xff"
    assert unb64u("", code=CODE, field="x") == b""


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("QQ", id="padding is missing"),
        pytest.param("QR==", id="the unused bits of the last character are zero"),
        pytest.param("QQ==\n", id="a line break"),
        pytest.param("-_8=", id="the other alphabet"),
        pytest.param("", id="nothing"),
        pytest.param("é", id="not ASCII"),
    ],
)
def test_another_spelling_of_base64_is_refused(text: str) -> None:
    with pytest.raises(Rejected, match="x must be canonical base64"):
        unb64(text, code=CODE, field="x")


def test_base64_with_padding_is_read() -> None:
    assert unb64("+/8=", code=CODE, field="x") == b"\xfb\xff"


def test_an_id_is_the_base64url_of_a_sha_256() -> None:
    assert sha256_b64u(b"abc") == "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"  # FIPS 180-2, B.1


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b'{"a":1,"a":1}', "appears twice", id="a member twice"),
        pytest.param(b'{"a":{"b":1,"b":2}}', "appears twice", id="a member twice, further in"),
        pytest.param(b"NaN", "NaN is not JSON", id="NaN"),
        pytest.param(b"[-Infinity]", "-Infinity is not JSON", id="Infinity"),
        pytest.param(b"\xef\xbb\xbf{}", "BOM", id="a byte-order mark"),
        pytest.param('{"a":"é"}'.encode("latin-1"), "utf-8", id="not UTF-8"),
        pytest.param("{}".encode("utf-16"), "utf-8", id="UTF-16"),
        pytest.param(b"{} {}", "Extra data", id="two values"),
        pytest.param(b"", "Expecting value", id="nothing"),
        pytest.param(b"[" * 100 + b"]" * 100, "nests deeper than 64 levels", id="too deep"),
        pytest.param(b"9" * 5000, "digits", id="a number of five thousand digits"),
    ],
)
def test_loose_json_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(Rejected, match=f"the body must be strict JSON.*{says}") as refused:
        parse_json(data, code=Code.REQUEST_MALFORMED, what="the body")
    assert refused.value.code is Code.REQUEST_MALFORMED


def test_strict_json_is_read() -> None:
    assert parse_json('{"a":["é",1,null,true]}'.encode(), code=CODE, what="x") == {"a": ["é", 1, None, True]}


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_parsing_json_raises_only_rejected(data: bytes) -> None:
    try:
        parse_json(data, code=CODE, what="x")
    except Rejected as refused:
        assert refused.code is CODE


def test_members_are_sorted_as_rfc_8785_section_3_2_3_says() -> None:
    members = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\u00f6": 7}
    written = '{"\\r":2,"1":4,"\x80":6,"\u00f6":7,"\u20ac":1,"\U0001f600":5,"\ufb33":3}'
    assert canonical_json(members) == written.encode()


def test_texts_are_escaped_as_rfc_8785_section_3_2_2_2_says() -> None:
    assert canonical_json('€$\x0f\nA\'B"\\\\"/') == b'"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, b"null"),
        (True, b"true"),
        (-(2**53 - 1), b"-9007199254740991"),
        ([1, "a", {}], b'[1,"a",{}]'),
        ((1, 2), b"[1,2]"),
    ],
)
def test_other_values_have_one_form(value: object, written: bytes) -> None:
    assert canonical_json(value) == written  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(1.5, id="a fraction"),
        pytest.param(2**53, id="an integer that JSON readers round"),
        pytest.param("\ud800", id="a lone surrogate"),
        pytest.param({"\ud800": 1}, id="a lone surrogate in a name"),
    ],
)
def test_what_has_no_canonical_form_is_an_error(value: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        canonical_json(value)  # type: ignore[arg-type]


_text = st.text(st.characters(codec="utf-8"), max_size=8)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53 - 1), 2**53 - 1)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150)
@given(_json)
def test_the_canonical_form_reads_back_as_the_same_value(value: object) -> None:
    written = canonical_json(value)  # type: ignore[arg-type]
    assert parse_json(written, code=CODE, what="x") == value
    assert canonical_json(parse_json(written, code=CODE, what="x")) == written


def test_times_are_whole_seconds_rounded_down() -> None:
    moment = datetime(2026, 3, 2, 9, 30, 0, 999_999, tzinfo=UTC)
    assert from_epoch(to_epoch(moment)) == moment.replace(microsecond=0)
    assert to_epoch(datetime(1970, 1, 1, tzinfo=UTC) - timedelta(milliseconds=1)) == -1


@pytest.mark.parametrize(
    ("data", "value"),
    [
        pytest.param(b'"\\ud800"', "\ud800", id="half a surrogate pair, which a caller sent and we wrote down"),
        pytest.param(b'{"a":1,"A":2}', {"a": 1, "A": 2}, id="members that differ in case"),
        pytest.param(b"18446744073709551616", 2**64, id="a large integer"),
    ],
)
def test_what_only_we_read_may_hold_what_others_read_otherwise(data: bytes, value: object) -> None:
    assert parse_json(data, code=CODE, what="x") == value
    with pytest.raises(Rejected):
        parse_json(data, code=CODE, what="x", one_reading=True)
