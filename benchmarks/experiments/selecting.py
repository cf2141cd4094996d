"""Choosing one program of many without the tests that decide: by behaviour, by generated tests, by log-probability.

Every choice gives weights over samples that add up to 1; where a rule leaves several equal, each has the same weight.
The score of a choice is the weight on samples that are right: what one would get by handing in one of them.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.experiments.estimators import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """A sample: what it returned for each input (equal texts are equal values), and which generated tests it passes.

    returned: whether it returned at all, for each input. kept: whether it passes the visible tests. right: whether it
    passes the tests that decide, which no choice looks at. logprob: mean per token, None where nobody knows.
    """

    values: tuple[str, ...]
    returned: tuple[bool, ...]
    tests: tuple[bool, ...]
    kept: bool
    right: bool
    logprob: float | None = None


def of_kept(samples: Sequence[Sampled]) -> list[Sampled]:
    """Those that pass the visible tests, or all of them where none does."""
    return [one for one in samples if one.kept] or list(samples)


def score(samples: Sequence[Sampled], weights: Floats) -> float:
    """The weight on samples that are right."""
    return float(weights @ np.array([one.right for one in samples], dtype=np.float64))


def at_random(samples: Sequence[Sampled]) -> Floats:
    """Any of them."""
    return np.full(len(samples), 1 / len(samples))


def by_majority(samples: Sequence[Sampled]) -> Floats:
    """The largest group of samples that return the same for every input (clustering of AlphaCode, Li et al. 2022).

    Samples that return nothing for any input are in no group, unless all are like that.
    """
    counts = Counter(one.values for one in samples if any(one.returned))
    if not counts:
        return at_random(samples)
    most = max(counts.values())
    return _equal([any(one.returned) and counts[one.values] == most for one in samples])


def any_of_clusters(samples: Sequence[Sampled], count: int) -> float:
    """The chance that one is right of `count` programs, any one of each of the largest groups that behave alike.

    n@k of AlphaCode (Li et al. 2022, arXiv 2203.07814), which hands in 10. Of groups of equal size the one whose first
    sample came first goes before. Samples that return nothing for any input are in no group, unless all are like that.
    """
    groups: dict[tuple[str, ...], list[bool]] = defaultdict(list)
    for one in [one for one in samples if any(one.returned)] or samples:
        groups[one.values].append(one.right)
    largest = sorted(groups.values(), key=len, reverse=True)[:count]
    return 1 - float(np.prod([1 - np.mean(rights) for rights in largest]))


def by_agreement(samples: Sequence[Sampled]) -> Floats:
    """The sample whose values agree most with all others' (MBR-exec, Shi et al. 2022, arXiv 2204.11454).

    Agreement of two samples is the share of inputs for which both return the same value: their utility for single
    inputs, whose mean over inputs ranks as their sum does.
    """
    agreement = np.zeros(len(samples))
    for column in zip(*(one.values for one in samples), strict=True):
        counts = Counter(column)
        agreement += [counts[value] for value in column]
    for row, one in enumerate(samples):
        failing = [not returned for returned in one.returned]
        if any(failing):  # what returns nothing agrees with nobody, not with others that fail as well
            lost = [Counter(other.values[place] for other in samples)[one.values[place]] for place in _where(failing)]
            agreement[row] -= sum(lost)
    return _equal((agreement >= agreement.max() - 1e-9).tolist())


def by_generated_tests(samples: Sequence[Sampled]) -> Floats:
    """The best group of samples that pass exactly the same generated tests (CodeT, Chen et al. 2022, arXiv 2207.10397).

    A group is worth the root of its number of samples times the number of tests that it passes.
    """
    groups: dict[tuple[bool, ...], list[int]] = defaultdict(list)
    for place, one in enumerate(samples):
        groups[one.tests].append(place)
    worth = {tests: len(places) ** 0.5 * sum(tests) for tests, places in groups.items()}
    best = max(worth.values())
    return _equal([worth[one.tests] >= best - 1e-9 for one in samples])


def by_logprob(samples: Sequence[Sampled]) -> Floats | None:
    """The highest mean log-probability per token (Chen et al. 2021); None where it is not known of every sample."""
    known = [one.logprob for one in samples if one.logprob is not None]
    if len(known) < len(samples):
        return None
    best = max(known)
    return _equal([value >= best for value in known])


def _equal(chosen: Sequence[bool]) -> Floats:
    weights = np.array(chosen, dtype=np.float64)
    return weights / weights.sum()


def _where(flags: Sequence[bool]) -> list[int]:
    return [place for place, flag in enumerate(flags) if flag]
