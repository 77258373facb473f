"""The journal is durable before the first upstream byte: seen by the kernel, for 200 calls at the same time."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import tracing
from houses import WAYS
from origins import Connection
from plant_house import running
from rawclient import Response, Wire, request_bytes
from tracing import Syscall, read_trace

CALLS = 200
ATTEMPTS = 5
SENDS = {"sendto", "write", "writev", "sendmsg"}


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What the agents got, what the origins saw, and the trace of the worker between them."""

    answers: dict[str, Response]  # by URL
    connections: dict[str, tuple[Connection, int]]  # by URL: what the origin saw, and the origin's port
    trace: list[Syscall]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    if not tracing.available():
        pytest.skip(tracing.INSTALL)
    folder = tmp_path_factory.mktemp("watched")
    log, answers = folder / "trace", {}
    (folder / "house").mkdir()
    with running(folder / "house", worker=tracing.strace(log)) as town:
        chain, together = town.house.chain(), threading.Barrier(CALLS)

        def call(number: int, wire: Wire) -> None:
            way = WAYS[number % 2]
            for attempt in range(ATTEMPTS):
                path = f"/v1/invoices/{number}-{attempt}"
                url = town.url(way, path)
                lines = [("Host", url.split("/")[2]), *town.house.signed("GET", url, chain=chain)]
                data = request_bytes("GET", url if way == "plain" else path, lines)
                if attempt == 0:
                    together.wait()
                wire.extend(60)
                wire.send(data)
                answers[url] = wire.response()
                if answers[url].status != 503:  # under strace a decision may take longer than it is given
                    break
            wire.close()

        wires = [town.house.open(town.url(WAYS[number % 2], "/"), timeout_s=60) for number in range(CALLS)]
        threads = [threading.Thread(target=call, args=each) for each in enumerate(wires)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        connections = {
            origin.url(request.target, host="erp.example"): (connection, origin.port)
            for origin in (town.plain, town.tls)
            for connection in origin.connections
            for request in connection.requests
        }
    yield Watched(answers=answers, connections=connections, trace=read_trace(log))


@dataclass(frozen=True, kw_only=True)
class Line:
    """A decision line on its way to the disk."""

    written: Syscall
    durable: Syscall | None  # the first sync of its file that began after it was written, and succeeded


def decision_lines(trace: list[Syscall]) -> dict[str, Line]:
    """The line of every allowed call, by its URL."""
    found: dict[str, Line] = {}
    for written in trace:
        if written.name != "write" or "/journal/" not in written.what:
            continue
        assert written.result == len(written.data), "a line was cut"
        syncs = (each for each in trace if each.name == "fdatasync" and each.what == written.what)
        durable = next((each for each in syncs if each.began > written.ended and each.result == 0), None)
        for text in written.data.splitlines():
            line = json.loads(text)
            if line["kind"] == "decision" and line["verdict"] == "allow":
                assert line["url"] not in found
                found[line["url"]] = Line(written=written, durable=durable)
    return found


def too_early(watched: Watched, trace: list[Syscall]) -> list[str]:
    """Every call whose connection was dialled, or written to, before its line was durable."""
    lines, faults = decision_lines(trace), []
    for url, (connection, port) in watched.connections.items():
        sends = [
            each for each in trace if each.name in SENDS and each.what == f"TCP:[{connection.peer}->127.0.0.1:{port}]"
        ]
        assert sends, f"the trace does not show what was sent to {connection.peer}"
        first = sends[0]
        dialled = [
            each
            for each in trace
            if each.name == "connect" and each.number == first.number and f"htons({port})" in each.rest
        ]
        began = max(each.began for each in dialled if each.began < first.began)
        durable = lines[url].durable
        if durable is None or not durable.ended < began < first.began:
            faults.append(url)
    return faults


def test_every_call_arrives_and_none_that_was_refused(watched: Watched) -> None:
    passed = {url for url, answer in watched.answers.items() if answer.status == 200}
    assert len(passed) == CALLS
    assert watched.connections.keys() == passed
    assert sum(len(connection.requests) for connection, _ in watched.connections.values()) == CALLS


def test_no_connection_is_dialled_before_the_decision_is_durable(watched: Watched) -> None:
    assert len(decision_lines(watched.trace)) >= CALLS
    assert too_early(watched, watched.trace) == []


def test_the_same_look_finds_every_call_when_the_syncs_are_taken_out(watched: Watched) -> None:
    assert len(too_early(watched, [each for each in watched.trace if each.name != "fdatasync"])) == CALLS


def test_concurrent_calls_share_their_syncs(watched: Watched) -> None:
    syncs = [each for each in watched.trace if each.name == "fdatasync" and "/journal/" in each.what]
    assert 0 < len(syncs) < CALLS
