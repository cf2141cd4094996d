"""Conversations about one problem: first draws, and after each failure a round that is told of it.

How a round comes about is the affair of a `Way`; who counts tokens and passes sees its turns alone.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from thresher.v1 import solve_pb2

from benchmarks.experiments.errors import CannotRun
from benchmarks.experiments.experiment import Draw, Task
from benchmarks.experiments.outcome import Candidate
from benchmarks.experiments.repair_failure import Failure, failure_of
from benchmarks.experiments.repair_tokens import Spent, Tried
from benchmarks.experiments.served import ServerSource, TokensBySample, outcome_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one call drew. failure: of its best program, None where one passed. Of the others see Outcome."""

    candidates: tuple[Candidate, ...]
    spent: Spent
    failure: Failure | None
    rows: int = 0
    executed: int = 0
    seconds: float = 0.0

    @property
    def tried(self) -> Tried:
        """For the books."""
        return Tried(spent=self.spent, passed=self.failure is None)


class Dialog(Protocol):
    """One conversation. `begin` first, then `again` while nothing passes."""

    async def begin(self) -> Turn:
        """The first draws, from the problem alone. Raises RunFailed, ThresherError."""
        ...

    async def again(self, words: str) -> Turn:
        """The next round, told of what failed, and of a person's words where there are any. Raises as `begin`."""
        ...


class Way(Protocol):
    """How conversations are held."""

    @property
    def name(self) -> str:
        """For the protocol."""
        ...

    def open(self, task: Task, draw: Draw, automatic: int) -> AbstractAsyncContextManager[Dialog]:
        """A conversation; `draw` holds for each of its turns. automatic: rounds that need no words, at most."""
        ...


class PriorAttempts:
    """Each round is a solve of its own, which is told of the failed programs as prior attempts: automatic rounds only.

    The server shows the two that passed the most tests, each with its failing test, expected, got and the end of the
    traceback.
    """

    name = "prior-attempts"

    def __init__(self, source: ServerSource) -> None:
        self._source = source

    @asynccontextmanager
    async def open(self, task: Task, draw: Draw, automatic: int) -> AsyncGenerator[Dialog]:
        """See Way."""
        yield _Solves(self._source, task, draw)


class _Solves:
    def __init__(self, source: ServerSource, task: Task, draw: Draw) -> None:
        self._source = source
        self._task = task
        self._draw = draw
        self._turns = 0
        self._failed: list[solve_pb2.PriorAttempt] = []

    async def begin(self) -> Turn:
        return await self._turn(self._source.spec(self._task, self._draw))

    async def again(self, words: str) -> Turn:
        if words:
            raise CannotRun("words of a person cannot be said by prior attempts; leave out --way")
        spec = self._source.spec(self._task, self._draw)
        spec.sampling.seed = self._draw.seed_of(f"{self._task.id}/round {self._turns}")
        spec.cascade.attempts_in_prompt = True
        spec.cascade.prior_attempts.extend(self._failed)
        return await self._turn(spec)

    async def _turn(self, spec: solve_pb2.SolveSpec) -> Turn:
        summary, turn = await solved(self._source, self._task, self._draw, spec)
        self._turns += 1
        known = {attempt.code for attempt in self._failed}
        self._failed += [
            solve_pb2.PriorAttempt(code=one.code, report=one.report)
            for one in summary.candidates
            if one.code not in known
        ]
        return turn


async def resampled(source: ServerSource, task: Task, draw: Draw, number: int) -> Turn:
    """A plain draw from the problem alone: number 0, 1, ... of those that follow the first draws."""
    spec = source.spec(task, draw)
    spec.sampling.seed = draw.seed_of(f"{task.id}/sample {number}")
    _, turn = await solved(source, task, draw, spec)
    return turn


async def solved(
    source: ServerSource, task: Task, draw: Draw, spec: solve_pb2.SolveSpec
) -> tuple[solve_pb2.Summary, Turn]:
    """One solve, and what it drew."""
    tokens, began = TokensBySample(), time.monotonic()
    summary = await source.solved(spec, tokens)
    return summary, turn_of(task, draw, summary, tokens, time.monotonic() - began)


def turn_of(task: Task, draw: Draw, summary: solve_pb2.Summary, tokens: TokensBySample, seconds: float) -> Turn:
    """What a solve drew; programs that it was given and nobody drew are left out. Raises RunFailed."""
    outcome = outcome_of(task, draw, summary, tokens, seconds)
    drawn = tuple(one for one in outcome.candidates if one.samples)
    books = summary.accounting
    spent = Spent(prompt=books.prompt_tokens, cached=books.cached_prompt_tokens, generated=books.generated_tokens)
    failed = [one for one in summary.candidates if one.samples]
    failure = None
    if not any(one.passed for one in drawn):
        best = max(failed, key=lambda one: one.report.tests_passed)
        failure = failure_of(best.report, task.document["tests"])
    return Turn(
        candidates=drawn,
        spent=spent,
        failure=failure,
        rows=books.rows_computed,
        executed=books.candidates_executed,
        seconds=outcome.seconds,
    )


def require_chats(tasks: tuple[Task, ...]) -> None:
    """Raises CannotRun where a problem is no chat: what failed is told in a chat's next turn."""
    for task in tasks:
        if "chat" not in task.document and "prompt" not in task.document:
            raise CannotRun(f"{task.id}: rounds of repair need a chat; take --prompt chat")
