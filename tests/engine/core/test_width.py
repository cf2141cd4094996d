"""The width that brings the first pass soonest: the plan against all others, the prior, the loop."""

import functools
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.passrate import RATES, PassRates, Verdicts, posterior
from engine.core.plan import Plan
from engine.core.steptime import StepTime
from engine.core.types import BranchFinished, EndReason, WidthChosen
from engine.core.width import choose
from tests.support.core_harness import Harness, request
from tests.support.scripted_runner import ScriptedRunner


@settings(max_examples=80, deadline=None)
@given(
    left=st.integers(1, 9),
    most=st.integers(1, 9),
    fixed=st.floats(0.001, 0.1),
    row=st.floats(0.0, 0.02),
    sharing=st.integers(1, 5),
    weights=st.lists(st.floats(0.01, 1.0), min_size=len(RATES), max_size=len(RATES)),
)
def test_no_other_plan_is_sooner(
    left: int, most: int, fixed: float, row: float, sharing: int, weights: list[float]
) -> None:
    prior = np.array(weights) / sum(weights)

    def cost(width: int) -> float:
        return 50.0 * (fixed + row * width + (sharing - 1) * row * width)

    @functools.cache
    def soonest(failed: int) -> float:
        """Over all widths, from the definition."""
        if failed >= left:
            return 0.0
        known = prior * (1 - RATES) ** failed
        known /= known.sum()
        return min(
            cost(width) + float(known @ (1 - RATES) ** width) * soonest(failed + width)
            for width in range(1, min(most, left) + 1)
        )

    found = choose(prior, left, most, lambda rows: fixed + row * rows, 50.0, sharing)
    assert found.seconds == pytest.approx(soonest(0), rel=1e-6)
    assert 1 <= found.width <= min(most, left)


def test_a_row_that_costs_nothing_is_used_and_a_dear_one_is_not() -> None:
    prior = PassRates().prior
    assert choose(prior, 64, 64, lambda rows: 0.02, 80.0).width == 64
    assert choose(prior, 64, 64, lambda rows: 0.02 * rows, 80.0).width == 1


def test_failures_widen_and_load_narrows() -> None:
    prior = PassRates().prior
    widths = [
        choose(posterior(prior, Verdicts(failed, 0)), 256, 64, lambda rows: 0.02 + 0.001 * rows, 80.0).width
        for failed in (0, 4, 16, 64)
    ]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]
    shared = [
        choose(prior, 64, 64, lambda rows: 0.02 + 0.001 * rows, 80.0, sharing).width for sharing in (1, 4, 16, 64)
    ]
    assert shared == sorted(shared, reverse=True)
    assert shared[-1] < shared[0]


@pytest.mark.parametrize("seed", [1, 2])
def test_no_choice_promises_less_than_no_time(seed: int) -> None:
    """Where a step costs nothing but the machine's jitter, narrow ones are often slower than wide ones. That a width
    saves time to the solves beside it is never to be believed."""
    jitter, prior, times = random.Random(seed), PassRates().prior, StepTime()
    for _ in range(60):
        rows = jitter.choice([1, 2, 3, 4, 6, 8])
        times.observe(rows, 20 * rows, 0, 0.001 + jitter.expovariate(1250.0) / rows)
        assert choose(prior, 64, 64, lambda width: times.predict(4 + width, 100 + 40 * width, 0), 80.0, 8).seconds > 0.0


def test_the_prior_is_learned_and_rules_nothing_out() -> None:
    easy, hard = PassRates(), PassRates()
    for _ in range(200):
        easy.learn(Verdicts(0, 1))
        hard.learn(Verdicts(32, 0))
    assert easy.prior @ RATES > 0.7
    assert hard.prior @ RATES < 0.1
    assert posterior(easy.prior, Verdicts(40, 0)) @ RATES < 0.1, "forty failures outweigh any prior"
    assert posterior(hard.prior, Verdicts(0, 3)) @ RATES > 0.3


def solved(rate: float, width: int | None, seed: int, learned: Harness | None = None) -> tuple[float, Harness]:
    """Seconds until a sample of a problem of this pass rate passes, or all 64 have failed."""
    chance = random.Random(seed)
    harness = learned or Harness(ScriptedRunner(pages=4000, vocabulary=400, spread=300), rows=64)
    harness.seconds = lambda plan: 0.02 + 0.0013 * plan.rows + 0.0005 * plan.prefill_tokens
    began, solve = harness.now, seed
    harness.scheduler.submit(
        request(solve=solve, prompt=[5, 6, 7, seed], k=64, new=10, seed=seed, width=width, first_pass=True, judges=2)
    )
    seen = len(harness.events)
    while not harness.scheduler.idle:
        harness.step()
        for event in harness.events[seen:]:
            if isinstance(event, BranchFinished):
                passed = any(chance.random() < rate for _ in event.samples)
                harness.scheduler.judge(solve, event.branch, passed=passed)
                if passed:
                    harness.scheduler.end(solve, EndReason.CUT_OFF)
        seen = len(harness.events)
    return harness.now - began, harness


@pytest.mark.slow
def test_the_chosen_width_is_near_the_best_fixed_one() -> None:
    """Over easy, medium and hard problems together no fixed width is better."""
    rates = [0.9, 0.6, 0.3, 0.1, 0.04, 0.01]

    def mean(width: int | None) -> float:
        harness: Harness | None = None
        total = 0.0
        for round_ in range(8):
            for number, rate in enumerate(rates):
                seconds, harness = solved(rate, width, 1 + number + 10 * round_, harness)
                total += seconds
        return total

    chosen = mean(None)
    assert chosen < 1.02 * min(mean(width) for width in (1, 4, 16, 64))


def test_a_choice_is_told_with_its_reasons() -> None:
    _, harness = solved(0.0, None, 1)
    told = [event for event in harness.events if isinstance(event, WidthChosen)]
    assert told[0].failed == 0
    assert len(told) > 1
    assert told[-1].pass_rate < told[0].pass_rate / 2
    widths = [event.width for event in told]
    assert max(widths) > widths[0]


def test_a_choice_holds_until_its_samples_have_failed() -> None:
    """One of them fails first; others that were begun then would only delay the rest."""
    for seed in range(5):
        _, harness = solved(0.0, None, seed)
        told = [event for event in harness.events if isinstance(event, WidthChosen)]
        for before, after in pairwise(told):
            assert after.failed - before.failed >= before.width


def test_candidates_that_wait_for_a_judge_lower_the_width() -> None:
    harness = Harness(ScriptedRunner(pages=4000, vocabulary=400, spread=300), rows=64)
    rows: list[int] = []

    def seconds(plan: Plan) -> float:
        rows.append(plan.rows)
        return 0.02 + 0.002 * plan.rows

    harness.seconds = seconds
    harness.scheduler.submit(request(k=64, new=6, first_pass=True, judges=2))
    for _ in range(120):
        unjudged = len({event.branch for event in harness.events if isinstance(event, BranchFinished)})
        harness.step()
        widths = [event.width for event in harness.events if isinstance(event, WidthChosen)]
        if widths and rows:
            assert rows[-1] <= max(1, widths[-1] - max(0, unjudged - 2))
    assert max(rows) > 2
    assert rows[-1] <= 1
    # Verdicts that take long are not waited for.
    late = sorted({event.branch for event in harness.events if isinstance(event, BranchFinished)})
    for branch in late:
        harness.scheduler.wait_no_more(1, branch)
    widths = [event.width for event in harness.events if isinstance(event, WidthChosen)]
    harness.step()
    harness.step()
    assert rows[-1] == min(widths[-1], 64 - len(late)) > 1
    # They count when they come, once.
    told = len(widths)
    for branch in late:
        harness.scheduler.judge(1, branch, passed=False)
        harness.scheduler.wait_no_more(1, branch)
    harness.step()
    assert [e for e in harness.events if isinstance(e, WidthChosen)][told].failed == len(late)
