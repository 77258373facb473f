"""How many mutants the tests of `proxy.core` kill: `make mutants` runs mutmut, then this.

Prints killed of all for each module, names what survived, and fails under 90 %. A mutant counts as killed when a test
failed, when it ran into mutmut's time limit, or when the type checker refused it; one that no test even ran counts
as alive.
"""

import json
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mutmut.stats import status_by_exit_code

LEAST = 0.90
_DEAD = frozenset({"killed", "timeout", "caught by type check", "segfault"})


@dataclass(frozen=True, kw_only=True)
class Score:
    """One module's mutants by what became of them."""

    module: str
    by_status: Mapping[str, int]
    alive: tuple[str, ...]

    @property
    def total(self) -> int:
        return sum(self.by_status.values())

    @property
    def killed(self) -> int:
        return sum(count for status, count in self.by_status.items() if status in _DEAD)

    def __str__(self) -> str:
        rest = ", ".join(f"{count} {status}" for status, count in sorted(self.by_status.items()) if status != "killed")
        return f"{self.module:<32} {self.killed:>5} of {self.total:>5}  {share(self.killed, self.total):7.1%}  {rest}"


def share(killed: int, total: int) -> float:
    return killed / total if total else 0.0


def scores(folder: Path) -> list[Score]:
    """What mutmut wrote down beside each module it mutated."""
    return [found for path in sorted(folder.rglob("*.py.meta")) if (found := _score(path, folder)).total]


def _score(path: Path, folder: Path) -> Score:
    codes = json.loads(path.read_text("utf-8"))["exit_code_by_key"]
    statuses = {name: status_by_exit_code[code] for name, code in codes.items()}
    return Score(
        module=str(path.relative_to(folder)).removesuffix(".meta"),
        by_status=Counter(statuses.values()),
        alive=tuple(name for name, status in statuses.items() if status not in _DEAD),
    )


def main(arguments: list[str] | None = None) -> int:
    """Print the scores; 1 when fewer than LEAST of all mutants were killed, or there are none."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--alive", action="store_true", help="name every mutant that is alive")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("mutants"))
    options = parser.parse_args(arguments)
    found = scores(options.folder)
    for score in found:
        print(score)
        for name in score.alive if options.alive else ():
            print(f"    mutmut show {name}")
    killed, total = sum(score.killed for score in found), sum(score.total for score in found)
    print(f"{'all':<32} {killed:>5} of {total:>5}  {share(killed, total):7.1%}  (at least {LEAST:.0%})")
    return 0 if share(killed, total) >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
