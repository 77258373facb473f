"""A primary, its replica and three Sentinels: who is asked, what a failover loses, and what `redis_replicas` keeps."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest
from held import ROOMY, draft
from identities import bundle
from redis_page import PASSWORD, USER, commands
from valkeys import Sentinel, Valkey, on_tcp, wait_until

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.holds import Event
from proxy.core.model import HoldState
from proxy.stores.redis import RedisServer
from proxy.stores.redis_control import RedisControl
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.redis_probe import probe
from proxy.stores.statements import Statements

RETURNS_S = 10.0


@dataclass(frozen=True)
class Watch:
    """What three Sentinels watch."""

    primary: Valkey
    replica: Valkey
    sentinels: tuple[Sentinel, ...]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.address[1]}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/holds"

    def named(self, sentinel: Sentinel) -> int:
        """The port of the primary by this Sentinel's word."""
        with sentinel.client() as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "holds")[1])


@pytest.fixture
def watch() -> Iterator[Watch]:
    with ExitStack() as running:
        primary, replica = (running.enter_context(on_tcp()) for _ in range(2))
        replica.follow(primary)
        sentinels = tuple(running.enter_context(Sentinel(primary, quorum=2)) for _ in range(3))
        for sentinel in sentinels:
            with sentinel.client() as client:
                wait_until(lambda: client.execute_command("SENTINEL", "MASTER", "holds")["num-other-sentinels"] == "2")
        yield Watch(primary, replica, sentinels)


async def until_served(ask, seconds: float = RETURNS_S):
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await ask()
            except Unavailable:
                await asyncio.sleep(0.05)


@pytest.mark.system
async def test_the_replica_that_is_promoted_is_followed_and_nothing_confirmed_is_lost(watch: Watch):
    for sentinel in watch.sentinels:
        with sentinel.client() as client:
            client.execute_command(commands("ACL SETUSER")[-1])
    url = f"{watch.url}?sentinel_username={USER}&sentinel_password={PASSWORD}"
    bare = RedisServer(url)
    (line,) = [line for line in await probe(bare) if "a failover may lose" in line]
    assert "redis_replicas: 1" in line
    await bare.close()

    server = RedisServer(url, replicas=1)
    assert await probe(server) == ()
    holds, control = RedisHolds(server), RedisControl(server, Statements(bundle))
    filed = [(await holds.file(draft(), b"sealed", ttl_s=600, caps=ROOMY)).hold for _ in range(20)]
    await holds.apply(filed[0].id, Event.APPROVE, statement="signed", by="ada")
    await control.ready()
    watch.primary.kill()
    with pytest.raises(Unavailable) as caught:
        await holds.get(filed[0].id)
    assert caught.value.code is Code.STORE_DOWN

    found = await until_served(lambda: holds.get(filed[0].id))
    assert (found.state, found.statement) == (HoldState.APPROVED, "signed")
    assert {hold.id for hold in await holds.listing()} == {hold.id for hold in filed}
    await control.ready()
    with pytest.raises(Unavailable):  # the old one is gone, so nobody confirms any more
        await holds.apply(filed[1].id, Event.APPROVE, statement="signed", by="ada")
    watch.primary.start()
    watch.primary.follow(watch.replica)
    await until_served(lambda: holds.file(draft(), b"", ttl_s=600, caps=ROOMY))
    await server.close()


@pytest.mark.system
async def test_one_sentinel_that_is_cut_off_with_an_old_primary_is_not_believed(watch: Watch):
    astray = watch.sentinels[0]
    with astray.client() as client:  # it now speaks of another server, as if it had missed a failover
        client.execute_command("SENTINEL", "REMOVE", "holds")
        client.execute_command("SENTINEL", "MONITOR", "holds", *watch.replica.address, 3)
    assert watch.named(astray) == watch.replica.address[1]
    server = RedisServer(watch.url)
    (node,) = await server.primaries()
    assert node.host == watch.primary.address
    await server.close()

    alone = RedisServer(f"redis+sentinel://127.0.0.1:{astray.address[1]}/holds")
    with pytest.raises(Unavailable, match="is a slave, no primary"):
        await alone.primaries()
    await alone.close()
    for sentinel in watch.sentinels[1:]:
        sentinel.kill()
    server = RedisServer(watch.url)
    with pytest.raises(Unavailable, match="2 of 3 Sentinels must agree") as caught:
        await server.primaries()
    assert caught.value.code is Code.STORE_DOWN
    await server.close()


@pytest.mark.system
async def test_sentinels_that_know_no_such_service_are_no_store(watch: Watch):
    server = RedisServer(watch.url.replace("/holds", "/other"))
    with pytest.raises(Unavailable, match="must agree"):
        await probe(server)
    await server.close()


# --- replicas' disks -------------------------------------------------------------------------------------------------


async def test_a_store_with_too_few_replicas_is_refused_at_start_with_the_fix():
    with on_tcp() as primary, on_tcp() as replica:
        lonely = RedisServer(primary.url, replicas=1)
        with pytest.raises(Rejected, match=r"`appendonly yes`.*lower redis_replicas") as caught:
            await probe(lonely)
        assert (caught.value.code, caught.value.field) == (Code.CONFIG_INVALID, "redis_replicas")
        replica.follow(primary)
        assert await probe(lonely) == ()
        with replica.client() as client:
            client.config_set("appendonly", "no")
        with pytest.raises(Rejected, match="0 of 1 replicas"):
            await probe(lonely)
        await lonely.close()


async def test_a_replica_that_stops_confirming_fails_every_transition_and_no_reading():
    with on_tcp() as primary, on_tcp() as replica:
        replica.follow(primary)
        server = RedisServer(primary.url, replicas=1)
        holds = RedisHolds(server)
        hold = (await holds.file(draft(), b"sealed", ttl_s=600, caps=ROOMY)).hold
        replica.freeze()
        for ask in (
            lambda: holds.file(draft(), b"", ttl_s=600, caps=ROOMY),
            lambda: holds.apply(hold.id, Event.APPROVE, statement="signed", by="ada"),
        ):
            with pytest.raises(Unavailable) as caught:
                await ask()
            assert caught.value.code is Code.STORE_DOWN
        assert await holds.get(hold.id) is not None
        replica.thaw()
        await until_served(lambda: holds.file(draft(), b"", ttl_s=600, caps=ROOMY))
        await server.close()


async def test_an_agent_is_not_told_of_a_hold_that_a_failover_may_lose():
    """Its first call was answered with 503, for no replica had the hold; the second finds it on the primary."""
    with on_tcp() as primary, on_tcp() as replica:
        replica.follow(primary)
        server = RedisServer(primary.url, replicas=1)
        holds, call = RedisHolds(server), draft()
        await holds.file(draft(), b"", ttl_s=600, caps=ROOMY)
        replica.freeze()
        again = replace(call, id="hold-again")
        for ask in (
            lambda: holds.file(call, b"sealed", ttl_s=600, caps=ROOMY),
            lambda: holds.find(call.root_id, call.call_digest),
            lambda: holds.file(again, b"sealed", ttl_s=600, caps=ROOMY),
        ):
            with pytest.raises(Unavailable):
                await ask()
        replica.thaw()
        found = await until_served(lambda: holds.find(call.root_id, call.call_digest))
        assert found.id == call.id
        assert (await holds.file(again, b"sealed", ttl_s=600, caps=ROOMY)).hold == found
        await server.close()


async def test_a_primary_that_becomes_a_replica_is_no_source_of_revocations_any_more():
    with on_tcp() as here, on_tcp() as there:
        server = RedisServer(here.url)
        control = RedisControl(server, Statements(bundle))
        following = asyncio.ensure_future(control.follow())
        try:
            async with asyncio.timeout(5):
                while not fresh(control):
                    await asyncio.sleep(0.02)
            here.follow(there)
            async with asyncio.timeout(4):  # the promise is two seconds after the last good look
                while fresh(control):
                    await asyncio.sleep(0.02)
            with here.client() as client:
                client.replicaof("NO", "ONE")
            async with asyncio.timeout(5):
                while not fresh(control):
                    await asyncio.sleep(0.02)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await server.close()


def fresh(control: RedisControl) -> bool:
    try:
        control.view()
    except Unavailable:
        return False
    return True
