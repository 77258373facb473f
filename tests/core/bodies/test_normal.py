"""Body rules in normal form: everything that changes what is permitted is in it, and nothing else comes back."""

import copy
from dataclasses import replace

import pytest
from bodies import EVERY_KIND, PAYMENT, one_of
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import cluster, operation

from proxy.core.bodies.normal import body_from_normal, normal_body
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
from proxy.core.clusters import cluster_digest, from_normalised, normalised
from proxy.core.encoding import Json, canonical_json, parse_json
from proxy.core.errors import Code, Rejected
from proxy.core.model import Cluster

RULES = {"any": ANY_BODY, **EVERY_KIND}


def with_body(rule: BodyRule) -> Cluster:
    return cluster(operations=(operation(body=rule),))


@pytest.mark.parametrize("kind", RULES)
def test_every_kind_comes_back_as_it_was_signed(kind: str) -> None:
    rule = RULES[kind]
    stored = canonical_json(normal_body(rule))
    back = body_from_normal(parse_json(stored, code=Code.CONFIG_INVALID, what="a rule"))
    assert canonical_json(normal_body(back)) == stored
    assert type(back) is type(rule)


@pytest.mark.parametrize("kind", RULES)
def test_a_pinned_cluster_keeps_its_body_rules(kind: str) -> None:
    pinned = with_body(RULES[kind])
    back = from_normalised(parse_json(canonical_json(normalised(pinned)), code=Code.CONFIG_INVALID, what="a pin"))
    assert back.digest == pinned.digest
    assert normal_body(back.operations[0].body) == normal_body(RULES[kind])


def test_every_kind_has_a_digest_of_its_own() -> None:
    assert len({with_body(rule).digest for rule in RULES.values()}) == len(RULES)


def test_any_body_is_not_written() -> None:
    """So that clusters that were signed before keep their digest."""
    assert "body" not in str(normalised(with_body(ANY_BODY)))


FIELD = FieldRule(pointer="/a", values=one_of(1, "1"))
FORM_FIELD = FormField(name="a", values=frozenset({"x", "y"}))
FILE = FileRule(name="f", media_types=frozenset({"image/png", "image/gif"}), max_bytes=5)
MCP = McpBody(
    methods=frozenset({"ping", "tools/call"}), tools=(ToolRule(name="a"), ToolRule(name="b", arguments=PAYMENT))
)
GRAPHQL = GraphqlBody(kinds=frozenset({"query", "mutation"}), fields=frozenset({"a", "b"}))
LLM = LlmBody(shape=LlmShape.OPENAI_CHAT, models=frozenset({"a", "b"}))


@pytest.mark.parametrize(
    ("rule", "same"),
    [
        pytest.param(PAYMENT, replace(PAYMENT, fields=PAYMENT.fields[::-1]), id="fields of a document"),
        pytest.param(
            FormBody(fields=(FORM_FIELD, FormField(name="b"))),
            FormBody(fields=(FormField(name="b"), FORM_FIELD)),
            id="fields of a form",
        ),
        pytest.param(
            MultipartBody(files=(FILE, FileRule(name="g"))), MultipartBody(files=(FileRule(name="g"), FILE)), id="files"
        ),
        pytest.param(MCP, replace(MCP, tools=MCP.tools[::-1]), id="tools"),
    ],
)
def test_order_is_not_signed(rule: BodyRule, same: BodyRule) -> None:
    assert with_body(rule).digest == with_body(same).digest


@pytest.mark.parametrize(
    ("rule", "other"),
    [
        pytest.param(NoBody(), Unexamined(), id="the kind"),
        *(
            pytest.param(JsonBody(fields=(FIELD,)), JsonBody(fields=(changed,)), id=f"a field's {name}")
            for name, changed in {
                "pointer": replace(FIELD, pointer="/b"),
                "values": replace(FIELD, values=one_of(1, True)),
                "missing values": replace(FIELD, values=None),
                "least": replace(FIELD, least=0),
                "most": replace(FIELD, most=0),
                "max_chars": replace(FIELD, max_chars=0),
                "max_items": replace(FIELD, max_items=0),
                "required": replace(FIELD, required=True),
            }.items()
        ),
        pytest.param(PAYMENT, replace(PAYMENT, only=False), id="only"),
        pytest.param(PAYMENT, replace(PAYMENT, schema=None), id="the schema"),
        pytest.param(FormBody(), FormBody(others=True), id="other fields"),
        *(
            pytest.param(FormBody(fields=(FORM_FIELD,)), FormBody(fields=(changed,)), id=f"a form field's {name}")
            for name, changed in {
                "name": replace(FORM_FIELD, name="b"),
                "values": replace(FORM_FIELD, values=frozenset()),
                "required": replace(FORM_FIELD, required=True),
                "repeated": replace(FORM_FIELD, repeated=True),
            }.items()
        ),
        pytest.param(MultipartBody(), MultipartBody(others=True), id="other parts"),
        pytest.param(
            MultipartBody(fields=(FORM_FIELD,)),
            MultipartBody(files=(FileRule(name="a"),)),
            id="field or file",
        ),
        *(
            pytest.param(MultipartBody(files=(FILE,)), MultipartBody(files=(changed,)), id=f"a file's {name}")
            for name, changed in {
                "types": replace(FILE, media_types=None),
                "size": replace(FILE, max_bytes=6),
                "required": replace(FILE, required=True),
                "repeated": replace(FILE, repeated=True),
            }.items()
        ),
        pytest.param(GRAPHQL, replace(GRAPHQL, kinds=frozenset({"query"})), id="kinds"),
        pytest.param(GRAPHQL, replace(GRAPHQL, fields=None), id="root fields"),
        pytest.param(GRAPHQL, replace(GRAPHQL, names=frozenset()), id="names"),
        pytest.param(MCP, replace(MCP, methods=frozenset({"tools/call"})), id="methods"),
        pytest.param(MCP, replace(MCP, tools=MCP.tools[:1]), id="a tool"),
        pytest.param(MCP, replace(MCP, tools=(MCP.tools[0], ToolRule(name="b"))), id="a tool's arguments"),
        pytest.param(LLM, replace(LLM, shape=LlmShape.OPENAI_RESPONSES), id="the shape"),
        pytest.param(LLM, replace(LLM, models=frozenset({"a"})), id="a model"),
        pytest.param(LLM, replace(LLM, tools=None), id="any tool"),
        pytest.param(LLM, replace(LLM, max_tokens=1), id="a ceiling"),
        pytest.param(LLM, replace(LLM, stream=False), id="streaming"),
    ],
)
def test_whatever_permits_more_or_less_is_signed(rule: BodyRule, other: BodyRule) -> None:
    assert with_body(rule).digest != with_body(other).digest


def _with(kind: str, path: tuple[str | int, ...], value: Json) -> Json:
    form = {"x": copy.deepcopy(normal_body(RULES[kind]))}
    place: object = form
    steps: tuple[str | int, ...] = ("x", *path)
    for step in steps[:-1]:
        place = place[step]  # type: ignore[index]
    place[steps[-1]] = value  # type: ignore[index]
    return form["x"]


@pytest.mark.parametrize(
    ("form", "words"),
    [
        pytest.param(None, "one kind of body", id="nothing"),
        pytest.param("all", "one kind of body", id="an unknown word"),
        pytest.param({}, "one kind of body", id="no kind"),
        pytest.param({"json": {}, "form": {}}, "one kind of body", id="two kinds"),
        pytest.param({"xml": {}}, "is no kind of body", id="an unknown kind"),
        pytest.param({"json": {}}, "exactly the members", id="members missing"),
        pytest.param(_with("json", ("json", "fields", 1, "pointer"), "/amount"), "only once", id="a field twice"),
        pytest.param(_with("json", ("json", "fields", 1, "values"), [1.5]), "whole numbers", id="a fraction"),
        pytest.param(_with("json", ("json", "fields", 1, "values"), "EUR"), "must be a list", id="values are no list"),
        pytest.param(_with("json", ("json", "fields", 0, "least"), True), "whole number", id="true for a number"),
        pytest.param(_with("json", ("json", "fields", 0, "max_chars"), -1), "whole number", id="a negative length"),
        pytest.param(_with("json", ("json", "only"), 1), "true or false", id="1 for true"),
        pytest.param(_with("form", ("form", "fields", 0, "name"), ""), "non-empty", id="a field without a name"),
        pytest.param(_with("mcp", ("mcp", "tools", 1, "name"), "search"), "only once", id="a tool twice"),
        pytest.param(_with("mcp", ("mcp", "methods"), "ping"), "must be a list", id="methods are no list"),
    ],
)
def test_anything_else_is_refused(form: Json, words: str) -> None:
    with pytest.raises(Rejected, match=words) as refused:
        body_from_normal(form)
    assert refused.value.code is Code.CONFIG_INVALID


@pytest.mark.parametrize(
    "form",
    [
        pytest.param("any", id="any body is not written"),
        pytest.param(_with("llm", ("llm", "models"), ["small", "big-*"]), id="models out of order"),
        pytest.param(_with("llm", ("llm", "shape"), "other"), id="an unknown shape"),
        pytest.param(_with("json", ("json", "schema"), {"multipleOf": 0.5}), id="a schema with a fraction"),
        pytest.param(_with("json", ("json", "fields", 1, "values"), [2**53]), id="a number that is not exact"),
    ],
)
def test_a_pin_must_be_in_normal_form(form: Json) -> None:
    pinned = normalised(with_body(NoBody()))
    pinned["operations"][0]["body"] = form  # type: ignore[index, call-overload]
    with pytest.raises(Rejected, match="normal form") as refused:
        from_normalised(pinned)
    assert refused.value.code is Code.CONFIG_INVALID


_scraps = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(set(EVERY_KIND) - {"none", "unexamined"})), st.data())
@settings(max_examples=100)
def test_reading_a_pin_raises_nothing_but_rejected(kind: str, data: st.DataObject) -> None:
    form = normal_body(RULES[kind])
    assert isinstance(form, dict)
    member = data.draw(st.sampled_from(sorted(form[kind])))  # type: ignore[arg-type]
    pinned = normalised(with_body(NoBody()))
    pinned["operations"][0]["body"] = _with(kind, (kind, member), data.draw(_scraps))  # type: ignore[index, call-overload]
    try:
        back = from_normalised(pinned)
    except Rejected as refused:
        assert refused.code is Code.CONFIG_INVALID
    else:
        assert cluster_digest(back) == back.digest


def test_a_kind_that_is_not_known_is_an_error_of_ours() -> None:
    with pytest.raises(AssertionError):
        normal_body("x")  # type: ignore[arg-type]
