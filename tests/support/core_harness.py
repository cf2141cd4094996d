"""Drives a scheduler over a scripted runner and checks it after every step."""

from collections.abc import Callable

import numpy as np

from engine.core.distribution import Distribution
from engine.core.limits import Limits
from engine.core.plan import Plan
from engine.core.randomness import uniforms
from engine.core.scheduler import Scheduler
from engine.core.types import (
    Ask,
    BranchFinished,
    CoreEvent,
    CoreRequest,
    Filters,
    Prompt,
    SamplesFinished,
    SolveEnded,
)
from tests.support.scripted_runner import EOS, ScriptedRunner, TokenStopper


def request(solve: int = 1, prompt: list[int] | None = None, k: int = 4, new: int = 12, **more: object) -> CoreRequest:
    return CoreRequest(
        solve=solve,
        prompts=tuple(Prompt(tokens, TokenStopper()) for tokens in more.pop("prompts", [prompt or [5, 6, 7]])),  # type: ignore[union-attr]
        k=k,
        filters=more.pop("filters", (Filters(temperature=1.0),)),  # type: ignore[arg-type]
        seed=int(more.pop("seed", 11)),  # type: ignore[call-overload]
        max_new_tokens=new,
        **more,  # type: ignore[arg-type]
    )


def separate_draw(runner: ScriptedRunner, asked: CoreRequest, sample: int) -> list[int]:
    """What one sample draws alone, straight from the definition."""
    tokens: list[int] = []
    prompt = asked.prompts[sample % len(asked.prompts)].tokens
    filters = asked.filters[sample // len(asked.prompts) % len(asked.filters)]
    while len(tokens) < asked.max_new_tokens and (not tokens or tokens[-1] != EOS):
        distribution = runner.distribution([*prompt, *tokens], Ask(0, filters, np.empty(0), whole=True))
        if asked.greedy_first and sample == 0:
            index = distribution.greedy
        else:
            index = int(distribution.find(np.atleast_1d(uniforms(asked.seed, sample, len(tokens))))[0])
        tokens.append(int(distribution.ids[index]))
    return tokens


class Harness:
    """Drives a scheduler and checks it after every step. Time is made: `now` grows by `seconds` of each step.

    `ahead`: a step is submitted before the one before it is collected wherever the scheduler plans one.
    """

    def __init__(self, runner: ScriptedRunner, *, ahead: bool = False, **limits: int) -> None:
        self.runner = runner
        self.ahead = ahead
        self.flying: tuple[Plan, list[list[Distribution]]] | None = None
        self.planned_ahead = self.void = 0
        self.now = 0.0
        self.seconds: Callable[[Plan], float] = lambda _: 0.01
        self.scheduler = Scheduler(
            pages=runner.pages,
            page_size=runner.page_size,
            limits=Limits(step_seconds=1.0, **limits),
            clock=lambda: self.now,
        )
        self.events: list[CoreEvent] = []

    def step(self) -> bool:
        return self._step_ahead() if self.ahead else self._step()

    @property
    def idle(self) -> bool:
        return self.scheduler.idle and self.flying is None

    def _step_ahead(self) -> bool:
        scheduler = self.scheduler
        self.events += scheduler.apply_intents()
        scheduler.check_invariants()
        if self.flying is None:
            plan, events = scheduler.plan()
            self.events += events
            if plan is None:
                scheduler.check_invariants()
                return False
            self.flying = plan, self.runner.submit(plan.step)
        plan, flight = self.flying
        following = scheduler.plan_ahead(plan)
        scheduler.check_invariants()
        self.flying = None if following is None else (following, self.runner.submit(following.step))
        self.planned_ahead += following is not None
        seconds = self.seconds(plan)
        self.now += seconds
        self.events += scheduler.finish(plan, self.runner.collect(flight), seconds)
        scheduler.check_invariants()
        self.void += sum(piece.void for piece in following.work) if following is not None else 0
        return True

    def _step(self) -> bool:
        scheduler = self.scheduler
        self.events += scheduler.apply_intents()
        scheduler.check_invariants()
        plan, events = scheduler.plan()
        self.events += events
        if plan is None:
            scheduler.check_invariants()
            return False
        results, seconds = self.runner.run(plan.step), self.seconds(plan)
        self.now += seconds
        self.events += scheduler.finish(plan, results, seconds)
        scheduler.check_invariants()
        return True

    def run(self, most: int = 4_000) -> None:
        for _ in range(most):
            if self.idle:
                return
            self.step()
        raise AssertionError("the scheduler does not come to an end")

    def texts(self, solve: int) -> dict[int, str]:
        """Text by sample, from the events."""
        by_branch: dict[int, str] = {}
        found: dict[int, str] = {}
        for event in self.events:
            if isinstance(event, BranchFinished) and event.solve == solve:
                by_branch[event.branch] = event.text
                found.update(dict.fromkeys(event.samples, event.text))
            if isinstance(event, SamplesFinished) and event.solve == solve:
                found.update(dict.fromkeys(event.samples, by_branch[event.branch]))
        return found

    def ended(self, solve: int) -> SolveEnded:
        found = [e for e in self.events if isinstance(e, SolveEnded) and e.solve == solve]
        assert len(found) == 1, "a solve ends exactly once"
        return found[0]
