"""Several who must release a call, and denials that no grant overrules: a house of its own, so a system test."""

import json
import secrets
from collections.abc import Iterator

import pytest
from desks import HouseDesk, ask, held, wait_for_line
from houses import CLUSTERS
from identities import DEPUTY, SPONSOR
from towns import Town, open_town

from proxy.review.granting import Width
from proxy.review.service import Result
from proxy.stores.redis import PREFIX

pytestmark = pytest.mark.system

GUARDED = """\
  - id: guarded
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations:
      - name: look
        methods: [GET]
        path: /v1/guarded/{{id}}
    review: {{always: true, quorum: 2}}
deny:
  - id: no-secrets
    hosts: [erp.example]
    operations:
      - name: secrets
        methods: [GET]
        path: /v1/stock/secret
"""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with open_town(tmp_path_factory.mktemp("reviews"), workers=1, clusters=CLUSTERS + GUARDED) as running:
        yield running


@pytest.fixture
def desk(town: Town) -> HouseDesk:
    return HouseDesk(house=town.house)


def test_a_call_passes_once_when_as_many_as_must_have_released_it(town: Town, desk: HouseDesk) -> None:
    chain, path, before = town.house.chain(), f"/v1/guarded/{secrets.token_hex(4)}", town.tls.mark()
    hold_id = held(town, path, chain)
    assert desk.release(hold_id, SPONSOR).result is Result.SIGNED
    assert held(town, path, chain) == hold_id
    assert town.tls.since(before).nothing
    assert desk.release(hold_id, DEPUTY).result is Result.DONE
    assert ask(town, path, chain).status == 200
    assert held(town, path, chain) != hold_id, "after its one pass the next equal call is a new hold"
    assert len(town.tls.since(before).requests) == 1
    lines = wait_for_line(town, hold_id, "approve", DEPUTY)
    assert [line for line in lines if line[0] in ("sign", "approve")] == [("sign", SPONSOR), ("approve", DEPUTY)]


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param({"state": "approved"}, id="marked approved with one release"),
        pytest.param({"state": "approved", "quorum": "1"}, id="and the quorum made smaller"),
        pytest.param({"state": "approved", "said": "twice"}, id="one release twice"),
    ],
)
def test_one_release_of_two_sends_nothing_whatever_the_store_says(
    town: Town, desk: HouseDesk, planted: dict[str, str]
) -> None:
    chain, path, before = town.house.chain(), f"/v1/guarded/{secrets.token_hex(4)}", town.tls.mark()
    hold_id = held(town, path, chain)
    desk.release(hold_id, SPONSOR)
    signed = town.house.hold(hold_id).said[0].statement
    fields = {**planted, "statement": signed, "decided_by": SPONSOR}
    if "said" in planted:
        fields["said"] = f"2 {signed}\n3 {signed}"
    flat = [part for pair in fields.items() for part in pair]
    town.house.with_store(lambda server: server.command("HSET", f"{PREFIX}hold:{hold_id}", *flat))
    assert ask(town, path, chain).status == 403
    assert town.tls.since(before).nothing


def test_a_grant_never_overrules_a_deny_rule_nor_gives_what_several_must_release(town: Town, desk: HouseDesk) -> None:
    chain, before = town.house.chain(), town.tls.mark()
    desk.grant(held(town, "/v1/stock/1", chain), Width(path="/v1/stock/{id}", count=5))
    assert json.loads(ask(town, "/v1/stock/secret", chain).body)["code"] == "policy.denied"
    guarded = held(town, "/v1/guarded/1", chain)
    desk.plant(guarded, route_path="/v1/guarded/{id}", by=SPONSOR, signer=SPONSOR)
    assert ask(town, "/v1/guarded/2", chain).status == 403
    assert town.tls.since(before).nothing
    assert ask(town, "/v1/stock/2", chain).status == 200
