"""Real containers without an engine that runs as a service: podman and buildah, in a store of their own kind.

    image()                                    # built once, by the product's Dockerfile
    run("--read-only", IMAGE, "--version")
    with composed("explicit.yaml") as it:      # a committed Compose file, as it is
        it.log("agent")

No image is pulled: `debian:trixie-slim` is made by debootstrap where it is not there. Needs root.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from houses import ROOT
from valkeys import free_port

IMAGE = "localhost/intent-proxy"
BASE = "docker.io/library/debian:trixie-slim"
NEEDED = ("podman", "buildah", "runc", "debootstrap")
COMPOSE = ROOT / "config" / "compose"
SLIM = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")
UP, DOWN = ["up", "-d"], ["down", "-v"]
CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


@cache
def _environment() -> Mapping[str, str]:
    """Settings for a machine without systemd."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing or os.geteuid():
        pytest.skip(f"containers need root, and {', '.join(missing) or 'nothing else'}")
    settings = Path(tempfile.mkdtemp(prefix="containers-")) / "containers.conf"
    settings.write_text(CONFIGURATION)
    return {**os.environ, "CONTAINERS_CONF": str(settings)}


def command(
    *words: object, check: bool = True, environment: Mapping[str, str] | None = None, timeout_s: float = 300
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end; what it says of a missing systemd is nobody's matter."""
    done = subprocess.run(
        [str(word) for word in words],
        env={**_environment(), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def podman(*words: object, check: bool = True) -> str:
    return command("podman", *words, check=check).stdout.strip()


@cache
def image() -> str:
    """The product's image, by its Dockerfile. Layers that are there are taken."""
    _environment()
    with (Path(tempfile.gettempdir()) / "intent-proxy-image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other test processes want it, too
        if command("podman", "image", "exists", BASE, check=False).returncode:
            _make_base()
        command(
            "buildah", "bud", "--isolation", "chroot", "--format", "docker", "--layers", *_registry(), "-t", IMAGE, ROOT
        )
    return IMAGE


def _make_base() -> None:
    with tempfile.TemporaryDirectory(prefix="base-") as folder:
        root = Path(folder) / "root"
        command("debootstrap", "--variant=minbase", "trixie", root, timeout_s=600)
        for name in SLIM:
            shutil.rmtree(root / name, ignore_errors=True)
        archive = Path(folder) / "base.tar"
        command("tar", "-C", root, "-cf", archive, ".")
        podman("import", "-q", archive, BASE)


def _registry() -> tuple[str, ...]:
    """How pip in there trusts the package registry as pip out here does."""
    trusted = os.environ.get("PIP_CERT")
    if not trusted:
        return ()
    settings = Path(_environment()["CONTAINERS_CONF"]).with_name("pip.conf")
    settings.write_text("[global]\ncert = /run/registry-ca.pem\n")
    return ("-v", f"{settings}:/etc/pip.conf:ro", "-v", f"{trusted}:/run/registry-ca.pem:ro")


def run(*words: object, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """`podman run --rm` of these words."""
    return command("podman", "run", "--rm", *words, check=check)


def inspected(name: str) -> Any:
    return json.loads(podman("inspect", name))[0]


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A Compose file that is up."""

    file: Path
    project: str
    environment: Mapping[str, str]

    def compose(self, *words: str, check: bool = True) -> str:
        if words[:2] == ("run", "--rm"):  # no terminal here
            words = ("--profile", "review", "run", "--rm", "-T", *words[2:])
        command_line = (
            Path(sys.executable).with_name("podman-compose"),
            "--no-ansi",
            "-p",
            self.project,
            "-f",
            self.file,
            *words,
        )
        return command(*command_line, check=check, environment=self.environment).stdout

    def name(self, service: str) -> str:
        return f"{self.project}_{service}_1"

    def log(self, service: str) -> str:
        return podman("logs", self.name(service))

    def inside(self, service: str, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """A program in a running container of it."""
        return command("podman", "exec", self.name(service), *words, check=check)


@contextmanager
def composed(name: str) -> Iterator[Composed]:
    """Have a committed Compose file up, under a name of its own, and gone after."""
    image()
    port = str(free_port())
    it = Composed(file=COMPOSE / name, project=f"test{os.getpid()}{name[0]}", environment={"DESK_PORT": port})
    try:
        it.compose(*UP)
        yield it
    finally:
        it.compose(*DOWN, "-t", "2", check=False)
