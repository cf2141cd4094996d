"""The scheduler's steps on a runner: one after the other, or the next submitted while one is computed."""

import time
from dataclasses import dataclass

from engine.core.ahead import AheadRunner
from engine.core.distribution import Distribution
from engine.core.plan import Plan
from engine.core.scheduler import Scheduler
from engine.core.types import CoreEvent, Runner


@dataclass(frozen=True, slots=True)
class Computed:
    """A step's results. seconds: from when the device could begin with it until they were here, which was at `done`
    (monotonic)."""

    plan: Plan
    results: list[list[Distribution]]
    seconds: float
    done: float


@dataclass(frozen=True, slots=True)
class _Flight:
    plan: Plan
    submitted: float
    handle: object


class Steps:
    """`start`, `wait` and `take` make a step; between `wait` and the next `start` a step may be in flight already."""

    def __init__(self, scheduler: Scheduler, runner: Runner, *, ahead: bool) -> None:
        """`ahead`: whether steps may be submitted ahead, if the runner takes them."""
        self._scheduler = scheduler
        self._runner = runner
        self._ahead = runner if ahead and isinstance(runner, AheadRunner) else None
        self._flight: _Flight | None = None
        self._collected = 0.0

    @property
    def flying(self) -> bool:
        """Whether there is a step to wait for."""
        return self._flight is not None

    def start(self) -> list[CoreEvent]:
        """Plan a step unless one is in flight; without work there is none after it."""
        if self._flight is not None:
            return []
        plan, events = self._scheduler.plan()
        self._flight = None if plan is None else self._submitted(plan)
        return events

    def wait(self) -> Computed:
        """Wait for the step in flight, after having submitted the next where that can be planned already."""
        flight, self._flight = self._flight, None
        if flight is None:
            raise AssertionError("no step was started")
        if self._ahead is None:
            began = time.monotonic()
            results = self._runner.run(flight.plan.step)
            done = time.monotonic()
            return Computed(flight.plan, results, done - began, done)
        following = self._scheduler.plan_ahead(flight.plan)
        self._flight = None if following is None else self._submitted(following)
        results = self._ahead.collect(flight.handle)
        began, self._collected = max(flight.submitted, self._collected), time.monotonic()
        return Computed(flight.plan, results, self._collected - began, self._collected)

    def take(self, computed: Computed) -> list[CoreEvent]:
        """Have the scheduler take the results of the last `wait`."""
        return self._scheduler.finish(computed.plan, computed.results, computed.seconds)

    def _submitted(self, plan: Plan) -> _Flight:
        handle = None if self._ahead is None else self._ahead.submit(plan.step)
        return _Flight(plan, time.monotonic(), handle)
