"""Several executors as one: runs go where the fewest wait for each slot, and elsewhere when their executor is lost."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Self

import msgspec

from engine.logs import get_logger
from engine.metrics import Metrics
from engine.remote.member import Member
from engine.remote.runs import FairQueue, Run
from executor import (
    ExecutionCancelled,
    ExecutorBusy,
    ExecutorClosed,
    ExecutorStats,
    InvalidProgram,
    SandboxInfo,
    SandboxUnavailable,
)
from executor.sandbox import OnTest
from executor.types import Program
from executor.verdict import Report, Verdict

_QUEUE_LIMIT = 4096
_MOST_LOSSES = 3

_log = get_logger(__name__)


class BalancedExecutor:
    """Fits `executor.ExecutorLike`. Start and end it as an async context manager.

    A run has exactly one report, whatever happens to executors: one that is lost or drains gives its runs back, and
    they go to another. A run under which three executors were lost, and one that waited `patience` seconds while there
    was no executor at all, end with sandbox_failure, which never counts against a candidate.
    """

    def __init__(self, members: Sequence[Member], metrics: Metrics, *, patience: float = 30.0) -> None:
        self._members = tuple(members)
        self._metrics = metrics.executors
        self._patience = patience
        self._queue = FairQueue()
        self._places: dict[Run, Member | None] = {}
        """Every run that has no report yet, and who has it; None: the queue."""
        self._executed: Counter[str] = Counter()
        self._cancelled = 0
        self._some_up = asyncio.Event()
        self._down_since = time.monotonic()
        self._giving_up: asyncio.TimerHandle | None = None
        self._open = False
        self._metrics.serve(member.name for member in members)

    @property
    def info(self) -> SandboxInfo:
        """What isolates the programs: of all executors that have answered so far, the weakest in each respect."""
        known = [member.info for member in self._members if member.info is not None]
        if not known:
            raise ExecutorClosed("no executor has answered yet")
        runtimes = set(known[0].runtimes).intersection(*(info.runtimes for info in known))
        return SandboxInfo(
            backend=" + ".join(dict.fromkeys(info.backend for info in known)),
            version=" + ".join(dict.fromkeys(info.version for info in known)),
            weaknesses=tuple(dict.fromkeys(name for info in known for name in info.weaknesses)),
            runtimes=tuple(name for name in known[0].runtimes if name in runtimes),
        )

    def stats(self) -> ExecutorStats:
        """A snapshot. Of executors elsewhere only what this server gave them is known: their jails are theirs."""
        busy = sum(min(len(member.runs), member.slots) for member in self._members)
        owned = [stats for member in self._members if (stats := member.stats()) is not None]
        return ExecutorStats(
            slots=sum(member.slots for member in self._members if member.up),
            busy=busy,
            idle=sum(stats.idle for stats in owned),
            starting=sum(stats.starting for stats in owned),
            queue_depth=len(self._places) - busy,
            queue_limit=_QUEUE_LIMIT,
            executed=dict(self._executed),
            cancelled=self._cancelled,
            jails_started=sum(stats.jails_started for stats in owned),
            jails_live=sum(stats.jails_live for stats in owned),
            start_failures=sum(stats.start_failures for stats in owned),
            kill_alarms=sum(stats.kill_alarms for stats in owned),
            leaked_cgroups=sum(stats.leaked_cgroups for stats in owned),
            restarts=sum(stats.restarts for stats in owned),
        )

    async def __aenter__(self) -> Self:
        """Start all, and wait for the first one that is up. Raises SandboxUnavailable, which says why none is."""
        try:
            for member in self._members:
                await member.start(self)
            async with asyncio.timeout(self._patience):
                await self._some_up.wait()
        except TimeoutError:
            reasons = "; ".join(f"{member.name}: {member.trouble}" for member in self._members)
            await self.close()
            raise SandboxUnavailable(f"no executor answers ({reasons})") from None
        except BaseException:
            await self.close()
            raise
        self._open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End all runs (they raise ExecutorClosed) and hang up."""
        self._open = False
        if self._giving_up is not None:
            self._giving_up.cancel()
        for run in list(self._places):
            self._finish(run)
            run.fail(ExecutorClosed("the executor was closed"))
        await asyncio.gather(*(member.close() for member in self._members))

    async def run(self, program: Program, *, group: str = "", on_test: OnTest | None = None) -> Report:
        """As `Executor.run`, for the languages that every executor runs.

        `on_test` is called once for each test, even if a lost executor makes it run twice.
        """
        if not self._open:
            raise ExecutorClosed("the executor is closed, or was never started")
        if program.language not in (runtimes := self.info.runtimes):
            raise InvalidProgram(
                f"language: {program.language} is not run by every executor; all of them run {', '.join(runtimes)}"
            )
        if len(self._queue) >= _QUEUE_LIMIT:
            raise ExecutorBusy(f"{len(self._queue)} programs wait already: slow down")
        run = Run(program, group, on_test, asyncio.get_running_loop().create_future())
        self._places[run] = None
        self._queue.put(run)
        self._share_out()
        try:
            return await asyncio.shield(run.done)
        except asyncio.CancelledError:
            await self._cancel([run])
            raise

    async def cancel_group(self, group: str) -> None:
        """End all runs of a group, wherever they are; they raise ExecutionCancelled. Returns when they are gone."""
        await self._cancel([run for run in self._places if run.group == group])

    async def _cancel(self, runs: Sequence[Run]) -> None:
        waiting: list[asyncio.Future[Report]] = []
        for run in runs:
            member = self._places.get(run)
            if run.done.done():
                continue
            if member is None:
                self._queue.remove(run)
                self._end_cancelled(run)
                continue
            waiting.append(run.done)
            if not run.cancelling:
                run.cancelling = True
                member.cancel(run)
        if waiting:
            await asyncio.wait(waiting)

    # What members tell

    def judged(self, member: Member, run: Run, report: Report) -> None:
        """The run has its report."""
        self._count(member, "judged")
        self._settle(run, report)
        self._share_out()

    def refused(self, member: Member, run: Run, error: Exception) -> None:
        """The run cannot be judged, here or elsewhere."""
        self._count(member, "refused")
        self._finish(run)
        run.fail(error)
        self._share_out()

    def cancelled(self, member: Member, run: Run) -> None:
        """The run was ended on request."""
        self._count(member, "cancelled")
        self._end_cancelled(run)
        self._share_out()

    def lost(self, member: Member, run: Run, *, blame: bool) -> None:
        """The run goes elsewhere, unless it has lost too many executors already."""
        self._count(member, "lost")
        run.losses += blame
        if run.done.done():
            return
        if run.cancelling:
            self._end_cancelled(run)
        elif run.losses >= _MOST_LOSSES:
            self._give_up_on(run, f"{run.losses} executors were lost under this program")
        else:
            self._places[run] = None
            self._queue.put(run, first=True)
        self._share_out()

    def changed(self, member: Member) -> None:
        """A member came up or went down."""
        if any(one.up for one in self._members):
            self._some_up.set()
            if self._giving_up is not None:
                self._giving_up.cancel()
                self._giving_up = None
        elif self._some_up.is_set():
            self._some_up.clear()
            self._down_since = time.monotonic()
        if not self._some_up.is_set() and self._open:
            _log.error("no executor is left", patience=self._patience, waiting=len(self._places))
        self._metrics.state(member.name, up=member.up, outstanding=len(member.runs))
        self._share_out()

    # The balance

    def _share_out(self) -> None:
        while self._queue:
            room = [member for member in self._members if member.has_room]
            if not room:
                break
            member = min(room, key=lambda one: one.load)
            run = self._queue.take()
            self._places[run] = member
            member.post(run)
            self._metrics.state(member.name, up=True, outstanding=len(member.runs))
        if self._queue and not self._some_up.is_set() and self._giving_up is None and self._open:
            self._give_up_later()

    def _give_up_later(self) -> None:
        oldest = min(self._due(run) for run in self._queue)
        delay = max(0.0, oldest - time.monotonic())
        self._giving_up = asyncio.get_running_loop().call_later(delay, self._give_up)

    def _due(self, run: Run) -> float:
        return max(run.queued, self._down_since) + self._patience

    def _give_up(self) -> None:
        self._giving_up = None
        now = time.monotonic()
        for run in [run for run in self._queue if self._due(run) <= now]:
            self._queue.remove(run)
            self._give_up_on(run, f"no executor answered for {self._patience:g} s")
        if self._queue:
            self._give_up_later()

    def _give_up_on(self, run: Run, detail: str) -> None:
        total = len(run.program.tests)
        self._settle(run, Report(verdict=Verdict.SANDBOX_FAILURE, tests_total=total, detail=detail))

    def _settle(self, run: Run, report: Report) -> None:
        self._finish(run)
        if not run.done.done():
            self._executed[report.verdict.value] += 1
            run.done.set_result(msgspec.structs.replace(report, queue_seconds=report.queue_seconds + run.waited))

    def _end_cancelled(self, run: Run) -> None:
        self._cancelled += 1
        self._finish(run)
        run.fail(ExecutionCancelled(f"the run was cancelled with its group {run.group!r}"))

    def _finish(self, run: Run) -> None:
        self._places.pop(run, None)

    def _count(self, member: Member, end: str) -> None:
        self._metrics.ended(member.name, end)
        self._metrics.state(member.name, up=member.up, outstanding=len(member.runs))
