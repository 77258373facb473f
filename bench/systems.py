"""The systems under test: each a process tree of its own, started before the first round, idle between its rounds."""

import re
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.children import Child
from bench.deployment import Deployment
from bench.failures import Failed
from bench.machine import Cores
from proxy.stores.embedded import EmbeddedStore

START_S = 60.0

_READY = re.compile(r"ready on (\S+):(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One proxy, running. `store_pid` is its Valkey, which is no child of it."""

    name: str
    child: Child
    address: tuple[str, int]
    ca_file: Path
    store_pid: int | None = None


def start_full(deployment: Deployment, folder: Path, cores: Cores) -> Child:
    """Our proxy as anyone runs it: `intent-proxy run`, one worker, its private Valkey."""
    words = [sys.executable, "-m", "proxy.cli.main", "--config", str(deployment.config), "run"]
    return Child("full", [*words, "--workers", "1", "--listen", "127.0.0.1:0"], folder=folder, cores=cores.proxies)


def start_off(deployment: Deployment, folder: Path, cores: Cores) -> Child:
    """Our proxy with enforcement off (`bench.unguarded`)."""
    words = [sys.executable, "-m", "bench.unguarded", str(deployment.config)]
    return Child("off", words, folder=folder, cores=cores.proxies)


def start_stock(
    name: str, deployment: Deployment, folder: Path, cores: Cores, *, port: int, options: Sequence[str], ca: bool
) -> Child:
    """`mitmdump -q` of the same interpreter. With `ca` it signs with our authority instead of one of its own."""
    confdir = folder / name
    confdir.mkdir(mode=0o700)
    if ca:
        parts = [deployment.ca_file.with_name("ca-key.pem"), deployment.ca_file]
        whole = confdir / "mitmproxy-ca.pem"
        whole.touch(0o600)
        whole.write_bytes(b"".join(part.read_bytes() for part in parts))
        shutil.copy(deployment.ca_file, confdir / "mitmproxy-ca-cert.pem")
    words = [sys.executable, str(Path(sys.executable).with_name("mitmdump")), "-q"]
    words += ["--listen-host", "127.0.0.1", "--listen-port", str(port), "--set", f"confdir={confdir}"]
    words += ["--set", f"ssl_verify_upstream_trusted_ca={deployment.origin_ca}"]
    return Child(
        name, [*words, *(word for option in options for word in ("--set", option))], folder=folder, cores=cores.proxies
    )


def ours(name: str, child: Child, deployment: Deployment, cores: Cores) -> System:
    """Wait for one of our own to say that it serves."""
    found = _READY.search(child.line(within_s=START_S))
    if found is None:
        raise Failed(f"{name} did not say where it listens")
    store_pid = None
    if name == "full":
        store_pid = EmbeddedStore(deployment.settings.state).pid()
        if store_pid is None:
            raise Failed("the embedded store does not say its process id")
        cores.pin(store_pid, cores.store)
    address = (found[1], int(found[2]))
    return System(name=name, child=child, address=address, ca_file=deployment.ca_file, store_pid=store_pid)


def stock(name: str, child: Child, folder: Path, *, port: int) -> System:
    """Wait for a mitmdump to accept connections."""
    address, deadline_s = ("127.0.0.1", port), time.monotonic() + START_S
    ca_file = folder / name / "mitmproxy-ca-cert.pem"
    while True:
        try:
            socket.create_connection(address, timeout=1).close()
        except OSError:
            if time.monotonic() > deadline_s:
                raise Failed(f"{name} does not listen after {START_S:g} s") from None
            time.sleep(0.05)
        else:
            break
    if not ca_file.exists():
        raise Failed(f"{name} made no certificate authority in {ca_file.parent}")
    return System(name=name, child=child, address=address, ca_file=ca_file)


def free_port() -> int:
    """A loopback port nobody has at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
