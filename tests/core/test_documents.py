"""What an agent may read about its holds and its mandate: enough to go on, and nothing it was not granted."""

import json
from dataclasses import replace
from datetime import timedelta

import held
import identities
import pytest

from proxy.core.bodies.rules import FieldRule, JsonBody
from proxy.core.documents import broken_words, hold_document, mandate_document
from proxy.core.manifest import parse_manifest
from proxy.core.model import Bundle, Cluster, Constraints, Grant, Hold, HoldState, Mandate, QueryRule, Review

NOW = identities.NOW
HOLD = replace(held.draft(), id="h-1", filed_at=NOW, expires_at=NOW + timedelta(hours=4))


def mandate(*grants: Grant) -> Mandate:
    chain = identities.chain(identities.draft(grants=grants or None))
    links = tuple(parse_manifest(token) for token in chain)
    sponsor = identities.person()
    return Mandate(
        root_id=links[0].id,
        chain=links,
        agent=identities.agent(),
        sponsor=sponsor,
        answerable=sponsor,
        not_after=NOW + timedelta(minutes=30),
    )


def grant_text(grant: Grant, bundle: Bundle) -> tuple[str, list[str]]:
    """The standing and the sentences of the one grant of a mandate."""
    told = json.loads(json.dumps(mandate_document(mandate(grant), bundle, now=NOW)))["grants"]
    assert len(told) == 1
    return told[0]["standing"], told[0]["you_may"]


# --- holds -----------------------------------------------------------------------------------------------------------


def test_a_hold_tells_its_agent_how_it_stands() -> None:
    assert hold_document(HOLD, now=NOW) == {
        "id": "h-1",
        "status": "held",
        "code": "mandate.not_covered",
        "cluster": "supplier-invoices",
        "task": "T-4711",
        "filed_at": "2026-03-02T09:30:00Z",
        "expires_at": "2026-03-02T13:30:00Z",
        "decided_at": None,
        "reason": None,
        "status_endpoint": "http://intent.internal/holds/h-1",
        "redeem_endpoint": "http://intent.internal/holds/h-1/redeem",
        "next": "Wait: a person has been asked. Go on with other work and ask again later.",
        "retry_after_s": 5,
    }


@pytest.mark.parametrize(
    ("state", "redeemable", "after_s"),
    [
        pytest.param(HoldState.HELD, True, 5, id="held"),
        pytest.param(HoldState.APPROVED, True, 5, id="approved"),
        pytest.param(HoldState.RELEASING, False, 5, id="being sent"),
        pytest.param(HoldState.RELEASED, False, None, id="sent"),
        pytest.param(HoldState.UNCERTAIN, False, None, id="nobody knows"),
        pytest.param(HoldState.DENIED, False, None, id="denied"),
        pytest.param(HoldState.EXPIRED, False, None, id="expired"),
        pytest.param(HoldState.CANCELLED, False, None, id="withdrawn"),
    ],
)
def test_every_state_says_what_to_do_next(state: HoldState, redeemable: bool, after_s: int | None) -> None:
    told = hold_document(replace(HOLD, state=state), now=NOW)
    assert told["status"] == state.value
    assert (told["redeem_endpoint"] is not None) is redeemable
    assert told["retry_after_s"] == after_s
    assert told["next"]


def test_every_state_says_something_of_its_own() -> None:
    assert len({hold_document(replace(HOLD, state=state), now=NOW)["next"] for state in HoldState}) == len(HoldState)


def test_a_call_that_a_person_found_not_to_have_arrived_may_be_asked_for_anew() -> None:
    withdrawn, closed = (
        hold_document(replace(HOLD, state=HoldState.CANCELLED, fence=fence), now=NOW)["next"] for fence in (0, 1)
    )
    assert "did not arrive. Send it again if it is still needed" in str(closed)
    assert withdrawn != closed


def test_the_agent_of_a_released_call_that_broke_is_told_where_to_look() -> None:
    assert "Do not send it again: http://intent.internal/holds/h-1 says" in broken_words(HOLD)


@pytest.mark.parametrize("state", HoldState)
def test_a_hold_whose_body_was_not_kept_is_sent_again_and_not_redeemed(state: HoldState) -> None:
    hold = replace(HOLD, state=state, stored=False, body_bytes=5_000_000)
    assert (hold.stored_bytes, HOLD.stored_bytes) == (0, HOLD.body_bytes)
    told = hold_document(hold, now=NOW)
    assert told["redeem_endpoint"] is None
    assert ("redeem_endpoint" in str(told["next"])) is False
    assert ("Send the same call again" in str(told["next"])) is (state is HoldState.APPROVED)


def test_a_hold_that_the_proxy_sends_itself_says_where_the_response_will_be() -> None:
    told = {state: hold_document(replace(HOLD, state=state, delivers=True), now=NOW) for state in HoldState}
    assert {each["response_endpoint"] for each in told.values()} == {"http://intent.internal/holds/h-1/response"}
    assert "sends the call itself" in str(told[HoldState.HELD]["next"])
    assert "do not send it again" in str(told[HoldState.APPROVED]["next"])
    assert "response_endpoint" in str(told[HoldState.RELEASED]["next"])
    plain = {state: hold_document(replace(HOLD, state=state), now=NOW)["next"] for state in HoldState}
    same = {state for state in HoldState if told[state]["next"] == plain[state]}
    assert same == set(HoldState) - {HoldState.HELD, HoldState.APPROVED, HoldState.RELEASED}


def test_a_denied_hold_gives_the_reason_and_not_the_reviewer() -> None:
    denied: Hold = replace(
        HOLD, state=HoldState.DENIED, decided_by="cleo", decided_at=NOW, reason="Not needed.", statement="a.b.c"
    )
    told = hold_document(denied, now=NOW)
    assert (told["reason"], told["decided_at"]) == ("Not needed.", "2026-03-02T09:30:00Z")
    assert not {"cleo", "a.b.c", HOLD.call_digest, HOLD.root_id} & {str(value) for value in told.values()}


# --- the mandate -----------------------------------------------------------------------------------------------------


def test_a_mandate_says_who_for_what_and_until_when() -> None:
    told = mandate_document(mandate(), identities.bundle(), now=NOW)
    assert told["agent"] == "invoice-bot"
    assert told["sponsor"] == {"id": "ada", "name": "Ada Example"}
    assert told["valid_until"] == "2026-03-02T10:00:00Z"
    assert told["valid_for_s"] == 1800
    assert told["may_delegate"] is True
    assert "Match supplier invoices with purchase orders." in str(told["summary"])


def test_an_expired_mandate_has_no_time_left() -> None:
    assert mandate_document(mandate(), identities.bundle(), now=NOW + timedelta(hours=1))["valid_for_s"] == 0


def test_only_what_was_granted_is_told() -> None:
    other = identities.cluster("payroll", hosts=["payroll.example"])
    bundle = identities.bundle(clusters=[identities.cluster(), other])
    told = json.dumps(mandate_document(mandate(identities.grant(actions=["read-invoice"])), bundle, now=NOW))
    assert "read-invoice: GET /v1/invoices/{id}; no query parameters" in told
    assert "payroll" not in told
    assert "post-invoice" not in told
    assert "clusters.yaml" not in told


def test_operations_are_told_in_words() -> None:
    operations = (
        identities.operation("find", template="/v1/find", any_query=True),
        identities.operation(
            "list",
            methods=["GET", "HEAD"],
            template="/v1/{part}",
            query=[
                QueryRule(name="page"),
                QueryRule(name="sort", values=frozenset({"up", "down"}), required=True),
                QueryRule(name="none", values=frozenset()),
            ],
        ),
    )
    cluster = identities.cluster(operations=operations)
    constraints = Constraints(
        methods=frozenset({"GET"}), params={"part": frozenset({"a"})}, query={"page": frozenset({"1", "2"})}
    )
    _, sentences = grant_text(identities.grant(cluster, constraints=constraints), identities.bundle(clusters=[cluster]))
    limits = 'your mandate limits query parameter page to "1" or "2"'
    assert sentences == [
        f'find: GET /v1/find; {{part}} is "a"; any query parameters; {limits}',
        'list: GET /v1/{part}; {part} is "a"; query parameter page (optional) is any value; '
        'query parameter sort (required) is "down" or "up"; query parameter none (optional) is nothing; ' + limits,
    ]


def test_what_a_body_may_be_is_told() -> None:
    body = JsonBody(fields=(FieldRule(pointer="/amount", most=500, required=True),))
    cluster = identities.cluster(operations=(identities.operation("pay", methods=["POST"], template="/p", body=body),))
    constraints = Constraints(body={"/payee": frozenset({"88"}), "/x": frozenset()})
    _, sentences = grant_text(identities.grant(cluster, constraints=constraints), identities.bundle(clusters=[cluster]))
    assert sentences == [
        "pay: POST /p; no query parameters; with a JSON body in which /amount is a number of at most 500 (required); "
        "your mandate limits /payee in the body to 88; your mandate limits /x in the body to nothing"
    ]


def test_a_constraint_that_leaves_no_method_says_so() -> None:
    grant = identities.grant(actions=["read-invoice"], constraints=Constraints(methods=frozenset({"PUT"})))
    assert grant_text(grant, identities.bundle())[1] == [
        "read-invoice: no method /v1/invoices/{id}; no query parameters"
    ]


PINNED = identities.cluster()
CHANGED = identities.cluster(operations=(identities.operation("new-operation"),))


@pytest.mark.parametrize(
    ("bundle", "standing", "sentences"),
    [
        pytest.param(identities.bundle(), "Calls need session proof or stronger.", 3, id="as approved"),
        pytest.param(
            replace(identities.bundle(clusters=[CHANGED]), pins={PINNED.digest: PINNED}),
            "This cluster changed after your sponsor approved it: calls that only the new version covers are held.",
            3,
            id="changed since, and what was approved is told",
        ),
        pytest.param(
            replace(identities.bundle(clusters=[CHANGED]), pins={}),
            "What your sponsor approved can no longer be shown: every call of this cluster is held for a person.",
            0,
            id="changed since, and what was approved is lost",
        ),
        pytest.param(
            replace(identities.bundle(), clusters={}),
            "This cluster no longer exists: its calls are outside your mandate until your sponsor signs again.",
            3,
            id="gone",
        ),
    ],
)
def test_a_grant_says_how_it_stands(bundle: Bundle, standing: str, sentences: int) -> None:
    said, may = grant_text(identities.grant(PINNED), bundle)
    assert said == standing
    assert len(may) == sentences
    assert "new-operation" not in str(may)


def test_a_cluster_that_is_always_reviewed_says_so() -> None:
    reviewed: Cluster = identities.cluster(review=Review(always=True))
    said, _ = grant_text(identities.grant(reviewed), identities.bundle(clusters=[reviewed]))
    assert said == "Calls need session proof or stronger, and each is held for a person."
