"""Body rules in plain words: whatever is signed is said."""

import json

import pytest
from bodies import EVERY_KIND, PAYMENT, one_of

from proxy.core.bodies.rules import (
    ANY_BODY,
    BodyRule,
    FieldRule,
    FileRule,
    FormBody,
    FormField,
    GraphqlBody,
    JsonBody,
    LlmBody,
    LlmShape,
    McpBody,
    MultipartBody,
    ToolRule,
)
from proxy.core.bodies.words import body_words

DOCUMENT = (
    'in which /amount is a number from 1 to 500 (required); /currency is "EUR" or "USD"; '
    "/lines is a list of at most 3 items; /note is text of at most 20 characters; nothing else is there; "
    'the schema {"type": "object"} holds'
)

WORDS = {
    "none": "without a body",
    "unexamined": "with a body that nobody examines, of any length",
    "json": f"with a JSON body {DOCUMENT}",
    "form": 'with a form of note (any value); payee ("" or 88, required)',
    "multipart": (
        "with a multipart form of note (any value); the file more (any type); "
        "the file scan (image/jpeg or image/png, at most 4096 bytes, required); anything else"
    ),
    "graphql": "with a GraphQL query of viewer, if it calls itself Who",
    "mcp": (
        f"with JSON-RPC for tools/call or tools/list; the tool pay with arguments {DOCUMENT}; "
        "the tool search with arguments of any content"
    ),
    "llm": "with a request (openai-chat) to big-* or small with find, for at most 500 tokens, not streamed",
}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_in_words(kind: str) -> None:
    assert body_words(EVERY_KIND[kind]) == WORDS[kind]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        pytest.param(ANY_BODY, "", id="any body needs no words"),
        pytest.param(JsonBody(), "with a JSON body of any content", id="any document"),
        pytest.param(
            JsonBody(fields=(FieldRule(pointer=""), FieldRule(pointer="/a", values=frozenset()))),
            "with a JSON body in which it is anything; /a is no value",
            id="the whole, and no value",
        ),
        pytest.param(
            JsonBody(fields=(FieldRule(pointer="/a", least=-1), FieldRule(pointer="/b", most=1))),
            "with a JSON body in which /a is a number of at least -1; /b is a number of at most 1",
            id="bounds on one side",
        ),
        pytest.param(
            JsonBody(fields=(FieldRule(pointer="/\u202e", values=one_of("\u202e")),)),
            'with a JSON body in which /\\u202e is "\\u202e"',
            id="characters that would turn a line around",
        ),
        pytest.param(FormBody(), "with a form of nothing", id="an empty form"),
        pytest.param(
            MultipartBody(
                fields=(FormField(name="a", repeated=True),), files=(FileRule(name="f", required=True, repeated=True),)
            ),
            "with a multipart form of a (any value, also repeated); the file f (any type, required, also repeated)",
            id="what may be repeated",
        ),
        pytest.param(FormBody(others=True), "with a form of anything else", id="any form"),
        pytest.param(MultipartBody(), "with a multipart form of nothing", id="an empty multipart form"),
        pytest.param(
            GraphqlBody(kinds=frozenset({"query", "mutation"}), fields=None),
            "with a GraphQL mutation or query of any root field",
            id="any root field",
        ),
        pytest.param(
            GraphqlBody(kinds=frozenset(), fields=frozenset(), names=frozenset()),
            "with a GraphQL nothing of no root field, if it calls itself nothing",
            id="no GraphQL",
        ),
        pytest.param(McpBody(methods=frozenset()), "with JSON-RPC for no method", id="no method"),
        pytest.param(
            LlmBody(shape=LlmShape.ANTHROPIC_MESSAGES, models=frozenset(), tools=None),
            "with a request (anthropic-messages) to no model with any tool",
            id="no model, any tool",
        ),
        pytest.param(
            LlmBody(shape=LlmShape.OPENAI_RESPONSES, models=frozenset({"m"})),
            "with a request (openai-responses) to m with no tool",
            id="no tool",
        ),
    ],
)
def test_what_is_left_open_or_empty(rule: BodyRule, words: str) -> None:
    assert body_words(rule) == words


def test_a_schema_is_shown_in_full_and_in_ascii() -> None:
    schema = {"properties": {f"field-{number}": {"const": "\u202e"} for number in range(50)}}
    tool = ToolRule(name="t", arguments=JsonBody(schema=json.dumps(schema)))
    words = body_words(McpBody(methods=frozenset(), tools=(tool,)))
    assert json.dumps(schema) in words
    assert words.isascii() and words.isprintable()


def test_all_values_are_shown() -> None:
    words = body_words(JsonBody(fields=(FieldRule(pointer="/n", values=one_of(*range(40))),)))
    assert all(f" {number}," in words or f" {number} " in words or words.endswith(f" {number}") for number in range(40))
    assert PAYMENT.fields[0].pointer not in words


def test_a_kind_that_is_not_known_is_an_error_of_ours() -> None:
    with pytest.raises(AssertionError):
        body_words("x")  # type: ignore[arg-type]
