"""JSON bodies: the one reading all servers share, or none (THREATS.md D03)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.bodies.coding import BodyCaps
from proxy.core.bodies.json import read_json
from proxy.core.errors import Code, Rejected

CAPS = BodyCaps()


@pytest.mark.parametrize(
    ("data", "value"),
    [
        pytest.param(b"{}", {}, id="an empty object"),
        pytest.param(
            b' \t\r\n{"a": [1, 2.5, -0, true, false, null, "x"]}\n',
            {"a": [1, 2.5, 0, True, False, None, "x"]},
            id="white space around it",
        ),
        pytest.param('{"größe":"é"}'.encode(), {"größe": "é"}, id="UTF-8"),
        pytest.param(b'"\\ud83d\\ude00\\u00e9"', "\U0001f600é", id="a whole surrogate pair"),
        pytest.param(b'"\\\\ud800"', "\\ud800", id="an escaped backslash, and then what is none"),
        pytest.param(
            b'{"a":{"A":1},"b":{"a":1}}', {"a": {"A": 1}, "b": {"a": 1}}, id="names that differ in case on two levels"
        ),
        pytest.param(b'{"a":"[[[[,,,,{{{{"}', {"a": "[[[[,,,,{{{{"}, id="brackets within a text"),
        pytest.param(b"18446744073709551615", 2**64 - 1, id="the largest integer of 64 bits"),
        pytest.param(b"-9223372036854775808", -(2**63), id="the smallest integer of 64 bits"),
        pytest.param(b"1.7976931348623157e308", 1.7976931348623157e308, id="the largest double"),
        pytest.param(b"[5e-324,0e9,-0.0e-999]", [5e-324, 0.0, -0.0], id="the smallest double, and zeros"),
    ],
)
def test_json_is_read(data: bytes, value: object) -> None:
    assert read_json(data, CAPS) == value


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"", "Expecting value", id="nothing"),
        pytest.param(b'{"a":1,"a":1}', "appears twice", id="a member twice"),
        pytest.param(b'{"a":1,"\\u0061":2}', "appears twice", id="a member twice, once escaped"),
        pytest.param(b'[{"b":{"a":1,"a":2}}]', "appears twice", id="a member twice, further in"),
        pytest.param(b'{"amount":1,"Amount":2}', "differ only in case", id="members that differ in case"),
        pytest.param('{"task":1,"tas\u212a":2}'.encode(), "differ only in case", id="members that differ as Go folds"),
        pytest.param(b'{"amount":1,"amount\\u0000":2}', "differ only in case", id="members that differ behind a NUL"),
        pytest.param(b"NaN", "NaN is not JSON", id="NaN"),
        pytest.param(b"[Infinity]", "Infinity is not JSON", id="Infinity"),
        pytest.param(b"[-Infinity]", "-Infinity is not JSON", id="minus Infinity"),
        pytest.param(b"1e400", "does not fit into a double", id="a number that overflows"),
        pytest.param(b"-1e999", "does not fit into a double", id="a number that overflows below"),
        pytest.param(b"1e-999", "does not fit into a double", id="a number that becomes zero"),
        pytest.param(b"0." + b"0" * 80 + b"1", "does not fit into a double", id="a number of very many digits"),
        pytest.param(b"18446744073709551616", "64 bits", id="an integer too large"),
        pytest.param(b"-9223372036854775809", "64 bits", id="an integer too small"),
        pytest.param(b"9" * 5_000, "64 bits", id="an integer of five thousand digits"),
        pytest.param(b'{"a":[{"__proto__":{"b":1}}]}', "__proto__", id="members for a copy made in JavaScript"),
        pytest.param(b'"\\ud800"', "surrogate", id="half a surrogate pair"),
        pytest.param(b'{"\\uDC00":1}', "surrogate", id="half a surrogate pair in a name"),
        pytest.param(b'"\\ude00\\ud83d"', "surrogate", id="a surrogate pair the wrong way round"),
        pytest.param(b'"\xed\xa0\x80"', "utf-8", id="half a surrogate pair in UTF-8"),
        pytest.param(b'"\xc0\xaf"', "utf-8", id="an overlong form"),
        pytest.param(b"\xef\xbb\xbf{}", "BOM", id="a byte-order mark"),
        pytest.param("{}".encode("utf-16"), "utf-8", id="UTF-16 with its mark"),
        pytest.param("{}".encode("utf-16-le"), "Expecting property name", id="UTF-16 without a mark"),
        pytest.param("{}".encode("utf-16-be"), "Expecting value", id="UTF-16, the other way round"),
        pytest.param("{}".encode("utf-32-be"), "Expecting value", id="UTF-32"),
        pytest.param('{"a":"é"}'.encode("latin-1"), "utf-8", id="Latin-1"),
        pytest.param(b"{} {}", "Extra data", id="two documents"),
        pytest.param(b'{"a":1}\0', "Extra data", id="a NUL at the end"),
        pytest.param(b")]}',\n{}", "Expecting value", id="a prefix against hijacking"),
        pytest.param(b'{"a":1,}', "", id="a comma at the end"),
        pytest.param(b"{'a':1}", "Expecting property name", id="single quotes"),
        pytest.param(b"{a:1}", "Expecting property name", id="a bare name"),
        pytest.param(b"{/**/}", "Expecting property name", id="a comment"),
        pytest.param(b"[01]", "", id="a leading zero"),
        pytest.param(b"[+1]", "Expecting value", id="a plus sign"),
        pytest.param(b"[.5]", "Expecting value", id="no digit before the point"),
        pytest.param(b"[1.]", "", id="no digit behind the point"),
        pytest.param(b"0x10", "Extra data", id="a hexadecimal number"),
        pytest.param('"\u0661"'.strip('"').encode(), "Expecting value", id="a digit of another script"),
        pytest.param(b'"a\nb"', "control character", id="a line end in a text"),
        pytest.param(b'"\\x41"', "escape", id="an escape that is none"),
        pytest.param(b"\xc2\xa0{}", "Expecting value", id="a no-break space before it"),
        pytest.param(b"\x0c{}", "Expecting value", id="a form feed before it"),
        pytest.param(b"True", "Expecting value", id="a word of another language"),
        pytest.param(b"[" * 100_000, "more than 100000 values", id="brackets without an end"),
        pytest.param(b'{"a":' * 90_000, "do not match", id="objects without an end"),
        pytest.param(b"[" * 65 + b"]" * 65, "deeper than 64 levels", id="one level too deep"),
        pytest.param(b'{"a":' * 65 + b"1" + b"}" * 65, "deeper than 64 levels", id="one object too deep"),
        pytest.param(b'"' + b'\\"' * 1_000_000, "Unterminated", id="a text of quotes without an end"),
        pytest.param(b'[[[["\\', "Unterminated", id="an escape without an end"),
    ],
)
def test_what_another_reader_reads_otherwise_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(Rejected, match=f"the body must be strict JSON in UTF-8: .*{says}") as refused:
        read_json(data, CAPS)
    assert refused.value.code is Code.BODY_MALFORMED


def test_depth_values_and_size_have_their_caps() -> None:
    caps = BodyCaps(depth=3, members=10, decoded_bytes=40)
    assert read_json(b"[[[]]]", caps) == [[[]]]
    assert read_json(b"[1,2,3,4,5,6,7,8,9]", caps) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert read_json(b'{"a":1,"b":2,"c":"[[[[[[,,,,,,,,"}', caps) == {"a": 1, "b": 2, "c": "[[[[[[,,,,,,,,"}
    for data, says in ((b"[[[[]]]]", "deeper than 3"), (b"[1,2,3,4,5,6,7,8,9,10]", "more than 10 values")):
        with pytest.raises(Rejected, match=says):
            read_json(data, caps)
    with pytest.raises(Rejected, match="examined up to 40 bytes") as refused:
        read_json(b" " * 39 + b"{}", caps)
    assert refused.value.code is Code.BODY_NOT_INSPECTED


def test_a_document_at_every_cap_is_read() -> None:
    deep = b"[" * 64 + b"]" * 64
    assert read_json(deep, CAPS) == json.loads(deep)
    wide = json.dumps({f"k{n}": n for n in range(99_990)}).encode()
    assert read_json(wide, CAPS) == json.loads(wide)
    long = json.dumps({"text": "a,[{" * 1_000_000}).encode()
    assert read_json(long, CAPS) == json.loads(long)


def test_no_message_repeats_the_body() -> None:
    for data in (b'{"hunter2":1,"hunter2":2}', b'{"hunter2":1,"HUNTER2":2}', b'["hunter2" 1]', b'{"a":hunter2}'):
        with pytest.raises(Rejected) as refused:
            read_json(data, CAPS)
        assert "hunter2" not in refused.value.detail


_documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcdé", max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(_documents, st.booleans())
def test_every_ordinary_document_is_read_as_it_was_meant(value: object, ascii_only: bool) -> None:
    assert read_json(json.dumps(value, ensure_ascii=ascii_only).encode(), CAPS) == value


@given(st.binary(max_size=60) | st.text('{}[]",:\\u0dDe1.+-é ', max_size=40).map(str.encode))
def test_reading_raises_only_rejected(data: bytes) -> None:
    try:
        read_json(data, CAPS)
    except Rejected as refused:
        assert refused.code is Code.BODY_MALFORMED
