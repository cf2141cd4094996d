"""Tiers that play scripts, and cascades over them: no engine, no sandbox."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import grpc

from engine.core.types import FinishReason
from engine.metrics import Metrics
from engine.serving.solve_out import EventWriter
from engine.serving.solve_spec_out import solve_spec_out
from engine.solving.cascade import CascadeSolver
from engine.solving.events import (
    Accepted,
    BranchEnded,
    BranchOutcome,
    BranchStarted,
    CandidateFinished,
    CandidateJudged,
    EventBody,
    SamplesJoined,
    SolveEvent,
)
from engine.solving.served import ModelInfo
from engine.solving.spec import ReturnPolicy, SolveSpec
from engine.solving.stage import Policy, Stage
from engine.solving.summary import Accounting, Candidate, CandidateSource, Escalation, SolveOutcome, Summary
from engine.solving.tiers import Cut, Terms, Tier
from executor.verdict import Report, TestReport, Verdict
from tests.support.event_order import EventOrderChecker

Step = EventBody | SolveEvent | Exception | Callable[[], Awaitable[None]]
"""Bodies are sent under the next number, events as they are, exceptions raised, and functions awaited."""
Script = Callable[[SolveSpec], Iterable[Step]]

PASSED, FAILED = Verdict.PASSED, Verdict.WRONG_ANSWER


@dataclass
class ScriptedTier:
    """Plays `script` for each solve. Once it is cut it ends without a summary, as a tier elsewhere does."""

    name: str
    script: Script
    model: str = "scripted"
    tries: int = 1
    addresses: tuple[str, ...] = ()
    deterministic: bool = True
    specs: list[SolveSpec] = field(default_factory=list)
    deadlines: list[float | None] = field(default_factory=list)
    live: int = 0
    most_live: int = 0
    cuts: int = 0

    def info(self) -> ModelInfo | None:
        return ModelInfo(
            name=self.model,
            context_length=1000,
            chat=True,
            infill=False,
            dtype="float32",
            device="none",
            deterministic=self.deterministic,
        )

    async def solve(self, spec: SolveSpec, *, deadline: float | None, cut: Cut) -> AsyncGenerator[SolveEvent, None]:
        self.specs.append(spec)
        self.deadlines.append(deadline)
        self.live += 1
        self.most_live = max(self.live, self.most_live)
        sequence = 0
        try:
            for step in self.script(spec):
                if cut.done():
                    self.cuts += 1
                    return
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, SolveEvent):
                    yield step
                elif callable(step):
                    await _unless(cut, step())
                    if cut.done():
                        self.cuts += 1
                        return
                else:
                    sequence += 1
                    yield SolveEvent(sequence, sequence * 0.001, step)
        finally:
            self.live -= 1


async def _unless(cut: Cut, work: Awaitable[None]) -> None:
    waits = [asyncio.ensure_future(work), asyncio.ensure_future(asyncio.wait([cut]))]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def report(spec: SolveSpec, verdict: Verdict) -> Report:
    """Of a program against the visible tests of a request."""
    visible = sum(not held.hidden for held in spec.tests)
    tests = (TestReport(index=0, verdict=verdict),) if verdict in (PASSED, FAILED) else ()
    return Report(verdict=verdict, tests=tests, tests_total=visible)


class Play:
    """What a solver would tell of a request, a step at a time. Each sample has `tokens` tokens and a branch."""

    def __init__(self, spec: SolveSpec, *, model: str = "scripted", tokens: int = 10) -> None:
        self.spec = spec
        self.model = model
        self.tokens = tokens
        self.cost = Accounting(samples_requested=spec.sampling.k or 0, prompt_tokens=7)
        self.made: list[Candidate] = []

    def begin(self) -> list[EventBody]:
        """Accepted, and the prior attempts; those without a report fail."""
        bodies: list[EventBody] = [
            Accepted(request_id=self.spec.request_id, model=self.model, queue_depth=0, prompt_tokens=7, seed=1)
        ]
        for attempt in self.spec.cascade.attempts:
            index = len(self.made)
            bodies.append(
                CandidateFinished(index=index, branch=None, finish_reason=None, generated_tokens=0, samples=())
            )
            self.cost.candidates_executed += attempt.report is None
            verdict = attempt.report or report(self.spec, PASSED if "PASS" in attempt.code else FAILED)
            self.made.append(
                Candidate(
                    index=index,
                    code=attempt.code,
                    finish_reason=None,
                    generated_tokens=0,
                    samples=(),
                    model=self.spec.cascade.upstream_model,
                    source=CandidateSource.PRIOR_ATTEMPT,
                    tier=self.spec.cascade.tier,
                    mean_logprob=attempt.mean_logprob,
                    report=verdict,
                )
            )
            bodies.append(CandidateJudged(candidate=self.made[index]))
        return bodies

    def start(self, sample: int) -> list[EventBody]:
        """A sample is drawn in a branch of its own number."""
        self.cost.samples_started += 1
        self.cost.branches_started += 1
        self.cost.generated_tokens += self.tokens
        self.cost.rows_computed += self.tokens
        return [
            BranchStarted(
                branch=sample,
                parent=None,
                position=0,
                samples=(sample,),
                model=self.model,
                tier=self.spec.cascade.tier,
            )
        ]

    def finish(self, sample: int, code: str) -> list[EventBody]:
        """Its text is complete: a new program, or one that is there already."""
        self.cost.samples_finished += 1
        known = next((candidate for candidate in self.made if candidate.code == code), None)
        index = len(self.made) if known is None else known.index
        outcome = BranchOutcome.FINISHED if known is None else BranchOutcome.DUPLICATE
        ended = BranchEnded(branch=sample, outcome=outcome, generated_tokens=self.tokens, candidate=index)
        if known is not None:
            samples = (*known.samples, sample)
            self.made[index] = replace(known, samples=samples, sample_logprobs=(-1.0,) * len(samples))
            return [ended, SamplesJoined(index=index, samples=(sample,), sample_logprobs=(-1.0,))]
        self.made.append(
            Candidate(
                index=index,
                code=code,
                finish_reason=FinishReason.END_OF_TEXT,
                generated_tokens=self.tokens,
                samples=(sample,),
                sample_logprobs=(-1.0,),
                mean_logprob=-0.1,
                model=self.model,
                tier=self.spec.cascade.tier,
            )
        )
        return [
            ended,
            CandidateFinished(
                index=index,
                branch=sample,
                finish_reason=FinishReason.END_OF_TEXT,
                generated_tokens=self.tokens,
                samples=(sample,),
            ),
        ]

    def judge(self, index: int, verdict: Verdict) -> list[EventBody]:
        """A program has its verdict."""
        self.cost.candidates_executed += verdict is not Verdict.SKIPPED
        self.made[index] = replace(self.made[index], report=report(self.spec, verdict))
        return [CandidateJudged(candidate=self.made[index])]

    def end(self, outcome: SolveOutcome | None = None) -> list[EventBody]:
        """The summary; without an outcome, solved if enough has passed and exhausted otherwise."""
        passed = [candidate for candidate in self.made if candidate.passed]
        first = self.spec.return_policy is ReturnPolicy.FIRST_PASS
        enough = len(passed) >= (self.spec.stop_after_passes if first else 1)
        self.cost.candidates_finished = len(self.made)
        self.cost.candidates_passed = len(passed)
        self.cost.samples_passed = sum(len(candidate.samples) for candidate in passed)
        self.cost.generation_time = 0.001 * self.cost.samples_started
        return [
            Summary(
                outcome=outcome or (SolveOutcome.SOLVED if enough else SolveOutcome.EXHAUSTED),
                candidates=tuple(passed if first else self.made),
                accounting=self.cost,
                escalation=Escalation(recommended=False, confidence=0.5, reason=""),
                seed=1,
            )
        ]


def drawing(*codes: str, tokens: int = 10) -> Script:
    """Draws these programs, one a sample and as many as it may; those with PASS in them pass, and then it ends."""

    def script(spec: SolveSpec) -> Iterable[Step]:
        play = Play(spec, tokens=tokens)
        yield from play.begin()
        done = any(candidate.passed for candidate in play.made)
        for sample, code in enumerate(codes[: spec.sampling.k]):
            if done:
                break
            before = len(play.made)
            yield from play.start(sample)
            yield from play.finish(sample, code)
            if len(play.made) > before:
                yield from play.judge(before, PASSED if "PASS" in code else FAILED)
            passed = sum(candidate.passed for candidate in play.made)
            done = spec.return_policy is ReturnPolicy.FIRST_PASS and passed >= spec.stop_after_passes
        yield from play.end()

    return script


async def forever() -> None:
    """A step that never ends."""
    await asyncio.Event().wait()


def cascade_of(
    *tiers: Tier,
    terms: Sequence[Terms] = (),
    policy: Policy | None = None,
    metrics: Metrics | None = None,
    waiting: int = 100,
) -> CascadeSolver:
    """A cascade of these tiers; terms that are not given limit nothing."""
    metrics = metrics or Metrics()
    metrics.serve_tiers([tier.name for tier in tiers])
    all_terms = [*terms, *(Terms() for _ in tiers[len(terms) :])]
    stages = [Stage(tier, own) for tier, own in zip(tiers, all_terms, strict=True)]
    return CascadeSolver("cascade", stages, policy or Policy(), most=64, waiting=waiting, metrics=metrics)


async def checked(cascade: CascadeSolver, spec: SolveSpec, deadline: float | None = 20.0) -> list[SolveEvent]:
    """The events of a solve that ends well; they keep the contract."""
    events = [event async for event in cascade.solve(spec, deadline=deadline)]
    check(spec, events, grpc.StatusCode.OK)
    return events


def check(spec: SolveSpec, events: Iterable[SolveEvent], code: grpc.StatusCode) -> None:
    """Whether events, as the front tells them, keep the contract."""
    writer, checker = EventWriter(spec), EventOrderChecker(solve_spec_out(spec))
    for event in events:
        checker.see(writer.event(event))
    checker.end(code)
