"""Programs on their way through several executors, and the queue in which they wait for room."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextvars import Context, copy_context
from dataclasses import dataclass, field

from executor.sandbox import OnTest
from executor.types import Program
from executor.verdict import Report, TestReport


@dataclass(slots=True, eq=False)
class Run:
    """One program, from its caller to its one report. Times are those of `time.monotonic`."""

    program: Program
    group: str
    on_test: OnTest | None
    done: asyncio.Future[Report]
    queued: float = field(default_factory=time.monotonic)
    waited: float = 0.0
    """Seconds spent in the queue here."""
    losses: int = 0
    """Executors that were lost under it."""
    cancelling: bool = False
    context: Context = field(default_factory=copy_context)
    """Of its caller: what it is a span of."""
    _told: set[int] = field(default_factory=set[int])

    def tell(self, report: TestReport) -> None:
        """Pass a test's report on, once for each test, however often executors are lost."""
        if self.on_test is not None and not self.done.done() and report.index not in self._told:
            self._told.add(report.index)
            self.on_test(report)

    def fail(self, error: Exception) -> None:
        """End it with an error."""
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # the caller may have been cancelled: nobody else will look


class FairQueue:
    """Runs that wait for room; the groups take turns, whatever each has waiting."""

    def __init__(self) -> None:
        self._groups: OrderedDict[str, deque[Run]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Run]:
        for runs in self._groups.values():
            yield from runs

    def put(self, run: Run, *, first: bool = False) -> None:
        """Add a run behind those of its group; `first` puts it before them, and its group before the others."""
        run.queued = time.monotonic()
        runs = self._groups.setdefault(run.group, deque())
        self._size += 1
        if first:
            runs.appendleft(run)
            self._groups.move_to_end(run.group, last=False)
        else:
            runs.append(run)

    def take(self) -> Run:
        """The next run of the group whose turn it is."""
        group, runs = next(iter(self._groups.items()))
        run = runs.popleft()
        self._groups.move_to_end(group)
        self._left(run, runs)
        run.waited += time.monotonic() - run.queued
        return run

    def remove(self, run: Run) -> bool:
        """Take one run out; False if it is not here."""
        runs = self._groups.get(run.group)
        if runs is None or run not in runs:
            return False
        runs.remove(run)
        self._left(run, runs)
        return True

    def _left(self, run: Run, runs: deque[Run]) -> None:
        self._size -= 1
        if not runs:
            del self._groups[run.group]
