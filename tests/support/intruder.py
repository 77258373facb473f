"""Somebody with full write access to Redis, and a deployment of two nodes that they write beside.

with two_nodes(folder) as nodes:
    hold = nodes.file()
    nodes.store.write(hold.id, state="approved")
    assert nodes.ask(hold) == ...
"""

import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import houses
from houses import CLUSTERS, House
from origins import Origin
from rawclient import Response
from towns import ROOMY, Town, open_town

from proxy.core.model import Hold
from proxy.stores.embedded import EmbeddedStore
from proxy.stores.redis import PREFIX, RedisServer

OUTSIDE = "/v1/payments"

TAMPERING = frozenset({"hold.tampered", "release.invalid", "hold.not_permitted"})
"""The codes under which the journal tells of a store that was written to by somebody else."""

EVENTS = frozenset({"unverified", "restored"})
"""What the journal calls what the store says of a hold, and nobody signed or everybody knows better."""

_numbers = count(1)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One held call of an agent: what it is repeated or redeemed with, and how the origin would know it."""

    chain: Sequence[str]
    body: bytes
    id: str

    @property
    def redeeming(self) -> str:
        return f"http://intent.internal/holds/{self.id}/redeem"


@dataclass(kw_only=True)
class Nodes:
    """Two nodes on one store, with one secret, before one origin."""

    town: Town
    other: House

    @property
    def house(self) -> House:
        return self.town.house

    @property
    def origin(self) -> Origin:
        return self.town.plain

    @property
    def url(self) -> str:
        return self.town.url("plain", OUTSIDE)

    # --- an agent ----------------------------------------------------------------------------------------------------

    def file(self, *, like: Call | None = None, at: House | None = None) -> Call:
        """A call outside its mandate, held. Each has a mandate of its own, so that none suffers from another's caps."""
        body = b"number=%d" % next(_numbers) if like is None else like.body
        chain = self.house.chain() if like is None else like.chain
        answer = (at or self.house).call("POST", self.url, chain=chain, body=body)
        assert answer.status == 403, answer
        return Call(chain=chain, body=body, id=json.loads(answer.body)["task"]["id"])

    def repeat(self, call: Call, house: House | None = None) -> Response:
        """The same call again."""
        return (house or self.house).call("POST", self.url, chain=call.chain, body=call.body)

    def redeem(self, call: Call, house: House | None = None) -> Response:
        """The stored call, please."""
        return (house or self.house).call("POST", call.redeeming, chain=call.chain)

    def ask_everywhere(self, call: Call) -> list[Response]:
        """Everything an agent can do to get its call sent: on both nodes, both ways."""
        return [ask(call, house) for house in (self.house, self.other) for ask in (self.redeem, self.repeat)]

    # --- somebody in Redis -------------------------------------------------------------------------------------------

    def command(self, *words: str | bytes | int) -> object:
        return self.house.with_store(lambda server: server.command(*words))

    def write(self, hold_id: str, **fields: str | None) -> None:
        """Fields of a hold; None deletes one."""
        self.write_many({hold_id: fields})

    def write_many(self, changes: Mapping[str, Mapping[str, str | None]]) -> None:
        async def work(server: RedisServer) -> None:
            for hold_id, fields in changes.items():
                key = f"{PREFIX}hold:{hold_id}"
                for name, value in fields.items():
                    await (
                        server.command("HDEL", key, name) if value is None else server.command("HSET", key, name, value)
                    )

        self.house.with_store(work)

    def read(self, hold_id: str) -> dict[str, str]:
        """Every field of a hold, as it stands there."""
        flat = self.command("HGETALL", f"{PREFIX}hold:{hold_id}")
        assert isinstance(flat, list)
        texts = [part.decode() for part in flat]
        return dict(zip(texts[::2], texts[1::2], strict=True))

    def keep(self, call: Call) -> dict[bytes, object]:
        """Copies of everything Redis has, to be put back later."""

        async def work(server: RedisServer) -> dict[bytes, object]:
            names = await server.command("KEYS", f"{PREFIX}*")
            assert isinstance(names, list)
            return {name: await server.command("DUMP", name) for name in names if isinstance(name, bytes)}

        assert self.hold(call)
        return self.house.with_store(work)

    def put_back(self, copies: Mapping[bytes, object], *, but: Collection[str] = ()) -> None:
        """The store as it was when it was copied, except what is named."""

        async def work(server: RedisServer) -> None:
            for name, dump in copies.items():
                if isinstance(dump, bytes) and name.decode().removeprefix(PREFIX) not in but:
                    await server.command("RESTORE", name, 0, dump, "REPLACE")

        self.house.with_store(work)

    def hold(self, call: Call) -> Hold:
        return self.house.hold(call.id)

    # --- what came of it ---------------------------------------------------------------------------------------------

    def journals(self) -> list[dict[str, object]]:
        return [line for house in (self.house, self.other) for line in house.journal()]


def named(journals: Sequence[Mapping[str, object]], call: Call, answers: Sequence[Response]) -> frozenset[str]:
    """By which words of tampering the journals name this hold, and these answers about it."""
    decisions = {json.loads(answer.body).get("decision_id") for answer in answers if answer.status >= 400}
    codes = {str(line.get("code")) for line in journals if line.get("decision_id") in decisions}
    events = {str(line.get("event")) for line in journals if line.get("hold_id") == call.id}
    return frozenset(codes & TAMPERING | events & EVENTS)


@contextmanager
def two_nodes(folder: Path) -> Iterator[Nodes]:
    """The second node has a directory of its own, and the first one's store and secret."""
    (folder / "one").mkdir()
    with open_town(folder / "one", workers=1) as town:
        settings = town.house.settings
        secret = folder / "secret.key"
        shutil.copy(settings.state / "secret.key", secret)
        ca = town.authority.write(folder)
        extra = f"upstream_cas: [{ca}]\n{ROOMY}redis_url: {EmbeddedStore(settings.state).url}\nsecret_file: {secret}\n"
        text = CLUSTERS.format(http=town.plain.port, https=town.tls.port)
        other = houses.build(folder / "two", clusters=text, extra=extra)
        try:
            other.start(workers=1)
            yield Nodes(town=town, other=other)
        finally:
            if other.process is not None and other.process.poll() is None:
                other.stop()
