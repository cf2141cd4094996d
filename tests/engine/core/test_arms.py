"""Prompts and temperatures of one solve: which of them the next sample is drawn by, and what that saves."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.arms import ArmRates, Arms
from engine.core.passrate import PassRates
from engine.core.types import BranchFinished, BranchStarted, CoreRequest, EndReason, Filters, SolveEnded
from tests.support.core_harness import Harness, request, separate_draw
from tests.support.scripted_runner import ScriptedRunner

LADDER = (Filters(temperature=0.2), Filters(temperature=0.8))


def asked(arms: int = 2, k: int = 40) -> CoreRequest:
    return request(prompts=[[5, place] for place in range(arms // 2)], k=k, filters=LADDER, first_pass=True)


@given(arms=st.integers(2, 12), draws=st.integers(1, 60))
def test_of_arms_that_are_alike_samples_start_in_their_order(arms: int, draws: int) -> None:
    alike = Arms([PassRates().prior] * arms)
    started: list[int] = []
    for _ in range(draws):
        following = sorted(range(arms), key=lambda arm: started.count(arm) * arms + arm)
        started.append(alike.take(following))
    assert started == [draw % arms for draw in range(draws)]


def first_pass(chances: list[float], rng: np.random.Generator, arms: Arms) -> int:
    """Samples drawn one by one until one passes, 40 at most; arm a's pass with chances[a]."""
    left = [20] * len(chances)
    for drawn in range(1, 41):
        open_arms = [arm for arm in range(len(chances)) if left[arm]]
        arm = arms.take(sorted(open_arms, key=lambda arm: (20 - left[arm], arm)))
        left[arm] -= 1
        passed = bool(rng.random() < chances[arm])
        arms.judge([arm], passed=passed)
        if passed:
            return drawn
    return 40


def in_turns(chances: list[float], rng: np.random.Generator) -> int:
    return next((draw + 1 for draw in range(40) if rng.random() < chances[draw % len(chances)]), 40)


def mean_draws(problems: Callable[[np.random.Generator], list[float]], count: int = 600) -> tuple[float, float]:
    """Draws until the first pass: learned, and in turns."""
    rates, spec, rng = ArmRates(), asked(), np.random.default_rng(1)
    learned, even = list[int](), list[int]()
    for number in range(count):
        chances = problems(rng)
        arms = rates.begin(spec)
        assert arms is not None
        drawn = first_pass(chances, rng, arms)
        rates.learn(spec, arms)
        if number >= count // 3:
            learned.append(drawn)
            even.append(in_turns(chances, rng))
    return float(np.mean(learned)), float(np.mean(even))


def test_a_better_arm_is_found_and_comes_first() -> None:
    learned, even = mean_draws(lambda rng: [0.02, 0.3])
    assert learned < 0.75 * even


def test_an_arm_that_is_right_at_once_or_never_gives_way() -> None:
    """As low temperatures are: half of the problems at the first draw, of the others none."""
    learned, even = mean_draws(lambda rng: [0.95 if rng.random() < 0.5 else 0.0, 0.15])
    assert learned < 0.9 * even
    rates, spec, rng = ArmRates(), asked(), np.random.default_rng(2)
    for _ in range(200):
        arms = rates.begin(spec)
        assert arms is not None
        first_pass([0.95 if rng.random() < 0.5 else 0.0, 0.15], rng, arms)
        rates.learn(spec, arms)
    arms = rates.begin(spec)
    assert arms is not None
    order = list[int]()
    for _ in range(6):
        order.append(arms.take([0, 1]))
        arms.judge([order[-1]], passed=False)
    assert order[0] == 0 and order[-3:] == [1, 1, 1]


def test_arms_that_are_alike_lose_nothing() -> None:
    learned, even = mean_draws(lambda rng: [p := float(rng.choice([0.02, 0.1, 0.5])), p])
    assert learned == pytest.approx(even, rel=0.15)


def test_one_prompt_and_one_temperature_are_no_arms() -> None:
    assert ArmRates().begin(request()) is None
    assert ArmRates().begin(asked(4)) is not None


# In the scheduler


def harness() -> Harness:
    return Harness(ScriptedRunner(pages=400), rows=1)


def solved(running: Harness, spec: CoreRequest, passes: Callable[[int], bool]) -> list[int]:
    """The samples in the order in which they start; the solve is ended by the first that passes."""
    running.scheduler.submit(spec)
    seen, order = len(running.events), list[int]()
    for _ in range(4000):
        for event in running.events[seen:]:
            if isinstance(event, BranchStarted):
                order += [sample for sample in event.samples if sample not in order]
            if isinstance(event, BranchFinished):
                (sample,) = event.samples[:1]
                running.scheduler.judge(spec.solve, event.branch, passed=passes(sample))
                if passes(sample) and spec.first_pass:
                    running.scheduler.end(spec.solve, EndReason.CUT_OFF)
            if isinstance(event, SolveEnded):
                return order
        seen = len(running.events)
        running.step()
    raise AssertionError("it does not end")


def teach(running: Harness, **more: object) -> None:
    """Solves in which the second prompt passes and the first one does not."""
    for number in range(40):
        prompts = [[5, 6, number % 9 + 1], [7, 8, number % 9 + 1]]
        spec = request(solve=100 + number, prompts=prompts, k=4, new=6, seed=number, first_pass=True, **more)
        solved(running, spec, lambda sample: sample % 2 == 1)


PROMPTS = [[5, 6, 11], [7, 8, 11]]


def test_the_prompt_that_passed_before_comes_first_and_all_samples_are_drawn_in_the_end() -> None:
    running = harness()
    before = solved(running, request(solve=1, prompts=PROMPTS, k=6, new=6, first_pass=True), lambda _: False)
    assert before[:2] == [0, 1]
    teach(running)
    spec = request(solve=2, prompts=PROMPTS, k=6, new=6, first_pass=True)
    after = solved(running, spec, lambda _: False)
    assert after[0] == 1
    texts = running.texts(2)
    assert sorted(texts) == list(range(6))
    for sample, text in texts.items():
        assert text == " ".join(map(str, separate_draw(running.runner, spec, sample))), "its text is its own"


def test_where_all_are_wanted_or_the_caller_says_how_the_order_stays() -> None:
    running = harness()
    teach(running)
    whole = solved(running, request(solve=1, prompts=PROMPTS, k=4, new=6), lambda _: False)
    assert whole[:2] == [0, 1]
    fixed = request(solve=3, prompts=PROMPTS, k=4, new=6, first_pass=True, width=1)
    assert solved(running, fixed, lambda _: False)[:2] == [0, 1]
    greedy = request(solve=2, prompts=PROMPTS, k=4, new=6, first_pass=True, greedy_first=True)
    assert solved(running, greedy, lambda _: False)[0] == 0
