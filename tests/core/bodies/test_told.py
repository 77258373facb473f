"""What a rule sees in a body, in words: names and sizes, never a value."""

import json
from dataclasses import replace

import heads
import pytest

from proxy.core.bodies.reading import Reading
from proxy.core.bodies.rules import (
    ANY_BODY,
    BodyRule,
    FormBody,
    GraphqlBody,
    JsonBody,
    LlmBody,
    LlmShape,
    McpBody,
    MultipartBody,
    NoBody,
    Unexamined,
)
from proxy.core.bodies.told import body_told
from proxy.core.canonical import canonicalise
from proxy.core.model import Call, Unread

JSON = "Content-Type: application/json"
FORM = "Content-Type: application/x-www-form-urlencoded"
PARTS = "Content-Type: multipart/form-data; boundary=x"
GRAPHQL = GraphqlBody(kinds=frozenset({"query"}), fields=None)
MCP = McpBody(methods=frozenset({"tools/list"}))
CHAT = LlmBody(shape=LlmShape.OPENAI_CHAT, models=frozenset({"gpt-x"}))
MESSAGES = LlmBody(shape=LlmShape.ANTHROPIC_MESSAGES, models=frozenset({"opus"}))


def posted(body: object, *lines: str) -> Call:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return canonicalise(heads.absolute("https://erp.example/x", *lines, method="POST", body=data), heads.OUTSIDE)


def rpc(method: str, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


TWO_PARTS = (
    b'--x\r\nContent-Disposition: form-data; name="note"\r\n\r\nhunter2\r\n'
    b'--x\r\nContent-Disposition: form-data; name="scan"; filename="a.png"\r\nContent-Type: image/png\r\n\r\nPNG\r\n'
    b"--x--\r\n"
)


@pytest.mark.parametrize(
    ("rule", "call", "told"),
    [
        pytest.param(ANY_BODY, posted(b""), ("none",), id="no body"),
        pytest.param(JsonBody(), posted(b""), ("none",), id="no body where a rule wants one"),
        pytest.param(ANY_BODY, posted(b"hunter2"), ("7 bytes, not looked into",), id="any body"),
        pytest.param(NoBody(), posted(b"hunter2"), ("7 bytes, not looked into",), id="a body where none may be"),
        pytest.param(
            JsonBody(), posted({"b": "hunter2", "a": 1}, JSON), ("a JSON object with members a, b",), id="an object"
        ),
        pytest.param(JsonBody(), posted({"a": 1}, JSON), ("a JSON object with member a",), id="one member"),
        pytest.param(JsonBody(), posted({}, JSON), ("a JSON object with no member",), id="an empty object"),
        pytest.param(JsonBody(), posted([1, 2], JSON), ("a JSON list of 2 items",), id="a list"),
        pytest.param(JsonBody(), posted("hunter2", JSON), ("one JSON value",), id="a string"),
        pytest.param(FormBody(), posted(b"b=hunter2&a=1&b=2", FORM), ("a form with fields a, b",), id="a form"),
        pytest.param(
            MultipartBody(),
            posted(TWO_PARTS, PARTS),
            ("a field named note, 7 bytes", "a file named scan of type image/png, 3 bytes"),
            id="a multipart form",
        ),
        pytest.param(
            GRAPHQL,
            posted({"query": "query Mine { b: invoices { id } me }"}, JSON),
            ("GraphQL query Mine with root fields invoices, me",),
            id="GraphQL with a name",
        ),
        pytest.param(
            GRAPHQL, posted({"query": "{ me }"}, JSON), ("GraphQL query with root field me",), id="GraphQL without"
        ),
        pytest.param(
            MCP,
            posted([rpc("tools/call", name="pay", arguments={"iban": "hunter2"}), rpc("tools/list")], JSON),
            ("JSON-RPC request tools/call of tool pay with argument iban", "JSON-RPC request tools/list"),
            id="MCP",
        ),
        pytest.param(
            MCP, posted({"jsonrpc": "2.0", "id": 1, "result": {}}, JSON), ("JSON-RPC response",), id="a response"
        ),
        pytest.param(
            CHAT,
            posted({"model": "gpt-x", "messages": [{"role": "user", "content": "hunter2"}]}, JSON),
            ("model gpt-x with no tool, without a limit",),
            id="a model",
        ),
        pytest.param(
            MESSAGES,
            posted(
                {
                    "model": "opus",
                    "max_tokens": 100,
                    "stream": True,
                    "messages": [{"role": "user", "content": "hunter2"}],
                    "tools": [{"name": "pay", "input_schema": {"type": "object"}}],
                },
                JSON,
            ),
            ("model opus with tool pay, at most 100 tokens, streamed",),
            id="a model with tools",
        ),
    ],
)
def test_names_are_told_and_no_values(rule: BodyRule, call: Call, told: tuple[str, ...]) -> None:
    assert body_told(rule, Reading(call)) == told
    assert "hunter2" not in str(told)


def test_what_cannot_be_read_says_why() -> None:
    (told,) = body_told(JsonBody(), Reading(posted(b"{", JSON)))
    assert told.startswith("cannot be read: ")


def test_a_body_that_is_not_here_is_told_by_its_size() -> None:
    call = posted(b"")
    for body, told in ((Unread(size=9, sha256=b"x"), "9 bytes"), (Unread(size=None, sha256=None), "a stream")):
        assert body_told(Unexamined(), Reading(replace(call, body=body))) == (f"{told}, not looked into",)


def test_a_rule_that_is_none_is_a_fault() -> None:
    with pytest.raises(AssertionError):
        body_told("json", Reading(posted(b"{}", JSON)))  # type: ignore[arg-type]


def test_of_a_long_batch_the_first_are_told() -> None:
    def told(messages: int) -> tuple[str, ...]:
        return body_told(MCP, Reading(posted([rpc(f"m{number}") for number in range(messages)], JSON)))

    first = tuple(f"JSON-RPC request m{number}" for number in range(8))
    assert [told(number) for number in (8, 9, 20)] == [first, (*first, "and 1 more"), (*first, "and 12 more")]
