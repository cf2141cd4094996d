"""What is known about the chance that a sample passes: of a model, and of one problem once verdicts are there.

Problems differ: many are easy for a model, many hopeless, fewer in between. So the prior is a distribution over pass
rates on a grid, learned from the solves that have ended (a fading step of expectation maximisation for each); a
problem's own verdicts turn it into its posterior by Bayes' rule. Why a solve ended does not matter for the likelihood.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float64]
"""[len(RATES)], of sum 1."""

RATES: Weights = np.array(
    [0.0003, 0.001, 0.003, 0.01, 0.02, 0.04, 0.07, 0.11, 0.16, 0.23, 0.32, 0.43, 0.55, 0.67, 0.79, 0.89, 0.96, 0.995]
)
"""The grid of pass rates."""

_START: Weights = np.full(len(RATES), 1 / len(RATES))
_NEWEST = 0.04
"""Weight of one solve: some 25 solves decide."""
_GUESS = 4.0
"""Verdicts that somebody's guess of the difficulty is worth."""
_DOUBT = 0.1
"""Part of the prior that never learns: no rate is ruled out for good."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Samples of one solve that have been judged."""

    failed: int = 0
    passed: int = 0


class PassRates:
    """The prior of one model."""

    def __init__(self) -> None:
        self._learned = _START.copy()

    @property
    def prior(self) -> Weights:
        """Chances of each of RATES for a problem of which nothing is known."""
        return (1 - _DOUBT) * self._learned + _DOUBT * _START

    def learn(self, verdicts: Verdicts) -> None:
        """A solve has ended with these verdicts."""
        if verdicts.failed or verdicts.passed:
            self._learned += _NEWEST * (posterior(self.prior, verdicts) - self._learned)


def guessed(prior: Weights, difficulty: float) -> Weights:
    """Chances of each of RATES where somebody guesses the chance that a sample fails: worth `_GUESS` verdicts."""
    weights = prior * RATES ** (_GUESS * (1 - difficulty)) * (1 - RATES) ** (_GUESS * difficulty)
    return weights / weights.sum()


def posterior(prior: Weights, verdicts: Verdicts) -> Weights:
    """Chances of each of RATES given a problem's verdicts."""
    logs = np.log(prior) + verdicts.passed * np.log(RATES) + verdicts.failed * np.log1p(-RATES)
    weights = np.exp(logs - logs.max())
    return weights / weights.sum()
