"""How long a step takes, learned from windows of a server's metrics by the scheduler's own model; what drafts add."""

import random
from dataclasses import dataclass

from benchmarks.plan.recorded import Drafts, Measured, Window
from engine.core.steptime import StepTime

_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Drafting:
    """Rows that a branch computes in a step, drafts included, and tokens that it goes on by; one each without them."""

    rows: float
    tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Seconds of a step of so many branches and tokens of prompts, while so many solves run."""

    times: StepTime
    per_prefill_token: float
    alone: Drafting
    together: Drafting

    def seconds(self, branches: int, prefill_tokens: int, running: int) -> float:
        """Of a step in which each branch goes on by one token: a real one goes on by several where drafts are right."""
        drafting = self.alone if running < 2 else self.together
        rows = self.times.predict(branches * drafting.rows, 0, 0) if branches else 0.0
        return max(1e-4, rows / drafting.tokens + self.per_prefill_token * prefill_tokens)


def steps_of(measured: Measured) -> Steps:
    """Learn it from what was measured."""
    times = StepTime()
    plain = [window for window in measured.windows if window.steps and window.rows]
    for turn in range(_ROUNDS):
        # In no order of time: it takes the newest for what holds now, and here nothing is newer.
        for window in random.Random(turn).sample(plain, len(plain)):
            times.observe(_rows(window), 0, 0, window.seconds / window.steps)
    return Steps(
        times=times,
        per_prefill_token=_prefill(measured.windows, times),
        alone=_drafting(measured.drafts["alone"]),
        together=_drafting(measured.drafts["together"]),
    )


def _rows(window: Window) -> int:
    """Rows of a step, in the mean over all of the window."""
    return round(window.rows / (window.steps + window.prefill_steps))


def _prefill(windows: tuple[Window, ...], times: StepTime) -> float:
    """What steps with tokens of prompts took beyond their rows, for each such token."""
    tokens = sum(window.prefill_tokens for window in windows)
    beyond = sum(
        window.prefill_seconds - window.prefill_steps * times.predict(_rows(window), 0, 0)
        for window in windows
        if window.prefill_steps
    )
    return max(0.0, beyond) / tokens if tokens else 0.0


def _drafting(drafts: Drafts) -> Drafting:
    plain = drafts.rows - drafts.drafted
    if plain <= 0:
        return Drafting(1.0, 1.0)
    return Drafting(drafts.rows / plain, 1 + drafts.accepted / plain)
