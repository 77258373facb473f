"""Releases that were signed at the review desk, on a real proxy, real store, real origin: sent as they were shown."""

import json
import secrets
import time

import pytest
from desks import HouseDesk
from houses import WAYS
from identities import SPONSOR
from towns import Town

from proxy.core.model import HoldState, Means, Risk
from proxy.review.service import Result

BODY = b'{"amount": 17, "payee": "ACME"}'
HEADERS = [("Content-Type", "application/json"), ("X-Order", "A-1")]


@pytest.fixture
def desk(town: Town) -> HouseDesk:
    return HouseDesk(house=town.house)


def held(town: Town, way: str, method: str, chain: tuple[str, str]) -> tuple[str, str]:
    """A call outside the mandate: where it goes, and its hold."""
    path = f"/v1/orders/{secrets.token_hex(6)}"
    body = BODY if method == "POST" else None
    answer = town.house.call(method, town.url(way, path), chain=chain, headers=HEADERS, body=body)
    assert answer.status == 403, answer
    return path, json.loads(answer.body)["task"]["id"]


def redeemed(town: Town, hold_id: str, chain: tuple[str, str]) -> int:
    return town.house.call("POST", f"http://intent.internal/holds/{hold_id}/redeem", chain=chain).status


def approval_line(town: Town, hold_id: str) -> dict[str, object]:
    """What the journal says of the release: a worker writes it down as the store tells it."""
    deadline_s = time.monotonic() + 10
    while True:
        lines = [line for line in town.house.journal("hold") if line["hold_id"] == hold_id]
        found = [line for line in lines if line["event"] == "approve"]
        if found:
            return found[0]
        assert time.monotonic() < deadline_s, lines
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("way", "method", "means"),
    [
        pytest.param("plain", "POST", Means.PASSKEY, id="what may change things, by passkey"),
        pytest.param("tls", "POST", Means.PASSKEY, id="what may change things, by passkey, in TLS"),
        pytest.param("plain", "GET", Means.DESK, id="what changes nothing, on the desk's word"),
        pytest.param("tls", "POST", Means.KEY, id="with a key of one's own"),
    ],
)
def test_the_origin_sees_once_exactly_what_was_released(
    town: Town, desk: HouseDesk, way: str, method: str, means: Means
) -> None:
    chain, before = town.house.chain(), town.origin(way).mark()
    path, hold_id = held(town, way, method, chain)
    assert town.house.hold(hold_id).risk is (Risk.TRANSFORMATIVE if method == "POST" else Risk.ROUTINE)
    assert desk.release_with(means, hold_id).result is Result.DONE
    assert town.origin(way).since(before).nothing, "a release sends nothing by itself"
    assert redeemed(town, hold_id, chain) == 200
    assert redeemed(town, hold_id, chain) == 403
    (seen,) = town.origin(way).since(before).requests
    assert (seen.method, seen.target, seen.body) == (method, path, BODY if method == "POST" else b"")
    assert {("X-Order", "A-1"), ("Content-Type", "application/json")} <= set(seen.headers)
    line = approval_line(town, hold_id)
    assert (line["by"], line["signed_with"]) == (SPONSOR, means.value)


@pytest.mark.parametrize("way", WAYS)
def test_on_the_desks_word_alone_nothing_is_released_that_may_change_things(
    town: Town, desk: HouseDesk, way: str
) -> None:
    chain, before = town.house.chain(), town.origin(way).mark()
    _, hold_id = held(town, way, "POST", chain)
    refused = desk.release_with(Means.DESK, hold_id)
    assert (refused.result, "not the desk's" in refused.detail) == (Result.NOT_PERMITTED, True)
    assert town.house.hold(hold_id).state is HoldState.HELD
    assert redeemed(town, hold_id, chain) == 403
    assert town.origin(way).since(before).nothing
    assert desk.release_with(Means.PASSKEY, hold_id).result is Result.DONE
    assert redeemed(town, hold_id, chain) == 200
    assert len(town.origin(way).since(before).requests) == 1
