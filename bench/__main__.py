"""`python -m bench`: one run, its report, and an exit code that says whether it may be believed."""

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from bench import ROOT
from bench.children import on_cores
from bench.decisions import SIZES, Deciders
from bench.desk import OPEN
from bench.desk import measure as measure_desk
from bench.failures import Failed
from bench.https import CARRYING, LANES, Plan, Street, Tell, run
from bench.machine import look, plan_cores
from bench.report import render
from bench.results import Results
from bench.streams import CALLS, SYSTEMS, Streamed, Streams, run_streams

KEPT = ROOT / "bench"

_DESCRIPTION = """\
What a decision and a call cost, beside stock mitmproxy, on this machine.

  1. how long one decision takes with 10, 1,000, 10,000 and 100,000 rules
  2. CPU and latency per request over HTTPS keep-alive, 16 connections, one worker:
     stock `mitmdump -q` that checks nothing, our proxy with enforcement off, and our proxy with full
     enforcement (a fresh signature per call, its nonce in Valkey, a durable journal line)
  3. streams: how much later the first byte of a response arrives, and the memory that 50 MB take, up and down
  4. the review desk with 5,000 open holds: its pages, 100 live events a second, two desks (not with --quick alone)

A run fails (exit 1) unless, in every round under full enforcement, the requests sent, the requests the origin got,
the journal's allow lines and the nonces spent are the same ones, each exactly once; all answers are right; and
planted calls outside the mandate are all refused and never reach the origin.
"""

_EPILOG = """\
examples:
  python -m bench                                        all of it; kept in bench/RESULTS.md and bench/results.json
  python -m bench --quick                                the same, smaller, printed only; under a minute
  python -m bench --quick --json | jq .measured          every key; null ones have a reason in .reason
  python -m bench --only decisions --rules 10,100000     one part of it

exit codes: 0 good, 1 the run failed and its numbers mean nothing, 2 wrong usage.
Quiet the machine first: ratios within a round survive a busy machine, absolute times do not.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds; keeps nothing")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--only", choices=("decisions", "https", "streams", "desk"), help="one part only; keeps nothing"
    )
    parser.add_argument("--rules", type=_sizes, default=SIZES, metavar="N,N", help="policy sizes for the decisions")
    parser.add_argument("--rounds", type=_count, metavar="N", help="rounds over HTTPS (5; quick: 2)")
    parser.add_argument(
        "--requests",
        type=_count,
        metavar="N",
        help="requests in each round (2000; quick: 250); signatures are good for 60 s",
    )
    parser.add_argument("--dir", type=Path, metavar="DIR", help="where journal and store live; must be on a disk")
    parser.add_argument("--note", default="", metavar="TEXT", help="anything a reader of the results should know")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100_000:
        raise argparse.ArgumentTypeError(f"expected 1 to 100000, got {text}")
    return number


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(int(part) for part in text.replace("_", "").split(","))
    if not all(size in SIZES for size in sizes):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(map(str, SIZES))}, got {text}")
    return sizes


def measure(options: argparse.Namespace, folder: Path) -> Results:
    """Everything the options ask for. Policies are built while the systems start.

    Raises:
        Failed: the numbers would mean nothing.
    """
    started_s = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - started_s:6.1f} s  {text}", file=sys.stderr, flush=True)

    cores = plan_cores()
    results = Results(
        at=datetime.now(UTC),
        command=shlex.join(["python", "-m", "bench", *options.words]),
        quick=options.quick,
        note=options.note,
        machine=look(folder),
        cores=cores,
    )
    plan = Plan(
        lanes=LANES if options.quick else LANES + CARRYING,
        rounds=options.rounds or (2 if options.quick else 5),
        count=options.requests or (250 if options.quick else 2_000),
        warmup=64 if options.quick else 200,
        planted_count=100 if options.quick else 1_000,
    )
    with ExitStack() as running:
        deciders = street = None
        if options.only in (None, "decisions"):
            tell(f"building policies of {', '.join(f'{size:,}' for size in options.rules)} rules")
            deciders = Deciders(options.rules, folder)
            running.callback(deciders.end)
        if options.only not in ("decisions", "desk"):
            tell("starting the origin and the systems")
            lanes = () if options.only == "streams" else plan.lanes
            also = () if options.only == "https" else SYSTEMS
            street = running.enter_context(Street(folder, cores, lanes, tell, also=also))
        if deciders is not None:
            blocks, count = (3, 2_000) if options.quick else (7, 5_000)
            results.decisions = deciders.measure(blocks=blocks, count=count, cores=cores)
            deciders.end()
        if street is not None:
            if options.only != "streams":
                results.https = run(plan, street, tell)
            if options.only != "https":
                results.streams = _streams(street, quick=options.quick, tell=tell)
    if options.only == "desk" or (options.only is None and not options.quick):
        holds, seconds = (500, 4) if options.quick else (OPEN, 20)
        results.desk = measure_desk(folder, cores, tell, holds=holds, seconds=seconds)
    tell("done")
    return results


def _streams(street: Street, *, quick: bool, tell: Tell) -> dict[str, list[Streamed]]:
    streams = Streams(street.deployment, street.floods, street.floods_authority, street.journal)
    with on_cores(street.cores.load):
        rounds, calls = (2, CALLS // 2) if quick else (3, CALLS)
        return run_streams(streams, street.systems, rounds=rounds, calls=calls, tell=tell)


def keep(results: Results) -> None:
    """Write both files into the repository."""
    (KEPT / "RESULTS.md").write_text(render(results), encoding="utf-8")
    (KEPT / "results.json").write_text(json.dumps(results.as_json(), indent=2) + "\n", encoding="utf-8")


def main(words: Sequence[str] | None = None) -> int:
    """Run, print, and say whether the numbers count."""
    words = list(sys.argv[1:] if words is None else words)
    options = _parser().parse_args(words, argparse.Namespace(words=words))
    try:
        with tempfile.TemporaryDirectory(prefix="intent-bench-", dir=options.dir) as name:
            folder = Path(name)
            folder.chmod(0o755)
            results = measure(options, folder)
    except Failed as fault:
        print(f"bench: this run does not count: {fault}", file=sys.stderr)
        return 1
    whole = not options.quick and options.only is None and options.rules == SIZES
    if whole:
        keep(results)
    print(json.dumps(results.as_json(), indent=2) if options.json else render(results))
    if whole:
        print("kept in bench/RESULTS.md and bench/results.json", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
