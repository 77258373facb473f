"""Many held calls, two reviewers who race each other, agents who ask everywhere at once, three nodes, and deaths.

For each call the origin is asked at most once, and what became of it is known, or known to be unknown.
"""

import json
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import identities
import pytest
from houses import CLUSTERS, House
from nodes import kill_workers, nodes, wait_for
from origin_replies import Gate, Reply, Request
from origins import Origin
from rawclient import Broken
from towns import ROOMY

from proxy.core.errors import Rejected, Unavailable
from proxy.core.holds import Event
from proxy.core.model import Hold, HoldState, Verdict
from proxy.core.release import state_release
from proxy.stores.redis import RedisServer
from proxy.stores.redis_holds import RedisHolds

REVIEWED = (
    CLUSTERS
    + """\
  - id: payments
    description: Sent by the proxy
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations:
      - name: pay
        methods: [POST]
        path: /v1/payments/{{id}}
    review: {{always: true, effect: deliver, who: [sponsor, ben]}}
  - id: orders
    description: Sent again by its agent
    risk: routine
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{http}, {https}]
    addresses: [127.0.0.0/8]
    operations:
      - name: order
        methods: [POST]
        path: /v1/orders/{{id}}
    review: {{always: true, who: [sponsor, ben]}}
"""
)
OVER = (HoldState.RELEASED, HoldState.UNCERTAIN, HoldState.DENIED, HoldState.EXPIRED)
JSON = ("Content-Type", "application/json")
AGENTS = 5


@dataclass
class Run:
    """One run: what was asked, by its hold, and who is to hurry."""

    houses: tuple[House, ...]
    origin: Origin
    seed: int
    targets: dict[str, str] = field(default_factory=dict)  # hold id -> path
    killed: set[str] = field(default_factory=set)  # workers that were, by the name their claims bear
    over: threading.Event = field(default_factory=threading.Event)

    def slow(self, _: Request) -> Reply:
        """An answer after a moment: long enough to die in."""
        gate = Gate()
        threading.Timer(random.Random(secrets.token_bytes(8)).uniform(0.0, 0.3), gate.open).start()
        return Reply(before=gate, json={"done": True})

    def states(self) -> dict[str, HoldState]:
        held = self.houses[0].with_store(lambda server: _states(server, tuple(self.targets)))
        return {hold.id: hold.state for hold in held}

    # --- agents ------------------------------------------------------------------------------------------------------

    def ask(self, number: int, calls: int) -> None:
        """File so many calls; then, until the end, ask for those that are to be sent again, at any node."""
        luck, house = random.Random(self.seed * 1000 + number), self.houses[number % len(self.houses)]
        chain, mine = house.chain(), []
        for _ in range(calls):
            path = f"/v1/{luck.choice(['payments', 'orders'])}/{secrets.token_hex(8)}"
            hold = None
            while hold is None:
                hold = self._post(luck.choice(self.houses), path, chain)[1]
            self.targets[hold] = path
            mine.append((hold, path))
        while not self.over.is_set():
            hold, path = luck.choice(mine)
            if "/orders/" in path and self.houses[0].hold(hold).state is HoldState.APPROVED:
                with ThreadPoolExecutor(len(self.houses)) as pool:  # everywhere at once
                    list(pool.map(lambda each, path=path: self._post(each, path, chain), self.houses))

    def _post(self, house: House, path: str, chain: Sequence[str]) -> tuple[int, str | None]:
        """Status and hold, if there is one; nothing when the node is away."""
        url = self.origin.url(path, host="erp.example")
        try:
            answer = house.call("POST", url, chain=chain, headers=[JSON], body=b"{}", intent="", timeout_s=20)
            document = json.loads(answer.body)
        except (OSError, Broken, ValueError, AssertionError):
            return 0, None
        return answer.status, document.get("task", {}).get("id")

    # --- reviewers ---------------------------------------------------------------------------------------------------

    def review(self, by: str, number: int) -> None:
        luck = random.Random(self.seed * 7 + number)
        while not self.over.is_set():
            waiting = [hold for hold, state in self.states().items() if state is HoldState.HELD]
            luck.shuffle(waiting)
            for hold in waiting[:20]:
                verdict = Verdict.DENY if luck.random() < 0.15 else Verdict.ALLOW
                with suppress(Rejected, Unavailable):
                    self.houses[0].with_store(lambda server, h=hold, v=verdict: _rule(server, h, v, by))
            time.sleep(0.02)

    # --- deaths ------------------------------------------------------------------------------------------------------

    def kill(self, times: int, pause_s: float) -> None:
        luck = random.Random(self.seed * 31)
        for _ in range(times):
            self.over.wait(luck.uniform(0.3, 1.0) * pause_s)
            kill_workers(luck.choice(self.houses))


async def _states(server: RedisServer, ids: Sequence[str]) -> list[Hold]:
    holds = RedisHolds(server)
    return [hold for each in ids if (hold := await holds.get(each)) is not None]


async def _rule(server: RedisServer, hold_id: str, verdict: Verdict, by: str) -> None:
    holds, now = RedisHolds(server), datetime.now(UTC)
    hold = await holds.get(hold_id)
    assert hold is not None
    statement = state_release(
        hold=hold,
        verdict=verdict,
        by=by,
        reason="seen",
        deployment=identities.DEPLOYMENT,
        key=identities.key(by),
        now=now,
        not_after=now + timedelta(hours=1),
        nonce=identities.nonce(secrets.token_hex(8)),
    )
    event = Event.APPROVE if verdict is Verdict.ALLOW else Event.DENY
    await holds.apply(hold_id, event, statement=statement, by=by, reason="seen")


@pytest.mark.parametrize(
    ("calls", "kills", "seed"),
    [
        pytest.param(60, 3, 1, id="short", marks=pytest.mark.system),
        pytest.param(500, 12, 2, id="long", marks=pytest.mark.long),
        pytest.param(500, 0, 3, id="long, and nobody dies", marks=pytest.mark.long),
    ],
)
def test_each_call_is_sent_at_most_once_and_none_is_lost(tmp_path: Path, calls: int, kills: int, seed: int) -> None:
    with Origin() as origin:
        rules = REVIEWED.format(http=origin.port, https=origin.port + 1)
        with nodes(tmp_path, 3, clusters=rules, extra=ROOMY) as (valkey, houses):
            run = Run(houses, origin, seed)
            origin.on("POST", "/v1/*", run.slow)
            work = [lambda n=n: run.ask(n, calls // AGENTS) for n in range(AGENTS)]
            work += [
                lambda n=n, by=by: run.review(by, n) for n, by in enumerate((identities.SPONSOR, identities.DEPUTY))
            ]
            work.append(lambda: run.kill(kills, 2.0 if calls < 100 else 8.0))
            with ThreadPoolExecutor(len(work)) as pool:
                jobs = [pool.submit(each) for each in work]
                asked = calls // AGENTS * AGENTS
                try:
                    jobs[-1].result()
                    wait_for(lambda: len(run.targets) == asked, "every call was asked for", within_s=300)
                    wait_for(lambda: set(run.states().values()) <= {*OVER}, "every call is over", within_s=300)
                finally:
                    run.over.set()
            for job in jobs:
                job.result()
            states = run.states()
            lost = [hold for hold, state in states.items() if state is HoldState.UNCERTAIN]
            claimants = {houses[0].hold(hold).claimed_by.partition("/")[0] for hold in lost}
            with valkey.client() as client:
                now_ms = time.time() * 1000
                beats = {name: now_ms - beat for name, beat in client.zrange("{ip:0}:beats", 0, -1, withscores=True)}
    sent = Counter(seen.target for seen in origin.requests)
    assert max(sent.values()) == 1, sent.most_common(3)
    assert len(states) == asked
    assert {hold for hold, state in states.items() if state is HoldState.RELEASED} <= {
        hold for hold, path in run.targets.items() if sent[path] == 1
    }
    assert all(sent[run.targets[hold]] == 0 for hold, state in states.items() if state is HoldState.DENIED)
    assert all(beats[worker] > 5000 for worker in claimants), "a call is uncertain though nobody died over it"
    assert not (lost and not kills)
    ended = ", ".join(f"{count} {state.value}" for state, count in sorted(Counter(states.values()).items()))
    print(f"seed {seed}: {asked} holds, {kills} kills: {ended}; sent twice 0, lost 0")
