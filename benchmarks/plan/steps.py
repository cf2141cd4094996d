"""How long a token takes, learned from windows of a server's metrics by the scheduler's own model of steps.

A branch gets a token with each step, and several where drafts are right; drafts take rows, and the more branches run
the fewer there are. The metric of the time between two tokens of a branch has all of that in it: over a window its sum
is the time that branches spent, so that sum by elapsed time is how many ran (Little 1961), and sum by count the seconds
of a token beside so many.
"""

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.plan.recorded import Measured, Window
from engine.core.steptime import StepTime

_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Steps:
    """times: seconds of a step by its rows, drafts included. paces: seconds of a token by the branches that run."""

    times: StepTime
    paces: StepTime
    per_prefill_token: float

    def seconds(self, branches: int, prefill_tokens: int) -> float:
        """Of a step of the twin, in which each branch goes on by one token."""
        return self._with_prefill(self.paces.predict(branches, 0, 0) if branches else 0.0, prefill_tokens)

    def learned(self, branches: int, prefill_tokens: int) -> float:
        """Of a real step of so many rows without a draft: what a server's scheduler goes by as it chooses widths."""
        return self._with_prefill(self.times.predict(branches, 0, 0) if branches else 0.0, prefill_tokens)

    def _with_prefill(self, seconds: float, tokens: int) -> float:
        return max(1e-4, seconds + self.per_prefill_token * tokens)


def steps_of(measured: Measured) -> Steps:
    """Learn it from what was measured."""
    plain = [window for window in measured.windows if window.steps and window.rows]
    times = _learned((_rows(window), window.seconds / window.steps) for window in plain)
    return Steps(
        times=times,
        paces=_learned(_paces(measured.windows, times)),
        per_prefill_token=_prefill(measured.windows, times),
    )


def _learned(observed: Iterable[tuple[int, float]]) -> StepTime:
    """Seconds by number, from pairs of both."""
    found, times = list(observed), StepTime()
    for turn in range(_ROUNDS):
        # In no order of time: it takes the newest for what holds now, and here nothing is newer.
        for number, seconds in random.Random(turn).sample(found, len(found)):
            times.observe(number, 0, 0, seconds)
    return times


def _paces(windows: Iterable[Window], times: StepTime) -> Iterable[tuple[int, float]]:
    """(branches, seconds of a token), once for each window with so many branches.

    Windows of as many branches are added up first: the mean of their paces would take too little of the quick ones,
    which drew more tokens. What prompts took is counted by their tokens, so branches have not waited for it here. (To
    leave out windows with prompts would be wrong: solves that are soon over are in no others.)
    """
    alike: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for window in windows:
        seconds = window.seconds + window.prefill_seconds
        if window.tokens and seconds:
            branches = window.waited / seconds
            alike[max(1, round(branches))].append((branches * (seconds - _beyond(window, times)), window.tokens))
    for branches, group in alike.items():
        pace = sum(waited for waited, _ in group) / sum(tokens for _, tokens in group)
        yield from [(branches, pace)] * len(group)


def _beyond(window: Window, times: StepTime) -> float:
    """What steps with tokens of prompts took beyond their rows."""
    if not window.prefill_steps:
        return 0.0
    expected = window.prefill_steps * times.predict(_rows(window), 0, 0)
    return min(max(0.0, window.prefill_seconds - expected), window.prefill_seconds)


def _rows(window: Window) -> int:
    """Rows of a step, in the mean over all of the window."""
    return round(window.rows / (window.steps + window.prefill_steps))


def _prefill(windows: Iterable[Window], times: StepTime) -> float:
    """Seconds of each token of a prompt."""
    with_prefill = [window for window in windows if window.prefill_steps]
    tokens = sum(window.prefill_tokens for window in with_prefill)
    return sum(_beyond(window, times) for window in with_prefill) / tokens if tokens else 0.0
