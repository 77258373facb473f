"""Field rules on JSON documents: what fits, what does not, and what has no one reading."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.bodies.fields import prepare_json
from proxy.core.bodies.rules import FieldRule, JsonBody, scalar_text
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected


def values(*scalars: bool | int | str | None) -> frozenset[str]:
    return frozenset(map(scalar_text, scalars))


def faults(rule: JsonBody, document: Json) -> list[tuple[str, str, str]]:
    return [(fault.field, fault.expected, fault.got) for fault in prepare_json(rule).faults(document)]


def one(pointer: str, **conditions: object) -> JsonBody:
    return JsonBody(fields=(FieldRule(pointer=pointer, **conditions),))  # type: ignore[arg-type]


# --- one field -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "value", "got"),
    [
        pytest.param({"values": values("a", 1)}, "a", None, id="a permitted text"),
        pytest.param({"values": values("a", 1)}, 1, None, id="a permitted number"),
        pytest.param({"values": values("a", 1)}, "1", '"1"', id="a text is no number"),
        pytest.param({"values": values(1)}, True, "true", id="true is not 1"),
        pytest.param({"values": values(True)}, 1, "1", id="1 is not true"),
        pytest.param({"values": values(1)}, 1.0, "1.0", id="1.0 is not written as 1"),
        pytest.param({"values": values(None)}, None, None, id="null"),
        pytest.param({"values": values("é")}, "é", None, id="beyond ASCII"),
        pytest.param({"values": values("\u00e9")}, "e\u0301", '"e\\u0301"', id="composed otherwise"),
        pytest.param({"values": frozenset()}, 1, "1", id="no value is permitted"),
        pytest.param({"values": values(1)}, [1], "a list of 1", id="a list around a permitted value"),
        pytest.param({"values": values(1)}, {"1": 1}, "an object", id="an object"),
        pytest.param({"values": values(1)}, 10**30, "1" + "0" * 30, id="a long number"),
        pytest.param({"most": 500}, 500, None, id="the greatest number"),
        pytest.param({"most": 500}, 500.0, None, id="a fraction that is whole"),
        pytest.param({"most": 500}, 500.01, "500.01", id="a fraction too much"),
        pytest.param({"most": 500}, "500", '"500"', id="a text for a number"),
        pytest.param({"most": 500}, True, "true", id="true for a number"),
        pytest.param({"most": 500}, None, "null", id="null for a number"),
        pytest.param({"least": 1}, 1, None, id="the least number"),
        pytest.param({"least": 1}, 0.99, "0.99", id="too little"),
        pytest.param({"least": -5, "most": 5}, 0, None, id="between"),
        pytest.param({"least": -5, "most": 5}, -6, "-6", id="below"),
        pytest.param({"most": 2**53 - 1}, 2**53, str(2**53), id="beyond what is exact"),
        pytest.param({"max_chars": 3}, "abc", None, id="as long as may be"),
        pytest.param({"max_chars": 3}, "abcd", "4 characters", id="too long"),
        pytest.param({"max_chars": 3}, 1, "1", id="a number for a text"),
        pytest.param({"max_chars": 3}, ["a"], "a list of 1", id="a list for a text"),
        pytest.param({"max_items": 2}, [1, 2], None, id="as many as may be"),
        pytest.param({"max_items": 2}, [1, 2, 3], "a list of 3", id="too many"),
        pytest.param({"max_items": 2}, {"0": 1}, "an object", id="an object for a list"),
        pytest.param({}, {"what": ["ever"]}, None, id="no condition"),
    ],
)
def test_one_condition(conditions: dict[str, object], value: Json, got: str | None) -> None:
    found = faults(one("/x", **conditions), {"x": value})
    assert [(field, shown) for field, _, shown in found] == ([] if got is None else [("body./x", got)])


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        pytest.param({"values": values("EUR", 1)}, '"EUR", 1', id="values"),
        pytest.param({"values": frozenset()}, "no value", id="no value"),
        pytest.param({"least": 1, "most": 5}, "a number from 1 to 5", id="a range"),
        pytest.param({"max_chars": 9}, "text of at most 9 characters", id="a text"),
    ],
)
def test_what_was_expected_is_said(conditions: dict[str, object], words: str) -> None:
    ((_, expected, _),) = faults(one("/x", **conditions), {"x": {}})
    assert expected == words


def test_a_field_that_is_not_there_is_a_fault_only_where_it_is_required() -> None:
    assert faults(one("/x", most=5), {}) == []
    assert faults(one("/x", most=5, required=True), {}) == [("body./x", "present", "absent")]
    assert faults(one("/x", required=True), {"x": None}) == []


# --- places ----------------------------------------------------------------------------------------------------------

PAYEE = one("/payee/id", values=values(88))
ITEMS = one("/items/*/sku", values=values("a"), required=True)


@pytest.mark.parametrize(
    ("rule", "document", "found"),
    [
        pytest.param(PAYEE, {"payee": {"id": 88}}, [], id="where it should be"),
        pytest.param(PAYEE, {"payee": {"id": 89}}, [("body./payee/id", "88", "89")], id="another value"),
        pytest.param(PAYEE, {}, [], id="nothing there"),
        pytest.param(PAYEE, {"payee": [{"id": 89}]}, [("body./payee", "an object", "a list")], id="within a list"),
        pytest.param(PAYEE, {"payee": "89"}, [("body./payee", "an object", "a single value")], id="within a text"),
        pytest.param(PAYEE, {"payee": None}, [("body./payee", "an object", "a single value")], id="within null"),
        pytest.param(PAYEE, [{"payee": {"id": 89}}], [("body", "an object", "a list")], id="a list on top"),
        pytest.param(
            one("/payee/id", required=True), {"payee": {}}, [("body./payee/id", "present", "absent")], id="not within"
        ),
        pytest.param(
            one("/payee/id", required=True),
            {},
            [("body./payee", "present", "absent")],
            id="no object for it",
        ),
        pytest.param(ITEMS, {"items": [{"sku": "a"}, {"sku": "a"}]}, [], id="every item fits"),
        pytest.param(
            ITEMS,
            {"items": [{"sku": "a"}, {"sku": "b"}]},
            [("body./items/*/sku", '"a"', '"b"')],
            id="one does not",
        ),
        pytest.param(ITEMS, {"items": [{"sku": "a"}, {}]}, [("body./items/*/sku", "present", "absent")], id="lacks it"),
        pytest.param(ITEMS, {"items": []}, [], id="no item"),
        pytest.param(ITEMS, {}, [], id="no list"),
        pytest.param(ITEMS, {"items": {"1": {"sku": "a"}}}, [], id="members for items"),
        pytest.param(
            ITEMS, {"items": {"1": {"sku": "b"}}}, [("body./items/*/sku", '"a"', '"b"')], id="a member does not fit"
        ),
        pytest.param(
            ITEMS, {"items": "a"}, [("body./items", "an object or a list", "a single value")], id="a text for a list"
        ),
        pytest.param(ITEMS, {"items": ["a"]}, [("body./items/*", "an object", "a single value")], id="texts for items"),
        pytest.param(one("/0", values=values(1)), [1, 9], [], id="an index"),
        pytest.param(one("/1", values=values(1)), [1, 9], [("body./1", "1", "9")], id="another index"),
        pytest.param(one("/01", values=values(1)), [1, 9], [("body", "an object", "a list")], id="no index"),
        pytest.param(one("/a~1b~0c", values=values(1)), {"a/b~c": 2}, [("body./a~1b~0c", "1", "2")], id="escapes"),
        pytest.param(one("", max_items=1), [1, 2], [("body", "a list of at most 1 items", "a list of 2")], id="all"),
        pytest.param(one("/*", most=1), [1, 2], [("body./*", "a number of at most 1", "2")], id="every item on top"),
        pytest.param(one("/", values=values(1)), {"": 2}, [("body./", "1", "2")], id="a member without a name"),
    ],
)
def test_where_a_rule_looks(rule: JsonBody, document: Json, found: list[tuple[str, str, str]]) -> None:
    assert faults(rule, document) == found


def test_of_two_rules_for_one_member_both_hold() -> None:
    rule = JsonBody(fields=(FieldRule(pointer="/*", most=5), FieldRule(pointer="/a", values=values(1, 9))))
    assert faults(rule, {"a": 1, "b": 2}) == []
    assert faults(rule, {"a": 9}) == [("body./*", "a number of at most 5", "9")]
    assert faults(rule, {"a": 2}) == [("body./a", "1, 9", "2")]


# --- nothing but what is named ---------------------------------------------------------------------------------------

ONLY = JsonBody(
    only=True,
    fields=(
        FieldRule(pointer="/amount", most=500),
        FieldRule(pointer="/payee/id", values=values(88)),
        FieldRule(pointer="/lines", max_items=2),
        FieldRule(pointer="/lines/*/sku"),
        FieldRule(pointer="/meta"),
    ),
)


@pytest.mark.parametrize(
    ("document", "found"),
    [
        pytest.param({}, [], id="nothing at all"),
        pytest.param(
            {"amount": 5, "payee": {"id": 88}, "lines": [{"sku": "x"}], "meta": {"any": ["thing"]}}, [], id="all named"
        ),
        pytest.param({"more": 1}, [("body", "nothing but amount, lines, meta, payee", "more")], id="one more"),
        pytest.param({"payee": {"iban": 1}}, [("body./payee", "nothing but id", "iban")], id="one more within"),
        pytest.param({"lines": [{"price": 1}]}, [("body./lines/*", "nothing but sku", "price")], id="one in an item"),
        pytest.param({"payee": 88}, [("body./payee", "an object", "a single value")], id="a value for an object"),
        pytest.param([], [("body", "an object", "a list")], id="a list for the whole"),
        pytest.param({"\u202e": 1}, [("body", "nothing but amount, lines, meta, payee", "\\u202e")], id="a bidi name"),
    ],
)
def test_only_permits_what_is_named(document: Json, found: list[tuple[str, str, str]]) -> None:
    assert faults(ONLY, document) == found


def test_only_names_indices_of_a_list() -> None:
    rule = JsonBody(only=True, fields=(FieldRule(pointer="/0"),))
    assert faults(rule, [1]) == []
    assert faults(rule, [1, 2]) == [("body", "nothing but 0", "1")]


# --- other spellings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"Amount": 9999}, id="another case"),
        pytest.param({"AMOUNT": 9999}, id="capitals"),
        pytest.param({"payee": {"Id": 99}}, id="within"),
        pytest.param({"lines": [{"sku": 1}, {"\u017fku": 1}]}, id="a long s"),
        pytest.param({"a-mount": 9999}, id="a joint more"),
        pytest.param({"amount": 501, "Payee": {}}, id="behind a plain fault"),
    ],
)
@pytest.mark.parametrize("only", [True, False])
def test_a_member_spelled_otherwise_has_no_one_reading(document: Json, only: bool) -> None:
    rule = JsonBody(fields=ONLY.fields, only=only)
    with pytest.raises(Rejected, match="in the same letters") as refused:
        faults(rule, document)
    assert refused.value.code is Code.BODY_MALFORMED
    assert refused.value.field.startswith("body")


def test_where_nothing_is_named_no_spelling_counts() -> None:
    assert faults(ONLY, {"meta": {"A": 1, "b": 2}}) == []


# --- schemas ---------------------------------------------------------------------------------------------------------


def test_a_schema_holds_besides_the_fields() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": {"maxLength": 3}}
    rule = JsonBody(fields=(FieldRule(pointer="/n", most=5),), schema=json.dumps(schema))
    assert faults(rule, {"n": 5}) == []
    assert faults(rule, {"n": 6}) == [("body./n", "a number of at most 5", "6")]
    assert faults(rule, {"n": 1.5}) == [("body./n", "the schema's type", "something else")]
    assert faults(rule, [1]) == [
        ("body", "an object", "a list"),
        ("body", "the schema's type", "something else"),
    ]


def test_a_member_that_is_not_plainly_named_is_not_told() -> None:
    rule = JsonBody(schema=json.dumps({"additionalProperties": {"additionalProperties": False}}))
    assert faults(rule, {"a secret, perhaps": {"b": 1}}) == [("body./*", "the schema's falseSchema", "something else")]
    rule = JsonBody(schema=json.dumps({"additionalProperties": {"items": {"type": "null"}}}))
    assert faults(rule, {"a secret, perhaps": [1]}) == [("body./*/0", "the schema's type", "something else")]


# --- rules that make no sense ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        pytest.param(JsonBody(only=True), "only needs fields", id="only, but nothing named"),
        pytest.param(one("x"), 'must start with "/"', id="no pointer"),
        pytest.param(one("/x", least=5, most=4), "least must not be above most", id="an empty range"),
        pytest.param(one("/x", least=5, max_chars=4), "keep one of them", id="a number and a text"),
        pytest.param(one("/x", values=values(1), max_items=4), "keep one of them", id="a value and a list"),
        pytest.param(
            JsonBody(fields=(FieldRule(pointer="/x", most=1), FieldRule(pointer="/x/y"))),
            "nothing can lie below it",
            id="below a number",
        ),
        pytest.param(
            JsonBody(fields=(FieldRule(pointer="/x"), FieldRule(pointer="/x", most=1))),
            "two rules",
            id="a place twice",
        ),
        pytest.param(JsonBody(schema='{"type":"thing"}'), "schema", id="no schema"),
    ],
)
def test_rules_that_contradict_themselves_are_refused(rule: JsonBody, words: str) -> None:
    with pytest.raises(Rejected, match=words) as refused:
        prepare_json(rule)
    assert refused.value.code is Code.CONFIG_INVALID


def test_a_range_may_be_of_one_number() -> None:
    assert faults(one("/x", least=5, most=5), {"x": 5}) == []
    assert faults(one("/x", least=5, most=5), {"x": 6}) == [("body./x", "a number from 5 to 5", "6")]


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["amount", "payee", "id", "lines", "sku", "Id"]), inner)
    ),
    max_leaves=8,
)


@given(_json_values)
@settings(max_examples=100)
def test_whatever_the_document_nothing_but_rejected_is_raised(document: Json) -> None:
    try:
        found = faults(ONLY, document)
    except Rejected as refused:
        assert refused.code is Code.BODY_MALFORMED
    else:
        assert all(field.startswith("body") and got.isprintable() for field, _, got in found)
