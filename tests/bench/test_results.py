"""What a run says: every key has a number or a reason, on a terminal and as JSON."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from bench.__main__ import main
from bench.decisions import Decided
from bench.https import Measured, Outcome
from bench.machine import Cores, Machine
from bench.report import render
from bench.results import Results
from bench.spread import Spread, percentile
from bench.streams import Streamed

MACHINE = Machine(
    processor="a processor",
    cores=2,
    system="Linux",
    load_average=(0.1, 0.2, 0.3),
    disk="ext4",
    fdatasync_p50_us=150,
    fdatasync_p99_us=500,
    versions={"python": "3.12.0"},
)


def results() -> Results:
    return Results(
        at=datetime(2026, 3, 2, tzinfo=UTC),
        command="python -m bench",
        quick=False,
        note="",
        machine=MACHINE,
        cores=Cores(proxies=(0,), load=(1,), origin=(1,), store=(1,)),
    )


def measured(cpu_us: float, store_us: float = 0.0) -> Measured:
    return Measured(
        cpu_us=cpu_us, store_us=store_us, p50_us=10_000, p99_us=cpu_us * 20, per_s=800, busy=1.0, request_bytes=160
    )


def test_a_key_without_a_number_has_a_reason() -> None:
    said = results().as_json()
    assert set(said["measured"].values()) == {None}
    assert set(said["reason"]) == set(said["measured"])
    assert all(said["reason"].values())


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    run = results()
    run.https = Outcome(
        rounds={
            "full": [measured(2000, 200), measured(3000, 200), measured(1500, 100)],
            "stock": [measured(1000), measured(2000), measured(500)],
        }
    )
    said = run.as_json()
    assert said["measured"]["full_vs_stock_https"] == 2.0
    assert said["range"]["full_vs_stock_https"] == [1.5, 3.0]
    assert said["measured"]["full_with_store_vs_stock_https"] == 2.2
    assert said["measured"]["full_vs_off_https"] is None
    assert "off" in said["reason"]["full_vs_off_https"]
    assert "2.00 (1.50-3.00)" in render(run)


def test_growth_compares_the_largest_policy_with_the_smallest() -> None:
    run = results()
    small, large = (Spread(median=m, least=m - 1, most=m + 1) for m in (20.0, 22.0))
    run.decisions = {
        size: Decided(p50_us=spread, p99_us=spread, compile_s=0.1, policy_mb=1.0)
        for size, spread in ((10, small), (100_000, large))
    }
    assert run.as_json()["measured"]["decide_p50_100000_vs_10"] == 1.1
    assert "100,000" in render(run)


def test_streams_are_told_beside_stock_and_as_a_ratio_of_each_round() -> None:
    run = results()
    ours, stock = (
        [Streamed(first_byte_ms=ms, down_mb=down, up_mb=4.0) for ms, down in rounds]
        for rounds in (((1.0, 3.0), (3.0, 5.0), (2.0, 6.0)), ((2.0, 1.0), (2.0, 1.0), (2.0, 1.0)))
    )
    run.streams = {"stock_streaming": stock, "full": ours}
    measured = run.as_json()["measured"]
    assert (measured["first_byte_delay_ms"], measured["stock_first_byte_delay_ms"]) == (2.0, 2.0)
    assert measured["first_byte_delay_vs_stock"] == 1.0
    assert (measured["stream_memory_mb"], measured["stock_stream_memory_mb"]) == (5.0, 4.0)
    assert "1.00 (0.50-1.50)" in render(run)


def test_a_percentile_is_one_of_the_samples() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (percentile(values, 50), percentile(values, 99), percentile([7.0], 99)) == (50.0, 99.0, 7.0)


def test_a_small_run_prints_one_json_document() -> None:
    words = [sys.executable, "-m", "bench", "--quick", "--json", "--only", "decisions", "--rules", "10"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["measured"]["decide_p50_us_10"] > 0
    assert said["measured"]["full_vs_stock_https"] is None
    assert "were not both measured" in said["reason"]["full_vs_stock_https"]


def test_help_teaches_what_is_measured_and_when_a_run_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("--quick", "exit codes", "examples:", "A run fails"))


@pytest.mark.parametrize("words", [["--rules", "11"], ["--rounds", "0"], ["--requests", "x"], ["--only", "all"]])
def test_wrong_usage_is_said_with_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err
