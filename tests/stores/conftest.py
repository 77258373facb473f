"""One contract, several stores: in memory, on a real Valkey as a user who may do the least, and on a real cluster."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from redis_page import PASSWORD, USER, acl_rules
from valkeys import Cluster, Valkey

from proxy.core.model import Hold
from proxy.stores.memory_holds import MemoryHolds
from proxy.stores.redis import RedisServer, prefix, shard_of
from proxy.stores.redis_holds import RedisHolds

AnyHolds = MemoryHolds | RedisHolds


@pytest.fixture(scope="session")
def _valkey() -> Iterator[Valkey]:
    with Valkey() as running:
        yield running


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Cluster]:
    with Cluster() as running:
        for node in running.nodes:
            with node.client() as client:
                for rule in acl_rules(cluster=True):
                    client.execute_command(rule)
        yield running


PATIENCE_S = 8.0
"""For a store that writes through while other tests fill the disk; what is promised in time is tested elsewhere."""


@pytest.fixture
def cluster(_cluster: Cluster) -> Cluster:
    """Three running nodes with nothing in them."""
    _cluster.flush()
    return _cluster


@pytest.fixture
async def cluster_server(cluster: Cluster) -> AsyncIterator[RedisServer]:
    """Our connection to them, as the user of docs/redis.md."""
    connected = RedisServer(cluster.url.replace("://", f"://{USER}:{PASSWORD}@"), deadline_s=PATIENCE_S)
    yield connected
    await connected.close()


@pytest.fixture
def valkey(_valkey: Valkey) -> Valkey:
    """A running server with nothing in it, that knows our user: one that was restarted has forgotten it."""
    _valkey.flush()
    with _valkey.client() as client:
        for rule in acl_rules():
            client.execute_command(rule)
    return _valkey


@pytest.fixture
async def server(valkey: Valkey) -> AsyncIterator[RedisServer]:
    """Our connection to it, as the user of docs/redis.md."""
    connected = RedisServer(f"{valkey.url}?username={USER}&password={PASSWORD}", deadline_s=PATIENCE_S)
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
    store: Valkey | Cluster | None = None
    shards: int = 1

    def home(self, hold: Hold) -> str:
        """What the keys of this hold begin with."""
        return prefix(shard_of(hold.root_id, self.shards))


@pytest.fixture(params=["in memory", "on Valkey", "on a cluster"])
def shelf(request: pytest.FixtureRequest, clock: Clock) -> HoldsUnderTest:
    if request.param == "in memory":

        async def wait(hold: Hold) -> None:
            clock.ahead += hold.expires_at - clock()

        def later(seconds: int) -> None:
            clock.ahead += timedelta(seconds=seconds)

        return HoldsUnderTest("memory", lambda **how: MemoryHolds(now=clock, **how), wait, later)

    clustered = request.param == "on a cluster"
    store: Valkey | Cluster = request.getfixturevalue("cluster" if clustered else "valkey")
    server: RedisServer = request.getfixturevalue("cluster_server" if clustered else "server")

    async def rewrite(hold: Hold) -> None:
        # A test cannot move the server's clock, so it moves the deadline.
        home = under_test.home(hold)
        with store.keeper(home).client() as client:
            client.hset(f"{home}hold:{hold.id}", "expires_at", "1")
            if client.zscore(f"{home}due", hold.id) is not None:
                client.zadd(f"{home}due", {hold.id: 1})

    def earlier(seconds: int) -> None:
        # As above: everything that is written down happened, or is due, so much earlier.
        for home in map(prefix, range(server.shards)):
            with store.keeper(home).client() as client:
                for name in client.keys(f"{home}hold:*"):
                    for field in ("filed_at", "expires_at", "decided_at", "claimed_at"):
                        if client.hget(name, field) is not None:
                            client.hincrby(name, field, -1000 * seconds)
                indexes = [
                    f"{home}{index}" for index in ("due", "sending", "untold", "deliver", "beats", "beats:since")
                ]
                for index in (*indexes, *client.keys(f"{home}deliver:*")):
                    for member in client.zrange(index, 0, -1):
                        client.zincrby(index, -1000 * seconds, member)

    under_test = HoldsUnderTest(
        request.param, lambda **how: RedisHolds(server, **how), rewrite, earlier, store=store, shards=server.shards
    )
    return under_test


@pytest.fixture
def holds(shelf: HoldsUnderTest) -> AnyHolds:
    return shelf.make()
