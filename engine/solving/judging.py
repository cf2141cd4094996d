"""The candidates of one solve in the sandbox: launched a few at a time, cancelled together."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from engine.solving.candidates import Entry
from engine.solving.types import ReturnPolicy, SolveSpec
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


class Judging:
    """Runs candidates; what comes of them is posted. Every launched candidate ends with exactly one `Done`."""

    def __init__(
        self, spec: SolveSpec, *, executor: ExecutorLike, slots: int, group: str, post: Callable[[Posted], None]
    ) -> None:
        self.visible = tuple(held.test for held in spec.tests if not held.hidden)
        self.hidden = tuple(held.test for held in spec.tests if held.hidden)
        self.pending: deque[Entry] = deque()
        self.launched = 0
        self._spec = spec
        self._executor = executor
        self._group = group
        self._post = post
        # A few programs more than slots keep the sandbox busy; the others wait here, where dropping them is free.
        self._most = slots + 2
        self._tasks: dict[int, tuple[Entry, asyncio.Task[None]]] = {}
        self._slow: dict[int, asyncio.TimerHandle | None] = {}  # launched candidate -> when it will be; None: it is

    @property
    def running(self) -> bool:
        """Whether anything of this solve is in the sandbox or on its way."""
        return bool(self._tasks)

    @property
    def spent(self) -> bool:
        """Whether the budget of executions is used up."""
        most = self._spec.budget.executions
        return most is not None and self.launched >= most

    def launch(self) -> None:
        """Send pending candidates to the sandbox, as many as there is room and budget for."""
        while self.pending and len(self._tasks) - self._aside < self._most and not self.spent:
            entry = self.pending.popleft()
            self.launched += 1
            task = asyncio.create_task(self._judge(entry))
            task.add_done_callback(lambda _, index=entry.index: self._post(Done(index)))
            self._tasks[entry.index] = (entry, task)
            later = asyncio.get_running_loop().call_later
            self._slow[entry.index] = later(SLOW_SECONDS, self._post, Slow(entry.index))

    @property
    def _aside(self) -> int:
        """Candidates that others do not wait for."""
        return min(MOST_SLOW, sum(timer is None for timer in self._slow.values()))

    def slow(self, index: int) -> bool:
        """Take note of a `Slow`. Whether the candidate still runs."""
        if index in self._slow:
            self._slow[index] = None
        return index in self._slow

    def done(self, index: int) -> None:
        """Take note of a `Done`."""
        del self._tasks[index]
        if timer := self._slow.pop(index):
            timer.cancel()

    def cancel(self, *, keep_passed: bool) -> bool:
        """End what runs; a candidate that has passed may finish its hidden tests if `keep_passed`.

        Returns whether there was anything to end that has not been told before.
        """
        # A second cancel would cut short the wait for the jail that the first one ends.
        told = [
            task.cancel()
            for entry, task in self._tasks.values()
            if not task.cancelling() and not (keep_passed and entry.passed)
        ]
        return bool(told)

    def leave(self) -> None:
        """Wait no longer for what was cancelled."""
        for _, task in self._tasks.values():
            if task.cancelling():
                task.cancel()

    async def gone(self) -> None:
        """Wait until nothing runs any more."""
        if self._tasks:
            await asyncio.wait([task for _, task in self._tasks.values()])

    async def _judge(self, entry: Entry) -> None:
        """Run the visible tests, and on a pass the hidden ones."""
        try:
            tested = await self._run(entry, self.visible, lambda result: self._post(Tested(entry.index, result)))
            self._post(Judged(entry.index, tested))
            if tested.verdict is Verdict.PASSED and self.hidden:
                held_out = await self._run(entry, self.hidden, None)
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
        while True:
            try:
                return await self._executor.run(program, group=self._group, on_test=on_test)
            except ExecutorBusy:
                await asyncio.sleep(_BUSY_PAUSE)
