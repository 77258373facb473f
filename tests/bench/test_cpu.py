"""Processor time of a tree: the process, its living children, and those it has buried."""

import subprocess
import sys

import pytest

from bench.cpu import tree, tree_cpu_s
from bench.failures import Failed

BURN_S = 0.3

_BURN = f"import time\nwhile time.process_time() < {BURN_S}: pass\n"
_PARENT = f"""
import subprocess, sys
dead = subprocess.Popen([sys.executable, "-c", {_BURN!r}])
alive = subprocess.Popen([sys.executable, "-c", {_BURN!r} + "print(flush=True); input()"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
dead.wait()
alive.stdout.readline()
print("burnt", flush=True)
input()
alive.stdin.close()
alive.wait()
"""


def test_the_time_of_every_child_counts_dead_or_alive() -> None:
    words = [sys.executable, "-c", _PARENT]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"burnt\n"
        assert len(tree(process.pid)) == 2
        assert tree_cpu_s(process.pid) >= 2 * BURN_S - 0.05  # the kernel counts in ticks
        process.stdin.close()


def test_a_process_that_is_gone_has_no_time() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(Failed, match="is gone"):
        tree_cpu_s(process.pid)
