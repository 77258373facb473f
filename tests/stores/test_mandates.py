"""The contract of `ports.Mandates`, kept by memory and by Redis alike."""

from datetime import UTC, datetime, timedelta

import pytest

from proxy.core.errors import Code, Rejected
from proxy.stores.memory import MemoryMandates
from proxy.stores.redis_control import RedisMandates

CHAIN = ("root.jws.one", "leaf.jws.two")


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=1)


@pytest.fixture(params=["in memory", "on Valkey", "on a cluster"])
def mandates(request):
    if request.param == "in memory":
        return MemoryMandates()
    return RedisMandates(request.getfixturevalue("cluster_server" if request.param == "on a cluster" else "server"))


async def test_a_registered_chain_is_found(mandates):
    await mandates.put("root-1", CHAIN, until=soon())
    assert await mandates.get("root-1") == CHAIN
    assert await mandates.get("root-2") is None


async def test_a_chain_registered_again_replaces_the_first(mandates):
    await mandates.put("root-1", CHAIN, until=soon())
    await mandates.put("root-1", CHAIN[:1], until=soon())
    assert await mandates.get("root-1") == CHAIN[:1]


@pytest.mark.parametrize(
    "until",
    [datetime(1970, 1, 1, tzinfo=UTC), datetime.now(UTC) - timedelta(seconds=1)],
    ids=["when time began", "a second ago"],
)
async def test_a_chain_that_has_ended_is_absent(mandates, until):
    await mandates.put("root-1", CHAIN, until=soon())
    await mandates.put("root-1", CHAIN, until=until)
    assert await mandates.get("root-1") is None


async def test_a_chain_on_redis_goes_by_itself(server, valkey):
    await RedisMandates(server).put("root-1", CHAIN, until=soon())
    with valkey.client() as client:
        assert 50 < client.ttl("{ip:0}:mandate:root-1") <= 60


@pytest.mark.parametrize("value", ["", "{}", "[1]", '"a"', "[" * 100_000, b"\xff"], ids=lambda value: repr(value[:6]))
async def test_a_chain_changed_by_someone_else_is_refused(server, valkey, value):
    with valkey.client() as client:
        client.set("{ip:0}:mandate:root-1", value)
    with pytest.raises(Rejected) as caught:
        await RedisMandates(server).get("root-1")
    assert caught.value.code is Code.MANIFEST_MALFORMED


# --- registered by name ----------------------------------------------------------------------------------------------


async def test_what_is_registered_under_a_name_is_there_until_it_is_taken_away(mandates):
    assert await mandates.registered("agent:bot") == ()
    await mandates.register("agent:bot", "m-1", "one")
    await mandates.register("agent:bot", "m-1", "one")
    await mandates.register("agent:bot", "m-2", "two")
    await mandates.register("agent:other", "m-3", "three")
    assert sorted(await mandates.registered("agent:bot")) == ["one", "two"]
    await mandates.unregister("agent:bot", "m-1")
    await mandates.unregister("agent:bot", "m-1")
    await mandates.unregister("agent:nobody", "m-1")
    assert await mandates.registered("agent:bot") == ("two",)
