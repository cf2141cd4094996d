"""A server that only runs programs: no model, no engine process. For machines that lend their CPUs to another one."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from engine.config import Settings
from engine.config_base import ConfigError
from engine.metrics import Metrics
from engine.solving.backing import OwnedExecutor, local_executor, watch_executor
from engine.solving.errors import Unsupported
from engine.solving.events import SolveEvent
from engine.solving.served import Load, ModelInfo
from engine.solving.spec import SolveSpec
from engine.solving.tiers import Cut
from executor import ExecutorLike


def build_executor_only(settings: Settings, metrics: Metrics) -> "ExecutorOnly":
    """The executor of this machine alone, not started yet. Raises ConfigError for settings that contradict that."""
    if settings.executor.remotes:
        raise ConfigError(
            "executor.remotes: a server that only executes runs its programs itself; leave one of them out"
        )
    return ExecutorOnly(local_executor(settings), metrics)


class ExecutorOnly:
    """Takes a solver's place. Its calls are those of ExecutionService, so it has nothing of its own to drain."""

    def __init__(self, executor: OwnedExecutor, metrics: Metrics) -> None:
        self.default_model = ""
        self._executor = executor
        self._metrics = metrics
        self._status = "starting"
        self._watchers: list[Callable[[str], None]] = []
        self._gauges: asyncio.Task[None] | None = None

    @property
    def status(self) -> str:
        """One of starting, ready, draining."""
        return self._status

    @property
    def executor(self) -> ExecutorLike:
        """The sandbox."""
        return self._executor

    def on_status(self, callback: Callable[[str], None], /) -> None:
        """Call `callback` with the new status at each change."""
        self._watchers.append(callback)

    def _set_status(self, status: str) -> None:
        self._status = status
        for watcher in self._watchers:
            watcher(status)

    async def start(self) -> None:
        """Start the executor. Raises SandboxUnavailable or ExecutorDied."""
        await self._executor.__aenter__()
        self._gauges = asyncio.create_task(watch_executor(self._executor, self._metrics))
        self._set_status("ready")

    async def solve(
        self, spec: SolveSpec, *, deadline: float | None, cut: Cut | None = None
    ) -> AsyncGenerator[SolveEvent, None]:
        """Refused: there is no model here."""
        raise no_model()
        yield  # a generator, as its callers expect

    def load(self) -> Load:
        """How busy the sandbox is."""
        stats = self._executor.stats()
        return Load(
            solves_running=0,
            solves_waiting=0,
            branches_running=0,
            kv_cache_usage=0.0,
            executor_slots=stats.slots,
            executor_queue=stats.queue_depth,
            rows_per_second=0.0,
            draining=self._status == "draining",
        )

    def models(self) -> tuple[ModelInfo, ...]:
        """None."""
        return ()

    async def drain(self, seconds: float) -> None:
        """The front waits for the calls; nothing runs outside of one."""
        self._set_status("draining")

    async def close(self) -> None:
        """End the jails and the executor's process."""
        self._set_status("draining")
        if self._gauges is not None:
            self._gauges.cancel()
        await self._executor.close()


def no_model() -> Unsupported:
    """The error of a solve that reaches a server without a model."""
    return Unsupported(
        "spec",
        "this server only executes programs (serving.executor_only); send it to a server with a model",
        reason="EXECUTOR_ONLY",
    )
