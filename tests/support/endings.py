"""One solve of the real solver, whose engine, sandbox, caller and clock do one thing after the other as they are told.

The engine's side of the connection, the executor and the timers are the test's; solver, solve, judging and the client
of the engine are the real ones. What may happen next is said by `Ending.options`, and `Ending.do` has it happen.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from engine.core.types import (
    BranchCut,
    BranchFinished,
    BranchStarted,
    CoreEvent,
    Counts,
    EndReason,
    FinishReason,
    SolveEnded,
    SolveStarted,
)
from engine.loop.messages import StepReport, enveloped
from engine.solving.events import SolveEvent
from engine.solving.solver import Solver
from engine.solving.spec import SolveSpec
from engine.solving.timers import Timer
from executor.verdict import Report, TestReport, Verdict
from tests.support.hand_loop import HandLoop
from tests.support.held_parts import MODEL, HeldExecutor, Noted, ScriptedConnection

DEADLINE_SECONDS = 50.0


@dataclass(slots=True)
class Ending:
    """One solve and what has happened to it.

    `most`: endings that come from outside or from the engine, at most. `stalls`: the caller may stop to read for a
    while, so that several things arrive before any of them is seen.
    """

    loop: HandLoop
    spec: SolveSpec
    most: int
    stalls: bool
    answers: bool = True  # the engine, to what is submitted
    texts: int | None = None  # that the engine begins; None: k
    metrics: Any = field(default_factory=Noted)
    solver: Solver = field(init=False)
    connection: ScriptedConnection = field(init=False)
    executor: HeldExecutor = field(init=False)
    caller: asyncio.Task[None] = field(init=False)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[SolveEvent] = field(default_factory=list[SolveEvent])
    happened: list[str] = field(default_factory=list[str])
    branches: int = 0  # that have started
    finished: int = 0
    drawing: bool = True  # the engine has not said its last word on the solve
    alive: bool = True
    counts: Counts = field(default_factory=Counts)
    drained: "asyncio.Task[None] | None" = None
    stalled: int = 0  # events since the caller stopped to read
    done: Counter[str] = field(default_factory=Counter[str])

    def __post_init__(self) -> None:
        self.connection = ScriptedConnection(self.loop)
        self.connection.answers = self.answers
        self.executor = HeldExecutor(self.loop)
        self.solver = Solver(
            starters={MODEL: self._link},
            executor=self.executor,  # type: ignore[arg-type]
            metrics=self.metrics,
            max_k=16,
        )
        self.gate.set()
        starting = self.loop.create_task(self.solver.start())
        self.loop.settle()
        starting.result()
        self.caller = self.loop.create_task(self._read())
        self.loop.settle()

    async def _link(self) -> ScriptedConnection:
        return self.connection

    async def _read(self) -> None:
        events: AsyncGenerator[SolveEvent] = self.solver.solve(self.spec, deadline=DEADLINE_SECONDS)
        async with aclosing(events):
            async for event in events:
                self.seen.append(event)
                await self.gate.wait()

    # What may happen

    @property
    def over(self) -> bool:
        """Whether the caller has its answer and nothing of the solve is left."""
        load = self.solver.load()
        return self.caller.done() and load.solves_running + load.solves_waiting == 0

    def options(self) -> list[str]:
        """What may happen next."""
        plain = self._engine_options() + self._verdict_options()
        plain += ["grace"] if self.loop.timer_for(Timer.GRACE) is not None else []
        endings = self._ending_options() if self._endings < self.most else []
        if not self.gate.is_set():
            piled = [] if self.stalled > 3 else [*plain, *endings]
            return [*piled, *(["resume"] if self.stalled > 1 or not piled else [])]
        reads = self.stalls and not self.done["stall"] and not self.caller.done()
        return [*plain, *endings, *(f"stall, {one}" for one in plain if reads and self._tells(one))]

    def _tells(self, option: str) -> bool:
        """Whether the caller is told of it, so that it may stop to read there."""
        word, _, place = option.partition(" ")
        if word in ("pass", "fail"):
            return not self.executor.runs[int(place)].hidden
        return word in ("start", "finish")

    @property
    def _endings(self) -> int:
        return sum(self.done[word] for word in _ENDINGS)

    def _engine_options(self) -> list[str]:
        if not self.alive or not self.drawing:
            return []
        found = [] if self.branches else ["start"]
        if self.finished < self.branches:
            found.append("finish")
        if self.connection.ends:
            found.append("ended")
        return found

    def _verdict_options(self) -> list[str]:
        found: list[str] = []
        for place, run in enumerate(self.executor.runs):
            if run.ends or run.report.done() or run.gone.done():
                continue
            if run.cancels:
                found.append(f"gone {place}")
            else:
                found += [f"pass {place}"] if run.hidden else [f"pass {place}", f"fail {place}"]
        return found

    def _ending_options(self) -> list[str]:
        found: list[str] = []
        if self.alive and self.drawing:
            found.append("spent" if self.branches else "late")
        if self.alive:
            found.append("death")
        found += [word for word in ("deadline", "wall") if self.loop.timer_for(_TIMERS[word]) is not None]
        if self.drained is None:
            found.append("drain")
        if not self.caller.done():
            found.append("cancel")
        waiting = [one for one in self._verdict_options() if one.startswith("pass")]
        return found + [one.replace("pass", "broken") for one in waiting[:1]]

    # What happens

    def do(self, option: str) -> None:
        """Have it happen, and wait until everybody has reacted."""
        self.happened.append(option)
        if option.startswith("stall"):
            self.done["stall"] += 1
            self.gate.clear()
            option = option.removeprefix("stall, ")
        if not self.gate.is_set():
            self.stalled += 1
        word, _, place = option.partition(" ")
        self.done[word] += 1
        match word:
            case "start":
                self._start()
            case "finish":
                self._finish()
            case "ended":
                self._end_drawing(self.connection.ends[0])
            case "spent":
                self._end_drawing(EndReason.BUDGET_ROWS)
            case "late":
                self._end_drawing(EndReason.DEADLINE)
            case "death":
                self.alive = False
                self.connection.reader.feed_eof()
            case "pass" | "fail":
                self._report(int(place), Verdict.PASSED if word == "pass" else Verdict.WRONG_ANSWER)
            case "broken":
                self.executor.runs[int(place)].report.set_exception(RuntimeError("the sandbox has broken"))
            case "gone":
                self.executor.runs[int(place)].gone.set_result(None)
            case "drain":
                self.drained = self.loop.create_task(self.solver.drain(0))
            case "cancel":
                self.caller.cancel()
            case "resume":
                self.gate.set()
            case _:
                timer = self.loop.timer_for(_TIMERS[word])
                assert timer is not None
                self.loop.fire(timer)
        self.loop.settle()

    def _report(self, place: int, verdict: Verdict) -> None:
        run = self.executor.runs[place]
        tests = tuple(TestReport(index=index, verdict=verdict) for index in range(run.tests))
        run.report.set_result(Report(verdict=verdict, tests=tests, tests_total=run.tests))

    def _start(self) -> None:
        solve, k = self.number, self.texts or self.spec.sampling.k or 0
        self.branches = k
        self.counts = Counts(samples_started=k, branches=k)
        self.step([SolveStarted(solve, 0.0), *(BranchStarted(solve, place, None, 0, (place,)) for place in range(k))])

    def _finish(self) -> None:
        solve, place = self.number, self.finished
        self.finished += 1
        self.counts.samples_finished += 1
        self.counts.generated_tokens += 4
        ended = BranchFinished(solve, place, FinishReason.END_OF_TEXT, f"x = {place}\n", 4, -1.0, (place,))
        if self.finished == self.branches:
            self._end_drawing(EndReason.COMPLETE, ended)  # whatever it has been asked for meanwhile
        else:
            self.step([ended])

    def _end_drawing(self, reason: EndReason, *before: CoreEvent) -> None:
        """The engine's last word on the solve."""
        self.drawing = False
        cut = range(self.finished, self.branches)
        self.counts.samples_cut = len(cut)
        self.counts.generated_tokens += 2 * len(cut)
        self.counts.wasted_tokens += 2 * len(cut)
        cuts = [BranchCut(self.number, place, 2, (place,)) for place in cut]
        self.step([*before, *cuts, SolveEnded(self.number, reason, self.counts)])

    @property
    def number(self) -> int:
        """Of the solve, to the engine."""
        return self.connection.submitted[0].solve

    def step(self, events: list[CoreEvent]) -> None:
        """The engine reports a step."""
        self.connection.tell(
            StepReport(
                told=enveloped(events),
                rows=1,
                prefill_tokens=0,
                seconds=0.0,
                overhead_seconds=0.0,
                idle_seconds=0.0,
                waiting=0,
                running=0,
                branches=0,
                kv_usage=0.0,
                pages_shared=0,
            )
        )

    def close(self) -> None:
        """Stop the solver."""
        if self.caller.done() and not self.caller.cancelled():
            self.caller.exception()  # it was looked at, if it was of interest
        closing = self.loop.create_task(self.solver.close())
        self.loop.settle()
        closing.result()


_ENDINGS = ("spent", "late", "death", "deadline", "wall", "drain", "cancel", "broken")
_TIMERS = {"deadline": Timer.DEADLINE, "wall": Timer.BUDGET, "grace": Timer.GRACE}
