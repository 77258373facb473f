"""Every kind of body rule on bodies that fit, that do not, and that nobody can read in one way."""

import json
from dataclasses import replace

import pytest
from bodies import EVERY_KIND, FORM_TYPE, JSON_TYPE, MULTIPART_TYPE, posted, posted_form, posted_json

from proxy.core.bodies.judge import prepare_body
from proxy.core.bodies.reading import Reading
from proxy.core.bodies.rules import (
    ANY_BODY,
    BodyRule,
    GraphqlBody,
    JsonBody,
    LlmBody,
    LlmShape,
    McpBody,
    NoBody,
    ToolRule,
    Unexamined,
)
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.model import Call, Unread

OVER_THE_CAP = Unread(size=5_000_000, sha256=b"\1" * 32)
STREAMED = Unread(size=None, sha256=None)


def told(rule: BodyRule, asked: Call) -> list[tuple[str, str, str]]:
    return [(item.field, item.expected, item.got) for item in prepare_body(rule).faults(Reading(asked))]


# --- without reading it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "body", "faults"),
    [
        pytest.param(ANY_BODY, b"", [], id="any body takes none"),
        pytest.param(ANY_BODY, b"\xff", [], id="any body takes any"),
        pytest.param(ANY_BODY, OVER_THE_CAP, [], id="any body takes a large one"),
        pytest.param(NoBody(), b"", [], id="no body"),
        pytest.param(NoBody(), b" ", [("body", "no body", "1 bytes")], id="a body where none may be"),
        pytest.param(
            NoBody(), OVER_THE_CAP, [("body", "no body", "5000000 bytes")], id="a large one where none may be"
        ),
        pytest.param(NoBody(), STREAMED, [("body", "no body", "a body")], id="one that streams where none may be"),
        pytest.param(Unexamined(), b"", [], id="unexamined takes none"),
        pytest.param(Unexamined(), OVER_THE_CAP, [], id="unexamined takes a large one"),
        pytest.param(Unexamined(), STREAMED, [], id="unexamined takes one that streams"),
    ],
)
def test_rules_that_look_into_no_body(rule: BodyRule, body: bytes | Unread, faults: list[tuple[str, str, str]]) -> None:
    assert told(rule, posted(body, ())) == faults
    assert prepare_body(rule).reads is False


READING = sorted(EVERY_KIND.keys() - {"none", "unexamined"})
HEADERS = {"form": FORM_TYPE, "multipart": MULTIPART_TYPE}


@pytest.mark.parametrize("kind", READING)
@pytest.mark.parametrize("body", [OVER_THE_CAP, STREAMED], ids=["over the cap", "streamed"])
def test_a_body_that_is_not_here_is_not_inspected(kind: str, body: Unread) -> None:
    with pytest.raises(Rejected) as refused:
        told(EVERY_KIND[kind], posted(body, HEADERS.get(kind, JSON_TYPE)))
    assert refused.value.code is Code.BODY_NOT_INSPECTED
    assert refused.value.field == "body"


def test_one_that_streams_is_not_yet_any_body() -> None:
    with pytest.raises(Rejected, match="read whole") as refused:
        told(ANY_BODY, posted(STREAMED))
    assert refused.value.code is Code.BODY_NOT_INSPECTED


@pytest.mark.parametrize("kind", READING)
def test_a_rule_that_reads_needs_a_body(kind: str) -> None:
    ((field, _, got),) = told(EVERY_KIND[kind], posted(b"", ()))
    assert (field, got) == ("body", "no body")
    assert prepare_body(EVERY_KIND[kind]).reads


@pytest.mark.parametrize("kind", READING)
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((), id="none"),
        pytest.param((("content-type", "text/plain"),), id="another"),
        pytest.param((*JSON_TYPE, *FORM_TYPE), id="two"),
        pytest.param((("content-type", "json"),), id="an ill-formed one"),
    ],
)
@pytest.mark.parametrize("body", [b"{}", OVER_THE_CAP], ids=["read", "over the cap"])
def test_a_body_needs_the_media_type_of_its_rule(
    kind: str, headers: tuple[tuple[str, str], ...], body: bytes | Unread
) -> None:
    with pytest.raises(Rejected) as refused:
        told(EVERY_KIND[kind], posted(body, headers))
    assert (refused.value.code, refused.value.field) == (Code.BODY_MALFORMED, "content-type")


# --- what each kind permits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "faults"),
    [
        pytest.param({"amount": 500, "currency": "EUR", "note": "lunch", "lines": [1]}, [], id="fits"),
        pytest.param({"amount": 501}, [("body./amount", "a number from 1 to 500", "501")], id="too much"),
        pytest.param({"amount": 1, "x": 1}, [("body", "nothing but amount, currency, lines, note", "x")], id="unnamed"),
        pytest.param(
            [], [("body", "an object", "a list"), ("body", "the schema's type", "something else")], id="a list"
        ),
    ],
)
def test_json(document: Json, faults: list[tuple[str, str, str]]) -> None:
    assert told(EVERY_KIND["json"], posted_json(document)) == faults


def test_a_form() -> None:
    rule = EVERY_KIND["form"]
    assert told(rule, posted_form("payee=88&note=x+y")) == []
    assert told(rule, posted_form("payee=99")) == [("body.payee", '"", 88', "99")]
    assert told(rule, posted_form("payee=88&payee=88")) == [("body.payee", "at most once", "more than once")]


def multipart(*parts: tuple[str, str]) -> Call:
    text = "".join(f"--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{data}\r\n" for head, data in parts)
    return posted(f"{text}--b--\r\n".encode(), MULTIPART_TYPE)


def test_a_multipart_form() -> None:
    rule, scan = EVERY_KIND["multipart"], 'name="scan"; filename="a"\r\nContent-Type: image/'
    assert told(rule, multipart((f"{scan}png", "PNG"), ('name="other"', "x"))) == []
    assert told(rule, multipart((f"{scan}gif", "GIF"))) == [("body.scan", "image/jpeg, image/png", "image/gif")]
    assert told(rule, multipart(('name="note"', "x"))) == [("body.scan", "present", "absent")]


ASK = GraphqlBody(kinds=frozenset({"query"}), fields=frozenset({"viewer", "repository"}))


@pytest.mark.parametrize(
    ("rule", "text", "faults"),
    [
        pytest.param(ASK, "{viewer {login}}", [], id="a permitted field"),
        pytest.param(ASK, "{a: viewer {login} ...on Query {repository {id}}}", [], id="permitted through a fragment"),
        pytest.param(ASK, "{x}", [("body.field", "repository, viewer", "x")], id="another field"),
        pytest.param(ASK, "{viewer: x}", [("body.field", "repository, viewer", "x")], id="another under an alias"),
        pytest.param(
            ASK, "query {...F} fragment F on Query {x}", [("body.field", "repository, viewer", "x")], id="in a fragment"
        ),
        pytest.param(ASK, "mutation {viewer}", [("body.kind", "query", "mutation")], id="another kind"),
        pytest.param(
            replace(ASK, kinds=frozenset()), "{viewer}", [("body.kind", "no kind", "query")], id="no kind is permitted"
        ),
        pytest.param(
            replace(ASK, fields=frozenset()), "{viewer}", [("body.field", "no root field", "viewer")], id="no field is"
        ),
        pytest.param(replace(ASK, fields=None), "{anything}", [], id="any field"),
        pytest.param(replace(ASK, names=frozenset({"Who"})), "query Who {viewer}", [], id="a permitted name"),
        pytest.param(
            replace(ASK, names=frozenset({"Who"})), "query X {viewer}", [("body.name", "Who", "X")], id="another name"
        ),
        pytest.param(
            replace(ASK, names=frozenset()),
            "{viewer}",
            [("body.name", "no name is permitted", "no name")],
            id="no name where it needs one",
        ),
    ],
)
def test_graphql(rule: GraphqlBody, text: str, faults: list[tuple[str, str, str]]) -> None:
    assert told(rule, posted_json({"query": text})) == faults


def test_every_operation_of_a_graphql_batch_must_pass() -> None:
    assert told(ASK, posted_json([{"query": "{viewer}"}, {"query": "{repository}"}])) == []
    batch = posted_json([{"query": "{viewer}"}, {"query": "mutation {x}"}])
    assert told(ASK, batch) == [("body.kind", "query", "mutation"), ("body.field", "repository, viewer", "x")]


def rpc(method: str, **params: Json) -> dict[str, Json]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


PAY = {"amount": 5}


@pytest.mark.parametrize(
    ("message", "faults"),
    [
        pytest.param(rpc("tools/list"), [], id="a permitted method"),
        pytest.param(
            rpc("resources/read", uri="x"), [("body.method", "tools/call, tools/list", "resources/read")], id="other"
        ),
        pytest.param(rpc("tools/call", name="search", arguments={"any": "thing"}), [], id="a tool with any arguments"),
        pytest.param(rpc("tools/call", name="pay", arguments=PAY), [], id="a tool with permitted arguments"),
        pytest.param(
            rpc("tools/call", name="pay", arguments={"amount": 501}),
            [("body.arguments./amount", "a number from 1 to 500", "501")],
            id="an argument out of bounds",
        ),
        pytest.param(
            rpc("tools/call", name="pay", arguments={"amount": 5, "x": 1}),
            [("body.arguments", "nothing but amount, currency, lines, note", "x")],
            id="an argument nobody named",
        ),
        pytest.param(
            rpc("tools/call", name="delete", arguments={}), [("body.tool", "pay, search", "delete")], id="a tool"
        ),
        pytest.param({"jsonrpc": "2.0", "id": 1, "result": {}}, [], id="an empty response"),
        pytest.param(
            {"jsonrpc": "2.0", "id": 1, "result": {"secret": 1}},
            [("body.method", "tools/call, tools/list", "a response")],
            id="a response that says something",
        ),
    ],
)
def test_mcp(message: dict[str, Json], faults: list[tuple[str, str, str]]) -> None:
    assert told(EVERY_KIND["mcp"], posted_json(message)) == faults
    permitted = rpc("tools/list")
    assert told(EVERY_KIND["mcp"], posted_json([permitted, message])) == faults, "in a batch, too"


def test_no_method_and_no_tool() -> None:
    assert told(McpBody(methods=frozenset()), posted_json(rpc("ping"))) == [("body.method", "no method", "ping")]


def chat(**changed: Json) -> Call:
    return posted_json({"model": "small", "messages": [], "max_tokens": 100, **changed})


FIND = {"type": "function", "function": {"name": "find"}}


@pytest.mark.parametrize(
    ("asked", "faults"),
    [
        pytest.param(chat(), [], id="a permitted model"),
        pytest.param(chat(model="big-2"), [], id="a model that begins so"),
        pytest.param(chat(model="big"), [("body.model", "big-*, small", "big")], id="a beginning alone"),
        pytest.param(chat(model="Small"), [("body.model", "big-*, small", "Small")], id="another case"),
        pytest.param(chat(tools=[FIND]), [], id="a permitted tool"),
        pytest.param(
            chat(tools=[FIND, {"type": "function", "function": {"name": "rm"}}]),
            [("body.tool", "find", "rm")],
            id="a tool",
        ),
        pytest.param(chat(max_tokens=500), [], id="as many tokens as may be"),
        pytest.param(chat(max_tokens=501), [("body.max_tokens", "at most 500", "501")], id="too many tokens"),
        pytest.param(
            posted_json({"model": "small", "messages": []}),
            [("body.max_tokens", "at most 500", "no limit")],
            id="no limit",
        ),
        pytest.param(chat(stream=True), [("body.stream", "false", "true")], id="streamed"),
    ],
)
def test_llm(asked: Call, faults: list[tuple[str, str, str]]) -> None:
    assert told(EVERY_KIND["llm"], asked) == faults


def test_llm_without_limits() -> None:
    rule = LlmBody(shape=LlmShape.OPENAI_CHAT, models=frozenset(), tools=None)
    asked = posted_json({"model": "any", "messages": [], "stream": True, "tools": [FIND]})
    assert told(rule, asked) == [("body.model", "no model", "any")]
    none = LlmBody(shape=LlmShape.OPENAI_CHAT, models=frozenset({"any"}))
    assert told(none, asked) == [("body.tool", "no tool", "find")]


def test_a_remote_mcp_server_is_a_tool_that_must_be_listed() -> None:
    rule = LlmBody(shape=LlmShape.ANTHROPIC_MESSAGES, models=frozenset({"m"}), tools=frozenset({"find"}))
    server = {"type": "url", "name": "x", "url": "https://evil.example/mcp"}
    asked = {"model": "m", "max_tokens": 5, "messages": [], "mcp_servers": [server]}
    assert told(rule, posted_json(asked)) == [("body.tool", "find", "mcp:https://evil.example/mcp")]
    allowed = replace(rule, tools=frozenset({"mcp:https://evil.example/mcp"}))
    assert told(allowed, posted_json(asked)) == []


# --- one reading, once -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"amount": 1, "amount": 900}', id="a member twice"),
        pytest.param(b'{"amount": 1, "Amount": 900}', id="members that differ in case"),
        pytest.param(b'{"amount": NaN}', id="NaN"),
        pytest.param(b'\xef\xbb\xbf{"amount": 1}', id="a byte-order mark"),
        pytest.param('{"amount": 1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b"[" * 100 + b"]" * 100, id="too deep"),
        pytest.param(b'{"amount": 1} {"amount": 900}', id="two documents"),
    ],
)
@pytest.mark.parametrize("kind", ["json", "graphql", "mcp", "llm"])
def test_json_that_has_no_one_reading_is_malformed_for_every_kind(kind: str, body: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        told(EVERY_KIND[kind], posted(body))
    assert (refused.value.code, refused.value.field) == (Code.BODY_MALFORMED, "body")


@pytest.mark.parametrize(
    "media", ["application/json", "application/json; charset=UTF-8", "application/vnd.api+json", "Application/JSON"]
)
def test_media_types_of_json(media: str) -> None:
    assert told(JsonBody(), posted(b"[]", (("content-type", media),))) == []


# --- rules that make no sense ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        pytest.param(McpBody(methods=frozenset({"tools/call"})), "name its tools", id="tools/call without tools"),
        pytest.param(
            McpBody(methods=frozenset({"ping"}), tools=(ToolRule(name="x"),)), "add it to methods", id="tools alone"
        ),
        pytest.param(LlmBody(shape=LlmShape.OPENAI_CHAT, models=frozenset({"a*b"})), "may only end", id="a * within"),
        pytest.param(LlmBody(shape=LlmShape.OPENAI_CHAT, models=frozenset({"*"})), "may only end", id="a * alone"),
        pytest.param(JsonBody(only=True), "only needs fields", id="a JSON rule"),
    ],
)
def test_rules_that_contradict_themselves_are_refused(rule: BodyRule, words: str) -> None:
    with pytest.raises(Rejected, match=words) as refused:
        prepare_body(rule)
    assert refused.value.code is Code.CONFIG_INVALID


def test_a_name_that_may_be_a_secret_is_not_told() -> None:
    secret = "the password is swordfish"
    with pytest.raises(Rejected) as refused:
        told(EVERY_KIND["mcp"], posted_json({"jsonrpc": "2.0", "method": "ping", secret: 1}))
    assert refused.value.field == "body./*"
    assert "swordfish" not in refused.value.detail


def test_field_names_in_faults_of_readers_lie_in_the_body() -> None:
    asked = posted_json({"jsonrpc": "1.0", "method": "x"})
    with pytest.raises(Rejected) as refused:
        told(EVERY_KIND["mcp"], asked)
    assert refused.value.field == "body./jsonrpc"
    with pytest.raises(Rejected) as refused:
        told(ASK, posted(json.dumps([]).encode()))
    assert refused.value.field == "body"


def test_a_kind_that_is_not_known_is_an_error_of_ours() -> None:
    with pytest.raises(AssertionError):
        prepare_body("x")  # type: ignore[arg-type]
