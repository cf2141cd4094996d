"""Steps that are planned while the one before them is computed."""

from dataclasses import replace

import numpy as np
import pytest

from engine.core.ahead import AHEAD
from engine.core.types import UNKNOWN, BranchStarted, CoreRequest, EndReason, Filters, Mask, Mode, Prompt
from tests.support.core_harness import Harness, request, separate_draw
from tests.support.scripted_runner import ScriptedRunner, TokenStopper

PROMPT = [5, 6, 7]
LONG = 5
"""A seed with which one sample goes on for long."""
LADDER = (Filters(temperature=1.0), Filters(temperature=0.5))


def harness(*, ahead: bool = True, pages: int = 800, **limits: int) -> Harness:
    """A vocabulary in which few tokens end a text."""
    return Harness(ScriptedRunner(pages=pages, vocabulary=60), ahead=ahead, drafting=False, **limits)


def drawn(asked: CoreRequest, *, ahead: bool = True, **limits: int) -> Harness:
    made = harness(ahead=ahead, **limits)
    made.scheduler.submit(asked)
    made.run()
    return made


@pytest.mark.parametrize(
    "asked",
    [
        request(k=1, new=60),
        request(k=8, new=60),
        request(k=8, new=60, greedy_first=True),
        request(k=9, new=60, filters=LADDER, greedy_first=True),
        request(k=9, new=40, prompts=[[5, 6, 7], [5, 6, 8, 9]], filters=LADDER),
        request(k=6, new=60, filters=(Filters(temperature=0.0),)),
        request(k=30, new=60, width=3),
        request(k=12, new=60, at_once=4),
    ],
    ids=lambda asked: f"{asked.k} of {len(asked.prompts)} x {len(asked.filters)}",
)
def test_samples_are_what_they_are_alone(asked: CoreRequest) -> None:
    ahead, plain = drawn(asked), drawn(asked, ahead=False)
    texts = ahead.texts(1)
    assert texts == plain.texts(1)
    alone = ScriptedRunner(pages=800, vocabulary=60)
    assert texts == {n: " ".join(map(str, separate_draw(alone, asked, n))) for n in range(asked.k)}
    assert ahead.planned_ahead > len(ahead.runner.steps) / 4
    assert len(ahead.runner.steps) <= len(plain.runner.steps) + ahead.planned_ahead
    # A row in vain is the price of an end that nobody could foresee; those of the solve's last step are in no book.
    more = ahead.ended(1).counts.rows - plain.ended(1).counts.rows
    assert 0 <= more <= ahead.void
    assert ahead.scheduler.pool.free + ahead.scheduler.pool.idle == 800


def test_most_steps_of_one_sample_are_planned_ahead() -> None:
    made = drawn(request(k=1, new=90, seed=LONG))
    steps = len(made.runner.steps)
    assert steps > 60
    # The prompt's step and, after each run of steps planned ahead, one that is planned whole.
    assert steps - made.planned_ahead == 1 + -(-(steps - 1) // (AHEAD + 1))
    assert made.ended(1).counts.rows == steps - 2  # the prompt, and the row after the last token


@pytest.mark.parametrize("budget", [{"max_rows": 70}, {"max_tokens": 100}])
def test_budgets_end_a_solve_where_they_did(budget: dict[str, int]) -> None:
    asked = request(k=6, new=60, seed=3, **budget)
    ahead, plain = drawn(asked), drawn(asked, ahead=False)
    reason = EndReason.BUDGET_ROWS if "max_rows" in budget else EndReason.BUDGET_TOKENS
    assert ahead.ended(1).reason is plain.ended(1).reason is reason
    assert ahead.planned_ahead > 2
    assert ahead.ended(1).counts.generated_tokens <= plain.ended(1).counts.generated_tokens + asked.k


def test_a_solve_that_is_ended_in_flight_holds_nothing_and_the_others_go_on() -> None:
    made = harness(rows=16)
    ours = request(2, [5, 6, 9], k=3, new=60, seed=4)
    made.scheduler.submit(request(1, k=4, new=60))
    made.scheduler.submit(ours)
    while made.planned_ahead < 6 or made.flying is None:
        made.step()
    made.scheduler.end(1, EndReason.CANCELLED)
    made.step()
    assert made.ended(1).reason is EndReason.CANCELLED
    rows = made.ended(1).counts.rows
    made.run()
    assert made.ended(1).counts.rows == rows, "a solve's books are closed with its end"
    alone = ScriptedRunner(pages=800, vocabulary=60)
    assert made.texts(2) == {n: " ".join(map(str, separate_draw(alone, ours, n))) for n in range(3)}
    assert made.scheduler.pool.free + made.scheduler.pool.idle == 800


def test_all_that_ends_in_flight_leaves_a_step_to_collect() -> None:
    made = harness()
    made.scheduler.submit(request(1, k=2, new=60))
    while made.flying is None:
        made.step()
    made.scheduler.end(1, EndReason.CANCELLED)
    made.step()
    assert made.scheduler.idle
    made.run()
    assert made.flying is None and made.scheduler.pool.free + made.scheduler.pool.idle == 800


def steady(made: Harness) -> None:
    """Until a step is in flight that was planned ahead, with more to come."""
    until = made.planned_ahead + 2
    while made.planned_ahead < until or made.flying is None:
        made.step()


def test_what_comes_from_outside_is_planned_next() -> None:
    made = harness()
    made.scheduler.submit(request(1, k=1, new=200, seed=LONG))
    steady(made)
    made.scheduler.submit(request(2, [5, 6, 9], k=1, new=4))
    before = len(made.runner.steps)
    made.step()
    made.step()
    assert {chunk.solve for step in made.runner.steps[before:] for chunk in step.chunks} == {1, 2}
    steady(made)
    ahead = made.planned_ahead
    made.scheduler.judge(1, 0, passed=False)
    made.step()
    assert made.planned_ahead == ahead, "a verdict may change who has rows"


class Masked(TokenStopper):
    """Anything may come, but it has to be asked each time."""

    def fork(self) -> "Masked":
        return Masked(list(self.tokens))

    @property
    def mask(self) -> Mask | None:
        return np.full(2, 0xFFFFFFFF, np.uint32)


@pytest.mark.parametrize(
    "asked",
    [
        request(k=3, new=20, mode=Mode.DISTINCT),
        request(k=3, new=20, mode=Mode.BEAM),
        replace(request(k=3, new=20), prompts=(Prompt(PROMPT, Masked()),)),
    ],
    ids=["distinct", "beam", "constraint"],
)
def test_where_the_next_row_depends_on_the_token_it_is_waited_for(asked: CoreRequest) -> None:
    assert drawn(asked).planned_ahead == 0


def test_drafts_need_the_tokens_they_follow() -> None:
    made = Harness(ScriptedRunner(pages=800, vocabulary=60), ahead=True)
    asked = request(1, k=1, new=90, seed=LONG)
    text = separate_draw(made.runner, asked, 0)
    made.scheduler.submit(replace(asked, likenesses=(text,)))
    made.run()
    drafted = [n for n, step in enumerate(made.runner.steps[1:], 1) if len(step.chunks[0].tokens) > 1]
    assert len(drafted) > 2 and made.texts(1) == {0: " ".join(map(str, text))}
    assert not any(step.after for n in drafted for step in made.runner.steps[n + 1 : n + 2])


def test_no_page_is_taken_from_anybody_for_a_step_ahead() -> None:
    small = harness(pages=24)
    asked = [request(n, [5, 6, n], k=3, new=30, seed=n) for n in (1, 2, 3)]
    for one in asked:
        small.scheduler.submit(one)
    small.run()
    alone = ScriptedRunner(pages=800, vocabulary=60)
    for one in asked:
        assert small.texts(one.solve) == {n: " ".join(map(str, separate_draw(alone, one, n))) for n in range(one.k)}
    assert sum(small.ended(one.solve).counts.preemptions for one in asked) > 0 and small.planned_ahead > 0


def test_forks_have_their_rows_at_once() -> None:
    made = drawn(request(k=12, new=30))
    started = [event for event in made.events if isinstance(event, BranchStarted) and event.parent is not None]
    assert len(started) > 3 and made.void > 0
    assert all(UNKNOWN not in chunk.tokens for step in made.runner.steps for chunk in step.chunks)


def test_rows_ahead_say_where_the_prompt_ends() -> None:
    made = drawn(request(k=4, new=30))
    rows = [chunk for step in made.runner.steps if step.after for chunk in step.chunks]
    assert len(rows) > 20 and {chunk.prompt for chunk in rows} == {len(PROMPT)}
