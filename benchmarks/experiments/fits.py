"""Curves through scores: coverage by samples, score by model size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.experiments.estimators import Floats

_POINTS = 40
_STEPS = 200
_SMALL = 1e-12


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """coverage(k) = exp(a k^-b), a < 0. `rms` is the root of the mean squared distance, in units of coverage."""

    a: float
    b: float
    rms: float

    def at(self, k: Floats | float) -> Floats:
        """The fitted coverage."""
        return np.exp(self.a * np.asarray(k, dtype=np.float64) ** -self.b)


def fit_coverage(coverage: Floats | Sequence[float]) -> PowerLaw | None:
    """The exponentiated power law of Large Language Monkeys (Brown et al. 2024, arXiv 2407.21787) through coverage.

    `coverage` holds pass@1 to pass@n. Least squares in coverage over at most 40 values of k that are even on a log
    scale, by Levenberg and Marquardt's method from the straight line through log(-log coverage). None where nothing can
    be fitted: fewer than three points, a coverage of 0, or one that is 1 from the first sample on.
    """
    values = np.asarray(coverage, dtype=np.float64)
    k = np.unique(np.geomspace(1, len(values), _POINTS).round().astype(np.int64)) if len(values) else np.array([])
    if len(k) < 3:
        return None
    y = values[k - 1]
    inside = (y > _SMALL) & (y < 1 - _SMALL)
    if y[0] <= _SMALL or inside.sum() < 2:
        return None
    x = np.log(k.astype(np.float64))
    slope, start = np.polyfit(x[inside], np.log(-np.log(y[inside])), 1)
    # a = -exp(g) keeps a below 0.
    g, b = _least_squares(x, y, float(start), -float(slope))
    fitted = PowerLaw(-float(np.exp(g)), b, 0.0)
    return PowerLaw(fitted.a, b, float(np.sqrt(np.mean((fitted.at(np.exp(x)) - y) ** 2))))


def _least_squares(x: Floats, y: Floats, g: float, b: float) -> tuple[float, float]:
    damping = 1e-3

    def off(g: float, b: float) -> Floats:
        return np.exp(-np.exp(np.clip(g - b * x, -60.0, 60.0))) - y

    now = off(g, b)
    for _ in range(_STEPS):
        rate = np.exp(np.clip(g - b * x, -60.0, 60.0))
        by_g = -(now + y) * rate
        slopes = np.stack([by_g, -x * by_g], axis=1)
        normal = slopes.T @ slopes
        step = np.linalg.solve(normal + damping * (np.diag(np.diag(normal)) + _SMALL * np.eye(2)), -slopes.T @ now)
        tried = off(g + float(step[0]), b + float(step[1]))
        if tried @ tried < now @ now:
            g, b, now, damping = g + float(step[0]), b + float(step[1]), tried, damping / 3
            if np.abs(step).max() < _SMALL:
                break
        else:
            damping *= 4
            if damping > 1e12:
                break
    return g, b


@dataclass(frozen=True, slots=True)
class LogLinear:
    """score(size) = intercept + slope log10(size): `slope` is what ten times the size brings. `r2` of the points."""

    intercept: float
    slope: float
    r2: float

    def at(self, size: float) -> float:
        """The fitted score."""
        return self.intercept + self.slope * float(np.log10(size))


def fit_log_linear(sizes: Sequence[float], scores: Sequence[float]) -> LogLinear:
    """A straight line through scores over the logarithm of the model's size, as Austin, Odena et al. 2021 draw it.

    Raises ValueError where there are fewer than two different sizes, or one that is not above 0.
    """
    if len(sizes) != len(scores) or len(set(sizes)) < 2 or min(sizes) <= 0:
        raise ValueError(f"sizes: a line needs two different sizes above 0 and a score for each, found {list(sizes)}")
    x = np.log10(np.asarray(sizes, dtype=np.float64))
    y = np.asarray(scores, dtype=np.float64)
    slope, intercept = np.polyfit(x, y, 1)
    spread = float(((y - y.mean()) ** 2).sum())
    rest = float(((y - intercept - slope * x) ** 2).sum())
    return LogLinear(float(intercept), float(slope), 1.0 if spread == 0 else 1 - rest / spread)
