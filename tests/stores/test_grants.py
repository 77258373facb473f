"""The contract of `ports.Grants`, kept by memory and by Redis alike."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from proxy.core.errors import Unavailable
from proxy.ports import KeptGrant
from proxy.stores.memory_grants import MemoryGrants
from proxy.stores.redis import PREFIX
from proxy.stores.redis_grants import RedisGrants


@pytest.fixture(params=["in memory", "on Valkey"])
def grants(request):
    if request.param == "in memory":
        return MemoryGrants()
    return RedisGrants(request.getfixturevalue("server"))


def soon(seconds=600):
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def test_a_grant_is_kept_as_it_was_put_under_its_root(grants):
    assert await grants.every() == ()
    await grants.put("g1", "a.b.c", root_id="r1", until=soon())
    await grants.put("g2", "d.e.f", root_id="r2", until=soon(700))
    first, second = KeptGrant(id="g1", statement="a.b.c", used=0), KeptGrant(id="g2", statement="d.e.f", used=0)
    assert await grants.of_root("r1") == (first,)
    assert await grants.of_root("nothing") == ()
    assert await grants.every() == (first, second)


async def test_every_grant_is_listed_however_many_there_are(grants):
    names = [f"g{number}" for number in range(250)]
    await asyncio.gather(*(grants.put(name, "a.b.c", root_id="r1", until=soon()) for name in names))
    assert {grant.id for grant in await grants.every()} == set(names)


async def test_a_grant_that_is_kept_is_not_replaced(grants):
    await grants.put("g1", "a.b.c", root_id="r1", until=soon())
    assert await grants.spend("g1", count=2) == 1
    await grants.put("g1", "x.y.z", root_id="r1", until=soon())
    assert await grants.of_root("r1") == (KeptGrant(id="g1", statement="a.b.c", used=1),)


async def test_uses_are_numbered_and_end_with_the_count(grants):
    await grants.put("g1", "a.b.c", root_id="r1", until=soon())
    assert [await grants.spend("g1", count=3) for _ in range(5)] == [1, 2, 3, None, None]
    assert (await grants.every())[0].used == 3


async def test_of_many_uses_at_once_exactly_so_many_are_counted(grants):
    await grants.put("g1", "a.b.c", root_id="r1", until=soon())
    numbers = await asyncio.gather(*(grants.spend("g1", count=7) for _ in range(30)))
    assert sorted(number for number in numbers if number is not None) == list(range(1, 8))


async def test_a_grant_that_nobody_put_is_never_used(grants):
    assert await grants.spend("nothing", count=5) is None


async def test_a_grant_that_has_ended_is_neither_listed_nor_used(grants):
    await grants.put("g1", "a.b.c", root_id="r1", until=soon(-1))
    await grants.put("g2", "d.e.f", root_id="r1", until=soon())
    assert [grant.id for grant in await grants.of_root("r1")] == ["g2"]
    assert [grant.id for grant in await grants.every()] == ["g2"]
    assert await grants.spend("g1", count=5) is None
    assert await grants.spend("g2", count=5) == 1


@pytest.mark.parametrize("used", ["-1", "x", "", "9999999999"])
async def test_a_count_that_somebody_else_wrote_lets_nothing_pass(server, valkey, used):
    grants = RedisGrants(server)
    await grants.put("g1", "a.b.c", root_id="r1", until=soon())
    with valkey.client() as client:
        client.hset(f"{PREFIX}grant:g1", "used", used)
    assert await grants.spend("g1", count=5) is None
    assert await grants.of_root("r1") == ()


async def test_an_index_that_is_something_else_is_an_outage(server, valkey):
    grants = RedisGrants(server)
    with valkey.client() as client:
        client.set(f"{PREFIX}grants", "x")
    with pytest.raises(Unavailable):
        await grants.every()
