"""Where outcomes come from: a source draws the samples of a task and has them judged."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Protocol, Self

from benchmarks.experiments.experiment import Arm, Draw, Plan, Task
from benchmarks.experiments.judging import Judge, Judged
from benchmarks.experiments.outcome import WRONG, Candidate, Outcome
from engine.text.normalise import program_key


class Source(Protocol):
    """Gives the outcome of a task. Use as an async context manager, for one event loop."""

    @property
    def at_once(self) -> int:
        """How many tasks are best worked on at the same time."""
        ...

    def described(self) -> dict[str, Any]:
        """What it found itself to be (model, arithmetic, sandbox), for the protocol. Known once entered."""
        ...

    def check(self, arm: Arm) -> None:
        """Raises CannotRun for whatever would fail later. Called once entered, before any outcome is asked for."""
        ...

    async def outcome(self, task: Task, draw: Draw) -> Outcome:
        """Draw and judge all samples of one task. Raises RunFailed, ThresherError."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exception: object) -> None: ...


class SourceMaker(Protocol):
    """Where a run gets its sources from; `generators.Generator` is the one of the command line."""

    def asked(self) -> dict[str, Any]:
        """What was asked for, for the protocol."""
        ...

    def check(self, plan: Plan) -> None:
        """Raises CannotRun for what can be known to fail before anything is started."""
        ...

    def open(self, model: str = "") -> Source:
        """A source for the arms of one model; empty for the one asked for."""
        ...


class Programs(Protocol):
    """Samples that need no model."""

    def described(self) -> dict[str, Any]:
        """Where they come from, for the protocol."""
        ...

    def check(self, arm: Arm) -> None:
        """Raises CannotRun where it has no samples for a task, or too few."""
        ...

    def draw(self, task: Task, draw: Draw) -> Sequence[str]:
        """The programs of samples 0 to draw.samples - 1."""
        ...

    def measured(self, task: Task, draw: Draw) -> Sequence[tuple[int, float]]:
        """The tokens and the log-probability of each of these samples; empty where nobody knows."""
        ...


class ProgramsSource:
    """Programs that are there already. Those that are the same but for comments and layout are judged once."""

    at_once = 8

    def __init__(self, programs: Programs, judge: Judge) -> None:
        self._programs = programs
        self._judge = judge

    def described(self) -> dict[str, Any]:
        """The judge's sandbox."""
        return self._judge.described()

    def check(self, arm: Arm) -> None:
        """See Source."""
        self._programs.check(arm)
        self._judge.check(arm.tasks)

    async def outcome(self, task: Task, draw: Draw) -> Outcome:
        """See Source."""
        began = time.monotonic()
        drawn = self._programs.draw(task, draw)
        measured = self._programs.measured(task, draw)
        same: dict[bytes, list[int]] = {}
        for sample, code in enumerate(drawn):
            same.setdefault(program_key(code), []).append(sample)
        candidates: list[Candidate | None] = [None] * len(same)
        runs = 0

        async def judge(place: int, samples: list[int]) -> None:
            nonlocal runs
            code = drawn[samples[0]]
            if why := task.refused(code):
                found = Judged(verdict=WRONG, message=why, runs=0)
            else:
                found = await self._judge.judge(task, code)
            runs += found.runs
            candidates[place] = Candidate(
                code=code,
                samples=tuple(samples),
                verdict=found.verdict,
                tests=found.tests,
                tests_total=found.tests_total,
                held_out=found.held_out,
                message=found.message,
                values=found.values,
                tokens=tuple(measured[sample][0] for sample in samples) if measured else (),
                logprobs=tuple(measured[sample][1] for sample in samples) if measured else (),
            )

        try:
            async with asyncio.TaskGroup() as group:
                for place, samples in enumerate(same.values()):
                    group.create_task(judge(place, samples))
        except* Exception as failed:
            # One reason is enough, and callers know its type.
            raise failed.exceptions[0] from None
        return Outcome(
            id=task.id,
            asked=draw.samples,
            finished=len(drawn),
            candidates=tuple(candidate for candidate in candidates if candidate is not None),
            seconds=round(time.monotonic() - began, 3),
            executed=runs,
        )

    async def __aenter__(self) -> Self:
        await self._judge.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._judge.__aexit__(*exception)
