"""Agents that go on asking while things are killed, and what they were told: every hold of it must be there afterwards.

agents = Agents(town.house, town.url("plain", "/v1/payments"), calls=40)
with agents.asking(): ...kill...
agents.finish()
assert lost(town.house, url, agents.told) == []
"""

import asyncio
import json
import os
import signal
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from houses import House
from rawclient import Broken

from proxy.agent.keyfile import load_key
from proxy.audit.sinks import read_checkpoint_file
from proxy.audit.verify import verify_journal
from proxy.core.clusters import compile_policy
from proxy.core.errors import Rejected
from proxy.review.service import ReviewService
from proxy.stores.redis import RedisServer
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.vault import open_vault

THREADS = 4
PER_MANDATE = 100
PATIENCE_S = 120.0


@dataclass(kw_only=True)
class Agents:
    """Threads that each ask for calls outside their mandate until told that they are held."""

    houses: Sequence[House]
    url: str
    calls: int
    told: dict[str, bytes] = field(default_factory=dict)  # hold id -> the call's body
    faults: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(init=False)
    _chains: list[Sequence[str]] = field(init=False)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _over: bool = False
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = iter(range(self.calls))
        self._chains = [self.houses[0].chain() for _ in range(0, self.calls, PER_MANDATE)]

    @contextmanager
    def asking(self) -> Iterator[None]:
        """While the block runs; and until the last call is held."""
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()
        yield
        for thread in self._threads:
            thread.join(PATIENCE_S)
        assert not any(thread.is_alive() for thread in self._threads), "not every call was held in time"
        assert self.faults == []

    def until_killed(self, seconds: float) -> None:
        """Ask for so long and leave the rest; what is under way then ends as it may."""
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()
        time.sleep(seconds)  # not to wait for anything: the moment is the caller's
        self._over = True

    def gather(self) -> dict[str, bytes]:
        """What was told, once nobody asks any more."""
        for thread in self._threads:
            thread.join(PATIENCE_S)
        return self.told

    def _ask(self) -> None:
        while True:
            with self._turn:
                number = next(self._numbers, None)
            if number is None or self._over:
                return
            self._until_held(number)

    def _until_held(self, number: int) -> None:
        body, deadline_s = b"number=%d" % number, time.monotonic() + PATIENCE_S
        attempt = 0
        while time.monotonic() < deadline_s and not self._over:
            house = self.houses[(number + attempt) % len(self.houses)]
            attempt += 1
            try:
                answer = house.call("POST", self.url, chain=self._chains[number // PER_MANDATE], body=body, timeout_s=5)
                document = json.loads(answer.body)
            except (Broken, OSError, ssl.SSLError, ValueError):
                time.sleep(0.05)  # it was killed: what else could be waited for
                continue
            if answer.status == 403 and "task" in document:
                with self._turn:
                    self.told[document["task"]["id"]] = body
                return
            if answer.status != 503:
                self.faults.append(f"{number}: {answer.status} {document.get('code')}")
                return
            time.sleep(0.05)
        if not self._over:
            self.faults.append(f"{number}: not held in {PATIENCE_S:g} s")


def lost(house: House, url: str, told: Mapping[str, bytes], *, store_url: str) -> list[str]:
    """Every hold that is not there, does not decrypt, or is not the call whose digest it bears."""
    policy = compile_policy(house.bundle)

    async def work() -> list[str]:
        server, faults = RedisServer(store_url), []
        service = ReviewService(
            holds=RedisHolds(server),
            vault=open_vault(house.settings.state / "secret.key", make=False),
            policy=lambda: policy,
            clock=lambda: datetime.now(UTC),
            new_nonce=str,
        )
        for hold_id, body in told.items():
            try:
                held = await service.show(hold_id)
            except Rejected as fault:
                faults.append(f"{hold_id}: {fault.detail}")
                continue
            if held.shown is None or held.shown.body != body or not url.endswith(held.shown.stored.call.path):
                faults.append(f"{hold_id}: another call than {body!r}")
        await server.close()
        return faults

    return asyncio.run(work())


def findings(house: House) -> list[str]:
    """What is wrong with a node's journal, by its own key and its own checkpoints; nothing should be."""
    state = house.settings.state
    tokens = read_checkpoint_file(state / "checkpoints.jsonl")
    report = verify_journal(state / "journal", checkpoints=tokens, node_keys=[load_key(state / "node.key").public])
    return [f"{finding.file}:{finding.line}: {finding.detail}" for finding in report.findings]


def kill(house: House) -> None:
    """kill -9 of the whole node: supervisor and workers, no time for anything."""
    assert house.process is not None
    os.killpg(house.process.pid, signal.SIGKILL)
    house.process.wait()


def revive(house: House) -> None:
    """Start a killed node again where it was."""
    house.start(workers=1, listen_port=house.address[1])
