"""Programs that are not ours: where they are, how a test asks for them, and how they run beside it.

    uv = program("uv")                                       # from the clients' environment, else from PATH; or a skip
    with running(command, ports=[8000], log=folder / "log"): ...

The clients' environment is `.venv/clients`, made by `make test-system` from `requirements-clients.lock`.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

CLIENTS = Path(sys.prefix) / "clients"
START_S = 30.0

_PACKAGES = {"node": "nodejs"}


def program(name: str) -> str:
    """The path of a program; skips the test, with the line that mends it, where there is none."""
    ours = CLIENTS / "bin" / name
    if ours.exists():
        return str(ours)
    if found := shutil.which(name):
        return found
    pytest.skip(f"{name} is missing: apt-get install {_PACKAGES.get(name, name)}")


def clients_python() -> str:
    """The Python of the clients' environment."""
    python = CLIENTS / "bin" / "python"
    if not python.exists():
        pytest.skip("the clients' environment is missing: make test-system makes it")
    return str(python)


def node_modules() -> Path:
    """Where Node.js finds the clients' packages."""
    program("node")
    folder = CLIENTS / "node_modules"
    if not folder.is_dir():
        pytest.skip("Node.js's packages are missing: apt-get install npm, then remake .venv/clients")
    return folder


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]


def plain_environment() -> dict[str, str]:
    """This process's environment without proxies and without what would point a program at other certificates."""
    dropped = {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"}
    return {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and name not in dropped and not name.startswith(("PYTEST", "COVERAGE"))
    }


@contextmanager
def running(
    command: Sequence[str | Path], *, ports: Sequence[int], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server in a process group of its own until the block ends; it is up when all its ports accept."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment) if environment is not None else plain_environment(),
            start_new_session=True,
        )
    try:
        for port in ports:
            _wait_for(port, process, log)
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        finally:
            _end(process.pid)


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None, f"{process.args} ended: {log.read_text('utf-8', 'replace')[-2000:]}"
        assert time.monotonic() < deadline, f"{process.args} does not listen on {port} after {START_S:.0f} s"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return


def _end(group: int) -> None:
    """End what is left of a process group of ours."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
