"""One problem's life: draw, extract, judge, decide, and end everything that belongs to it at once.

A solve reads one inbox: steps of the engine, reports of the executor, timers. Prior attempts are judged before the
engine hears of it. Its first decision is final; from then on it only waits until its last row and its last jail are
gone. Whoever leaves the generator early leaves through `abandon`.
"""

from collections.abc import AsyncGenerator

from engine.core.types import CoreEvent, EndReason, SolveEnded
from engine.loop.client import EngineClient
from engine.loop.messages import Admitted
from engine.metrics import Metrics
from engine.solving import policy
from engine.solving.books import Books
from engine.solving.branches import Branches
from engine.solving.candidates import Candidates, Entry
from engine.solving.decision import Decision
from engine.solving.engine_side import EngineSide
from engine.solving.errors import DeadlineExceeded, EngineFailed, SolveError, Unavailable
from engine.solving.events import Accepted, CandidateFinished, CandidateJudged, EventBody, SolveEvent, TestFinished
from engine.solving.flight import Flight
from engine.solving.inbox import Happening, Inbox
from engine.solving.judging import Broken, Done, HeldOut, Judged, Judging, Slow, Tested
from engine.solving.spans import SolveSpans
from engine.solving.spec import ReturnPolicy, SolveSpec
from engine.solving.summary import Accounting, CandidateSource, SolveOutcome, Summary
from engine.solving.timers import GRACE_SECONDS, Timer, Timers
from executor import ExecutorLike
from executor.verdict import Report, Verdict


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
        self.engine = EngineSide(engine)
        self._inbox = Inbox()
        self._candidates = Candidates(model, spec.prompts, spec.entry_point, spec.cascade.tier)
        self._books = Books(model, spec.priority.value, k, metrics, spans.trace_id)
        group = f"{spec.request_id}/{id(self):x}"
        self._judging = Judging(
            spec, executor=executor, slots=slots, group=group, post=self._inbox.post, watch=(spans, self._flight)
        )
        self._before: list[EventBody] = []  # what has happened before it was admitted
        self._decision = Decision()
        self._branches = Branches(
            spec,
            model=model,
            k=k,
            candidates=self._candidates,
            judging=self._judging,
            books=self._books,
            decision=self._decision,
            engine=self.engine,
            watch=(spans, self._flight),
        )
        self._abandoned_as = ""  # how metrics count it where nobody waits for more than its account
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
        self.engine.submitted = True
        self.spans.submitting()

    def refuse(self) -> None:
        """The engine has not taken it."""
        self.engine.submitted = False

    def admit(self, admitted: Admitted) -> None:
        """The engine has taken it."""
        self.engine.admitted = admitted
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
                queue_depth=0 if self.engine.admitted is None else self.engine.admitted.ahead,
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
        self.outcome = self._abandoned_as if self._abandoned_as and not solved else summary.outcome.value
        yield self._event(summary)

    async def abandon(self) -> None:
        """End everything that still runs, and wait until it is gone. Safe to call at any time, also after the end."""
        self._branches.abandoned = True
        self._decide(EndReason.CANCELLED)
        self._judging.cancel(keep_passed=False)
        self._timers.stop()  # whoever waits for this has a limit of his own
        try:
            while self.engine.drawing:
                happening = await self._inbox.get()
                self.engine.done = happening is None  # it may have died with its events unread
                for event in happening if isinstance(happening, list) else ():
                    self._branches.count(event)
            await self._judging.gone()
        finally:
            self._books.close(self._candidates.entries)

    def give_up(self) -> None:
        """Wait no longer for an engine in a step without end, or for a sandbox that does not answer."""
        if self.engine.drawing:
            self.engine.done = True
            self._books.gave_up()
        self._judging.leave()

    # Inbox

    def _event(self, body: EventBody) -> SolveEvent:
        self._sequence += 1
        return SolveEvent(self._sequence, self.seconds, body)

    def _over(self) -> bool:
        return self._decision.made and not self.engine.drawing and not self._judging.running

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
                self.engine.done = True
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
                self._abandoned_as = "cut_off"
            case Timer.LEFT:
                self._decide(EndReason.CANCELLED)
                self._abandoned_as = "cancelled"
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
                if self._judging.slow(happening.index):
                    self.engine.slow(self._candidates.entries[happening.index])
            case Done():
                last = self._judging.done(happening.index)
                if last and self._candidates.entries[happening.index].report is None:
                    return self._on_judged(happening.index, None)
            case Broken():
                self._decide(EndReason.ERROR, Unavailable("SANDBOX_UNAVAILABLE", str(happening.error)))
        return []

    def _on_core(self, event: CoreEvent) -> list[EventBody]:
        self._branches.count(event)
        if isinstance(event, SolveEnded):
            if event.reason is EndReason.DEADLINE:
                self._decide(EndReason.DEADLINE, DeadlineExceeded(queued=not self.started))
            elif event.reason is not EndReason.COMPLETE and not self._branches.enough:
                self._decide(event.reason)
        return self._branches.take(event)

    def _on_judged(self, index: int, report: Report | None) -> list[EventBody]:
        entry = self._candidates.entries[index]
        skipped = Report(verdict=Verdict.SKIPPED, tests_total=len(self._judging.visible))
        entry.report = skipped if report is None else report
        self._books.judged(entry, report)
        self.spans.judged(index, entry.report.verdict.value)
        for branch in entry.branches:
            self.engine.judged(branch, entry)
        if entry.passed:
            enough = self.accounting.candidates_passed >= self.spec.stop_after_passes
            if enough and self.spec.return_policy is ReturnPolicy.FIRST_PASS:
                self._decide(EndReason.CUT_OFF)
        return [CandidateJudged(candidate=self._candidates.public(entry))]

    # Decisions

    def _decide(self, reason: EndReason, error: SolveError | None = None) -> None:
        """The first decision wins: rows, queued candidates and running jails of this solve end together."""
        if not self._decision.make(reason, error):
            return
        self._books.decided(self._decision.phase)
        self._flight.ended(reason, "" if error is None else type(error).__name__)
        self.engine.end(reason)
        self._judging.cancel(keep_passed=error is None)
        if not self._over():
            self._timers.start(Timer.GRACE, GRACE_SECONDS)

    def _next(self) -> list[EventBody]:
        """Launch what can be launched, skip what is not wanted any more, see whether all is done."""
        judging = self._judging
        if not self._decision.made:
            judging.launch()
            if judging.running:
                return []
            if judging.spent and (judging.pending or not (self.engine.done or self._branches.enough)):
                self._decide(EndReason.BUDGET_EXECUTIONS)
            elif self.engine.done and not judging.pending:
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
            expected_draws=policy.expected_draws(self.spec, self.accounting, entries),
        )
