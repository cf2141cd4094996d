"""One program through its tests: leases jails, runs trials, settles each test, adds it all up to a report."""

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from executor.answers import Answers, decoded
from executor.asserts import CandidateRaised, Checks, Expression
from executor.building import ForeignProgram
from executor.calls import CallsPlan, run_calls
from executor.checks import stdout_matches, value_matches
from executor.config import ExecutorConfig
from executor.errors import JailError
from executor.group import ENDLESS_NICE, LONG_NICE
from executor.hostmath import TooMuchWork
from executor.jail import Jail
from executor.judge import run_judge
from executor.languages import LANGUAGES, PYTHON
from executor.plan import CallPlan, Planned
from executor.pool import Pool
from executor.settle import (
    PASSED,
    Outcome,
    exit_code,
    limit_outcome,
    refused_outcome,
    script_outcome,
    signal_number,
    silent_outcome,
)
from executor.shown import short
from executor.snippet import JudgeCode, Setup
from executor.special_judge import judge_output
from executor.trial import USUAL, Allowance, Facts, Trial
from executor.types import Comparison, Limits, Program, StdioTest
from executor.verdict import CallReport, Evidence, Report, TestReport, Verdict

_LONG_STEPS = 4  # of giving way, each after about a third of a second
_ASSERT_ERRORS = (ArithmeticError, TypeError, ValueError, LookupError, MemoryError, RecursionError, TooMuchWork)


@dataclass(slots=True)
class Settled:
    """One test: what was seen and what it means."""

    facts: Facts
    outcome: Outcome
    evidence: Evidence
    retry: bool = True
    """Whether another try in a fresh jail may end otherwise, if the sandbox failed."""
    calls: tuple[CallReport, ...] = ()


class Execution:
    """One program's run. The caller calls `dispose` when it is over, however it ended."""

    def __init__(self, program: Program, setup: Setup, pools: Callable[[str], Pool], config: ExecutorConfig) -> None:
        """`pools` gives the pool of a room (executor.languages)."""
        self.startup_seconds = 0.0
        self._program = program
        self._setup = setup
        self._pools = pools
        self._config = config
        self._leased: dict[Jail, Pool] = {}
        self._long = 0  # times that it was told to give way
        language = LANGUAGES.get(program.language)
        self._foreign = None if language is None else ForeignProgram(language, program.code, self)
        self._current: Jail | None = None
        self._judge: Jail | None = None
        self._special_judge: tuple[Jail, str] | None = None
        self._trials: list[Trial] = []
        self._peak: int | None = None

    async def run(
        self, planned: tuple[Planned, ...], order: Sequence[int], on_test: Callable[[TestReport], None] | None
    ) -> Report:
        """All tests in this order of their indices, or those up to the first that fails."""
        started = time.monotonic()
        reports: list[TestReport] = []
        for index in order:
            report = await self._one(index, planned[index])
            reports.append(report)
            if on_test is not None:
                on_test(report)
            if report.verdict is not Verdict.PASSED and not self._program.run_all:
                break
        self._note_peak()
        first = next((report for report in reports if report.verdict is not Verdict.PASSED), None)
        return Report(
            verdict=Verdict.PASSED if first is None else first.verdict,
            tests=tuple(sorted(reports, key=lambda report: report.index)),
            tests_total=len(planned),
            detail="" if first is None else first.message,
            startup_seconds=self.startup_seconds,
            wall_seconds=time.monotonic() - started - self.startup_seconds,
            cpu_seconds=sum(report.cpu_seconds for report in reports) + self._compile_seconds(reports),
            peak_memory_bytes=self._peak,
        )

    def give_way(self) -> None:
        """Let others go first on the cores from now on, and more so the longer it goes on."""
        self._long += 1
        for jail in self._leased:
            jail.group.give_way(LONG_NICE if self._long <= _LONG_STEPS else ENDLESS_NICE)

    async def _one(self, index: int, test: Planned) -> TestReport:
        settled = await self._try(test)
        if settled.outcome.verdict is Verdict.SANDBOX_FAILURE and settled.retry:
            self._retire()
            settled = await self._try(test)
        facts, tail = settled.facts, self._config.tail_bytes
        return TestReport(
            index=index,
            name=test.test.name,
            verdict=settled.outcome.verdict,
            message=settled.outcome.message,
            wall_seconds=facts.wall_seconds,
            cpu_seconds=facts.cpu_seconds,
            evidence=settled.evidence,
            exit_code=exit_code(facts),
            signal=signal_number(facts),
            stdout=facts.stdout[-tail:],
            stderr=facts.stderr[-tail:],
            calls=settled.calls,
        )

    async def _try(self, test: Planned) -> Settled:
        match test.way:
            case StdioTest() as way:
                return await self._script(way, test.limits)
            case CallPlan() as way:
                return await self._call(way, test.limits)
            case CallsPlan() as way:
                facts, outcome, calls = await run_calls(self._trial, way, test.limits)
                return Settled(facts, outcome, Evidence.VALUES, calls=calls)
            case Checks() as way:
                return await self._values(way, test.limits)
            case JudgeCode() as way:
                return await self._judged(way, test.limits)

    def _compile_seconds(self, reports: list[TestReport]) -> float:
        """CPU time of a compiler; where it failed, the first test's report has it already."""
        if self._foreign is None or reports[0].verdict is Verdict.COMPILE_ERROR:
            return 0.0
        return self._foreign.compile_seconds

    async def _script(self, test: StdioTest, limits: Limits) -> Settled:
        if self._foreign is not None:
            return await self._printed(test, *await self._foreign.run(test, limits))
        refusals: list[Outcome] = []

        def on_frame(content: bytes) -> None:
            match decoded(content):
                case ("refused", str(name), str(text)):
                    refusals.append(refused_outcome(name, text))
                case _:
                    return  # ("compiled",), or the program's own words on a channel that is not its own

        trial = await self._trial(limits, on_frame)
        trial.start("script", (list(test.argv),), test.stdin)
        facts = await trial.done
        outcome = limit_outcome(facts, limits) or (refusals[0] if refusals else script_outcome(facts))
        return await self._printed(test, facts, outcome)

    async def _printed(self, test: StdioTest, facts: Facts, outcome: Outcome | None) -> Settled:
        """Settle a test by what was printed, unless it has an outcome already."""
        if outcome is None and test.comparison is Comparison.JUDGE:
            jail = await self._special_judge_jail(test.judge)
            outcome = await judge_output(functools.partial(self.new_trial, jail), test, facts.stdout)
            # The same output would be judged alike once more.
            return Settled(facts, outcome, Evidence.JUDGE, retry=False)
        if outcome is None:
            tolerance = (test.rel_tol, test.abs_tol)
            same = stdout_matches(facts.stdout, test.expected_stdout, test.comparison, tolerance)
            outcome = PASSED if same else Outcome(Verdict.WRONG_ANSWER, "the printed output is not the expected one")
        return Settled(facts, outcome, Evidence.STDOUT)

    async def _call(self, plan: CallPlan, limits: Limits) -> Settled:
        facts, answers = await self._ask((plan.call,), limits)
        outcome = limit_outcome(facts, limits) or answers.failure
        if outcome is None and not answers.complete:
            outcome = silent_outcome(facts)
        if outcome is None:
            outcome = self._compare(plan, answers)
        return Settled(facts, outcome, Evidence.VALUES)

    @staticmethod
    def _compare(plan: CallPlan, answers: Answers) -> Outcome:
        test = plan.test
        raised = answers.raised.get(0)
        if test.expected_exception is not None:
            if raised is None:
                return Outcome(Verdict.WRONG_ANSWER, f"returned, where {test.expected_exception} was to be raised")
            if test.expected_exception in (raised.name, *raised.bases):
                return PASSED
            return Outcome(Verdict.WRONG_ANSWER, f"raised {raised.name}, not {test.expected_exception}")
        if raised is not None:
            return raised.outcome
        value = answers.values[0]
        if value_matches(value, plan.expected, test.comparison, (test.rel_tol, test.abs_tol)):
            return PASSED
        return Outcome(Verdict.WRONG_ANSWER, f"returned {short(value)}, expected {short(plan.expected)}")

    async def _values(self, plan: Checks, limits: Limits) -> Settled:
        facts, answers = await self._ask(plan.calls, limits)
        outcome = limit_outcome(facts, limits) or answers.failure
        if outcome is None:
            outcome = _evaluate(plan, answers, facts)
        return Settled(facts, outcome, Evidence.VALUES)

    async def _ask(self, calls: tuple[Expression, ...], limits: Limits) -> tuple[Facts, Answers]:
        answers = Answers(len(calls))
        trial = await self._trial(limits, answers.on_frame)
        answers.trial = trial
        trial.start("calls", (limits.output_bytes,))
        for call in calls:
            trial.send(("eval", call, False, False))
        return await trial.done, answers

    async def _judged(self, plan: JudgeCode, limits: Limits) -> Settled:
        candidate, judge = await self.jail(), await self._judge_jail()
        settled = await run_judge(
            functools.partial(self.new_trial, candidate),
            functools.partial(self.new_trial, judge),
            plan,
            self._setup.imports,
            limits,
        )
        facts, outcome, decidable = settled
        if not decidable and self._program.allow_in_process:
            return await self._in_process(plan, limits)
        return Settled(facts, outcome, Evidence.JUDGE, retry=decidable)

    async def _in_process(self, plan: JudgeCode, limits: Limits) -> Settled:
        answers = Answers(1)
        trial = await self._trial(limits, answers.on_frame)
        answers.trial = trial
        trial.start("calls", (limits.output_bytes,))
        trial.send(("exec", plan.code, False, False))
        facts = await trial.done
        outcome = limit_outcome(facts, limits) or answers.failure
        if outcome is None:
            raised = answers.raised.get(0)
            if raised is not None:
                wrong = raised.name == "AssertionError"
                outcome = Outcome(Verdict.WRONG_ANSWER, raised.outcome.message) if wrong else raised.outcome
            else:
                outcome = PASSED if answers.complete else silent_outcome(facts)
        return Settled(facts, outcome, Evidence.IN_PROCESS)

    async def _trial(self, limits: Limits, on_frame: Callable[[bytes], None]) -> Trial:
        return self.new_trial(await self.jail(), limits, on_frame)

    def new_trial(
        self,
        jail: Jail,
        limits: Limits,
        on_frame: Callable[[bytes], None],
        allowance: Allowance = USUAL,
    ) -> Trial:
        """A trial in a jail of this run."""
        trial = Trial(jail, limits, on_frame, allowance)
        self._trials.append(trial)
        return trial

    async def jail(self) -> Jail:
        """The candidate's jail: the one in use, or a fresh one if that is spent."""
        if self._current is None or self._current.spent:
            self._retire()
            room = PYTHON if self._foreign is None else self._foreign.language.room
            self._current = jail = await self.lease(room)
            if self._foreign is None:
                jail.send(("program", self._program.code, self._setup.imports, self._setup.whole))
            else:
                self._foreign.prepare(jail)
        return self._current

    async def _judge_jail(self) -> Jail:
        if self._judge is None or self._judge.spent:
            self._judge = await self.lease()
        return self._judge

    async def _special_judge_jail(self, code: str) -> Jail:
        if self._special_judge is None or self._special_judge[0].spent or self._special_judge[1] != code:
            jail = await self.lease()
            jail.send(("program", code, "", ""))
            self._special_judge = jail, code
        return self._special_judge[0]

    async def lease(self, room: str = PYTHON) -> Jail:
        """A fresh jail of a room."""
        started = time.monotonic()
        pool = self._pools(room)
        try:
            jail = await pool.jail()
        except JailError:
            jail = await pool.jail()
        self.startup_seconds += time.monotonic() - started
        self._leased[jail] = pool
        return jail

    def release(self, jail: Jail) -> None:
        """End a jail before the run is over."""
        self._leased.pop(jail).dispose(jail)

    def _retire(self) -> None:
        if self._current is not None:
            self._note_peak()
            self.release(self._current)
            self._current = None

    def dispose(self) -> list[asyncio.Task[None]]:
        """End all jails. The tasks are done when nothing of them is left."""
        if self._foreign is not None:
            self._foreign.close()
        return [pool.dispose(jail) for jail, pool in self._leased.items()]

    def _note_peak(self) -> None:
        peak = None if self._current is None else self._current.group.peak_bytes()
        if peak is not None:
            self._peak = max(self._peak or 0, peak)

    def abandon(self) -> None:
        """Close the host's ends of whatever runs; what remains is to dispose of the jails."""
        for trial in self._trials:
            trial.cancel()


def _evaluate(plan: Checks, answers: Answers, facts: Facts) -> Outcome:
    for check in plan.checks:
        try:
            if check.condition(answers.value) or check.bare:
                continue
            message = f"not so: {check.source}"
            if check.shown is not None:
                message += f" (got {short(answers.value(check.shown))})"
        except CandidateRaised as error:
            raised = answers.raised.get(int(error.args[0]))
            return silent_outcome(facts) if raised is None else raised.outcome
        except _ASSERT_ERRORS as error:
            message = f"{type(error).__name__}: {error} in {check.source}"
        return Outcome(Verdict.WRONG_ANSWER, message)
    return PASSED if answers.complete else silent_outcome(facts)
