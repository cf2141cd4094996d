"""One solve of one function: the call, what its candidates came to, and the text that takes the function's place."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from thresher.client import AsyncClient
from thresher.client.plain import enum_word
from thresher.client.problems import model_name
from thresher.lsp.connection import Connection
from thresher.lsp.failures import Failure, failures_of, verdict_word
from thresher.lsp.problem import Task
from thresher.lsp.rounds import Round, with_feedback
from thresher.lsp.splice import SpliceError, new_text
from thresher.v1 import problem_pb2, solve_pb2, verdict_pb2

_CHECK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user may set. A solve ends after `seconds` with what it has; an empty `model` is the server's own."""

    model: str = ""
    k: int = 16
    seconds: float = 120.0
    inline_completion: bool = True


@dataclass(slots=True)
class Tried:
    """A candidate as an editor shows it. `message` says what it failed at; empty where it passed."""

    index: int
    samples: int
    verdict: str = ""
    passed: int = 0
    total: int = 0
    message: str = ""
    code: str = ""


@dataclass(slots=True)
class Course:
    """How a solve goes: what its events have told so far."""

    task: Task
    k: int
    tried: dict[int, Tried] = field(default_factory=dict[int, Tried])
    reports: dict[int, verdict_pb2.ExecutionReport] = field(default_factory=dict[int, verdict_pb2.ExecutionReport])

    @property
    def samples(self) -> int:
        """Samples that have ended as a program."""
        return sum(one.samples for one in self.tried.values())

    def line(self) -> str:
        """The work done so far: `5 of 16 samples, 4 programs, 3 judged: 2 wrong answer, 1 runtime error`."""
        verdicts = [one.verdict.replace("_", " ") for one in self.tried.values() if one.verdict]
        counts = ", ".join(f"{verdicts.count(word)} {word}" for word in dict.fromkeys(verdicts))
        told_so_far = f"{self.samples} of {self.k} samples, {len(self.tried)} programs, {len(verdicts)} judged"
        return f"{told_so_far}: {counts}" if counts else told_so_far

    def apply(self, event: solve_pb2.SolveEvent) -> Tried | None:
        """Takes an event in; the candidate that it is about, if it is about one."""
        match event.WhichOneof("event"):
            case "candidate_finished":
                new = event.candidate_finished
                self.tried[new.index] = Tried(new.index, len(new.samples), total=len(self.task.tests))
                return self.tried[new.index]
            case "samples_joined":
                one = self.tried[event.samples_joined.index]
                one.samples += len(event.samples_joined.samples)
                return one
            case "candidate_judged":
                return self._judged(event.candidate_judged.candidate)
            case _:
                return None

    def _judged(self, candidate: solve_pb2.Candidate) -> Tried:
        one = self.tried[candidate.index]
        report = candidate.report
        self.reports[candidate.index] = report
        one.verdict, one.passed, one.code = verdict_word(report.verdict), report.tests_passed, candidate.code
        failed = failures_of(self.task.tests, [report])
        one.message = failed[0].message if failed else ""
        return one


@dataclass(frozen=True, slots=True)
class Ended:
    """How a solve ended. `outcome` is `solved`, or why not, as the server's summary says; `not_in_place` where programs
    passed, but not in the function's place in its file.

    `text` holds the lines that replace the function's, of the program that passed, else of the one that came furthest;
    it is empty where no program can take the place.
    """

    outcome: str
    message: str
    tried: tuple[Tried, ...]
    failures: tuple[Failure, ...]
    text: str
    program: str

    @property
    def solved(self) -> bool:
        """Whether `text` passes all tests where it is to stand."""
        return self.outcome == "solved"


class Watcher(Protocol):
    """Is told how a solve goes."""

    def waiting(self) -> None:
        """The server is loading its model."""
        ...

    def changed(self, course: Course, event: solve_pb2.SolveEvent, tried: Tried | None) -> None:
        """An event came; `tried` is the candidate that it is about."""
        ...


async def solve(
    task: Task, connection: Connection, settings: Settings, watcher: Watcher, feedback: Round | None = None
) -> Ended:
    """Solves a task. Ends the solve on the server where it is cancelled. Raises ThresherError."""
    served = await connection.served(settings.model, watcher.waiting)
    if feedback is not None:
        problem = with_feedback(task, feedback)
    else:
        problem = task.infill() if task.excerpt.leaning and served.infill else task.chat()
    client = connection.client()
    course = Course(task, settings.k)
    async with client.solve(spec_of(problem, settings.model, settings.k, settings.seconds)) as stream:
        async for event in stream:
            watcher.changed(course, event, course.apply(event))
    summary = stream.summary
    assert summary is not None, "a stream without a summary raises"
    return await _ended(client, course, summary)


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


async def _ended(client: AsyncClient, course: Course, summary: solve_pb2.Summary) -> Ended:
    task = course.task
    tried = tuple(course.tried.values())
    passed = [one for one in summary.candidates if one.report.verdict == verdict_pb2.VERDICT_PASSED]
    reasons: list[str] = []
    for candidate in passed:
        try:
            text = new_text(task.source, task.function, candidate.code)
        except SpliceError as error:
            reasons.append(str(error))
            continue
        report = await client.execute(task.program(text), timeout=_CHECK_SECONDS)
        if report.verdict == verdict_pb2.VERDICT_PASSED:
            return Ended("solved", f"solved by program {candidate.index}", tried, (), text, candidate.code)
        reasons += [failure.message for failure in failures_of(task.tests, [report])]
    if passed:
        message = f"a program passed on its own, but not in this file: {reasons[0]}"
        return Ended("not_in_place", message, tried, (), "", passed[0].code)
    failures = tuple(failures_of(task.tests, course.reports.values()))
    best = _furthest(tried)
    outcome = enum_word(solve_pb2.SolveOutcome.DESCRIPTOR, summary.outcome)
    return Ended(outcome, _not_solved(tried, outcome), tried, failures, _text_of(task, best), best.code if best else "")


def _furthest(tried: Sequence[Tried]) -> Tried | None:
    return max((one for one in tried if one.code), key=lambda one: one.passed, default=None)


def _text_of(task: Task, best: Tried | None) -> str:
    try:
        return new_text(task.source, task.function, best.code) if best else ""
    except SpliceError:
        return ""


def _not_solved(tried: Sequence[Tried], outcome: str) -> str:
    programs = sum(one.verdict not in ("", "skipped") for one in tried)
    ended = "" if outcome == "exhausted" else f" before the solve ended ({outcome.replace('_', ' ')})"
    furthest = max((one.passed for one in tried), default=0)
    total = max((one.total for one in tried), default=0)
    return f"no program passed: {programs} tried{ended}, the best passed {furthest} of {total} tests"
