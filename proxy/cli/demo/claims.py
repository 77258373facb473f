"""What the story claims, beside what was really seen. A claim that does not hold ends the story."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from proxy.core.encoding import Json
from proxy.policy.files import write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One step: what ought to be seen, and what was."""

    step: int
    title: str
    expected: Mapping[str, Json]
    seen: Mapping[str, Json]

    @property
    def holds(self) -> bool:
        return self.expected == self.seen


class BrokenClaim(Exception):
    """The program did not do what the story says it does."""

    def __init__(self, claim: Claim) -> None:
        super().__init__(f"step {claim.step}, {claim.title}: expected {claim.expected}, saw {claim.seen}")
        self.claim = claim


@dataclass(slots=True)
class Claims:
    """Every step so far."""

    made: list[Claim] = field(default_factory=list)

    def check(self, title: str, *, expected: Mapping[str, Json], seen: Mapping[str, Json]) -> None:
        """Keep one step.

        Raises:
            BrokenClaim: what was seen is not what was expected.
        """
        claim = Claim(step=len(self.made) + 1, title=title, expected=expected, seen=seen)
        self.made.append(claim)
        if not claim.holds:
            raise BrokenClaim(claim)

    def write(self, path: Path) -> None:
        """`story.json`."""
        steps = [
            {"step": claim.step, "title": claim.title, "expected": claim.expected, "seen": claim.seen}
            for claim in self.made
        ]
        write_whole(path, (json.dumps(steps, indent=2) + "\n").encode("ascii"))
