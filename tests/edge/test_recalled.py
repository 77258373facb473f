"""What was released, open or waiting before a stop does not come back when the agent may go on: as the origin saw it.

Each has its twin: the same after the stop is over.
"""

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import identities
import pytest
from desks import HouseDesk
from nodes import wait_for, wait_for_state
from rawclient import Response
from shots import PROMISE_S
from towns import Town
from under_way import CUT, stream

from proxy.core.control import Act
from proxy.core.model import HoldState, Verdict
from proxy.review.granting import Width
from proxy.review.service import Result

pytestmark = pytest.mark.system

STOPS = {
    "a quarantine": (Act.QUARANTINE, identities.AGENT, Act.RESTORE),
    "the kill switch": (Act.KILL_ON, "*", Act.KILL_OFF),
}
stops = pytest.mark.parametrize(("stop", "target", "resume"), STOPS.values(), ids=STOPS.keys())


@pytest.fixture
def town(delivering_town: Town) -> Iterator[Town]:
    yield delivering_town
    after_this_second()


def stopped_for_a_moment(town: Town, stop: Act, target: str, resume: Act) -> None:
    """On and off again before any worker need have looked."""
    town.house.stop_by(stop, target, by=identities.REVIEWER, reason="incident 4711")
    time.sleep(0.002)  # two words of one millisecond, and the stop would stand
    town.house.stop_by(resume, target)


def after_this_second() -> None:
    """People sign in whole seconds: what is said in the second of a stop counts as said before it."""
    time.sleep(1.05 - time.time() % 1)


def goes_on(town: Town, chain: Sequence[str]) -> bool:
    """Whether both workers let the agent's calls pass."""
    url = town.url("plain", "/v1/invoices/17")
    return all(town.house.call("GET", url, chain=chain).status == 200 for _ in range(6))


def payroll(town: Town) -> str:
    return town.url("plain", f"/v1/payroll/{secrets.token_hex(6)}")


def held(answer: Response) -> str:
    assert answer.status == 403, answer
    document = json.loads(answer.body)
    assert document["task"]["status"] == "held", document
    assert document["retry"]["action"] == "wait"
    return str(document["task"]["id"])


@stops
def test_what_was_released_before_a_stop_is_released_again_or_not_sent(
    town: Town, stop: Act, target: str, resume: Act
) -> None:
    chain, url = town.house.chain(), payroll(town)
    hold = held(town.house.call("GET", url, chain=chain))
    town.house.decide(hold, Verdict.ALLOW)
    before = town.plain.mark()
    stopped_for_a_moment(town, stop, target, resume)
    wait_for(lambda: goes_on(town, chain), "it may go on")
    asked = town.plain.mark()
    assert held(town.house.call("GET", url, chain=chain)) == hold, "the same hold, which waits for a person again"
    document = json.loads(town.house.call("GET", f"http://intent.internal/holds/{hold}", chain=chain).body)
    assert (document["status"], document["decided_at"]) == ("held", None)
    assert held(town.house.call("POST", f"http://intent.internal/holds/{hold}/redeem", chain=chain)) == hold
    assert town.plain.since(asked).nothing

    lines = wait_for(
        lambda: [line for line in town.house.journal("hold") if (line["hold_id"], line["event"]) == (hold, "recall")],
        "the recall is journaled",
    )
    assert [(line["by"], line["reason"]) for line in lines] == [(identities.REVIEWER, "incident 4711")]
    after_this_second()
    assert HouseDesk(house=town.house).release(hold).result is Result.DONE
    assert town.house.call("GET", url, chain=chain).status == 200
    seen = [request.target for request in town.plain.since(before).requests]
    assert seen.count(url[url.index("/v1") :]) == 1


@stops
def test_a_node_delivers_nothing_that_was_released_before_a_stop(
    town: Town, stop: Act, target: str, resume: Act
) -> None:
    chain, lines = town.house.chain(), [("Content-Type", "application/json")]
    path = f"/v1/payments/{secrets.token_hex(6)}"
    answer = town.house.call(
        "POST", town.url("plain", path), chain=chain, headers=lines, body=b'{"amount": 17}', intent=""
    )
    hold, before = held(answer), town.plain.mark()
    town.house.stop_by(stop, target)
    try:
        town.house.decide(hold, Verdict.ALLOW)  # by a program that does not ask what is stopped
        wait_for_state(town.house, hold, HoldState.HELD)
    finally:
        after_this_second()
        town.house.stop_by(resume, target)
    wait_for(lambda: goes_on(town, chain), "it may go on")
    assert path not in [request.target for request in town.plain.since(before).requests]
    assert town.house.hold(hold).state is HoldState.HELD
    after_this_second()
    town.house.decide(hold, Verdict.ALLOW)
    wait_for_state(town.house, hold, HoldState.RELEASED)
    assert [request.target for request in town.plain.since(before).requests].count(path) == 1


def test_another_agents_release_and_grant_stay(town: Town) -> None:
    """Each agent of a mandate, or of another, is stopped by itself."""
    root = town.house.root(sub=identities.HELPER)
    chain = (root, identities.child(root, now=town.now(), jti=f"l-{secrets.token_hex(6)}", lifetime_s=1800))
    urls = [payroll(town) for _ in range(3)]
    first, second = (held(town.house.call("GET", url, chain=chain)) for url in urls[:2])
    HouseDesk(house=town.house).grant(first, Width(path="/v1/payroll/{id}", count=2))
    town.house.decide(second, Verdict.ALLOW)
    stopped_for_a_moment(town, *STOPS["a quarantine"])
    assert [town.house.call("GET", url, chain=chain).status for url in urls] == [200, 200, 200]
    assert "recall" not in {line["event"] for line in town.house.journal("hold") if line["hold_id"] == second}


@stops
def test_what_is_open_ends_though_the_stop_is_over_before_anybody_looked(
    town: Town, stop: Act, target: str, resume: Act
) -> None:
    chain, url = town.house.chain(), payroll(town)
    code = "agent.quarantined" if stop is Act.QUARANTINE else "stop.kill_switch"
    with ExitStack() as ends, ThreadPoolExecutor(1) as pool:
        flow = stream(town.house, town.plain, chain, ends)
        waiting = pool.submit(town.house.call, "GET", url, chain=chain, headers=[("Prefer", "wait=20")], timeout_s=30.0)
        town.wait_for_hold(chain)
        stopped_for_a_moment(town, stop, target, resume)
        deadline_s = time.monotonic() + PROMISE_S
        assert flow.aborted(PROMISE_S), "the stream goes on"
        told = json.loads(waiting.result(max(0.01, deadline_s - time.monotonic())).body)["code"]
        assert told in ("mandate.not_covered", code), "held, or stopped where somebody did look in between"
        assert flow.goes_on() == CUT
        wait_for(lambda: goes_on(town, chain), "it may go on")
        twin = stream(town.house, town.plain, chain, ends)
        assert twin.goes_on() == "whole"
