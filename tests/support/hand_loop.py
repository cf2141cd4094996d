"""An event loop that a test turns by hand."""

import asyncio
import selectors
from collections.abc import Callable
from contextvars import Context
from typing import Any


class _Deaf(selectors.SelectSelector):
    """Nothing comes from outside."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []


class HandLoop(asyncio.SelectorEventLoop):
    """No socket is read and no timer goes off by itself: what happens, and when, is the test's to say."""

    def __init__(self) -> None:
        self._set: list[asyncio.TimerHandle] = []
        self.now = 1000.0
        super().__init__(_Deaf())

    def time(self) -> float:
        return self.now

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._set.append(timer)
        return timer

    def settle(self) -> None:
        """Run until nothing is left to do."""
        self.call_soon(self._leave)
        self.run_forever()

    def _leave(self) -> None:
        ready: Any = self._ready  # type: ignore[attr-defined]  # what asyncio itself asks to see whether there is work
        if ready:
            self.call_soon(self._leave)
        else:
            self.stop()

    @property
    def timers(self) -> list[asyncio.TimerHandle]:
        """Those that could go off, the oldest first."""
        self._set = [timer for timer in self._set if not timer.cancelled()]
        return self._set

    def timer_for(self, *args: object) -> asyncio.TimerHandle | None:
        """The timer whose callback gets these arguments, if there is one."""
        return next((timer for timer in self.timers if timer._args == args), None)  # type: ignore[attr-defined]

    def fire(self, timer: asyncio.TimerHandle) -> None:
        """Have a timer go off."""
        self._set.remove(timer)
        timer._run()  # type: ignore[attr-defined]
