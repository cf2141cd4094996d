"""How long a step takes, learned from windows of a server's metrics by the scheduler's own model of steps."""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.plan.recorded import Window
from engine.core.steptime import StepTime

_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Steps:
    """times: seconds of a step by its rows, drafts included. per_prefill_token: what each of a prompt adds to it.

    observed: what both were learned from, (rows, seconds) of steps.
    """

    times: StepTime
    per_prefill_token: float
    observed: tuple[tuple[int, float], ...]

    def teach(self, times: StepTime) -> None:
        """Have a scheduler know what a server does that has run for a while."""
        _observe(times, self.observed)

    def seconds(self, rows: int, prefill_tokens: int) -> float:
        """Of a step."""
        return max(1e-4, self.times.predict(rows, 0, 0) + self.per_prefill_token * prefill_tokens)


def steps_of(windows: Sequence[Window]) -> Steps:
    """Learn it from what was measured."""
    computing = [window for window in windows if window.steps and window.rows]
    # How many rows were in the other steps of a window is not known where one of them computed a prompt.
    plain = [window for window in computing if not window.prefill_steps] or computing
    observed = tuple(_means(plain))
    times = StepTime()
    _observe(times, observed)
    return Steps(times, _prefill(windows, times), observed)


def _means(windows: Iterable[Window]) -> Iterator[tuple[int, float]]:
    """(rows of a step, its seconds) once for each window with so many rows.

    Windows of as many rows are added up first: the mean of their means would take too much of the slow ones, in which
    there are few steps, and a model of steps takes what differs much from the rest for an accident.
    """
    alike: dict[int, list[Window]] = defaultdict(list)
    for window in windows:
        alike[_rows(window)].append(window)
    for rows, group in alike.items():
        mean = sum(window.seconds for window in group) / sum(window.steps for window in group)
        yield from [(rows, mean)] * len(group)


def _observe(times: StepTime, observed: Sequence[tuple[int, float]]) -> None:
    for turn in range(_ROUNDS):
        # In no order of time: it takes the newest for what holds now, and here nothing is newer.
        for rows, seconds in random.Random(turn).sample(observed, len(observed)):
            times.observe(rows, 0, 0, seconds)


def _rows(window: Window) -> int:
    """Rows of a step, in the mean over all of the window."""
    return round(window.rows / (window.steps + window.prefill_steps))


def _prefill(windows: Iterable[Window], times: StepTime) -> float:
    """Seconds of each token of a prompt: what steps with such tokens took beyond their rows."""
    with_prefill = [window for window in windows if window.prefill_steps]
    tokens = sum(window.prefill_tokens for window in with_prefill)
    rows = sum(window.prefill_steps * times.predict(_rows(window), 0, 0) for window in with_prefill)
    taken = sum(window.prefill_seconds for window in with_prefill)
    return max(0.0, taken - rows) / tokens if tokens else 0.0
