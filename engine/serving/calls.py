"""Calls that work for somebody right now, and how the front ends them when it drains.

gRPC's `server.stop` does not wait for what handlers do in `finally`, so the front keeps its own register.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from engine.solving.errors import Unavailable

_RETRY_ELSEWHERE = 1.0


def draining() -> Unavailable:
    """The error of a server that stops."""
    return Unavailable("DRAINING", "this server is stopping; ask another one", _RETRY_ELSEWHERE)


class LiveCalls:
    """A register of calls. `closing` is set once the server takes no more."""

    def __init__(self) -> None:
        self.closing = asyncio.Event()
        self._ends: set[asyncio.Timeout] = set()
        self._none_left = asyncio.Event()
        self._none_left.set()

    def __len__(self) -> int:
        return len(self._ends)

    @asynccontextmanager
    async def one(self) -> AsyncGenerator[None]:
        """Around the work of one call. Raises Unavailable when draining, also for a call that `end_all` ended."""
        if self.closing.is_set():
            raise draining()
        end = asyncio.timeout(None)
        try:
            async with end:
                self._ends.add(end)
                self._none_left.clear()
                yield
        except TimeoutError:
            if end.expired():
                raise draining() from None
            raise
        finally:
            self._ends.discard(end)
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
        now = asyncio.get_running_loop().time()
        for end in self._ends:
            if not end.expired():
                end.reschedule(now)
