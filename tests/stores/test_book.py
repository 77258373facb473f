"""The contract of `AddressBook`, kept by memory and by Redis alike."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, ip_address

import pytest

from proxy.core.addressbook import KEPT_S, VALID_S, candidates
from proxy.core.errors import Unavailable
from proxy.core.places import Place
from proxy.stores.memory_book import MemoryBook
from proxy.stores.redis_book import RedisBook, _page

HERE = Place(interface="lo", address=ip_address("127.0.0.1"), generation="1")
THERE = replace(HERE, address=ip_address("127.0.0.2"))
SECRET = b"s" * 32


@pytest.fixture(params=["in memory", "on Valkey", "on a cluster"])
def book(request):
    if request.param == "in memory":
        return MemoryBook()
    return RedisBook(
        request.getfixturevalue("server" if "Valkey" in request.param else "cluster_server"), secret=SECRET
    )


async def test_a_name_has_one_address_which_stands_for_it_where_it_was_asked_for_alone(book):
    first = await book.allot(HERE, "erp.example", quota=2)
    assert first is not None and first.created
    assert await book.name_of(HERE, first.address) == "erp.example"
    again = await book.allot(HERE, "erp.example", quota=2)
    assert (again.address, again.created) == (first.address, False)
    assert await book.name_of(THERE, first.address) is None
    assert await book.name_of(HERE, IPv4Address(int(first.address) ^ 2)) is None
    other = await book.allot(HERE, "crm.example", quota=2)
    assert other.address != first.address
    assert await book.name_of(HERE, first.address) == "erp.example"


async def test_a_place_has_no_more_names_than_it_may_and_keeps_those_it_has(book):
    first = await book.allot(HERE, "a.example", quota=2)
    assert await book.allot(HERE, "b.example", quota=2) is not None
    assert await book.allot(HERE, "c.example", quota=2) is None
    assert (await book.allot(HERE, "a.example", quota=2)).address == first.address
    assert await book.allot(THERE, "c.example", quota=2) is not None


async def test_in_memory_an_answer_counts_for_an_hour_and_its_address_is_kept_for_a_day():
    now = [datetime(2026, 11, 23, tzinfo=UTC)]
    book = MemoryBook(now=lambda: now[0])
    first = await book.allot(HERE, "a.example", quota=1)
    now[0] += timedelta(seconds=VALID_S)
    assert await book.name_of(HERE, first.address) is None
    assert await book.allot(HERE, "b.example", quota=1) is not None
    assert (await book.allot(HERE, "a.example", quota=1)).address == first.address
    assert await book.name_of(HERE, first.address) == "a.example"
    now[0] += timedelta(seconds=KEPT_S)
    await book.allot(HERE, "c.example", quota=1)
    assert (await book.allot(HERE, "a.example", quota=9)).created


async def test_on_valkey_too(server, valkey):
    book = RedisBook(server, secret=SECRET)
    first = await book.allot(HERE, "a.example", quota=1)
    with valkey.client() as client:
        answered = _page(HERE)[2]
        client.zincrby(answered, -VALID_S * 1000, "a.example")
        assert await book.name_of(HERE, first.address) is None
        assert await book.allot(HERE, "b.example", quota=1) is not None
        client.zincrby(answered, -KEPT_S * 1000, "b.example")
        client.zincrby(answered, -KEPT_S * 1000, "a.example")
        assert (await book.allot(HERE, "c.example", quota=1)).created
        assert client.hlen(_page(HERE)[0]) == 1
        assert all(0 < client.pttl(key) <= KEPT_S * 1000 for key in _page(HERE))


async def test_an_address_that_is_taken_is_not_given_again(server, valkey):
    book = RedisBook(server, secret=SECRET)
    tried = [str(each) for each in candidates(SECRET, HERE.label, "a.example")]
    with valkey.client() as client:
        client.hset(_page(HERE)[1], tried[0], "b.example")
    assert str((await book.allot(HERE, "a.example", quota=9)).address) == tried[1]
    with valkey.client() as client:
        client.hset(_page(THERE)[1], mapping={str(each): "b" for each in candidates(SECRET, THERE.label, "a.example")})
    assert await book.allot(THERE, "a.example", quota=9) is None


async def test_what_somebody_else_wrote_there_is_no_address(server, valkey):
    book = RedisBook(server, secret=SECRET)
    with valkey.client() as client:
        client.hset(_page(HERE)[0], mapping={"a.example": "10.0.0.1", "b.example": "x"})
    for name in ("a.example", "b.example"):
        with pytest.raises(Unavailable, match="a question about addresses"):
            await book.allot(HERE, name, quota=9)
