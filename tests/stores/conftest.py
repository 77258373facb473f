"""One contract, several stores: every fixture here comes once in memory and once on a real Valkey."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from valkeys import Valkey

from proxy.core.model import Hold
from proxy.stores.memory import MemoryHolds
from proxy.stores.redis import RedisServer
from proxy.stores.redis_holds import RedisHolds

AnyHolds = MemoryHolds | RedisHolds


@pytest.fixture(scope="session")
def _valkey() -> Iterator[Valkey]:
    with Valkey() as running:
        yield running


@pytest.fixture
def valkey(_valkey: Valkey) -> Valkey:
    """A running server with nothing in it."""
    _valkey.flush()
    return _valkey


@pytest.fixture
async def server(valkey: Valkey) -> AsyncIterator[RedisServer]:
    """Our connection to it."""
    connected = RedisServer(valkey.url)
    yield connected
    await connected.close()


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@dataclass
class HoldsUnderTest:
    """A store of holds, how to make another view of it, and how to let a hold's deadline pass."""

    kind: str
    make: Callable[..., AnyHolds]
    overdue: Callable[[Hold], Awaitable[None]]
    later: Callable[[int], None]  # so many seconds pass


@pytest.fixture(params=["in memory", "on Valkey"])
def shelf(request: pytest.FixtureRequest, clock: Clock) -> HoldsUnderTest:
    if request.param == "in memory":

        async def wait(hold: Hold) -> None:
            clock.ahead += hold.expires_at - clock()

        def later(seconds: int) -> None:
            clock.ahead += timedelta(seconds=seconds)

        return HoldsUnderTest("memory", lambda **how: MemoryHolds(now=clock, **how), wait, later)

    valkey: Valkey = request.getfixturevalue("valkey")
    server: RedisServer = request.getfixturevalue("server")

    async def rewrite(hold: Hold) -> None:
        # A test cannot move the server's clock, so it moves the deadline.
        with valkey.client() as client:
            client.hset(f"{{ip:0}}:hold:{hold.id}", "expires_at", "1")
            if client.zscore("{ip:0}:due", hold.id) is not None:
                client.zadd("{ip:0}:due", {hold.id: 1})

    def earlier(seconds: int) -> None:
        # As above: everything that is written down happened, or is due, so much earlier.
        with valkey.client() as client:
            for name in client.keys("{ip:0}:hold:*"):
                for field in ("filed_at", "expires_at", "decided_at", "claimed_at"):
                    if client.hget(name, field) is not None:
                        client.hincrby(name, field, -1000 * seconds)
            for index in ("due", "sending", "deliver", "beats", "beats:since"):
                for member in client.zrange(f"{{ip:0}}:{index}", 0, -1):
                    client.zincrby(f"{{ip:0}}:{index}", -1000 * seconds, member)

    return HoldsUnderTest("valkey", lambda **how: RedisHolds(server, **how), rewrite, earlier)


@pytest.fixture
def holds(shelf: HoldsUnderTest) -> AnyHolds:
    return shelf.make()
