"""Means over problems with 95 % bootstrap intervals: the problems are drawn anew, 10,000 times.

The interval says how the score would move with other problems of the same kind. It does not hold the chance in the
samples of a problem apart from that; with few samples both are in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.experiments.estimators import Floats

RESAMPLES = 10_000
_ENDS = (0.025, 0.975)
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over problems and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def plain(self) -> dict[str, float | list[float]]:
        """As a result file has it."""
        return {"value": self.value, "interval_95": [self.low, self.high]}


def mean(values: Floats | Sequence[float], *, seed: int = 0) -> Mean:
    """The mean of one value for each problem. Raises ValueError where there are no problems."""
    return means(np.asarray(values, dtype=np.float64)[:, None], seed=seed)[0]


def means(columns: Floats, *, seed: int = 0) -> list[Mean]:
    """The mean of each column of an array (problems, columns); all columns share their resamples.

    Percentile bootstrap (Efron 1979). Raises ValueError where there are no problems.
    """
    problems = len(columns)
    if problems == 0:
        raise ValueError("values: a mean over no problems is not defined")
    draw = np.random.default_rng(seed)
    equal = np.full(problems, 1 / problems)
    drawn = [
        draw.multinomial(problems, equal, size=_AT_ONCE).astype(np.float64) @ columns / problems
        for _ in range(RESAMPLES // _AT_ONCE)
    ]
    low, high = np.quantile(np.concatenate(drawn), _ENDS, axis=0, method="inverted_cdf")
    centre = columns.mean(axis=0)
    return [Mean(float(a), float(b), float(c)) for a, b, c in zip(centre, low, high, strict=True)]
