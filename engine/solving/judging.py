"""The candidates of one solve in the sandbox: launched a few at a time, cancelled together."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from engine.solving.candidates import Entry
from engine.solving.flight import Flight
from engine.solving.spans import SolveSpans
from engine.solving.spec import ReturnPolicy, SolveSpec
from engine.tracing import now_within
from executor import ExecutionCancelled, ExecutorBusy, ExecutorLike
from executor.passing import MOST_SLOW, SLOW_SECONDS
from executor.sandbox import OnTest
from executor.types import Program, Test
from executor.verdict import Report, TestReport, Verdict

_BUSY_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Tested:
    index: int
    result: TestReport


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate's visible tests have run."""

    index: int
    report: Report


@dataclass(frozen=True, slots=True)
class HeldOut:
    index: int
    report: Report


@dataclass(frozen=True, slots=True)
class Slow:
    """This candidate runs for so long that no other waits for it any more."""

    index: int


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing of this candidate runs any more."""

    index: int


@dataclass(frozen=True, slots=True)
class Broken:
    """The executor could not be used at all."""

    error: Exception


Posted = Tested | Judged | HeldOut | Slow | Done | Broken


@dataclass(slots=True)
class _Run:
    """A candidate in the sandbox or on its way."""

    entry: Entry
    task: asyncio.Task[None]
    began: float
    slow: bool
    set_back: bool = False
    """Cancelled to make room: it is to run again."""


class Judging:
    """Runs candidates; what comes of them is posted. Every launched candidate ends with exactly one `Done`.

    Where the first pass decides, a candidate that runs for long is set back if others wait: it ends, and runs again
    when none do, for twice as long before that may happen again. So endless programs cost each other's time and not
    that of a program that passes, and none costs more than twice what its last run does.
    """

    def __init__(
        self,
        spec: SolveSpec,
        *,
        executor: ExecutorLike,
        slots: int,
        group: str,
        post: Callable[[Posted], None],
        watch: tuple[SolveSpans, Flight],
    ) -> None:
        self.visible = tuple(held.test for held in spec.tests if not held.hidden)
        self.hidden = tuple(held.test for held in spec.tests if held.hidden)
        self.pending: deque[Entry] = deque()
        self.launched = 0
        self._spec = spec
        self._executor = executor
        self._group = group
        self._post = post
        self._spans, self._flight = watch
        # A few programs more than slots keep the sandbox busy; the others wait here, where dropping them is free.
        self._most = slots + 2
        self._runs: dict[int, _Run] = {}
        self._ended = False
        self._later: deque[Entry] = deque()  # set back
        self._setbacks: Counter[int] = Counter()  # by candidate
        self._told: dict[int, set[int]] = {}  # candidate -> its tests whose results were posted

    @property
    def running(self) -> bool:
        """Whether anything of this solve is in the sandbox or on its way."""
        return bool(self._runs)

    @property
    def spent(self) -> bool:
        """Whether the budget of executions is used up."""
        most = self._spec.budget.executions
        return most is not None and self.launched >= most

    @property
    def _slow(self) -> int:
        return sum(run.slow for run in self._runs.values())

    def launch(self) -> None:
        """Send candidates to the sandbox, as many as there is room and budget for."""
        while self.pending and not self.spent:
            if len(self._runs) - min(MOST_SLOW, self._slow) >= self._most:
                self._make_room()
                break
            self.launched += 1
            self._start(self.pending.popleft(), slow=False)
        while self._later and (self.spent or not self.pending) and self._slow < MOST_SLOW:
            self._start(self._later.popleft(), slow=True)

    def _start(self, entry: Entry, *, slow: bool) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(self._judge(entry))
        task.add_done_callback(lambda _: self._post(Done(entry.index)))
        self._spans.executing(entry.index)
        task.add_done_callback(lambda _: self._spans.executed(entry.index, None))
        if not slow:
            timer = loop.call_later(SLOW_SECONDS, self._post, Slow(entry.index))
            task.add_done_callback(lambda _: timer.cancel())
        self._runs[entry.index] = _Run(entry, task, loop.time(), slow)

    def _make_room(self) -> None:
        """Set back the candidate that began first, of those that may be, if too many are slow and none is leaving."""
        leaving = any(run.set_back for run in self._runs.values())
        if self._spec.return_policy is not ReturnPolicy.FIRST_PASS or self._slow <= MOST_SLOW or leaving:
            return
        now = asyncio.get_running_loop().time()
        for run in self._runs.values():
            long = now - run.began >= SLOW_SECONDS * 2 ** self._setbacks[run.entry.index]
            if run.slow and long and not run.entry.passed and not run.task.cancelling():
                run.set_back = run.task.cancel()
                self._flight.yields(run.entry.index)
                return

    def slow(self, index: int) -> bool:
        """Take note of a `Slow`. Whether the candidate still runs."""
        run = self._runs.get(index)
        if run is not None:
            run.slow = True
        return run is not None

    def done(self, index: int) -> bool:
        """Take note of a `Done`. Whether that was its last run."""
        run = self._runs.pop(index)
        if not run.set_back or self._ended or run.entry.report is not None:
            return True
        self._setbacks[index] += 1
        self._later.append(run.entry)
        return False

    def cancel(self, *, keep_passed: bool) -> bool:
        """End what runs; a candidate that has passed may finish its hidden tests if `keep_passed`. Those that were set
        back are pending again, and not launched any more.

        Returns whether there was anything to end that has not been told before.
        """
        self._ended = True
        self.pending.extend(self._later)
        self._later.clear()
        # A second cancel would cut short the wait for the jail that the first one ends.
        told = [
            run.task.cancel()
            for run in self._runs.values()
            if not run.task.cancelling() and not (keep_passed and run.entry.passed)
        ]
        return bool(told)

    def leave(self) -> None:
        """Wait no longer for what was cancelled."""
        for run in self._runs.values():
            if run.task.cancelling():
                run.task.cancel()

    async def gone(self) -> None:
        """Wait until nothing runs any more."""
        if self._runs:
            await asyncio.wait([run.task for run in self._runs.values()])

    def _on_test(self, index: int, result: TestReport) -> None:
        told = self._told.setdefault(index, set())
        if result.index not in told:
            told.add(result.index)
            self._post(Tested(index, result))

    async def _judge(self, entry: Entry) -> None:
        """Run the visible tests, and on a pass the hidden ones."""
        try:
            tested = await self._run(entry, self.visible, lambda result: self._on_test(entry.index, result))
            self._spans.executed(entry.index, tested)
            self._post(Judged(entry.index, tested))
            if tested.verdict is Verdict.PASSED and self.hidden:
                self._spans.executing(entry.index, hidden=True)
                held_out = await self._run(entry, self.hidden, None)
                self._spans.executed(entry.index, held_out)
                self._post(HeldOut(entry.index, held_out))
        except ExecutionCancelled:
            pass  # the solve itself asked for it
        except Exception as error:
            self._post(Broken(error))

    async def _run(self, entry: Entry, tests: tuple[Test, ...], on_test: OnTest | None) -> Report:
        everything = self._spec.return_policy is not ReturnPolicy.FIRST_PASS or tests is self.hidden
        program = Program(
            code=entry.code,
            tests=tests,
            entry_point=self._spec.entry_point,
            setup_code=self._spec.setup_code,
            limits=self._spec.limits,
            run_all=everything,
            any_order=not everything,
        )
        now_within(self._spans.execution(entry.index))
        while True:
            try:
                return await self._executor.run(program, group=self._group, on_test=on_test)
            except ExecutorBusy:
                await asyncio.sleep(_BUSY_PAUSE)
