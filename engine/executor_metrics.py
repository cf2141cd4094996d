"""What is counted of sandboxes and of the programs that run in them. `Metrics.executors` of engine/metrics.py."""

from collections.abc import Iterable

from engine.metric_families import Families, exemplar
from engine.metric_words import EXECUTOR_ENDS, SANDBOX_FAULTS, SECONDS, SECONDS_SHORT, one_of


class ExecutorMetrics:
    """The metrics of the executor, or of several.

    All calls are cheap and thread-safe; times in seconds:

    - `pool(busy, idle, starting, queue_depth)`, `execution(queue_seconds, startup_seconds, run_seconds)`,
      `sandbox_faults(kind, count)`
    - with several executors: `serve(names)` once, then `state(name, up, outstanding)` and `ended(name, end)`
    """

    def __init__(self, families: Families) -> None:
        self._slots = families.gauge("executor_slots", "Sandbox slots by state.", "state")
        self._depth = families.gauge("executor_queue_depth", "Programs waiting for a sandbox.")
        self._queue = families.histogram(
            "executor_queue_seconds", "From a complete program to its sandbox.", SECONDS_SHORT
        )
        self._startup = families.histogram("executor_startup_seconds", "Start of one jail.", SECONDS_SHORT)
        self._execution = families.histogram("execution_seconds", "Run of one program over its tests.", SECONDS)
        self._faults = families.counter(
            "sandbox_faults_total", "What must not happen to a sandbox, by kind; none is a program's doing.", "kind"
        )
        for kind in SANDBOX_FAULTS:
            self._faults.labels(kind)
        self._up = families.gauge("executor_up", "Whether an executor takes programs, 0 or 1.", "executor")
        self._outstanding = families.gauge(
            "executor_outstanding", "Programs that an executor has and has not answered.", "executor"
        )
        self._programs = families.counter(
            "executor_programs_total", "Programs that an executor was given, by what came of them.", "executor", "end"
        )

    def pool(self, *, busy: int, idle: int, starting: int, queue_depth: int) -> None:
        """State of the sandbox pool."""
        for state, count in (("busy", busy), ("idle", idle), ("starting", starting)):
            self._slots.labels(state).set(count)
        self._depth.set(queue_depth)

    def execution(
        self, *, queue_seconds: float, startup_seconds: float, run_seconds: float, trace_id: str | None = None
    ) -> None:
        """One program ran."""
        self._queue.observe(queue_seconds, exemplar(trace_id))
        self._startup.observe(startup_seconds)
        self._execution.observe(run_seconds, exemplar(trace_id))

    def sandbox_faults(self, kind: str, count: int) -> None:
        """`count` more faults of a kind."""
        self._faults.labels(one_of(kind, SANDBOX_FAULTS)).inc(count)

    def serve(self, names: Iterable[str]) -> None:
        """Start the series of each of several executors at zero."""
        for name in names:
            self._up.labels(name)
            self._outstanding.labels(name)
            for end in EXECUTOR_ENDS:
                self._programs.labels(name, end)

    def state(self, name: str, *, up: bool, outstanding: int) -> None:
        """One of several executors, as it is now."""
        self._up.labels(name).set(up)
        self._outstanding.labels(name).set(outstanding)

    def ended(self, name: str, end: str) -> None:
        """One of several executors is done with a program."""
        self._programs.labels(name, one_of(end, EXECUTOR_ENDS)).inc()
