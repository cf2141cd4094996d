"""Lengths of steps, learned from windows of metrics."""

import pytest

from benchmarks.plan.recorded import Drafts, Window
from benchmarks.plan.steps import steps_of
from tests.support.measured import PLAIN, STEP, measured, problem, window

ANY = problem("p", [(5, 1, True)])


def test_steps_of_a_machine_that_takes_longer_for_more_rows_are_learned() -> None:
    def seconds(rows: int) -> float:
        return 0.02 + 0.003 * rows

    windows = tuple(window(rows, seconds(rows)) for rows in (1, 2, 3, 5, 8, 13, 21, 34, 55) for _ in range(8))
    learned = steps_of(measured(ANY, windows=windows))
    for rows in (1, 4, 10, 30, 50):
        assert learned.seconds(rows, 0, 1) == pytest.approx(seconds(rows), rel=0.1)


def test_tokens_of_prompts_take_what_steps_with_them_took_beyond_their_rows() -> None:
    prefill = Window(rows=0, steps=0, seconds=0.0, prefill_steps=10, prefill_seconds=3.0, prefill_tokens=1000)
    base = measured(ANY)
    learned = steps_of(measured(ANY, windows=(*base.windows, *[prefill] * 5)))
    idle = learned.times.predict(0, 0, 0)
    assert learned.per_prefill_token == pytest.approx((3.0 - 10 * idle) / 1000, rel=0.01)
    assert learned.seconds(0, 100, 1) == pytest.approx(100 * learned.per_prefill_token)
    assert steps_of(base).per_prefill_token == 0.0


def test_drafts_that_are_right_make_steps_of_a_token_shorter() -> None:
    # Of 300 rows 200 are drafted and 100 of these right: 3 rows a step of a branch, 2 tokens for it.
    drafts = {"alone": Drafts(rows=300, drafted=200, accepted=100), "together": PLAIN}
    learned = steps_of(measured(ANY, drafts=drafts))
    assert (learned.alone.rows, learned.alone.tokens) == (3.0, 2.0)
    assert learned.seconds(4, 0, running=1) == pytest.approx(STEP / 2, rel=0.1)
    assert learned.seconds(4, 0, running=2) == pytest.approx(STEP, rel=0.1)


def test_a_server_that_drew_nothing_has_no_drafts() -> None:
    nothing = Drafts(rows=0, drafted=0, accepted=0)
    learned = steps_of(measured(ANY, drafts={"alone": nothing, "together": nothing}))
    assert (learned.alone.rows, learned.alone.tokens) == (1.0, 1.0)
