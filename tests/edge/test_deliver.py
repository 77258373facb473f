"""A released call that the proxy sends by itself: once, as it was approved, under all that every call is under."""

import json
import secrets
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import identities
import pytest
from desks import HouseDesk
from houses import WAYS
from nodes import wait_for, wait_for_state, wait_for_version
from origin_replies import Gate, Reply
from rawclient import Response
from towns import Town

from proxy.core.control import Act
from proxy.core.manifest import parse_manifest
from proxy.core.model import HoldState, Verdict
from proxy.policy.bundle import sign_bundle
from proxy.review.granting import Width

pytestmark = pytest.mark.system  # what is waited for is waited for by the clock of the store

HOUSE = "http://intent.internal"
BODY = b'{"amount": 17}'


@pytest.fixture
def town(delivering_town: Town) -> Town:
    return delivering_town


def pay(town: Town, url: str, chain: Sequence[str], *headers: tuple[str, str]) -> str:
    """Ask to pay; the id of the hold."""
    lines = [("Content-Type", "application/json"), *headers]
    answer = town.house.call("POST", url, chain=chain, headers=lines, body=BODY, intent="")
    assert answer.status == 403, answer
    document = json.loads(answer.body)
    assert document["code"] == "cluster.review_required"
    return str(document["task"]["id"])


def asked(town: Town, chain: Sequence[str], path: str) -> Response:
    return town.house.call("GET", f"{HOUSE}{path}", chain=chain)


def fresh(town: Town, way: str) -> str:
    return town.url(way, f"/v1/payments/{secrets.token_hex(6)}")


def released(town: Town, hold: str) -> None:
    town.house.decide(hold, Verdict.ALLOW)
    wait_for_state(town.house, hold, HoldState.RELEASED)


@pytest.mark.parametrize("way", WAYS)
def test_a_released_call_is_sent_once_and_its_agent_fetches_the_response(town: Town, way: str) -> None:
    chain, url, origin = town.house.chain(), fresh(town, way), town.origin(way)
    path = url[url.index("/v1") :]
    origin.on("POST", path, Reply(status=201, headers=(("X-Paid", "yes"),), json={"paid": 17}))
    before = origin.mark()
    hold = pay(town, url, chain)
    document = json.loads(asked(town, chain, f"/holds/{hold}").body)
    assert document["response_endpoint"] == f"{HOUSE}/holds/{hold}/response"
    assert "sends the call itself" in document["next"]
    missing = asked(town, chain, f"/holds/{hold}/response")
    assert (missing.status, json.loads(missing.body)["code"]) == (404, "hold.unknown")
    assert origin.since(before).nothing

    released(town, hold)

    (seen,) = origin.since(before).requests
    assert (seen.method, seen.target, seen.body) == ("POST", path, BODY)
    assert seen.header("idempotency-key") == hold
    assert [seen.header(name) for name in ("signature", "signature-input", "intent-manifest")] == [None] * 3
    kept = wait_for(
        lambda: answer if (answer := asked(town, chain, f"/holds/{hold}/response")).status != 404 else None, ""
    )
    assert (kept.status, json.loads(kept.body)) == (201, {"paid": 17})
    assert kept.header("x-paid") == "yes"
    assert kept.header("intent-response") == "kept; body=complete; bytes=12"
    assert json.loads(asked(town, chain, f"/holds/{hold}").body)["status"] == "released"
    other = asked(town, town.house.chain(), f"/holds/{hold}/response")
    assert (other.status, json.loads(other.body)["code"]) == (404, "hold.unknown")
    lines = [line for line in town.house.journal() if line.get("hold_id") == hold]
    assert {line["event"] for line in lines if line["kind"] == "hold"} == {"file", "approve", "sent"}
    (allowed,) = [line for line in lines if line["kind"] == "decision" and line["verdict"] == "allow"]
    assert (allowed["source"], allowed["proof"]) == ("deliver", "request")


def test_what_a_node_will_send_does_not_pass_under_a_grant_as_well(town: Town) -> None:
    chain, origin, desk = town.house.chain(), town.origin("tls"), HouseDesk(house=town.house)
    first, second, third = (fresh(town, "tls") for _ in range(3))
    before, holds = origin.mark(), [pay(town, url, chain) for url in (first, second)]
    desk.grant(holds[0], Width(path="/v1/payments/{id}", count=5))
    wait_for_state(town.house, holds[0], HoldState.RELEASED)
    assert pay(town, second, chain) == holds[1]
    released(town, holds[1])
    lines = [("Content-Type", "application/json")]
    assert town.house.call("POST", third, chain=chain, headers=lines, body=BODY, intent="").status == 200
    seen = [request.target for request in origin.since(before).requests]
    assert seen == [url[url.index("/v1") :] for url in (first, second, third)]


@pytest.mark.parametrize(
    ("header", "delivered"),
    [
        pytest.param(("Idempotency-Key", "mine"), True, id="a key of the agent's own stays"),
        pytest.param(("Authorization", "Bearer abc"), False, id="the agent's authorization is not used in its absence"),
        pytest.param(("Cookie", "session=abc"), False, id="nor its cookies"),
        pytest.param(("X-Signature", "abc"), False, id="nor its signature"),
    ],
)
def test_what_bears_its_agents_credentials_waits_for_its_agent(
    town: Town, header: tuple[str, str], delivered: bool
) -> None:
    chain, url, origin = town.house.chain(), fresh(town, "plain"), town.plain
    before = origin.mark()
    hold = pay(town, url, chain, header)
    if delivered:
        released(town, hold)
    else:
        town.house.decide(hold, Verdict.ALLOW)
        released(town, pay(town, twin := fresh(town, "plain"), chain))  # by then the other would have been sent, too
        assert [seen.target for seen in origin.since(before).requests] == [twin[twin.index("/v1") :]]
        assert town.house.hold(hold).state is HoldState.APPROVED
        lines = [("Content-Type", "application/json"), header]
        assert town.house.call("POST", url, chain=chain, headers=lines, body=BODY, intent="").status == 200
    seen = [each for each in origin.since(before).requests if each.target == url[url.index("/v1") :]]
    assert [each.header(header[0]) for each in seen] == [header[1]]
    assert [each.header("idempotency-key") for each in seen] == ["mine" if delivered else None]


def test_who_waits_gets_the_response_on_its_connection(town: Town) -> None:
    chain, url = town.house.chain(), fresh(town, "plain")
    before = town.plain.mark()
    lines = [("Content-Type", "application/json"), ("Prefer", "wait=20")]
    with town.house.open(url, timeout_s=30) as wire:
        signed = town.house.signed("POST", url, chain=chain, headers=lines, body=BODY, intent="")
        answers: list[Response] = []
        waiting = threading.Thread(
            target=lambda: answers.append(town.house.send("POST", url, signed, body=BODY, wire=wire))
        )
        waiting.start()
        hold = town.house.wait_for_hold(chain)
        released(town, hold)
        waiting.join(20)
    assert [answer.status for answer in answers] == [200]
    assert len(town.plain.since(before).requests) == 1
    assert asked(town, chain, f"/holds/{hold}/response").status == 404


def test_a_revoked_mandate_is_not_delivered(town: Town) -> None:
    chain, url, origin = town.house.chain(), fresh(town, "plain"), town.plain
    hold = pay(town, url, chain)
    town.house.stop_by(Act.REVOKE_ROOT, parse_manifest(chain[0]).id)
    before = town.settle_control("plain")
    town.house.decide(hold, Verdict.ALLOW)
    refused = wait_for(
        lambda: [line for line in town.house.journal("decision") if line.get("code") == "manifest.revoked"], "a refusal"
    )
    assert refused[0]["source"] == "deliver"
    assert origin.since(before).nothing
    assert town.house.hold(hold).state is HoldState.APPROVED


def test_the_agents_short_credential_was_judged_when_it_asked(town: Town) -> None:
    root, url, origin = town.house.root(), fresh(town, "plain"), town.plain
    leaf = identities.child(root, now=datetime.now(UTC), jti=f"l-{secrets.token_hex(6)}", lifetime_s=2)
    hold = pay(town, url, (root, leaf))
    ends = parse_manifest(leaf).exp
    wait_for(lambda: datetime.now(UTC) > ends, "the leaf has expired")
    again = town.house.call("POST", url, chain=(root, leaf), body=BODY, intent="")
    assert json.loads(again.body)["code"] == "manifest.window"
    before = origin.mark()
    released(town, hold)
    assert len(origin.since(before).requests) == 1


def test_a_response_that_is_too_large_is_kept_by_its_head(town: Town) -> None:
    chain, url = town.house.chain(), fresh(town, "plain")
    town.plain.on("POST", url[url.index("/v1") :], Reply(body=b"x" * 1_048_577))
    hold = pay(town, url, chain)
    released(town, hold)
    kept = wait_for(
        lambda: answer if (answer := asked(town, chain, f"/holds/{hold}/response")).status != 404 else None, ""
    )
    assert (kept.status, kept.body) == (200, b"")
    assert kept.header("intent-response") == "kept; body=too-large; bytes=1048577"


def test_an_origin_that_is_away_is_tried_again_and_nothing_is_sent_twice(town: Town) -> None:
    chain, url, origin = town.house.chain(), fresh(town, "plain"), town.plain
    town.house.resolve({"erp.example": ["127.0.0.9"]})  # nobody listens there
    try:
        hold = pay(town, url, chain)
        before = origin.mark()
        town.house.decide(hold, Verdict.ALLOW)
        wait_for(
            lambda: [
                line for line in town.house.journal("hold") if line["hold_id"] == hold and line["event"] == "unsent"
            ],
            "it was tried",
        )
        assert origin.since(before).nothing
    finally:
        town.house.resolve({"erp.example": ["127.0.0.1"]})
    wait_for_state(town.house, hold, HoldState.RELEASED)
    assert len(origin.since(before).requests) == 1
    assert not [
        line for line in town.house.output if "crashed" in line
    ]  # as when a connection could not be half closed


def test_nobody_outside_may_say_that_they_are_the_node(town: Town) -> None:
    chain, url, origin = town.house.chain(), fresh(town, "plain"), town.plain
    hold = pay(town, url, chain, ("Authorization", "Bearer abc"))
    town.house.decide(hold, Verdict.ALLOW)
    before = origin.mark()
    for _ in range(3):
        answer = town.house.send("POST", f"{HOUSE}/holds/{hold}/redeem", [("Content-Length", "0")])
        assert answer.status == 407
        assert json.loads(answer.body)["code"] == "proof.missing"
    assert origin.since(before).nothing
    assert town.house.call("POST", f"{HOUSE}/holds/{hold}/redeem", chain=chain, body=b"", intent="").status == 200
    assert len(origin.since(before).requests) == 1


# --- between the release and the response ----------------------------------------------------------------------------


def refusals(town: Town, code: str) -> list[dict[str, object]]:
    """What the journal says of deliveries that were refused with this code."""
    lines = town.house.journal("decision")
    return [line for line in lines if (line.get("source"), line.get("code")) == ("deliver", code)]


def lapses(town: Town, hold: str) -> list[dict[str, object]]:
    """What the journal says of a release that counts no more."""
    return [line for line in town.house.journal("hold") if (line["hold_id"], line["event"]) == (hold, "lapse")]


def test_a_mandate_that_ended_while_its_call_was_held_is_not_delivered(town: Town) -> None:
    """The twin, whose root mandate goes on while the agent's short credential has ended, is delivered (above)."""
    root = town.house.root(exp=datetime.now(UTC) + timedelta(seconds=4))
    url, before = fresh(town, "plain"), town.plain.mark()
    ends = parse_manifest(root).exp
    leaf = identities.child(root, now=datetime.now(UTC), jti=f"l-{secrets.token_hex(6)}", lifetime_s=3)
    hold = pay(town, url, (root, leaf))
    wait_for(lambda: datetime.now(UTC) > ends, "the mandate has ended")
    town.house.decide(hold, Verdict.ALLOW)
    wait_for(lambda: refusals(town, "manifest.window"), "a refusal")
    assert town.plain.since(before).nothing
    assert town.house.hold(hold).state is HoldState.APPROVED


def test_a_name_that_leads_to_a_forbidden_address_by_then_is_not_dialled(town: Town) -> None:
    chain, url = town.house.chain(), fresh(town, "plain")
    hold, before = pay(town, url, chain), town.plain.mark()
    town.house.resolve({"erp.example": ["169.254.169.254"]})
    try:
        town.house.decide(hold, Verdict.ALLOW)
        wait_for(lambda: refusals(town, "guard.address"), "a refusal")
        assert town.plain.since(before).nothing
        assert town.house.hold(hold).state is HoldState.APPROVED
    finally:
        town.house.resolve({"erp.example": ["127.0.0.1"]})
    wait_for_state(town.house, hold, HoldState.RELEASED)  # the twin: the same call, its name as it was
    assert len(town.plain.since(before).requests) == 1


def test_a_deny_rule_that_came_into_force_since_comes_before_the_release(town: Town) -> None:
    chain, url, twin = town.house.chain(), fresh(town, "plain"), fresh(town, "plain")
    hold, before = pay(town, url, chain), town.plain.mark()
    denied = f"""\
deny:
  - id: not-this-one
    hosts: [erp.example]
    operations:
      - name: none
        methods: [POST]
        path: {url[url.index("/v1") :]}
"""
    rules = town.house.folder / "clusters.yaml"
    rules.write_text(rules.read_text() + denied)
    wait_for_version(town.house, sign_bundle(town.house.settings, identities.key("operator"), now=datetime.now(UTC)))
    lines = [("Content-Type", "application/json")]
    refused = town.house.call("POST", url, chain=chain, headers=lines, body=BODY, intent="")
    assert json.loads(refused.body)["code"] == "policy.denied"
    town.house.decide(hold, Verdict.ALLOW)
    wait_for(lambda: lapses(town, hold), "the release is taken back")
    released(town, pay(town, twin, chain))
    assert [seen.target for seen in town.plain.since(before).requests] == [twin[twin.index("/v1") :]]
    assert town.house.hold(hold).state is HoldState.HELD


def test_a_redirect_is_kept_for_the_agent_and_not_followed(town: Town) -> None:
    chain, url = town.house.chain(), fresh(town, "plain")
    before, elsewhere = town.plain.mark(), town.url("plain", "/v1/invoices/17")
    town.plain.on("POST", url[url.index("/v1") :], Reply(status=307, headers=(("Location", elsewhere),)))
    hold = pay(town, url, chain)
    released(town, hold)
    kept = wait_for(
        lambda: answer if (answer := asked(town, chain, f"/holds/{hold}/response")).status != 404 else None, ""
    )
    assert (kept.status, kept.header("location")) == (307, elsewhere)
    assert len(town.plain.since(before).requests) == 1


@pytest.mark.parametrize(
    ("reply", "state", "kept"),
    [
        pytest.param(Reply(body=b"x" * 99, cut_after=0), HoldState.UNCERTAIN, None, id="before the head"),
        pytest.param(
            Reply(body=b"x" * 99, cut_after=60), HoldState.RELEASED, "kept; body=broken; bytes=", id="after it"
        ),
    ],
)
def test_an_origin_that_hangs_up(town: Town, reply: Reply, state: HoldState, kept: str | None) -> None:
    chain, url, before = town.house.chain(), fresh(town, "plain"), town.plain.mark()
    town.plain.on("POST", url[url.index("/v1") :], reply)
    hold = pay(town, url, chain)
    town.house.decide(hold, Verdict.ALLOW)
    wait_for_state(town.house, hold, state)
    if kept is not None:
        answer = wait_for(
            lambda: answer if (answer := asked(town, chain, f"/holds/{hold}/response")).status != 404 else None, ""
        )
        assert str(answer.header("intent-response")).startswith(kept)
    released(town, pay(town, fresh(town, "plain"), chain))  # by then the first would have been sent again
    assert len(town.plain.since(before).requests) == 2


def test_a_quarantine_ends_a_delivery_under_way(town: Town) -> None:
    """In two seconds; what the origin has by then, nobody knows."""
    chain, url, gate = town.house.chain(), fresh(town, "plain"), Gate()
    town.plain.on("POST", url[url.index("/v1") :], Reply(before=gate))
    try:
        hold = pay(town, url, chain)
        town.house.decide(hold, Verdict.ALLOW)
        gate.wait_until_reached()
        town.house.stop_by(Act.REVOKE_ROOT, parse_manifest(chain[0]).id)
        wait_for_state(town.house, hold, HoldState.UNCERTAIN, within_s=5.0)
    finally:
        gate.open()
    lines = [line for line in town.house.journal("hold") if line["hold_id"] == hold]
    assert lines[-1]["event"] == "lost"


def test_a_node_that_stops_says_what_it_does_not_know(town: Town) -> None:
    """Last, for it ends the house: a delivery whose origin does not answer is uncertain before the worker has gone."""
    chain, url, gate = town.house.chain(), fresh(town, "plain"), Gate()
    town.plain.on("POST", url[url.index("/v1") :], Reply(before=gate))
    try:
        hold = pay(town, url, chain)
        town.house.decide(hold, Verdict.ALLOW)
        gate.wait_until_reached()
        assert town.house.stop() == 0
    finally:
        gate.open()
    lines = town.house.journal()
    (allowed,) = [line for line in lines if line.get("hold_id") == hold and line.get("verdict") == "allow"]
    assert "lost" in {line["event"] for line in lines if line["kind"] == "hold" and line["hold_id"] == hold}
    ended = [line for line in lines if line["kind"] == "outcome" and line["decision_id"] == allowed["decision_id"]]
    assert len(ended) == 1
