"""Scores that several experiments share, as JSON values of a result."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.experiments.counting import passes
from benchmarks.experiments.estimators import expected_draws, fraction_passing, pass_any, pass_curve
from benchmarks.experiments.outcome import Outcome
from benchmarks.experiments.resampling import mean, means

SAMPLES = "samples"
"""The arm of the samples, where an experiment has one such arm."""
GREEDY = "greedy"
"""The arm of the one greedy text of each problem."""
_POINTS = 48


def samples_and_greedy(protocol: Mapping[str, Any], outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    """The scores of SAMPLES for the protocol's ks, and pass@1 of GREEDY where it was drawn."""
    found = {SAMPLES: sampled(protocol, SAMPLES, outcomes[SAMPLES], protocol["ks"])}
    if GREEDY in outcomes:
        found[GREEDY] = sampled(protocol, GREEDY, outcomes[GREEDY], [1])
    return found


def sampled(protocol: Mapping[str, Any], arm: str, outcomes: Sequence[Outcome], ks: Sequence[int]) -> dict[str, Any]:
    """pass@k for each of `ks` and along a curve, pass-any and the fraction of samples, of one arm.

    Raises NotCountable, and ValueError for a k above the number of samples.
    """
    n, c = passes(protocol, arm, outcomes)
    if max(ks) > n:
        raise ValueError(f"k: pass@{max(ks)} is not defined for {n} samples")
    curve = pass_curve(n, c)
    points = curve_points(n, ks)
    along = dict(zip(points, means(curve[:, [k - 1 for k in points]]), strict=True))
    scores: dict[str, Any] = {
        "problems": len(outcomes),
        "samples_per_problem": n,
        "solved": int((c > 0).sum()),
        "pass_at_k": {str(k): along[k].plain() for k in ks},
        "solved_by_any": mean(pass_any(n, c)).plain(),
        "fraction_of_samples": mean(fraction_passing(n, c)).plain(),
        "expected_draws_median_of_solved": _median(expected_draws(n, c)[c > 0].tolist()),
        "curve": [{"k": k, **along[k].plain()} for k in points],
    }
    if held := _held_out(outcomes):
        scores["held_out"] = held
    return scores


def curve_points(n: int, ks: Sequence[int] = ()) -> list[int]:
    """All k from 1 to n, or about 48 of them that are even on a log scale and `ks` among them."""
    if n <= _POINTS:
        return list(range(1, n + 1))
    return sorted({*np.geomspace(1, n, _POINTS).round().astype(int).tolist(), *ks})


def _held_out(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Where held-out tests ran: samples that passed the tests that decide, and how many of these they reject."""
    tested = [
        candidate for outcome in outcomes for candidate in outcome.candidates if candidate.passed and candidate.held_out
    ]
    if not tested:
        return {}
    return {
        "problems": sum(any(one.held_out for one in outcome.candidates) for outcome in outcomes),
        "samples_that_passed": sum(len(candidate.samples) for candidate in tested),
        "of_these_rejected": sum(len(candidate.samples) for candidate in tested if not candidate.right),
    }


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
