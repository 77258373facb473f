"""Numbers from samples: nearest-rank percentiles, and medians that carry their range."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Self


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of values in ascending order."""
    return values[max(0, ceil(len(values) * percent / 100) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The median of several rounds, with the smallest and the largest."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        return cls(median=median(values), least=min(values), most=max(values))
