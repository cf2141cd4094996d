"""How many rows a solve should have now, so that it is over soonest: the width.

A solve draws up to k samples until one passes. With w samples at once a round takes the length of a sample times the
time of a step of that many rows; if none passes, the next round begins with what the failures have taught. The best
plan is a shortest path over the number of failures, solved backwards (dynamic programming): with V the expected time
from f failures on and S(f) the chance of f failures in a row, averaged over the pass rates that are possible,

    V(f) = min over w of  cost(w) + S(f + w) / S(f) * V(f + w),    V(k) = 0.

So an unknown problem starts narrow, since the first samples of an easy one suffice, and grows wide as it fails.
Where solves share steps, the cost of a row counts for all that it delays: under load the widths fall by themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.core.passrate import RATES, Weights

_HORIZON = 192
"""Failures looked ahead; beyond it the width of the largest step is taken."""
_STEPS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128, 192, 256)


@dataclass(frozen=True, slots=True)
class Choice:
    """A width and why: the chance that the next sample passes, and the expected seconds until the solve is over."""

    width: int
    pass_rate: float
    seconds: float


def choose(
    weights: Weights, left: int, most: int, step_seconds: Callable[[float], float], length: float, sharing: int = 1
) -> Choice:
    """The best number of rows.

    Args:
        weights: posterior over RATES.
        left: samples that have not been judged, at least 1.
        most: rows at most.
        step_seconds: expected seconds of a step with so many rows of this solve, 0 included.
        length: expected steps of a sample.
        sharing: solves that run in the same steps, this one included.
    """
    most = min(most, left)
    widths = np.array([width for width in _STEPS if width < most] + [most])
    alone = step_seconds(0.0)
    seconds = np.array([step_seconds(float(width)) for width in widths])
    cost = length * (seconds + (sharing - 1) * (seconds - alone))
    horizon = min(left, _HORIZON)
    # Chances of f failures in a row, f = 0 .. horizon.
    failures = weights @ np.exp(np.log1p(-RATES)[:, None] * np.arange(horizon + 1))
    value = np.zeros(horizon + 1)  # S(f) * V(f)
    rounds = -(-(left - horizon) // int(widths[-1]))
    value[horizon] = failures[horizon] * rounds * cost[-1]
    best = 0
    for failed in range(horizon - 1, -1, -1):
        after = np.minimum(failed + widths, horizon)
        total = cost * failures[failed] + value[after]
        best = int(np.argmin(total))
        value[failed] = total[best]
    return Choice(int(widths[best]), float(weights @ RATES), float(value[0]))
