"""The connection: what it refuses to be told, what it does without an answer, and which servers it trusts."""

import asyncio
import re
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

import identities
import pytest
from held import ROOMY, draft
from relays import Relay
from valkeys import Valkey

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.holds import Event
from proxy.core.model import Evidence, Proof
from proxy.stores.redis import COMMAND_CONNECTIONS, RedisServer, Refused
from proxy.stores.redis_control import RedisControl
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.redis_probe import ServerFacts, default_user_writes, judge_server, losses, probe, setting
from proxy.stores.redis_replays import RedisReplays
from proxy.stores.statements import Statements

PROMISED_S = 2.0


# --- URLs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "where", "username"),
    [
        ("redis://cache.example:6380/1", "cache.example:6380", "default"),
        ("rediss://edge:s3cret@cache.example", "cache.example:6379", "edge"),
        ("rediss://cache.example?username=edge&db=2", "cache.example:6379", "edge"),
        ("unix:///run/valkey.sock?password=s3cret", "/run/valkey.sock", "default"),
        ("redis+sentinel://edge:s3cret@a.example,b.example/holds", "holds of a.example:26379,b.example:26379", "edge"),
        ("redis+cluster://a.example,b.example:7000", "a.example:6379,b.example:7000", "default"),
    ],
)
async def test_a_url_is_taken(url, where, username):
    server = RedisServer(url)
    assert (server.where, server.username) == (where, username)
    assert "s3cret" not in repr(server)
    await server.close()


@pytest.mark.parametrize(
    "url",
    [
        "cache.example:6379",
        "http://cache.example",
        "redis://",
        "unix://",
        "redis://cache.example:port",
        "redis://:s3cret@cache.example?socket_timeout=60",
        "rediss://:s3cret@cache.example?ssl_cert_reqs=none",
        "redis://:s3cret@cache.example?retry_on_timeout=yes",
    ],
)
def test_a_url_that_is_none_or_weakens_the_connection_is_refused(url):
    with pytest.raises(Rejected) as caught:
        RedisServer(url)
    assert (caught.value.code, caught.value.field) == (Code.CONFIG_INVALID, "redis_url")
    assert "s3cret" not in str(caught.value)


# --- when it does not answer -----------------------------------------------------------------------------------------


async def attempts(server):
    holds = RedisHolds(server)
    yield lambda: holds.file(draft(), b"", ttl_s=60, caps=ROOMY)
    yield lambda: holds.get("any")
    yield holds.sweep
    yield holds.listing
    yield holds.cursor
    yield lambda: anext(holds.news())


async def test_a_frozen_server_is_given_up_within_the_promise_and_serves_again_when_it_thaws():
    with Valkey() as valkey:
        server = RedisServer(valkey.url)
        holds = RedisHolds(server)
        assert await holds.listing() == ()
        valkey.freeze()
        started_s = time.monotonic()
        waiting = [attempt() async for attempt in attempts(server)]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert time.monotonic() - started_s < PROMISED_S
        assert {getattr(outcome, "code", outcome) for outcome in outcomes} == {Code.STORE_DOWN}
        valkey.thaw()
        assert await holds.listing() == ()
        await server.close()


async def test_a_server_that_is_gone_is_unavailable_and_serves_again_when_it_is_back():
    with Valkey() as valkey:
        server = RedisServer(valkey.url)
        holds = RedisHolds(server)
        hold = (await holds.file(draft(), b"sealed", ttl_s=600, caps=ROOMY)).hold
        valkey.kill()
        async for attempt in attempts(server):
            with pytest.raises(Unavailable) as caught:
                await attempt()
            assert caught.value.code is Code.STORE_DOWN
        valkey.start()
        assert await holds.get(hold.id) == hold
        assert await holds.sealed(hold.id) == b"sealed"
        await server.close()


async def test_a_wrong_password_is_unavailable_and_never_repeated():
    with Valkey(requirepass="right") as valkey:
        server = RedisServer(f"{valkey.url}?password=wr0ng")
        with pytest.raises(Unavailable) as caught:
            await server.command("PING")
        assert caught.value.code is Code.STORE_DOWN
        assert "wr0ng" not in str(caught.value)
        await server.close()


async def test_an_error_for_an_answer_is_unavailable_and_does_not_echo_what_was_sent(server):
    with pytest.raises(Refused, match=r"refused HSETT: ResponseError$") as caught:
        await server.command("HSETT", "key", "s3cret")
    assert caught.value.code is Code.STORE_DOWN


@pytest.mark.parametrize(
    ("setting_name", "value", "restored"),
    [
        pytest.param("maxmemory", "1", "0", id="a server that is full"),
        pytest.param("min-replicas-to-write", "1", "0", id="a server that accepts no writes"),
    ],
)
async def test_a_server_that_cannot_write_is_unavailable_until_it_can(server, valkey, setting_name, value, restored):
    holds = RedisHolds(server)
    with valkey.client() as client:
        client.config_set(setting_name, value)
        try:
            with pytest.raises(Unavailable) as caught:
                await holds.file(draft(), b"", ttl_s=60, caps=ROOMY)
            assert caught.value.code is Code.STORE_DOWN
        finally:
            client.config_set(setting_name, restored)
    assert (await holds.file(draft(), b"", ttl_s=60, caps=ROOMY)).created


async def test_a_cancelled_command_leaves_no_answer_behind_for_the_next(valkey):
    server = RedisServer(valkey.url)
    await server.command("SET", "{ip:0}:a", "answer to another question")
    for _ in range(20):
        asking = asyncio.ensure_future(server.command("GET", "{ip:0}:a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        assert await server.command("ECHO", "mine") == b"mine"
    await server.close()


@pytest.mark.parametrize("password", ["", "right"], ids=["no password", "a password"])
async def test_a_connection_whose_greeting_was_late_answers_nobody_else(password):
    """What comes late is the answer to AUTH; it must not be taken for that to the next command."""
    with Valkey(requirepass=password) as valkey, Relay(valkey.directory / "s") as relay:
        server = RedisServer(f"redis://:{password}@127.0.0.1:{relay.port}")
        for _ in range(3):
            relay.delay_s = 0.7
            with pytest.raises(Unavailable):
                await server.command("ECHO", "late")
            relay.delay_s = 0.0
            assert await server.command("ECHO", "mine") == b"mine"
        await server.close()


async def test_more_calls_than_connections_wait_for_one(valkey):
    server = RedisServer(valkey.url)
    asked = [str(number) for number in range(COMMAND_CONNECTIONS + 8)]
    replies = await asyncio.gather(*(server.command("ECHO", number) for number in asked))
    assert replies == [number.encode() for number in asked]
    await server.close()


# --- when it answers something else ----------------------------------------------------------------------------------


@asynccontextmanager
async def saying(tmp_path, answer: bytes):
    """Our connection to a program that gives one answer to everything."""

    async def talk(reader, writer):
        while await reader.read(65_536):
            writer.write(answer)
        writer.close()

    listening = await asyncio.start_unix_server(talk, tmp_path / "s")
    server = RedisServer(f"unix://{tmp_path}/s")
    try:
        yield server
    finally:
        await server.close()
        listening.close()
        await listening.wait_closed()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"+OK\r\n", id="a word"),
        pytest.param(b":7\r\n", id="a number"),
        pytest.param(b"*1\r\n*1\r\n:1\r\n", id="lists of numbers"),
        pytest.param(b"*1\r\n*2\r\n$1\r\nx\r\n*1\r\n:5\r\n", id="a stream of something else"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="another protocol"),
    ],
)
async def test_an_answer_that_is_none_is_unavailable(tmp_path, answer):
    async with saying(tmp_path, answer) as server:
        holds, replays = RedisHolds(server), RedisReplays(server, deployment="edge-test")
        evidence = Evidence(proof=Proof.REQUEST, keyid="k", created=datetime.now(UTC), nonce="n")
        for ask in (
            lambda: holds.file(draft(), b"", ttl_s=60, caps=ROOMY),
            lambda: holds.get("any"),
            lambda: holds.sealed("any"),
            lambda: holds.apply("any", Event.APPROVE),
            lambda: anext(holds.news("0-1")),
            replays.ready,
            lambda: replays.spend(evidence),
        ):
            with pytest.raises(Unavailable) as caught:
                await ask()
            assert caught.value.code is Code.STORE_DOWN
        with pytest.raises((Rejected, Unavailable)):
            await probe(server)
        with suppress(Unavailable):
            assert await holds.listing() == (await holds.sweep()).ended == ()


async def test_a_view_is_not_taken_from_an_answer_that_is_none(tmp_path):
    async with saying(tmp_path, b"+OK\r\n") as server:
        control = RedisControl(server, Statements(identities.bundle))
        with pytest.raises(Unavailable):
            await control.ready()
        with pytest.raises(Unavailable) as caught:
            control.view()
        assert caught.value.code is Code.VIEW_STALE


# --- which servers are trusted ---------------------------------------------------------------------------------------

GOOD = ServerFacts(
    where="cache.example:6379",
    valkey=False,
    version=(7, 2, 5),
    role="master",
    cluster=False,
    maxmemory_policy="noeviction",
    aof=True,
    snapshots=False,
    default_user_writes=True,
)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="with an append-only file"),
        pytest.param({"aof": False, "snapshots": True}, id="with snapshots only"),
        pytest.param({"version": (7, 0, 0)}, id="the oldest there may be"),
        pytest.param(
            {"valkey": True, "version": (9, 1, 2), "default_user_writes": False},
            id="default user off, where it is safe",
        ),
        pytest.param(
            {"aof": False, "snapshots": True, "default_user_writes": False}, id="default user off, without an AOF"
        ),
    ],
)
def test_a_server_is_trusted(changes):
    judge_server(replace(GOOD, **changes), ephemeral=False)


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        pytest.param({"version": (6, 2, 14)}, "Redis 7.0 or newer", id="too old"),
        pytest.param({"version": ()}, "Redis 7.0 or newer", id="of no version"),
        pytest.param({"cluster": True}, "redis+cluster://", id="a cluster"),
        pytest.param({"role": "slave"}, "URL of the primary", id="a replica"),
        pytest.param({"maxmemory_policy": "allkeys-lru"}, "`maxmemory-policy noeviction`", id="one that evicts"),
        pytest.param({"aof": False}, "`appendonly yes`", id="one without persistence"),
        pytest.param(
            {"version": (7, 0, 15), "default_user_writes": False}, "`user default on", id="Redis 7.0, default user off"
        ),
        pytest.param(
            {"valkey": True, "version": (8, 1, 4), "default_user_writes": False},
            "`user default on",
            id="Valkey 8.1, default user off",
        ),
    ],
)
def test_a_server_that_would_lose_holds_is_refused_with_the_fix(changes, fix):
    with pytest.raises(Rejected) as caught:
        judge_server(replace(GOOD, **changes), ephemeral=False)
    assert caught.value.code is Code.CONFIG_INVALID
    assert fix in caught.value.detail
    assert "cache.example:6379" in caught.value.detail


@pytest.mark.parametrize(
    ("changes", "replicas", "failover", "said"),
    [
        pytest.param({}, 0, False, "", id="every write on disk, and nobody follows"),
        pytest.param({"replicas": 2}, 1, True, "", id="replicas confirm"),
        pytest.param({"replicas": 2}, 0, False, "`?redis_replicas: 1", id="replicas, and none confirms"),
        pytest.param({}, 0, True, "redis_replicas: 1", id="Sentinels, and no replica confirms"),
        pytest.param({"appendfsync": "everysec"}, 0, False, "`appendfsync always`", id="a disk once a second"),
        pytest.param({"appendfsync": ""}, 0, False, r"\+config\|get", id="one that does not tell"),
        pytest.param({"rewrites_unsynced": True}, 0, False, "`no-appendfsync-on-rewrite no`", id="no disk meanwhile"),
        pytest.param({"aof": False, "snapshots": True}, 0, False, "last snapshot", id="snapshots"),
        pytest.param({"aof": False}, 0, False, "loses every hold.*`appendonly yes`", id="no disk at all"),
    ],
)
def test_what_a_server_may_lose_is_told_with_the_fix(changes, replicas, failover, said):
    lines = losses(replace(GOOD, **changes), replicas=replicas, failover=failover)
    assert len(lines) == bool(said)
    assert not said or re.search(said, lines[0])
    assert all("cache.example:6379" in line for line in lines)


@pytest.mark.parametrize(
    "changes", [{"aof": False, "snapshots": True}, {"version": (7, 0, 15)}], ids=["without an AOF", "too old to wait"]
)
def test_a_server_that_cannot_wait_for_replicas_disks_is_refused_where_it_should(changes):
    judge_server(replace(GOOD, **changes), ephemeral=False)
    with pytest.raises(Rejected, match=r"Redis 7\.2"):
        judge_server(replace(GOOD, **changes), ephemeral=False, replicas=1)


def test_a_node_of_a_cluster_is_trusted_behind_the_url_of_one():
    judge_server(replace(GOOD, cluster=True), ephemeral=False, cluster=True)


def test_ephemeral_waives_persistence_and_nothing_else():
    judge_server(replace(GOOD, aof=False), ephemeral=True)
    with pytest.raises(Rejected, match="maxmemory-policy"):
        judge_server(replace(GOOD, aof=False, maxmemory_policy="volatile-ttl"), ephemeral=True)


@pytest.mark.parametrize(
    ("settings", "fix"),
    [
        pytest.param({"maxmemory-policy": "allkeys-lru"}, "maxmemory-policy noeviction", id="an evicting policy"),
        pytest.param({"appendonly": "no"}, "appendonly yes", id="no persistence"),
    ],
)
async def test_a_real_server_is_probed(server, valkey, settings, fix):
    await probe(server)
    with valkey.client() as client:
        before = {name: client.config_get(name)[name] for name in settings}
        try:
            for name, value in settings.items():
                client.config_set(name, value)
            with pytest.raises(Rejected, match=fix) as caught:
                await probe(server)
            assert caught.value.code is Code.CONFIG_INVALID
            if "appendonly" in settings:
                await probe(server, ephemeral=True)
                client.config_set("save", "3600 1")
                await probe(server)
                client.config_set("save", "")
        finally:
            for name, value in before.items():
                client.config_set(name, value)


async def test_a_server_that_is_away_is_not_trusted():
    server = RedisServer("unix:///nowhere/valkey.sock")
    with pytest.raises(Unavailable) as caught:
        await probe(server)
    assert caught.value.code is Code.STORE_DOWN
    await server.close()


async def test_this_valkey_keeps_scripted_writes_with_its_default_user_off(tmp_path):
    """If this fails, the version in `redis_probe.REPLAYS_AS_WRITTEN` is wrong."""
    users = tmp_path / "users.acl"
    users.write_text("user default off\nuser edge on >s3cret ~* &* +@all\n")
    with Valkey(aclfile=str(users)) as valkey:
        server = RedisServer(valkey.url.replace("unix://", "unix://edge@") + "?password=s3cret")
        holds = RedisHolds(server)
        await probe(server)
        assert not await default_user_writes(server)
        hold = (await holds.file(draft(), b"sealed", ttl_s=600, caps=ROOMY)).hold
        await server.close()
        valkey.restart()
        assert await holds.get(hold.id) == hold
        await server.close()


async def test_the_default_user_is_asked_after(server, valkey):
    with valkey.client() as client:
        client.acl_setuser("edge", enabled=True, nopass=True, categories=["+@all"], keys=["*"])
        client.acl_setuser("narrow", enabled=True, nopass=True, categories=["+@all"], commands=["-acl"], keys=["*"])
        for name, told in (("default", True), ("edge", True), ("narrow", False)):
            named = RedisServer(valkey.url.replace("unix://", f"unix://{name}@") + "?password=any")
            assert await default_user_writes(named) is told
            await named.close()
        client.acl_deluser("edge", "narrow")


async def test_a_setting_that_the_server_keeps_to_itself_is_empty(server, valkey):
    assert await setting(server, "appendfsync") == "always"
    with valkey.client() as client:
        client.acl_setuser("narrow", enabled=True, nopass=True, categories=["+@all"], commands=["-config"], keys=["*"])
    narrow = RedisServer(valkey.url.replace("unix://", "unix://narrow@") + "?password=any")
    assert await setting(narrow, "appendfsync") == ""
    await narrow.close()
    with valkey.client() as client:
        client.acl_deluser("narrow")
