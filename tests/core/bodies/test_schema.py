"""JSON Schemas for bodies: what they find, what they say of it, and what may not be in one."""

from collections.abc import Mapping
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from proxy.core.bodies.fields import prepare_json
from proxy.core.bodies.rules import JsonBody
from proxy.core.bodies.schema import DRAFT, MAX_DEPTH, MAX_FAULTS, MAX_TOLD, MAX_VALUES, compile_schema
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected

INVOICE: Json = {
    "$schema": DRAFT,
    "$id": "https://schemas.example/invoice",
    "type": "object",
    "properties": {
        "number": {"type": "string", "pattern": "^INV-[0-9]+$"},
        "total": {"type": "integer", "minimum": 0, "maximum": 100_000},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "maxItems": 3},
        "sent": {"format": "date"},
        "a/b~c": {"const": 1},
    },
    "required": ["number", "total"],
    "additionalProperties": False,
    "$defs": {"line": {"type": "object", "required": ["text"]}},
}


def rejected(schema: Json) -> Rejected:
    with pytest.raises(Rejected) as caught:
        compile_schema(schema)
    assert caught.value.code is Code.CONFIG_INVALID
    return caught.value


# --- what is found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "faults"),
    [
        pytest.param({"number": "INV-1", "total": 5}, (), id="it fits"),
        pytest.param({"number": "INV-1", "total": 5, "sent": "2026-03-02"}, (), id="a date is a date"),
        pytest.param({"number": "x", "total": 5}, (("/number", "pattern"),), id="another pattern"),
        pytest.param({"number": "INV-1", "total": 100_001}, (("/total", "maximum"),), id="too much"),
        pytest.param({"number": "INV-1", "total": True}, (("/total", "type"),), id="true is not 1"),
        pytest.param({"number": "INV-1"}, (("", "required"),), id="something is missing"),
        pytest.param({"number": "INV-1", "total": 5, "x": 1}, (("", "additionalProperties"),), id="something more"),
        pytest.param(
            {"number": "INV-1", "total": 5, "lines": [{"text": 1}, {}]}, (("/lines/1", "required"),), id="ref"
        ),
        pytest.param(
            {"number": "INV-1", "total": 5, "sent": "soon"}, (("/sent", "format"),), id="formats are asserted"
        ),
        pytest.param({"number": "INV-1", "total": 5, "a/b~c": 2}, (("/a~1b~0c", "const"),), id="a pointer is escaped"),
        pytest.param([], (("", "type"),), id="another kind altogether"),
    ],
)
def test_what_does_not_fit_is_told_by_place_and_keyword(document: Json, faults: tuple[tuple[str, str], ...]) -> None:
    assert compile_schema(INVOICE).faults(document) == faults


def test_faults_are_told_each_once_and_not_without_end() -> None:
    twice = compile_schema({"required": ["a", "b"], "items": {"type": "string"}})
    assert twice.faults({}) == (("", "required"),)
    assert twice.faults([0] * 50) == tuple((f"/{place}", "type") for place in range(MAX_FAULTS))


def test_of_a_large_document_only_that_it_does_not_fit_is_told() -> None:
    strings = compile_schema({"items": {"type": "string"}})
    assert strings.faults(["x"] * (MAX_TOLD + 1)) == ()
    assert strings.faults([0] * (MAX_TOLD - 1))[0] == ("/0", "type")
    assert strings.faults([0, *["x" * 99] * (MAX_TOLD - 2)]) == (("/0", "type"),)
    assert strings.faults([0] * (MAX_TOLD + 1)) == (("", "schema"),)
    assert strings.faults([{"a": 0}] * MAX_TOLD) == (("", "schema"),)
    assert strings.faults(["x" * 100 * MAX_TOLD, 0]) == (("", "schema"),)


def test_no_value_of_the_document_is_told() -> None:
    found = compile_schema({"properties": {"password": {"const": "right"}}}).faults({"password": "hunter2"})
    assert found == (("/password", "const"),)


def test_what_no_json_text_can_hold_is_refused() -> None:
    with pytest.raises(Rejected, match="cannot be compared") as caught:
        compile_schema({"maxLength": 3}).faults("\ud800")
    assert caught.value.code is Code.BODY_MALFORMED


def test_patterns_take_linear_time() -> None:
    assert compile_schema({"pattern": "^(a+)+$"}).faults("a" * 100_000 + "b") == (("", "schema"),)


def test_a_schema_that_only_refers_to_itself_asks_for_nothing() -> None:
    assert compile_schema({"$ref": "#"}).faults(1) == ()
    assert compile_schema({"allOf": [{"$ref": "#"}], "type": "string"}).faults(1) == (("", "type"),)


@pytest.mark.parametrize(
    ("schema", "fits", "fault"),
    [
        pytest.param(True, 1, None, id="true fits everything"),
        pytest.param(False, None, "falseSchema", id="false fits nothing"),
        pytest.param({"prefixItems": [{"type": "string"}], "items": False}, ["a"], "falseSchema", id="prefix items"),
        pytest.param({"patternProperties": {"^x": {"type": "null"}}}, {"x": None}, "type", id="by a name's pattern"),
        pytest.param({"dependentSchemas": {"x": {"required": ["y"]}}}, {"x": 1, "y": 1}, "required", id="dependent"),
        pytest.param({"if": {"const": 1}, "then": False, "else": True}, 2, "falseSchema", id="if and then"),
        pytest.param({"contains": {"const": 1}, "minContains": 2}, [1, 1], "contains", id="how many"),
        pytest.param({"$ref": "#x", "$defs": {"a": {"$anchor": "x", "type": "null"}}}, None, "type", id="an anchor"),
        pytest.param(
            {"title": "t", "examples": [{"$ref": "x"}], "enum": [{"$ref": "x"}]}, {"$ref": "x"}, "enum", id="v"
        ),
        pytest.param({"properties": {"$ref": {"const": 1}, "$id": True}}, {"$ref": 1}, "const", id="names of members"),
        pytest.param(MappingProxyType({"type": "null", "enum": (None,)}), None, "type", id="other mappings and lists"),
    ],
)
def test_every_part_of_the_language_that_is_asserted_works(schema: Json, fits: Json, fault: str | None) -> None:
    compiled = compile_schema(schema)
    assert compiled.faults(fits) == () or schema is False
    misfits: list[Json] = [1, [2], ["a", "b"], {"x": 1}, {"$ref": 2}]
    assert fault is None or fault in {keyword for misfit in misfits for _, keyword in compiled.faults(misfit)}


# --- what may not be in one ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "field", "said"),
    [
        pytest.param([], "", "expected an object, true or false, got a list", id="a list"),
        pytest.param("{}", "", "got a string", id="a schema as text"),
        pytest.param(None, "", "got null", id="nothing"),
        pytest.param({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema", "other drafts", id="draft 7"),
        pytest.param({"$schema": 1}, "/$schema", "other drafts", id="an odd draft"),
        pytest.param({"$ref": "https://evil.example/s"}, "/$ref", "nothing is ever fetched", id="a reference to a URL"),
        pytest.param({"$ref": "other.json#/a"}, "/$ref", "nothing is ever fetched", id="a reference to a file"),
        pytest.param({"$ref": DRAFT}, "/$ref", "nothing is ever fetched", id="a reference to the meta-schema"),
        pytest.param({"$ref": 5}, "/$ref", "nothing is ever fetched", id="a reference that is no string"),
        pytest.param({"$ref": "#/$defs/none"}, "", "does not exist", id="a reference to nothing"),
        pytest.param({"allOf": [{"items": {"$ref": "a"}}]}, "/allOf/0/items/$ref", "fetched", id="a reference deep in"),
        pytest.param({"properties": {"a/b": {"$ref": "x"}}}, "/properties/a~1b/$ref", "fetched", id="under a member"),
        pytest.param({"items": {"$id": "https://x.example"}}, "/items/$id", "only at the top", id="a base further in"),
        pytest.param({"items": {"$schema": DRAFT}}, "/items/$schema", "only at the top", id="a draft further in"),
        pytest.param({"$dynamicRef": "#x"}, "/$dynamicRef", "not a keyword", id="dynamic references"),
        pytest.param({"requierd": ["a"]}, "/requierd", "not a keyword", id="a slip of the pen"),
        pytest.param({"properties": {"a": {"max": 1}}}, "/properties/a/max", "not a keyword", id="a slip further in"),
        pytest.param({"definitions": {}}, "/definitions", "not a keyword", id="a keyword of an older draft"),
        pytest.param({"contentMediaType": "text/html"}, "/contentMediaType", "not a keyword", id="never asserted"),
        pytest.param({"items": [True]}, "/items", "expected a schema, got a list", id="items of an older draft"),
        pytest.param({"not": 5}, "/not", "expected a schema, got a number", id="a number for a schema"),
        pytest.param({"allOf": [5]}, "/allOf/0", "expected a schema", id="a number in a list of schemas"),
        pytest.param({"allOf": {}}, "", "not of type", id="an object for a list of schemas"),
        pytest.param({"properties": []}, "", "not of type", id="a list for named schemas"),
        pytest.param({"type": "strin"}, "", "not a JSON Schema", id="a type that is none"),
        pytest.param({"required": "a"}, "", "not of type", id="a string for a list of names"),
        pytest.param({"then": True}, "/then", "add if", id="then without if"),
        pytest.param({"else": True}, "/else", "add if", id="else without if"),
        pytest.param({"minContains": 1}, "/minContains", "add contains", id="how many of nothing"),
        pytest.param({"pattern": "(?=a)"}, "", "regex", id="look-ahead"),
        pytest.param({"pattern": "(a)\\1"}, "", "regex", id="a back-reference"),
        pytest.param({"pattern": "(" * 3}, "", "regex", id="no pattern at all"),
        pytest.param({"format": "secret"}, "", "Unknown format", id="a format nobody knows"),
        pytest.param({"enum": ["\ud800"]}, "", "not a JSON Schema that can be used", id="a lone surrogate"),
        pytest.param({"enum": [0] * MAX_VALUES}, "", f"at most {MAX_VALUES} values", id="too large"),
    ],
)
def test_what_would_not_hold_is_refused_when_it_is_loaded(schema: Json, field: str, said: str) -> None:
    fault = rejected(schema)
    assert fault.field == field
    assert said in fault.detail


def test_a_schema_may_nest_so_deep_and_no_deeper() -> None:
    def nested(levels: int) -> Json:
        schema: Json = True
        for _ in range(levels):
            schema = {"not": schema}
        return schema

    assert compile_schema(nested(MAX_DEPTH)).faults(1) == ()
    assert "deep" in rejected(nested(MAX_DEPTH + 1)).detail
    lists: Json = 1
    for _ in range(MAX_DEPTH - 1):
        lists = [lists]
    assert compile_schema({"const": lists}).faults(lists) == ()
    assert "deep" in rejected({"const": [lists]}).detail
    assert "deep" in rejected(nested(5_000)).detail


# --- properties ------------------------------------------------------------------------------------------------------

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab/~", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=3),
    max_leaves=6,
)
SCHEMAS = st.recursive(
    st.booleans()
    | st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["string", "integer", "object", "array", "null", "boolean"]),
            "enum": st.lists(JSON_VALUES, min_size=1, max_size=2),
            "maxLength": st.integers(0, 2),
            "minimum": st.integers(-3, 3),
            "required": st.lists(st.sampled_from("ab"), unique=True),
            "maxItems": st.integers(0, 2),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
            "additionalProperties": inner,
            "items": inner,
            "not": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
        },
    ),
    max_leaves=6,
)


@given(SCHEMAS, JSON_VALUES)
def test_it_says_what_another_validator_says(schema: Json, document: Json) -> None:
    assert isinstance(schema, bool | Mapping)
    assert (compile_schema(schema).faults(document) == ()) is Draft202012Validator(schema).is_valid(document)


KEYWORDS = st.sampled_from(["$ref", "$id", "$schema", "type", "items", "allOf", "properties", "pattern", "format", "x"])
NEARLY = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.sampled_from(["#", "string", DRAFT]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS, inner, max_size=3),
    max_leaves=8,
)


@given(NEARLY, JSON_VALUES | st.floats() | st.text())
def test_no_exception_but_rejected(schema: Json, document: Json) -> None:
    try:
        compiled = compile_schema(schema)
    except Rejected as fault:
        assert fault.code is Code.CONFIG_INVALID
        return
    try:
        assert len(compiled.faults(document)) <= MAX_FAULTS
    except Rejected as fault:
        assert fault.code is Code.BODY_MALFORMED


NAMING = {
    "properties": {"amount": {"maximum": 5}, "lines": {"items": {"properties": {"price": {}}}}},
    "required": ["id"],
    "dependentRequired": {"currency": ["rate"]},
    "dependentSchemas": {"note": {"$ref": "#/$defs/note"}},
    "$defs": {"note": {"not": {"required": ["secret"]}}},
}


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"Amount": 9}, id="a property"),
        pytest.param({"lines": [{"price": 1}, {"PRICE": 9}]}, id="a property further in"),
        pytest.param({"ID": 9}, id="what is required"),
        pytest.param({"Currency": 9}, id="what requires another"),
        pytest.param({"Rate": 9}, id="what another requires"),
        pytest.param({"Note": 9}, id="what brings a schema along"),
        pytest.param({"x": {"\u017fecret": 9}}, id="what only a part speaks of"),
    ],
)
def test_a_member_that_some_take_for_a_named_one_is_refused(document: Json) -> None:
    with pytest.raises(Rejected, match="same letters") as refused:
        compile_schema(NAMING).check_spelling(document)
    assert (refused.value.code, refused.value.field) == (Code.BODY_MALFORMED, "body")


def test_its_twins_are_left_to_the_schema() -> None:
    document = {"amount": 9, "lines": [{"price": 1}, {"Price2": 1}], "id": 1, "Other": {"amount": 2}}
    compile_schema(NAMING).check_spelling(document)
    compile_schema(True).check_spelling({"Amount": 9})


def test_a_body_rule_with_a_schema_asks_for_the_spelling() -> None:
    rule = prepare_json(JsonBody(schema='{"properties":{"amount":{"maximum":5}}}'))
    assert [fault.field for fault in rule.faults({"amount": 9})] == ["body./amount"]
    with pytest.raises(Rejected, match="same letters"):
        list(rule.faults({"Amount": 9}))
