"""The contract of `ports.Marks`, kept by memory and by Redis alike."""

from datetime import timedelta

import pytest

from proxy.core.errors import Unavailable
from proxy.stores.memory_marks import MemoryMarks
from proxy.stores.redis import PREFIX
from proxy.stores.redis_marks import RedisMarks


class Shelf:
    def __init__(self, marks, later):
        self.marks = marks
        self.later = later


@pytest.fixture(params=["in memory", "on Valkey"])
def shelf(request, clock):
    if request.param == "in memory":

        def ahead(seconds):
            clock.ahead += timedelta(seconds=seconds)

        return Shelf(MemoryMarks(now=clock), ahead)
    valkey = request.getfixturevalue("valkey")

    def earlier(seconds):  # a test cannot move the server's clock
        with valkey.client() as client:
            for name in client.keys(f"{PREFIX}mark:*"):
                client.hincrby(name, "until", -1000 * seconds)

    return Shelf(RedisMarks(request.getfixturevalue("server")), earlier)


async def test_whoever_comes_first_begins_with_nothing_and_goes_on_where_it_was_noted(shelf):
    marks = shelf.marks
    assert await marks.take("a", "one", for_s=20) == ""
    assert await marks.note("a", "one", '{"at": 7}', for_s=20)
    assert await marks.take("a", "one", for_s=20) == '{"at": 7}'
    assert await marks.take("b", "one", for_s=20) == ""


async def test_nobody_else_has_it_until_its_time_is_up(shelf):
    marks = shelf.marks
    assert await marks.take("a", "one", for_s=20) == ""
    assert await marks.note("a", "one", "first", for_s=20)
    assert await marks.take("a", "two", for_s=20) is None
    assert not await marks.note("a", "two", "stolen", for_s=20)
    shelf.later(21)
    assert not await marks.note("a", "two", "not taken first", for_s=20)
    assert await marks.take("a", "two", for_s=20) == "first"
    assert not await marks.note("a", "one", "late", for_s=20)
    assert await marks.take("a", "one", for_s=20) is None


async def test_noting_makes_its_time_longer(shelf):
    marks = shelf.marks
    await marks.take("a", "one", for_s=20)
    shelf.later(15)
    assert await marks.note("a", "one", "x", for_s=20)
    shelf.later(15)
    assert await marks.take("a", "two", for_s=20) is None


async def test_what_is_left_is_anybodys_at_once(shelf):
    marks = shelf.marks
    await marks.take("a", "one", for_s=20)
    await marks.note("a", "one", "x", for_s=20)
    await marks.leave("a", "two")  # not theirs to leave
    assert await marks.take("a", "two", for_s=20) is None
    await marks.leave("a", "one")
    assert await marks.take("a", "two", for_s=20) == "x"


async def test_a_store_that_is_away_is_said_so(server, valkey):
    valkey.kill()
    try:
        with pytest.raises(Unavailable):
            await RedisMarks(server).take("a", "one", for_s=20)
    finally:
        valkey.start()
