"""Books of rounds and samples: what is paid, what counts as solved for so many tokens, and when enough was drawn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.experiments.repair_tokens import (
    ALL,
    COMPUTED,
    MEASURES,
    Spent,
    Tried,
    enough,
    even_share,
    first_pass,
    solved_within,
    total,
    used,
)


def tried(generated: int, *, passed: bool = False, prompt: int = 10, cached: int = 4) -> Tried:
    return Tried(spent=Spent(prompt=prompt, cached=cached, generated=generated), passed=passed)


@st.composite
def tries(draw: st.DrawFn) -> Tried:
    prompt = draw(st.integers(1, 400))
    spent = Spent(prompt=prompt, cached=draw(st.integers(0, prompt)), generated=draw(st.integers(0, 300)))
    return Tried(spent=spent, passed=draw(st.booleans()))


measures = st.sampled_from(MEASURES)


def test_the_two_measures_of_a_call() -> None:
    spent = Spent(prompt=100, cached=80, generated=30)
    assert spent.by(COMPUTED) == 50 and spent.by(ALL) == 130


@pytest.mark.parametrize(("prompt", "cached", "generated"), [(5, 6, 0), (5, -1, 0), (5, 0, -1), (-1, -1, 0)])
def test_books_that_cannot_be_are_refused(prompt: int, cached: int, generated: int) -> None:
    with pytest.raises(ValueError, match="no account of a call"):
        Spent(prompt=prompt, cached=cached, generated=generated)


def test_a_pass_counts_once_its_last_token_is_paid_for() -> None:
    calls = [tried(20), tried(20, passed=True), tried(20)]  # 26 computed each
    assert first_pass(calls, COMPUTED) == 52 and first_pass([tried(20)], COMPUTED) is None
    assert not solved_within(calls, 51, COMPUTED) and solved_within(calls, 52, COMPUTED)
    assert not solved_within(calls, 52, ALL) and solved_within(calls, 60, ALL)
    # The second call is not paid for by 51 tokens, and nothing is drawn after a pass.
    assert [used(calls, budget, COMPUTED) for budget in (25, 26, 51, 52, 1000)] == [0, 26, 26, 52, 52]


@given(st.lists(tries(), max_size=12), st.integers(0, 3000), st.integers(0, 3000), measures)
def test_more_tokens_never_solve_less(calls: list[Tried], budget: int, more: int, measure: str) -> None:
    assert solved_within(calls, budget, measure) <= solved_within(calls, budget + more, measure)
    assert used(calls, budget, measure) <= used(calls, budget + more, measure)


@given(st.lists(tries(), max_size=12), st.integers(0, 3000), measures)
def test_no_budget_is_overdrawn(calls: list[Tried], budget: int, measure: str) -> None:
    paid = used(calls, budget, measure)
    assert 0 <= paid <= min(budget, total(calls, measure))
    if solved_within(calls, budget, measure):
        assert paid == first_pass(calls, measure)
    if total(calls, measure) <= budget and not any(one.passed for one in calls):
        assert paid == total(calls, measure)


@given(st.lists(tries(), max_size=12))
def test_cached_tokens_are_all_that_the_measures_differ_in(calls: list[Tried]) -> None:
    assert total(calls, ALL) - total(calls, COMPUTED) == sum(one.spent.cached for one in calls)


@given(
    st.lists(tries().filter(lambda one: one.spent.by(COMPUTED) > 0), min_size=40, max_size=40),
    st.fixed_dictionaries({measure: st.integers(0, 400) for measure in MEASURES}),
)
def test_sampling_goes_on_until_both_budgets_are_spent_and_no_further(
    supply: list[Tried], budgets: dict[str, int]
) -> None:
    drawn: list[Tried] = []
    while not enough(drawn, budgets) and len(drawn) < len(supply):
        drawn.append(supply[len(drawn)])
    before = drawn[:-1]
    # Nothing is drawn that could not count by any measure.
    if drawn:
        assert not any(one.passed for one in before)
        assert any(total(before, measure) < budgets[measure] for measure in MEASURES)
    # What was not drawn would have changed no answer within the budgets.
    if len(drawn) < len(supply):
        for measure in MEASURES:
            for budget in (budgets[measure], budgets[measure] // 2):
                assert solved_within(drawn, budget, measure) == solved_within(supply, budget, measure)
                assert used(drawn, budget, measure) == used(supply, budget, measure)


@given(st.lists(st.lists(tries(), max_size=5), max_size=8), measures)
def test_an_even_share_is_the_whole_and_less_than_a_token_a_problem_more(
    conversations: list[list[Tried]], measure: str
) -> None:
    spent = sum(total(one, measure) for one in conversations)
    share = even_share(conversations, measure)
    assert spent <= share * len(conversations) <= spent + max(0, len(conversations) - 1)
