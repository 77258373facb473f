"""Reading a body as its Content-Type says: once in each way, undone from its coding, and what is JSON."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from unittest.mock import patch

import pytest
from bodies import FORM_TYPE, JSON_TYPE, MULTIPART_TYPE, posted, posted_json
from questions import call

from proxy.core.bodies import reading as module
from proxy.core.bodies.coding import BodyCaps
from proxy.core.bodies.reading import FORM, Reading
from proxy.core.bodies.rules import LlmShape
from proxy.core.errors import Code, Rejected


def reading(body: bytes, *headers: tuple[str, str]) -> Reading:
    return Reading(replace(call(method="POST"), headers=headers, body=body))


@pytest.mark.parametrize(
    "media",
    [
        *("application/json", "application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"),
        *("application/merge-patch+json", "application/json-rpc", "text/json", "application/x-amz-json-1.0"),
    ],
)
def test_json_goes_by_several_names(media: str) -> None:
    assert reading(b'{"a": 1}', ("Content-Type", media)).json() == {"a": 1}


@pytest.mark.parametrize(
    "media",
    ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "application/x-amz-json", "a/json"],
)
def test_nothing_else_is_json(media: str) -> None:
    with pytest.raises(Rejected, match="Content-Type must be application/json") as caught:
        reading(b'{"a": 1}', ("Content-Type", media)).json()
    assert caught.value.code is Code.BODY_MALFORMED


MESSAGE = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "now"}}'
JSON = ("Content-Type", "application/json")


def test_a_header_that_names_the_tool_of_the_body_is_no_matter() -> None:
    assert reading(MESSAGE, JSON, ("Mcp-Name", "now")).rpc()[0].tool == "now"


def test_a_header_that_names_another_tool_than_the_body_is_refused() -> None:
    with pytest.raises(Rejected, match="Mcp-Name") as caught:
        reading(MESSAGE, JSON, ("Mcp-Name", "drop_table")).rpc()
    assert caught.value.code is Code.BODY_MALFORMED


def test_a_body_is_read_once_however_often_it_is_asked_for() -> None:
    with patch.object(module, "read_json", wraps=module.read_json) as read:
        asked = Reading(posted_json({"jsonrpc": "2.0", "method": "ping"}))
        assert asked.json() == asked.json()
        assert asked.rpc() == asked.rpc()
        for _ in range(2):
            with pytest.raises(Rejected):
                asked.graphql()
            with pytest.raises(Rejected):
                asked.llm(LlmShape.OPENAI_CHAT)
    assert read.call_count == 1


def test_a_body_that_cannot_be_read_is_tried_once() -> None:
    with patch.object(module, "read_json", wraps=module.read_json) as read:
        asked = Reading(posted(b"{"))
        for _ in range(3):
            with pytest.raises(Rejected, match="strict JSON") as refused:
                asked.json()
            assert refused.value.code is Code.BODY_MALFORMED
    assert read.call_count == 1


def test_whether_there_is_a_body() -> None:
    assert Reading(posted(b"")).empty
    assert not Reading(posted(b" ")).empty


GZIP = ("content-encoding", "gzip")


def test_a_coding_is_undone_for_json_and_refused_for_forms() -> None:
    assert Reading(posted(gzip.compress(b"[1]"), (*JSON_TYPE, GZIP))).json() == [1]
    with pytest.raises(Rejected, match="content-encoding") as refused:
        Reading(posted(gzip.compress(b"a=1"), (*FORM_TYPE, GZIP))).form()
    assert refused.value.code is Code.BODY_MALFORMED
    assert Reading(posted(b"a=1", FORM_TYPE)).form() == (("a", "1"),)


@pytest.mark.parametrize("headers", [JSON_TYPE, (*JSON_TYPE, GZIP)], ids=["as it is", "coded"])
def test_caps_are_those_of_the_deployment(headers: tuple[tuple[str, str], ...]) -> None:
    document = b'"' + b"x" * 50 + b'"'
    body = gzip.compress(document) if GZIP in headers else document
    assert Reading(posted(body, headers), BodyCaps(decoded_bytes=100)).json() == "x" * 50
    with pytest.raises(Rejected) as refused:
        Reading(posted(body, headers), BodyCaps(decoded_bytes=51)).json()
    assert refused.value.code is Code.BODY_NOT_INSPECTED


@pytest.mark.parametrize("media", ["application/json; charset=utf-16", "application/json; charset=latin-1"])
def test_another_character_set_is_another_reading(media: str) -> None:
    with pytest.raises(Rejected, match="charset") as refused:
        Reading(posted(b'{"a": "\xc3\xa9"}', (("content-type", media),))).json()
    assert (refused.value.code, refused.value.field) == (Code.BODY_MALFORMED, "content-type")


@pytest.mark.parametrize(
    "media",
    [
        pytest.param("application/x-www-form-urlencoded+json", id="a form, by how it begins (Undertow, Vert.x)"),
        pytest.param("application/json; x=urlencoded", id="a form, by a word in a value (formidable)"),
        pytest.param("application/json; URLencoded=1", id="a form, by a parameter's name"),
        pytest.param("multipart/x+json", id="multipart, by how it begins"),
    ],
)
def test_json_that_some_take_for_a_form_is_refused(media: str) -> None:
    with pytest.raises(Rejected, match="another kind of body") as refused:
        Reading(posted(b'{"a":"&a=2&"}', (("content-type", media),))).json()
    assert (refused.value.code, refused.value.field) == (Code.BODY_MALFORMED, "content-type")


@pytest.mark.parametrize("word", ["json", "application/json", "Multipart"])
def test_a_form_that_some_take_for_json_is_refused(word: str) -> None:
    with pytest.raises(Rejected, match="another kind of body") as refused:
        Reading(posted(b'{"a":2}', (("content-type", f'{FORM}; x="{word}"'),))).form()
    assert refused.value.code is Code.BODY_MALFORMED


def test_their_twins_are_read() -> None:
    odata = (("content-type", "application/json;odata.metadata=minimal; charset=utf-8"),)
    assert Reading(posted(b"1", odata)).json() == 1
    assert Reading(posted(b"a=1", (("content-type", f"{FORM}; charset=utf-8"),))).form() == (("a", "1"),)


@pytest.mark.parametrize(
    ("read", "media", "body"),
    [
        pytest.param(Reading.json, "application/json", b'"%s"', id="JSON"),
        pytest.param(Reading.form, FORM_TYPE[0][1], b"a=%s", id="a form"),
        pytest.param(
            Reading.multipart,
            MULTIPART_TYPE[0][1],
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n%s\r\n--b--\r\n',
            id="a multipart form",
        ),
    ],
)
def test_ascii_is_read_where_it_is_true(read: Callable[[Reading], object], media: str, body: bytes) -> None:
    def as_read(text: bytes, charset: str) -> object:
        return read(Reading(posted(body % text, (("content-type", f"{media}; charset={charset}"),))))

    assert as_read(b"hello", "us-ascii") == as_read(b"hello", "utf-8")
    for text, charset in ((b"\xc3\xa9", "us-ascii"), (b"hello", "utf-16")):
        with pytest.raises(Rejected, match="charset") as refused:
            as_read(text, charset)
        assert (refused.value.code, refused.value.field) == (Code.BODY_MALFORMED, "content-type")
