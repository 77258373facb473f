"""Passkeys that operators take away, and desks: what was released and not sent yet is not sent (a house of its own)."""

import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import identities
import pytest
from authenticators import authenticator
from desks import HouseDesk
from identities import SPONSOR
from nodes import wait_for, wait_for_state
from towns import Town, open_town

from proxy.core.keys import jwk
from proxy.core.model import HoldState, Means
from proxy.policy.bundle import load_bundle, sign_bundle
from proxy.policy.passkeys import passkey_line
from proxy.review.service import Result

pytestmark = pytest.mark.system  # each waits until a node has taken up another bundle

PASSKEY = f"    passkeys: [{passkey_line(authenticator(SPONSOR).passkey)}]\n"
DESK = json.dumps(jwk(identities.key("desk").public))


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with open_town(tmp_path_factory.mktemp("desk-policy"), workers=1) as running:
        yield running


def held(town: Town, chain: tuple[str, str], method: str) -> str:
    url = town.url("plain", f"/v1/orders/{secrets.token_hex(6)}")
    answer = town.house.call(method, url, chain=chain, body=b"{}" if method == "POST" else None)
    assert answer.status == 403, answer
    return str(json.loads(answer.body)["task"]["id"])


def redeem(town: Town, hold_id: str, chain: tuple[str, str]) -> tuple[int, str]:
    answer = town.house.call("POST", f"http://intent.internal/holds/{hold_id}/redeem", chain=chain)
    return answer.status, "" if answer.status == 200 else str(json.loads(answer.body)["code"])


def lapsed(town: Town, hold_id: str) -> list[dict[str, object]]:
    return [line for line in town.house.journal("hold") if (line["hold_id"], line["event"]) == (hold_id, "lapse")]


def without(town: Town, text: str) -> Iterator[None]:
    """The policy without this text in people.yaml, in force at the node; and with it again."""
    return changed(town, town.house.settings.people, text, "")


def changed(town: Town, path: Path, text: str, other: str) -> Iterator[None]:
    """The policy with another text in this file, in force at the node; and with the first again."""
    before = path.read_text()
    assert text in before
    for written in (before.replace(text, other), before):
        told = len(town.house.journal("policy"))
        path.write_text(written)
        sign_bundle(town.house.settings, identities.key("operator"), now=town.now())
        deadline_s = time.monotonic() + 10
        while len(town.house.journal("policy")) == told:
            assert time.monotonic() < deadline_s, "the node did not take up the policy"
            time.sleep(0.05)
        yield


@pytest.mark.parametrize(
    ("text", "method", "means"),
    [
        pytest.param(PASSKEY, "POST", Means.PASSKEY, id="a passkey"),
        pytest.param(DESK, "GET", Means.DESK, id="the desk's key"),
        pytest.param(DESK, "POST", Means.PASSKEY, id="the desk's key, around a passkey's assertion"),
    ],
)
def test_what_is_taken_away_releases_nothing_any_more(town: Town, text: str, method: str, means: Means) -> None:
    desk, chain, before = HouseDesk(house=town.house), town.house.chain(), town.plain.mark()
    hold_id, twin = held(town, chain, method), held(town, chain, method)
    for each in (hold_id, twin):
        assert desk.release_with(means, each).result is Result.DONE
    policies = without(town, text)
    next(policies)
    assert redeem(town, hold_id, chain) == (403, "release.invalid")
    assert town.plain.since(before).nothing
    next(policies)
    assert redeem(town, twin, chain) == (200, "")
    assert len(town.plain.since(before).requests) == 1


def test_a_call_that_may_change_things_by_todays_rules_is_decided_by_todays_rules(town: Town) -> None:
    """Else the desk's word is recorded, no node sends the call, and nobody can decide it any more."""
    chain, before = town.house.chain(), town.plain.mark()
    hold_id, twin = held(town, chain, "GET"), held(town, chain, "GET")
    assert HouseDesk(house=town.house).release_with(Means.DESK, twin).result is Result.DONE
    policies = changed(town, town.house.folder / "clusters.yaml", "risk: routine", "risk: transformative")
    next(policies)
    settings = town.house.settings
    desk = HouseDesk(house=replace(town.house, bundle=load_bundle(settings, dev=False, floor=0)))
    refused = desk.release_with(Means.DESK, hold_id)
    assert (refused.result, "not the desk's" in refused.detail) == (Result.NOT_PERMITTED, True)
    wait_for_state(town.house, twin, HoldState.HELD)  # by today's rules it must name its node: a node took it back
    assert [(line["by"], line["reason"]) for line in wait_for(lambda: lapsed(town, twin), "it is journaled")] == [
        (SPONSOR, ANY)
    ]
    assert redeem(town, twin, chain)[0] == 403
    assert redeem(town, hold_id, chain)[0] == 403
    assert town.plain.since(before).nothing
    assert desk.release_with(Means.PASSKEY, hold_id).result is Result.DONE
    assert redeem(town, hold_id, chain) == (200, "")
    assert len(town.plain.since(before).requests) == 1
    assert desk.release_with(Means.PASSKEY, twin).result is Result.DONE
    assert redeem(town, twin, chain) == (200, "")
    assert redeem(town, twin, chain)[0] == 403
    assert len(town.plain.since(before).requests) == 2, "each once"
    next(policies)
