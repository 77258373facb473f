"""What whoever sends a refused body reads, word for word: the only thing it can mend the body by.

Each row is one body, the field that is named and the sentence. Whether it is refused is tested where the rule is; here
each body goes through the one function that reads its kind.
"""

import gzip
from collections.abc import Callable
from dataclasses import replace

import pytest
import zstandard
from bodies import EVERY_KIND, JSON_TYPE, posted, posted_json

from proxy.core.bodies.coding import BodyCaps, decoded, uncoded
from proxy.core.bodies.fields import prepare_json
from proxy.core.bodies.forms import MAX_FIELDS, read_form
from proxy.core.bodies.graphql import MAX_CHARACTERS, read_graphql
from proxy.core.bodies.judge import prepare_body
from proxy.core.bodies.llm import MAX_TOOLS, read_llm
from proxy.core.bodies.media import check_charset, media_type, parse_media_type
from proxy.core.bodies.multipart import MAX_HEADER_BYTES, MAX_PARTS, read_multipart
from proxy.core.bodies.parts import form_part, prepare_form
from proxy.core.bodies.pointers import find, parse_pointer
from proxy.core.bodies.reading import Reading
from proxy.core.bodies.rpc import check_named, read_rpc
from proxy.core.bodies.rules import (
    ANY_BODY,
    BodyRule,
    FieldRule,
    FormBody,
    FormField,
    JsonBody,
    LlmBody,
    LlmShape,
    McpBody,
    ToolRule,
)
from proxy.core.bodies.schema import DRAFT, MAX_DEPTH, MAX_VALUES, compile_schema
from proxy.core.bodies.shapes import MAX_BATCH
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.model import Unread

CAPS = BodyCaps()
SMALL = BodyCaps(decoded_bytes=9)

Said = tuple[Code, str, str]


def said(read: Callable[[], object]) -> Said:
    with pytest.raises(Rejected) as refused:
        read()
    return refused.value.code, refused.value.field, refused.value.detail


def malformed(field: str, detail: str) -> Said:
    return Code.BODY_MALFORMED, field, detail


def deep(levels: int) -> Json:
    value: Json = 1
    for _ in range(levels):
        value = [value]
    return value


# --- the head of a body ----------------------------------------------------------------------------------------------

GZIP = (("Content-Encoding", "gzip"),)

CODINGS = {
    "two lines": ((*GZIP, *GZIP), b"", "must stand on exactly one line"),
    "an unknown one": (
        (("Content-Encoding", "x" * 60),),
        b"a",
        f"must be one of gzip, deflate, br or zstd, once, got '{'x' * 40}'",
    ),
    "nothing that is coded": (GZIP, b"", "says gzip, but the body is empty: leave the field out"),
    "nothing of the kind": (GZIP, b"abc", "says gzip, but the body is not that"),
    "a bomb": (
        GZIP,
        gzip.compress(bytes(1_000_000)),
        "must not make a body more than 100 times larger: send it as it is",
    ),
    "half of it": (GZIP, gzip.compress(b"a")[:-1], "names a coding whose stream is cut short"),
    "something behind it": (
        GZIP,
        gzip.compress(b"a") + b"b",
        "must name one whole stream: something stands behind its end",
    ),
    "a zlib stream that is a raw one, too": (
        (("Content-Encoding", "deflate"),),
        b"x\x01\x00\xfe\xff",
        "deflate can be read in two ways here: use gzip",
    ),
    "a zstd that nobody may expect to be read": (
        (("Content-Encoding", "zstd"),),
        b"\x50\x2a\x4d\x18\x00\x00\x00\x00" + zstandard.compress(b"a"),
        "zstd must be one frame without a dictionary, with a window of at most 8 MiB (RFC 9659)",
    ),
}


@pytest.mark.parametrize(("headers", "body", "rule"), CODINGS.values(), ids=CODINGS)
def test_of_a_content_coding(headers: tuple[tuple[str, str], ...], body: bytes, rule: str) -> None:
    assert said(lambda: decoded(headers, body, CAPS)) == malformed("content-encoding", f"content-encoding {rule}")


def test_of_a_coding_where_there_may_be_none() -> None:
    detail = "content-encoding is not accepted for a form: send it as it is"
    assert said(lambda: uncoded(GZIP, b"a", CAPS)) == malformed("content-encoding", detail)


@pytest.mark.parametrize(
    "read",
    [lambda: decoded((), b"ten bytes!", SMALL), lambda: decoded(GZIP, gzip.compress(b"ten bytes!"), SMALL)],
    ids=["as it came", "decoded"],
)
def test_of_a_body_that_is_larger_than_what_is_examined(read: Callable[[], object]) -> None:
    detail = "a body is examined up to 9 bytes, and this one is larger"
    assert said(read) == (Code.BODY_NOT_INSPECTED, "body", detail)


MEDIA_TYPES = {
    "no type": ("json", 'must be a media type such as "application/json"'),
    "a parameter twice": (f"a/b; {'x' * 60}=1; {'x' * 60}=1", f"has the parameter {'x' * 40} twice"),
    "a parameter in pieces": (
        "a/b; x*0=1",
        "must not have parameters in pieces or with a character set of their own (RFC 2231)",
    ),
    "a parameter that is none": (
        "a/b; x",
        'parameters must read "; name=value", where a quoted value has no backslash, comma or semicolon',
    ),
}


@pytest.mark.parametrize(("text", "rule"), MEDIA_TYPES.values(), ids=MEDIA_TYPES)
def test_of_a_media_type(text: str, rule: str) -> None:
    assert said(lambda: parse_media_type(text)) == malformed("content-type", f"content-type {rule}")


def test_of_two_media_types() -> None:
    assert said(lambda: media_type((*JSON_TYPE, *JSON_TYPE))) == malformed(
        "content-type", "content-type must stand on exactly one line"
    )


def test_of_a_character_set() -> None:
    media = parse_media_type(f"a/b; charset={'X' * 60}")
    assert said(lambda: check_charset(media, b"")) == malformed(
        "content-type", f"content-type charset must be utf-8, got '{'x' * 40}': send the text in UTF-8"
    )


def typed(media: str) -> Reading:
    return Reading(posted(b"x", (("content-type", media),)))


OTHER_TYPES = {
    "none for JSON": (lambda: Reading(posted(b"x", ())).json(), "application/json", "none"),
    "another for JSON": (lambda: typed("Text/Plain; a=b").json(), "application/json", "text/plain"),
    "none for a form": (lambda: Reading(posted(b"x", ())).form(), "application/x-www-form-urlencoded", "none"),
    "another for a form": (lambda: typed("a/b").form(), "application/x-www-form-urlencoded", "a/b"),
    "none for a multipart form": (lambda: Reading(posted(b"x", ())).multipart(), "multipart/form-data", "none"),
    "another for a multipart form": (
        lambda: typed("multipart/mixed; boundary=b").multipart(),
        "multipart/form-data",
        "multipart/mixed",
    ),
}


@pytest.mark.parametrize(("read", "wanted", "got"), OTHER_TYPES.values(), ids=OTHER_TYPES)
def test_of_another_type_than_the_rule_reads(read: Callable[[], object], wanted: str, got: str) -> None:
    assert said(read) == malformed("content-type", f"Content-Type must be {wanted} here, got {got}")


@pytest.mark.parametrize(("size", "got"), [(None, "one that streams"), (17, "17 bytes")], ids=["streams", "is large"])
def test_of_a_body_that_is_not_here(size: int | None, got: str) -> None:
    reading = Reading(posted(Unread(size=size, sha256=None)))
    detail = f"the body must be small enough to be examined, got {got}"
    assert said(reading.json) == (Code.BODY_NOT_INSPECTED, "body", detail)


def test_of_any_body_that_streams() -> None:
    reading = Reading(posted(Unread(size=None, sha256=None)))
    detail = "the body must be read whole before it is sent, got one that streams"
    assert said(lambda: prepare_body(ANY_BODY).faults(reading)) == (Code.BODY_NOT_INSPECTED, "body", detail)


# --- forms -----------------------------------------------------------------------------------------------------------

CONTROLS = "must not hold raw controls or line ends, or begin or end with a space: escape them"
NAMELESS = "must give each field a name, without white space around it"
ALIKE = "must not have two names that differ only in case, or in another way that some do not see"
ODD_CHARACTERS = "must not hold controls other than CR, LF and TAB, or a byte-order mark"

FORMS = {
    "a semicolon": (b"a;b", 'must not hold a raw ";", at which some servers split: write %3B'),
    "a control": (b"a=\x01", CONTROLS),
    "a line end": (b"a=b\r\n", CONTROLS),
    "a space before it": (b" a=b", CONTROLS),
    "a broken escape": (b"a=%4", 'must not hold a "%" without two hex digits after it: a plain one is written %25'),
    "too many fields": (b"a&" * MAX_FIELDS, "may have at most 1000 fields"),
    "no name": (b"=a", NAMELESS),
    "a space before a name": (b"+a=b", NAMELESS),
    "two names but for case": (b"a=1&A=1", ALIKE),
    "a character set of its own": (b"_charset_=a", "must be UTF-8 throughout, without a field _charset_"),
    "no UTF-8": (b"a=%ff", "must be well-formed UTF-8"),
    "an escaped control": (b"a=%00", ODD_CHARACTERS),
    "an escaped byte-order mark": (b"%ef%bb%bfa=b", ODD_CHARACTERS),
}


@pytest.mark.parametrize(("data", "rule"), FORMS.values(), ids=FORMS)
def test_of_a_form(data: bytes, rule: str) -> None:
    assert said(lambda: read_form(data, CAPS)) == malformed("body", f"the form {rule}")


def test_of_a_field_in_another_spelling() -> None:
    prepared = prepare_form(FormBody(fields=(FormField(name="a"), FormField(name="b")), others=True))
    detail = "the form must spell the fields a, b so: in the same letters, once each"
    assert said(lambda: list(prepared.faults([form_part("A", "1")]))) == malformed("body", detail)


def test_of_a_field_listed_twice() -> None:
    rule = FormBody(fields=(FormField(name="a"), FormField(name="a")))
    assert said(lambda: prepare_form(rule)) == (Code.CONFIG_INVALID, "", "a is listed twice; keep one")


NAMED = b'\r\nContent-Disposition: form-data; name="a"'
DELIMITED = "must put each delimiter on a line of its own, ended by CRLF, and an empty line before the content"
ENDED = 'must end with the delimiter and "--", and with nothing after it but one CRLF'
CODED_PART = "must not have a transfer encoding other than 7bit, 8bit and binary (RFC 7578 §4.7)"
DISPOSED = (
    'must have parts with Content-Disposition: form-data; name="…"; filename="…", the latter for files,'
    " in UTF-8 and without backslashes or semicolons"
)


def part(head: bytes) -> bytes:
    """A form of one part, whose head follows its delimiter at once."""
    return b"--b" + head + b"\r\n\r\n1\r\n--b--\r\n"


MULTIPARTS = {
    "too many parts": (b"--b" * (MAX_PARTS + 2), "may have at most 1000 parts"),
    "something before it": (b"x" + part(NAMED), "must begin with the delimiter that Content-Type names"),
    "no delimiter": (b"x", "must begin with the delimiter that Content-Type names"),
    "no end": (part(NAMED)[:-4], ENDED),
    "something behind it": (part(NAMED) + b"\r\n", ENDED),
    "no part": (b"--b--\r\n", "must have at least one part"),
    "something behind a delimiter": (part(b" " + NAMED), DELIMITED),
    "no empty line": (b"--b" + NAMED + b"\r\n--b--\r\n", DELIMITED),
    "a line twice": (part(NAMED + b"\r\nX: 1\r\nx: 1"), "must not have a header line twice in one part"),
    "a coded part": (part(NAMED + b"\r\nContent-Encoding: gzip"), "must not have parts that are coded or cut"),
    "a transfer encoding": (part(NAMED + b"\r\nContent-Transfer-Encoding: base64"), CODED_PART),
    "another length": (part(NAMED + b"\r\nContent-Length: 2"), "has a part whose Content-Length is not its length"),
    "no disposition": (part(b"\r\nX: 1"), DISPOSED),
    "a form within it": (
        part(NAMED + b"\r\nContent-Type: multipart/mixed"),
        "must not have parts that are multipart themselves",
    ),
    "a long head": (
        part(NAMED + b"\r\nX: " + b"x" * MAX_HEADER_BYTES),
        "may have at most 4096 bytes of header lines in a part",
    ),
    "a head in another character set": (part(NAMED + b"\r\nX: \xff"), "must have header lines in UTF-8"),
    "a folded line": (
        part(NAMED + b"\r\n x"),
        'must have header lines that read "Name: value", each on one line, without controls',
    ),
}


@pytest.mark.parametrize(("data", "rule"), MULTIPARTS.values(), ids=MULTIPARTS)
def test_of_a_multipart_form(data: bytes, rule: str) -> None:
    media = parse_media_type("multipart/form-data; boundary=b")
    assert said(lambda: read_multipart(data, media, CAPS)) == malformed("body", f"the multipart form {rule}")


@pytest.mark.parametrize(
    ("media", "rule"),
    [
        pytest.param("multipart/mixed; boundary=b", "must be multipart/form-data", id="another type"),
        pytest.param(
            "multipart/form-data",
            "must have a boundary of 1 to 70 letters, digits and '()+_-./:=? (RFC 2046 §5.1.1)",
            id="no boundary",
        ),
    ],
)
def test_of_the_head_of_a_multipart_form(media: str, rule: str) -> None:
    read = parse_media_type(media)
    assert said(lambda: read_multipart(part(NAMED), read, CAPS)) == malformed("content-type", f"content-type {rule}")


# --- JSON that means something ---------------------------------------------------------------------------------------

IN_FULL = "send the text of the query in full"
UNKNOWN = "this member is not one that can be read here; "
LINE_ENDS = "a lone CR, U+2028 or U+2029 ends a line for some servers only; use LF"
TOO_MUCH = "expected at most 15000 tokens in all, nested at most 64 deep"
TEXT = "expected a string with something in it, got "
LONG = "a" * 100

GRAPHQL: dict[str, tuple[Json, str, str]] = {
    "a number": (5, "", "expected a list, got a number"),
    "an empty batch": ([], "", "expected one object, or a batch of 1 to 50, got a batch of 0"),
    "a long batch": ([{}] * (MAX_BATCH + 1), "", "expected one object, or a batch of 1 to 50, got a batch of 51"),
    "a batch of a batch": ([[]], "/0", "expected an object, got a list"),
    "an unknown member": (
        [{"query": "{a}", "id": 1}],
        "/0/id",
        f"{UNKNOWN}{IN_FULL}, with operationName, variables and extensions at most",
    ),
    "no query": ([{"query": None}], "/0/query", f"a query that is not there cannot be read; {IN_FULL}"),
    "a query that is none": ([{"query": 5}], "/0/query", f"{TEXT}a number"),
    "an unknown extension": ({"query": "{a}", "extensions": {"x": 1}}, "/extensions/x", f"{UNKNOWN}remove it"),
    "extensions of another kind": (
        [{"query": "{a}", "extensions": 5}],
        "/0/extensions",
        "expected an object, got a number",
    ),
    "a hash of another kind": (
        {"query": "{a}", "extensions": {"persistedQuery": "x"}},
        "/extensions/persistedQuery",
        "expected an object, got a string",
    ),
    "another hash": (
        {"query": "{a}", "extensions": {"persistedQuery": {"sha256Hash": "x"}}},
        "/extensions/persistedQuery",
        f"the hash is not that of the query; remove it and {IN_FULL}",
    ),
    "a hash of what has no UTF-8": (
        {"query": "\ud800", "extensions": {"persistedQuery": {"sha256Hash": "x"}}},
        "/extensions/persistedQuery",
        f"the hash is not that of the query; remove it and {IN_FULL}",
    ),
    "variables of another kind": (
        [{"query": "{a}", "variables": 5}],
        "/0/variables",
        "expected an object, got a number",
    ),
    "a long text": (
        {"query": " " * (MAX_CHARACTERS + 1)},
        "/query",
        "expected at most 131072 characters in all; use variables",
    ),
    "another line end": ({"query": "{a}\r"}, "/query", LINE_ENDS),
    "too deep": ({"query": "{a" * 65}, "/query", TOO_MUCH),
    "no document": ([{"query": "{"}], "/0/query", "not a GraphQL document: line 1, column 2"),
    "no token": ({"query": "{a}\n ?"}, "/query", "not a GraphQL document: line 2, column 2"),
    "no name": ({"query": "{a} {b}"}, "/query", "several operations must each have a name of their own"),
    "a name twice": (
        [{"query": "query A {a} query A {b}"}],
        "/0/query",
        "several operations must each have a name of their own",
    ),
    "a fragment twice": (
        {"query": f"{{a}} fragment {LONG} on Q {{a}}" + f"fragment {LONG} on Q {{a}}"},
        "/query",
        f"there are two fragments {'a' * 80}",
    ),
    "a type": ({"query": "type A {a: B}"}, "/query", "expected operations and fragments, got a type definition"),
    "none is chosen": (
        [{"query": "query A {a} query B {b}"}],
        "/0/operationName",
        "expected the name of one of 2 operations, got none",
    ),
    "the chosen one has no name": (
        {"query": "{a}", "operationName": 5},
        "/operationName",
        "expected a string or null, got a number",
    ),
    "the chosen one is not there": (
        {"query": "{a}", "operationName": "A"},
        "/operationName",
        "expected the name of an operation in the query",
    ),
    "no such fragment": ({"query": f"{{...{LONG}}}"}, "/query", f"there is no fragment {'a' * 80}"),
    "a fragment in itself": (
        {"query": "{...A} fragment A on Q {...A}"},
        "/query",
        "a fragment must not spread itself",
    ),
    "no field": ({"query": "{... {}}"}, "/query", "expected at least one field"),
}


@pytest.mark.parametrize(("document", "where", "detail"), GRAPHQL.values(), ids=GRAPHQL)
def test_of_a_graphql_request(document: Json, where: str, detail: str) -> None:
    assert said(lambda: read_graphql(document)) == malformed(where, f"{where or 'the body'}: {detail}")


def message(**members: Json) -> Json:
    return [{"jsonrpc": "2.0", "id": 1, **members}]


def tool_call(**params: Json) -> Json:
    return message(method="tools/call", params=params)


NEITHER = "expected a method, or an id with either a result or an error"

RPC: dict[str, tuple[Json, str, str]] = {
    "a text": ("ping", "", "expected a list, got a string"),
    "an empty batch": ([], "", "expected one object, or a batch of 1 to 50, got a batch of 0"),
    "a batch of a batch": ([[]], "/0", "expected an object, got a list"),
    "another version": ([{"jsonrpc": "1.0"}], "/0/jsonrpc", 'expected "2.0"'),
    "an odd id": (message(id=[]), "/0/id", "expected a string, a number or null, got a list"),
    "an unknown member": (message(method="m", x=1), "/0/x", f"{UNKNOWN}remove it"),
    "an odd method": (message(method=""), "/0/method", f"{TEXT}an empty string"),
    "odd parameters": (message(method="m", params="x"), "/0/params", "expected an object or a list, got a string"),
    "neither": (message(), "/0", NEITHER),
    "an answer with more": (message(result=1, x=1), "/0/x", f"{UNKNOWN}remove it"),
    "an odd error": (message(error=1), "/0/error", "expected an object, got a number"),
    "a tool by position": (
        message(method="tools/call", params=[]),
        "/0/params",
        "expected an object, got a list",
    ),
    "more than a tool call has": (
        tool_call(name="a", x=1),
        "/0/params/x",
        f"{UNKNOWN}of tools/call, only MCP's own members can be read; remove it",
    ),
    "an odd tool": (tool_call(name=1), "/0/params/name", f"{TEXT}a number"),
    "odd arguments": (tool_call(name="a", arguments=1), "/0/params/arguments", "expected an object, got a number"),
}


@pytest.mark.parametrize(("document", "where", "detail"), RPC.values(), ids=RPC)
def test_of_a_json_rpc_message(document: Json, where: str, detail: str) -> None:
    assert said(lambda: read_rpc(document)) == malformed(where, f"{where or 'the body'}: {detail}")


def test_of_a_header_that_names_something_else() -> None:
    calls = read_rpc({"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert said(lambda: check_named([("Mcp-Method", "pong")], calls)) == malformed(
        "", "the body: the header Mcp-Method must name what the body names; send the same in both"
    )


CHAT, RESPONSES, MESSAGES = LlmShape.OPENAI_CHAT, LlmShape.OPENAI_RESPONSES, LlmShape.ANTHROPIC_MESSAGES
LLM: dict[LlmShape, dict[str, Json]] = {
    CHAT: {"model": "m", "messages": []},
    RESPONSES: {"model": "m", "input": []},
    MESSAGES: {"model": "m", "messages": []},
}
NAME = "expected up to 128 letters, digits, dots, hyphens and underscores"
URL = "expected http(s)://host[:port]/path, the host in lower case, without user, query or dot segments"
FETCHED = "expected a data: URL, or http(s)://host with the host in lower case"
A_LIST, AN_OBJECT = "expected a list, got a number", "expected an object, got a number"
CONTAINER = "/tools/0/container"


def tool(**members: Json) -> dict[str, Json]:
    return {"tools": [members]}


def contained(**members: Json) -> dict[str, Json]:
    return tool(type="x", container=members)


LLMS: dict[str, tuple[LlmShape, dict[str, Json], str, str]] = {
    "an unknown member": (CHAT, {"x": 1}, "/x", f"{UNKNOWN}it is not known to be harmless in the shape openai-chat"),
    "an odd model": (CHAT, {"model": 1}, "/model", f"{TEXT}a number"),
    "an odd stream": (CHAT, {"stream": 1}, "/stream", "expected true or false, got a number"),
    "too many tools": (
        MESSAGES,
        {"tools": [{"name": f"f{number}"} for number in range(MAX_TOOLS + 1)]},
        "/tools",
        "expected at most 1000 tools",
    ),
    "two limits": (
        CHAT,
        {"max_tokens": 1, "max_completion_tokens": 2},
        "/max_tokens",
        "the limits of tokens must agree; send one of them",
    ),
    "an odd limit": (
        CHAT,
        {"max_tokens": "1"},
        "/max_tokens",
        "expected a whole number from 0 to 1000000000, got a string",
    ),
    "an odd number of choices": (CHAT, {"n": 0}, "/n", "expected a whole number from 1 to 1000000000, got a number"),
    "odd functions": (CHAT, {"functions": 1}, "/functions", A_LIST),
    "an odd function": (CHAT, {"functions": [1]}, "/functions/0", AN_OBJECT),
    "odd servers": (MESSAGES, {"mcp_servers": 1}, "/mcp_servers", A_LIST),
    "another spelling": (
        CHAT,
        {"functions": [{"NAME": "a"}]},
        "/functions/0/NAME",
        "some readers take this for another member; spell it as they do",
    ),
    "tools in a tool": (
        RESPONSES,
        tool(type="x", tools=[]),
        "/tools/0/tools",
        "tools within a tool of this type cannot be read; list each by itself",
    ),
    "a name in the wrong place": (
        CHAT,
        tool(type="function", name="f"),
        "/tools/0/name",
        "a name stands in the member function here; remove this one",
    ),
    "an odd name": (MESSAGES, tool(name="a b"), "/tools/0/name", NAME),
    "no server": (
        RESPONSES,
        tool(type="mcp"),
        "/tools/0",
        "expected exactly one of server_url, connector_id and tunnel_id",
    ),
    "an odd URL": (RESPONSES, tool(type="mcp", server_url="x"), "/tools/0/server_url", URL),
    "an odd connector": (RESPONSES, tool(type="mcp", connector_id="a b"), "/tools/0/connector_id", NAME),
    "an odd environment": (RESPONSES, tool(type="x", environment=1), "/tools/0/environment", AN_OBJECT),
    "an odd policy": (RESPONSES, contained(network_policy=1), f"{CONTAINER}/network_policy", AN_OBJECT),
    "odd hosts": (
        RESPONSES,
        contained(network_policy={"allowed_domains": 1}),
        f"{CONTAINER}/network_policy/allowed_domains",
        A_LIST,
    ),
    "a host that is no text": (
        RESPONSES,
        contained(network_policy={"allowed_domains": [1]}),
        f"{CONTAINER}/network_policy/allowed_domains/0",
        f"{TEXT}a number",
    ),
    "an odd host": (
        RESPONSES,
        contained(network_policy={"allowed_domains": ["a b"]}),
        f"{CONTAINER}/network_policy/allowed_domains/0",
        "expected a host in lower case",
    ),
    "odd skills": (RESPONSES, contained(skills=1), f"{CONTAINER}/skills", A_LIST),
    "an odd skill": (
        RESPONSES,
        contained(skills=[{"skill_id": 1}]),
        f"{CONTAINER}/skills/0/skill_id",
        f"{TEXT}a number",
    ),
    "no conversation": (CHAT, {"messages": "x"}, "/messages", "expected a list, got a string"),
    "odd tools in the middle of it": (
        RESPONSES,
        {"input": [{"type": "tool_search_output", "tools": 1}]},
        "/input/0/tools",
        A_LIST,
    ),
    "something from nowhere": (
        CHAT,
        {"messages": [{"a/b": [{"image_url": "gs://x"}]}]},
        "/messages/0/a~1b/0/image_url",
        FETCHED,
    ),
}


@pytest.mark.parametrize(("shape", "members", "where", "detail"), LLMS.values(), ids=LLMS)
def test_of_a_request_to_a_model(shape: LlmShape, members: dict[str, Json], where: str, detail: str) -> None:
    document = {**LLM[shape], **members}
    assert said(lambda: read_llm(document, shape)) == malformed(where, f"{where}: {detail}")


# --- rules that are none, and what they say --------------------------------------------------------------------------

KEYWORD = "this is not a keyword of JSON Schema 2020-12 that is asserted here; remove it or mend it"
REFERENCE = 'expected a reference into this schema, such as "#/$defs/name"; nothing is ever fetched'
UNUSABLE = "not a JSON Schema that can be used: "

SCHEMAS: dict[str, tuple[Json, str, str]] = {
    "too many values": ([0] * MAX_VALUES, "", "expected at most 10000 values"),
    "a number": (5, "", "expected an object, true or false, got a number"),
    "too deep": ({"const": deep(MAX_DEPTH)}, "", "expected values at most 64 deep"),
    "a part that is none": ({"not": 5}, "/not", "expected a schema, got a number"),
    "half of a pair": ({"not": {"then": True}}, "/not/then", "without if it says nothing; add if"),
    "a reference to elsewhere": ({"$ref": "a"}, "/$ref", REFERENCE),
    "an id further down": ({"not": {"$id": "a"}}, "/not/$id", "$id may stand only at the top of the schema; remove it"),
    "another draft": (
        {"$schema": "a"},
        "/$schema",
        f'expected "{DRAFT}", or no $schema; other drafts read the same words in other ways',
    ),
    "an unknown keyword": ({"properties": {"a/b": {"x": 1}}}, "/properties/a~1b/x", KEYWORD),
    "a pattern without a linear reading": ({"pattern": "(?=a)"}, "", f'{UNUSABLE}"(?=a)" is not a "regex"'),
    "a long fault": ({"pattern": "(" * 300}, "", f'{UNUSABLE}"{"(" * 199}'),
}


@pytest.mark.parametrize(("schema", "where", "detail"), SCHEMAS.values(), ids=SCHEMAS)
def test_of_a_schema(schema: Json, where: str, detail: str) -> None:
    assert said(lambda: compile_schema(schema)) == (Code.CONFIG_INVALID, where, f"{where or 'the schema'}: {detail}")


def test_of_a_member_that_the_schema_spells_in_another_way() -> None:
    compiled = compile_schema({"items": {"required": ["a"]}})
    detail = "the body must spell the members that the rule names in the same letters"
    assert said(lambda: compiled.check_spelling([{"A": 1}])) == malformed("body", detail)


def test_of_what_no_json_can_hold() -> None:
    detail = "the body cannot be compared with a JSON Schema"
    assert said(lambda: compile_schema({"type": "object"}).faults("\ud800")) == malformed("", detail)


def pay(**rule: int) -> JsonBody:
    return JsonBody(fields=(FieldRule(pointer="/a", **rule),))


RULES: dict[str, tuple[BodyRule, str]] = {
    "tools that nobody may call": (
        McpBody(methods=frozenset({"ping"}), tools=(ToolRule(name="t"),)),
        "tools/call and tools go together: add it to methods",
    ),
    "a call of no tool": (
        McpBody(methods=frozenset({"tools/call"})),
        "tools/call and tools go together: name its tools, or remove it from methods",
    ),
    "every model": (
        LlmBody(shape=CHAT, models=frozenset({"*"})),
        'the model *: a "*" may only end a name that begins with something else',
    ),
    "a star within a model": (
        LlmBody(shape=CHAT, models=frozenset({"a*b"})),
        'the model a*b: a "*" may only end a name that begins with something else',
    ),
    "nothing but nothing": (JsonBody(only=True), "only needs fields: name those that may be there"),
    "two rules": (JsonBody(fields=(*pay().fields, *pay(most=1).fields)), "/a has two rules; keep one"),
    "two conditions": (
        pay(most=1, max_chars=1),
        "/a: one_of, least and most, max_chars and max_items are for different values; keep one of them",
    ),
    "no number": (pay(least=2, most=1), "/a: least must not be above most"),
    "something below a number": (
        JsonBody(fields=(*pay(most=1).fields, FieldRule(pointer="/a/b"))),
        "/a is a single value, so nothing can lie below it",
    ),
}


@pytest.mark.parametrize(("rule", "detail"), RULES.values(), ids=RULES)
def test_of_a_rule(rule: BodyRule, detail: str) -> None:
    assert said(lambda: prepare_body(rule)) == (Code.CONFIG_INVALID, "", detail)


def test_of_a_member_in_another_spelling() -> None:
    rule = JsonBody(fields=(FieldRule(pointer="/a/b"), FieldRule(pointer="/a/c")))
    detail = "the body must spell the members b, c so, in the same letters"
    assert said(lambda: list(prepare_json(rule).faults({"a": {"B": 1}}))) == malformed("body./a", detail)


def test_of_a_pointer() -> None:
    start, escape = f"a JSON pointer must start with \"/\", got '{'a' * 80}'", 'in a JSON pointer "~" is written ~0'
    assert said(lambda: parse_pointer(LONG)) == (Code.CONFIG_INVALID, "pointer", start)
    assert said(lambda: parse_pointer(f"/~{LONG}")) == (
        Code.CONFIG_INVALID,
        "pointer",
        f"{escape} and \"/\" ~1, got '~{'a' * 79}'",
    )
    detail = f"the body must spell the member '{'a' * 80}' so, in the same letters"
    assert said(lambda: find({LONG.upper(): 1}, (LONG,))) == malformed("body", detail)


WANTED = {
    "json": "a JSON document",
    "form": "a form",
    "multipart": "a multipart form",
    "graphql": "a GraphQL request",
    "mcp": "a JSON-RPC message",
    "llm": "a request to a language model",
}


@pytest.mark.parametrize(("kind", "expected"), WANTED.items())
def test_of_no_body_where_a_rule_reads_one(kind: str, expected: str) -> None:
    (fault,) = prepare_body(EVERY_KIND[kind]).faults(Reading(replace(posted_json(None), body=b"")))
    assert (fault.field, fault.expected, fault.got) == ("body", expected, "no body")
