"""Lengths of steps, learned from windows of metrics."""

import pytest

from benchmarks.plan.recorded import Window
from benchmarks.plan.steps import steps_of
from engine.core.steptime import StepTime
from tests.support.measured import STEP, window

MANY = (1, 2, 3, 5, 8, 13, 21, 34, 55)


def slower(rows: int) -> float:
    return 0.02 + 0.003 * rows


def test_steps_of_a_machine_that_takes_longer_for_more_rows_are_learned() -> None:
    found = steps_of([window(rows, slower(rows)) for rows in MANY for _ in range(8)])
    for rows in (1, 4, 10, 30, 50):
        assert found.seconds(rows, 0) == pytest.approx(slower(rows), rel=0.1)


def test_tokens_of_prompts_take_what_steps_with_them_took_beyond_their_rows() -> None:
    plain = [window(rows, STEP) for rows in (1, 2, 4, 8, 16, 32, 64) for _ in range(10)]
    prefill = Window(rows=0, steps=0, seconds=0.0, prefill_steps=10, prefill_seconds=3.0, prefill_tokens=1000)
    found = steps_of([*plain, *[prefill] * 5])
    idle = found.times.predict(0, 0, 0)
    assert found.per_prefill_token == pytest.approx((3.0 - 10 * idle) / 1000, rel=0.01)
    assert found.seconds(0, 100) == pytest.approx(idle + 100 * found.per_prefill_token)
    assert steps_of(plain).per_prefill_token == 0.0


def test_rows_beside_a_prompt_are_not_counted_as_its_own() -> None:
    """Ten steps of 0.1 s with two rows each, five of which took 0.2 s more for prompts of 50 tokens."""
    mixed = Window(rows=20, steps=5, seconds=0.5, prefill_steps=5, prefill_seconds=1.5, prefill_tokens=250)
    found = steps_of([mixed] * 30)
    assert found.seconds(2, 0) == pytest.approx(0.1, rel=0.1)
    assert found.seconds(2, 50) == pytest.approx(0.3, rel=0.1)


def test_a_slow_half_second_counts_by_its_steps() -> None:
    """Thirty steps of 0.02 s and three of 0.2 s take 0.036 s in the mean."""
    windows = [window(6, 0.02, steps=30), window(6, 0.2, steps=3)] * 20
    assert steps_of(windows).seconds(6, 0) == pytest.approx(1.2 / 33, rel=0.15)


def test_windows_with_prompts_say_nothing_of_rows_while_there_are_others() -> None:
    """The one step beside the prompt's had eight rows; over both there are four in the mean."""
    mixed = Window(rows=8, steps=1, seconds=0.4, prefill_steps=1, prefill_seconds=0.1, prefill_tokens=10)
    found = steps_of([*[window(rows, slower(rows)) for rows in MANY for _ in range(8)], *[mixed] * 50])
    assert found.seconds(4, 0) == pytest.approx(slower(4), rel=0.1)


def test_a_scheduler_can_be_taught_what_was_measured() -> None:
    times = StepTime()
    steps_of([window(rows, slower(rows)) for rows in MANY for _ in range(8)]).teach(times)
    assert times.predict(20, 0, 0) == pytest.approx(slower(20), rel=0.1)
