"""The clock beside the store's: right, wrong, and right again, without anybody looking in between."""

from datetime import UTC, datetime, timedelta

import pytest

from proxy.core.errors import Code, Unavailable
from proxy.stores.clockwatch import ClockWatch
from proxy.stores.redis import RedisServer


async def test_a_clock_that_agrees_with_the_store_tells_the_time(server, clock):
    watch = ClockWatch(server, now=clock)
    await watch.look()
    assert abs(watch.now() - datetime.now(UTC)) < timedelta(seconds=1)


@pytest.mark.parametrize("days", [365, -365], ids=["a year ahead", "a year behind"])
async def test_a_clock_that_steps_is_noticed_at_once_and_trusted_again_when_it_steps_back(server, clock, days):
    watch = ClockWatch(server, now=clock)
    await watch.look()
    watch.now()
    clock.ahead = timedelta(days=days)
    with pytest.raises(Unavailable, match="run NTP on both") as caught:
        watch.now()
    assert caught.value.code is Code.CLOCK_WRONG
    clock.ahead = timedelta()
    watch.now()


async def test_a_clock_that_was_wrong_from_the_start_is_wrong(server, clock):
    clock.ahead = timedelta(seconds=3)
    watch = ClockWatch(server, now=clock)
    await watch.look()
    with pytest.raises(Unavailable):
        watch.now()
    clock.ahead = timedelta(seconds=1)
    watch.now()


async def test_before_the_store_has_told_the_time_nobody_knows_it(clock):
    away = RedisServer("unix:///nowhere/valkey.sock")
    watch = ClockWatch(away, now=clock)
    with pytest.raises(Unavailable) as caught:
        watch.now()
    assert caught.value.code is Code.CLOCK_WRONG
    with pytest.raises(Unavailable) as down:
        await watch.look()
    assert down.value.code is Code.STORE_DOWN
    await away.close()
