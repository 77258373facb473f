"""Receivers of webhooks: real servers with real TLS, and the notifier of a deployment that tells them.

with Hearing.real(server) as hearing:
    ops = hearing.receiver("ops")
    async with hearing.telling():
        hold = await hearing.filer.file()
        await ops.heard("hold.filed")
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import identities
from certs import Authority
from filing import Filer
from origins import Origin, Reply, Request
from standardwebhooks import Webhook as Verifier

from proxy.core.addresses import OwnSurfaces
from proxy.core.clusters import compile_policy
from proxy.core.control import ControlView
from proxy.core.errors import Code, Unavailable
from proxy.core.model import Hold, Manifest
from proxy.policy.secrets import SecretSource
from proxy.policy.webhooks import Format, Target, Webhook
from proxy.ports import Holds, Marks, Resolver, Secrets
from proxy.review.notify.noticing import Noticing, Places
from proxy.review.notify.notifier import Notifier
from proxy.review.notify.posting import Postman
from proxy.review.notify.receivers import signing_secret
from proxy.review.opened import Reader
from proxy.review.service import ReviewService
from proxy.review.updates import Proposal
from proxy.stores.memory_holds import MemoryHolds
from proxy.stores.memory_marks import MemoryMarks
from proxy.stores.names import SystemResolver
from proxy.stores.redis import RedisServer
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.redis_marks import RedisMarks
from proxy.stores.vault import SecretVault

DESK = "https://desk.example"
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
HEARD_S = 10.0


class Told(Secrets):
    """Secrets by name."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def current(self, name: str) -> str:
        if name not in self.values:
            raise Unavailable(Code.CREDENTIAL_DOWN, "the secret cannot be read")
        return self.values[name]

    def refused(self, name: str) -> None: ...


class Begun(Marks):
    """Marks, and since when each was noted by the one who tells."""

    def __init__(self, marks: Marks) -> None:
        self.marks = marks
        self._noted: dict[str, asyncio.Event] = {}

    async def take(self, name: str, owner: str, *, for_s: int) -> str | None:
        return await self.marks.take(name, owner, for_s=for_s)

    async def note(self, name: str, owner: str, mark: str, *, for_s: int) -> bool:
        noted = await self.marks.note(name, owner, mark, for_s=for_s)
        self._noted.setdefault(name, asyncio.Event()).set()
        return noted

    async def leave(self, name: str, owner: str) -> None:
        await self.marks.leave(name, owner)

    async def begun(self, name: str) -> None:
        async with asyncio.timeout(HEARD_S):
            await self._noted.setdefault(f"webhook:{name}", asyncio.Event()).wait()


@dataclass(kw_only=True)
class Ear:
    """One receiver and what it heard."""

    origin: Origin
    webhook: Webhook

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(request.body) for request in self.origin.requests]

    def told(self, about: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message.get("type") == about]

    async def heard(self, about: str, times: int = 1) -> dict[str, Any]:
        """The newest message of this kind, once so many came."""
        await asyncio.to_thread(self.origin.wait_for, lambda _: len(self.told(about)) >= times, HEARD_S)
        return self.told(about)[-1]

    async def heard_of(self, about: str, hold: Hold) -> None:
        """Once a message of this kind came about this hold."""

        def seen(_: Origin) -> bool:
            return any(each["data"].get("hold") == hold.id for each in self.told(about))

        await asyncio.to_thread(self.origin.wait_for, seen, HEARD_S)

    async def asked(self, times: int) -> list[Request]:
        """Every request, once so many came."""
        await asyncio.to_thread(self.origin.wait_for, lambda seen: len(seen.requests) >= times, HEARD_S)
        return self.origin.requests

    def answer(self, *replies: Reply) -> None:
        """Answer so, one after the other, and always as the last."""
        left = list(replies)
        self.origin.on("POST", "*", lambda _: left.pop(0) if len(left) > 1 else left[0])


def verify(request: Request, secret: str = SECRET) -> dict[str, Any]:
    """The message of a request, as a receiver's library reads it; raises where its signature does not count."""
    headers = {name.lower(): value for name, value in request.headers}
    message: dict[str, Any] = Verifier(secret).verify(request.body, headers)
    return message


@dataclass(kw_only=True)
class Hearing:
    """A deployment with held calls, receivers, and what tells them."""

    holds: Holds
    marks: Begun
    now: Callable[[], datetime]
    authority: Authority = field(default_factory=Authority)
    ears: list[Ear] = field(default_factory=list)
    secrets: Told = field(default_factory=Told)
    own: OwnSurfaces = field(default_factory=OwnSurfaces)
    manifests: tuple[Manifest, ...] = ()
    view: ControlView = field(default_factory=ControlView)
    proposals: tuple[Proposal, ...] = ()
    resolver: Resolver = field(default_factory=SystemResolver)

    def __post_init__(self) -> None:
        world = identities.world(now=self.now())
        self.bundle = world.bundle
        self.vault = SecretVault(b"s" * 32)
        policy = compile_policy(self.bundle)
        self.filer = Filer(holds=self.holds, vault=self.vault, bundle=self.bundle, tokens=world.tokens, now=self.now())
        self.reviews = ReviewService(
            holds=self.holds,
            vault=self.vault,
            policy=lambda: policy,
            clock=self.now,
            new_nonce=lambda: identities.nonce("review"),
        )

    @classmethod
    @contextmanager
    def in_memory(cls, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> "Iterator[Hearing]":
        hearing = cls(holds=MemoryHolds(now=clock), marks=Begun(MemoryMarks(now=clock)), now=clock)
        try:
            yield hearing
        finally:
            hearing.close()

    @classmethod
    @contextmanager
    def real(cls, server: RedisServer) -> "Iterator[Hearing]":
        hearing = cls(holds=RedisHolds(server), marks=Begun(RedisMarks(server)), now=lambda: datetime.now(UTC))
        try:
            yield hearing
        finally:
            hearing.close()

    def close(self) -> None:
        for ear in self.ears:
            ear.origin.__exit__()

    def receiver(self, name: str = "ops", **more: Any) -> Ear:
        """One more receiver: https on loopback, with a certificate for `localhost`."""
        origin = Origin(tls=self.authority.server("localhost")).__enter__()
        origin.on("POST", "*", Reply(status=204))
        target = Target(scheme="https", host="localhost", port=origin.port, path="/hook")
        signed = None if more.get("format") is Format.SLACK else SecretSource(environment="HOOK")
        usual = {"name": name, "target": target, "addresses": (ip_network("127.0.0.0/8"),), "secret": signed}
        webhook = Webhook(**(usual | more))
        self.secrets.values[signing_secret(webhook)] = SECRET
        self.ears.append(Ear(origin=origin, webhook=webhook))
        return self.ears[-1]

    @property
    def noticing(self) -> Noticing:
        policy = compile_policy(self.bundle)

        async def proposals() -> tuple[Proposal, ...]:
            return self.proposals

        return Noticing(
            holds=self.holds,
            reader=Reader(holds=self.holds, vault=self.vault, policy=lambda: policy, clock=self.now),
            policy=lambda: policy,
            clock=self.now,
            places=Places(desk=DESK),
            manifests=lambda: self.manifests,
            view=lambda: self.view,
            proposals=proposals,
        )

    @property
    def postman(self) -> Postman:
        return Postman(resolver=self.resolver, tls=self.authority.client_context(), own=self.own)

    def notifier(self, owner: str = "desk-1") -> Notifier:
        return Notifier(
            webhooks=[ear.webhook for ear in self.ears],
            noticing=self.noticing,
            postman=self.postman,
            secrets=self.secrets,
            holds=self.holds,
            marks=self.marks,
            clock=self.now,
            owner=owner,
            look_s=0.05,
            retry_s=(0.01,),
        )

    @asynccontextmanager
    async def telling(self, owner: str = "desk-1") -> AsyncIterator[None]:
        """While this is entered, receivers are told; it begins where they were left."""
        self.marks = Begun(self.marks.marks)
        running = asyncio.ensure_future(self.notifier(owner).run())
        try:
            for ear in self.ears:
                await self.marks.begun(ear.webhook.name)
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def release(self, hold: Hold, by: str = identities.SPONSOR) -> None:
        await self.reviews.release(hold.id, person=self.bundle.people[by], key=identities.key(by))
