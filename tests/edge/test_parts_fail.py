"""When a part fails: nothing leaves, the agent is told within two seconds, and service returns by itself."""

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest
from houses import WAYS
from towns import Town, open_town

from proxy.core.model import Verdict
from proxy.stores.embedded import EmbeddedStore

CAPS = """\
holds:
  open_per_mandate: 3
"""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A town of its own: its store is killed."""
    with open_town(tmp_path_factory.mktemp("fragile"), extra=CAPS) as running:
        yield running


@pytest.mark.parametrize("way", WAYS)
def test_a_frozen_store_is_a_503_within_two_seconds_and_service_returns(town: Town, way: str) -> None:
    url, origin = town.url(way, "/v1/invoices/17"), town.origin(way)
    assert town.house.call("GET", url).status == 200
    pid = EmbeddedStore(town.house.settings.state).pid()
    assert pid is not None
    before = origin.mark()
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(3):
            started_s = time.monotonic()
            answer = town.house.call("GET", url)
            assert answer.status == 503, answer
            assert json.loads(answer.body)["code"].startswith("service.")
            assert answer.header("retry-after") is not None
            assert time.monotonic() - started_s < 2.0
    finally:
        os.kill(pid, signal.SIGCONT)
    assert origin.since(before).nothing
    _returns_within(town, url, 5.0)


@pytest.mark.parametrize("way", WAYS)
def test_a_killed_store_comes_back_with_every_hold(town: Town, way: str) -> None:
    chain, url = town.house.chain(), town.url(way, "/v1/payroll/1")
    hold_id = json.loads(town.house.call("GET", url, chain=chain).body)["task"]["id"]
    pid = EmbeddedStore(town.house.settings.state).pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    _returns_within(town, town.url(way, "/v1/invoices/17"), 8.0)
    town.house.decide(hold_id, Verdict.ALLOW)
    assert town.house.call("GET", url, chain=chain).status == 200


@pytest.mark.parametrize("way", WAYS)
def test_past_the_cap_a_call_is_refused_and_nothing_is_lost(town: Town, way: str) -> None:
    chain, origin = town.house.chain(), town.origin(way)
    before = origin.mark()
    held = [town.house.call("GET", town.url(way, f"/v1/payroll/{n}"), chain=chain) for n in range(3)]
    assert [answer.status for answer in held] == [403] * 3
    capped = town.house.call("GET", town.url(way, "/v1/payroll/99"), chain=chain)
    assert (capped.status, json.loads(capped.body)["code"]) == (429, "hold.cap_reached")
    assert capped.header("retry-after") is not None
    again = town.house.call("GET", town.url(way, "/v1/payroll/0"), chain=chain)
    assert json.loads(again.body)["task"] == json.loads(held[0].body)["task"] | {
        "expires_at": json.loads(again.body)["task"]["expires_at"]
    }
    assert town.house.call("GET", town.url(way, "/v1/invoices/17"), chain=chain).status == 200, "covered calls go on"
    assert [request.target for request in origin.since(before).requests] == ["/v1/invoices/17"]


def _returns_within(town: Town, url: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if town.house.call("GET", url).status == 200:
            return
        time.sleep(0.1)
    raise AssertionError(f"no service within {seconds} s: {''.join(town.house.output)[-2000:]}")
