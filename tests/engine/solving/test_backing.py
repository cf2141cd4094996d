"""What an executor says of itself reaches the metrics, also when its process was started again."""

import asyncio

import msgspec
import pytest

from engine.metrics import Metrics
from engine.solving import backing
from executor import ExecutorStats

STATS = ExecutorStats(
    slots=2,
    busy=1,
    idle=1,
    starting=0,
    queue_depth=3,
    queue_limit=10,
    executed={},
    cancelled=0,
    jails_started=0,
    jails_live=0,
    start_failures=0,
    kill_alarms=0,
    leaked_cgroups=0,
)


class Told:
    """An executor that says what it is told to."""

    def __init__(self) -> None:
        self.now = STATS

    def stats(self) -> ExecutorStats:
        return self.now


async def test_faults_are_counted_once_and_over_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backing, "_STATS_SECONDS", 0.001)
    metrics, executor = Metrics(), Told()

    def value(kind: str) -> float | None:
        return metrics.registry.get_sample_value("thresher_sandbox_faults_total", {"kind": kind})

    assert value("kill_alarm") == 0
    watch = asyncio.create_task(backing.watch_executor(executor, metrics))  # type: ignore[arg-type]
    for alarms, restarts in ((2, 0), (2, 0), (3, 0), (1, 1)):
        executor.now = msgspec.structs.replace(STATS, kill_alarms=alarms, restarts=restarts)
        await asyncio.sleep(0.05)
    watch.cancel()
    assert (value("kill_alarm"), value("restart"), value("leaked_cgroup")) == (4, 1, 0)
