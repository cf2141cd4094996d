"""Estimators against enumeration, and against the published check values."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.experiments import estimators

CHECKED = [
    (10, 3, 1, 0.3),
    (10, 3, 5, 0.916667),
    (200, 10, 10, 0.408548),
    (200, 10, 100, 0.999229),
    (100, 7, 10, 0.533260),
    (80, 1, 80, 1.0),
    (80, 1, 1, 0.0125),
]
"""n, c, k and pass@k, computed elsewhere by the published formula."""

small = st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))


def subsets(n: int, c: int, k: int) -> list[bool]:
    """For each way to take k of n samples, of which the first c passed: whether one of the taken passed."""
    return [any(index < c for index in taken) for taken in itertools.combinations(range(n), k)]


@pytest.mark.parametrize(("n", "c", "k", "value"), CHECKED)
def test_the_published_check_values(n: int, c: int, k: int, value: float) -> None:
    assert estimators.pass_at_k(n, [c], k)[0] == pytest.approx(value, abs=5e-7)
    assert estimators.pass_curve(n, [c])[0, k - 1] == pytest.approx(value, abs=5e-7)


@given(small)
def test_pass_at_k_is_the_share_of_subsets_with_a_pass(nc: tuple[int, int]) -> None:
    n, c = nc
    for k in range(1, n + 1):
        found = subsets(n, c, k)
        assert estimators.pass_at_k(n, [c], k)[0] == pytest.approx(sum(found) / len(found), abs=1e-12)


@given(
    st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n), min_size=1, max_size=5)))
)
def test_the_curve_is_pass_at_every_k_rises_and_equals_the_binomials(drawn: tuple[int, list[int]]) -> None:
    n, counts = drawn
    curve = estimators.pass_curve(n, counts)
    assert curve.shape == (len(counts), n)
    assert (np.diff(curve, axis=1) >= -1e-15).all() and ((curve >= 0) & (curve <= 1)).all()
    for k in {1, (n + 1) // 2, n}:
        exact = [1 - math.comb(n - c, k) / math.comb(n, k) for c in counts]
        assert estimators.pass_at_k(n, counts, k) == pytest.approx(exact, abs=1e-12)
        assert curve[:, k - 1] == pytest.approx(exact, abs=1e-12)


@given(
    st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n), min_size=1, max_size=9)))
)
def test_the_scores_of_the_mbpp_paper_are_pass_at_n_and_pass_at_1(drawn: tuple[int, list[int]]) -> None:
    n, counts = drawn
    assert estimators.pass_any(n, counts) == pytest.approx(estimators.pass_at_k(n, counts, n), abs=1e-12)
    assert estimators.fraction_passing(n, counts) == pytest.approx(estimators.pass_at_k(n, counts, 1), abs=1e-12)


@pytest.mark.parametrize("k", [0, -1, 6])
def test_a_k_beyond_the_samples_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="k: "):
        estimators.pass_at_k(5, [2], k)
    with pytest.raises(ValueError, match="k: "):
        estimators.filtered_pass_at_k(5, [2], [1], k)


@pytest.mark.parametrize("counts", [[6], [-1], [2, 6]])
def test_counts_that_cannot_be_are_refused(counts: list[int]) -> None:
    for estimate in (
        estimators.pass_curve,
        estimators.pass_any,
        estimators.fraction_passing,
        estimators.expected_draws,
    ):
        with pytest.raises(ValueError, match="c: "):
            estimate(5, counts)


@given(
    st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(0, n), st.integers(1, n)))
)
def test_filtered_pass_at_k_is_the_share_of_subsets_of_what_is_kept(drawn: tuple[int, int, int, int]) -> None:
    n, kept, right, k = drawn
    if right > kept:
        with pytest.raises(ValueError, match="right: "):
            estimators.filtered_pass_at_k(n, [kept], [right], k)
        return
    # Of the kept samples the first `right` are right; with fewer than k of them all are handed in.
    found = subsets(kept, right, min(k, kept)) if kept else [False]
    value = estimators.filtered_pass_at_k(n, [kept], [right], k)[0]
    assert value == pytest.approx(sum(found) / len(found), abs=1e-12)


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_expected_draws_is_the_mean_place_of_the_first_pass(nc: tuple[int, int]) -> None:
    n, c = nc
    places = [min(order[:c]) + 1 for order in itertools.permutations(range(n))]
    assert estimators.expected_draws(n, [c])[0] == pytest.approx(sum(places) / len(places))


def test_expected_draws_by_number() -> None:
    assert estimators.expected_draws(80, [8, 1]).tolist() == [9.0, 40.5]
    assert estimators.expected_draws(100, [7])[0] == pytest.approx(12.625)


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=5))
def test_pass_at_tokens_against_all_orders(samples: list[tuple[int, bool]]) -> None:
    tokens, passed = [t for t, _ in samples], [p for _, p in samples]
    budgets = [1, 5, 10, sum(tokens)]

    def first_pass(order: tuple[int, ...]) -> float:
        spent = 0
        for index in order:
            spent += tokens[index]
            if passed[index]:
                return spent
        return math.inf

    firsts = [first_pass(order) for order in itertools.permutations(range(len(samples)))]
    exact = [sum(first <= budget for first in firsts) / len(firsts) for budget in budgets]
    orders = 4000
    found = estimators.pass_at_tokens([(tokens, passed)], budgets, orders=orders)[0]
    # Five standard errors of the worst case.
    assert found == pytest.approx(exact, abs=5 * 0.5 / math.sqrt(orders))
    assert found[-1] == float(any(passed))


def test_pass_at_tokens_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="problem 1"):
        estimators.pass_at_tokens([([3], [True]), ([3, 4], [True])], [10])
