"""What a body decides: covered, held or denied, whichever grants, links and texts of a cluster look at it."""

import json
from collections.abc import Iterable
from dataclasses import replace

import pytest
from bodies import EVERY_KIND, FORM_TYPE, JSON_TYPE, PAYMENT, one_of, posted, posted_form, posted_json
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import cluster, grant, operation
from questions import bundle_of, deny, mandate_of, question

from proxy.core.bodies.coding import BodyCaps
from proxy.core.bodies.rules import (
    ANY_BODY,
    BodyRule,
    FormBody,
    FormField,
    GraphqlBody,
    JsonBody,
    NoBody,
    Unexamined,
)
from proxy.core.decide import after_release, decide
from proxy.core.errors import Code
from proxy.core.model import Call, Cluster, Constraints, Decision, Grant, Operation, Review, Risk, Unread, Verdict

OVER_THE_CAP = Unread(size=5_000_000, sha256=b"\1" * 32)
STREAMED = Unread(size=None, sha256=None)
SMALL, LARGE = posted_json({"amount": 5}), posted_json({"amount": 501})
MALFORMED = posted(b'{"amount": 5, "amount": 501}')


def take(body: BodyRule, name: str = "pay") -> Operation:
    return operation(name, methods=["POST"], body=body)


def taking(*bodies: BodyRule, id: str = "payments", **changed: object) -> Cluster:
    operations = [take(body, f"pay-{number}") for number, body in enumerate(bodies)]
    return cluster(id, operations=operations, **changed)  # type: ignore[arg-type]


def decided(
    asked: Call, *clusters: Cluster, grants: Iterable[Grant] | None = None, declared: str | None = None
) -> Decision:
    return decide(replace(question(*clusters, grants=grants, declared=declared, method="POST"), call=asked))


def outcome(decision: Decision) -> tuple[Verdict, Code]:
    return decision.verdict, decision.code


ALLOWED = (Verdict.ALLOW, Code.ALLOWED)
NOT_COVERED = (Verdict.HOLD, Code.NOT_COVERED)
NOT_INSPECTED = (Verdict.HOLD, Code.BODY_NOT_INSPECTED)
DENIED = (Verdict.DENY, Code.BODY_MALFORMED)


# --- one rule --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(SMALL, ALLOWED, id="it fits"),
        pytest.param(LARGE, NOT_COVERED, id="it does not"),
        pytest.param(MALFORMED, DENIED, id="it has two readings"),
        pytest.param(posted_form("amount=5"), DENIED, id="it says it is something else"),
        pytest.param(posted(b'{"amount": 5}', ()), DENIED, id="it does not say what it is"),
        pytest.param(posted(b""), NOT_COVERED, id="there is none"),
        pytest.param(posted(OVER_THE_CAP), NOT_INSPECTED, id="it is over the inspection cap"),
        pytest.param(posted(OVER_THE_CAP, FORM_TYPE), DENIED, id="it is over the cap, and something else"),
        pytest.param(posted(STREAMED), NOT_INSPECTED, id="it streams"),
    ],
)
def test_a_rule_on_the_body(asked: Call, expected: tuple[Verdict, Code]) -> None:
    assert outcome(decided(asked, taking(PAYMENT))) == expected


@pytest.mark.parametrize(
    ("rule", "body", "expected"),
    [
        pytest.param(ANY_BODY, OVER_THE_CAP, ALLOWED, id="any body may be large"),
        pytest.param(ANY_BODY, STREAMED, NOT_INSPECTED, id="any body is read whole"),
        pytest.param(Unexamined(), STREAMED, ALLOWED, id="unexamined may stream"),
        pytest.param(Unexamined(), OVER_THE_CAP, ALLOWED, id="unexamined may be large"),
        pytest.param(NoBody(), b"", ALLOWED, id="no body"),
        pytest.param(NoBody(), b"x", NOT_COVERED, id="a body where none may be"),
        pytest.param(NoBody(), STREAMED, NOT_COVERED, id="one that streams where none may be"),
    ],
)
def test_rules_that_do_not_look(rule: BodyRule, body: bytes | Unread, expected: tuple[Verdict, Code]) -> None:
    assert outcome(decided(posted(body, ()), taking(rule))) == expected


def test_a_held_body_tells_the_condition_and_the_place_of_the_rule() -> None:
    decision = decided(LARGE, taking(PAYMENT))
    (near,) = decision.nearest
    assert [(item.field, item.expected, item.got) for item in decision.failed] == [
        ("body./amount", "a number from 1 to 500", "501")
    ]
    assert (near.operation, near.rule.line) == ("pay-0", 7)


def test_a_malformed_body_names_the_rule_that_could_not_be_applied() -> None:
    decision = decided(MALFORMED, taking(PAYMENT))
    assert decision.rule is not None and decision.rule.id.endswith("pay-0")
    assert "appears twice" in decision.message
    assert decision.nearest == ()


def test_a_body_over_the_cap_is_for_a_person_and_tells_what_came_near() -> None:
    decision = decided(posted(OVER_THE_CAP), taking(PAYMENT, review=Review(who=("cleo",))), declared="payments")
    assert outcome(decision) == NOT_INSPECTED
    assert decision.review.who == ("cleo",)
    assert decision.rule is not None and decision.rule.id.endswith("pay-0")
    assert [item.field for item in decision.nearest[0].failed] == ["body"]
    assert "5000000 bytes" in decision.message
    assert after_release(decision, hold_id="h").verdict is Verdict.ALLOW


def test_nobody_to_ask_is_a_denial() -> None:
    decision = decided(posted(OVER_THE_CAP), taking(PAYMENT, review=Review(who=())), declared="payments")
    assert outcome(decision) == (Verdict.DENY, Code.BODY_NOT_INSPECTED)


def test_the_caps_are_the_questions() -> None:
    asked = replace(question(taking(PAYMENT), method="POST"), call=SMALL)
    assert outcome(decide(asked)) == ALLOWED
    assert outcome(decide(replace(asked, caps=BodyCaps(decoded_bytes=5)))) == NOT_INSPECTED


def test_no_more_than_a_few_faults_of_one_body_are_told() -> None:
    document = {"amount": 5, **{f"x{number}": 1 for number in range(100)}}
    assert len(decided(posted_json(document), taking(PAYMENT)).failed) == 8


def test_a_malformed_body_comes_after_the_proof_and_before_an_explicit_denial() -> None:
    house = bundle_of(taking(PAYMENT), deny=[deny()])
    asked = replace(question(bundle=house, method="POST"), call=MALFORMED)
    assert outcome(decide(asked)) == DENIED
    assert decide(replace(asked, call=SMALL)).code is Code.POLICY_DENIED
    assert decide(replace(asked, evidence=None)).code is Code.PROOF_MISSING


# --- several operations ----------------------------------------------------------------------------------------------

FORM = FormBody(fields=(FormField(name="amount", values=frozenset({"5"})),))
ASK = GraphqlBody(kinds=frozenset({"query"}), fields=None)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(SMALL, ALLOWED, id="the document fits"),
        pytest.param(posted_form("amount=5"), ALLOWED, id="the form fits"),
        pytest.param(LARGE, NOT_COVERED, id="a document that does not fit has a reading"),
        pytest.param(posted_form("amount=6"), NOT_COVERED, id="a form that does not fit has a reading"),
        pytest.param(posted_json({"query": "{x}"}), ALLOWED, id="GraphQL fits"),
        pytest.param(MALFORMED, DENIED, id="nobody can read it"),
        pytest.param(posted(b"amount=5", (("content-type", "text/plain"),)), DENIED, id="of no kind that is permitted"),
        pytest.param(posted(OVER_THE_CAP), NOT_INSPECTED, id="a large document may be of a kind that is permitted"),
        pytest.param(posted(OVER_THE_CAP, FORM_TYPE), NOT_INSPECTED, id="so may a large form"),
    ],
)
def test_of_several_kinds_the_one_that_can_read_the_body_counts(asked: Call, expected: tuple[Verdict, Code]) -> None:
    assert outcome(decided(asked, taking(PAYMENT, FORM, ASK))) == expected


def test_an_empty_body_beside_a_document() -> None:
    both = taking(NoBody(), PAYMENT)
    assert outcome(decided(posted(b"", ()), both)) == ALLOWED
    assert outcome(decided(SMALL, both)) == ALLOWED
    assert outcome(decided(MALFORMED, both)) == DENIED, "that it may also be empty is no reading of it"


def test_an_action_that_is_not_granted_reads_nothing() -> None:
    two = taking(PAYMENT, ANY_BODY)
    assert outcome(decided(MALFORMED, two, grants=[grant(two, actions=["pay-1"])])) == ALLOWED
    assert outcome(decided(MALFORMED, two, grants=[grant(two, actions=["pay-0"])])) == DENIED
    decision = decided(MALFORMED, two, grants=[grant(two, actions=["other"])])
    assert outcome(decision) == NOT_COVERED
    assert not [item for near in decision.nearest for item in near.failed if item.field.startswith("body")]


def test_a_constraint_that_fails_on_the_head_reads_nothing() -> None:
    one = taking(PAYMENT)
    narrow = grant(one, constraints=Constraints(methods=frozenset({"PUT"})))
    assert outcome(decided(MALFORMED, one, grants=[narrow])) == NOT_COVERED


# --- several clusters and links --------------------------------------------------------------------------------------

LOOSE, STRICT = taking(ANY_BODY, id="loose"), taking(PAYMENT, id="strict", review=Review(always=True, who=("cleo",)))


def test_of_two_clusters_one_that_covers_is_enough() -> None:
    assert outcome(decided(LARGE, LOOSE, STRICT)) == ALLOWED
    assert outcome(decided(LARGE, LOOSE, STRICT, declared="strict")) == NOT_COVERED


def test_a_body_that_hides_what_it_is_does_not_escape_a_stricter_cluster() -> None:
    """Where nobody can tell whether a granted cluster covers the call, its terms apply."""
    for asked in (SMALL, MALFORMED, posted(OVER_THE_CAP)):
        decision = decided(asked, LOOSE, STRICT)
        assert outcome(decision) == (Verdict.HOLD, Code.CLUSTER_REVIEW)
        assert decision.review.who == ("cleo",)


def test_a_body_that_streams_does_not_escape_a_cluster_that_reads() -> None:
    passing = taking(Unexamined(), id="passing")
    assert outcome(decided(posted(STREAMED), passing)) == ALLOWED
    assert outcome(decided(posted(STREAMED), passing, replace(LOOSE, review=Review(always=True)))) == (
        Verdict.HOLD,
        Code.CLUSTER_REVIEW,
    )


def test_of_two_clusters_that_cannot_read_it_the_one_a_person_may_release_counts() -> None:
    form = taking(FORM, id="form")
    assert outcome(decided(posted(OVER_THE_CAP), form, taking(PAYMENT))) == NOT_INSPECTED
    assert outcome(decided(posted(OVER_THE_CAP), form)) == DENIED


def test_the_declared_cluster_decides_whether_the_body_can_be_read() -> None:
    assert outcome(decided(MALFORMED, LOOSE, taking(PAYMENT, id="payments"), declared="payments")) == DENIED
    assert outcome(decided(MALFORMED, LOOSE, taking(PAYMENT, id="payments"), declared="loose")) == ALLOWED


@pytest.mark.parametrize(
    ("root", "leaf", "asked", "expected"),
    [
        pytest.param([LOOSE], [LOOSE], MALFORMED, ALLOWED, id="no link looks"),
        pytest.param([LOOSE, STRICT], [STRICT], MALFORMED, DENIED, id="the leaf alone looks"),
        pytest.param([LOOSE, STRICT], [STRICT], LARGE, NOT_COVERED, id="the leaf alone does not cover"),
    ],
)
def test_every_link_must_cover_the_body(
    root: list[Cluster], leaf: list[Cluster], asked: Call, expected: tuple[Verdict, Code]
) -> None:
    house = bundle_of(LOOSE, STRICT)
    mandate = mandate_of(house, [grant(item) for item in root], [grant(item) for item in leaf])
    made = question(bundle=house, method="POST")
    decision = decide(replace(made, mandate=mandate, call=asked))
    assert outcome(decision) == expected


def test_of_two_links_that_cannot_read_it_the_graver_reason_counts() -> None:
    form = taking(FORM, id="form")
    house = bundle_of(form, STRICT)
    parent = mandate_of(house, [grant(form), grant(STRICT)], [grant(form)])
    made = question(bundle=house, method="POST")
    asked = posted(OVER_THE_CAP)
    assert outcome(decide(replace(made, mandate=parent, call=asked))) == DENIED


# --- pinned and current ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("approved", "now", "asked", "expected"),
    [
        pytest.param(PAYMENT, PAYMENT, SMALL, ALLOWED, id="unchanged"),
        pytest.param(PAYMENT, ANY_BODY, SMALL, ALLOWED, id="both cover"),
        pytest.param(PAYMENT, ANY_BODY, LARGE, (Verdict.HOLD, Code.CLUSTER_CHANGED), id="only the current one covers"),
        pytest.param(
            PAYMENT, ANY_BODY, MALFORMED, (Verdict.HOLD, Code.CLUSTER_CHANGED), id="the approved one cannot read it"
        ),
        pytest.param(ANY_BODY, PAYMENT, LARGE, NOT_COVERED, id="only the approved one covers"),
        pytest.param(ANY_BODY, PAYMENT, MALFORMED, DENIED, id="the current one cannot read it"),
        pytest.param(
            ANY_BODY,
            Unexamined(),
            posted(STREAMED),
            (Verdict.HOLD, Code.CLUSTER_CHANGED),
            id="now unexamined",
        ),
    ],
)
def test_authority_over_bodies_is_what_was_approved_and_still_is(
    approved: BodyRule, now: BodyRule, asked: Call, expected: tuple[Verdict, Code]
) -> None:
    before, after = taking(approved), taking(now)
    house = bundle_of(after, approved=[before])
    made = question(bundle=house, grants=[grant(before)], method="POST")
    assert outcome(decide(replace(made, call=asked))) == expected


# --- constraints -----------------------------------------------------------------------------------------------------

PAYEE = Constraints(body={"/payee": one_of(88)})


@pytest.mark.parametrize("rule", [ANY_BODY, JsonBody()], ids=["any body", "any document"])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(posted_json({"payee": 88}), ALLOWED, id="the permitted value"),
        pytest.param(posted_json({"payee": 89}), NOT_COVERED, id="another value"),
        pytest.param(posted_json({}), NOT_COVERED, id="absent"),
        pytest.param(posted(b"", ()), NOT_COVERED, id="no body"),
        pytest.param(posted_json({"Payee": 88}), DENIED, id="spelled otherwise"),
        pytest.param(posted(b'{"payee": 88}', ()), DENIED, id="not said to be JSON"),
        pytest.param(posted(OVER_THE_CAP), NOT_INSPECTED, id="over the cap"),
    ],
)
def test_a_grant_may_be_narrowed_by_the_body(rule: BodyRule, asked: Call, expected: tuple[Verdict, Code]) -> None:
    one = taking(rule)
    assert outcome(decided(asked, one, grants=[grant(one, constraints=PAYEE)])) == expected


def test_unexamined_and_narrowed_by_the_body_covers_nothing_that_streams() -> None:
    one = taking(Unexamined())
    assert outcome(decided(posted(STREAMED), one, grants=[grant(one, constraints=PAYEE)])) == NOT_INSPECTED


def test_a_parent_narrows_its_child_by_the_body() -> None:
    one = taking(JsonBody())
    house = bundle_of(one)
    narrow = grant(one, constraints=PAYEE)
    narrower = grant(one, constraints=Constraints(body={**PAYEE.body, "/note": one_of("x")}))
    made = question(bundle=house, method="POST")
    mandate = mandate_of(house, [narrow], [narrower])
    for document, expected in (
        ({"payee": 88, "note": "x"}, ALLOWED),
        ({"payee": 88}, NOT_COVERED),
        ({"payee": 89, "note": "x"}, NOT_COVERED),
    ):
        assert outcome(decide(replace(made, mandate=mandate, call=posted_json(document)))) == expected


# --- whatever the body -----------------------------------------------------------------------------------------------


@given(
    st.sampled_from(sorted(EVERY_KIND)),
    st.one_of(
        st.binary(max_size=60),
        st.builds(json.dumps, st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4))).map(
            str.encode
        ),
        st.just(OVER_THE_CAP),
        st.just(STREAMED),
    ),
    st.sampled_from([(), JSON_TYPE, FORM_TYPE, (("content-type", "multipart/form-data; boundary=b"),)]),
)
@settings(max_examples=100)
def test_no_body_makes_deciding_raise_and_only_covered_ones_pass(
    kind: str, body: bytes | Unread, headers: tuple[tuple[str, str], ...]
) -> None:
    decision = decided(posted(body, headers), taking(EVERY_KIND[kind]))
    match decision.verdict:
        case Verdict.ALLOW:
            assert kind in ("none", "unexamined") or isinstance(body, bytes)
        case Verdict.HOLD:
            assert decision.code in (Code.NOT_COVERED, Code.BODY_NOT_INSPECTED)
        case Verdict.DENY:
            assert decision.code is Code.BODY_MALFORMED


def test_what_is_not_covered_and_writes_is_reviewed_as_a_change() -> None:
    assert decided(posted(OVER_THE_CAP), taking(PAYMENT)).risk is Risk.TRANSFORMATIVE
