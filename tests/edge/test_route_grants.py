"""A route that one person released: on a real proxy, real store, real origin."""

import json
import secrets
from datetime import timedelta

import identities
import pytest
from desks import HouseDesk, ask, held, wait_for_line
from identities import SPONSOR
from towns import Town

from proxy.core.control import Act
from proxy.core.model import HoldState
from proxy.core.notes import NoteAct
from proxy.review.granting import Width
from proxy.stores.redis import PREFIX


@pytest.fixture
def desk(town: Town) -> HouseDesk:
    return HouseDesk(house=town.house)


def test_a_lifted_denial_lets_the_call_be_asked_again(town: Town, desk: HouseDesk) -> None:
    chain, path = town.house.chain(), f"/v1/payroll/{secrets.token_hex(4)}"
    hold_id = held(town, path, chain)
    desk.deny(hold_id)
    assert json.loads(ask(town, path, chain).body)["code"] == "hold.denied"
    desk.note(NoteAct.LIFT, hold_id)
    again = held(town, path, chain)
    assert again != hold_id
    desk.release(again)
    assert ask(town, path, chain).status == 200
    assert town.house.hold(hold_id).state is HoldState.DENIED
    wait_for_line(town, hold_id, "lift", SPONSOR)


def redeem(town: Town, hold_id: str, chain: tuple[str, str], **signing: object) -> dict[str, object]:
    answer = town.house.call("POST", f"http://intent.internal/holds/{hold_id}/redeem", chain=chain, **signing)  # type: ignore[arg-type]
    told: dict[str, object] = {"code": "", "detail": ""} if answer.status == 200 else json.loads(answer.body)
    return {"status": answer.status, "code": told["code"], "detail": told["detail"]}


def test_another_agent_of_the_mandate_neither_redeems_nor_looks_like_an_intruder(town: Town, desk: HouseDesk) -> None:
    chain, before = town.house.chain(), town.tls.mark()
    key = identities.key(identities.HELPER)
    leaf = identities.child(chain[0], now=town.now(), sub=identities.HELPER, cnf=key.public, jti=secrets.token_hex(6))
    hold_id = held(town, f"/v1/payroll/{secrets.token_hex(4)}", chain)
    desk.release(hold_id)
    refused = redeem(town, hold_id, (chain[0], leaf), signer=key)
    assert (refused["code"], "another agent" in str(refused["detail"])) == ("hold.not_permitted", True)
    assert town.tls.since(before).nothing
    assert redeem(town, hold_id, chain)["status"] == 200


def test_redeeming_what_was_refused_says_why(town: Town, desk: HouseDesk) -> None:
    chain = town.house.chain()
    hold_id = held(town, f"/v1/payroll/{secrets.token_hex(4)}", chain)
    desk.deny(hold_id, reason="salaries are not your task")
    refused = redeem(town, hold_id, chain)
    assert (refused["code"], "salaries are not your task" in str(refused["detail"])) == ("hold.denied", True)


def test_a_grant_lets_so_many_calls_of_its_route_pass_and_no_others(town: Town, desk: HouseDesk) -> None:
    chain, before = town.house.chain(), town.tls.mark()
    grant = desk.grant(held(town, "/v1/stock/1", chain), Width(path="/v1/stock/{id}", count=2))
    assert ask(town, "/v1/stock/1", chain).status == 200, "the call that was released itself"
    assert [ask(town, path, chain).status for path in ("/v1/stock/2", "/v1/stock/2")] == [200, 200]
    assert [ask(town, path, chain).status for path in ("/v1/stock/3", "/v1/stock/2")] == [403, 403]
    assert len(town.tls.since(before).requests) == 3
    used = [line for line in town.house.journal("grant") if line["grant"] == grant.id]
    assert sorted((line["use"], line["by"], line["reason"]) for line in used) == [  # two workers, each with its file
        (1, SPONSOR, "stock-taking"),
        (2, SPONSOR, "stock-taking"),
    ]


def test_a_grant_stands_in_the_journal_from_when_it_is_given(town: Town, desk: HouseDesk) -> None:
    chain = town.house.chain()
    hold_id = held(town, "/v1/stock/1", chain)
    grant = desk.grant(hold_id, Width(path="/v1/stock/{id}", count=2))
    told = wait_for_line(town, hold_id, "grant", SPONSOR)
    assert [line for line in told if line[0] in ("approve", "grant", "unverified")] == [
        ("approve", SPONSOR),
        ("grant", SPONSOR),
    ]
    (line,) = [each for each in town.house.journal("hold") if each.get("grant") == grant.id]
    assert (line["count"], line["reason"], line["hold_id"]) == (2, "stock-taking", hold_id)


def test_another_holds_grant_planted_beside_a_release_is_journaled_as_nobodys(town: Town, desk: HouseDesk) -> None:
    chain = town.house.chain()
    first, second = held(town, "/v1/stock/1", chain), held(town, "/v1/stock/2", chain)
    desk.grant(first, Width(path="/v1/stock/{id}", count=1))
    (said,) = town.house.hold(first).said
    town.house.with_store(
        lambda server: server.command("HSET", f"{PREFIX}hold:{second}", "said", f"2 {said.statement}")
    )
    desk.release(second)
    wait_for_line(town, second, "approve", SPONSOR)
    third = held(town, "/v1/stock/3?x=1", chain)
    desk.release(third)
    told = wait_for_line(town, third, "approve", SPONSOR)
    assert not [line for line in wait_for_line(town, second, "approve", SPONSOR) if line[0] == "grant"], told


def test_a_grant_reaches_neither_another_mandate_nor_what_is_denied(town: Town, desk: HouseDesk) -> None:
    chain, before = town.house.chain(), town.tls.mark()
    denied = held(town, "/v1/stock/77", chain)
    desk.deny(denied)
    desk.grant(held(town, "/v1/stock/1", chain), Width(path="/v1/stock/{id}", lasting=timedelta(minutes=5)))
    for asked, code in (
        (ask(town, "/v1/stock/77", chain), "hold.denied"),
        (ask(town, "/v1/stock/2", town.house.chain()), "mandate.not_covered"),
        (ask(town, "/v1/stock/2?all=1", chain), "mandate.not_covered"),
        (town.house.call("DELETE", town.url("tls", "/v1/stock/2"), chain=chain), "mandate.not_covered"),
    ):
        assert json.loads(asked.body)["code"] == code, asked
    assert town.tls.since(before).nothing
    assert ask(town, "/v1/stock/2", chain).status == 200


@pytest.mark.parametrize(
    ("by", "signer", "passes"),
    [
        pytest.param(SPONSOR, SPONSOR, True, id="the twin: signed by who may release it"),
        pytest.param(identities.REVIEWER, identities.REVIEWER, False, id="by somebody who may not release it"),
        pytest.param(SPONSOR, identities.REVIEWER, False, id="in another person's name"),
        pytest.param(SPONSOR, identities.AGENT, False, id="with the agent's key"),
        pytest.param("mallory", "mallory", False, id="by somebody nobody knows"),
    ],
)
def test_a_grant_planted_in_the_store_is_worth_its_signature(
    town: Town, desk: HouseDesk, by: str, signer: str, passes: bool
) -> None:
    chain, before = town.house.chain(), town.tls.mark()
    hold_id = held(town, "/v1/stock/1", chain)
    desk.plant(hold_id, route_path="/v1/stock/{id}", by=by, signer=signer)
    assert ask(town, "/v1/stock/2", chain).status == (200 if passes else 403)
    assert town.tls.since(before).nothing is not passes


def test_a_count_set_back_in_the_store_lets_nothing_pass_twice(town: Town, desk: HouseDesk) -> None:
    chain, before = town.house.chain(), town.tls.mark()
    grant = desk.grant(held(town, "/v1/stock/1", chain), Width(path="/v1/stock/{id}", count=1))
    assert ask(town, "/v1/stock/2", chain).status == 200
    town.house.with_store(lambda server: server.command("HSET", f"{PREFIX}grant:{grant.id}", "used", "0"))
    assert ask(town, "/v1/stock/3", chain).status == 403
    assert len(town.tls.since(before).requests) == 1


def test_a_revoked_grant_and_a_revoked_mandate_let_nothing_pass(town: Town, desk: HouseDesk) -> None:
    first, second = town.house.chain(), town.house.chain()
    grants = [
        desk.grant(held(town, "/v1/stock/1", chain), Width(path="/v1/stock/{id}", count=9)) for chain in (first, second)
    ]
    assert [ask(town, "/v1/stock/2", chain).status for chain in (first, second)] == [200, 200]
    town.house.stop_by(Act.REVOKE_GRANT, grants[0].id, by=identities.DEPUTY)
    town.house.stop_by(Act.REVOKE_ROOT, grants[1].root_id)
    before = town.settle_control("tls")
    codes = [json.loads(ask(town, "/v1/stock/3", chain).body)["code"] for chain in (first, second)]
    assert codes == ["mandate.not_covered", "manifest.revoked"]
    assert town.tls.since(before).nothing
