"""Every parser of a stranger's bytes raises `Rejected` and nothing else, whatever a coverage-guided fuzzer makes up."""

import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_targets import BROKEN, TARGETS

HARNESS = Path(__file__).with_name("harness.py")
INSTALL = "atheris is not installed (it is on Linux x86-64): pip install -r requirements-dev.lock"
LONG_S = int(os.environ.get("FUZZ_S", "20"))
SMOKE = ("-seed=1", "-runs=10000", "-max_total_time=60")  # the same inputs in every run


@pytest.mark.parametrize("name", TARGETS)
def test_a_seed_is_accepted_and_its_neighbours_are_accepted_or_refused(name: str) -> None:
    target, dice = TARGETS[name], random.Random(name)
    seeds = list(target.seeds())
    assert sum(map(target.accepts, seeds)) > 0
    for seed in seeds:
        for _ in range(10):
            changed = bytearray(seed)
            for _ in range(dice.randint(1, 3)):
                at = dice.randrange(len(changed) + 1)
                changed[at : at + dice.randrange(3)] = dice.randbytes(dice.randrange(3))
            target.accepts(bytes(changed))


def fuzz(name: str, folder: Path, *length: str) -> None:
    """Run a target for so long (libFuzzer's options); what broke it stands in the failure and in `folder`."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip(INSTALL)
    options = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=65536", "-print_final_stats=1", *length]
    done = subprocess.run(
        [sys.executable, str(HARNESS), name, str(folder), *options],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        timeout=LONG_S + 160,
        check=False,
    )
    found = [(path.name, path.read_bytes()[:400]) for path in folder.glob("*-*")]
    assert (done.returncode, found) == (0, []), done.stderr[-4_000:] + done.stdout[-4_000:]
    assert "stat::number_of_executed_units" in done.stderr + done.stdout


@pytest.mark.system
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_a_refusal_comes_out_in_a_few_seconds(name: str, tmp_path: Path) -> None:
    fuzz(name, tmp_path, *SMOKE)


@pytest.mark.system
def test_what_is_not_a_refusal_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="crash-"):
        fuzz(BROKEN.name, tmp_path, "-max_total_time=30")


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_a_refusal_comes_out_in_a_long_time(name: str, tmp_path: Path) -> None:
    fuzz(name, tmp_path, f"-max_total_time={LONG_S}")
