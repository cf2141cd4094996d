"""Choices among samples, by cases whose answer is plain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.experiments.selecting import (
    Sampled,
    any_of_clusters,
    at_random,
    by_agreement,
    by_generated_tests,
    by_logprob,
    by_majority,
    of_kept,
    score,
)


def sample(
    values: str, *, tests: str = "", right: bool = False, kept: bool = True, logprob: float | None = None
) -> Sampled:
    """Values are letters, ! for a call that returned nothing; tests are + and -."""
    return Sampled(
        values=tuple("!error" if one == "!" else one for one in values),
        returned=tuple(one != "!" for one in values),
        tests=tuple(one == "+" for one in tests),
        kept=kept,
        right=right,
        logprob=logprob,
    )


def chosen(weights: np.ndarray | None) -> list[float]:
    assert weights is not None
    assert weights.sum() == pytest.approx(1.0)
    return weights.round(3).tolist()


def test_a_choice_at_random_scores_the_share_of_right_ones() -> None:
    samples = [sample("a", right=True), sample("b"), sample("b"), sample("c")]
    assert score(samples, at_random(samples)) == pytest.approx(0.25)


def test_the_majority_is_the_largest_group_that_behaves_alike() -> None:
    samples = [sample("ab"), sample("ab"), sample("ac"), sample("b!")]
    assert chosen(by_majority(samples)) == [0.5, 0.5, 0, 0]


def test_programs_that_return_nothing_are_no_majority() -> None:
    samples = [sample("!!"), sample("!!"), sample("ab")]
    assert chosen(by_majority(samples)) == [0, 0, 1]
    assert chosen(by_majority([sample("!"), sample("!")])) == [0.5, 0.5]


def test_one_of_each_of_the_largest_clusters_is_handed_in() -> None:
    samples = [
        *(sample("a", right=right) for right in (False, False, False)),
        *(sample("b", right=right) for right in (True, False)),
        sample("c", right=True),
        *(sample("!", right=True) for _ in range(9)),
    ]
    assert [any_of_clusters(samples, count) for count in (1, 2, 3)] == pytest.approx([0, 0.5, 1])
    assert any_of_clusters([sample("!", right=True), sample("!")], 10) == pytest.approx(0.5)


def test_agreement_goes_by_single_inputs() -> None:
    # No two behave alike; the second agrees with a majority on each input.
    samples = [sample("axx"), sample("abc"), sample("ybc"), sample("zzc")]
    assert chosen(by_agreement(samples)) == [0, 1, 0, 0]


def test_what_fails_agrees_with_nobody() -> None:
    samples = [sample("!!"), sample("!!"), sample("!!"), sample("ab"), sample("ab")]
    assert chosen(by_agreement(samples)) == [0, 0, 0, 0.5, 0.5]


def test_dual_agreement_weighs_samples_and_tests() -> None:
    # Four samples pass 3 tests: 2 * 3 = 6. One sample passes 5: 5. Two pass 4: 5.66.
    samples = [sample("", tests=tests) for tests in ["+++--"] * 4 + ["+++++"] + ["++++-"] * 2]
    assert chosen(by_generated_tests(samples)) == [0.25] * 4 + [0, 0, 0]


def test_the_highest_log_probability_wins_where_all_are_known() -> None:
    samples = [sample("", logprob=-0.5), sample("", logprob=-0.1), sample("", logprob=-0.1)]
    assert chosen(by_logprob(samples)) == [0, 0.5, 0.5]
    assert by_logprob([*samples, sample("")]) is None


def test_visible_tests_filter_unless_nothing_passes_them() -> None:
    samples = [sample("a", kept=False), sample("b")]
    assert of_kept(samples) == [samples[1]]
    assert of_kept(samples[:1]) == samples[:1]


@given(
    st.lists(
        st.tuples(st.text("ab!", min_size=3, max_size=3), st.text("+-", min_size=2, max_size=2), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_every_choice_is_a_share_of_samples_and_never_beats_the_oracle(drawn: list[tuple[str, str, bool]]) -> None:
    samples = [sample(values, tests=tests, right=right) for values, tests, right in drawn]
    oracle = float(any(one.right for one in samples))
    for choose in (at_random, by_majority, by_agreement, by_generated_tests):
        weights = choose(samples)
        assert weights.min() >= 0 and weights.sum() == pytest.approx(1.0)
        assert score(samples, weights) <= oracle + 1e-9
