"""Nodes and store are killed at any moment: every hold an agent was told of is there, decrypts, and is its call."""

import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import houses
import pytest
from houses import CLUSTERS, House
from survivors import Agents, findings, kill, lost, revive
from towns import ROOMY, Town, open_town

from proxy.core.errors import Unavailable
from proxy.stores.embedded import EmbeddedStore

OUTSIDE = "/v1/payments"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many of everything."""

    calls: int
    node_kills: int
    store_kills: int


SHORT = Plan(calls=60, node_kills=3, store_kills=2)
LONG = Plan(calls=1000, node_kills=50, store_kills=20)


def second_node(town: Town, folder: Path) -> House:
    """Another node on the first one's store, with its secret."""
    state = town.house.settings.state
    secret = folder / "secret.key"
    secret.write_bytes((state / "secret.key").read_bytes())
    secret.chmod(0o600)
    extra = (
        f"upstream_cas: [{town.authority.write(folder)}]\n{ROOMY}"
        f"redis_url: {EmbeddedStore(state).url}\nsecret_file: {secret}\n"
    )
    return houses.build(
        folder / "two", clusters=CLUSTERS.format(http=town.plain.port, https=town.tls.port), extra=extra
    )


def kill_store(store: EmbeddedStore) -> None:
    """kill -9 of the store; a node that lives brings it back."""
    try:
        pid = store.pid()
    except Unavailable:
        return
    if pid is not None:
        os.kill(pid, signal.SIGKILL)


def survive(folder: Path, plan: Plan, seed: int) -> str:
    """Let agents ask while nodes and store are killed in an order and at moments that the seed gives."""
    chance = random.Random(seed)
    (folder / "one").mkdir(parents=True)
    with open_town(folder / "one", workers=1) as town:
        store, other = EmbeddedStore(town.house.settings.state), second_node(town, folder)
        nodes = [town.house, other]
        other.start(workers=1)
        try:
            agents = Agents(houses=nodes, url=town.url("plain", OUTSIDE), calls=plan.calls)
            victims: list[House | EmbeddedStore] = [store] * plan.store_kills
            victims += [chance.choice(nodes) for _ in range(plan.node_kills)]
            chance.shuffle(victims)
            with agents.asking():
                for victim in victims:
                    time.sleep(chance.uniform(0.0, 0.3))  # not to wait for anything: the moment is the seed's
                    if isinstance(victim, EmbeddedStore):
                        kill_store(victim)
                    else:
                        kill(victim)
                        store.start()  # as the first node does; the second cannot begin without it
                        revive(victim)
            store.start()
            faults = lost(town.house, agents.url, agents.told, store_url=store.url)
            assert (len(agents.told) >= plan.calls, faults) == (True, [])
            assert town.plain.since(()).nothing
        finally:
            if other.process is not None and other.process.poll() is None:
                other.stop()
        for node in nodes:
            assert findings(node) == []
        return f"seed {seed}: {plan.calls} calls held, {len(victims)} kills, lost 0"


@pytest.mark.system
def test_no_hold_is_lost_when_nodes_and_store_are_killed(tmp_path: Path) -> None:
    print(survive(tmp_path, SHORT, seed=1))


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_hold_is_lost_in_many_kills(tmp_path: Path, seed: int) -> None:
    print(survive(tmp_path, LONG, seed=seed))
