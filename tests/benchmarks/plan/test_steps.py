"""Lengths of steps and the pace of tokens, learned from windows of metrics."""

import pytest

from benchmarks.plan.recorded import Window
from benchmarks.plan.steps import steps_of
from tests.support.measured import STEP, measured, problem, window

ANY = problem("p", [(5, 1, True)])
MANY = (1, 2, 3, 5, 8, 13, 21, 34, 55)


def slower(rows: int) -> float:
    return 0.02 + 0.003 * rows


def test_steps_of_a_machine_that_takes_longer_for_more_rows_are_learned() -> None:
    windows = tuple(window(branches, slower(branches)) for branches in MANY for _ in range(8))
    found = steps_of(measured(ANY, windows=windows))
    for branches in (1, 4, 10, 30, 50):
        assert found.seconds(branches, 0) == pytest.approx(slower(branches), rel=0.1)
        assert found.learned(branches, 0) == pytest.approx(slower(branches), rel=0.1)


def test_drafts_that_are_right_make_tokens_quicker_and_steps_longer() -> None:
    """Two drafts for each branch, of which one is right: three rows, two tokens."""
    windows = tuple(window(b, slower(3 * b), drafted=2, right=1) for b in MANY[:-2] for _ in range(8))
    found = steps_of(measured(ANY, windows=windows))
    for branches in (1, 4, 10, 20):
        assert found.seconds(branches, 0) == pytest.approx(slower(3 * branches) / 2, rel=0.1)
    assert found.learned(9, 0) == pytest.approx(slower(9), rel=0.1), "the scheduler counts rows, whatever is in them"


def test_windows_count_by_the_tokens_that_they_drew() -> None:
    """Half of the time nothing is right, half of the time nine drafts are: eleven tokens in two steps."""
    windows = (*[window(2, STEP)] * 20, *[window(2, STEP, drafted=9, right=9)] * 20)
    assert steps_of(measured(ANY, windows=windows)).seconds(2, 0) == pytest.approx(2 * STEP / 11, rel=0.1)


def test_tokens_of_prompts_take_what_steps_with_them_took_beyond_their_rows() -> None:
    prefill = Window(
        rows=0,
        steps=0,
        seconds=0.0,
        prefill_steps=10,
        prefill_seconds=3.0,
        prefill_tokens=1000,
        tokens=0,
        waited=0.0,
    )
    base = measured(ANY)
    found = steps_of(measured(ANY, windows=(*base.windows, *[prefill] * 5)))
    idle = found.times.predict(0, 0, 0)
    assert found.per_prefill_token == pytest.approx((3.0 - 10 * idle) / 1000, rel=0.01)
    assert found.seconds(0, 100) == pytest.approx(100 * found.per_prefill_token)
    assert steps_of(base).per_prefill_token == 0.0


def test_branches_do_not_wait_twice_for_prompts() -> None:
    """Ten steps of 0.1 s with two branches each, five of which took 0.2 s more for prompts of 50 tokens."""
    mixed = Window(
        rows=20,
        steps=5,
        seconds=0.5,
        prefill_steps=5,
        prefill_seconds=1.5,
        prefill_tokens=250,
        tokens=20,
        waited=4.0,
    )
    found = steps_of(measured(ANY, windows=(mixed,) * 30))
    assert found.seconds(2, 0) == pytest.approx(0.1, rel=0.1)
    assert found.seconds(2, 50) == pytest.approx(0.3, rel=0.1)
