"""A copy of the project as a fresh clone would be, with this run's own environment in place of `make`'s, and traces.

`make` in the copy finds its `.venv` newer than what is pinned, so nothing is installed; the programs in it are those
this test runs with.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


def clone(target: Path) -> Path:
    """Every file that git knows or would, at `target`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    programs = target / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "intent-proxy"):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{Path(sys.executable).parent / name}" "$@"\n')
        program.chmod(0o755)
    (target / ".venv" / ".installed").touch()
    return target


def environment(**changes: str) -> dict[str, str]:
    """Ours without what sends calls elsewhere, names another deployment, or asks for colours."""
    unwanted = {"intent_proxy_config", "intent_proxy_as", "force_color", "columns"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.lower() not in unwanted and not name.lower().endswith("_proxy")
    }
    return {**kept, **changes}


@contextmanager
def temporary() -> Iterator[Path]:
    """A short place for a program's temporary files: a unix socket's path has 107 bytes. It must end up empty."""
    folder = Path(tempfile.mkdtemp(prefix="ip", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def processes_of(folder: Path) -> list[str]:
    """The command lines of every process of this machine that names `folder` or works in it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            where = str((entry / "cwd").readlink())
        except OSError:
            continue  # it ended meanwhile, or is another user's
        if str(folder) in words or where.startswith(str(folder)):
            found.append(words)
    return found
