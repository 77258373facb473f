"""What must not count, whoever wrote it to the store, and what was stopped and stays so: as the origin saw it."""

import json
import secrets

import pytest
from houses import WAYS
from towns import Town

from proxy.core.model import Verdict
from proxy.stores.redis import PREFIX


def redis(town: Town, *command: object) -> object:
    """What somebody with the store's password can do."""
    return town.house.with_store(lambda server: server.command(*command))  # type: ignore[arg-type]


def held(town: Town, url: str, chain: tuple[str, str], **how: object) -> str:
    answer = town.house.call("GET", url, chain=chain, **how)  # type: ignore[arg-type]
    hold_id = json.loads(answer.body)["task"]["id"]
    assert isinstance(hold_id, str)
    return hold_id


@pytest.mark.parametrize("way", WAYS)
def test_a_sent_hold_put_back_with_its_genuine_release_is_not_sent_again(town: Town, way: str) -> None:
    chain, url = town.house.chain(), town.url(way, f"/v1/payroll/{secrets.token_hex(6)}")
    hold = town.house.decide(held(town, url, chain), Verdict.ALLOW)
    name, sealed_name = f"{PREFIX}hold:{hold.id}", f"{PREFIX}sealed:{hold.id}"
    fields, sealed = redis(town, "HGETALL", name), redis(town, "GET", sealed_name)
    assert isinstance(fields, list)
    before = town.origin(way).mark()
    assert town.house.call("GET", url, chain=chain).status == 200  # the twin
    for _ in range(4):  # over both workers
        redis(town, "DEL", name)
        redis(town, "HSET", name, *fields)
        redis(town, "SET", sealed_name, sealed)
        redis(town, "SET", f"{PREFIX}call:{hold.root_id}:{hold.call_digest}", hold.id)
        answer = town.house.call("GET", url, chain=chain)
        assert (answer.status, json.loads(answer.body)["code"]) == (403, "hold.spent")
        redeemed = town.house.call("POST", f"http://intent.internal/holds/{hold.id}/redeem", chain=chain)
        assert json.loads(redeemed.body)["code"] == "hold.spent"
    assert len(town.origin(way).since(before).requests) == 1
