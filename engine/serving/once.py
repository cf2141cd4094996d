"""SolveOnce by request id: whoever asks again while the solve runs, or shortly after, has its one answer.

A client whose connection breaks asks again with the same id. The server sees the first call cancelled, which is what a
caller who has lost interest looks like as well: so such a solve goes on for a few seconds before it is ended.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from thresher.v1 import synthesis_service_pb2

from engine.solving.errors import DeadlineExceeded, InvalidRequest

_LINGER_SECONDS = 3.0
"""Longer than the pauses of the clients' retries, which are 2 s at most."""
_KEPT_SECONDS = 60.0
_MOST_KEPT_BYTES = 64 << 20
_ENTRY_BYTES = 4096
"""What an answer is taken to cost beside its own length: a task, a timer, keys."""

Answer = synthesis_service_pb2.SolveOnceResponse
Key = tuple[str, str]
"""The caller's key and its request id: nobody comes upon another one's solve."""


@dataclass(slots=True, eq=False)
class _Running:
    digest: bytes
    task: asyncio.Task[Answer]
    waiting: int = 0
    timer: asyncio.TimerHandle | None = field(default=None)

    def at(self, seconds: float, act: Callable[[], object]) -> None:
        self.keep()
        self.timer = asyncio.get_running_loop().call_later(seconds, act)

    def keep(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class SharedSolves:
    """Solves that several calls may wait for. Answers are kept for a minute; all of them have 64 MiB at most."""

    def __init__(self, *, linger_seconds: float = _LINGER_SECONDS, kept_seconds: float = _KEPT_SECONDS) -> None:
        self._linger = linger_seconds
        self._kept = kept_seconds
        self._solves: dict[Key, _Running] = {}
        self._sizes: dict[Key, int] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self._solves)

    async def answer(self, key: Key, digest: bytes, solve: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of the solve under this key; `solve` makes it where there is none.

        `digest` is of the whole request. Raises InvalidRequest for another request under an id that is in use, and what
        the solve raises.
        """
        while True:
            running, joined = self._solves.get(key), True
            if running is None:
                running, joined = self._begin(key, digest, solve), False
            if running.digest != digest:
                raise InvalidRequest(
                    "spec.request_id",
                    "is that of another request of yours; choose a new one",
                    reason="REQUEST_ID_IN_USE",
                )
            try:
                return await self._wait(key, running)
            except DeadlineExceeded:
                # That of the call that began it. This one still has time, or it would have been cancelled.
                if not joined:
                    raise

    async def close(self) -> None:
        """End whatever is left."""
        solves, self._solves = self._solves, {}
        for running in solves.values():
            running.keep()
            running.task.cancel()
        if solves:
            await asyncio.wait([running.task for running in solves.values()])

    def _begin(self, key: Key, digest: bytes, solve: Callable[[], Awaitable[Answer]]) -> _Running:
        async def work() -> Answer:
            return await solve()

        running = _Running(digest, asyncio.create_task(work()))
        self._solves[key] = running
        running.task.add_done_callback(lambda task: self._ended(key, running, task))
        return running

    async def _wait(self, key: Key, running: _Running) -> Answer:
        running.waiting += 1
        if not running.task.done():
            running.keep()
        try:
            return await asyncio.shield(running.task)
        finally:
            running.waiting -= 1
            if not running.waiting and not running.task.done():
                running.at(self._linger, lambda: self._drop(key, running))

    def _ended(self, key: Key, running: _Running, task: asyncio.Task[Answer]) -> None:
        running.keep()
        if self._solves.get(key) is not running:
            return
        # Asking for the exception also marks it as seen: there may be nobody left to tell.
        if task.cancelled() or task.exception() is not None:
            del self._solves[key]
            return
        running.at(self._kept, lambda: self._drop(key, running))
        self._sizes[key] = task.result().ByteSize() + _ENTRY_BYTES
        self._size += self._sizes[key]
        while self._size > _MOST_KEPT_BYTES:
            oldest = next(iter(self._sizes))
            self._drop(oldest, self._solves[oldest])

    def _drop(self, key: Key, running: _Running) -> None:
        running.keep()
        running.task.cancel()
        if self._solves.get(key) is running:
            del self._solves[key]
            self._size -= self._sizes.pop(key, 0)
