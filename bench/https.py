"""CPU and latency per request over HTTPS keep-alive: every system in turn, round after round, each round checked."""

import random
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from bench.children import Child, Message
from bench.cpu import tree_cpu_s
from bench.deployment import HOST, make_certificates, make_deployment
from bench.evidence import JournalTail, journal_findings, nonces_in_store
from bench.failures import Dishonest, Failed
from bench.honesty import Record, Sent, faults_of_round
from bench.load import PLANTS
from bench.machine import Cores
from bench.systems import System, free_port, ours, start_full, start_off, start_stock, stock

CONNECTIONS = 16
PLANTED_PERCENT = 1

type Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One system under one kind of request."""

    name: str
    system: str
    signed: bool  # requests carry our headers, freshly signed
    title: str


LANES = (
    Lane(name="stock", system="stock", signed=False, title="stock `mitmdump -q`, lazy, our EC authority"),
    Lane(name="stock_defaults", system="stock_defaults", signed=False, title="stock `mitmdump -q`, its own defaults"),
    Lane(name="off", system="off", signed=False, title="ours, enforcement off"),
    Lane(name="full", system="full", signed=True, title="ours, full enforcement"),
)
CARRYING = (
    Lane(name="stock_carrying", system="stock", signed=True, title="stock, lazy, the same signed requests"),
    Lane(name="off_carrying", system="off", signed=True, title="ours, enforcement off, the same signed requests"),
)
"""Not what anyone would run: they show how much of the price is the weight of the headers alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One round of one lane. `cpu_us` is user and system time of all its processes; the store's is beside it."""

    cpu_us: float
    store_us: float
    p50_us: float
    p99_us: float
    per_s: float
    busy: float  # cores its processes kept busy meanwhile
    request_bytes: int

    def as_json(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured. `count` calls are measured in each round, after `warmup` more."""

    lanes: tuple[Lane, ...]
    rounds: int
    count: int
    warmup: int
    planted_count: int = 600  # calls of the round with planted ones


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Everything that was measured, and what was checked on the way."""

    rounds: dict[str, list[Measured]] = field(default_factory=dict)
    tls: dict[str, dict[str, str]] = field(default_factory=dict)
    checked: dict[str, int] = field(default_factory=dict)


class Street:
    """An origin, a load generator and every system, running."""

    def __init__(
        self, folder: Path, cores: Cores, lanes: Sequence[Lane], tell: Tell, *, also: Collection[str] = ()
    ) -> None:
        self._folder, self.cores, self._tell = folder, cores, tell
        self._wanted = {*also, *(lane.system for lane in lanes)}
        self._stack = ExitStack()
        self.systems: dict[str, System] = {}

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self) -> None:
        folder, cores = self._folder, self.cores
        certificates = make_certificates(folder)
        self.origin, self.floods = (
            self._kept(Child(name, _module(f"bench.{name}", *certificates.pair), folder=folder, cores=cores.origin))
            for name in ("origin", "floods")
        )
        ports = [int(each.answer()["port"]) for each in (self.origin, self.floods)]
        self.authority, self.floods_authority = (f"{HOST}:{port}" for port in ports)
        self.deployment = make_deployment(folder, certificates, ports=ports)
        self.journal = JournalTail(self.deployment.settings.state / "journal")
        listening = {name: free_port() for name in ("stock", "stock_defaults", "stock_streaming")}
        started = {name: self._kept(self._start(name, listening)) for name in sorted(self._wanted)}
        self.load = self._kept(Child("load", _module("bench.load"), folder=folder, cores=cores.load))
        for name, child in started.items():
            self._tell(f"waiting for {name}")
            if name in listening:
                self.systems[name] = stock(name, child, folder, port=listening[name])
            else:
                self.systems[name] = ours(name, child, self.deployment, cores)

    def _start(self, name: str, ports: Mapping[str, int]) -> Child:
        here, folder, cores = self.deployment, self._folder, self.cores
        match name:
            case "full":
                return start_full(here, folder, cores)
            case "off":
                return start_off(here, folder, cores)
            case "stock":
                lazy = ["connection_strategy=lazy"]
                return start_stock(name, here, folder, cores, port=ports[name], options=lazy, ca=True)
            case "stock_streaming":
                streaming = ["connection_strategy=lazy", "stream_large_bodies=1"]
                return start_stock(name, here, folder, cores, port=ports[name], options=streaming, ca=True)
            case "stock_defaults":
                return start_stock(name, here, folder, cores, port=ports[name], options=[], ca=False)
            case _:
                raise ValueError(f"no system is called {name}")

    def _kept(self, child: Child) -> Child:
        self._stack.callback(child.end)
        return child

    # --- one round ---------------------------------------------------------------------------------------------------

    def measure(
        self,
        lane: Lane,
        *,
        count: int,
        warmup: int,
        plants: Mapping[int, str] | None = None,
    ) -> tuple[Measured, dict[str, str]]:
        """One round: sign, connect, warm up, measure, and check everything that must agree.

        Raises:
            Dishonest: something does not agree; the round's numbers are worth nothing.
            Failed: a part broke.
        """
        system = self.systems[lane.system]
        self.origin.ask({"take": True})
        self.journal.allowed()
        ready = self.load.ask(
            {
                "proxy": system.address,
                "ca_file": str(system.ca_file),
                "authority": self.authority,
                "connections": CONNECTIONS,
                "warmup": warmup,
                "count": count,
                "signing": self.deployment.signing() if lane.signed else None,
                "plants": {str(place): kind for place, kind in (plants or {}).items()},
            }
        )
        cpu_s, store_s = _used(system)
        done = self.load.ask({"go": True}, within_s=120.0)
        cpu_after_s, store_after_s = _used(system)
        self._check(lane, done)
        wall_s = done["wall_s"]
        measured = Measured(
            cpu_us=(cpu_after_s - cpu_s) / count * 1e6,
            store_us=(store_after_s - store_s) / count * 1e6,
            p50_us=done["p50_us"],
            p99_us=done["p99_us"],
            per_s=count / wall_s,
            busy=(cpu_after_s - cpu_s) / wall_s,
            request_bytes=ready["request_bytes"],
        )
        return measured, ready["ready"]

    def _check(self, lane: Lane, done: Message) -> None:
        sent = [Sent(**{key: value for key, value in call.items() if key != "keyid"}) for call in done["calls"]]
        arrived = self.origin.ask({"take": True})["targets"]
        faults = faults_of_round(sent, arrived=arrived, record=self._record(done) if lane.system == "full" else None)
        if faults:
            raise Dishonest(f"the round of {lane.name} does not count", faults)

    def _record(self, done: Message) -> Record:
        passing = [call for call in done["calls"] if not call["plant"]]
        nonces = sorted({call["nonce"] for call in passing})
        keyid = passing[0]["keyid"] if passing else ""
        spent = nonces_in_store(self.deployment.settings, keyid=keyid, nonces=nonces)
        return Record(allowed=self.journal.allowed(), nonces_in_store=spent)

    def check_journal(self) -> None:
        """The whole journal must verify.

        Raises:
            Dishonest: it does not.
        """
        if findings := journal_findings(self.deployment.settings):
            raise Dishonest("the journal does not verify", findings)


def _used(system: System) -> tuple[float, float]:
    """CPU seconds of a system's processes, and of its store."""
    store_s = tree_cpu_s(system.store_pid) if system.store_pid is not None else 0.0
    return tree_cpu_s(system.child.pid), store_s


def _module(name: str, *words: object) -> list[str]:
    return [sys.executable, "-m", name, *map(str, words)]


# --- all of it -------------------------------------------------------------------------------------------------------


def run(plan: Plan, street: Street, tell: Tell) -> Outcome:
    """Every round of every lane, interleaved, and one round with planted calls that must not pass.

    Raises:
        Dishonest: what was sent, judged, recorded and received do not agree.
        Failed: a part broke.
    """
    outcome = Outcome(rounds={lane.name: [] for lane in plan.lanes})
    full = next((lane for lane in plan.lanes if lane.system == "full"), None)
    if full is not None:
        outcome.checked |= _check_plants(street, full, plan, tell)
    for number in range(plan.rounds):
        turn = number % len(plan.lanes)
        for lane in (*plan.lanes[turn:], *plan.lanes[:turn]):  # nobody is always first
            measured, tls = street.measure(lane, count=plan.count, warmup=plan.warmup)
            outcome.rounds[lane.name].append(measured)
            outcome.tls[lane.name] = tls
            said = f"{measured.cpu_us:.0f} µs CPU a call, p99 {measured.p99_us / 1000:.1f} ms"
            tell(f"round {number + 1}/{plan.rounds}, {lane.name}: {said}")
    _check_same_tls(outcome.tls)
    if full is not None:
        street.check_journal()
        outcome.checked["rounds"] = plan.rounds
        outcome.checked["calls"] = plan.rounds * (plan.count + plan.warmup)
    return outcome


def _check_plants(street: Street, lane: Lane, plan: Plan, tell: Tell) -> dict[str, int]:
    count = plan.planted_count
    places = sorted(random.Random(count).sample(range(count), max(len(PLANTS), count * PLANTED_PERCENT // 100)))
    plants = {place: PLANTS[turn % len(PLANTS)] for turn, place in enumerate(places)}
    street.measure(lane, count=count, warmup=plan.warmup, plants=plants)
    tell(f"check: {len(plants)} planted calls among {count} were refused, none arrived")
    return {"planted": len(plants), "among": count}


def _check_same_tls(tls: Mapping[str, Mapping[str, Any]]) -> None:
    """All but stock's own defaults must do the same cryptography."""
    compared = {name: dict(facts) for name, facts in tls.items() if name != "stock_defaults"}
    if len({tuple(sorted(facts.items())) for facts in compared.values()}) > 1:
        raise Failed(f"the systems did not agree on the same TLS, so they cannot be compared: {compared}")
