"""How sure a share is when neighbours are alike: one slow second makes many calls late, not one."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_Z = 1.959964
_MOST_ALIKE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """`met` of `calls`; `low` and `high` bound the share at 95 %; `independent`: so many calls they are worth."""

    met: int
    calls: int
    low: float
    high: float
    independent: float

    @property
    def value(self) -> float:
        """The share itself; 0 where there was no call."""
        return self.met / self.calls if self.calls else 0.0

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "met": self.met,
            "calls": self.calls,
            "share": round(self.value, 4),
            "interval_95": [round(self.low, 4), round(self.high, 4)],
            "independent_calls": round(self.independent, 1),
        }


def share_of(runs: Sequence[Sequence[bool]]) -> Share:
    """The share of hits over one or more runs, each in the order of its calls.

    Wilson's interval (1927) over so many independent calls as an AR(1) series with the same correlation between
    neighbours is worth, n (1 - r) / (1 + r) (Bartlett 1946); r below zero counts as zero.
    """
    met, calls = sum(map(sum, runs)), sum(map(len, runs))
    if not calls:
        return Share(met=0, calls=0, low=0.0, high=1.0, independent=0.0)
    value = met / calls
    alike = min(_MOST_ALIKE, max(0.0, _correlation(runs, value)))
    n = calls * (1 - alike) / (1 + alike)
    middle = (value + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * (value * (1 - value) / n + _Z**2 / (4 * n**2)) ** 0.5
    return Share(met=met, calls=calls, low=max(0.0, middle - half), high=min(1.0, middle + half), independent=n)


def _correlation(runs: Sequence[Sequence[bool]], mean: float) -> float:
    """Between neighbours of one run."""
    spread = mean * (1 - mean)
    products = [(a - mean) * (b - mean) for run in runs for a, b in pairwise(run)]
    return sum(products) / len(products) / spread if products and spread else 0.0
