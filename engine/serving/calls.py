"""Calls that work for somebody right now, and how the front ends them when it drains, or one caller's alone.

gRPC's `server.stop` does not wait for what handlers do in `finally`, so the front keeps its own register.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from engine.serving.callers import current_caller
from engine.solving.errors import Unavailable

_RETRY_ELSEWHERE = 1.0


def draining() -> Unavailable:
    """The error of a server that stops."""
    return Unavailable("DRAINING", "this server is stopping; ask another one", _RETRY_ELSEWHERE)


class LiveCalls:
    """A register of calls. `closing` is set once the server takes no more."""

    def __init__(self) -> None:
        self.closing = asyncio.Event()
        self._ends: dict[asyncio.Timeout, str] = {}
        self._reasons: dict[asyncio.Timeout, Exception] = {}
        self._none_left = asyncio.Event()
        self._none_left.set()

    def __len__(self) -> int:
        return len(self._ends)

    @asynccontextmanager
    async def one(self) -> AsyncGenerator[None]:
        """Around the work of one call. Raises Unavailable when draining, also for a call that `end_all` ended, and what
        `end_those` was told."""
        if self.closing.is_set():
            raise draining()
        end = asyncio.timeout(None)
        try:
            async with end:
                self._ends[end] = current_caller().key
                self._none_left.clear()
                yield
        except TimeoutError:
            if end.expired():
                raise self._reasons.pop(end, None) or draining() from None
            raise
        finally:
            self._ends.pop(end, None)
            self._reasons.pop(end, None)
            if not self._ends:
                self._none_left.set()

    async def wait(self, seconds: float) -> bool:
        """Wait until no call is left; False if some still are after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._none_left.wait()
        except TimeoutError:
            return False
        return True

    def end_all(self) -> None:
        """Cancel the work of every call; each then ends with UNAVAILABLE."""
        for end in self._ends:
            _expire(end)

    def end_those(self, reasons: Mapping[str, Exception]) -> None:
        """Cancel the work of some callers' calls, by their keys; each ends with its caller's error."""
        for end, key in self._ends.items():
            if key in reasons:
                self._reasons[end] = reasons[key]
                _expire(end)


def _expire(end: asyncio.Timeout) -> None:
    if not end.expired():
        end.reschedule(asyncio.get_running_loop().time())
