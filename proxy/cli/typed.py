"""How a person in this shell and directory would type this program's name."""

import os
import shutil
import sys
from pathlib import Path

PROGRAM = "intent-proxy"


def as_called() -> tuple[str, ...]:
    """The words that start this very program: its name where it is on the path, else where it is."""
    here = Path(sys.executable).parent / PROGRAM
    if not os.access(here, os.X_OK):
        return (sys.executable, "-m", "proxy.cli.main")
    on_path = shutil.which(PROGRAM)
    if on_path is not None and Path(on_path).samefile(here):
        return (PROGRAM,)
    shorter = os.path.relpath(here)
    return (str(here) if shorter.startswith("..") else shorter,)
