"""The embedded store dies while released calls are sent: each is sent at most once, and what became of it is told.

`kill -9` at every moment from the claim to the word that it was sent. The proxy brings its store back by itself.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest
from mortal import HELD, WAYS_TO_SEND, Scene, Sending, begin, code, open_scene
from nodes import wait_for, wait_for_state
from workers import workers

from proxy.core.model import HoldState, Verdict

pytestmark = pytest.mark.system

type Calls = Sequence[Sending]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with open_scene(tmp_path_factory.mktemp("house")) as running:
        yield running


def before_the_response(scene: Scene, calls: Calls) -> None:
    """It is back when the responses come."""
    os.kill(scene.store_pid(), signal.SIGKILL)
    scene.wait_for_service()
    for each in calls:
        assert scene.house.hold(each.hold).state is HoldState.RELEASING, "what was claimed stays claimed"
        each.gate.open()


def as_the_response_comes(scene: Scene, calls: Calls) -> None:
    """It is away when they come."""
    os.kill(scene.store_pid(), signal.SIGKILL)
    for each in calls:
        each.gate.open()


def before_it_is_told(scene: Scene, calls: Calls) -> None:
    """It stands still when they come, and dies before it takes in that the calls were sent."""
    pid, before = scene.store_pid(), len(scene.house.output)
    os.kill(pid, signal.SIGSTOP)
    try:
        for each in calls:
            each.gate.open()
            said = f"hold {each.hold} could not be settled"
            wait_for(lambda said=said: any(said in line for line in scene.house.output[before:]), said)
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "dies", [before_the_response, as_the_response_comes, before_it_is_told], ids=lambda dies: dies.__name__
)
def test_each_call_is_sent_once_whenever_the_store_dies_and_its_hold_ends_released(
    scene: Scene, dies: Callable[[Scene, Calls], None]
) -> None:
    serving = workers(scene.house)
    with ExitStack() as ends:
        calls = [begin(scene, how, ends) for how in WAYS_TO_SEND]
        dies(scene, calls)
        scene.wait_for_service()
        for each in calls:
            wait_for_state(scene.house, each.hold, HoldState.RELEASED)
            assert scene.status(each.hold, each.chain) == "released"
    assert [[answer.status for answer in each.answers] for each in calls] == [[], [200], [200]]
    assert scene.response(calls[0]).status == 200, "what was delivered is kept all the same"
    for each in calls:
        assert code(scene.post(each.url, each.chain)) == HELD, "asked for again, it is held anew"
        assert scene.sent(each.url) == 1
    assert workers(scene.house) == serving, "the same worker serves"


def test_a_claim_that_the_store_never_took_in_is_none(scene: Scene) -> None:
    """It dies before the claim is durable: nothing may leave, and the release still counts, once."""
    url, chain = scene.fresh("orders"), scene.house.chain()
    hold = str(json.loads(scene.post(url, chain).body)["task"]["id"])
    scene.house.decide(hold, Verdict.ALLOW)
    pid = scene.store_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert scene.post(url, chain).status == 503
    finally:
        os.kill(pid, signal.SIGKILL)
    scene.wait_for_service()
    assert (scene.house.hold(hold).state, scene.sent(url)) == (HoldState.APPROVED, 0)
    assert (scene.post(url, chain).status, scene.sent(url)) == (200, 1)
    assert scene.house.hold(hold).state is HoldState.RELEASED
