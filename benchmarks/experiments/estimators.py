"""What is computed from counts of passes: one row for each problem, from independent and complete draws only.

Everything here takes the number of samples n of each problem and how many of them passed, c, and gives one value for
each problem; `benchmarks.experiments.resampling` makes means and intervals of them. What may be counted at all is
decided in `benchmarks.experiments.counting`.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64] | Sequence[int]


def pass_curve(n: int, c: Counts) -> Floats:
    """pass@1 to pass@n of each problem: an array (problems, n).

    The unbiased estimator of Chen et al. 2021 (arXiv 2107.03374), 1 - C(n-c, k) / C(n, k): the probability that k
    samples taken from the n without putting back hold one that passed. Raises ValueError where c is not between 0 and
    n.
    """
    passed = _counts(n, c)
    drawn = np.arange(n, dtype=np.float64)
    failing = (n - passed[:, None] - drawn) / (n - drawn)
    # Once there are more draws than failures a factor is 0, and with it all that follow.
    return 1.0 - np.cumprod(np.maximum(failing, 0.0), axis=1)


def pass_at_k(n: int, c: Counts, k: int) -> Floats:
    """pass@k of each problem, by the same estimator. Raises ValueError for a k below 1 or above n."""
    _require_k(n, k)
    passed = _counts(n, c)
    drawn = np.arange(k, dtype=np.float64)
    failing = (n - passed[:, None] - drawn) / (n - drawn)
    return 1.0 - np.prod(np.maximum(failing, 0.0), axis=1)


def pass_any(n: int, c: Counts) -> Floats:
    """1 where any of the n samples passed, else 0 (Austin, Odena et al. 2021, arXiv 2108.07732)."""
    return (_counts(n, c) > 0).astype(np.float64)


def fraction_passing(n: int, c: Counts) -> Floats:
    """The fraction of samples that passed (the other score of Austin, Odena et al. 2021)."""
    return _counts(n, c) / n


def filtered_pass_at_k(n: int, kept: Counts, right: Counts, k: int) -> Floats:
    """pass@k over the samples that a filter keeps (Chen et al. 2021, the APPS part).

    `kept` of the n samples of a problem pass its visible tests, `right` of those pass the held-out tests, too; k of the
    kept ones are handed in (all of them where there are fewer), and the problem is solved if one is right. A problem of
    which nothing is kept is not solved. Raises ValueError as pass_at_k does, and where right > kept.
    """
    _require_k(n, k)
    left = _counts(n, kept)
    good = _counts(n, right)
    if np.any(good > left):
        raise ValueError("right: a problem has more right samples than kept ones; count only those that were kept")
    solved = np.zeros(len(left))
    for index, (total, hits) in enumerate(zip(left.tolist(), good.tolist(), strict=True)):
        if hits:
            solved[index] = pass_at_k(total, [hits], min(k, total))[0]
    return solved


def expected_draws(n: int, c: Counts) -> Floats:
    """Mean number of draws until the first pass when n recorded samples come in random order: (n + 1) / (c + 1).

    With c = 0 no draw passes; the value n + 1 says that it takes more than all of them.
    """
    return (n + 1) / (_counts(n, c) + 1)


def pass_at_tokens(
    problems: Sequence[tuple[Sequence[int], Sequence[bool]]],
    budgets: Sequence[int],
    *,
    orders: int = 2000,
    seed: int = 0,
) -> Floats:
    """pass@t: the probability that one sample after another gives a pass within t tokens; an array (problems, budgets).

    Each problem gives the tokens of its samples and whether each passed; a sample counts once its last token is paid
    for. The mean over `orders` random orders of the samples, so the standard error is at most 0.5 / sqrt(orders). After
    Olausson et al. 2023 (arXiv 2306.09896), who compare repair with sampling by tokens. Raises ValueError where a
    problem has no samples or where its two lists differ in length.
    """
    draw = np.random.default_rng(seed)
    limits = np.asarray(budgets, dtype=np.int64)
    result = np.zeros((len(problems), len(limits)))
    for row, (tokens, passed) in enumerate(problems):
        if not tokens or len(tokens) != len(passed):
            raise ValueError(f"tokens: problem {row} has {len(tokens)} token counts for {len(passed)} samples")
        order = draw.permuted(np.tile(np.arange(len(tokens)), (orders, 1)), axis=1)
        spent = np.cumsum(np.asarray(tokens, dtype=np.int64)[order], axis=1)
        hits = np.asarray(passed, dtype=np.bool_)[order]
        if not hits.any():
            continue
        first = spent[np.arange(orders), hits.argmax(axis=1)]
        result[row] = (first[:, None] <= limits).mean(axis=0)
    return result


def _counts(n: int, c: Counts) -> npt.NDArray[np.int64]:
    counts = np.asarray(c, dtype=np.int64)
    if n < 1:
        raise ValueError(f"n: {n} samples; at least one is needed")
    if counts.ndim != 1 or np.any(counts < 0) or np.any(counts > n):
        raise ValueError(f"c: expected one count from 0 to {n} for each problem, found {counts.tolist()}"[:200])
    return counts


def _require_k(n: int, k: int) -> None:
    if k < 1:
        raise ValueError(f"k: {k} is less than 1")
    if k > n:
        raise ValueError(f"k: pass@{k} is not defined for {n} samples of a problem; draw {k}, or ask for a smaller k")
