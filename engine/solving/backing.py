"""The executor that a server owns: how it is made from settings, and how its state reaches the metrics."""

import asyncio
from typing import Protocol

from engine.config import Settings
from engine.metrics import Metrics
from executor import ExecutorClient, ExecutorConfig, ExecutorLike, ExecutorStats, Mode

_STATS_SECONDS = 0.5


class OwnedExecutor(ExecutorLike, Protocol):
    """An executor with a life: the one of this machine, or one made of several."""

    async def __aenter__(self) -> object:
        """Start it. Raises SandboxUnavailable or ExecutorDied; the message says what is missing."""
        ...

    async def close(self) -> None:
        """End all runs and release everything."""
        ...


def local_executor(settings: Settings) -> ExecutorClient:
    """The executor process of this machine, not started yet."""
    return ExecutorClient(executor_config(settings))


def executor_config(settings: Settings) -> ExecutorConfig:
    """How this machine's executor is set up."""
    executor = settings.executor
    return ExecutorConfig(
        mode=Mode(executor.mode.value),
        slots=executor.slots or 0,
        warm=executor.warm,
        allow_weaker=executor.allow_weaker,
        site_packages=str(executor.site_packages or ""),
    )


async def watch_executor(executor: ExecutorLike, metrics: Metrics) -> None:
    """Keep the gauges and the faults of a started executor up to date, until cancelled."""
    seen: dict[str, int] = {}
    while True:
        stats = executor.stats()
        metrics.executors.pool(busy=stats.busy, idle=stats.idle, starting=stats.starting, queue_depth=stats.queue_depth)
        for kind, count in _faults(stats).items():
            # An executor's process that was started again counts from zero.
            before = seen.get(kind, 0)
            metrics.executors.sandbox_faults(kind, count - before if count >= before else count)
            seen[kind] = count
        await asyncio.sleep(_STATS_SECONDS)


def _faults(stats: ExecutorStats) -> dict[str, int]:
    return {
        "kill_alarm": stats.kill_alarms,
        "leaked_cgroup": stats.leaked_cgroups,
        "start_failure": stats.start_failures,
        "restart": stats.restarts,
    }
