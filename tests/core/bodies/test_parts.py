"""Form rules: listed fields and files, each once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.bodies.media import parse_media_type
from proxy.core.bodies.multipart import FormPart
from proxy.core.bodies.parts import form_part, prepare_form
from proxy.core.bodies.rules import FileRule, FormBody, FormField, MultipartBody
from proxy.core.errors import Code, Rejected

CURRENCY = FormField(name="currency", values=frozenset({"EUR", ""}))
NOTE = FormField(name="note")
PAYEE = FormField(name="payee", values=frozenset({"88", "é"}), required=True)
SCAN = FileRule(name="scan", media_types=frozenset({"image/png"}), max_bytes=4)
ANY_FILE = FileRule(name="more", required=True)


def part(name: str, data: bytes, *, filename: str | None = None, media: str | None = None) -> FormPart:
    read = None if media is None else parse_media_type(media)
    return FormPart(name=name, filename=filename, media=read, data=data, headers=())


def told(rule: FormBody | MultipartBody, *parts: FormPart) -> list[tuple[str, str, str]]:
    return [(fault.field, fault.expected, fault.got) for fault in prepare_form(rule).faults(parts)]


def form(*fields: FormField, others: bool = False) -> FormBody:
    return FormBody(fields=fields, others=others)


@pytest.mark.parametrize(
    ("rule", "pairs", "faults"),
    [
        pytest.param(form(), [], [], id="nothing listed and nothing there"),
        pytest.param(form(), [("a", "1")], [("body", "no field", "a=")], id="nothing listed"),
        pytest.param(form(CURRENCY, NOTE), [("currency", "EUR"), ("note", "what ever")], [], id="what is listed"),
        pytest.param(form(CURRENCY), [("currency", "")], [], id="an empty value that is permitted"),
        pytest.param(form(CURRENCY), [("currency", "USD")], [("body.currency", '"", EUR', "USD")], id="another value"),
        pytest.param(form(NOTE), [("key", "secret")], [("body", "note", "key=")], id="an unlisted value is not told"),
        pytest.param(
            form(NOTE), [("note", "1"), ("note", "2")], [("body.note", "at most once", "more than once")], id="twice"
        ),
        pytest.param(
            form(FormField(name="id", values=frozenset({"1", "2"}), repeated=True)),
            [("id", "1"), ("id", "2"), ("id", "3")],
            [("body.id", "1, 2", "3")],
            id="repeated where the rule says so, each with a permitted value",
        ),
        pytest.param(form(PAYEE), [], [("body.payee", "present", "absent")], id="a required one is missing"),
        pytest.param(form(PAYEE), [("payee", "é")], [], id="beyond ASCII"),
        pytest.param(form(PAYEE, others=True), [("payee", "88"), ("x", "1"), ("x", "2")], [], id="others may be there"),
        pytest.param(form(others=True), [("x", "1")], [], id="whatever"),
    ],
)
def test_fields_of_a_form(rule: FormBody, pairs: list[tuple[str, str]], faults: list[tuple[str, str, str]]) -> None:
    assert told(rule, *(form_part(name, value) for name, value in pairs)) == faults


@pytest.mark.parametrize("others", [True, False])
@pytest.mark.parametrize("name", ["Payee", "PAYEE", "payee[]", "payee[0]", "Payee[a]"])
def test_a_field_spelled_otherwise_has_no_one_reading(name: str, others: bool) -> None:
    with pytest.raises(Rejected, match="in the same letters") as refused:
        told(form(PAYEE, others=others), form_part("x", ""), form_part(name, "99"))
    assert refused.value.code is Code.BODY_MALFORMED


@pytest.mark.parametrize("name", ["_method", ".method", "_Method", "_method[]"])
def test_a_form_does_not_ask_for_another_method(name: str) -> None:
    with pytest.raises(Rejected, match="request's method") as refused:
        told(form(PAYEE, others=True), form_part(name, "DELETE"))
    assert refused.value.code is Code.BODY_MALFORMED


def test_its_twins_say_nothing_of_the_method() -> None:
    assert told(form(PAYEE, others=True), form_part("payee", "88"), form_part("method", "DELETE")) == []
    assert told(form(FormField(name="_method")), form_part("_method", "DELETE")) == []


NESTED = FormField(name="filter[Status]", values=frozenset({"open"}))


@pytest.mark.parametrize("name", ["filter[status]", "FILTER[Status]", "filter", "filter[Status][]"])
def test_another_spelling_of_a_key_or_what_holds_it_has_no_one_reading(name: str) -> None:
    with pytest.raises(Rejected, match="in the same letters") as refused:
        told(form(NESTED, others=True), form_part(name, "all"))
    assert refused.value.code is Code.BODY_MALFORMED


def test_another_key_is_another_field() -> None:
    pairs = [form_part("filter[Status]", "open"), form_part("filter[page]", "2"), form_part("sort[Status]", "up")]
    assert told(form(NESTED, others=True), *pairs) == []
    assert told(form(NESTED), *pairs[:2]) == [("body", "filter[Status]", "filter[page]=")]


PNG = part("scan", b"PNG", filename="a.png", media="image/png")


@pytest.mark.parametrize(
    ("parts", "faults"),
    [
        pytest.param([PNG, part("payee", b"88")], [], id="a file and a field"),
        pytest.param([part("payee", b"88", media="text/plain; charset=utf-8")], [], id="a field that says it is text"),
        pytest.param(
            [part("payee", b"88", media="text/plain; charset=us-ascii")], [], id="a field that is ASCII, as it says"
        ),
        pytest.param(
            [part("payee", b"88", media="application/json")],
            [("body.payee", "text/plain", "application/json")],
            id="a field that says it is something else",
        ),
        pytest.param(
            [part("payee", b"\xff")],
            [("body.payee", "88, é".encode("ascii", "backslashreplace").decode(), "\\ufffd")],
            id="bytes that are no text",
        ),
        pytest.param(
            [part("payee", b"88"), part("scan", b"PNG", filename="a", media="image/svg+xml")],
            [("body.scan", "image/png", "image/svg+xml")],
            id="a file of another type",
        ),
        pytest.param(
            [part("payee", b"88"), part("scan", b"PNG", filename="a")],
            [("body.scan", "image/png", "no media type")],
            id="a file without a type",
        ),
        pytest.param(
            [part("payee", b"88"), part("scan", b"FITS", filename="a", media="image/png")], [], id="the largest file"
        ),
        pytest.param(
            [part("payee", b"88"), part("scan", b"LARGE", filename="a", media="image/png")],
            [("body.scan", "at most 4 bytes", "5 bytes")],
            id="a file too large",
        ),
        pytest.param(
            [part("payee", b"88"), part("scan", b"PNG", media="image/png")],
            [("body.scan", "a file", "a field")],
            id="a field for a file",
        ),
        pytest.param(
            [part("payee", b"88", filename="88")], [("body.payee", "a field", "a file")], id="a file for a field"
        ),
        pytest.param(
            [PNG, part("payee", b"88"), PNG], [("body.scan", "at most once", "more than once")], id="a file twice"
        ),
        pytest.param(
            [part("payee", b"88"), part("x", b"x", filename="x")],
            [("body", "payee, scan", "x=")],
            id="unlisted",
        ),
    ],
)
def test_parts_of_a_multipart_form(parts: list[FormPart], faults: list[tuple[str, str, str]]) -> None:
    assert told(MultipartBody(fields=(PAYEE,), files=(SCAN,)), *parts) == faults


def test_a_file_may_be_of_any_type_and_size_and_must_be_there() -> None:
    rule = MultipartBody(files=(ANY_FILE,), others=True)
    assert told(rule, part("more", b"x" * 100, filename="x"), part("other", b"")) == []
    assert told(rule) == [("body.more", "present", "absent")]


def test_a_file_of_no_type_is_none() -> None:
    rule = MultipartBody(files=(FileRule(name="scan", media_types=frozenset()),))
    assert told(rule, PNG) == [("body.scan", "no file", "image/png")]


def test_a_field_of_a_form_is_a_part_without_a_head() -> None:
    assert form_part("a", "é") == part("a", "é".encode())


def test_a_constrained_field_in_another_character_set_has_no_one_reading() -> None:
    with pytest.raises(Rejected) as refused:
        told(form(PAYEE), part("payee", "88".encode("utf-16"), media="text/plain; charset=utf-16"))
    assert refused.value.code is Code.BODY_MALFORMED


def test_a_name_is_listed_once() -> None:
    with pytest.raises(Rejected, match="listed twice") as refused:
        prepare_form(MultipartBody(fields=(NOTE,), files=(FileRule(name="note"),)))
    assert refused.value.code is Code.CONFIG_INVALID


@given(st.lists(st.tuples(st.sampled_from(["payee", "note", "other"]), st.sampled_from(["88", "99", ""])), max_size=4))
@settings(max_examples=100)
def test_what_passes_has_every_listed_field_as_the_rules_say(pairs: list[tuple[str, str]]) -> None:
    passes = not told(form(PAYEE, NOTE), *(form_part(name, value) for name, value in pairs))
    names = [name for name, _ in pairs]
    assert passes is (("payee", "88") in pairs and len(set(names)) == len(names) and "other" not in names)
