"""Which of a solve's prompts and temperatures the next sample is drawn by.

A solve with several prompts or filters has arms: sample i is of arm i mod (prompts * filters). Which samples there are
is fixed; which come first is not, and a solve that is over with its first pass (and leaves its width to the scheduler)
draws best from the arm whose next sample is likeliest to pass: for equal costs the best order of independent chances
(Weitzman, "Optimal search for the best alternative", Econometrica 1979). What is known of an arm are the solves before,
as for a whole model (passrate), and this problem's own verdicts: each failure lowers its arm's chance, so that an arm
that is often right at once and else never gives way after a few, and one that is right now and then goes on. Samples
without a verdict count as failures meanwhile; so samples that start together are spread.

Variants at the same place of their problems are taken to be of one kind: that is for the caller to keep.
"""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from engine.core.passrate import RATES, PassRates, Verdicts, Weights
from engine.core.types import CoreRequest, Filters

_PASS, _FAIL = np.log(RATES), np.log1p(-RATES)
_MOST_KINDS = 1024


class Arms:
    """Those of one solve. `priors`: chances of passrate.RATES, one row for each arm."""

    def __init__(self, priors: Sequence[Weights]) -> None:
        self._priors = np.log(np.stack(priors))
        self._started, self._failed, self._passed = np.zeros((3, len(priors)), np.int64)

    def judge(self, samples: Sequence[int], *, passed: bool) -> None:
        """Samples have a verdict."""
        np.add.at(self._passed if passed else self._failed, np.array(samples) % len(self._started), 1)

    def take(self, arms: Sequence[int]) -> int:
        """The arm, of some in the order of their next samples, that the next sample is started of."""
        taken = arms[int(self._chances(arms).argmax())]
        self._started[taken] += 1
        return taken

    @property
    def verdicts(self) -> list[Verdicts]:
        """Samples by verdict, of each arm."""
        return [Verdicts(int(failed), int(passed)) for failed, passed in zip(self._failed, self._passed, strict=True)]

    def _chances(self, arms: Sequence[int]) -> Weights:
        """That the next sample passes, [len(arms)]."""
        passed = self._passed[arms, None]
        logs = self._priors[arms] + passed * _PASS + (self._started[arms, None] - passed) * _FAIL
        weights = np.exp(logs - logs.max(axis=1, keepdims=True))
        # Rounded, so that equal chances are equal whatever the order of a sum.
        return np.round(weights @ RATES / weights.sum(axis=1), 9)


class ArmRates:
    """What the solves of a model have taught about prompts by their place, and about filters."""

    def __init__(self) -> None:
        self._rates: OrderedDict[tuple[int, int, Filters], PassRates] = OrderedDict()

    def begin(self, request: CoreRequest) -> Arms | None:
        """The arms of a solve that begins; None where there is one."""
        kinds = _kinds(request)
        return Arms([self._of(kind).prior for kind in kinds]) if len(kinds) > 1 else None

    def learn(self, request: CoreRequest, arms: Arms) -> None:
        """A solve has ended with its last verdict."""
        for kind, verdicts in zip(_kinds(request), arms.verdicts, strict=True):
            self._of(kind).learn(verdicts)

    def _of(self, kind: tuple[int, int, Filters]) -> PassRates:
        rates = self._rates.setdefault(kind, PassRates())
        self._rates.move_to_end(kind)
        if len(self._rates) > _MOST_KINDS:
            self._rates.popitem(last=False)
        return rates


def _kinds(request: CoreRequest) -> list[tuple[int, int, Filters]]:
    """Of each arm: the place of its prompt, of how many, and its filters."""
    prompts = len(request.prompts)
    return [(place, prompts, filters) for filters in request.filters for place in range(prompts)]
