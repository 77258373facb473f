"""Runs the proxy of one proxy.yaml, its workers started by another command: `plant_house.py COMMAND CONFIG WORKERS PORT`.

COMMAND is a shell-quoted prefix to the worker's own arguments, such as `python planting.py SOCKET`. Workers that die are
replaced at once, however often: here they die on purpose.
"""

import functools
import runpy
import shlex
import sys
from pathlib import Path

from proxy.edge import run

if __name__ == "__main__":
    command = tuple(shlex.split(sys.argv.pop(1)))
    run.Launch = functools.partial(run.Launch, command=command)  # type: ignore[misc,assignment]
    run.RESTART_AFTER_S = (0.1,)
    runpy.run_path(str(Path(__file__).with_name("run_house.py")), run_name="__main__")
