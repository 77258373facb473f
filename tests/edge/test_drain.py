"""Stopping: what is under way is finished, what is idle is not waited for, and nobody new is let in."""

import threading
import time
from collections.abc import Iterator

import pytest
from origin_replies import Gate, Reply
from rawclient import request_bytes
from towns import Town, open_town


@pytest.fixture
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with open_town(tmp_path_factory.mktemp("drained")) as running:
        yield running


def test_a_response_under_way_is_finished_and_idle_connections_do_not_delay(town: Town) -> None:
    gate, url = Gate(), town.url("plain", "/v1/invoices/77")
    town.plain.on("GET", "/v1/invoices/77", Reply(stream=(b"one", gate, b"two")))
    codes: list[int] = []
    with town.house.open(url) as idle, town.house.open(url) as busy:
        assert town.house.call("GET", town.url("plain", "/v1/invoices/17"), wire=idle).status == 200
        lines = town.house.signed("GET", url, chain=town.house.chain())
        busy.send(request_bytes("GET", url, [("Host", url.split("/")[2]), *lines]))
        busy.head()
        assert busy.chunk() == b"one"
        started_s = time.monotonic()
        stopping = threading.Thread(target=lambda: codes.append(town.house.stop()))
        stopping.start()
        assert idle.ended()
        gate.open()
        assert busy.chunk() == b"two"
        stopping.join(15)
    assert codes == [0]
    assert time.monotonic() - started_s < 10
