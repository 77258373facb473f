"""Constraints of a grant on bodies: places that must hold one of a few values."""

import pytest
from bodies import FORM_TYPE, one_of, posted, posted_form, posted_json

from proxy.core.bodies.narrowing import narrowing_faults
from proxy.core.bodies.reading import Reading
from proxy.core.errors import Code, Rejected
from proxy.core.model import Call, Unread


def told(constraint: dict[str, frozenset[str]], asked: Call) -> list[tuple[str, str, str]]:
    return [(item.field, item.expected, item.got) for item in narrowing_faults(constraint, Reading(asked))]


PAYEE = {"/payee/id": one_of(88, "x")}
EVERY = {"/to/*/id": one_of(88)}


@pytest.mark.parametrize(
    ("constraint", "asked", "faults"),
    [
        pytest.param({}, posted(b"", ()), [], id="no constraint and no body"),
        pytest.param({}, posted(b"\xff", ()), [], id="no constraint and any body"),
        pytest.param(PAYEE, posted_json({"payee": {"id": 88}, "more": 1}), [], id="a permitted number"),
        pytest.param(PAYEE, posted_json({"payee": {"id": "x"}}), [], id="a permitted text"),
        pytest.param(
            PAYEE, posted_json({"payee": {"id": 89}}), [("constraints.body./payee/id", '"x", 88', "89")], id="another"
        ),
        pytest.param(
            PAYEE, posted_json({"payee": {"id": "88"}}), [("constraints.body./payee/id", '"x", 88', '"88"')], id="text"
        ),
        pytest.param(
            PAYEE,
            posted_json({"payee": {}}),
            [("constraints.body./payee/id", "present", "absent")],
            id="absent",
        ),
        pytest.param(PAYEE, posted_json({}), [("constraints.body./payee", "present", "absent")], id="wholly absent"),
        pytest.param(
            PAYEE,
            posted_json({"payee": [{"id": 88}]}),
            [("constraints.body./payee", "an object", "a list")],
            id="within a list",
        ),
        pytest.param(PAYEE, posted(b""), [("constraints.body", "a body", "no body")], id="no body"),
        pytest.param(
            {"/p": frozenset()},
            posted_json({"p": 1}),
            [("constraints.body./p", "no value", "1")],
            id="no value",
        ),
        pytest.param(EVERY, posted_json({"to": [{"id": 88}, {"id": 88}]}), [], id="every item"),
        pytest.param(
            EVERY,
            posted_json({"to": [{"id": 88}, {"id": 9}]}),
            [("constraints.body./to/*/id", "88", "9")],
            id="one item not",
        ),
        pytest.param(
            EVERY, posted_json({"to": []}), [("constraints.body./to/*/id", "present", "absent")], id="not a single item"
        ),
        pytest.param(EVERY, posted_json({}), [("constraints.body./to/*/id", "present", "absent")], id="no list"),
        pytest.param({"payee": one_of("88")}, posted_form("payee=88&x=1"), [], id="a field of a form"),
        pytest.param(
            {"payee": one_of("88")}, posted_form("payee=9"), [("constraints.body.payee", "88", "9")], id="another value"
        ),
        pytest.param(
            {"payee": one_of("88")},
            posted_form("x=1"),
            [("constraints.body.payee", "present", "absent")],
            id="no field",
        ),
        pytest.param(
            {"payee": one_of("88")},
            posted_form("payee=88&payee=9"),
            [("constraints.body.payee", "88", "9")],
            id="a field twice, once with another value",
        ),
        pytest.param(
            {"payee": one_of("88", "9")}, posted_form("payee=88&payee=9"), [], id="a field twice, as permitted"
        ),
        pytest.param(
            {"payee": one_of(88)},
            posted_form("payee=88"),
            [("constraints.body.payee", "no value", "88")],
            id="a form has no numbers",
        ),
    ],
)
def test_constrained_places(
    constraint: dict[str, frozenset[str]], asked: Call, faults: list[tuple[str, str, str]]
) -> None:
    assert told(constraint, asked) == faults


@pytest.mark.parametrize(
    ("constraint", "asked", "code"),
    [
        pytest.param(PAYEE, posted(b"{", ()), Code.BODY_MALFORMED, id="no media type"),
        pytest.param(PAYEE, posted(b"{"), Code.BODY_MALFORMED, id="no JSON"),
        pytest.param(PAYEE, posted_json({"Payee": {"id": 88}}), Code.BODY_MALFORMED, id="spelled otherwise"),
        pytest.param(PAYEE, posted_form("payee=88"), Code.BODY_MALFORMED, id="a form where a document should be"),
        pytest.param({"payee": one_of("88")}, posted_json({}), Code.BODY_MALFORMED, id="the other way round"),
        pytest.param(PAYEE, posted(Unread(size=5, sha256=b"")), Code.BODY_NOT_INSPECTED, id="over the cap"),
        pytest.param(
            {"payee": one_of("88")},
            posted(Unread(size=5, sha256=b""), FORM_TYPE),
            Code.BODY_NOT_INSPECTED,
            id="a large form",
        ),
    ],
)
def test_a_body_that_cannot_be_read_meets_no_constraint(
    constraint: dict[str, frozenset[str]], asked: Call, code: Code
) -> None:
    with pytest.raises(Rejected) as refused:
        told(constraint, asked)
    assert refused.value.code is code
