"""The executor in this process: `async with Executor(config) as executor: report = await executor.run(program)`."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import msgspec

from executor.config import ExecutorConfig, ExecutorStats, SandboxInfo
from executor.errors import ExecutionCancelled, ExecutorClosed, JailError
from executor.execution import Execution
from executor.jails import Jails
from executor.languages import PYTHON
from executor.order import KillOrder
from executor.plan import Planned, plan_program
from executor.pool import Counters, Turns
from executor.settle import Outcome
from executor.snippet import Setup
from executor.types import Program
from executor.verdict import Report, TestReport, Verdict

OnTest = Callable[[TestReport], None]


@runtime_checkable
class ExecutorLike(Protocol):
    """What solving needs of an executor: the one in this process and the client of one elsewhere both have it."""

    @property
    def info(self) -> SandboxInfo:
        """What isolates the programs."""
        ...

    def stats(self) -> ExecutorStats:
        """A snapshot."""
        ...

    async def run(self, program: Program, *, group: str = "", on_test: OnTest | None = None) -> Report:
        """Run one program against its tests."""
        ...

    async def cancel_group(self, group: str) -> None:
        """End all runs of a group."""
        ...


@dataclass(slots=True, eq=False)
class _Run:
    group: str
    task: asyncio.Task[Report]
    cancelled: bool = False


class Executor:
    """Runs programs in prewarmed single-use jails. Use as an async context manager.

    Raises SandboxUnavailable on entry when this machine cannot give the isolation asked for: there is no unsafe mode.
    """

    def __init__(self, config: ExecutorConfig | None = None) -> None:
        self._config = config or ExecutorConfig()
        self._turns = Turns(self._config.effective_slots, self._config.queue_limit)
        self._kills = KillOrder()
        self._runs: set[_Run] = set()
        self._executed: Counter[str] = Counter()
        self._cancelled = 0
        self._info: SandboxInfo | None = None
        self._jails: Jails | None = None
        self._closed = False

    @property
    def info(self) -> SandboxInfo:
        """What isolates the programs. Known once started."""
        if self._info is None:
            raise ExecutorClosed("the executor is not started: use `async with Executor(...)`")
        return self._info

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _start(self) -> None:
        self._jails = Jails(self._config)
        self._turns.most_aside = self._jails.most_aside
        self._info = await self._jails.open()

    async def close(self) -> None:
        """End all runs (they raise ExecutionCancelled) and all jails, and remove all groups."""
        self._closed = True
        await self._cancel(list(self._runs))
        if self._jails is not None:
            await self._jails.close()

    async def run(self, program: Program, *, group: str = "", on_test: OnTest | None = None) -> Report:
        """Run `program` against its tests and report.

        `group` names what shares a turn in the queue (one solve). `on_test` is called with each test's report as it is
        settled. Raises InvalidProgram for a record that cannot be run, ExecutorBusy when the queue is full,
        ExecutionCancelled when `cancel_group` ends it. Cancelling the awaiting task kills the jail before it returns.
        """
        if self._closed or self._jails is None:
            raise ExecutorClosed("the executor is closed, or was never started")
        setup, planned = plan_program(program, self._config.tests_max)
        self._jails.require(program.language)
        size = len(program.code.encode("utf-8", "surrogatepass"))
        if size > self._config.source_bytes:
            return self._too_long(size, len(planned))
        task = asyncio.create_task(self._run(program, setup, planned, group, on_test))
        run = _Run(group, task)
        self._runs.add(run)
        try:
            report = await task
        except asyncio.CancelledError:
            self._cancelled += 1
            if run.cancelled:
                raise ExecutionCancelled(f"the run was cancelled with its group {group!r}") from None
            raise
        finally:
            self._runs.discard(run)
        self._executed[report.verdict.value] += 1
        return report

    def _too_long(self, size: int, total: int) -> Report:
        self._executed[Verdict.COMPILE_ERROR.value] += 1
        detail = f"the source has {size} bytes, more than {self._config.source_bytes}"
        return Report(verdict=Verdict.COMPILE_ERROR, tests_total=total, detail=detail, weaknesses=self.info.weaknesses)

    def _unparsed(
        self, planned: tuple[Planned, ...], refused: Outcome, on_test: OnTest | None, *, run_all: bool
    ) -> Report:
        """No jail is spent on what is no program."""
        verdict, message = refused.verdict, refused.message
        reports = [
            TestReport(index=index, name=test.test.name, verdict=verdict, message=message)
            for index, test in enumerate(planned if run_all else planned[:1])
        ]
        for report in reports:
            if on_test is not None:
                on_test(report)
        total, weaknesses = len(planned), self.info.weaknesses
        return Report(verdict=verdict, tests=tuple(reports), tests_total=total, detail=message, weaknesses=weaknesses)

    async def _run(
        self, program: Program, setup: Setup, planned: tuple[Planned, ...], group: str, on_test: OnTest | None
    ) -> Report:
        assert self._jails is not None and self._jails.parser is not None
        if program.language == PYTHON and (refused := await self._jails.parser.refusal(program.code)) is not None:
            return self._unparsed(planned, refused, on_test, run_all=program.run_all)
        pool = self._jails.pool()
        queued = time.monotonic()
        turn = await self._turns.take(group)
        waited = time.monotonic() - queued
        if self._turns.depth:
            pool.fill()
        execution = Execution(program, setup, self._jails.pool, self._config)
        turn.on_long = execution.give_way
        try:
            report = await execution.run(planned, self._order_of(program), on_test)
            self._note_kill(program, report)
        except JailError as error:
            detail = f"no jail could be started: {error}"
            report = Report(verdict=Verdict.SANDBOX_FAILURE, tests_total=len(planned), detail=detail)
        except BaseException:
            execution.abandon()
            await _gone(execution.dispose())
            raise
        finally:
            execution.dispose()
            self._turns.give(turn)
            pool.fill()
        return msgspec.structs.replace(report, queue_seconds=waited, weaknesses=self.info.weaknesses)

    def _order_of(self, program: Program) -> Sequence[int]:
        return self._kills.order(program.tests) if program.any_order else range(len(program.tests))

    def _note_kill(self, program: Program, report: Report) -> None:
        if program.any_order:
            for test in report.tests:
                if test.verdict not in (Verdict.PASSED, Verdict.SANDBOX_FAILURE):
                    self._kills.note(program.tests, test.index)

    async def cancel_group(self, group: str) -> None:
        """End all runs of `group`, queued and running: they raise ExecutionCancelled.

        Returns when their jails are gone.
        """
        await self._cancel([run for run in self._runs if run.group == group])

    async def _cancel(self, runs: list[_Run]) -> None:
        for run in runs:
            run.cancelled = True
            run.task.cancel()
        for run in runs:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.wait([run.task])

    async def settled(self) -> None:
        """Wait until no program runs or waits and no jail is being started or ended (the warm ones stay)."""
        turns = self._turns
        while self._runs or turns.busy or turns.aside or (self._jails and self._jails.unsettled):  # noqa: ASYNC110
            await asyncio.sleep(0.001)  # it waits for three kinds of things, and only tests do

    def stats(self) -> ExecutorStats:
        """A snapshot."""
        turns = self._turns
        counters = Counters() if self._jails is None else self._jails.counters()
        return ExecutorStats(
            slots=turns.slots,
            busy=turns.busy + turns.aside,
            idle=counters.idle,
            starting=counters.starting,
            queue_depth=turns.depth,
            queue_limit=self._config.queue_limit,
            executed=dict(self._executed),
            cancelled=self._cancelled,
            jails_started=counters.jails_started,
            jails_live=counters.live,
            start_failures=counters.start_failures,
            kill_alarms=counters.kill_alarms,
            leaked_cgroups=counters.leaked_cgroups,
        )


async def _gone(ends: list[asyncio.Task[None]]) -> None:
    """Wait for the ends of jails, also where the wait itself is cancelled: a slot is free when its jail is gone."""
    while not all(end.done() for end in ends):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(ends)
