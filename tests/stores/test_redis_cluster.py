"""A real cluster of three nodes: everything of a root mandate together, and what happens when slots or nodes move.

The contract suites of holds, nonces and mandates run on one as well.
"""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from held import ROOMY, draft
from identities import bundle
from valkeys import Cluster, Valkey, wait_until

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.holds import Event
from proxy.core.model import Evidence, HoldState, Proof
from proxy.stores.redis import SHARDS, RedisServer, prefix, shard_of
from proxy.stores.redis_control import RedisControl
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.redis_probe import probe
from proxy.stores.redis_replays import RedisReplays
from proxy.stores.statements import Statements


def root_in(shard: int) -> str:
    """The name of a root mandate whose holds are in this shard."""
    return next(name for name in map(str, range(1000)) if shard_of(draft(root=name).root_id, SHARDS) == shard)


async def file_everywhere(holds: RedisHolds):
    return [
        (await holds.file(draft(root=root_in(shard)), b"sealed", ttl_s=600, caps=ROOMY)).hold for shard in range(SHARDS)
    ]


async def until_served(ask, seconds: float = 10.0):
    """The answer, as soon as there is one."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await ask()
            except Unavailable:
                await asyncio.sleep(0.05)


def test_shards_are_where_they_were():
    """If this fails, the holds of a running cluster would be looked for elsewhere."""
    assert SHARDS == 8
    assert [shard_of(name, SHARDS) for name in ("a", "root", "é\ud800")] == [2, 1, 0]
    assert shard_of("anything", 1) == 0


async def test_a_cluster_is_probed_and_its_shards_lie_on_several_nodes(cluster: Cluster, cluster_server: RedisServer):
    said = await probe(cluster_server)
    assert said == ()
    assert len(await cluster_server.primaries()) == 3
    assert len({cluster.keeper(prefix(shard)).pid for shard in range(SHARDS)}) > 1


async def test_everything_of_a_root_mandate_is_in_its_shard(cluster: Cluster, cluster_server: RedisServer):
    holds = RedisHolds(cluster_server)
    filed = await file_everywhere(holds)
    for shard, hold in enumerate(filed):
        home = prefix(shard)
        with cluster.keeper(home).client() as client:
            assert {key for key in client.keys(f"{home}*") if hold.id in key} == {
                f"{home}hold:{hold.id}",
                f"{home}sealed:{hold.id}",
            }
    others = RedisHolds(cluster_server)  # knows of none where it is
    for hold in filed:
        assert await others.get(hold.id) == hold
        assert await others.sealed(hold.id) == b"sealed"
        assert await others.find(hold.root_id, hold.call_digest) == hold
    assert set(await others.listing()) == set(filed)
    assert len(await others.listing(limit=3)) == 3
    assert await others.listing(root_id=filed[5].root_id) == (filed[5],)
    assert (await others.apply(filed[6].id, Event.APPROVE)).hold.state is HoldState.APPROVED
    with pytest.raises(Rejected) as caught:
        await others.apply("nowhere", Event.APPROVE)
    assert caught.value.code is Code.HOLD_UNKNOWN


async def test_news_of_every_shard_arrive_and_go_on_from_where_they_were(cluster_server: RedisServer):
    holds = RedisHolds(cluster_server)
    start = await holds.cursor()
    filed = await file_everywhere(holds)
    news, seen = holds.news(start), []
    async with asyncio.timeout(10):
        for _ in range(4):
            seen.append(await anext(news))
        await news.aclose()
        again = holds.news(seen[-1].cursor)
        seen += [await anext(again) for _ in range(4)]
        await again.aclose()
    assert sorted(each.hold_id for each in seen) == sorted(hold.id for hold in filed)


async def test_a_sponsor_has_one_cap_over_all_shards(cluster_server: RedisServer):
    holds, caps = RedisHolds(cluster_server), replace(ROOMY, open_per_sponsor=SHARDS)
    filed = await file_everywhere(holds)
    assert {hold.sponsor for hold in filed} == {"ada"}
    with pytest.raises(Rejected) as caught:
        await holds.file(draft(root=root_in(4)), b"", ttl_s=600, caps=caps)
    assert caught.value.code is Code.HOLD_CAP
    await holds.apply(filed[1].id, Event.CANCEL)
    assert (await holds.file(draft(root=root_in(4)), b"", ttl_s=600, caps=caps)).created


async def test_a_hold_that_was_copied_into_another_shard_is_tampered_with(
    cluster: Cluster, cluster_server: RedisServer
):
    holds = RedisHolds(cluster_server)
    hold = (await holds.file(draft(root=root_in(0)), b"", ttl_s=600, caps=ROOMY)).hold
    with cluster.keeper(prefix(0)).client() as client:
        copied = client.hgetall(f"{prefix(0)}hold:{hold.id}")
    with cluster.keeper(prefix(7)).client() as client:
        client.hset(f"{prefix(7)}hold:{hold.id}", mapping=copied)
    with pytest.raises(Rejected) as caught:
        await RedisHolds(cluster_server).get(hold.id)
    assert caught.value.code is Code.HOLD_TAMPERED


async def test_nonces_are_spent_once_whatever_shard_they_are_in(cluster_server: RedisServer):
    replays = RedisReplays(cluster_server, deployment="edge-test")
    born = await replays.ready()

    def proof(number: int) -> Evidence:
        return Evidence(proof=Proof.REQUEST, keyid="k", created=born + timedelta(seconds=1), nonce=f"n{number}")

    for number in range(20):
        await replays.spend(proof(number))
    for number in range(20):
        with pytest.raises(Rejected) as caught:
            await replays.spend(proof(number))
        assert caught.value.code is Code.PROOF_REPLAYED
    too_old = Evidence(proof=Proof.REQUEST, keyid="k", created=datetime.now(UTC) - timedelta(minutes=1), nonce="old")
    with pytest.raises(Unavailable) as late:
        await replays.spend(too_old)
    assert late.value.code is Code.REPLAY_EPOCH


async def test_a_slot_that_moves_refuses_until_all_its_keys_are_together_again(
    cluster: Cluster, cluster_server: RedisServer
):
    holds, shard = RedisHolds(cluster_server), 3
    hold = (await holds.file(draft(root=root_in(shard)), b"sealed", ttl_s=600, caps=ROOMY)).hold
    source = cluster.keeper(prefix(shard))
    target = next(node for node in cluster.nodes if node is not source)
    with source.client() as old, target.client() as new:
        slot = old.execute_command("CLUSTER", "KEYSLOT", prefix(shard))
        old_id, new_id = (client.execute_command("CLUSTER", "MYID") for client in (old, new))
        new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
        old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
        try:
            moving = old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000)
            for key in moving:
                for ask in (
                    lambda: holds.get(hold.id),
                    lambda: holds.file(draft(root=root_in(shard)), b"", ttl_s=60, caps=ROOMY),
                ):
                    with pytest.raises(Unavailable) as caught:
                        await ask()
                    assert caught.value.code is Code.STORE_DOWN
                old.execute_command("MIGRATE", *target.address, key, 0, 5000)
        finally:
            for client in (new, old):
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", new_id)
        assert await until_served(lambda: holds.get(hold.id)) == hold
        assert await until_served(lambda: holds.listing(root_id=hold.root_id)) == (hold,)
        wait_until(lambda: cluster.keeper(prefix(shard)) is target)


@pytest.mark.system
async def test_a_node_that_is_lost_is_replaced_by_its_replica_and_nothing_confirmed_is_lost():
    """`redis_replicas: 1`: what was answered is on the replica's disk."""
    with Cluster() as cluster:
        primary = cluster.keeper(prefix(0))
        cluster.replica(primary)
        bare = RedisServer(cluster.url)
        said = await probe(bare)
        assert [line for line in said if "a failover may lose" in line and "redis_replicas: 1" in line]
        await bare.close()
        wait_until(lambda: all(cluster.whole(node, 4) for node in cluster.nodes))
        server = RedisServer(cluster.url, replicas=1)
        holds = RedisHolds(server)
        hold = (await holds.file(draft(root=root_in(0)), b"sealed", ttl_s=600, caps=ROOMY)).hold
        control = RedisControl(server, Statements(bundle))
        primary.kill()
        with pytest.raises(Unavailable):
            await holds.get(hold.id)
        assert await until_served(lambda: holds.get(hold.id)) == hold
        assert await until_served(lambda: holds.sealed(hold.id)) == b"sealed"
        await until_served(control.ready)
        await server.close()


async def test_a_cluster_behind_the_url_of_one_server_is_refused_with_the_right_one(cluster: Cluster):
    port = cluster.nodes[0].address[1]
    server = RedisServer(f"redis://127.0.0.1:{port}")
    with pytest.raises(Rejected, match=r"redis\+cluster://"):
        await probe(server)
    await server.close()


async def test_one_server_behind_the_url_of_a_cluster_is_refused(valkey: Valkey, unused_tcp_port: int):
    with Valkey(port=str(unused_tcp_port), bind="127.0.0.1") as single:
        server = RedisServer(f"redis+cluster://127.0.0.1:{single.address[1]}")
        with pytest.raises(Unavailable) as caught:
            await probe(server)
        assert caught.value.code is Code.STORE_DOWN
        await server.close()


async def test_a_shard_that_cannot_be_swept_holds_up_no_other(cluster: Cluster, cluster_server: RedisServer) -> None:
    holds = RedisHolds(cluster_server)
    hold = (await holds.file(replace(draft(), delivers=True), b"sealed", ttl_s=600, caps=ROOMY)).hold
    await holds.apply(hold.id, Event.APPROVE, by="ada")
    broken = f"{prefix((shard_of(hold.root_id, 8) + 1) % 8)}due"
    with cluster.keeper(broken).client() as client:
        client.set(broken, "no index")
    assert (await holds.sweep("n.0.x", "n")).deliver == (hold.id,)
    for shard in range(8):
        with cluster.keeper(prefix(shard)).client() as client:
            client.set(f"{prefix(shard)}due", "no index")
    with pytest.raises(Unavailable):
        await holds.sweep("n.0.x", "n")
