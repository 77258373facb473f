"""`body` in clusters.yaml: what each key means, and what is refused with which words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.bodies.rpc import MCP_CHATTER
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
    scalar_text,
)
from proxy.core.clusters import from_normalised, normalised
from proxy.policy.clusters import Rules
from proxy.policy.faults import Faults
from proxy.policy.yaml import load

BASE = """\
version: 1
clusters:
  - id: payments
    hosts: [erp.example]
    risk: routine
    operations:
      - name: pay
        methods: [POST]
        path: /v1/payments
        body: """

OF = 'of operation "pay" of cluster "payments"'


def read(body: str) -> tuple[Rules, list[str]]:
    found, faults = Rules(people=None), Faults("clusters.yaml")
    root = load((BASE + body + "\n").encode(), faults)
    if root is not None:
        found.read(root, faults)
    return found, [str(fault).removeprefix("clusters.yaml:") for fault in faults.listed()]


def rule(body: str) -> BodyRule:
    found, faults = read(body)
    assert faults == []
    (cluster,) = found.clusters.values()
    assert from_normalised(normalised(cluster)).digest == cluster.digest, "what is read can be signed and read back"
    return cluster.operations[0].body


def values(*scalars: bool | int | str | None) -> frozenset[str]:
    return frozenset(map(scalar_text, scalars))


# --- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param("any", ANY_BODY, id="any"),
        pytest.param("none", NoBody(), id="none"),
        pytest.param("unexamined", Unexamined(), id="unexamined"),
        pytest.param("{json: any}", JsonBody(), id="any document"),
        pytest.param("{form: any}", FormBody(others=True), id="any form"),
        pytest.param("{multipart: any}", MultipartBody(others=True), id="any multipart form"),
        pytest.param(
            """{json: {fields: {/a: any, /b: [x, 1, "1", true, null, ""], "": {max_items: 5}, /c: {}}}}""",
            JsonBody(
                fields=(
                    FieldRule(pointer="/a"),
                    FieldRule(pointer="/b", values=values("x", 1, "1", True, None, "")),
                    FieldRule(pointer="", max_items=5),
                    FieldRule(pointer="/c"),
                )
            ),
            id="fields",
        ),
        pytest.param(
            """{json: {only: true, fields: {
                /a: {one_of: [x], required: true}, /b: {least: -1, most: 5}, /c: {max_chars: 9}, "/d/*/e~1f": any}}}""",
            JsonBody(
                only=True,
                fields=(
                    FieldRule(pointer="/a", values=values("x"), required=True),
                    FieldRule(pointer="/b", least=-1, most=5),
                    FieldRule(pointer="/c", max_chars=9),
                    FieldRule(pointer="/d/*/e~1f"),
                ),
            ),
            id="conditions",
        ),
        pytest.param(
            "{json: {schema: {type: object, required: [a], properties: {a: {maximum: 5}}}}}",
            JsonBody(schema='{"properties":{"a":{"maximum":5}},"required":["a"],"type":"object"}'),
            id="a schema",
        ),
        pytest.param(
            """{form: {fields: {a: any, b: [x, ""], c: {one_of: ["1"], required: true},
                d: {repeated: true}}, any: true}}""",
            FormBody(
                fields=(
                    FormField(name="a"),
                    FormField(name="b", values=frozenset({"x", ""})),
                    FormField(name="c", values=frozenset({"1"}), required=True),
                    FormField(name="d", repeated=True),
                ),
                others=True,
            ),
            id="a form",
        ),
        pytest.param("{form: {}}", FormBody(), id="a form without fields"),
        pytest.param(
            """{multipart: {fields: {a: any}, files: {b: any, c: {types: [image/png], max_size: 5MiB, required: true},
                d: {repeated: true}}}}""",
            MultipartBody(
                fields=(FormField(name="a"),),
                files=(
                    FileRule(name="b"),
                    FileRule(name="c", media_types=frozenset({"image/png"}), max_bytes=5 * 1024**2, required=True),
                    FileRule(name="d", repeated=True),
                ),
            ),
            id="a multipart form",
        ),
        pytest.param(
            "{graphql: {fields: [viewer]}}",
            GraphqlBody(kinds=frozenset({"query"}), fields=frozenset({"viewer"})),
            id="GraphQL queries",
        ),
        pytest.param(
            "{graphql: {kinds: [mutation, subscription], fields: any, names: [Who]}}",
            GraphqlBody(kinds=frozenset({"mutation", "subscription"}), fields=None, names=frozenset({"Who"})),
            id="GraphQL",
        ),
        pytest.param("{mcp: {}}", McpBody(methods=MCP_CHATTER), id="MCP without tools"),
        pytest.param(
            "{mcp: {tools: {find: any}}}",
            McpBody(methods=MCP_CHATTER | {"tools/call"}, tools=(ToolRule(name="find"),)),
            id="MCP with a tool",
        ),
        pytest.param(
            "{mcp: {methods: [tools/call], tools: {pay: {fields: {/amount: {most: 5}}, only: true}}}}",
            McpBody(
                methods=frozenset({"tools/call"}),
                tools=(
                    ToolRule(name="pay", arguments=JsonBody(fields=(FieldRule(pointer="/amount", most=5),), only=True)),
                ),
            ),
            id="a tool with arguments",
        ),
        pytest.param(
            "{llm: {shape: anthropic-messages, models: [big-*, small]}}",
            LlmBody(shape=LlmShape.ANTHROPIC_MESSAGES, models=frozenset({"big-*", "small"})),
            id="a model",
        ),
        pytest.param(
            """{llm: {shape: openai-chat, models: [m], tools: ["mcp:https://mcp.example"],
                max_tokens: 9, stream: false}}""",
            LlmBody(
                shape=LlmShape.OPENAI_CHAT,
                models=frozenset({"m"}),
                tools=frozenset({"mcp:https://mcp.example"}),
                max_tokens=9,
                stream=False,
            ),
            id="a model with limits",
        ),
        pytest.param(
            "{llm: {shape: openai-responses, models: [m], tools: any}}",
            LlmBody(shape=LlmShape.OPENAI_RESPONSES, models=frozenset({"m"}), tools=None),
            id="any tool",
        ),
    ],
)
def test_every_kind_is_read(body: str, expected: BodyRule) -> None:
    assert rule(body) == expected


def test_left_out_any_body_is_permitted_and_the_digest_is_the_same() -> None:
    written, _ = read("any")
    left, faults = Rules(people=None), Faults("clusters.yaml")
    root = load(BASE.removesuffix("        body: ").encode(), faults)
    assert root is not None
    left.read(root, faults)
    assert left.clusters["payments"].operations[0].body == ANY_BODY
    assert left.clusters["payments"].digest == written.clusters["payments"].digest


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        pytest.param("all", f'10: body {OF}: got "all"; expected one of any, none, unexamined', id="an unknown word"),
        pytest.param("nome", f'10: body {OF}: got "nome"; did you mean "none"?', id="a misspelt word"),
        pytest.param("json", f"10: body {OF}: json needs to be told what it may be", id="a kind without its rules"),
        pytest.param("5", f"10: body {OF}: expected text", id="a number"),
        pytest.param("[json]", f"10: expected a mapping for body {OF}, got a list", id="a list"),
        pytest.param("{}", f"10: body {OF}: expected exactly one of json, form", id="no kind"),
        pytest.param("{json: any, form: any}", f"10: body {OF}: expected exactly one of", id="two kinds"),
        pytest.param("{xml: any}", f'10: unknown key "xml" in body {OF}; expected one of', id="an unknown kind"),
        pytest.param("{jsn: any}", f'10: unknown key "jsn" in body {OF}; did you mean "json"?', id="a misspelt kind"),
        pytest.param("{json: all}", f'10: expected a mapping for json of body {OF}, got "all"', id="another word"),
        pytest.param("{graphql: any}", f'10: expected a mapping for graphql of body {OF}, got "any"', id="any GraphQL"),
        pytest.param("{json: {}}", "expected fields or a schema; write", id="no rule for a document"),
        pytest.param("{json: {field: {}}}", 'unknown key "field" in json of', id="a misspelt key"),
        pytest.param("{json: {only: true}}", "only needs fields", id="only, but no field"),
        pytest.param("{json: {fields: [/a]}}", "expected a mapping from each JSON pointer", id="fields as a list"),
        pytest.param("{json: {fields: {a: any}}}", 'a JSON pointer must start with "/"', id="no pointer"),
        pytest.param("{json: {fields: {/a~2: any}}}", '"~" is written ~0', id="a pointer with a stray ~"),
        pytest.param("{json: {fields: {/a: []}}}", "expected at least one item", id="no value"),
        pytest.param("{json: {fields: {/a: x}}}", "expected a list, got", id="one value without a list"),
        pytest.param(
            "{json: {fields: {/a: [[x]]}}}",
            "expected text, a whole number, true, false or null",
            id="a list",
        ),
        pytest.param("{json: {fields: {/a: [x, x]}}}", "appears twice", id="a value twice"),
        pytest.param("{json: {fields: {/a: [2026-01-01]}}}", "expected text, a whole number", id="a date"),
        pytest.param("{json: {fields: {/a: [~]}}}", "expected text, a whole number", id="a tilde for null"),
        pytest.param("{json: {fields: {/a: [9007199254740992]}}}", "every JSON reader takes", id="too large a value"),
        pytest.param("{json: {fields: {/a: [1.5]}}}", "write a plain decimal number", id="a fraction"),
        pytest.param("{json: {fields: {/a: {most: x}}}}", "expected a whole number from", id="text for a number"),
        pytest.param(
            "{json: {fields: {/a: {max_chars: -1}}}}",
            "expected a whole number from 0",
            id="a negative length",
        ),
        pytest.param(
            "{json: {fields: {/a: {least: 2, most: 1}}}}",
            "least must not be above most",
            id="an empty range",
        ),
        pytest.param("{json: {fields: {/a: {most: 2, max_chars: 1}}}}", "keep one of them", id="two conditions"),
        pytest.param("{json: {fields: {/a: [x], /a/b: any}}}", "nothing can lie below it", id="below a value"),
        pytest.param("{json: {fields: {/a: {requird: true}}}}", 'did you mean "required"?', id="a misspelt condition"),
        pytest.param("{json: {schema: true}}", "expected a JSON Schema, got true", id="a schema that is no mapping"),
        pytest.param(
            "{json: {schema: {type: thing}}}",
            f"10: body {OF}: the schema: not a JSON Schema",
            id="no schema",
        ),
        pytest.param("{json: {schema: {tpye: object}}}", "/tpye: this is not a keyword", id="a misspelt keyword"),
        pytest.param(
            '{json: {schema: {$ref: "https://x.example/s"}}}', "nothing is ever fetched", id="a remote reference"
        ),
        pytest.param(
            "{json: {schema: {const: 9007199254740992}}}",
            "out of the exact range",
            id="too large in a schema",
        ),
        pytest.param("{form: {fields: {a: x}}}", "expected a list, got", id="one form value without a list"),
        pytest.param("{form: {fields: {a: [1]}}}", 'write "1" in quotes', id="a number in a form"),
        pytest.param('{form: {fields: {"": any}}}', "expected a form field, got nothing", id="a field without a name"),
        pytest.param("{form: {any: yes}}", "is not the same to every YAML reader", id="yes"),
        pytest.param("{multipart: {files: {a: [image/png]}}}", "expected a mapping for file", id="a file as a list"),
        pytest.param(
            "{multipart: {files: {a: {types: [PNG]}}}}", "expected a media type in lower case", id="no media type"
        ),
        pytest.param(
            "{multipart: {files: {a: {max_size: 5}}}}",
            "expected a size such as 512B",
            id="a size without a unit",
        ),
        pytest.param("{multipart: {files: {a: {max_size: 1GiB}}}}", "from 1B to 64MiB", id="a size out of bounds"),
        pytest.param("{multipart: {files: {a: any}, fields: {a: any}}}", "listed twice", id="a field and a file"),
        pytest.param("{graphql: {}}", 'has no "fields"; add it', id="GraphQL without fields"),
        pytest.param("{graphql: {fields: all}}", "expected a list, got", id="all root fields"),
        pytest.param(
            "{graphql: {fields: any, kinds: [querry]}}",
            'did you mean "query"?',
            id="a misspelt kind of GraphQL",
        ),
        pytest.param("{mcp: {methods: [tools/call]}}", "name its tools, or remove it", id="tools/call without tools"),
        pytest.param("{mcp: {methods: [ping], tools: {a: any}}}", "add it to methods", id="tools without tools/call"),
        pytest.param("{mcp: {tools: [a]}}", "expected a mapping from each tool", id="tools as a list"),
        pytest.param("{mcp: {tools: {a: {}}}}", "expected fields or a schema", id="a tool without a rule"),
        pytest.param("{llm: {models: [m]}}", 'has no "shape"; add it', id="no shape"),
        pytest.param("{llm: {shape: openai, models: [m]}}", "did you mean", id="an unknown shape"),
        pytest.param("{llm: {shape: openai-chat}}", 'has no "models"; add it', id="no model"),
        pytest.param("{llm: {shape: openai-chat, models: [a*b]}}", "may only end a name", id="a * within"),
        pytest.param("{llm: {shape: openai-chat, models: [m], max_tokens: 0}}", "from 1 to", id="no token"),
    ],
)
def test_refuses_with_place_and_mend(body: str, fault: str) -> None:
    _, faults = read(body)
    assert len(faults) == 1, faults
    assert faults[0].startswith("10: ")
    assert fault in faults[0]


def test_each_fault_has_its_line() -> None:
    _, faults = read("""
          json:
            fields:
              /a: {most: x}
              b: any
            onyl: true""")
    assert [fault.partition(":")[0] for fault in faults] == ["13", "14", "15"]
    assert 'field "/a" of json of body of operation "pay"' in faults[0]


def test_a_denial_has_no_body() -> None:
    text = BASE.replace("clusters:", "deny:").replace("    risk: routine\n", "") + "none\n"
    found, faults = Rules(people=None), Faults("clusters.yaml")
    root = load(text.encode(), faults)
    assert root is not None
    found.read(root, faults)
    (fault,) = faults.listed()
    assert "a denial counts whatever the body says" in str(fault)
    twin, none = Rules(people=None), Faults("clusters.yaml")
    without = load(text.replace("        body: none\n", "").encode(), none)
    assert without is not None
    twin.read(without, none)
    assert not none.listed() and twin.deny["payments"].operations[0].body == ANY_BODY


@given(st.text(alphabet=":{}[],- \n'\"xy1~/*&#!|%@`abcdefijmnoprst", max_size=40))
@settings(max_examples=100)
def test_whatever_is_written_is_a_rule_or_a_fault(text: str) -> None:
    found, faults = read(text)
    assert bool(faults) or len(found.clusters) == 1
