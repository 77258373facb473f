"""What changed between two body rules: told in plain words, with the right verb, and never left out."""

from dataclasses import replace

import pytest
from bodies import EVERY_KIND, PAYMENT, one_of
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.bodies.changes import body_changes
from proxy.core.bodies.normal import normal_body
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
    NoBody,
    ToolRule,
    Unexamined,
)


def told(old: BodyRule, new: BodyRule) -> list[str]:
    return list(body_changes(old, new))


def field(**conditions: object) -> JsonBody:
    return JsonBody(fields=(FieldRule(pointer="/a", **conditions),))  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", [ANY_BODY, *EVERY_KIND.values()])
def test_nothing_changes_against_itself(rule: BodyRule) -> None:
    assert told(rule, rule) == []


@pytest.mark.parametrize(
    ("old", "new", "verb"),
    [
        pytest.param(ANY_BODY, NoBody(), "tightens", id="any to none"),
        pytest.param(NoBody(), ANY_BODY, "loosens", id="none to any"),
        pytest.param(ANY_BODY, Unexamined(), "loosens", id="any to unexamined"),
        pytest.param(Unexamined(), ANY_BODY, "tightens", id="unexamined to any"),
        pytest.param(PAYMENT, ANY_BODY, "loosens", id="JSON to any"),
        pytest.param(ANY_BODY, PAYMENT, "tightens", id="any to JSON"),
        pytest.param(NoBody(), PAYMENT, "loosens", id="none to JSON"),
        pytest.param(PAYMENT, NoBody(), "tightens", id="JSON to none"),
        pytest.param(PAYMENT, FormBody(), "changes", id="JSON to a form"),
    ],
)
def test_another_kind(old: BodyRule, new: BodyRule, verb: str) -> None:
    (line,) = told(old, new)
    assert line.startswith(f"{verb} the body from ")


def test_another_kind_is_told_in_full() -> None:
    assert told(ANY_BODY, field(most=5)) == [
        'tightens the body from "with any body" to "with a JSON body in which /a is a number of at most 5"'
    ]


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        pytest.param(field(most=5), JsonBody(), ["loosens /a of the body to anything"], id="a rule goes"),
        pytest.param(
            JsonBody(),
            field(most=5, required=True),
            ["tightens /a of the body to a number of at most 5 (required)"],
            id="comes",
        ),
        pytest.param(
            replace(field(), only=True),
            JsonBody(only=True),
            ["removes /a of the body"],
            id="a named field goes where only those may be",
        ),
        pytest.param(
            JsonBody(only=True),
            replace(field(), only=True),
            ["adds /a of the body: anything"],
            id="comes where only those may",
        ),
        pytest.param(field(), replace(field(), only=True), ["tightens the body to what is named"], id="only"),
        pytest.param(
            replace(field(), only=True),
            field(),
            ["loosens the body to members that nobody named"],
            id="not only",
        ),
        pytest.param(
            field(values=one_of(1)),
            field(values=one_of(1, 2)),
            ["loosens /a of the body from 1 to 1, 2"],
            id="more values",
        ),
        pytest.param(
            field(values=one_of(1)),
            field(values=one_of("1")),
            ['changes /a of the body from 1 to "1"'],
            id="other values",
        ),
        pytest.param(
            field(most=5), field(most=6), ["loosens the most of /a of the body from 5 to 6"], id="a greater number"
        ),
        pytest.param(
            field(most=5), field(most=4), ["tightens the most of /a of the body from 5 to 4"], id="a smaller number"
        ),
        pytest.param(
            field(least=1, most=5),
            field(least=2),
            [
                "tightens the least of /a of the body from 1 to 2",
                "loosens the most of /a of the body from 5 to no limit",
            ],
            id="both bounds",
        ),
        pytest.param(
            field(least=1), field(least=0), ["loosens the least of /a of the body from 1 to 0"], id="a smaller least"
        ),
        pytest.param(
            field(least=1),
            field(most=5, least=None),
            [
                "loosens the least of /a of the body from 1 to no limit",
                "tightens the most of /a of the body from no limit to 5",
            ],
            id="the other bound",
        ),
        pytest.param(
            field(max_chars=1),
            field(max_chars=2),
            ["loosens the length of /a of the body from 1 to 2"],
            id="a longer text",
        ),
        pytest.param(
            field(max_items=2),
            field(max_items=1),
            ["tightens the number of items of /a of the body from 2 to 1"],
            id="items",
        ),
        pytest.param(
            field(most=5),
            field(),
            ["loosens /a of the body from a number of at most 5 to anything"],
            id="open",
        ),
        pytest.param(
            field(),
            field(max_items=1, required=True),
            [
                "tightens /a of the body from anything to a list of at most 1 items",
                "tightens /a of the body to required",
            ],
            id="bound",
        ),
        pytest.param(
            field(most=5),
            field(max_chars=5),
            ["changes /a of the body from a number of at most 5 to text of at most 5 characters"],
            id="a text for a number",
        ),
        pytest.param(
            field(values=one_of("EUR", "USD")),
            field(max_chars=3),
            ['changes /a of the body from "EUR" or "USD" to text of at most 3 characters'],
            id="a text for some values",
        ),
        pytest.param(field(required=True), field(), ["loosens /a of the body to optional"], id="optional"),
        pytest.param(
            JsonBody(fields=(FieldRule(pointer=""),)),
            JsonBody(),
            ["loosens the whole of the body to anything"],
            id="the whole",
        ),
        pytest.param(
            JsonBody(schema="{}"), JsonBody(), ["loosens the schema of the body from {} to none"], id="a schema goes"
        ),
        pytest.param(
            JsonBody(), JsonBody(schema="{}"), ["tightens the schema of the body from none to {}"], id="a schema comes"
        ),
        pytest.param(
            JsonBody(schema="{}"),
            JsonBody(schema='{"type":"null"}'),
            ['changes the schema of the body from {} to {"type": "null"}'],
            id="another schema",
        ),
    ],
)
def test_documents(old: JsonBody, new: JsonBody, lines: list[str]) -> None:
    assert told(old, new) == lines


A, B = FormField(name="a", values=frozenset({"1"})), FormField(name="b")
F = FileRule(name="f", media_types=frozenset({"image/png"}), max_bytes=5)
MCP = McpBody(methods=frozenset({"tools/call"}), tools=(ToolRule(name="t", arguments=field(most=5)),))
GRAPHQL = GraphqlBody(kinds=frozenset({"query"}), fields=frozenset({"a"}))
LLM = LlmBody(shape=LlmShape.OPENAI_CHAT, models=frozenset({"m"}))


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        pytest.param(
            FormBody(fields=(A,)),
            FormBody(fields=(B,)),
            ["adds form field b", "removes form field a"],
            id="form fields",
        ),
        pytest.param(FormBody(), FormBody(others=True), ["loosens the form to fields that nobody named"], id="others"),
        pytest.param(
            MultipartBody(others=True), MultipartBody(), ["tightens the form to what is named"], id="no others"
        ),
        pytest.param(
            FormBody(fields=(A,)),
            FormBody(fields=(replace(A, required=True, values=None),)),
            ["tightens form field a to required", "loosens form field a from 1 to any value"],
            id="a form field",
        ),
        pytest.param(
            MultipartBody(files=(F,)), MultipartBody(fields=(B,)), ["adds form field b", "removes file f"], id="files"
        ),
        pytest.param(
            MultipartBody(fields=(A,), files=(F,)),
            MultipartBody(fields=(replace(A, repeated=True),), files=(replace(F, repeated=True),)),
            ["loosens form field a to any number of times", "loosens file f to any number of times"],
            id="a field and a file that may be repeated",
        ),
        pytest.param(
            MultipartBody(fields=(replace(A, repeated=True),), files=(replace(F, repeated=True),)),
            MultipartBody(fields=(A,), files=(F,)),
            ["tightens form field a to once", "tightens file f to once"],
            id="a field and a file that may not be repeated",
        ),
        pytest.param(
            MultipartBody(files=(F,)),
            MultipartBody(files=(FileRule(name="f", required=True),)),
            [
                "tightens file f to required",
                "loosens the types of file f from image/png to any value",
                "loosens the bytes of file f from 5 to no limit",
            ],
            id="a file",
        ),
        pytest.param(
            GRAPHQL,
            GraphqlBody(kinds=frozenset({"mutation"}), fields=None, names=frozenset({"N"})),
            [
                "adds GraphQL kind mutation",
                "removes GraphQL kind query",
                "loosens the root fields from a to any value",
                "tightens the names of operations from any value to N",
            ],
            id="GraphQL",
        ),
        pytest.param(
            MCP,
            McpBody(
                methods=frozenset({"tools/call", "ping"}),
                tools=(ToolRule(name="t", arguments=field(most=6)), ToolRule(name="u")),
            ),
            [
                "adds JSON-RPC method ping",
                "adds tool u",
                "loosens the most of /a of the arguments of tool t from 5 to 6",
            ],
            id="MCP",
        ),
        pytest.param(
            LLM,
            LlmBody(
                shape=LlmShape.OPENAI_RESPONSES, models=frozenset({"m", "n"}), tools=None, max_tokens=5, stream=False
            ),
            [
                "changes the shape of the request from openai-chat to openai-responses",
                "adds model n",
                "loosens the tools from no value to any value",
                "tightens the number of tokens from no limit to 5",
                "tightens the answer to one that is whole",
            ],
            id="LLM",
        ),
        pytest.param(replace(LLM, stream=False), LLM, ["loosens the answer to one that may stream"], id="streaming"),
    ],
)
def test_forms_and_operations(old: BodyRule, new: BodyRule, lines: list[str]) -> None:
    assert told(old, new) == lines


_fields = st.builds(
    FieldRule,
    pointer=st.sampled_from(["/a", "/b"]),
    values=st.none() | st.just(one_of(1)) | st.just(one_of(1, 2)),
    required=st.booleans(),
)
_documents = st.builds(
    JsonBody,
    fields=st.lists(_fields, max_size=2, unique_by=lambda rule: rule.pointer).map(tuple),
    only=st.booleans(),
    schema=st.none() | st.just("{}"),
)
_rules = st.one_of(
    st.sampled_from([ANY_BODY, *EVERY_KIND.values()]),
    _documents,
    st.builds(
        LlmBody,
        shape=st.just(LlmShape.OPENAI_CHAT),
        models=st.frozensets(st.sampled_from(["a", "b"])),
        tools=st.none() | st.frozensets(st.sampled_from(["a", "b"])),
        max_tokens=st.none() | st.integers(1, 2),
        stream=st.booleans(),
    ),
)


@given(_rules, _rules)
@settings(max_examples=100)
def test_whatever_changes_the_digest_is_told(old: BodyRule, new: BodyRule) -> None:
    assert bool(told(old, new)) is (normal_body(old) != normal_body(new))
