"""Intervals and fits, where the answer is known."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.experiments import fits, resampling
from benchmarks.experiments.estimators import pass_curve


def test_an_interval_of_equal_values_is_a_point() -> None:
    found = resampling.mean([0.25] * 40)
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_an_interval_covers_the_middle_95_percent_of_resampled_means() -> None:
    values = [1.0] * 30 + [0.0] * 70
    found = resampling.mean(values)
    # The resampled count is binomial(100, 0.3): its 2.5 % and 97.5 % quantiles are 21 and 39.
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.21, abs=0.011) and found.high == pytest.approx(0.39, abs=0.011)


@settings(max_examples=5)
@given(st.integers(0, 1000))
def test_an_interval_agrees_with_one_by_brute_force(seed: int) -> None:
    draw = random.Random(seed)
    values = [draw.random() for _ in range(25)]
    means = sorted(sum(draw.choices(values, k=25)) / 25 for _ in range(4000))
    found = resampling.mean(values)
    assert found.low == pytest.approx(means[100], abs=0.02) and found.high == pytest.approx(means[3899], abs=0.02)


def test_columns_share_their_resamples_and_no_problems_are_refused() -> None:
    first, second = resampling.means(np.array([[0.0, 0.0], [1.0, 2.0], [1.0, 2.0]]))
    assert (2 * first.low, 2 * first.high) == (second.low, second.high)
    assert resampling.mean([0.0, 1.0, 1.0]) == resampling.mean([0.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="no problems"):
        resampling.mean([])


@pytest.mark.parametrize(("a", "b"), [(-2.3, 0.4), (-0.5, 0.9), (-6.0, 0.15)])
def test_a_power_law_is_found_again(a: float, b: float) -> None:
    k = np.arange(1, 501)
    found = fits.fit_coverage(np.exp(a * k**-b))
    assert found is not None
    assert (found.a, found.b) == pytest.approx((a, b), rel=1e-6)
    assert found.rms < 1e-9


def test_the_fit_of_a_curve_is_near_its_best() -> None:
    rates = np.array([1, 2, 3, 5, 10, 40, 90, 0, 0, 7, 3])
    coverage = pass_curve(100, rates).mean(axis=0)
    found = fits.fit_coverage(coverage)
    assert found is not None

    def off(a: float, b: float) -> float:
        k = np.unique(np.geomspace(1, 100, 40).round().astype(int))
        return float(((np.exp(a * k**-b) - coverage[k - 1]) ** 2).sum())

    best = min(off(a, b) for a in np.linspace(-4, -0.2, 300) for b in np.linspace(0.05, 1.2, 300))
    assert off(found.a, found.b) <= best * (1 + 1e-9)


@pytest.mark.parametrize("coverage", [[], [0.5], [0.0, 0.2, 0.4, 0.5], [1.0, 1.0, 1.0, 1.0]])
def test_nothing_is_fitted_to_too_little(coverage: list[float]) -> None:
    assert fits.fit_coverage(coverage) is None


def test_a_log_linear_fit() -> None:
    found = fits.fit_log_linear([1e8, 1e9, 1e10], [0.1, 0.2, 0.3])
    assert (found.slope, found.intercept, found.r2) == pytest.approx((0.1, -0.7, 1.0))
    assert found.at(1e11) == pytest.approx(0.4)
    noisy = fits.fit_log_linear([1e8, 1e9, 1e10], [0.1, 0.3, 0.2])
    assert noisy.slope == pytest.approx(0.05) and 0 < noisy.r2 < 1
    assert math.isclose(fits.fit_log_linear([1, 10], [0.2, 0.2]).slope, 0, abs_tol=1e-12)
    for sizes in ([1e8, 1e8], [0, 1], [1e8]):
        with pytest.raises(ValueError, match="sizes: "):
            fits.fit_log_linear(sizes, [0.1] * len(sizes))
