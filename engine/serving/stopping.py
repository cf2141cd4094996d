"""How a server stops: in order, each stage bounded, and gone in the end whatever hangs.

The order: health NOT_SERVING, no new calls, live ones finish or end after the drain time, gRPC stops, the solver closes
(jails first, then the engine) while the last recordings are written.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from typing import Any

from engine.logs import get_logger
from engine.serving.backend import SolverLike
from engine.serving.front import Front

EXIT_FAILED = 3

# Together below the 10 seconds that a server may take after its drain time.
_END_SECONDS = 3.0  # for the solver to end what the drain has not
_HANDLER_SECONDS = 0.5
_GRPC_GRACE = 0.3
_GRPC_SECONDS = 1.0
_CLOSE_SECONDS = 5.0
_SLACK = 0.2

_log = get_logger(__name__)


class Stopping:
    """One stop. `clean` tells in the end whether every stage kept its time."""

    def __init__(self, front: Front, solver: SolverLike) -> None:
        self.clean = True
        self._front = front
        self._solver = solver

    async def drain(self, seconds: float, at_once: asyncio.Event) -> None:
        """Refuse new calls, and wait up to `seconds` for live ones; `at_once` ends the wait."""
        await self._front.refuse_new()
        _log.info("draining", seconds=seconds, calls=len(self._front.calls))
        with _leaving_after(seconds + _END_SECONDS + _SLACK):
            work = asyncio.create_task(self._bounded("drain", self._drained(seconds), seconds + _END_SECONDS))
            hurry = asyncio.create_task(at_once.wait())
            await asyncio.wait([work, hurry], return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()
        if not work.done():
            with _leaving_after(_END_SECONDS + _SLACK):
                work.cancel()
                await asyncio.wait([work])
                await self._bounded("drain at once", self._drained(0), _END_SECONDS)

    async def close(self) -> None:
        """End what is left of the calls, stop gRPC, close the solver and the recorder."""
        with _leaving_after(_HANDLER_SECONDS + _GRPC_SECONDS + _CLOSE_SECONDS + _SLACK):
            await self._front.refuse_new()
            self._front.calls.end_all()
            if not await self._front.calls.wait(_HANDLER_SECONDS):
                _log.error("calls did not end", calls=len(self._front.calls))
                self.clean = False
            await self._bounded("gRPC", self._front.stop(_GRPC_GRACE), _GRPC_SECONDS)
            # A disk may be slower than all of gRPC's part.
            await asyncio.gather(
                self._bounded("solver", self._solver.close(), _CLOSE_SECONDS),
                self._bounded("recordings", self._front.recorded(), _CLOSE_SECONDS),
            )

    async def _drained(self, seconds: float) -> None:
        await asyncio.gather(self._solver.drain(seconds), self._front.calls.wait(seconds))

    async def _bounded(self, stage: str, work: Coroutine[Any, Any, None], seconds: float) -> None:
        """Run one stage. What goes wrong in it is logged, and must not keep the later ones from running."""
        try:
            async with asyncio.timeout(seconds):
                await work
        except TimeoutError:
            _log.error("a stage of the stop took too long", stage=stage, seconds=seconds)
            self.clean = False
        except Exception:
            _log.exception("a stage of the stop failed", stage=stage)
            self.clean = False


@contextmanager
def _leaving_after(seconds: float) -> Generator[None]:
    """Leave the process if the block takes longer: a thread, since the event loop itself may be what hangs."""
    timer = threading.Timer(seconds, _leave, (seconds,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def leave_after(seconds: float) -> None:
    """Leave the process in `seconds` if it still lives then. For the last moments, when nothing is left to save."""
    timer = threading.Timer(seconds, _leave, (seconds,))
    timer.daemon = True
    timer.start()


def _leave(seconds: float) -> None:
    # What hangs may be standard error itself, so the line gets a thread and a moment.
    line = threading.Thread(target=_log.error, args=("the stop hangs; leaving at once",), kwargs={"seconds": seconds})
    line.daemon = True
    line.start()
    line.join(0.5)
    os._exit(EXIT_FAILED)
