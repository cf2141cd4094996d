"""Jails ready to be used, and whose turn it is: warm jails, slots, the fair queue. Knows nothing of tests."""

import asyncio
import logging
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from executor.config import ExecutorConfig
from executor.errors import ExecutorBusy, ExecutorClosed, JailError
from executor.homes import Homes
from executor.jail import Jail
from executor.spawning import Maker
from executor.types import Limits

_log = logging.getLogger(__name__)

_WAITING = Limits()
LONG_SECONDS = 0.3
"""After which a run is long: several times what a program takes that does what it should."""
_MOST_ASIDE = 16
_LEAST_ASIDE = 6
_MOST_STARTS = max(2, len(os.sched_getaffinity(0)))


@dataclass(slots=True)
class Counters:
    """What is, and what happened so far."""

    idle: int = 0
    """Warm jails."""
    starting: int = 0
    """Jails on their way."""
    live: int = 0
    """Jails that are not known to be gone."""
    jails_started: int = 0
    start_failures: int = 0
    kill_alarms: int = 0
    leaked_cgroups: int = 0

    def add(self, other: "Counters") -> None:
        """Add another's figures to these."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


def _nothing() -> None:
    """For a run that need not know that it is long."""


def most_aside(slots: int, *, patient: bool) -> int:
    """Long runs that may go on without a slot: more where they can be `patient`, as waiting for a core is measured."""
    return min(max(slots, _LEAST_ASIDE) if patient else slots, _MOST_ASIDE)


class Turn:
    """A run's slot, from `Turns.take` to `Turns.give`.

    `on_long` is called as soon as the run is long, and from then on as often: its later tests are new processes.
    """

    __slots__ = ("aside", "on_long", "timer")

    def __init__(self) -> None:
        self.aside = False
        self.on_long: Callable[[], None] = _nothing
        self.timer: asyncio.TimerHandle | None = None


class Turns:
    """Lets `slots` runs go on at once; the groups that wait take turns, whatever each has queued.

    A run that is long steps aside, so that a few endless programs do not keep all others waiting for their CPU limits:
    it goes on and holds no slot any more. At most `most_aside` runs are aside; the longest come first.
    """

    def __init__(self, slots: int, queue_limit: int) -> None:
        self.slots = slots
        self.most_aside = most_aside(slots, patient=False)
        self.busy = 0
        """Slots that are taken."""
        self.aside = 0
        """Runs that go on without one."""
        self.depth = 0
        self._queue_limit = queue_limit
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._long: deque[Turn] = deque()
        """Runs that would step aside if there were room."""

    async def take(self, group: str) -> Turn:
        """Wait for a slot. Raises ExecutorBusy at once if the queue is full."""
        await self._wait(group)
        turn = Turn()
        turn.timer = asyncio.get_running_loop().call_later(LONG_SECONDS, self._is_long, turn)
        return turn

    def _is_long(self, turn: Turn) -> None:
        self._long.append(turn)
        self._make_way()
        self._tell(turn)

    def _tell(self, turn: Turn) -> None:
        turn.on_long()
        turn.timer = asyncio.get_running_loop().call_later(LONG_SECONDS, self._tell, turn)

    def _make_way(self) -> None:
        """Let the longest runs step aside, and others have their slots."""
        while self._long and self.aside < self.most_aside:
            self._long.popleft().aside = True
            self.aside += 1
            self.busy -= 1
        self._next()

    async def _wait(self, group: str) -> None:
        if self.busy < self.slots and not self.depth:
            self.busy += 1
            return
        if self.depth >= self._queue_limit:
            raise ExecutorBusy(f"{self.depth} programs wait already: slow down, or raise queue_limit")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(group, deque()).append(turn)
        self.depth += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.busy -= 1
                self._next()
            else:
                self._forget(group, turn)
            raise

    def _forget(self, group: str, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(group)
        if queue is None or turn not in queue:
            return  # give() came upon it first
        queue.remove(turn)
        self.depth -= 1
        if not queue:
            del self._queues[group]

    def give(self, turn: Turn) -> None:
        """The run is over: its slot goes to the next group in turn."""
        assert turn.timer is not None
        turn.timer.cancel()
        if turn.aside:
            self.aside -= 1
        else:
            self.busy -= 1
            if turn in self._long:
                self._long.remove(turn)
        self._make_way()

    def _next(self) -> None:
        while self._queues and self.busy < self.slots:
            group, queue = next(iter(self._queues.items()))
            turn = queue.popleft()
            self.depth -= 1
            del self._queues[group]
            if queue:
                self._queues[group] = queue
            if not turn.done():
                self.busy += 1
                turn.set_result(None)


class Pool:
    """Warm jails. A jail leaves it once, by `jail()`, and ends once, by `dispose()`."""

    def __init__(self, config: ExecutorConfig, maker: Maker, homes: Homes) -> None:
        self._config = config
        self.maker = maker
        self._homes = homes
        self._ready: deque[Jail] = deque()
        self._waiting: deque[asyncio.Future[Jail]] = deque()
        self._starts: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.Task[None]] = set()
        self._live: set[Jail] = set()
        self._closed = False
        self._failing = False
        """Whether the last start failed."""
        self._counters = Counters()

    def counters(self) -> Counters:
        """A snapshot."""
        return replace(
            self._counters,
            idle=len(self._ready),
            starting=len(self._starts),
            live=len(self._live),
            kill_alarms=self._counters.kill_alarms + self.maker.kill_alarms,
        )

    @property
    def unsettled(self) -> bool:
        """Whether a jail is being started or ended."""
        return bool(self._starts or self._ends)

    def fill(self) -> None:
        """Start jails until enough are warm or on their way.

        Starts compete with running programs: there are no more at a time than cores, and one while some are warm.
        """
        if self._closed:
            return
        wanted = self._config.effective_warm + len(self._waiting) - len(self._ready)
        most = _MOST_STARTS if len(self._ready) < _MOST_STARTS else 1
        for _ in range(min(wanted, most) - len(self._starts)):
            task = asyncio.create_task(self._start())
            self._starts.add(task)
            task.add_done_callback(self._started)

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starts.discard(task)
        # After a failure only those who wait get another start: a machine that can start none must not spin.
        if not task.cancelled() and (self._waiting or not self._failing):
            self.fill()

    async def jail(self) -> Jail:
        """A jail of one's own: a warm one, or the next that is ready. Raises JailError, ExecutorClosed."""
        if self._closed:
            raise ExecutorClosed("the executor is closed")
        while self._ready:
            jail = self._ready.popleft()
            if not jail.lost and self.maker.usable(jail.home):
                return jail
            self.dispose(jail)
        waiter: asyncio.Future[Jail] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self.fill()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._offer(waiter.result())
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
            raise

    def _offer(self, jail: Jail) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(jail)
                return
        self._ready.append(jail)

    def _refuse(self, error: Exception) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error)
                return

    async def _start(self) -> None:
        jail: Jail | None = None
        try:
            jail = Jail(self._homes.take())
            self._live.add(jail)
            # What most programs ask for, so that most find nothing to change.
            jail.group.limit(_WAITING.memory_bytes, _WAITING.processes + self.maker.keepers)
            await jail.start(self.maker, self._config.start_seconds)
        except (JailError, OSError) as error:
            self._counters.start_failures += 1
            self._failing = True
            _log.warning("a jail did not start: %s", error)
            if jail is not None:
                self.dispose(jail)
            self._refuse(error if isinstance(error, JailError) else JailError(f"a jail could not be made: {error}"))
        except asyncio.CancelledError:
            if jail is not None:
                self.dispose(jail)
            raise
        else:
            self._counters.jails_started += 1
            self._failing = False
            if self._closed:
                self.dispose(jail)
            else:
                self._offer(jail)

    def dispose(self, jail: Jail) -> asyncio.Task[None]:
        """End a jail for good, once. The result is there when nothing of it is left, or when the alarm was raised."""
        if jail.end is None:
            jail.end = asyncio.create_task(self._end(jail))
            self._ends.add(jail.end)
            jail.end.add_done_callback(self._ends.discard)
        return jail.end

    async def _end(self, jail: Jail) -> None:
        started = time.monotonic()
        if not await jail.kill():
            _log.error("jail %d was not empty %.1f s after its kill", jail.home.number, time.monotonic() - started)
            self._counters.kill_alarms += 1
            return
        self.maker.gone(jail.home)
        self._homes.give_back(jail.home)
        self._live.discard(jail)

    async def close(self) -> None:
        """End all jails, warm ones and those that are being ended."""
        self._closed = True
        starts = list(self._starts)
        for task in starts:
            task.cancel()
        await asyncio.gather(*starts, return_exceptions=True)
        while self._waiting:
            self._refuse(ExecutorClosed("the executor is closed"))
        for jail in list(self._live):
            self.dispose(jail)
        await asyncio.gather(*self._ends)
        await self.maker.close()
