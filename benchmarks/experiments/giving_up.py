"""When to give up a problem: sampling until the first pass, ended where the samples left are unlikely to hold one.

The rule is the server's own for the tiers of a cascade (`engine.solving.experience`): a distribution over pass rates,
learned from the problems before, says how likely one of the samples that are left passes, after so many have failed.
Below `floor` the problem is given up. Nothing is held back until there is some experience.

Replayed over counts: of n samples of a problem c pass, and they come in a random order. As long as nothing has passed
problems differ in nothing that the rule looks at, so that it comes to a number of samples at which to give up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.experiments.estimators import expected_draws
from engine.core.passrate import Verdicts
from engine.solving.experience import Experience


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """Means over orders. samples: drawn in all. lost: problems that would have been solved and were given up.

    on_hopeless: samples a problem of which none passes; 0 where there is no such problem.
    """

    samples: float
    lost: float
    on_hopeless: float


def until_pass(n: int, c: Sequence[int]) -> float:
    """Samples in all where each problem is drawn until one passes, n at most: (n + 1) / (c + 1) in the mean."""
    draws = expected_draws(n, c)
    return float(np.where(np.asarray(c) > 0, draws, n).sum())


def given_up_at(n: int, c: Sequence[int], most: int) -> Replayed:
    """The same where every problem is given up after `most` samples: the exact mean over all orders."""
    still = np.stack([_none_in(n, c, number) for number in range(most + 1)])
    solvable = np.asarray(c) > 0
    return Replayed(samples=float(still[:most].sum()), lost=float(still[most][solvable].sum()), on_hopeless=float(most))


def replay(n: int, c: Sequence[int], floor: float, *, orders: int, seed: int = 0) -> Replayed:
    """The rule over random orders of the problems and of their samples; experience begins anew with each order."""
    draw = np.random.default_rng(seed)
    samples = lost = on_hopeless = 0
    for _ in range(orders):
        experience = Experience()
        for problem in draw.permutation(len(c)).tolist():
            passes = c[problem]
            # The place of the first of `passes` among n places.
            first = int(draw.permutation(n)[:passes].min()) + 1 if passes else n + 1
            drawn = min(first, give_up_after(experience, n, floor))
            solved = first <= drawn
            experience.learn(Verdicts(failed=drawn - solved, passed=int(solved)), 1.0)
            samples += drawn
            lost += bool(passes) and not solved
            on_hopeless += 0 if passes else drawn
    hopeless = sum(not passes for passes in c)
    return Replayed(
        samples=samples / orders,
        lost=lost / orders,
        on_hopeless=on_hopeless / orders / hopeless if hopeless else 0.0,
    )


def give_up_after(experience: Experience, n: int, floor: float) -> int:
    """The number of failures, 1 to n, after which the chance of a pass among the samples left is below `floor`."""
    if not experience.enough:
        return n
    least, most = 1, n
    # The chance falls with each failure, and with each sample less.
    while least < most:
        middle = (least + most) // 2
        if experience.still_solves(middle, n - middle) < floor:
            most = middle
        else:
            least = middle + 1
    return least


def _none_in(n: int, c: Sequence[int], number: int) -> npt.NDArray[np.float64]:
    """The chance of each problem that the first `number` of its n samples hold none of the c that pass."""
    passes = np.asarray(c, dtype=np.float64)
    drawn = np.arange(number, dtype=np.float64)[:, None]
    return np.prod(np.maximum(n - passes - drawn, 0) / (n - drawn), axis=0)
