"""Jails ready to be used, and whose turn it is: warm jails, slots, the fair queue. Knows nothing of tests."""

import asyncio
import logging
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from executor.cgroup import Forest, Group
from executor.config import ExecutorConfig
from executor.errors import ExecutorBusy, ExecutorClosed, JailError
from executor.jail import Jail, Spawner
from executor.policy import INSIDE_ID
from executor.types import Limits

_log = logging.getLogger(__name__)

_UID_BASE = 1_000_000_000
JAILS_PER_PROCESS = 256
_WAITING = Limits()
_free_numbers = deque(range(JAILS_PER_PROCESS))


@dataclass(slots=True)
class Counters:
    """What happened so far."""

    jails_started: int = 0
    start_failures: int = 0
    kill_alarms: int = 0
    leaked_cgroups: int = 0


class Turns:
    """Lets `slots` runs go on at once; the groups that wait take turns, whatever each has queued."""

    def __init__(self, slots: int, queue_limit: int) -> None:
        self.slots = slots
        self.busy = 0
        self.depth = 0
        self._queue_limit = queue_limit
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self, group: str) -> None:
        """Wait for a slot. Raises ExecutorBusy at once if the queue is full."""
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
                self.give()
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

    def give(self) -> None:
        """Give the slot to the next group in turn."""
        self.busy -= 1
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


class Identities:
    """Outside users for jails: one each when root, the own one otherwise."""

    def __init__(self) -> None:
        self.shared = os.geteuid() != 0
        self._base = _UID_BASE + os.getpid() * JAILS_PER_PROCESS
        if not self.shared:
            end = _mapped_end()
            if end < self._base + JAILS_PER_PROCESS:
                # A container with few users: the last ones of its range.
                self._base = end - JAILS_PER_PROCESS
                self.shared = self._base < 1000

    def of(self, number: int) -> tuple[str, str]:
        """The user map and the group map of jail `number`, as nsjail takes them."""
        if self.shared:
            return f"{INSIDE_ID}:{os.geteuid()}:1", f"{INSIDE_ID}:{os.getegid()}:1"
        mapping = f"{INSIDE_ID}:{self._base + number}:1"
        return mapping, mapping


def _mapped_end() -> int:
    with open("/proc/self/uid_map") as file:
        return max(int(line.split()[0]) + int(line.split()[2]) for line in file)


class Pool:
    """Warm jails. A jail leaves it once, by `jail()`, and ends once, by `dispose()`."""

    def __init__(self, config: ExecutorConfig, spawner: Spawner, forest: Forest, identities: Identities) -> None:
        self._config = config
        self._spawner = spawner
        self._forest = forest
        self._identities = identities
        self._ready: deque[Jail] = deque()
        self._waiting: deque[asyncio.Future[Jail]] = deque()
        self._starts: set[asyncio.Task[None]] = set()
        self._ends: set[asyncio.Task[None]] = set()
        self._live: set[Jail] = set()
        self._homes: deque[tuple[int, Group]] = deque()
        """Numbers (outside users) and groups of jails that are gone, for jails to come."""
        self._closed = False
        self.counters = Counters()

    @property
    def idle(self) -> int:
        """Warm jails."""
        return len(self._ready)

    @property
    def starting(self) -> int:
        """Jails on their way."""
        return len(self._starts)

    @property
    def live(self) -> int:
        """Jails that are not known to be gone."""
        return len(self._live)

    def fill(self) -> None:
        """Start jails until enough are warm or on their way."""
        if self._closed:
            return
        wanted = self._config.effective_warm + len(self._waiting)
        for _ in range(wanted - len(self._ready) - len(self._starts)):
            task = asyncio.create_task(self._start())
            self._starts.add(task)
            task.add_done_callback(self._starts.discard)

    async def jail(self) -> Jail:
        """A jail of one's own: a warm one, or the next that is ready. Raises JailError, ExecutorClosed."""
        if self._closed:
            raise ExecutorClosed("the executor is closed")
        while self._ready:
            jail = self._ready.popleft()
            if not jail.lost:
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
            jail = self._make()
            # What most programs ask for, so that most find nothing to change.
            jail.group.limit(_WAITING.memory_bytes, _WAITING.processes + 2)
            await jail.start(self._spawner, self._identities.of(jail.number), self._config.start_seconds)
        except (JailError, OSError) as error:
            self.counters.start_failures += 1
            _log.warning("a jail did not start: %s", error)
            if jail is not None:
                self.dispose(jail)
            self._refuse(error if isinstance(error, JailError) else JailError(f"a jail could not be made: {error}"))
        except asyncio.CancelledError:
            if jail is not None:
                self.dispose(jail)
            raise
        else:
            self.counters.jails_started += 1
            if self._closed:
                self.dispose(jail)
            else:
                self._offer(jail)

    def _make(self) -> Jail:
        if self._homes:
            home = self._homes.popleft()
        else:
            if not _free_numbers:
                raise JailError(f"{JAILS_PER_PROCESS} jails are live in this process: lower slots or warm")
            number = _free_numbers.popleft()
            try:
                home = number, self._forest.group(f"j{number}")
            except OSError:
                _free_numbers.append(number)
                raise
        jail = Jail(*home)
        self._live.add(jail)
        return jail

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
            self.counters.kill_alarms += 1
            _log.error("jail %d is not empty %.1f s after its kill", jail.number, time.monotonic() - started)
            return
        jail.group.renew()
        # The oldest goes last, so that a user id rests as long as can be.
        self._homes.append((jail.number, jail.group))
        self._live.discard(jail)

    async def _remove_homes(self) -> None:
        """Remove the groups and give the numbers back. A group that cannot be removed is counted, its number kept."""
        for number, group in self._homes:
            # A v1 hierarchy may take a moment to notice that its last process is gone.
            for pause in (0.001, 0.005, 0.02, 0.1, 0.5, None):
                try:
                    group.remove()
                except OSError as error:
                    if pause is None:
                        self.counters.leaked_cgroups += 1
                        _log.error("a control group could not be removed: %s", error)
                        break
                    await asyncio.sleep(pause)
                else:
                    _free_numbers.append(number)
                    break
        self._homes.clear()

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
        await self._remove_homes()

    async def settled(self, done: Callable[[], bool]) -> None:
        """Wait until nothing is being started or ended and `done()`."""
        while self._starts or self._ends or not done():  # noqa: ASYNC110 (of three kinds of things, and only for tests)
            await asyncio.sleep(0.001)
