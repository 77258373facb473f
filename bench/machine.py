"""Where the numbers were measured: processor, system, versions, disk, and which core did what."""

import os
import platform
import ssl
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from bench.failures import Failed
from bench.spread import percentile
from proxy.stores.embedded import find_server

_IN_MEMORY = ("tmpfs", "ramfs", "overlay-tmpfs")
_SYNCS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """Which cores the parts run on; empty when there are too few to tell parts apart."""

    proxies: tuple[int, ...]
    load: tuple[int, ...]
    origin: tuple[int, ...]
    store: tuple[int, ...]

    def pin(self, pid: int, cores: tuple[int, ...]) -> None:
        """Move every thread of a running process."""
        for task in Path(f"/proc/{pid}/task").iterdir() if cores else ():
            os.sched_setaffinity(int(task.name), cores)

    def __str__(self) -> str:
        if not self.proxies:
            return "one core for everything, nothing pinned"
        parts = {"proxy under test": self.proxies, "load generator": self.load, "origin": self.origin}
        said = [f"{name} on core {cores[0]}" for name, cores in (parts | {"Valkey": self.store}).items()]
        return ", ".join(said) + " (sched_setaffinity)"


def plan_cores() -> Cores:
    """The proxy under test has a core to itself; the rest shares what is left."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    if len(available) < 2:
        return Cores(proxies=(), load=(), origin=(), store=())
    first, rest = available[0], available[1:]
    load, origin, store = ((rest[place % len(rest)],) for place in range(3))
    return Cores(proxies=(first,), load=load, origin=origin, store=store)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Facts of the machine at the start of a run."""

    processor: str
    cores: int
    system: str
    load_average: tuple[float, float, float]
    disk: str  # file system of the journal and the store
    fdatasync_p50_us: int
    fdatasync_p99_us: int
    versions: dict[str, str]

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def look(folder: Path) -> Machine:
    """The machine, and the disk under `folder`.

    Raises:
        Failed: this is not Linux, or the folder lives in memory, where a durable journal costs nothing.
    """
    if not Path("/proc/self/stat").exists():
        raise Failed("the benchmark counts processor time in /proc, which only Linux has")
    disk = file_system(folder)
    if disk in _IN_MEMORY:
        raise Failed(f"{folder} is on {disk}: fsync there costs nothing. Name a directory on a disk with --dir")
    p50_us, p99_us = _sync_cost(folder)
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        load_average=os.getloadavg(),
        disk=disk,
        fdatasync_p50_us=p50_us,
        fdatasync_p99_us=p99_us,
        versions=_versions(),
    )


def file_system(folder: Path) -> str:
    """The type of the file system a directory is on."""
    best, kind = "", "unknown"
    path = str(folder.resolve())
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, found, *_ = line.split()
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):
            best, kind = place, found
    return kind


def _sync_cost(folder: Path) -> tuple[int, int]:
    """What one small durable append costs on this disk, in µs: median and 99th percentile."""
    taken_us = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(_SYNCS):
            os.write(file.fileno(), b"x" * 1000)
            started_ns = time.perf_counter_ns()
            os.fdatasync(file.fileno())
            taken_us.append((time.perf_counter_ns() - started_ns) / 1000)
    taken_us.sort()
    return int(percentile(taken_us, 50)), int(percentile(taken_us, 99))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _versions() -> dict[str, str]:
    said = subprocess.run([find_server(), "--version"], capture_output=True, text=True, check=True, timeout=10).stdout
    store = next((word.removeprefix("v=") for word in said.split() if word.startswith("v=")), "unknown")
    packages = {name: version(name) for name in ("intent-proxy", "mitmproxy", "cryptography", "redis")}
    return {"python": platform.python_version(), **packages, "openssl": ssl.OPENSSL_VERSION, "valkey": store}
