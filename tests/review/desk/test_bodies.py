"""How a body is laid out for a reviewer: as it came, decoded where it says so, and with credentials hidden."""

import gzip
import json
from dataclasses import replace

import pytest
from identities import leg, received

from proxy.core.canonical import canonicalise, with_body
from proxy.core.model import Call, Unread
from proxy.review.desk.bodies import (
    DUMPED_BYTES,
    MAX_LAID_OUT_BYTES,
    MAX_LINES,
    BodyView,
    Line,
    Piece,
    body_view,
    plain,
)

JSON = ("Content-Type", "application/json")
FORM = ("Content-Type", "application/x-www-form-urlencoded")


def call(body: bytes | Unread, *headers: tuple[str, str]) -> Call:
    asked = received("POST", "https://erp.example/v1/x", headers=headers)
    asked = replace(asked, form="absolute", authority=b"erp.example")
    return with_body(canonicalise(asked, leg(local=True)), body)


def view(body: bytes | Unread, *headers: tuple[str, str], reveal: bool = False) -> BodyView:
    return body_view(call(body, *headers), reveal=reveal)


def lines(shown: tuple[Line, ...]) -> tuple[str, ...]:
    return tuple(map(plain, shown))


def test_json_is_laid_out_in_its_order_with_its_own_numbers() -> None:
    found = view(b'{"b":1.10,"a":[true,null,{}],"big":12345678901234567890.0,"b":[]}', JSON)
    assert lines(found.laid_out) == (
        "{",
        '  "b": 1.10,',
        '  "a": [',
        "    true,",
        "    null,",
        "    {}",
        "  ],",
        '  "big": 12345678901234567890.0,',
        '  "b": []',
        "}",
    )
    assert not found.hidden and found.as_is


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"password": "s3cret"}', id="a password"),
        pytest.param(b'[{"a": {"apiKey": "s3cret"}}]', id="a key, deep within"),
        pytest.param(b'{"access_token": {"value": "s3cret"}}', id="an object that is one"),
    ],
)
def test_what_may_be_a_credential_is_hidden_and_so_is_what_would_show_it(body: bytes) -> None:
    found = view(body, JSON)
    assert found.hidden and found.as_is == () and "s3cret" not in "".join(lines(found.laid_out))
    shown = view(body, JSON, reveal=True)
    assert not shown.hidden and "s3cret" in "".join(lines(shown.laid_out)) and "s3cret" in "".join(lines(shown.as_is))


def test_a_forms_fields_are_named_and_credentials_among_them_are_hidden() -> None:
    found = view(b"user=maria&password=s3cret&note=a%20b", FORM)
    assert found.fields == (
        ("user", Piece("maria")),
        ("password", Piece("(hidden, 6 characters)", ours=True)),
        ("note", Piece("a b")),
    )
    assert found.hidden and found.as_is == ()
    assert view(b"password=s3cret", FORM, reveal=True).fields == (("password", Piece("s3cret")),)


def test_a_form_with_too_many_fields_is_shown_on_demand_alone() -> None:
    body = "&".join(f"a{number}=1" for number in range(500)).encode()
    assert view(body, FORM).hidden and view(body, FORM, reveal=True).as_is


def test_what_was_decoded_says_so_and_what_cannot_be_is_shown_as_it_came() -> None:
    found = view(gzip.compress(b'{"a": 1}'), JSON, ("Content-Encoding", "gzip"))
    assert (found.coding, lines(found.laid_out)) == ("gzip", ("{", '  "a": 1', "}"))
    broken = view(b"\xffno gzip", JSON, ("Content-Encoding", "gzip"))
    assert (broken.coding, bool(broken.dump)) == ("", True) and "could not be decoded" in broken.remarks[0]


def test_bytes_that_name_a_credential_are_shown_when_they_are_asked_for() -> None:
    body = b"\xff\xfe authorization: Bearer s3cret \x00"
    found, shown = view(body), view(body, reveal=True)
    assert found.hidden and found.dump == () and "when you ask" in found.remarks[-1]
    assert not shown.hidden and any("s3cre" in line for line in shown.dump)


def test_bytes_that_are_no_text_are_dumped_in_part() -> None:
    found = view(bytes(range(256)) * 4)
    assert found.dump[0].startswith("00000000  00 01 02") and found.as_is == ()
    assert found.dump[-1] == f"… and {1024 - DUMPED_BYTES} more bytes"


def test_text_that_is_called_json_and_is_none_is_shown_as_it_came() -> None:
    assert view(b"{not json", JSON).as_is == ((Piece("{not json"),),)
    deep = b"[" * 100_000
    assert view(deep, JSON).laid_out == () and view(deep, JSON).as_is


def test_json_that_says_it_is_text_is_laid_out_and_masked_all_the_same() -> None:
    assert view(b'{"token": "s3cret"}', ("Content-Type", "text/plain")).hidden


def test_long_bodies_are_cut_and_say_so() -> None:
    found = view(b"line\n" * (MAX_LINES + 10), ("Content-Type", "text/plain"))
    assert len(found.as_is) == MAX_LINES and "11 more lines" in found.remarks[0]
    assert "more characters" in plain(view(b"x" * 5_000).as_is[0])


def test_json_too_long_to_look_through_is_hidden_until_it_is_asked_for() -> None:
    body = json.dumps({"a": "x" * MAX_LAID_OUT_BYTES}).encode()
    assert view(body, JSON).hidden and not view(body, JSON, reveal=True).hidden


def test_of_a_body_that_was_not_kept_size_and_digest_are_told() -> None:
    found = view(Unread(size=5_000_000, sha256=b"\x01" * 32))
    assert (found.size, found.kept) == (5_000_000, False) and found.sha256.startswith("AQEB")


def test_no_body_is_none() -> None:
    assert view(b"").size == 0


def test_what_is_laid_out_and_cut_says_so_even_where_the_text_is_hidden() -> None:
    body = json.dumps({"token": "s3cret", **{f"n{n}": n for n in range(MAX_LINES)}, "delete": True}).encode()
    found = view(body, JSON)
    assert found.hidden and len(found.laid_out) == MAX_LINES and "delete" not in "".join(lines(found.laid_out))
    assert any("more lines are not laid out here" in remark for remark in found.remarks)
    long = view(json.dumps({"token": "s3cret", "note": "a" * 5_000}).encode(), JSON)
    assert any(plain(line).endswith("more characters") for line in long.laid_out)
    assert view(b'{"token": "s3cret"}', JSON).remarks == ()


@pytest.mark.parametrize(
    ("body", "media"),
    [
        pytest.param(b'{"password": "s3cret",}', "application/json", id="JSON that is broken"),
        pytest.param(b'\xef\xbb\xbf{"password": "s3cret"}', "application/json", id="JSON after a byte order mark"),
        pytest.param(b'{"a": 1}\n{"token": "s3cret"}', "application/x-ndjson", id="JSON in lines"),
        pytest.param(b"<login><password>s3cret</password></login>", "application/xml", id="XML"),
        pytest.param(b"user: maria\napi_key: s3cret\n", "application/yaml", id="YAML"),
        pytest.param(b"Authorization: Bearer s3cret", "text/plain", id="a header in a text"),
        pytest.param(
            b'--b\r\nContent-Disposition: form-data; name="password"\r\n\r\ns3cret\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            id="a multipart form",
        ),
    ],
)
def test_text_that_names_a_credential_is_hidden_until_it_is_asked_for(body: bytes, media: str) -> None:
    found = view(body, ("Content-Type", media))
    assert found.hidden and "s3cret" not in repr(found)
    assert any("shown when you ask" in remark for remark in found.remarks)
    assert "s3cret" in "".join(lines(view(body, ("Content-Type", media), reveal=True).as_is))


def test_text_that_names_none_is_shown() -> None:
    found = view(b"note: the order of Maria, <b>urgent</b>", ("Content-Type", "text/plain"))
    assert not found.hidden and found.as_is and found.remarks == ()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"payload": '{"password": "s3cret"}'}, id="JSON within a string"),
        pytest.param(
            {"payload": '["{\\"pass\\\\u0077ord\\": \\"s3cret\\"}"]'}, id="JSON within a string of JSON, escaped"
        ),
        pytest.param(
            {"payload": json.dumps(json.dumps(json.dumps(json.dumps(json.dumps(json.dumps("s3cret"))))))},
            id="JSON too deep within strings",
        ),
        pytest.param({"name": "password", "value": "s3cret"}, id="a name and its value"),
        pytest.param([{"key": "api_token", "data": "s3cret"}], id="a key and its data"),
        pytest.param({"headers": [["Authorization", "s3cret"]]}, id="a pair"),
        pytest.param({"args": ["curl", "--password", "s3cret"]}, id="an option and its value"),
        pytest.param({"args": ["-H", "Authorization: s3cret"]}, id="a header in a string"),
        pytest.param({"body": "user=maria&password=s3cret"}, id="a form in a string"),
        pytest.param({"body": "user=maria&pass%77ord=s3cret"}, id="a form in a string, escaped"),
        pytest.param({"clone": "https://ann:s3cret@git.example/x"}, id="userinfo in an address"),
        pytest.param({"note": "Bearer s3cret0123"}, id="a bearer token under any name"),
    ],
)
def test_a_credential_within_json_is_hidden_by_what_is_around_it(body: object) -> None:
    found = view(json.dumps(body).encode(), JSON)
    assert found.hidden and found.as_is == () and "s3cret" not in repr(found)
    assert "s3cret" in repr(view(json.dumps(body).encode(), JSON, reveal=True))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"payload": '{"amount": 1}'}, id="JSON within a string"),
        pytest.param({"payload": "{not json"}, id="what only begins so"),
        pytest.param({"name": "amount", "value": "7"}, id="a name and its value"),
        pytest.param({"args": ["keyboard", "mouse", "screen"]}, id="words in a list"),
        pytest.param({"note": "100% of https://git.example/x"}, id="an address"),
    ],
)
def test_other_json_is_shown(body: object) -> None:
    found = view(json.dumps(body).encode(), JSON)
    assert not found.hidden and found.as_is


def test_a_form_field_that_has_json_with_a_credential_in_it_is_hidden() -> None:
    found = view(b"payload=%7B%22token%22%3A%22s3cret%22%7D&a=1", FORM)
    assert found.hidden and "s3cret" not in repr(found) and ("a", Piece("1")) in found.fields


def test_what_the_desk_says_is_told_from_what_the_call_says() -> None:
    false = "(hidden, 6 characters)"
    body = json.dumps({"note": false, "password": "s3cret"}).encode()
    pieces = [piece for line in view(body, JSON).laid_out for piece in line]
    assert [piece.text for piece in pieces if piece.ours] == [false]
    assert any(f'"{false}"' in piece.text and not piece.ours for piece in pieces)
    said = view(f"{'x' * 2_100}\n … and 100 more characters".encode()).as_is
    assert [piece.ours for piece in said[0]] == [False, True] and [piece.ours for piece in said[1]] == [False]
    assert [value.ours for _, value in view(b"note=(hidden, 6 characters)&token=s3cret", FORM).fields] == [False, True]
