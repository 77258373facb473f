"""A worker whose clock a test can set, while it runs: libfaketime, if it is installed."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

INSTALL = "faketime is missing: apt-get install faketime"


def library() -> Path:
    """libfaketime, or the test is skipped."""
    program = shutil.which("faketime")
    if program is None:
        pytest.skip(INSTALL)
    found = sorted(Path(program).resolve().parents[1].glob("lib/*/faketime/libfaketime.so.1"))
    assert found, f"{program} has no library beside it"
    return found[0]


def worker(file: Path) -> list[str]:
    """A worker's command whose clock is moved by what this file says: "+1y", "-1y", "+0"."""
    file.write_text("+0\n")
    return [
        "env",
        f"LD_PRELOAD={library()}",
        f"FAKETIME_TIMESTAMP_FILE={file}",
        "FAKETIME_NO_CACHE=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        sys.executable,
        "-m",
        "proxy.edge.worker",
    ]


@contextmanager
def moved(file: Path, by: str) -> Iterator[None]:
    """Whoever reads this file lives so much later."""
    file.write_text(f"{by}\n")
    try:
        yield
    finally:
        file.write_text("+0\n")
