"""One solve of one function: the call, what its candidates came to, and the text that takes the function's place."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from thresher.client import AsyncClient
from thresher.client.plain import enum_word
from thresher.client.problems import model_name
from thresher.client.progress import Attempt, Progress, tally
from thresher.lsp.connection import Connection
from thresher.lsp.failures import Failure, failures_of
from thresher.lsp.problem import Task
from thresher.lsp.rounds import Misfit, Round, again, with_feedback
from thresher.lsp.splice import SpliceError, new_text
from thresher.v1 import problem_pb2, solve_pb2, verdict_pb2

_CHECK_SECONDS = 60.0
_LEAST_SECONDS = 1.0
"""With less time left, nothing is asked for again."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user may set. A solve ends after `seconds` with what it has; an empty `model` is the server's own."""

    model: str = ""
    k: int = 16
    seconds: float = 120.0
    inline_completion: bool = True


@dataclass(slots=True)
class Course:
    """How the solving of a task goes, in the words of its own tests.

    There is another of the `rounds`, each a solve on the server, where what passed cannot stand in the file. Programs
    are numbered through.
    """

    task: Task
    k: int
    rounds: list[Progress] = field(default_factory=list[Progress])

    @property
    def tried(self) -> list[Attempt]:
        """The programs so far. Their `message` is what they failed at; empty where they passed."""
        return [one for progress in self.rounds for one in progress.attempts.values()]

    @property
    def samples(self) -> int:
        """Samples that have ended as a program."""
        return sum(one.samples for one in self.tried)

    @property
    def percentage(self) -> int:
        """How many of the samples are drawn."""
        return min(100, 100 * self.samples // self.k)

    def line(self) -> str:
        """The work done so far: `5 of 16 samples, 4 programs, 3 judged: 2 wrong answer, 1 runtime error`."""
        return tally(self.tried, self.k)

    def apply(self, event: solve_pb2.SolveEvent) -> Attempt | None:
        """Takes an event of the last round in; the program that it is about, if it is about one."""
        *earlier, progress = self.rounds
        progress.apply(event)
        match event.WhichOneof("event"):
            case "candidate_finished":
                index = event.candidate_finished.index
            case "samples_joined":
                index = event.samples_joined.index
            case "candidate_judged":
                index = event.candidate_judged.candidate.index
            case _:
                return None
        one = progress.attempts[index]
        one.index = index + sum(len(other.attempts) for other in earlier)
        one.total = len(self.task.tests)
        if one.report is not None:
            one.message = next((failure.message for failure in failures_of(self.task.tests, [one.report])), "")
        return one


@dataclass(frozen=True, slots=True)
class Ended:
    """How a solve ended. `outcome` is `solved`, or why not, as the server's summary says; `not_in_place` where programs
    passed, but not in the function's place in its file.

    `text` holds the lines that replace the function's, of the program that passed, else of the one that came furthest;
    it is empty where no program can take the place. `index` is the number of the program that passed there.
    """

    outcome: str
    message: str
    tried: tuple[Attempt, ...]
    failures: tuple[Failure, ...]
    text: str
    program: str
    index: int | None = None

    @property
    def solved(self) -> bool:
        """Whether `text` passes all tests where it is to stand."""
        return self.outcome == "solved"


class Watcher(Protocol):
    """Is told how a solve goes."""

    def waiting(self) -> None:
        """The server is loading its model."""
        ...

    def changed(self, course: Course, event: solve_pb2.SolveEvent, tried: Attempt | None) -> None:
        """An event came; `tried` is the candidate that it is about."""
        ...

    def again(self) -> None:
        """What passed cannot stand in the file; another program is asked for."""
        ...


async def solve(
    task: Task, connection: Connection, settings: Settings, watcher: Watcher, feedback: Round | None = None
) -> Ended:
    """Solves a task. Ends the solve on the server where it is cancelled. Raises ThresherError.

    The server ends at the first program that passes. Where that one cannot stand in the file, the model is told why and
    asked for another, until one can, or all k samples are drawn or the time is over.
    """
    served = await connection.served(settings.model, watcher.waiting)
    if feedback is not None:
        problem = with_feedback(task, feedback)
    else:
        problem = task.infill() if task.excerpt.leaning and served.infill else task.chat()
    client = connection.client()
    course = Course(task, settings.k)
    misfits: list[Misfit] = []
    asked, left, seconds, end = problem, settings.k, settings.seconds, time.monotonic() + settings.seconds
    while True:
        course.rounds.append(Progress())
        async with client.solve(spec_of(asked, settings.model, left, seconds)) as stream:
            async for event in stream:
                watcher.changed(course, event, course.apply(event))
        assert stream.summary is not None, "a stream without a summary raises"
        found = await _placed(client, course, misfits)
        if found is not None:
            return found
        left, seconds = settings.k - course.samples, end - time.monotonic()
        passed = any(one.verdict == "passed" for one in course.rounds[-1].attempts.values())
        if not passed or left < 1 or seconds < _LEAST_SECONDS:
            return _unsolved(course, stream.summary, misfits)
        asked = again(task, problem, misfits[-1])
        watcher.again()


async def failing(task: Task, connection: Connection, text: str) -> list[Failure]:
    """The tests that fail with `text` in the function's place. Raises ThresherError."""
    report = await connection.client().execute(task.program(text), timeout=_CHECK_SECONDS)
    return failures_of(task.tests, [report])


def spec_of(problem: problem_pb2.Problem, model: str, k: int, seconds: float) -> solve_pb2.SolveSpec:
    """A request that ends at the first program that passes, after k samples, or after `seconds`."""
    spec = solve_pb2.SolveSpec(model=model_name(model), problem=problem)
    spec.sampling.k = k
    spec.sampling.greedy_first = k > 1
    spec.budget.wall_time.FromMilliseconds(round(1000 * seconds))
    spec.events.failing_code = True
    return spec


async def _placed(client: AsyncClient, course: Course, misfits: list[Misfit]) -> Ended | None:
    """The first of the last round's programs that passes in the file, too, else None; adds a misfit for each other."""
    task = course.task
    for one in course.rounds[-1].attempts.values():
        if one.verdict != "passed":
            continue
        try:
            text = new_text(task.source, task.function, one.code)
        except SpliceError as error:
            misfits.append(Misfit(one.code, str(error)))
            continue
        report = await client.execute(task.program(text), timeout=_CHECK_SECONDS)
        if report.verdict != verdict_pb2.VERDICT_PASSED:
            failures = failures_of(task.tests, [report])
            misfits.append(Misfit(one.code, failures[0].message))
            continue
        message = f"solved by program {one.index}"
        if misfits:
            message += f"; an earlier one passed, but not in this file: {misfits[0].reason}"
        return Ended("solved", message, tuple(course.tried), (), text, one.code, one.index)
    return None


def _unsolved(course: Course, summary: solve_pb2.Summary, misfits: Sequence[Misfit]) -> Ended:
    task, tried = course.task, tuple(course.tried)
    if misfits:
        passed = "a program passed on its own" if len(misfits) == 1 else f"{len(misfits)} programs passed on their own"
        message = f"{passed}, but not in this file: {misfits[0].reason} ({course.line()})"
        return Ended("not_in_place", message, tried, (), "", misfits[0].code)
    failures = tuple(failures_of(task.tests, [one.report for one in tried if one.report is not None]))
    best = _furthest(tried)
    outcome = enum_word(solve_pb2.SolveOutcome.DESCRIPTOR, summary.outcome)
    return Ended(outcome, _not_solved(tried, outcome), tried, failures, _text_of(task, best), best.code if best else "")


def _furthest(tried: Sequence[Attempt]) -> Attempt | None:
    return max((one for one in tried if one.code), key=lambda one: one.passed, default=None)


def _text_of(task: Task, best: Attempt | None) -> str:
    try:
        return new_text(task.source, task.function, best.code) if best else ""
    except SpliceError:
        return ""


def _not_solved(tried: Sequence[Attempt], outcome: str) -> str:
    programs = sum(one.verdict not in ("", "skipped") for one in tried)
    ended = "" if outcome == "exhausted" else f" before the solve ended ({outcome.replace('_', ' ')})"
    furthest = max((one.passed for one in tried), default=0)
    total = max((one.total for one in tried), default=0)
    return f"no program passed: {programs} tried{ended}, the best passed {furthest} of {total} tests"
