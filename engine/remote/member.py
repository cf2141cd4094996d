"""One of several executors, as the balance sees it; and the one of this machine."""

import asyncio
from abc import ABC, abstractmethod
from functools import partial
from typing import Protocol

from engine.remote.runs import Run
from engine.solving.backing import OwnedExecutor
from executor import ExecutionCancelled, ExecutorStats, SandboxInfo
from executor.verdict import Report

LOCAL = "local"
_ROOM_PER_SLOT = 2


class Balance(Protocol):
    """What a member tells those who share out the runs. Each posted run is told of once."""

    def judged(self, member: "Member", run: Run, report: Report) -> None:
        """The run has its report."""
        ...

    def refused(self, member: "Member", run: Run, error: Exception) -> None:
        """The run cannot be judged, here or elsewhere."""
        ...

    def cancelled(self, member: "Member", run: Run) -> None:
        """The run was ended on request; its jail is gone."""
        ...

    def lost(self, member: "Member", run: Run, *, blame: bool) -> None:
        """The run is to be taken elsewhere. `blame`: it may have had a part in that."""
        ...

    def changed(self, member: "Member") -> None:
        """The member came up, went down, or takes no more runs."""
        ...


class Member(ABC):
    """An executor among several. `up` while it takes runs; `slots` programs run there at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.up = False
        self.slots = 0
        self.most = 0
        """Runs that it holds at most."""
        self.runs: set[Run] = set()
        self.info: SandboxInfo | None = None
        """Known from its first start on."""
        self.starts = 0
        """Times that it came up."""
        self.trouble = "it has not answered yet"
        """Why it is not up."""

    @property
    def load(self) -> float:
        """Runs for each slot."""
        return len(self.runs) / self.slots

    @property
    def has_room(self) -> bool:
        """A few more runs than slots keep it busy; the others wait here, where they can still go elsewhere."""
        return self.up and len(self.runs) < min(self.most, _ROOM_PER_SLOT * self.slots + 1)

    def stats(self) -> ExecutorStats | None:
        """Of its jails, where this server owns them."""
        return None

    @abstractmethod
    async def start(self, balance: Balance) -> None:
        """Begin; a member that can come up later does not wait for that. Raises what can never be mended."""

    @abstractmethod
    def post(self, run: Run) -> None:
        """Run it, and tell the balance what came of it."""

    @abstractmethod
    def cancel(self, run: Run) -> None:
        """End a posted run; told as `cancelled`, unless something else came first."""

    @abstractmethod
    async def close(self) -> None:
        """End everything. Nothing is told after that."""


class LocalMember(Member):
    """The executor process of this machine, which mends itself."""

    def __init__(self, executor: OwnedExecutor) -> None:
        super().__init__(LOCAL)
        self.executor = executor
        self._tasks: dict[Run, asyncio.Task[Report]] = {}
        self._balance: Balance | None = None

    async def start(self, balance: Balance) -> None:
        """Start the executor's process. Raises SandboxUnavailable or ExecutorDied."""
        await self.executor.__aenter__()
        self._balance = balance
        self.info = self.executor.info
        self.slots = self.executor.stats().slots
        self.most = _ROOM_PER_SLOT * self.slots + 1
        self.up = True
        balance.changed(self)

    def stats(self) -> ExecutorStats | None:
        """Those of the executor's process."""
        return self.executor.stats() if self.up else None

    def post(self, run: Run) -> None:
        """Run it in a jail of this machine."""
        self.runs.add(run)
        task = asyncio.create_task(self.executor.run(run.program, group=run.group, on_test=run.tell))
        self._tasks[run] = task
        task.add_done_callback(partial(self._ended, run))

    def _ended(self, run: Run, task: asyncio.Task[Report]) -> None:
        self.runs.discard(run)
        del self._tasks[run]
        assert self._balance is not None
        if task.cancelled():
            self._balance.cancelled(self, run)
        elif (error := task.exception()) is None:
            self._balance.judged(self, run, task.result())
        elif isinstance(error, ExecutionCancelled):
            self._balance.cancelled(self, run)
        elif isinstance(error, Exception):
            self._balance.refused(self, run, error)

    def cancel(self, run: Run) -> None:
        """Kill its jail."""
        self._tasks[run].cancel()

    async def close(self) -> None:
        """End all runs and the process."""
        self.up = False
        await self.executor.close()
