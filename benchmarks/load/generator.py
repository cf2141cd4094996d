"""Makes the calls: open loop (each when it is due, whatever became of the others) or closed loop (so many users).

Latencies count from when a call was due. In an open loop a call has a task of its own, so that none waits for another;
how late the generator itself was is kept beside them. Users of a closed loop wait for their answers, so a slow server
is asked less often: its percentiles are those of users who do so, not of a stream of callers who come anyway
(coordinated omission: Tene 2013, "How NOT to measure latency").
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

from thresher.client import AsyncClient

from benchmarks.load.arrivals import Call, Chooser
from benchmarks.load.calls import FAILED, Answer, solve
from benchmarks.load.mix import Mix

_PAUSE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The server: an address as `AsyncClient` takes it, and the token of TCP ones."""

    address: str
    token: str | None = None


class Generator:
    """Use it as an async context manager, for one run.

    name: first part of every request_id, unique among all that ask this server. on_answer hears of each end. `made`:
    calls so far.
    """

    def __init__(self, target: Target, mix: Mix, name: str, on_answer: Callable[[Answer], None]) -> None:
        self.made = 0
        self._target = target
        self._mix = mix
        self._name = name
        self._on_answer = on_answer
        self._held = AsyncExitStack()
        self._clients: dict[tuple[int, int], AsyncClient] = {}
        self._began = 0.0

    async def __aenter__(self) -> Self:
        for number, entry in enumerate(self._mix.entries):
            for client in range(entry.clients):
                # The server divides its time by these names.
                named = AsyncClient(self._target.address, token=self._target.token, name=f"{entry.name}-{client}")
                self._clients[number, client] = await self._held.enter_async_context(named)
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._held.aclose()

    @property
    def now(self) -> float:
        """Seconds since the run's beginning."""
        return time.monotonic() - self._began

    async def open(self, calls: Iterable[Call], patience: float) -> None:
        """Make each call when it is due; then wait for the last ones, up to `patience` seconds, and give them up."""
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            live: set[asyncio.Task[Any]] = set()
            for call in calls:
                if (early := call.due - self.now) > 0:
                    await asyncio.sleep(early)
                task = group.create_task(self._one(call))
                live.add(task)
                task.add_done_callback(live.discard)
            await _give_up(live, patience)

    async def closed(self, users: int, think: float, seconds: float, chooser: Chooser, patience: float) -> None:
        """So many users for so long: each asks again `think` seconds after its answer, and that is when it is due.

        After a call that failed a user waits a second at least: a server that refuses is not asked in a tight loop.
        """
        self._began = time.monotonic()

        async def user() -> None:
            due = 0.0
            while due < seconds:
                if (early := due - self.now) > 0:
                    await asyncio.sleep(early)
                answer = await self._one(chooser.call(due))
                due = self.now + (max(think, _PAUSE) if answer.end == FAILED else think)

        async with asyncio.TaskGroup() as group:
            live: set[asyncio.Task[Any]] = {group.create_task(user()) for _ in range(users)}
            await _give_up(live, seconds + patience)

    async def _one(self, call: Call) -> Answer:
        self.made += 1
        entry = self._mix.entries[call.entry]
        client = self._clients[call.entry, call.client]
        told: list[Answer] = []

        def tell(answer: Answer) -> None:
            told.append(answer)
            self._on_answer(answer)

        await solve(client, entry, call, f"{self._name}-{call.place}", lambda: self.now, tell)
        return told[0]


async def _give_up(tasks: set[asyncio.Task[Any]], patience: float) -> None:
    """Wait for tasks for so long, then cancel those that are left."""
    if left := set(tasks):
        await asyncio.wait(left, timeout=patience)
    for task in left:
        task.cancel()
