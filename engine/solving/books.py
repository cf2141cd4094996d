"""The books of one solve: what it has cost, for its accounting and for the metrics."""

import time
from collections import Counter

from engine.core.types import BranchFinished, CoreEvent, Counts, EndReason, FirstToken, SolveEnded, SolveStarted
from engine.metrics import Metrics
from engine.solving.candidates import Entry
from engine.solving.events import BranchOutcome
from engine.solving.summary import Accounting
from executor.verdict import Report, Verdict


class Books:
    """Takes note of the engine's events, also of those that come after the solve was abandoned, and of verdicts."""

    def __init__(self, model: str, priority: str, samples: int, metrics: Metrics, trace_id: str | None = None) -> None:
        self.cost = Accounting(samples_requested=samples)
        self.verdicts: Counter[str] = Counter()
        self.began = time.monotonic()
        self._model = model
        self._priority = priority
        self._metrics = metrics
        self._trace_id = trace_id
        self._started_at: float | None = None
        self._decided: tuple[str, float] | None = None
        self._unwanted_samples = 0
        self._unwanted_tokens = 0

    @property
    def started(self) -> bool:
        """Whether the engine has begun with the solve."""
        return self._started_at is not None

    @property
    def seconds(self) -> float:
        """Since the solve was accepted."""
        return time.monotonic() - self.began

    def decided(self, phase: str) -> None:
        """The solve was decided: from here on whatever still runs is late. `phase` is one of metrics.CANCEL_PHASES."""
        self._decided = phase, time.monotonic()

    def gave_up(self) -> None:
        """The engine has not ended the solve in time, and is not waited for any longer."""
        self._observe_latency()

    def _observe_latency(self) -> None:
        if self._decided is not None:
            phase, when = self._decided
            self._metrics.cancel_latency(phase, time.monotonic() - when)

    def engine_event(self, event: CoreEvent) -> None:
        """What the engine says, but for how branches end."""
        match event:
            case SolveStarted():
                self._started_at = time.monotonic()
                self.cost.queue_time = event.queued
                self._metrics.solve_started(self._model, self._priority, event.queued, trace_id=self._trace_id)
                self._metrics.prefix_cache(self._model, event.prompt_tokens, event.cached_tokens)
            case FirstToken():
                self._metrics.first_token(self._model, event.seconds, trace_id=self._trace_id)
            case SolveEnded():
                self._take_counts(event.counts)
                if self._started_at is not None:
                    self.cost.generation_time = time.monotonic() - self._started_at
                if event.reason is not EndReason.COMPLETE:
                    self._observe_latency()
            case _:
                pass

    def branch_ended(self, outcome: BranchOutcome) -> None:
        """A branch has ended."""
        self._metrics.branch_ended(self._model, outcome.value)

    def unwanted(self, finished: BranchFinished, outcome: BranchOutcome) -> None:
        """A text was complete when nobody wanted it any more: to the engine finished, to the solve cut off."""
        self._unwanted_samples += len(finished.samples)
        self._unwanted_tokens += finished.tokens * len(finished.samples)
        self.branch_ended(outcome)

    def judged(self, entry: Entry, ran: Report | None) -> None:
        """A candidate has its verdict; `ran` is the report of the sandbox, if it came to that."""
        if entry.report is not None:
            self.verdicts[entry.report.verdict.value] += 1
            self._metrics.verdict(entry.report.verdict.value, entry.source.value)
        if ran is not None:
            self.cost.candidates_executed += 1
            self.cost.execution_queue_time += ran.queue_seconds
            self.cost.execution_time += ran.wall_seconds
            self._metrics.executors.execution(
                queue_seconds=ran.queue_seconds,
                startup_seconds=ran.startup_seconds,
                run_seconds=ran.wall_seconds,
                trace_id=self._trace_id,
            )
        if entry.passed:
            self.cost.candidates_passed += 1
            if self.cost.time_to_first_pass is None:
                self.cost.time_to_first_pass = self.seconds
                unjudged = self.verdicts[Verdict.SKIPPED.value] + self.verdicts[Verdict.SANDBOX_FAILURE.value]
                self.cost.candidates_to_first_pass = self.verdicts.total() - unjudged

    def close(self, entries: list[Entry]) -> None:
        """What the candidates add up to."""
        self.cost.candidates_finished = len(entries)
        self.cost.samples_passed = sum(len(entry.samples) for entry in entries if entry.passed)
        if self._decided is not None and self._decided[0] == "pass":
            self.cost.after_pass_tokens = sum(entry.drawn_tokens for entry in entries if entry.skipped)

    def _take_counts(self, counts: Counts) -> None:
        cost = self.cost
        cost.samples_started = counts.samples_started
        cost.samples_finished = counts.samples_finished - self._unwanted_samples
        cost.samples_pruned = counts.samples_pruned
        cost.samples_cut_off = counts.samples_cut + self._unwanted_samples
        cost.branches_started = counts.branches
        cost.cached_prompt_tokens = counts.cached_tokens
        cost.generated_tokens = counts.generated_tokens
        cost.rows_computed = counts.rows
        cost.rows_saved = counts.rows_saved
        cost.wasted_tokens = counts.wasted_tokens + self._unwanted_tokens
        cost.pruned_tokens = counts.pruned_tokens
        cost.recomputed_tokens = counts.recomputed_tokens
        cost.preemptions = counts.preemptions
        cost.drafted_tokens = counts.drafted_tokens
        cost.accepted_draft_tokens = counts.accepted_tokens
