"""Forms: the fields every server reads, or none."""

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.bodies.coding import BodyCaps
from proxy.core.bodies.forms import MAX_FIELDS, read_form
from proxy.core.bodies.parts import form_part, prepare_form
from proxy.core.bodies.rules import FormBody, FormField
from proxy.core.errors import Code, Rejected

CAPS = BodyCaps()


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        pytest.param(b"", (), id="nothing"),
        pytest.param(b"a=1&b=2", (("a", "1"), ("b", "2")), id="two fields"),
        pytest.param(b"a=1&a=2", (("a", "1"), ("a", "2")), id="a field twice"),
        pytest.param(b"a=1&&b=2&", (("a", "1"), ("b", "2")), id="empty parts"),
        pytest.param(b"a&b=", (("a", ""), ("b", "")), id="fields without a value"),
        pytest.param(b"X=1&a=X", (("X", "1"), ("a", "X")), id="letters at its ends"),
        pytest.param(b"a=b=c", (("a", "b=c"),), id="= in a value"),
        pytest.param(b"a=+x%20y%2B", (("a", " x y+"),), id="spaces and a plus sign"),
        pytest.param(b"a%5B%5D=1&a[b]=2", (("a[]", "1"), ("a[b]", "2")), id="brackets, escaped and not"),
        pytest.param(b"a=%C3%A9&b=\xc3\xa9", (("a", "é"), ("b", "é")), id="UTF-8, escaped and not"),
        pytest.param(b"a=x%0D%0Ay%09z", (("a", "x\r\ny\tz"),), id="escaped line ends and a tab"),
        pytest.param(
            b'payload={"text": "hi, there"}', (("payload", '{"text": "hi, there"}'),), id="raw JSON, as with curl"
        ),
        pytest.param(b"a=%3B%26%3D", (("a", ";&="),), id="escaped separators"),
        pytest.param(b"a=%2541", (("a", "%41"),), id="a value that is escaped text itself"),
        pytest.param(b"a=%20", (("a", " "),), id="an escaped space at the end"),
    ],
)
def test_a_form_is_read(data: bytes, fields: tuple[tuple[str, str], ...]) -> None:
    assert read_form(data, CAPS) == fields


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"a=1;b=2", "raw", id="a raw ;"),
        pytest.param(b"a=1\n", "raw controls", id="a line end at the end"),
        pytest.param(b"a=1\r\nb=2", "raw controls", id="a line end"),
        pytest.param(b"a=\x00", "raw controls", id="a raw NUL"),
        pytest.param(b"a=1 ", "end with a space", id="a space at the end"),
        pytest.param(b" a=1", "begin or end with a space", id="a space at the beginning"),
        pytest.param(b"a=%", "two hex digits", id="a percent sign alone"),
        pytest.param(b"a=%4", "two hex digits", id="half an escape"),
        pytest.param(b"a=%u0041", "two hex digits", id="an escape of another kind"),
        pytest.param(b"a=%GG", "two hex digits", id="an escape that is none"),
        pytest.param(b"a=100%&b=1", "two hex digits", id="a percent sign that was not escaped"),
        pytest.param(b"a=%C3", "UTF-8", id="half a character"),
        pytest.param(b"a=%C3&b=%A9", "UTF-8", id="a character in two fields"),
        pytest.param(b"a=%C0%AF", "UTF-8", id="an overlong form"),
        pytest.param(b"a=%ED%A0%80", "UTF-8", id="half a surrogate pair"),
        pytest.param(b"a=\xe9", "UTF-8", id="Latin-1"),
        pytest.param(b"a=%00", "controls", id="an escaped NUL"),
        pytest.param(b"a=%1B", "controls", id="an escaped ESC"),
        pytest.param(b"a=%C2%85", "controls", id="a control of Latin-1"),
        pytest.param(b"%EF%BB%BFa=1", "byte-order mark", id="a byte-order mark"),
        pytest.param(b"\xef\xbb\xbfa=1", "byte-order mark", id="a raw byte-order mark"),
        pytest.param(b"=1", "a name", id="a value without a name"),
        pytest.param(b"a=1&+b=2", "white space around", id="a space before a name"),
        pytest.param(b"b%20=2", "white space around", id="a space behind a name"),
        pytest.param(b"a%0Ab=1", "a name", id="a line end in a name"),
        pytest.param(b"amount=1&Amount=2", "only in case", id="names that differ in case"),
        pytest.param(b"amount=1&%61mount=2&AMOUNT=3", "only in case", id="names that differ in case, one escaped"),
        pytest.param(b"a=1&_charset_=utf-7", "_charset_", id="a field that sets the character set"),
        pytest.param(b"_CHARSET_=utf-7", "_charset_", id="such a field in capitals"),
        pytest.param(b"&".join([b"a=1"] * (MAX_FIELDS + 1)), "at most 1000", id="a field too many"),
        pytest.param(b"&" * MAX_FIELDS, "at most 1000", id="nothing but separators"),
    ],
)
def test_what_some_servers_read_otherwise_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(Rejected, match=f"the form.*{says}") as refused:
        read_form(data, CAPS)
    assert (refused.value.code, refused.value.field) == (Code.BODY_MALFORMED, "body")


def test_as_many_fields_as_allowed_are_read() -> None:
    assert len(read_form(b"&".join([b"a=1"] * MAX_FIELDS), CAPS)) == MAX_FIELDS


def test_a_form_beyond_the_cap_is_not_examined() -> None:
    with pytest.raises(Rejected, match="examined up to 2 bytes") as refused:
        read_form(b"a=1", BodyCaps(decoded_bytes=2))
    assert refused.value.code is Code.BODY_NOT_INSPECTED


_TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufeff"), max_size=8)


@given(st.lists(st.tuples(st.text("ab[]é", min_size=1, max_size=4), _TEXTS), max_size=6))
def test_what_the_standard_library_writes_is_read_as_it_was_meant(fields: list[tuple[str, str]]) -> None:
    data = urlencode(fields).encode()
    assert read_form(data, CAPS) == tuple(fields) == tuple(parse_qsl(data.decode(), keep_blank_values=True))


@given(st.binary(max_size=40) | st.text("a=&%;+4é\n", max_size=20).map(str.encode))
def test_reading_raises_only_rejected(data: bytes) -> None:
    try:
        read_form(data, CAPS)
    except Rejected as refused:
        assert refused.code is Code.BODY_MALFORMED


RULE = prepare_form(FormBody(fields=(FormField(name="user_id", values=frozenset({"1"})),), others=True))


@pytest.mark.parametrize(
    "name",
    [
        *("User_ID", "user.id", "user id", "user[id", "user_id[]", "user_id[0]", "user_id[a][b]", "user.id[]"),
        *("[user_id]", "]user_id", "user_id]", "[[User_ID]]", "[user_id][0]"),
    ],
)
def test_a_name_that_some_server_takes_for_a_listed_one_is_not_another_field(name: str) -> None:
    fields = read_form(urlencode([(name, "9")]).encode(), CAPS)
    try:
        faults = list(RULE.faults(form_part(*field) for field in fields))
    except Rejected as refused:
        assert refused.code is Code.BODY_MALFORMED
    else:
        assert faults != []


@pytest.mark.parametrize("name", ["userid", "user-id", "id[user_id]", "[id]", "user_id2"])
def test_its_twins_are_other_fields(name: str) -> None:
    fields = read_form(urlencode([(name, "9")]).encode(), CAPS)
    assert list(RULE.faults(form_part(*field) for field in fields)) == []
