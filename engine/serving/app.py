"""One server's life: bind, start the solver, serve until told to stop, stop."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

import uvloop

from engine.config import Settings
from engine.config_base import ConfigError
from engine.logs import get_logger
from engine.metrics import Metrics
from engine.serving.backend import SolverLike
from engine.serving.front import Front
from engine.serving.stopping import EXIT_FAILED, Stopping, leave_after

EXIT_OK = 0
EXIT_USAGE = 2

# grpc.aio's poller thread has kept interpreters from ending (grpc/grpc PR #40989); by then all is closed.
_INTERPRETER_SECONDS = 2.0
_CANCEL_SECONDS = 2.0

SolverFactory = Callable[[Settings, Metrics], SolverLike]
_log = get_logger(__name__)


def run(settings: Settings, solver_factory: SolverFactory) -> int:
    """Serve on a uvloop of its own until SIGTERM or SIGINT; returns the exit code."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(serve(settings, solver_factory))
        leave_after(_INTERPRETER_SECONDS)
    return code


async def serve(settings: Settings, solver_factory: SolverFactory) -> int:
    """Serve until SIGTERM or SIGINT; a second signal cuts the drain short.

    Returns 0 after a clean stop on request, 2 for settings that cannot be served, 3 for anything else. A solver whose
    engine dies later restarts it by itself; meanwhile health says NOT_SERVING.
    """
    metrics = Metrics()
    async with _signals() as signals:
        try:
            solver = solver_factory(settings, metrics)
            front = Front(settings, solver, metrics)
            await front.start()
            signals.on_hangup(front.reload)
        except ConfigError as error:
            _log.error("cannot serve", error=str(error))
            return EXIT_USAGE
        stopping = Stopping(front, solver)
        if await _started(solver, metrics, signals):
            await signals.one.wait()
            await stopping.drain(settings.serving.drain_seconds, signals.two)
        await stopping.close()
    _log.info("stopped", clean=stopping.clean)
    return EXIT_OK if signals.one.is_set() and stopping.clean else EXIT_FAILED


class _Signals:
    """SIGTERM and SIGINT as events: `one` at the first, `two` at the second. SIGHUP reads files again."""

    def __init__(self) -> None:
        self.one = asyncio.Event()
        self.two = asyncio.Event()

    def count(self, name: str) -> None:
        _log.info("signal", signal=name, draining=not self.one.is_set())
        (self.two if self.one.is_set() else self.one).set()

    def on_hangup(self, reload: Callable[[], None]) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)


@asynccontextmanager
async def _signals() -> AsyncGenerator[_Signals]:
    loop = asyncio.get_running_loop()
    signals = _Signals()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.count, number.name)
    try:
        yield signals
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


async def _started(solver: SolverLike, metrics: Metrics, signals: _Signals) -> bool:
    """Start the solver; False if it failed or a signal came first."""
    start = asyncio.create_task(solver.start())
    interrupted = asyncio.create_task(signals.one.wait())
    await asyncio.wait([start, interrupted], return_when=asyncio.FIRST_COMPLETED)
    interrupted.cancel()
    if not start.done():
        start.cancel()
        await asyncio.wait([start], timeout=_CANCEL_SECONDS)
        return False
    if (error := start.exception()) is not None:
        # Errors of our own say what is missing and the way out; a traceback would bury that.
        foreseen = type(error).__module__.startswith(("engine.", "executor."))
        _log.error("the solver did not start", error=str(error), exc_info=None if foreseen else error)
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
