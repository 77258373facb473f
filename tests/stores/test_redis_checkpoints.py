"""Checkpoints in a real Valkey: the recent ones by line, the latest of every slot for ever."""

from pathlib import Path

import pytest
from journals import Desk, change, fill, remove, tamper
from valkeys import Valkey

from proxy.audit.findings import What
from proxy.core.errors import Code, Unavailable
from proxy.stores import redis_checkpoints
from proxy.stores.redis import RedisServer
from proxy.stores.redis_checkpoints import RedisCheckpoints, read_checkpoints


async def test_a_journal_verifies_from_redis_alone(server: RedisServer, tmp_path: Path) -> None:
    desk = Desk(directory=tmp_path / "journal")
    sink = RedisCheckpoints(server, slot="edge-1-0")
    journal = await desk.open(sinks=[sink])
    await fill(journal, 12)
    await journal.close()
    assert desk.verify(await read_checkpoints(server)).ok
    assert not desk.verify([]).ok
    tamper(desk.path(journal), change(7))
    (finding,) = desk.verify(await read_checkpoints(server)).findings
    assert (finding.line, finding.what) == (7, What.CHANGED)


async def test_once_the_stream_is_trimmed_the_latest_still_binds_everything(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(directory=tmp_path / "journal")
    journal = await desk.open(sinks=[RedisCheckpoints(server, slot="edge-1-0")])
    await fill(journal, 12)
    await journal.close()
    await server.command("DEL", redis_checkpoints.STREAM)
    report = desk.verify(await read_checkpoints(server))
    assert (report.ok, report.files[0].located_lines, report.files[0].unsealed_lines) == (True, 1, 0)
    tamper(desk.path(journal), remove(7))
    finding = desk.verify(await read_checkpoints(server)).findings[0]
    assert (finding.what, finding.line <= 7 <= finding.last_line) == (What.REMOVED, True)


async def test_many_checkpoints_are_read_in_pages(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_checkpoints, "_PAGE", 7)
    sinks = [RedisCheckpoints(server, slot=f"edge-1-{worker}") for worker in range(2)]
    for number in range(20):
        await sinks[number % 2].publish(f"c.{number}")
    found = await read_checkpoints(server)
    assert set(found) == {f"c.{number}" for number in range(20)}
    assert sorted(found[:2]) == ["c.18", "c.19"]


async def test_a_store_that_is_away_is_unavailable(valkey: Valkey) -> None:
    server = RedisServer(valkey.url, deadline_s=1)
    sink = RedisCheckpoints(server, slot="edge-1-0")
    await sink.publish("a.b.c")
    valkey.freeze()
    try:
        with pytest.raises(Unavailable) as caught:
            await sink.publish("d.e.f")
        assert caught.value.code is Code.STORE_DOWN
    finally:
        valkey.thaw()
    await sink.publish("d.e.f")
    assert "d.e.f" in await read_checkpoints(server)
    await server.close()
