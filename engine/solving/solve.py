"""One problem's life: draw, extract, judge, decide, and end everything that belongs to it at once.

A solve reads one inbox: steps of the engine, reports of the executor, timers. Its first decision is final; from then
on it only waits until its last row and its last jail are gone. Whoever leaves the generator early leaves through
`abandon`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from enum import Enum

from engine.core.types import (
    BranchCut,
    BranchFinished,
    BranchText,
    CoreEvent,
    Counts,
    EndReason,
    SamplesFinished,
    SolveEnded,
    SolveStarted,
)
from engine.core.types import BranchStarted as CoreBranchStarted
from engine.loop.client import EngineClient
from engine.loop.messages import Admitted
from engine.metrics import Metrics
from engine.solving import policy
from engine.solving.candidates import Candidates
from engine.solving.errors import DeadlineExceeded, EngineFailed, SolveError, Unavailable
from engine.solving.judging import Broken, Done, HeldOut, Judged, Judging, Posted, Tested
from engine.solving.types import (
    Accepted,
    Accounting,
    BranchDelta,
    BranchEnded,
    BranchOutcome,
    BranchStarted,
    CandidateFinished,
    CandidateJudged,
    EventBody,
    ReturnPolicy,
    SamplesJoined,
    SolveEvent,
    SolveOutcome,
    SolveSpec,
    Summary,
    TestFinished,
)
from executor import ExecutorLike
from executor.verdict import Report, Verdict


class Timer(Enum):
    """What can go off."""

    DEADLINE = "deadline"
    BUDGET = "budget"
    DRAIN = "drain"
    GRACE = "grace"


_GRACE_SECONDS = 2.5
"""What an engine gets to end a solve, many times a step; after that the solve ends without its last books."""

Happening = list[CoreEvent] | Timer | Posted | None

_BRANCH_OUTCOMES = {
    EndReason.CUT_OFF: BranchOutcome.CUT_OFF,
    EndReason.CANCELLED: BranchOutcome.CANCELLED,
    EndReason.DEADLINE: BranchOutcome.DEADLINE,
    EndReason.ERROR: BranchOutcome.ERROR,
}
_BUDGET_OUTCOMES = {
    EndReason.BUDGET_TIME: SolveOutcome.BUDGET_TIME,
    EndReason.BUDGET_TOKENS: SolveOutcome.BUDGET_TOKENS,
    EndReason.BUDGET_ROWS: SolveOutcome.BUDGET_ROWS,
    EndReason.BUDGET_EXECUTIONS: SolveOutcome.BUDGET_EXECUTIONS,
}
_PHASES = {
    EndReason.CUT_OFF: "pass",
    EndReason.CANCELLED: "client",
    EndReason.DEADLINE: "deadline",
    EndReason.ERROR: "drain",
}


class Solve:
    """Runs one solve. Make it, submit it with `take` as the sink, then read `events` to its end or call `abandon`."""

    def __init__(
        self,
        spec: SolveSpec,
        *,
        model: str,
        seed: int,
        k: int,
        executor: ExecutorLike,
        slots: int,
        engine: EngineClient,
        metrics: Metrics,
    ) -> None:
        self.spec = spec
        self.model = model
        self.seed = seed
        self.outcome = "cancelled"  # as metrics count it, until it ends in another way
        self.k = k
        self.accounting = Accounting(samples_requested=k)
        self._engine = engine
        self._metrics = metrics
        self._inbox: asyncio.Queue[Happening] = asyncio.Queue()
        self._candidates = Candidates(model, spec.prompt, spec.entry_point)
        group = f"{spec.request_id}/{id(self):x}"
        self._judging = Judging(spec, executor=executor, slots=slots, group=group, post=self._inbox.put_nowait)
        self._solve = 0
        self._decision: EndReason | None = None
        self._error: SolveError | None = None
        self._decided_at = 0.0
        self._began = time.monotonic()
        self._started_at: float | None = None
        self._drawn = False  # the engine is done with it
        self._counts = Counts()
        self._timers: list[asyncio.TimerHandle] = []
        self._sequence = 0

    @property
    def started(self) -> bool:
        """Whether the engine has begun with it."""
        return self._started_at is not None

    @property
    def seconds(self) -> float:
        """Since it was accepted."""
        return time.monotonic() - self._began

    def take(self, events: list[CoreEvent] | None) -> None:
        """Sink of the engine's events."""
        self._inbox.put_nowait(events)

    def interrupt(self, timer: Timer) -> None:
        """End the solve from outside."""
        self._inbox.put_nowait(timer)

    async def events(self, admitted: Admitted, deadline: float | None) -> AsyncGenerator[SolveEvent, None]:
        """All events, the summary last. `deadline` is in seconds from now.

        Raises:
            DeadlineExceeded, Unavailable: instead of a summary.
        """
        self._solve = admitted.solve
        self.accounting.prompt_tokens = admitted.prompt_tokens
        self._start_timers(deadline)
        yield self._event(
            Accepted(
                request_id=self.spec.request_id,
                model=self.model,
                queue_depth=admitted.ahead,
                prompt_tokens=admitted.prompt_tokens,
                seed=self.seed,
            )
        )
        while not self._over():
            happening = await self._inbox.get()
            try:
                bodies = [*self._react(happening), *self._next()]
            except Exception as fault:
                self.outcome = "error"
                raise EngineFailed(f"{type(fault).__name__}: {fault}") from fault
            for body in bodies:
                yield self._event(body)
        self._stop_timers()
        policy.close_books(self.accounting, self._counts, self._candidates.entries)
        error = self._error or policy.sandbox_error(self._candidates.entries)
        if error is not None:
            self.outcome = "deadline" if isinstance(error, DeadlineExceeded) else "error"
            raise error
        summary = self._summary()
        self.outcome = summary.outcome.value
        yield self._event(summary)

    async def abandon(self) -> None:
        """End everything that still runs, and wait until it is gone. Safe to call at any time, also after the end."""
        self._stop_timers()
        self._decide(EndReason.CANCELLED)
        self._judging.cancel(keep_passed=False)
        # The engine may have died with its events unread: None ends the wait then.
        while not self._drawn and (happening := await self._inbox.get()) is not None:
            for event in happening if isinstance(happening, list) else ():
                self._count(event)
        await self._judging.gone()
        policy.close_books(self.accounting, self._counts, self._candidates.entries)

    # Inbox

    def _event(self, body: EventBody) -> SolveEvent:
        self._sequence += 1
        return SolveEvent(self._sequence, self.seconds, body)

    def _over(self) -> bool:
        return self._decision is not None and self._drawn and not self._judging.running

    def _react(self, happening: Happening) -> list[EventBody]:
        match happening:
            case list():
                return [body for event in happening for body in self._on_core(event)]
            case None:
                self._drawn = True
                self._fail(
                    EndReason.ERROR,
                    Unavailable("ENGINE_RESTARTING", "the engine died during this solve; send it again"),
                )
            case Timer() if self._decision is not None:
                # Decided already: hidden tests that still run, or an engine in a step without end, have had their time.
                self._judging.cancel(keep_passed=False)
                self._drawn = self._drawn or happening is Timer.GRACE
            case Timer.GRACE:
                pass  # set at the decision only
            case Timer.DEADLINE:
                self._fail(EndReason.DEADLINE, DeadlineExceeded(queued=not self.started))
            case Timer.BUDGET:
                self._decide(EndReason.BUDGET_TIME)
            case Timer.DRAIN:
                self._fail(EndReason.ERROR, Unavailable("DRAINING", "the server is shutting down; ask another one"))
            case Tested():
                visible = self.spec.events.test_results and self._decision is None
                return [TestFinished(index=happening.index, result=happening.result)] if visible else []
            case Judged():
                return self._on_judged(happening.index, happening.report)
            case HeldOut():
                self._candidates.entries[happening.index].held_out = happening.report
            case Done():
                self._judging.done(happening.index)
                if self._candidates.entries[happening.index].report is None:
                    return self._on_judged(happening.index, None)
            case Broken():
                self._fail(EndReason.ERROR, Unavailable("SANDBOX_UNAVAILABLE", str(happening.error)))
        return []

    def _on_core(self, event: CoreEvent) -> list[EventBody]:
        self._count(event)
        wanted = self.spec.events
        match event:
            case CoreBranchStarted():
                started = BranchStarted(
                    branch=event.branch,
                    parent=event.parent,
                    position=event.position,
                    samples=event.samples,
                    model=self.model,
                )
                return [started] if wanted.branches else []
            case BranchText():
                return [BranchDelta(branch=event.branch, text=event.text, tokens=event.tokens)]
            case BranchFinished():
                return self._on_finished(event)
            case SamplesFinished():
                entry = self._candidates.join(event.branch, event.samples)
                return [SamplesJoined(index=entry.index, samples=event.samples)]
            case BranchCut():
                ended = BranchEnded(branch=event.branch, outcome=self._cut_outcome(), generated_tokens=event.tokens)
                return [ended] if wanted.branches else []
            case SolveEnded():
                if event.reason is not EndReason.COMPLETE:
                    self._decide(event.reason)
            case SolveStarted():
                pass  # only the books need it
        return []

    def _count(self, event: CoreEvent) -> None:
        """What the books need of an event, also after the solve was abandoned."""
        match event:
            case SolveStarted():
                self._started_at = time.monotonic()
                self.accounting.queue_time = event.queued
                priority = self.spec.priority.value
                self._metrics.solve_started(self.model, priority, event.queued)
            case SolveEnded():
                self._drawn = True
                self._counts = event.counts
                if self._started_at is not None:
                    self.accounting.generation_time = time.monotonic() - self._started_at
                phase = _PHASES.get(event.reason, "budget")
                if event.reason is not EndReason.COMPLETE and self._decided_at:
                    self._metrics.cancel_latency(phase, time.monotonic() - self._decided_at)
            case BranchCut():
                self._metrics.branch_ended(self.model, self._cut_outcome().value)
            case _:
                pass

    def _cut_outcome(self) -> BranchOutcome:
        """Why a branch of this solve is cut: by its decision, or by a budget that the engine itself keeps."""
        return _BRANCH_OUTCOMES.get(self._decision or EndReason.BUDGET_ROWS, BranchOutcome.BUDGET)

    def _on_finished(self, event: BranchFinished) -> list[EventBody]:
        entry, new = self._candidates.add(event)
        outcome = BranchOutcome.FINISHED if new else BranchOutcome.DUPLICATE
        self._metrics.branch_ended(self.model, outcome.value)
        bodies: list[EventBody] = []
        if self.spec.events.branches:
            bodies.append(
                BranchEnded(branch=event.branch, outcome=outcome, generated_tokens=event.tokens, candidate=entry.index)
            )
        if not new:
            return [*bodies, SamplesJoined(index=entry.index, samples=event.samples)]
        self._judging.pending.append(entry)
        finished = CandidateFinished(
            index=entry.index,
            branch=event.branch,
            finish_reason=event.reason,
            generated_tokens=event.tokens,
            samples=event.samples,
        )
        return [*bodies, finished]

    def _on_judged(self, index: int, report: Report | None) -> list[EventBody]:
        entry = self._candidates.entries[index]
        skipped = Report(verdict=Verdict.SKIPPED, tests_total=len(self._judging.visible))
        entry.report = skipped if report is None else report
        self._metrics.verdict(entry.report.verdict.value)
        if report is not None:
            self.accounting.candidates_executed += 1
            self.accounting.execution_queue_time += report.queue_seconds
            self.accounting.execution_time += report.wall_seconds
            self._metrics.execution(
                queue_seconds=report.queue_seconds,
                startup_seconds=report.startup_seconds,
                run_seconds=report.wall_seconds,
            )
        if entry.passed:
            self.accounting.candidates_passed += 1
            if self.accounting.time_to_first_pass is None:
                self.accounting.time_to_first_pass = self.seconds
            enough = self.accounting.candidates_passed >= self.spec.stop_after_passes
            if enough and self.spec.return_policy is ReturnPolicy.FIRST_PASS:
                self._decide(EndReason.CUT_OFF)
        return [CandidateJudged(candidate=self._candidates.public(entry))]

    # Decisions

    def _decide(self, reason: EndReason) -> None:
        """The first decision wins: rows, queued candidates and running jails of this solve end together."""
        if self._decision is not None:
            return
        self._decision = reason
        self._decided_at = time.monotonic()
        if not self._drawn:
            self._engine.end(self._solve, reason)
            self._timers.append(asyncio.get_running_loop().call_later(_GRACE_SECONDS, self.interrupt, Timer.GRACE))
        self._judging.cancel(keep_passed=self._error is None)

    def _fail(self, reason: EndReason, error: SolveError) -> None:
        """End the solve with an error, unless it is decided already."""
        if self._decision is None:
            self._error = error
            self._decide(reason)

    def _next(self) -> list[EventBody]:
        """Launch what can be launched, skip what is not wanted any more, see whether all is done."""
        judging = self._judging
        if self._decision is None:
            judging.launch()
            if judging.running:
                return []
            if judging.spent and (judging.pending or not self._drawn):
                self._decide(EndReason.BUDGET_EXECUTIONS)
            elif self._drawn and not judging.pending:
                self._decide(EndReason.COMPLETE)
        bodies: list[EventBody] = []
        while self._decision is not None and judging.pending:
            bodies += self._on_judged(judging.pending.popleft().index, None)
        return bodies

    # Timers, end

    def _start_timers(self, deadline: float | None) -> None:
        loop = asyncio.get_running_loop()
        if deadline is not None:
            self._timers.append(loop.call_later(max(deadline, 0.0), self.interrupt, Timer.DEADLINE))
        wall = self.spec.budget.wall_seconds
        if wall is not None:
            self._timers.append(loop.call_later(max(wall - self.seconds, 0.0), self.interrupt, Timer.BUDGET))

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _summary(self) -> Summary:
        entries = self._candidates.entries
        outcome = self._solve_outcome()
        chosen = policy.chosen(entries, self.spec.return_policy, self.spec.tests)
        return Summary(
            outcome=outcome,
            candidates=tuple(self._candidates.public(entry) for entry in chosen),
            accounting=self.accounting,
            escalation=policy.advise(outcome, entries),
            seed=self.seed,
        )

    def _solve_outcome(self) -> SolveOutcome:
        enough = 1 if self.spec.return_policy is not ReturnPolicy.FIRST_PASS else self.spec.stop_after_passes
        if self.accounting.candidates_passed >= enough:
            return SolveOutcome.SOLVED
        return _BUDGET_OUTCOMES.get(self._decision or EndReason.COMPLETE, SolveOutcome.EXHAUSTED)
