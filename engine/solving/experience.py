"""What a tier's solves have taught: how likely its samples pass, what one costs, and when the next tier is worth more.

Programs are looked for by opening boxes: each sample is a box that costs something to open and holds a pass with some
chance. Where boxes are independent, the best order is by the reservation value of each (Weitzman, "Optimal search for
the best alternative", Econometrica 1979); with one prize for any pass that order is the one by chance / cost. A tier's
chance falls with each of its failures, so that the index of its next sample is the best that it has left (as in
Gittins' rule for a stopping problem that only gets worse). So a tier draws on while its next sample has at least the
index of the first one of a later tier.

A tier other than the first sees the problems that those before it did not solve, and learns from these alone: its
chances are those given that the others have failed, which is what the comparison needs.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.core.passrate import RATES, PassRates, Verdicts, posterior

_ENOUGH = 8
"""Solves of a tier before its figures count: until then all its samples are drawn."""
_NEWEST = 0.1


class Experience:
    """Pass rates and mean cost of one tier. The unit of cost is the same for all tiers of a cascade."""

    def __init__(self) -> None:
        self._rates = PassRates()
        self._cost: float | None = None
        self._solves = 0

    @property
    def enough(self) -> bool:
        """Whether there is enough of it to decide by."""
        return self._solves >= _ENOUGH and self._cost is not None

    def learn(self, verdicts: Verdicts, cost: float | None) -> None:
        """A solve has ended here with these verdicts on samples; `cost` of one sample, None if that is not known."""
        self._rates.learn(verdicts)
        self._solves += 1
        if cost is not None:
            self._cost = cost if self._cost is None else self._cost + _NEWEST * (cost - self._cost)

    def still_solves(self, failed: int, left: int) -> float:
        """The chance that one of `left` more samples passes, after so many have failed."""
        weights = posterior(self._rates.prior, Verdicts(failed=failed))
        return float(1 - weights @ np.exp(left * np.log1p(-RATES)))

    def indices(self, samples: int) -> npt.NDArray[np.float64]:
        """Chance of the next sample over its cost, after 0 .. samples - 1 failures, [samples]. Needs `enough`."""
        survived = self._rates.prior @ np.exp(np.log1p(-RATES)[:, None] * np.arange(samples + 1))
        return (1 - survived[1:] / survived[:-1]) / max(self._cost or 0.0, 1e-9)


def worth_drawing(here: Experience, later: Sequence[Experience], most: int) -> int:
    """How many samples of a tier to draw before a later one is worth more, 1 to `most`."""
    if not here.enough or not later or not all(one.enough for one in later):
        return most
    elsewhere = max(float(one.indices(1)[0]) for one in later)
    below = np.flatnonzero(here.indices(most) < elsewhere)
    return max(1, int(below[0])) if len(below) else most
