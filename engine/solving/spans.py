"""The spans of one solve: `solve`, and in it `queue`, `prefill`, and for each branch `candidate` with its `execute`.

A candidate's span begins with its branch, so that it covers drawing, waiting and judging; it ends with the verdict, or
with whatever else became of the branch. Spans hold figures and outcomes, and no text of the problem or of a program.
"""

import time

from engine.core.types import (
    BranchCut,
    BranchFinished,
    BranchPruned,
    BranchStarted,
    CoreEvent,
    FirstToken,
    SolveEnded,
    SolveStarted,
)
from engine.solving.events import BranchOutcome
from engine.solving.spec import ChatPrompt, SolveSpec
from engine.solving.summary import Accounting
from engine.tracing import Span, Value, current_span
from executor.verdict import Report, Verdict

_MOST = 256
"""Candidates of one solve that have spans."""
_FAILED = ("error", "deadline")
"""Outcomes that are failures; to be cancelled, or to find no program, is none."""


def solve_span(spec: SolveSpec, model: str, seed: int, k: int | None) -> Span | None:
    """A span of a solve by a model or a cascade, if the call that it belongs to is kept."""
    call = current_span()
    if call is None:
        return None
    known: dict[str, Value] = {
        "gen_ai.operation.name": "chat" if isinstance(spec.prompt, ChatPrompt) else "text_completion",
        "gen_ai.provider.name": "thresher",
        "gen_ai.request.model": model,
        # OTLP has no integers beyond these.
        "gen_ai.request.seed": seed if seed < 1 << 63 else str(seed),
        "thresher.request_id": spec.request_id,
        "thresher.problem_id": spec.problem_id,
        "thresher.priority": spec.priority.value,
        "thresher.tests": len(spec.tests),
    }
    if k is not None:
        known["gen_ai.request.choice.count"] = k
    return call.child("solve", known)


def end_solve_span(span: Span, outcome: str, cost: Accounting) -> None:
    """The solve is over, and this is what it came to."""
    span.add(
        {
            "thresher.outcome": outcome,
            "gen_ai.usage.input_tokens": cost.prompt_tokens,
            "gen_ai.usage.output_tokens": cost.generated_tokens,
            "gen_ai.usage.cache_read.input_tokens": cost.cached_prompt_tokens,
            "thresher.rows_computed": cost.rows_computed,
            "thresher.wasted_tokens": cost.wasted_tokens,
            "thresher.samples_started": cost.samples_started,
            "thresher.samples_cut_off": cost.samples_cut_off,
            "thresher.candidates_finished": cost.candidates_finished,
            "thresher.candidates_executed": cost.candidates_executed,
            "thresher.candidates_passed": cost.candidates_passed,
            "thresher.preemptions": cost.preemptions,
        }
    )
    if cost.time_to_first_pass is not None:
        span.add({"thresher.time_to_first_pass": cost.time_to_first_pass})
    if outcome in _FAILED:
        span.fail(outcome)
    span.end()


def end_execute_span(span: Span, report: Report | None) -> None:
    """A program has run; None: it was cancelled."""
    known: dict[str, Value] = {"thresher.verdict": "cancelled"}
    if report is not None:
        known = {
            "thresher.verdict": report.verdict.value,
            "thresher.queue_seconds": report.queue_seconds,
            "thresher.startup_seconds": report.startup_seconds,
        }
    span.add(known)
    if report is not None and report.verdict is Verdict.SANDBOX_FAILURE:
        span.fail("sandbox_failure")
    span.end()


class SolveSpans:
    """Hears what happens to one solve of one model. `span` is its own; None: nothing is kept, and nothing is done."""

    def __init__(self, span: Span | None) -> None:
        self._span = span
        self._queue: Span | None = None
        self._prefill: Span | None = None
        self._admitted_at = 0.0
        self._branches: dict[int, Span] = {}  # those that run
        self._candidates: dict[int, Span] = {}  # by candidate: those that wait for a verdict
        self._executing: dict[int, Span] = {}  # by candidate
        self._given = 0
        self._left_out = 0

    @property
    def trace_id(self) -> str | None:
        """Of the trace that they are in."""
        return None if self._span is None else self._span.trace_id

    def submitting(self) -> None:
        """It is handed to the engine."""
        # Its caller may leave before `admitted`; what the engine has begun by then is told all the same.
        self._admitted_at = time.monotonic()
        if self._span is not None:
            self._queue = self._span.child("queue", {})

    def admitted(self, ahead: int) -> None:
        """The engine has queued it behind so many others."""
        self._admitted_at = time.monotonic()
        if self._queue is not None:
            self._queue.add({"thresher.queue_depth": ahead})

    def core(self, event: CoreEvent) -> None:
        """What the engine says. Its intervals began when it heard of the solve."""
        if self._span is None:
            return
        match event:
            case SolveStarted() if self._queue is not None:
                began = self._admitted_at + event.queued
                self._queue.end(at=began)
                known = {
                    "gen_ai.usage.input_tokens": event.prompt_tokens,
                    "gen_ai.usage.cache_read.input_tokens": event.cached_tokens,
                }
                self._prefill = self._span.child("prefill", known, at=began)
            case FirstToken() if self._prefill is not None:
                self._prefill.end(at=self._admitted_at + event.seconds)
            case BranchStarted():
                self._begin_branch(self._span, event)
            case BranchFinished():
                self._know(event.branch, event.tokens, len(event.samples), event.reason.value)
            case BranchPruned() | BranchCut():
                self._know(event.branch, event.tokens, len(event.samples))
            case SolveEnded():
                self._end_waiting()
            case _:
                pass

    def _begin_branch(self, span: Span, event: BranchStarted) -> None:
        if self._given >= _MOST:
            self._left_out += 1
            return
        self._given += 1
        known: dict[str, Value] = {"thresher.branch": event.branch, "thresher.position": event.position}
        if event.parent is not None:
            known["thresher.parent_branch"] = event.parent
        self._branches[event.branch] = span.child("candidate", known)

    def _know(self, branch: int, tokens: int, samples: int, reason: str = "") -> None:
        if (span := self._branches.get(branch)) is not None:
            known: dict[str, Value] = {"gen_ai.usage.output_tokens": tokens, "thresher.samples": samples}
            span.add({**known, "thresher.finish_reason": reason} if reason else known)

    def branch_ended(self, branch: int, outcome: BranchOutcome, candidate: int | None = None) -> None:
        """A branch has ended, and has made this candidate; None: none of its own."""
        span = self._branches.pop(branch, None)
        if span is None:
            return
        if candidate is None:
            span.add({"thresher.outcome": outcome.value})
            span.end()
        else:
            span.add({"thresher.candidate": candidate})
            self._candidates[candidate] = span

    def executing(self, candidate: int, *, hidden: bool = False) -> None:
        """A candidate, or a prior attempt, is sent to the sandbox."""
        parent = self._candidates.get(candidate, None if self._left_out else self._span)
        if parent is not None:
            known: dict[str, Value] = {"thresher.candidate": candidate, "thresher.hidden_tests": hidden}
            self._executing[candidate] = parent.child("execute", known)

    def execution(self, candidate: int) -> Span | None:
        """The span of what is in the sandbox of it: what an executor elsewhere does is part of that."""
        return self._executing.get(candidate)

    def executed(self, candidate: int, report: Report | None) -> None:
        """It has run; None: it was cancelled. Only the first of several is heard."""
        span = self._executing.pop(candidate, None)
        if span is None:
            return
        end_execute_span(span, report)

    def judged(self, candidate: int, verdict: str) -> None:
        """A candidate has its verdict."""
        if (span := self._candidates.pop(candidate, None)) is not None:
            span.add({"thresher.outcome": verdict})
            span.end()

    def _end_waiting(self) -> None:
        for span in (self._queue, self._prefill):
            if span is not None:
                span.end()

    def end(self, outcome: str, cost: Accounting) -> None:
        """All of it is over."""
        if self._span is None:
            return
        self._end_waiting()
        for candidate in list(self._executing):
            self.executed(candidate, None)
        for span in (*self._branches.values(), *self._candidates.values()):
            span.add({"thresher.outcome": outcome})
            span.end()
        if self._left_out:
            self._span.add({"thresher.candidates_left_out": self._left_out})
        end_solve_span(self._span, outcome, cost)
