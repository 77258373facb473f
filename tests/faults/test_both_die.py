"""The embedded store and the worker die at once while calls are sent: nobody knows what arrived, and that is told."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from mortal import WAYS_TO_SEND, begin, code, open_scene
from nodes import kill_workers, wait_for_state

from proxy.core.model import HoldState

pytestmark = pytest.mark.system


def test_nobody_knows_what_arrived_and_nobody_sends_it_again(tmp_path: Path) -> None:
    with open_scene(tmp_path / "house") as scene, ExitStack() as ends:
        calls = [begin(scene, how, ends) for how in WAYS_TO_SEND]
        os.kill(scene.store_pid(), signal.SIGKILL)
        kill_workers(scene.house)
        for each in calls:
            each.gate.open()
        scene.wait_for_service(within_s=20)
        for each in calls:
            wait_for_state(scene.house, each.hold, HoldState.UNCERTAIN)
            assert scene.status(each.hold, each.chain) == "uncertain"
            assert code(scene.post(each.url, each.chain)) == "hold.uncertain"
        lost = [line["hold_id"] for line in scene.house.journal("hold") if line["event"] == "lost"]
        assert sorted(map(str, lost)) == sorted(each.hold for each in calls)
        scene.wait_for_service()
        assert [scene.sent(each.url) for each in calls] == [1, 1, 1]
