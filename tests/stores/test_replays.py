"""The contract of `ports.Replays`, and the epoch of the store on Redis."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from valkeys import Valkey, on_tcp

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Evidence, Proof
from proxy.stores.memory import MemoryReplays
from proxy.stores.redis import RedisServer
from proxy.stores.redis_replays import EPOCH, RedisReplays


def evidence(nonce="n1", *, keyid="k1", age_s=0.0) -> Evidence:
    created = datetime.now(UTC) - timedelta(seconds=age_s)
    return Evidence(proof=Proof.REQUEST, keyid=keyid, created=created, nonce=nonce)


@pytest.fixture(params=["in memory", "on Valkey"])
def replays(request):
    """A nonce store that has run for a while."""
    if request.param == "in memory":
        return MemoryReplays(born_at=datetime.now(UTC) - timedelta(minutes=1))
    valkey = request.getfixturevalue("valkey")
    valkey.age_epoch()
    return RedisReplays(request.getfixturevalue("server"), deployment="edge-test")


@pytest.fixture(params=["in memory", "on Valkey"])
def newborn(request):
    """A nonce store that knows nothing of what was before."""
    if request.param == "in memory":
        return MemoryReplays()
    return RedisReplays(request.getfixturevalue("server"), deployment="edge-test")


async def test_a_nonce_is_spent_once(replays):
    await replays.spend(evidence("n1"))
    with pytest.raises(Rejected, match="used before") as caught:
        await replays.spend(evidence("n1"))
    assert caught.value.code is Code.PROOF_REPLAYED
    await replays.spend(evidence("n2"))
    await replays.spend(evidence("n1", keyid="k2"))


async def test_of_many_at_once_exactly_one_spends_it(replays):
    outcomes = await asyncio.gather(*(replays.spend(evidence("n1")) for _ in range(50)), return_exceptions=True)
    codes = Counter(outcome and outcome.code for outcome in outcomes)
    assert codes == {None: 1, Code.PROOF_REPLAYED: 49}


async def test_a_proof_without_a_nonce_cannot_be_spent(replays):
    with pytest.raises(Rejected) as caught:
        await replays.spend(evidence(None))
    assert caught.value.code is Code.PROOF_MALFORMED


@pytest.mark.parametrize("nonce", ["", "a:b", "é\x00\n", "x" * 4096], ids=["empty", "a colon", "odd bytes", "long"])
async def test_any_text_is_a_nonce_of_its_own(replays, nonce):
    await replays.spend(evidence(nonce))
    with pytest.raises(Rejected):
        await replays.spend(evidence(nonce))


async def test_a_store_that_has_just_begun_refuses_proofs_it_cannot_know(newborn):
    accepted_from = await newborn.ready()
    with pytest.raises(Unavailable) as caught:
        await newborn.spend(evidence("n1"))
    assert caught.value.code is Code.REPLAY_EPOCH
    assert 1 <= caught.value.retry_after_s <= 5

    later = Evidence(proof=Proof.REQUEST, keyid="k1", created=accepted_from, nonce="n1")
    await newborn.spend(later)
    assert await newborn.ready() == accepted_from


async def test_a_refusal_at_the_beginning_does_not_use_the_nonce_up(newborn):
    accepted_from = await newborn.ready()
    with pytest.raises(Unavailable):
        await newborn.spend(evidence("n1"))
    await newborn.spend(Evidence(proof=Proof.REQUEST, keyid="k1", created=accepted_from, nonce="n1"))


async def test_nonces_in_memory_are_forgotten_when_no_proof_can_bear_them_any_more(clock):
    replays = MemoryReplays(now=clock, born_at=datetime.now(UTC) - timedelta(minutes=1))
    for number in range(100):
        await replays.spend(evidence(f"n{number}"))
    clock.ahead += timedelta(seconds=181)
    for number in range(3):
        await replays.spend(evidence(f"later {number}"))
    assert len(replays._spent) == 3


# --- on Redis --------------------------------------------------------------------------------------------------------


async def code_of(spending) -> Code | None:
    try:
        await spending
    except (Rejected, Unavailable) as fault:
        return fault.code
    return None


async def test_nonces_are_forgotten_after_three_minutes_and_carry_no_clear_text(server, valkey):
    valkey.age_epoch()
    await RedisReplays(server, deployment="edge-test").spend(evidence("secret-nonce"))
    with valkey.client() as client:
        (key,) = [name for name in client.keys("*") if name != EPOCH]
        assert key.startswith("{ip:0}:nonce:")
        assert "secret-nonce" not in key
        assert 170 < client.ttl(key) <= 180


async def test_two_deployments_do_not_share_nonces(server, valkey):
    valkey.age_epoch()
    await RedisReplays(server, deployment="one").spend(evidence("n1"))
    await RedisReplays(server, deployment="two").spend(evidence("n1"))


@pytest.mark.parametrize(
    ("ahead_s", "code"),
    [
        pytest.param(0.0, None, id="our clock is right"),
        pytest.param(1.5, None, id="our clock is a little fast"),
        pytest.param(-1.5, None, id="our clock is a little slow"),
        pytest.param(3.0, Code.CLOCK_WRONG, id="our clock is fast"),
        pytest.param(-3.0, Code.CLOCK_WRONG, id="our clock is slow"),
    ],
)
async def test_a_node_whose_clock_is_wrong_cannot_tell(server, valkey, clock, ahead_s, code):
    valkey.age_epoch()
    clock.ahead = timedelta(seconds=ahead_s)
    replays = RedisReplays(server, deployment="edge-test", now=clock)
    assert await code_of(replays.spend(evidence("n1"))) is code
    assert await code_of(replays.spend(evidence("n1"))) is (code or Code.PROOF_REPLAYED)


async def test_a_flushed_store_begins_anew(server, valkey):
    valkey.age_epoch()
    replays = RedisReplays(server, deployment="edge-test")
    await replays.spend(evidence("n1"))
    valkey.flush()
    assert await code_of(replays.spend(evidence("n1"))) is Code.REPLAY_EPOCH


async def test_a_store_whose_epoch_was_changed_begins_anew(server, valkey):
    valkey.age_epoch()
    replays = RedisReplays(server, deployment="edge-test")
    with valkey.client() as client:
        client.hset(EPOCH, "born_ms", "long ago")
    assert await code_of(replays.spend(evidence("n1"))) is Code.REPLAY_EPOCH


async def spent_before_and_after_restart(valkey: Valkey) -> tuple[Code | None, Code | None]:
    server = RedisServer(valkey.url)
    replays = RedisReplays(server, deployment="edge-test")
    valkey.age_epoch()
    await replays.ready()
    before = await code_of(replays.spend(evidence("n1")))
    await server.close()
    if valkey.settings["appendonly"] == "no":
        with valkey.client() as client:
            client.save()
    valkey.restart()
    after = await code_of(replays.spend(evidence("n1")))
    await server.close()
    return before, after


async def test_a_server_that_loses_nothing_goes_on_after_a_crash():
    with Valkey() as valkey:
        assert await spent_before_and_after_restart(valkey) == (None, Code.PROOF_REPLAYED)


@pytest.mark.parametrize(
    "settings",
    [{"appendonly": "no"}, {"appendfsync": "everysec"}],
    ids=["one with snapshots", "one that writes every second"],
)
async def test_a_server_that_may_lose_the_last_writes_begins_anew_after_a_crash(settings):
    with Valkey(**settings) as valkey:
        assert await spent_before_and_after_restart(valkey) == (None, Code.REPLAY_EPOCH)


async def test_a_promoted_replica_begins_anew_however_durable_the_old_primary_was(unused_tcp_port_factory):
    port = unused_tcp_port_factory()
    primary_settings = {"port": str(port), "bind": "127.0.0.1", "repl-diskless-sync-delay": "0"}
    with Valkey(**primary_settings) as primary, Valkey() as replica:
        server = RedisServer(primary.url)
        primary.age_epoch()
        replays = RedisReplays(server, deployment="edge-test")
        await replays.ready()
        await replays.spend(evidence("n1"))
        await server.close()

        with replica.client() as client:
            client.replicaof("127.0.0.1", port)
            async with asyncio.timeout(10):
                while not client.exists(EPOCH):
                    await asyncio.sleep(0.02)
            primary.kill()
            client.replicaof("NO", "ONE")

        server = RedisServer(replica.url)
        promoted = RedisReplays(server, deployment="edge-test")
        assert await code_of(promoted.spend(evidence("n2"))) is Code.REPLAY_EPOCH
        await server.close()


async def test_a_primary_that_was_replaced_and_promoted_again_begins_anew():
    """It is the same process, but what the other one was told meanwhile may be gone."""
    with on_tcp() as here, on_tcp() as there:
        server = RedisServer(here.url)
        here.age_epoch()
        there.follow(here)
        replays = RedisReplays(server, deployment="edge-test")
        await replays.spend(evidence("n1"))
        with there.client() as client:
            client.replicaof("NO", "ONE")
        here.follow(there)
        with here.client() as client:
            client.replicaof("NO", "ONE")
        assert await code_of(replays.spend(evidence("n2"))) is Code.REPLAY_EPOCH
        await server.close()
