"""What the core tells of time and of rows: all of it on its own clock, as intervals, and each row once."""

import numpy as np
import pytest

from engine.core.distribution import Distribution, from_probabilities
from engine.core.plan import Plan
from engine.core.types import Ask, FirstToken, SolveEnded, SolveStarted
from tests.engine.core.test_memory import PAGE_SIZE, solves
from tests.support.core_harness import Harness, request
from tests.support.scripted_runner import ScriptedRunner


class Observed(Harness):
    """Adds up what each step tells."""

    def __init__(self, runner: ScriptedRunner, **limits: int) -> None:
        super().__init__(runner, **limits)
        self.rows = 0
        self.tokens = 0
        self.gaps: list[tuple[float, int]] = []

    def step(self) -> bool:
        computed = super().step()
        if computed:
            self.rows += self.scheduler.rows_computed
            self.gaps += self.scheduler.token_gaps
            self.tokens += sum(tokens for _, tokens in self.scheduler.token_gaps)
        return computed


@pytest.mark.parametrize("seed", range(3))
def test_rows_of_steps_are_those_of_solves_however_little_memory_there_is(seed: int) -> None:
    asked = solves(seed)
    observed = Observed(ScriptedRunner(pages=90, page_size=PAGE_SIZE), rows=64)
    for one in asked:
        observed.scheduler.submit(one)
    observed.run(20_000)
    counts = [event.counts for event in observed.events if isinstance(event, SolveEnded)]
    assert observed.rows == sum(one.rows for one in counts)
    assert sum(one.recomputed_tokens for one in counts) > 0, "the pool was not tight"


def test_a_token_comes_as_long_after_the_one_before_as_its_step_took() -> None:
    observed = Observed(ScriptedRunner(pages=500), rows=8, drafting=False)
    observed.seconds = lambda plan: 0.25 if plan.rows else 1.0
    observed.scheduler.submit(request(k=3, prompt=[5, 6, 7], new=9))
    observed.run()
    counts = observed.ended(1).counts
    assert {gap for gap, _ in observed.gaps} == {0.25}
    assert observed.tokens == counts.rows, "a token for each row that is no draft"


def test_tokens_of_one_step_share_its_time() -> None:
    class Certain(ScriptedRunner):
        def distribution(self, tokens: list[int], ask: Ask | None) -> Distribution:
            return from_probabilities(np.array([3], np.int32), np.ones(1), np.zeros(1, np.float32), 0)

    observed = Observed(Certain(pages=500), rows=8)
    observed.seconds = lambda plan: 0.5
    observed.scheduler.submit(request(k=1, prompt=[5, 6, 7], new=60))
    observed.run()
    counts = observed.ended(1).counts
    assert counts.accepted_tokens > 0
    assert observed.tokens == counts.rows - counts.drafted_tokens + counts.accepted_tokens
    drafted = [(gap, tokens) for gap, tokens in observed.gaps if tokens > 1]
    assert drafted and all(gap * tokens == pytest.approx(0.5) for gap, tokens in drafted)


def test_a_branch_that_had_to_wait_has_waited() -> None:
    """Two solves with one row between them: the second draws its first token, and its next when the first is done."""
    observed = Observed(ScriptedRunner(pages=500), rows=1, drafting=False)
    observed.seconds = lambda plan: 1.0
    for solve in (1, 2):
        observed.scheduler.submit(request(solve=solve, k=1, prompt=[solve], new=12, seed=4, client=f"c{solve}"))
    observed.run()
    assert max(gap for gap, _ in observed.gaps) >= 2.0


def test_the_first_token_is_told_once_and_from_arrival_on() -> None:
    observed = Observed(ScriptedRunner(pages=500), rows=4, least_prefill=1)
    observed.seconds = lambda plan: 0.5
    observed.now = 7.0
    prompts = [[5, 6, 7, 8], [6, 7, 8]]
    observed.scheduler.submit(request(k=4, prompts=prompts, new=6))
    observed.now = 9.0
    observed.run()
    (first,) = [event for event in observed.events if isinstance(event, FirstToken)]
    started = next(event for event in observed.events if isinstance(event, SolveStarted))
    assert started.queued == 2.0
    assert first.seconds >= 2.5 and (first.seconds - 2.0) % 0.5 == 0, "whole steps after the wait"


def test_what_the_prefix_cache_was_asked_and_had_is_told_at_the_start() -> None:
    observed = Observed(ScriptedRunner(pages=500, page_size=4), rows=4)
    prompt = list(range(1, 11))
    for solve in (1, 2):
        observed.scheduler.submit(request(solve=solve, prompt=prompt, k=2, new=6))
        observed.run()
    first, second = [event for event in observed.events if isinstance(event, SolveStarted)]
    assert (first.prompt_tokens, first.cached_tokens) == (10, 0)
    assert (second.prompt_tokens, second.cached_tokens) == (10, 8), "whole pages"


def test_rows_of_a_step_with_a_plan_are_counted_anew() -> None:
    observed = Observed(ScriptedRunner(pages=500), rows=8, drafting=False)
    seen: list[tuple[int, int]] = []

    def seconds(plan: Plan) -> float:
        seen.append((plan.rows, plan.prefill_tokens))
        return 0.01

    observed.seconds = seconds
    observed.scheduler.submit(request(k=4, new=8))
    observed.run()
    assert observed.rows == sum(rows for rows, _ in seen)
