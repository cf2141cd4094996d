"""The timers of a solve: what can go off, and when."""

import asyncio
from collections.abc import Callable
from enum import Enum

GRACE_SECONDS = 2.5
"""What engine and sandbox get to end a solve, many times a step; after that it ends without their last word."""


class Timer(Enum):
    """What can go off."""

    DEADLINE = "deadline"
    BUDGET = "budget"
    DRAIN = "drain"
    CUT = "cut"
    """Somebody else has solved it."""
    LEFT = "left"
    """Its caller wants no more of it than its account."""
    GRACE = "grace"


class Timers:
    """`ring` is called with each timer that goes off."""

    def __init__(self, ring: Callable[[Timer], None]) -> None:
        self._ring = ring
        self._set: list[asyncio.TimerHandle] = []

    def start(self, timer: Timer, seconds: float) -> None:
        """Have a timer go off in so many seconds, at once if they are negative."""
        self._set.append(asyncio.get_running_loop().call_later(max(seconds, 0.0), self._ring, timer))

    def stop(self) -> None:
        """None of them goes off any more."""
        for timer in self._set:
            timer.cancel()
        self._set.clear()
