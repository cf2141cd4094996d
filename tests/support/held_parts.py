"""The parts around a solver, in a test's hand: an engine's end of the connection, an executor, the metrics."""

import asyncio
from dataclasses import dataclass
from typing import Any

from engine.core.types import EndReason
from engine.loop.messages import LENGTH, Admitted, End, FromEngine, Ready, Submit, frame, to_engine
from engine.loop.messages import Verdict as Told
from executor import ExecutorStats, SandboxInfo
from executor.types import Program
from executor.verdict import Report
from tests.support.hand_loop import HandLoop

MODEL = "scripted"
_READY = Ready(
    name=MODEL,
    context_length=2000,
    chat=False,
    infill=False,
    dtype="float32",
    device="none",
    deterministic=True,
    pages=100,
    page_size=4,
    load_seconds=0.0,
    versions={},
)
_STATS = ExecutorStats(
    slots=4,
    busy=0,
    idle=0,
    starting=0,
    queue_depth=0,
    queue_limit=100,
    executed={},
    cancelled=0,
    jails_started=0,
    jails_live=0,
    start_failures=0,
    kill_alarms=0,
    leaked_cgroups=0,
)


class Noted:
    """Stands for the metrics: keeps every call, by its name."""

    def __init__(self) -> None:
        self.calls: dict[str, list[tuple[Any, ...]]] = {}
        self.executors = self  # its calls are kept like the others

    def __getattr__(self, name: str) -> Any:
        return lambda *values, **named: self.calls.setdefault(name, []).append((*values, *named.values()))

    def count(self, name: str) -> int:
        return len(self.calls.get(name, []))

    @property
    def counts(self) -> dict[str, int]:
        """How often each was called, but for what every step reports."""
        return {name: len(calls) for name, calls in self.calls.items() if name != "engine_state"}


class ScriptedConnection:
    """The stream between the solver and an engine: what the solver writes is kept, and it reads what is told."""

    def __init__(self, loop: HandLoop) -> None:
        self.reader = asyncio.StreamReader(loop=loop)
        self.submitted: list[Submit] = []
        self.ends: list[EndReason] = []
        self.answers = True
        self.tell(_READY)

    def tell(self, message: FromEngine) -> None:
        self.reader.feed_data(frame(message))

    def write(self, data: bytes) -> None:
        match to_engine.decode(data[LENGTH.size :]):
            case Submit() as message:
                self.submitted.append(message)
                if self.answers:
                    self.answer()
            case End(reason=reason):
                self.ends.append(reason)
            case Told():
                pass

    def answer(self) -> None:
        """The engine takes the solve."""
        self.tell(Admitted(self.submitted[-1].solve, 3, 0))

    def close(self) -> None: ...

    async def ended(self) -> str:
        return "status 1"

    async def kill(self) -> None: ...

    @property
    def connection(self) -> "ScriptedConnection":
        """A link gives its socket; `asyncio.open_connection` is patched to take this one."""
        return self


@dataclass(slots=True, eq=False)
class Run:
    """An execution. `cancels`: how often it was told to end; `left`: nobody waited until its jail was gone."""

    hidden: bool
    tests: int
    report: asyncio.Future[Report]
    gone: asyncio.Future[None]
    cancels: int = 0
    ends: int = 0
    left: bool = False


class HeldExecutor:
    """Runs nothing: each run ends with the report that it is given, or once it was cancelled and its jail is gone."""

    def __init__(self, loop: HandLoop) -> None:
        self._loop = loop
        self.runs: list[Run] = []

    @property
    def info(self) -> SandboxInfo:
        return SandboxInfo(backend="held", version="0", weaknesses=())

    def stats(self) -> ExecutorStats:
        return _STATS

    async def __aenter__(self) -> "HeldExecutor":
        return self

    async def close(self) -> None: ...

    async def cancel_group(self, group: str) -> None:
        raise AssertionError("nobody asks for this")

    async def run(self, program: Program, *, group: str = "", on_test: object = None) -> Report:
        hidden = any("HELD" in getattr(test, "code", "") for test in program.tests)
        run = Run(hidden, len(program.tests), self._loop.create_future(), self._loop.create_future())
        self.runs.append(run)
        try:
            return await asyncio.shield(run.report)
        except asyncio.CancelledError:
            run.cancels += 1
            try:
                await asyncio.shield(run.gone)
            except asyncio.CancelledError:
                run.cancels += 1
                run.left = True
            raise
        finally:
            run.ends += 1
