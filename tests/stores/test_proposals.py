"""The contract of `ports.Proposals`, kept by memory and by Redis alike."""

import pytest

from proxy.core.errors import Unavailable
from proxy.stores.memory_proposals import MemoryProposals
from proxy.stores.redis_proposals import ALL, RedisProposals


@pytest.fixture(params=["in memory", "on Valkey"])
def proposals(request):
    return MemoryProposals() if request.param == "in memory" else RedisProposals(request.getfixturevalue("server"))


async def test_a_proposal_is_kept_until_it_is_dropped_once(proposals):
    assert (await proposals.get("p1"), await proposals.every()) == (None, {})
    await proposals.put("p1", "first: ü\n")
    await proposals.put("p2", "second")
    assert await proposals.get("p1") == "first: ü\n"
    assert await proposals.every() == {"p1": "first: ü\n", "p2": "second"}
    assert [await proposals.drop("p1"), await proposals.drop("p1")] == [True, False]
    assert await proposals.every() == {"p2": "second"}


async def test_what_is_no_answer_is_said_so(server, valkey):
    with valkey.client() as client:
        client.set(ALL, "no hash")
    for ask in (RedisProposals(server).every(), RedisProposals(server).get("p1"), RedisProposals(server).put("a", "b")):
        with pytest.raises(Unavailable):
            await ask
