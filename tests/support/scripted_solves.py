"""Whole solves as a solver could play them, drawn by hypothesis: branches fork, finish, repeat, and are cut off."""

from dataclasses import dataclass, field

from hypothesis import strategies as st
from thresher.v1 import problem_pb2, solve_pb2

from engine.core.types import FinishReason
from engine.solving.errors import DeadlineExceeded, EngineFailed, QueueFull, Unavailable
from engine.solving.events import (
    Accepted,
    BranchDelta,
    BranchEnded,
    BranchOutcome,
    BranchStarted,
    CandidateFinished,
    CandidateJudged,
    EventBody,
    SamplesJoined,
    TestFinished,
)
from engine.solving.summary import Accounting, Candidate, Escalation, SolveOutcome, Summary
from executor.verdict import Report, TestReport, Verdict

_FAILED = (Verdict.WRONG_ANSWER, Verdict.TIME_LIMIT, Verdict.COMPILE_ERROR, Verdict.SANDBOX_FAILURE)
# A pruned text is no candidate.
_REASONS = [reason for reason in FinishReason if reason is not FinishReason.PRUNED]
_ERRORS = (
    EngineFailed("the engine died"),
    Unavailable("DRAINING", "stopping"),
    DeadlineExceeded(queued=False),
    QueueFull(3, 1.0),
    RuntimeError("a bug"),
)


@dataclass
class ScriptedSolve:
    """A request, and what the solver does with it; `error` ends it early."""

    spec: solve_pb2.SolveSpec
    bodies: list[EventBody]
    error: Exception | None = None


@dataclass
class _Made:
    """A candidate in the making."""

    index: int
    samples: list[int]
    reason: FinishReason
    tokens: int
    report: Report | None = None
    tests_told: int = 0


@dataclass
class _Play:
    spec: solve_pb2.SolveSpec
    visible: int
    bodies: list[EventBody] = field(default_factory=list)
    branches: dict[int, list[int]] = field(default_factory=dict)  # live branch -> samples
    made: list[_Made] = field(default_factory=list)
    started_branches: int = 0
    pruned: int = 0
    cost: Accounting = field(default_factory=Accounting)

    def branch(self, samples: list[int], parent: int | None, position: int) -> int:
        number = self.started_branches
        self.started_branches += 1
        self.branches[number] = samples
        if self.spec.events.branches:
            self.bodies.append(
                BranchStarted(branch=number, parent=parent, position=position, samples=tuple(samples), model="scripted")
            )
        return number

    def end(self, branch: int, outcome: BranchOutcome, tokens: int, candidate: int | None = None) -> None:
        del self.branches[branch]
        if self.spec.events.branches:
            self.bodies.append(
                BranchEnded(branch=branch, outcome=outcome, generated_tokens=tokens, candidate=candidate)
            )

    def judge(self, made: _Made, verdict: Verdict) -> None:
        tests = tuple(
            TestReport(index=index, verdict=Verdict.PASSED if verdict is Verdict.PASSED or index else verdict)
            for index in range(self.visible)
        )
        ran = verdict is not Verdict.SKIPPED
        made.report = Report(verdict=verdict, tests=tests if ran else (), tests_total=self.visible)
        self.bodies.append(CandidateJudged(candidate=self.candidate(made)))

    def candidate(self, made: _Made) -> Candidate:
        return Candidate(
            index=made.index,
            code=f"x = {made.index}",
            finish_reason=made.reason,
            generated_tokens=made.tokens,
            samples=tuple(sorted(made.samples)),
            sample_logprobs=tuple(-float(sample + 1) for sample in sorted(made.samples)),
            model="scripted",
            report=made.report,
        )

    @property
    def pending(self) -> list[_Made]:
        return [made for made in self.made if made.report is None]

    @property
    def passed(self) -> list[_Made]:
        return [made for made in self.made if made.report is not None and made.report.verdict is Verdict.PASSED]

    def summarise(self, outcome: SolveOutcome) -> None:
        """End what is live and sum up."""
        cut = BranchOutcome.CUT_OFF if outcome is SolveOutcome.SOLVED else BranchOutcome.BUDGET
        cut_off = sum(map(len, self.branches.values()))
        for branch in list(self.branches):
            self.end(branch, cut, 3)
        for made in self.pending:
            self.judge(made, Verdict.SKIPPED)
        cost = self.cost
        cost.samples_requested = self.spec.sampling.k
        cost.samples_finished = sum(len(made.samples) for made in self.made)
        cost.samples_cut_off = cut_off
        cost.samples_pruned = self.pruned
        cost.samples_started = cost.samples_finished + cost.samples_pruned + cut_off
        cost.samples_passed = sum(len(made.samples) for made in self.passed)
        cost.branches_started = self.started_branches
        cost.candidates_finished = len(self.made)
        cost.candidates_executed = sum(made.report.verdict is not Verdict.SKIPPED for made in self.made if made.report)
        cost.candidates_passed = len(self.passed)
        cost.time_to_first_pass = 0.25 if self.passed else None
        shown = self.made
        if self.spec.return_policy == solve_pb2.RETURN_POLICY_FIRST_PASS:
            shown = self.passed
        if self.spec.return_policy == solve_pb2.RETURN_POLICY_BEST:
            shown = sorted(self.made, key=lambda made: -made.report.tests_passed if made.report else 0)
        self.bodies.append(
            Summary(
                outcome=outcome,
                candidates=tuple(self.candidate(made) for made in shown),
                accounting=cost,
                escalation=Escalation(recommended=False, confidence=0.5, reason=""),
                seed=5,
            )
        )


@st.composite
def scripted_solves(draw: st.DrawFn) -> ScriptedSolve:
    """A solve that keeps the contract: ends well by any outcome, or with an error at any point."""
    hidden = draw(st.lists(st.booleans(), min_size=1, max_size=4).filter(lambda flags: not all(flags)))
    policies = (solve_pb2.RETURN_POLICY_FIRST_PASS, solve_pb2.RETURN_POLICY_ALL, solve_pb2.RETURN_POLICY_BEST)
    spec = solve_pb2.SolveSpec(
        request_id="scripted",
        problem=problem_pb2.Problem(
            completion=problem_pb2.CompletionPrompt(text="x"),
            tests=[problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="assert x"), hidden=flag) for flag in hidden],
        ),
        sampling=solve_pb2.SamplingParams(k=draw(st.integers(1, 6))),
        return_policy=draw(st.sampled_from(policies)),
        events=solve_pb2.EventOptions(
            token_deltas=draw(st.booleans()), test_results=draw(st.booleans()), branches=draw(st.booleans())
        ),
    )
    play = _Play(spec, visible=hidden.count(False))
    play.bodies.append(Accepted(request_id="scripted", model="scripted", queue_depth=0, prompt_tokens=4, seed=5))
    play.branch(list(range(spec.sampling.k)), None, 0)
    outcome = _play_on(draw, play)
    play.summarise(outcome)
    if draw(st.integers(0, 3)) == 0:
        keep = draw(st.integers(0, len(play.bodies) - 1))
        return ScriptedSolve(spec, play.bodies[:keep], draw(st.sampled_from(_ERRORS)))
    return ScriptedSolve(spec, play.bodies)


def _play_on(draw: st.DrawFn, play: _Play) -> SolveOutcome:
    first_pass = play.spec.return_policy == solve_pb2.RETURN_POLICY_FIRST_PASS
    idle_steps = 20  # after these every step ends something
    while play.branches or play.pending:
        choices = ["finish"] if play.branches else []
        choices += ["judge"] if play.pending else []
        if idle_steps:
            choices += ["repeat", "fork", "grow", "prune", "budget"] if play.branches else []
            choices += ["test"] if play.pending else []
            idle_steps -= 1
        match draw(st.sampled_from(choices)):
            case "grow" if play.spec.events.token_deltas:
                branch = draw(st.sampled_from(sorted(play.branches)))
                play.bodies.append(BranchDelta(branch=branch, text=draw(st.text(max_size=4)), tokens=1))
            case "fork":
                branch = draw(st.sampled_from(sorted(play.branches)))
                samples = play.branches[branch]
                if len(samples) > 1:
                    cut = draw(st.integers(1, len(samples) - 1))
                    play.branches[branch] = samples[:cut]
                    play.branch(samples[cut:], branch, 2)
            case "finish":
                branch = draw(st.sampled_from(sorted(play.branches)))
                made = _Made(len(play.made), play.branches[branch], draw(st.sampled_from(_REASONS)), 5)
                play.made.append(made)
                play.bodies.append(
                    CandidateFinished(
                        index=made.index,
                        branch=branch,
                        finish_reason=made.reason,
                        generated_tokens=5,
                        samples=tuple(made.samples),
                    )
                )
                play.end(branch, BranchOutcome.FINISHED, 5, made.index)
            case "repeat" if play.made:
                branch = draw(st.sampled_from(sorted(play.branches)))
                made = draw(st.sampled_from(play.made))
                samples = play.branches[branch]
                made.samples = [*made.samples, *samples]
                play.bodies.append(
                    SamplesJoined(
                        index=made.index, samples=tuple(samples), sample_logprobs=tuple([-1.0] * len(samples))
                    )
                )
                play.end(branch, BranchOutcome.DUPLICATE, 5, made.index)
            case "prune":
                branch = draw(st.sampled_from(sorted(play.branches)))
                play.pruned += len(play.branches[branch])
                play.end(branch, BranchOutcome.PRUNED, 4)
            case "budget" if draw(st.integers(0, 9)) == 0:
                return draw(st.sampled_from([word for word in SolveOutcome if word.startswith("budget")]))
            case "test":
                made = draw(st.sampled_from(play.pending))
                if play.spec.events.test_results and made.tests_told < play.visible:
                    result = TestReport(index=made.tests_told, verdict=Verdict.PASSED)
                    play.bodies.append(TestFinished(index=made.index, result=result))
                    made.tests_told += 1
            case "judge":
                made = draw(st.sampled_from(play.pending))
                play.judge(made, draw(st.sampled_from((Verdict.PASSED, *_FAILED))))
                if play.passed and first_pass:
                    return SolveOutcome.SOLVED
            case _:
                pass
    return SolveOutcome.SOLVED if play.passed else SolveOutcome.EXHAUSTED
