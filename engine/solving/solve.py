"""One problem's life: draw, extract, judge, decide, and end everything that belongs to it at once.

A solve reads one inbox: steps of the engine, reports of the executor, timers. Prior attempts are judged before the
engine hears of it. Its first decision is final; from then on it only waits until its last row and its last jail are
gone. Whoever leaves the generator early leaves through `abandon`.
"""

from collections.abc import AsyncGenerator
from dataclasses import asdict

import structlog

from engine.core.types import (
    BranchCut,
    BranchFinished,
    BranchPruned,
    BranchRedrawn,
    BranchSetBack,
    BranchText,
    CoreEvent,
    EndReason,
    FirstToken,
    SamplesFinished,
    SolveEnded,
    SolveStarted,
    WidthChosen,
    WidthHeld,
)
from engine.core.types import BranchStarted as CoreBranchStarted
from engine.loop.client import EngineClient
from engine.loop.messages import Admitted
from engine.metrics import Metrics
from engine.solving import policy
from engine.solving.books import Books
from engine.solving.candidates import Candidates, Entry
from engine.solving.decision import Decision
from engine.solving.errors import DeadlineExceeded, EngineFailed, SolveError, Unavailable
from engine.solving.flight import Flight
from engine.solving.inbox import Happening, Inbox
from engine.solving.judging import Broken, Done, HeldOut, Judged, Judging, Slow, Tested
from engine.solving.spans import SolveSpans
from engine.solving.timers import GRACE_SECONDS, Timer, Timers
from engine.solving.types import (
    Accepted,
    Accounting,
    BranchDelta,
    BranchEnded,
    BranchOutcome,
    BranchStarted,
    CandidateFinished,
    CandidateJudged,
    CandidateSource,
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

_log = structlog.stdlib.get_logger("flight")


class Solve:
    """Runs one solve.

    Make it, let it judge the prior attempts, submit it with `take` as the sink unless they have decided it, and say so
    (`admit`); then read `events` to its end or call `abandon`.
    """

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
        spans: SolveSpans,
    ) -> None:
        self.spec = spec
        self.model = model
        self.seed = seed
        self.spans = spans
        self._flight = Flight(model)
        self.outcome = "cancelled"  # as metrics count it, until it ends in another way
        self.k = k
        self._engine = engine
        self._inbox = Inbox()
        self._candidates = Candidates(model, spec.prompts, spec.entry_point, spec.cascade.tier)
        self._books = Books(model, spec.priority.value, k, metrics, spans.trace_id)
        group = f"{spec.request_id}/{id(self):x}"
        self._judging = Judging(
            spec, executor=executor, slots=slots, group=group, post=self._inbox.post, watch=(spans, self._flight)
        )
        self.submitted = False  # to the engine
        self.admitted: Admitted | None = None  # what the engine said to it
        self._before: list[EventBody] = []  # what has happened before it was admitted
        self._decision = Decision()
        self._enough = False  # as many programs as are wanted: what is still being drawn is not
        self._abandoned = False  # nobody reads on
        self._cut = False  # somebody else has solved it
        self._told_to_end = False  # the engine
        self._drawn = False  # the engine is done with it
        self._timers = Timers(self.interrupt)
        self._sequence = 0

    @property
    def started(self) -> bool:
        """Whether the engine has begun with it."""
        return self._books.started

    @property
    def seconds(self) -> float:
        """Since it was accepted."""
        return self._books.seconds

    @property
    def accounting(self) -> Accounting:
        """What it has cost."""
        return self._books.cost

    @property
    def verdicts(self) -> dict[str, int]:
        """How many of its programs came to which verdict."""
        return dict(self._books.verdicts)

    def take(self, events: list[CoreEvent] | None) -> None:
        """Sink of the engine's events."""
        self._inbox.take(events)

    def interrupt(self, timer: Timer) -> None:
        """End the solve from outside."""
        self._inbox.post(timer)

    def start_timers(self, deadline: float | None) -> None:
        """From now on the deadline, in seconds from now, and the budget of time can end it."""
        if deadline is not None:
            self._timers.start(Timer.DEADLINE, deadline)
        if self.spec.budget.wall_seconds is not None:
            self._timers.start(Timer.BUDGET, self.spec.budget.wall_seconds - self.seconds)

    def stop_timers(self) -> None:
        """It was refused: nothing can end it any more."""
        self._timers.stop()

    async def judge_attempts(self) -> bool:
        """Judge the prior attempts that have not been judged. Whether that has decided it, so that nothing is drawn."""
        for attempt in self.spec.cascade.attempts:
            entry = self._candidates.add_attempt(attempt, self.spec.cascade.upstream_model)
            if entry is None:
                continue
            self._before.append(
                CandidateFinished(index=entry.index, branch=None, finish_reason=None, generated_tokens=0, samples=())
            )
            if entry.report is None:
                self._judging.pending.append(entry)
            else:
                self._before.append(CandidateJudged(candidate=self._candidates.public(entry)))
        self._before += self._next()
        while self._judging.running:
            self._before += self._happen(await self._inbox.get())
        return self._decision.made

    @property
    def attempts(self) -> tuple[Entry, ...]:
        """The prior attempts, after `judge_attempts`: each program once."""
        return tuple(entry for entry in self._candidates.entries if entry.source is CandidateSource.PRIOR_ATTEMPT)

    def submit(self) -> None:
        """The engine is asked to draw: from now on it may have begun."""
        self.submitted = True
        self.spans.submitting()

    def refuse(self) -> None:
        """The engine has not taken it."""
        self.submitted = False

    def admit(self, admitted: Admitted) -> None:
        """The engine has taken it."""
        self.admitted = admitted
        self.accounting.prompt_tokens = admitted.prompt_tokens
        self.spans.admitted(admitted.ahead)

    async def events(self) -> AsyncGenerator[SolveEvent, None]:
        """All events, the summary last.

        Raises:
            DeadlineExceeded, Unavailable: instead of a summary.
        """
        yield self._event(
            Accepted(
                request_id=self.spec.request_id,
                model=self.model,
                queue_depth=0 if self.admitted is None else self.admitted.ahead,
                prompt_tokens=self.accounting.prompt_tokens,
                seed=self.seed,
            )
        )
        for body in self._before:
            yield self._event(body)
        while not self._over():
            for body in self._happen(await self._inbox.get()):
                yield self._event(body)
        self._timers.stop()
        self._books.close(self._candidates.entries)
        error = self._decision.error or policy.sandbox_error(self._candidates.entries)
        if error is not None:
            self.outcome = "deadline" if isinstance(error, DeadlineExceeded) else "error"
            raise error
        summary = self._summary()
        solved = summary.outcome is SolveOutcome.SOLVED
        self.outcome = "cut_off" if self._cut and not solved else summary.outcome.value
        yield self._event(summary)

    async def abandon(self) -> None:
        """End everything that still runs, and wait until it is gone. Safe to call at any time, also after the end."""
        self._abandoned = True
        self._decide(EndReason.CANCELLED)
        self._judging.cancel(keep_passed=False)
        self._timers.stop()  # whoever waits for this has a limit of his own
        try:
            while self._drawing:
                happening = await self._inbox.get()
                self._drawn = happening is None  # the engine may have died with its events unread
                for event in happening if isinstance(happening, list) else ():
                    self._count(event)
            await self._judging.gone()
        finally:
            self._books.close(self._candidates.entries)

    def give_up(self) -> None:
        """Wait no longer for an engine in a step without end, or for a sandbox that does not answer."""
        if self._drawing:
            self._drawn = True
            self._books.gave_up()
        self._judging.leave()

    # Inbox

    def _event(self, body: EventBody) -> SolveEvent:
        self._sequence += 1
        return SolveEvent(self._sequence, self.seconds, body)

    @property
    def _drawing(self) -> bool:
        """Whether the engine has the solve."""
        return self.submitted and not self._drawn

    def _over(self) -> bool:
        return self._decision.made and not self._drawing and not self._judging.running

    def _happen(self, happening: Happening) -> list[EventBody]:
        try:
            return [*self._react(happening), *self._next()]
        except Exception as fault:
            self.outcome = "error"
            raise EngineFailed(f"{type(fault).__name__}: {fault}") from fault

    def _react(self, happening: Happening) -> list[EventBody]:
        match happening:
            case list():
                return [body for event in happening for body in self._on_core(event)]
            case None:
                self._drawn = True
                self._decide(
                    EndReason.ERROR,
                    Unavailable("ENGINE_RESTARTING", "the engine died during this solve; send it again"),
                )
            case Timer.GRACE:
                self.give_up()
            case Timer() if self._decision.made:
                # Decided already: hidden tests that still run have had their time.
                if self._judging.cancel(keep_passed=False):
                    self._timers.start(Timer.GRACE, GRACE_SECONDS)
            case Timer.DEADLINE:
                self._decide(EndReason.DEADLINE, DeadlineExceeded(queued=not self.started))
            case Timer.BUDGET:
                self._decide(EndReason.BUDGET_TIME)
            case Timer.CUT:
                self._decide(EndReason.CUT_OFF)
                self._cut = True
            case Timer.DRAIN:
                self._decide(EndReason.ERROR, Unavailable("DRAINING", "the server is shutting down; ask another one"))
            case Tested():
                visible = self.spec.events.test_results and not self._decision.made
                return [TestFinished(index=happening.index, result=happening.result)] if visible else []
            case Judged():
                return self._on_judged(happening.index, happening.report)
            case HeldOut():
                self._candidates.entries[happening.index].held_out = happening.report
            case Slow():
                if self._judging.slow(happening.index) and self.admitted is not None:
                    for branch in self._candidates.entries[happening.index].branches:
                        self._engine.slow(self.admitted.solve, branch)
            case Done():
                last = self._judging.done(happening.index)
                if last and self._candidates.entries[happening.index].report is None:
                    return self._on_judged(happening.index, None)
            case Broken():
                self._decide(EndReason.ERROR, Unavailable("SANDBOX_UNAVAILABLE", str(happening.error)))
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
                    tier=self.spec.cascade.tier,
                )
                return [started] if wanted.branches else []
            case BranchText():
                return [BranchDelta(branch=event.branch, text=event.text, tokens=event.tokens)]
            case BranchFinished():
                return self._on_finished(event)
            case SamplesFinished():
                entry = self._candidates.join(event.branch, event.samples)
                return [self._joined(entry, event.samples)]
            case BranchPruned():
                ended = BranchEnded(branch=event.branch, outcome=BranchOutcome.PRUNED, generated_tokens=event.tokens)
                return [ended] if wanted.branches else []
            case BranchCut():
                ended = BranchEnded(branch=event.branch, outcome=self._cut_outcome(), generated_tokens=event.tokens)
                return [ended] if wanted.branches else []
            case SolveEnded():
                if event.reason is EndReason.DEADLINE:
                    self._decide(EndReason.DEADLINE, DeadlineExceeded(queued=not self.started))
                elif event.reason is not EndReason.COMPLETE and not self._enough:
                    self._decide(event.reason)
            case SolveStarted() | FirstToken() | WidthHeld() | BranchSetBack() | BranchRedrawn():
                pass  # of those only the books, and who looks on, hear
            case WidthChosen():
                _log.debug("width_chosen", request_id=self.spec.request_id, **asdict(event))
        return []

    def _count(self, event: CoreEvent) -> None:
        """What the books need of an event, also after the solve was abandoned."""
        self._books.engine_event(event)
        self.spans.core(event)
        self._flight.core(event)
        match event:
            case SolveEnded():
                self._drawn = True
            case BranchFinished() if self._enough or self._abandoned:
                # Which texts the engine still completes depends on its steps: the k programs shall not.
                self._books.unwanted(event, self._cut_outcome())
                self.spans.branch_ended(event.branch, self._cut_outcome())
            case BranchPruned():
                self._books.branch_ended(BranchOutcome.PRUNED)
                self.spans.branch_ended(event.branch, BranchOutcome.PRUNED)
            case BranchCut():
                self._books.branch_ended(self._cut_outcome())
                self.spans.branch_ended(event.branch, self._cut_outcome())
            case _:
                pass

    def _cut_outcome(self) -> BranchOutcome:
        """Why a branch of this solve is cut: by its decision, or by a budget that the engine itself keeps."""
        return BranchOutcome.CUT_OFF if self._enough else self._decision.branches

    def _on_finished(self, event: BranchFinished) -> list[EventBody]:
        if self._enough:
            ended = BranchEnded(branch=event.branch, outcome=BranchOutcome.CUT_OFF, generated_tokens=event.tokens)
            return [ended] if self.spec.events.branches else []
        entry, new = self._candidates.add(event)
        outcome = BranchOutcome.FINISHED if new else BranchOutcome.DUPLICATE
        self._books.branch_ended(outcome)
        self.spans.branch_ended(event.branch, outcome, entry.index if new else None)
        bodies: list[EventBody] = []
        if self.spec.events.branches:
            bodies.append(
                BranchEnded(branch=event.branch, outcome=outcome, generated_tokens=event.tokens, candidate=entry.index)
            )
        if not new:
            if entry.report is not None:
                self._tell_engine(event.branch, entry)
            return [*bodies, self._joined(entry, event.samples)]
        self._judging.pending.append(entry)
        if self.spec.sampling.distinct_programs and self._candidates.drawn == self.k:
            self._enough = True
            self._end_drawing(EndReason.COMPLETE)
        finished = CandidateFinished(
            index=entry.index,
            branch=event.branch,
            finish_reason=event.reason,
            generated_tokens=event.tokens,
            samples=event.samples,
        )
        return [*bodies, finished]

    def _joined(self, entry: Entry, samples: tuple[int, ...]) -> SamplesJoined:
        logprobs = tuple(entry.samples[sample] for sample in samples)
        return SamplesJoined(index=entry.index, samples=samples, sample_logprobs=logprobs)

    def _on_judged(self, index: int, report: Report | None) -> list[EventBody]:
        entry = self._candidates.entries[index]
        skipped = Report(verdict=Verdict.SKIPPED, tests_total=len(self._judging.visible))
        entry.report = skipped if report is None else report
        self._books.judged(entry, report)
        self.spans.judged(index, entry.report.verdict.value)
        for branch in entry.branches:
            self._tell_engine(branch, entry)
        if entry.passed:
            enough = self.accounting.candidates_passed >= self.spec.stop_after_passes
            if enough and self.spec.return_policy is ReturnPolicy.FIRST_PASS:
                self._decide(EndReason.CUT_OFF)
        return [CandidateJudged(candidate=self._candidates.public(entry))]

    def _tell_engine(self, branch: int, entry: Entry) -> None:
        told = entry.report is not None and entry.report.verdict is not Verdict.SKIPPED
        if entry.report is not None and told and self.admitted is not None:
            judged = entry.report.verdict is not Verdict.SANDBOX_FAILURE
            self._engine.judged(self.admitted.solve, branch, passed=entry.passed if judged else None)

    # Decisions

    def _decide(self, reason: EndReason, error: SolveError | None = None) -> None:
        """The first decision wins: rows, queued candidates and running jails of this solve end together."""
        if not self._decision.make(reason, error):
            return
        self._books.decided(self._decision.phase)
        self._flight.ended(reason, "" if error is None else type(error).__name__)
        self._end_drawing(reason)
        self._judging.cancel(keep_passed=error is None)
        if not self._over():
            self._timers.start(Timer.GRACE, GRACE_SECONDS)

    def _end_drawing(self, reason: EndReason) -> None:
        if self.admitted is not None and self._drawing and not self._told_to_end:
            self._told_to_end = True
            self._engine.end(self.admitted.solve, reason)

    def _next(self) -> list[EventBody]:
        """Launch what can be launched, skip what is not wanted any more, see whether all is done."""
        judging = self._judging
        if not self._decision.made:
            judging.launch()
            if judging.running:
                return []
            if judging.spent and (judging.pending or not (self._drawn or self._enough)):
                self._decide(EndReason.BUDGET_EXECUTIONS)
            elif self._drawn and not judging.pending:
                self._decide(EndReason.COMPLETE)
        bodies: list[EventBody] = []
        while self._decision.made and judging.pending:
            bodies += self._on_judged(judging.pending.popleft().index, None)
        return bodies

    # The end

    def _summary(self) -> Summary:
        entries = self._candidates.entries
        first = self.spec.return_policy is ReturnPolicy.FIRST_PASS
        enough = self.accounting.candidates_passed >= (self.spec.stop_after_passes if first else 1)
        outcome = SolveOutcome.SOLVED if enough else self._decision.unsolved
        chosen = policy.chosen(entries, self.spec.return_policy, self.spec.tests)
        return Summary(
            outcome=outcome,
            candidates=tuple(self._candidates.public(entry) for entry in chosen),
            accounting=self.accounting,
            escalation=policy.advise(outcome, entries),
            seed=self.seed,
        )
