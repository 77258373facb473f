"""A deployment made by `init` whose holds are in a Valkey of its own, for tests of the command line."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import identities
from filing import Filer
from valkeys import Valkey

from proxy.agent.keyfile import load_key
from proxy.core.control import ControlView
from proxy.core.model import Hold
from proxy.policy.bundle import load_bundle
from proxy.policy.settings import load_settings
from proxy.stores.redis import RedisServer
from proxy.stores.redis_control import RedisControl
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.statements import Statements
from proxy.stores.vault import open_vault

OUTSIDE = "https://erp.example/v1/salaries"


@dataclass(kw_only=True)
class Office:
    """A deployment whose holds are in a Valkey of its own."""

    home: Path
    valkey: Valkey

    def use[T](self, work: Callable[[Filer, RedisHolds], Awaitable[T]]) -> T:
        async def run() -> T:
            server = RedisServer(self.valkey.url)
            try:
                holds = RedisHolds(server)
                bundle = load_bundle(load_settings(self.home / "proxy.yaml"), dev=False, floor=0)
                root = (self.home / "manifests" / "robot.jws").read_text().strip()
                now = datetime.now(UTC)
                leaf = identities.child(root, signer=load_key(self.home / "keys" / "robot.pem"), now=now)
                vault = open_vault(self.home / "state" / "secret.key")
                filer = Filer(holds=holds, vault=vault, bundle=bundle, tokens=(root, leaf), now=now)
                return await work(filer, holds)
            finally:
                await server.close()

        return asyncio.run(run())

    def file(
        self, url: str = OUTSIDE, *, method: str = "GET", task: str = "T-1", cluster: str | None = None, **more: object
    ) -> Hold:
        headers = more.pop("headers", (("Authorization", "Bearer s3cret"), ("X-Note", "plain")))
        return self.use(
            lambda filer, _: filer.file(url, method=method, task=task, cluster=cluster, headers=headers, **more)  # type: ignore[arg-type]
        )

    def hold(self, hold_id: str) -> Hold:
        found = self.use(lambda _, holds: holds.get(hold_id))
        assert found is not None
        return found

    def control_token(self) -> str:
        """The last word about the robot, as it was signed."""
        return self.control().words["robot"][-1].token

    def control(self) -> ControlView:
        async def run() -> ControlView:
            server = RedisServer(self.valkey.url)
            bundle = load_bundle(load_settings(self.home / "proxy.yaml"), dev=False, floor=0)
            control = RedisControl(server, Statements(lambda: bundle))
            await control.ready()
            await server.close()
            return control.view()

        return asyncio.run(run())
