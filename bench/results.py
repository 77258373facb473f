"""The results of one run as data: flat keys for whoever compares, and everything behind them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bench.decisions import SIZES, Decided
from bench.desk import KEYS, Office
from bench.https import CARRYING, LANES, Measured, Outcome
from bench.machine import Cores, Machine
from bench.spread import Spread
from bench.streams import SYSTEMS, Streamed

_RATIOS = {
    "full_vs_stock_https": ("full", "stock"),
    "full_vs_stock_defaults_https": ("full", "stock_defaults"),
    "full_vs_off_https": ("full", "off"),
    "off_vs_stock_https": ("off", "stock"),
    "full_vs_stock_carrying_https": ("full", "stock_carrying"),
    "full_vs_off_carrying_https": ("full", "off_carrying"),
}
"""CPU per request of one lane over that of another in the same round."""

_OF_STREAMS: Mapping[str, Callable[[Streamed], float]] = {
    "first_byte_delay_ms": lambda each: each.first_byte_ms,
    "stream_memory_mb": lambda each: each.memory_mb,
}

_LATER = {
    "full_vs_stock_newconn": "a new connection for every request",
    "full_vs_stock_http": "plain HTTP",
    "two_workers_cpu_ratio": "two workers",
    "two_workers_throughput_ratio": "two workers",
    "decide_body_p50_us": "rules about bodies",
    "hold_memory_kb": "thousands of waiting calls",
    "overload_recovery_s": "overload",
    "soak_rss_mb_per_h": "a soak",
    "full_vs_squid_https": "other proxies",
}
"""What this harness does not measure yet, by the key it will have."""


@dataclass(slots=True, kw_only=True)
class Results:
    """What a run found."""

    at: datetime
    command: str
    quick: bool
    note: str
    machine: Machine
    cores: Cores
    decisions: Mapping[int, Decided] = field(default_factory=dict)
    https: Outcome = field(default_factory=Outcome)
    streams: Mapping[str, Sequence[Streamed]] = field(default_factory=dict)
    desk: Office | None = None

    def keys(self) -> dict[str, Spread | str]:
        """Every key there is, with its value or the reason why there is none."""
        found: dict[str, Spread | str] = {}
        for size in SIZES:
            decided = self.decisions.get(size)
            missing = f"{size} rules were left out by the command"
            found[f"decide_p50_us_{size}"] = missing if decided is None else decided.p50_us
            found[f"decide_p99_us_{size}"] = missing if decided is None else decided.p99_us
        found["decide_p50_100000_vs_10"] = self._growth()
        for lane in (*LANES, *CARRYING):
            rounds = self.https.rounds.get(lane.name, [])
            found[f"{lane.name}_cpu_us_https"] = _spread([each.cpu_us for each in rounds], lane.name)
            found[f"{lane.name}_p50_ms_https"] = _spread([each.p50_us / 1000 for each in rounds], lane.name)
            found[f"{lane.name}_p99_ms_https"] = _spread([each.p99_us / 1000 for each in rounds], lane.name)
        for key, (ours, theirs) in _RATIOS.items():
            found[key] = self._ratio(ours, theirs, lambda each: each.cpu_us)
        found["full_with_store_vs_stock_https"] = self._ratio("full", "stock", lambda each: each.cpu_us + each.store_us)
        found["full_with_store_vs_off_https"] = self._ratio("full", "off", lambda each: each.cpu_us + each.store_us)
        found["full_vs_stock_p99_https"] = self._ratio("full", "stock", lambda each: each.p99_us)
        found["full_vs_off_p99_https"] = self._ratio("full", "off", lambda each: each.p99_us)
        later = {key: f"this harness does not measure {what} yet" for key, what in _LATER.items()}
        return found | self._streams() | self._desk() | later

    def _desk(self) -> dict[str, Spread | str]:
        missing = "the desk was not measured by this command: python -m bench --only desk"
        measured: Mapping[str, Spread] = {} if self.desk is None else self.desk.found
        return {key: measured.get(key, missing) for key in KEYS}

    def _streams(self) -> dict[str, Spread | str]:
        """Ours by the plain key, stock's beside it, and the ratios within each round."""
        stock, full = (self.streams.get(name, ()) for name in SYSTEMS)
        found: dict[str, Spread | str] = {}
        for key, of in _OF_STREAMS.items():
            pairs = [(of(one), of(other)) for one, other in zip(full, stock, strict=True)]
            found[key] = _spread([one for one, _ in pairs], "streams")
            found[f"stock_{key}"] = _spread([other for _, other in pairs], "streams")
        found["first_byte_delay_vs_stock"] = _spread(
            [one.first_byte_ms / other.first_byte_ms for one, other in zip(full, stock, strict=True)], "streams"
        )
        return found

    def _growth(self) -> Spread | str:
        small, large = self.decisions.get(10), self.decisions.get(100_000)
        if small is None or large is None:
            return "needs 10 and 100000 rules, of which one was left out by the command"
        least, most = large.p50_us.least / small.p50_us.most, large.p50_us.most / small.p50_us.least
        return Spread(median=large.p50_us.median / small.p50_us.median, least=least, most=most)

    def _ratio(self, ours: str, theirs: str, of: Callable[[Measured], float]) -> Spread | str:
        pairs = list(zip(self.https.rounds.get(ours, []), self.https.rounds.get(theirs, []), strict=False))
        if not pairs:
            return f"needs the lanes {ours} and {theirs}, which were not both measured"
        return Spread.of([of(one) / of(other) for one, other in pairs])

    def as_json(self) -> dict[str, object]:
        """The whole of it. `measured` holds every key; those that are null have a `reason`."""
        keys = self.keys()
        spreads = {key: value for key, value in keys.items() if isinstance(value, Spread)}
        return {
            "at": self.at.isoformat(timespec="seconds"),
            "command": self.command,
            "quick": self.quick,
            "note": self.note,
            "machine": self.machine.as_json(),
            "cores": str(self.cores),
            "measured": {key: round(spreads[key].median, 3) if key in spreads else None for key in keys},
            "range": {key: [round(value.least, 3), round(value.most, 3)] for key, value in spreads.items()},
            "reason": {key: value for key, value in keys.items() if isinstance(value, str)},
            "decisions": {
                str(size): {"compile_s": round(each.compile_s, 3), "policy_mb": round(each.policy_mb, 1)}
                for size, each in self.decisions.items()
            },
            "rounds": {name: [each.as_json() for each in rounds] for name, rounds in self.https.rounds.items()},
            "streams": {name: [each.as_json() for each in rounds] for name, rounds in self.streams.items()},
            "tls": self.https.tls,
            "checked": self.https.checked | ({} if self.desk is None else self.desk.checked),
        }


def _spread(values: Sequence[float], lane: str) -> Spread | str:
    return Spread.of(values) if values else f"the lane {lane} was not measured by this command"
