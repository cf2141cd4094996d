"""One server's life: serve until told to stop, then drain in order.

The order: health NOT_SERVING, no new calls, live ones finish or end after `serving.drain_seconds`, gRPC stops, then the
solver closes (jails first, then the engine). A second signal ends the wait. After the drain the process is gone within
10 seconds, whatever hangs.
"""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import uvloop

from engine.config import ConfigError, Settings
from engine.logs import get_logger
from engine.metrics import Metrics
from engine.serving.backend import SolverLike
from engine.serving.front import Front

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_FAILED = 3

# Together below the 10 seconds that a stopped server may take.
_HANDLER_SECONDS = 1.5
_GRPC_GRACE = 0.5
_CLOSE_SECONDS = 6.0
_WATCHDOG_SECONDS = 9.5

SolverFactory = Callable[[Settings, Metrics], SolverLike]
_log = get_logger(__name__)


def run(settings: Settings, solver_factory: SolverFactory) -> int:
    """Serve on a uvloop of its own until SIGTERM or SIGINT; returns the exit code."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(settings, solver_factory))


async def serve(settings: Settings, solver_factory: SolverFactory) -> int:
    """Serve until SIGTERM or SIGINT, or until the solver fails. Returns 0, 2 (bad settings) or 3 (solver failed)."""
    metrics = Metrics()
    solver = solver_factory(settings, metrics)
    front = Front(settings, solver, metrics)
    async with _signals() as signals:
        try:
            await front.start()
        except ConfigError as error:
            _log.error("cannot serve", error=str(error))
            return EXIT_USAGE
        started = await _started(solver, metrics, signals)
        if started and not await _first(signals.one, front.failed):
            _log.error("the solver failed for good; stopping")
        asked_to_stop = signals.one.is_set()
        await _stop(front, solver, settings.serving.drain_seconds if started and asked_to_stop else 0.0, signals)
    return EXIT_OK if asked_to_stop else EXIT_FAILED


class _Signals:
    """SIGTERM and SIGINT as events: `one` at the first, `two` at the second."""

    def __init__(self) -> None:
        self.one = asyncio.Event()
        self.two = asyncio.Event()

    def count(self, name: str) -> None:
        _log.info("signal", signal=name, draining=not self.one.is_set())
        (self.two if self.one.is_set() else self.one).set()


@asynccontextmanager
async def _signals() -> AsyncGenerator[_Signals]:
    loop = asyncio.get_running_loop()
    signals = _Signals()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.count, number.name)
    try:
        yield signals
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _first(event: asyncio.Event, other: asyncio.Event) -> bool:
    """Wait for either; whether it was `event`."""
    waits = [asyncio.create_task(event.wait()), asyncio.create_task(other.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    return event.is_set()


async def _started(solver: SolverLike, metrics: Metrics, signals: _Signals) -> bool:
    """Start the solver; False if it failed or a signal came first."""
    start = asyncio.create_task(solver.start())
    interrupted = asyncio.create_task(signals.one.wait())
    await asyncio.wait([start, interrupted], return_when=asyncio.FIRST_COMPLETED)
    interrupted.cancel()
    if not start.done():
        start.cancel()
        await asyncio.wait([start])
        return False
    if (error := start.exception()) is not None:
        _log.error("the solver did not start", error=str(error), exc_info=error)
        return False
    models = solver.models()
    metrics.serve_models(model.name for model in models)
    metrics.build(
        version=_version("thresher"),
        torch=_version("torch"),
        triton=_version("triton"),
        device=models[0].device if models else "",
    )
    _log.info("ready", models=[model.name for model in models])
    return True


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


async def _stop(front: Front, solver: SolverLike, drain_seconds: float, signals: _Signals) -> None:
    await front.refuse_new()
    _log.info("draining", seconds=drain_seconds, calls=len(front.calls))
    work = asyncio.create_task(_drained(front, solver, drain_seconds))
    now = asyncio.create_task(signals.two.wait())
    await asyncio.wait([work, now], return_when=asyncio.FIRST_COMPLETED)
    now.cancel()
    watchdog = threading.Timer(_WATCHDOG_SECONDS, _leave_at_once)
    watchdog.daemon = True
    watchdog.start()
    if not work.done():
        work.cancel()
        await asyncio.wait([work])
        await _bounded("drain", _drained(front, solver, 0.0), _HANDLER_SECONDS)
    elif (error := work.exception()) is not None:
        _log.error("drain failed", exc_info=error)
    front.calls.end_all()
    if not await front.calls.wait(_HANDLER_SECONDS):
        _log.error("calls did not end", calls=len(front.calls))
    await front.stop(_GRPC_GRACE)
    await _bounded("close", solver.close(), _CLOSE_SECONDS)
    watchdog.cancel()
    _log.info("stopped")


async def _drained(front: Front, solver: SolverLike, seconds: float) -> None:
    await asyncio.gather(solver.drain(seconds), front.calls.wait(seconds))


async def _bounded(stage: str, work: Coroutine[Any, Any, None], seconds: float) -> None:
    """Run one stage of the stop. What goes wrong in it is logged, and must not keep the later ones from running."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except TimeoutError:
        _log.error("a stage of the stop took too long", stage=stage, seconds=seconds)
    except Exception:
        _log.exception("a stage of the stop failed", stage=stage)


def _leave_at_once() -> None:
    _log.error("the stop hangs; leaving at once", seconds=_WATCHDOG_SECONDS)
    os._exit(EXIT_FAILED)
