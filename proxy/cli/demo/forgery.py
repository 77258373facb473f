"""An insider with a text editor: one line of the journal is changed, and every hash after it made anew."""

import re
import shutil
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from proxy.audit.lines import read_line

_COPIED = ("proxy.yaml", "state/node.key", "state/checkpoints.jsonl", "state/journal")
_PREV = re.compile(rb'(?<="prev":")[^"]*(?=")')


@dataclass(frozen=True, slots=True, kw_only=True)
class Forged:
    """Where the forger was at work."""

    file: str
    line: int  # counted from 1
    fits: bool  # whether every line of the file repeats the hash of the line before


def copy_deployment(deployment: Path, copy: Path) -> None:
    """As much of a deployment as `audit verify` reads."""
    for name in _COPIED:
        target = copy / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (deployment / name).is_dir():
            shutil.copytree(deployment / name, target)
        else:
            shutil.copy2(deployment / name, target)


def forge(journal: Path, about: tuple[bytes, ...], old: bytes, new: bytes) -> Forged:
    """Put `new` for `old` in the first line that has it and all of `about`, and repeat every hash that follows from it.

    Each worker writes its own file, so "first" means something only where `about` describes one line of the journal.

    Raises:
        LookupError: no line has them all.
    """
    for path in sorted(journal.glob("*.jsonl")):
        lines = path.read_bytes().splitlines()
        place = next((at for at, line in enumerate(lines) if all(part in line for part in (*about, old))), None)
        if place is None:
            continue
        lines[place] = lines[place].replace(old, new)
        for at in range(place + 1, len(lines)):
            link = read_line(lines[at - 1]).hash.encode("ascii")
            lines[at] = _PREV.sub(link, lines[at], count=1)
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        read = [read_line(line) for line in lines]
        fits = all(after.prev == before.hash for before, after in pairwise(read))
        return Forged(file=path.name, line=place + 1, fits=fits)
    raise LookupError(f"no line has {(*about, old)!r}")
