"""A solver that plays scripts, for tests of the serving edge: no model, no sandbox."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from engine.core.types import FinishReason
from engine.solving.errors import Unavailable
from engine.solving.events import Accepted, CandidateFinished, CandidateJudged, EventBody, SolveEvent
from engine.solving.served import Load, ModelInfo
from engine.solving.spec import SolveSpec
from engine.solving.summary import Accounting, Candidate, Escalation, SolveOutcome, Summary
from engine.solving.tiers import Cut
from executor.types import Program
from executor.verdict import Evidence, Report, TestReport, Verdict

Step = EventBody | Exception | BaseException | Callable[[], Awaitable[None]]
Script = Callable[[SolveSpec], Iterable[Step]]
"""Bodies are sent, exceptions raised, and functions awaited."""


@dataclass
class FakeSandbox:
    """What `ExecutorLike.info` says."""

    backend: str = "nsjail, cgroup v2"
    version: str = "3.4"
    weaknesses: tuple[str, ...] = ("one uid for all slots",)
    runtimes: tuple[str, ...] = ("python",)


@dataclass
class ScriptedExecutor:
    """Passes every test, or answers with `report` or `error`, after `before` was awaited."""

    info: FakeSandbox = field(default_factory=FakeSandbox)
    before: Callable[[], Awaitable[None]] | None = None
    error: BaseException | None = None
    report: Report | None = None
    programs: list[Program] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    cancelled: int = 0

    async def run(
        self, program: Program, *, group: str = "", on_test: Callable[[TestReport], None] | None = None
    ) -> Report:
        self.programs.append(program)
        self.groups.append(group)
        try:
            if self.before is not None:
                await self.before()
            if self.error is not None:
                raise self.error
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        report = self.report or passed_report(len(program.tests))
        for test in report.tests if on_test is not None else ():
            on_test(test)
        return report


class ScriptedSolver:
    """Plays `script` for each solve. Drains as the real one does: live solves end with UNAVAILABLE after the wait."""

    def __init__(self, script: Script | None = None, *, status: str = "ready") -> None:
        self.script: Script = script or passing_script
        self.executor = ScriptedExecutor()
        self.default_model = "scripted"
        self.specs: list[SolveSpec] = []
        self.deadlines: list[float | None] = []
        self.live = 0
        self.ended: list[str] = []
        self.drained: list[float] = []
        self.closed = False
        self.on_start: Callable[[], Awaitable[None]] | None = None
        self._status = status
        self._callbacks: list[Callable[[str], None]] = []
        self._draining = asyncio.Event()
        self._none_live = asyncio.Event()
        self._none_live.set()

    @property
    def status(self) -> str:
        return self._status

    @status.setter
    def status(self, status: str) -> None:
        self._status = status
        for callback in self._callbacks:
            callback(status)

    def on_status(self, callback: Callable[[str], None], /) -> None:
        self._callbacks.append(callback)

    async def start(self) -> None:
        if self.on_start is not None:
            await self.on_start()
        self.status = "ready"

    async def solve(
        self, spec: SolveSpec, *, deadline: float | None, cut: Cut | None = None
    ) -> AsyncGenerator[SolveEvent]:
        if self._status == "draining":
            raise Unavailable("DRAINING", "draining")
        self.specs.append(spec)
        self.deadlines.append(deadline)
        self.live += 1
        self._none_live.clear()
        outcome = "closed early"
        try:
            async for event in self._play(spec, cut):
                yield event
            outcome = "done"
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            self.live -= 1
            self.ended.append(outcome)
            if not self.live:
                self._none_live.set()

    async def _play(self, spec: SolveSpec, cut: Cut | None) -> AsyncGenerator[SolveEvent]:
        sequence = 0
        for step in self.script(spec):
            if isinstance(step, BaseException):
                raise step
            if callable(step):
                await self._unless(cut, step())
                if self._draining.is_set():
                    raise Unavailable("DRAINING", "the server is stopping")
                if cut is not None and cut.done():
                    yield SolveEvent(sequence + 1, sequence * 0.001, cut_summary())
                    return
                continue
            sequence += 1
            yield SolveEvent(sequence, sequence * 0.001, step)

    async def _unless(self, cut: Cut | None, work: Awaitable[None]) -> None:
        """Do the work, unless a drain ends it or it is cut."""
        waits = [asyncio.ensure_future(work), asyncio.ensure_future(self._draining.wait())]
        if cut is not None:
            waits.append(asyncio.ensure_future(asyncio.wait([cut])))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def load(self) -> Load:
        return Load(
            solves_running=self.live,
            solves_waiting=2,
            branches_running=3,
            kv_cache_usage=0.5,
            executor_slots=4,
            executor_queue=5,
            rows_per_second=6.5,
            draining=self._status == "draining",
        )

    def models(self) -> tuple[ModelInfo, ...]:
        return tuple(
            ModelInfo(
                name=name,
                context_length=1024,
                chat=True,
                infill=False,
                dtype="float32",
                device="cpu",
                deterministic=name == "scripted",
            )
            for name in ("scripted", "second", "third")
        )

    async def drain(self, seconds: float) -> None:
        self.status = "draining"
        self.drained.append(seconds)
        try:
            async with asyncio.timeout(seconds):
                await self._none_live.wait()
        except TimeoutError:
            self._draining.set()
            await self._none_live.wait()

    async def close(self) -> None:
        self.closed = True


def passed_report(tests: int) -> Report:
    """A report in which every test passed."""
    reports = tuple(
        TestReport(index=index, verdict=Verdict.PASSED, evidence=Evidence.VALUES, wall_seconds=0.01, cpu_seconds=0.01)
        for index in range(tests)
    )
    return Report(verdict=Verdict.PASSED, tests=reports, tests_total=tests, wall_seconds=0.02, cpu_seconds=0.01)


def accepted(spec: SolveSpec, seed: int = 7) -> Accepted:
    """The first event."""
    return Accepted(request_id=spec.request_id, model="scripted", queue_depth=0, prompt_tokens=11, seed=seed)


def cut_summary() -> Summary:
    """The end of a solve that was cut."""
    return Summary(
        outcome=SolveOutcome.EXHAUSTED,
        candidates=(),
        accounting=Accounting(samples_requested=1, samples_started=1, samples_cut_off=1, generated_tokens=5),
        escalation=Escalation(recommended=True, confidence=0.0, reason=""),
        seed=7,
    )


def passing_script(spec: SolveSpec) -> list[Step]:
    """One candidate that passes at once."""
    visible = sum(not held.hidden for held in spec.tests)
    candidate = Candidate(
        index=0,
        code="def f():\n    return 1\n",
        finish_reason=FinishReason.END_OF_PROGRAM,
        generated_tokens=9,
        samples=(0,),
        model="scripted",
        mean_logprob=-0.25,
        sample_logprobs=(-2.25,),
        report=passed_report(visible),
    )
    cost = Accounting(
        samples_requested=spec.sampling.k or 1,
        samples_started=1,
        samples_finished=1,
        samples_passed=1,
        candidates_finished=1,
        candidates_executed=1,
        candidates_passed=1,
        prompt_tokens=11,
        generated_tokens=9,
        rows_computed=9,
        time_to_first_pass=0.5,
    )
    return [
        accepted(spec),
        CandidateFinished(
            index=0, branch=None, finish_reason=FinishReason.END_OF_PROGRAM, generated_tokens=9, samples=(0,)
        ),
        CandidateJudged(candidate=candidate),
        Summary(
            outcome=SolveOutcome.SOLVED,
            candidates=(candidate,),
            accounting=cost,
            escalation=Escalation(recommended=False, confidence=1.0, reason=""),
            seed=7,
        ),
    ]


async def forever() -> None:
    """A step that never ends."""
    await asyncio.Event().wait()
