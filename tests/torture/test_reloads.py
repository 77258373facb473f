"""Operators sign new policies while agents call, and every third time something is wrong with it.

The last good bundle decides, all the while, and no decision mixes two: each names its bundle, and the line
of the rule it names is that bundle's.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import identities
import pytest
from houses import CLUSTERS, House
from towns import Town, open_town

from proxy.policy.bundle import sign_bundle

THREADS = 3
IN_FORCE_S = 5.0
PATH = "/v1/invoices/17"


def policy(number: int) -> str:
    """The usual clusters, so many lines further down: a decision names the line of its rule."""
    return "#\n" * number + CLUSTERS


def put(path: Path, data: bytes) -> None:
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(data)
    draft.chmod(0o644)
    draft.replace(path)


# --- what can be wrong -----------------------------------------------------------------------------------------------


def unsigned(house: House, clusters: str, old: bytes) -> None:
    put(house.folder / "clusters.yaml", clusters.encode())
    put(house.settings.bundle, house.settings.bundle.read_bytes() + b"\n\n")


def half(house: House, clusters: str, old: bytes) -> None:
    put(house.settings.bundle, house.settings.bundle.read_bytes()[:100])


def gone(house: House, clusters: str, old: bytes) -> None:
    house.settings.bundle.unlink()


def not_yaml(house: House, clusters: str, old: bytes) -> None:
    put(house.folder / "clusters.yaml", b"clusters: [")
    put(house.settings.bundle, house.settings.bundle.read_bytes())


def older(house: House, clusters: str, old: bytes) -> None:
    put(house.settings.bundle, old)


def by_a_stranger(house: House, clusters: str, old: bytes) -> None:
    head, payload, _ = house.settings.bundle.read_text().strip().split(".")
    other = identities.resealed(f"{head}.{payload}.AA", identities.key("mallory"), typ="intent-bundle+jwt")
    put(house.settings.bundle, other.encode())


BROKEN: tuple[Callable[[House, str, bytes], None], ...] = (unsigned, half, gone, not_yaml, older, by_a_stranger)


class Load:
    """Threads that call without end."""

    def __init__(self, town: Town) -> None:
        self.town, self.answers, self._over = town, 0, threading.Event()
        self.faults: list[str] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._call, daemon=True) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(30)

    def _call(self) -> None:
        chain = self.town.house.chain()
        while not self._over.is_set():
            answer = self.town.house.call("GET", self.town.url("plain", PATH), chain=chain)
            self.answers += 1
            if answer.status != 200:
                self.faults.append(f"{answer.status} {answer.body!r}")


def line_of(decision: dict[str, Any]) -> int:
    """The line of the rule that decided, as the decision names it."""
    return int(decision["rule"]["line"])


class Decisions:
    """The bundle and the line that each decision names, read on as the journal grows."""

    def __init__(self, house: House) -> None:
        self._folder = house.settings.state / "journal"
        self._read: dict[Path, int] = {}
        self.all: list[tuple[str, int]] = []
        self.came_into_force: list[str] = []

    def news(self) -> list[tuple[str, int]]:
        """Those not seen before."""
        found = []
        for path in self._folder.glob("*.jsonl"):
            data = path.read_bytes()[self._read.get(path, 0) :]
            whole = data[: data.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            lines = [json.loads(line) for line in whole.splitlines()]
            found += [(str(x["bundle_sha256"]), line_of(x)) for x in lines if x["kind"] == "decision"]
            self.came_into_force += [x["bundle_sha256"] for x in lines if x["kind"] == "policy"]
        self.all += found
        return found


def reload(folder: Path, *, times: int, seed: int) -> str:
    chance = random.Random(seed)
    operator = identities.key("operator")
    with open_town(folder, workers=1) as town:
        house, load, told = town.house, Load(town), Decisions(town.house)
        ports = {"http": town.plain.port, "https": town.tls.port}
        lines = {house.bundle.sha256: 0}
        good, broken, old = house.bundle.sha256, 0, house.settings.bundle.read_bytes()
        with load.running():
            for number in range(1, times + 1):
                files = {name: (house.folder / name).read_bytes() for name in ("clusters.yaml",)}
                bundle = house.settings.bundle.read_bytes()
                if number % 3 == 0:
                    broken += 1
                    BROKEN[broken % len(BROKEN)](house, policy(number).format(**ports), old)
                    told.news()
                    time.sleep(chance.uniform(0.5, 1.0))  # long enough to be looked at
                    assert {sha for sha, _ in told.news()} == {good}
                    for name, data in files.items():
                        put(house.folder / name, data)
                    put(house.settings.bundle, bundle)
                    continue
                put(house.folder / "clusters.yaml", policy(number).format(**ports).encode())
                signed = sign_bundle(house.settings, operator, now=datetime.now(UTC))
                good = signed.sha256
                lines[good] = number
                deadline_s = time.monotonic() + IN_FORCE_S
                while good not in {sha for sha, _ in told.news()}:
                    assert time.monotonic() < deadline_s, f"version {signed.version} is not in force in {IN_FORCE_S} s"
                    time.sleep(0.02)
        told.news()
        assert load.faults == []
        first = next(line for sha, line in told.all if lines[sha] == 0)
        mixed = [(sha, line) for sha, line in told.all if line != first + lines[sha]]
        assert mixed == []
        assert told.came_into_force == [sha for sha, number in lines.items() if number]
        assert len({sha for sha, _ in told.all}) == times - broken + 1
        return f"{times} reloads, {broken} of them broken, {len(told.all)} decisions, none mixed, none refused"


@pytest.mark.system
def test_the_last_good_bundle_decides_while_others_are_signed(tmp_path: Path) -> None:
    print(reload(tmp_path, times=9, seed=1))


@pytest.mark.long
def test_the_last_good_bundle_decides_through_200_reloads(tmp_path: Path) -> None:
    print(reload(tmp_path, times=200, seed=2))
