"""Events of a solve, load and models: from domain to proto."""

from thresher.v1 import info_service_pb2, solve_pb2

from engine.core.types import FinishReason
from engine.serving.limits import lowered_out
from engine.serving.report_out import TestPlaces, duration_out, report_out, result_out
from engine.solving.events import (
    Accepted,
    BranchDelta,
    BranchEnded,
    BranchOutcome,
    BranchStarted,
    CandidateFinished,
    CandidateJudged,
    SamplesJoined,
    SolveEvent,
    TestFinished,
    TierReason,
    TierStarted,
)
from engine.solving.served import Load, ModelInfo
from engine.solving.spec import ReturnPolicy, SolveSpec
from engine.solving.summary import Accounting, Candidate, CandidateSource, SolveOutcome, Summary, TierCost, TierOutcome
from executor.verdict import LoweredLimit, Verdict

FINISH = {
    FinishReason.END_OF_TEXT: solve_pb2.FINISH_REASON_END_OF_TEXT,
    FinishReason.STOP_SEQUENCE: solve_pb2.FINISH_REASON_STOP_SEQUENCE,
    FinishReason.LENGTH: solve_pb2.FINISH_REASON_LENGTH,
    FinishReason.END_OF_PROGRAM: solve_pb2.FINISH_REASON_END_OF_PROGRAM,
}
SOURCE = {
    CandidateSource.SAMPLED: solve_pb2.CANDIDATE_SOURCE_SAMPLED,
    CandidateSource.PRIOR_ATTEMPT: solve_pb2.CANDIDATE_SOURCE_PRIOR_ATTEMPT,
}
BRANCH = {
    BranchOutcome.FINISHED: solve_pb2.BRANCH_OUTCOME_FINISHED,
    BranchOutcome.DUPLICATE: solve_pb2.BRANCH_OUTCOME_DUPLICATE,
    BranchOutcome.CUT_OFF: solve_pb2.BRANCH_OUTCOME_CUT_OFF,
    BranchOutcome.CANCELLED: solve_pb2.BRANCH_OUTCOME_CANCELLED,
    BranchOutcome.DEADLINE: solve_pb2.BRANCH_OUTCOME_DEADLINE,
    BranchOutcome.BUDGET: solve_pb2.BRANCH_OUTCOME_BUDGET,
    BranchOutcome.DROPPED: solve_pb2.BRANCH_OUTCOME_DROPPED,
    BranchOutcome.ERROR: solve_pb2.BRANCH_OUTCOME_ERROR,
    BranchOutcome.PRUNED: solve_pb2.BRANCH_OUTCOME_PRUNED,
}
OUTCOME = {
    SolveOutcome.SOLVED: solve_pb2.SOLVE_OUTCOME_SOLVED,
    SolveOutcome.EXHAUSTED: solve_pb2.SOLVE_OUTCOME_EXHAUSTED,
    SolveOutcome.BUDGET_TIME: solve_pb2.SOLVE_OUTCOME_BUDGET_TIME,
    SolveOutcome.BUDGET_TOKENS: solve_pb2.SOLVE_OUTCOME_BUDGET_TOKENS,
    SolveOutcome.BUDGET_EXECUTIONS: solve_pb2.SOLVE_OUTCOME_BUDGET_EXECUTIONS,
    SolveOutcome.BUDGET_ROWS: solve_pb2.SOLVE_OUTCOME_BUDGET_ROWS,
}
TIER_REASON = {
    TierReason.FIRST: solve_pb2.TIER_REASON_FIRST,
    TierReason.EXHAUSTED: solve_pb2.TIER_REASON_EXHAUSTED,
    TierReason.GAVE_UP: solve_pb2.TIER_REASON_GAVE_UP,
    TierReason.BUDGET: solve_pb2.TIER_REASON_BUDGET,
    TierReason.LOST: solve_pb2.TIER_REASON_LOST,
    TierReason.REFUSED: solve_pb2.TIER_REASON_REFUSED,
    TierReason.TIME: solve_pb2.TIER_REASON_TIME,
    TierReason.CHANCE: solve_pb2.TIER_REASON_CHANCE,
}
TIER_OUTCOME = {
    TierOutcome.SOLVED: solve_pb2.TIER_OUTCOME_SOLVED,
    TierOutcome.EXHAUSTED: solve_pb2.TIER_OUTCOME_EXHAUSTED,
    TierOutcome.BUDGET: solve_pb2.TIER_OUTCOME_BUDGET,
    TierOutcome.CUT_OFF: solve_pb2.TIER_OUTCOME_CUT_OFF,
    TierOutcome.LOST: solve_pb2.TIER_OUTCOME_LOST,
    TierOutcome.REFUSED: solve_pb2.TIER_OUTCOME_REFUSED,
}
"""These tables hold every word once, so that `event_in` can turn them round."""


def model_name(name: str) -> str:
    """The resource name of a model."""
    return f"models/{name}"


class EventWriter:
    """Writes the events of one solve; from the spec follow the places and weights of tests and the echo of code.

    `lowered` is what the request asked for beyond the server's maxima; the summary says it.
    """

    def __init__(self, spec: SolveSpec, lowered: tuple[LoweredLimit, ...] = ()) -> None:
        numbered = list(enumerate(spec.tests))
        self._visible = TestPlaces.of([(index, held.test.weight) for index, held in numbered if not held.hidden])
        self._hidden = TestPlaces.of([(index, held.test.weight) for index, held in numbered if held.hidden])
        self._lowered = lowered
        self._places = range(len(spec.tests))
        self._all_code = spec.events.failing_code or spec.return_policy is not ReturnPolicy.FIRST_PASS

    def event(self, event: SolveEvent) -> solve_pb2.SolveEvent:
        """One event."""
        message = solve_pb2.SolveEvent(sequence=event.sequence, elapsed=duration_out(event.elapsed))
        match event.body:
            case Accepted() as body:
                message.accepted.CopyFrom(
                    solve_pb2.Accepted(
                        request_id=body.request_id,
                        model=model_name(body.model),
                        queue_depth=body.queue_depth,
                        prompt_tokens=body.prompt_tokens,
                        seed=body.seed,
                    )
                )
            case BranchStarted() as body:
                message.branch_started.CopyFrom(
                    solve_pb2.BranchStarted(
                        branch=body.branch,
                        parent=body.parent,
                        position=body.position,
                        samples=body.samples,
                        model=model_name(body.model),
                        tier=body.tier,
                    )
                )
            case TierStarted() as body:
                message.tier_started.CopyFrom(
                    solve_pb2.TierStarted(
                        tier=body.tier,
                        name=body.name,
                        model=_named(body.model),
                        reason=TIER_REASON[body.reason],
                    )
                )
            case BranchDelta() as body:
                message.branch_delta.CopyFrom(
                    solve_pb2.BranchDelta(branch=body.branch, text=body.text, tokens=body.tokens)
                )
            case BranchEnded() as body:
                message.branch_ended.CopyFrom(
                    solve_pb2.BranchEnded(
                        branch=body.branch,
                        outcome=BRANCH[body.outcome],
                        generated_tokens=body.generated_tokens,
                        candidate=body.candidate,
                    )
                )
            case CandidateFinished() as body:
                message.candidate_finished.CopyFrom(
                    solve_pb2.CandidateFinished(
                        index=body.index,
                        branch=body.branch,
                        finish_reason=_finish(body.finish_reason),
                        generated_tokens=body.generated_tokens,
                        samples=body.samples,
                    )
                )
            case TestFinished() as body:
                message.test_finished.CopyFrom(
                    solve_pb2.TestFinished(index=body.index, result=result_out(body.result, self._visible))
                )
            case CandidateJudged() as body:
                message.candidate_judged.CopyFrom(solve_pb2.CandidateJudged(candidate=self.candidate(body.candidate)))
            case SamplesJoined() as body:
                message.samples_joined.CopyFrom(
                    solve_pb2.SamplesJoined(
                        index=body.index, samples=body.samples, sample_logprobs=body.sample_logprobs
                    )
                )
            case Summary() as body:
                message.summary.CopyFrom(self.summary(body))
        return message

    def summary(self, summary: Summary) -> solve_pb2.Summary:
        """The last event."""
        return solve_pb2.Summary(
            outcome=OUTCOME[summary.outcome],
            candidates=[self.candidate(candidate) for candidate in summary.candidates],
            accounting=accounting_out(summary.accounting),
            escalation=solve_pb2.Escalation(
                recommended=summary.escalation.recommended,
                confidence=summary.escalation.confidence,
                reason=summary.escalation.reason,
            ),
            seed=summary.seed,
            lowered_limits=lowered_out(dict.fromkeys((*self._lowered, *summary.lowered_limits)), self._places),
            tiers=[_tier_cost(tier) for tier in summary.tiers],
            expected_draws=summary.expected_draws,
        )

    def candidate(self, candidate: Candidate) -> solve_pb2.Candidate:
        """One program."""
        report, held_out = candidate.report, candidate.held_out
        passed = report is not None and report.verdict is Verdict.PASSED
        return solve_pb2.Candidate(
            index=candidate.index,
            source=SOURCE[candidate.source],
            tier=candidate.tier,
            code=candidate.code if passed or self._all_code else "",
            finish_reason=_finish(candidate.finish_reason),
            generated_tokens=candidate.generated_tokens,
            mean_logprob=candidate.mean_logprob,
            report=None if report is None else report_out(report, self._visible),
            model=_named(candidate.model),
            samples=candidate.samples,
            sample_logprobs=candidate.sample_logprobs,
            held_out=None if held_out is None else report_out(held_out, self._hidden, hidden=True),
        )


def _named(model: str) -> str:
    return model_name(model) if model else ""


def _finish(reason: FinishReason | None) -> solve_pb2.FinishReason.ValueType:
    return solve_pb2.FINISH_REASON_UNSPECIFIED if reason is None else FINISH[reason]


def accounting_out(cost: Accounting) -> solve_pb2.Accounting:
    """What a solve has cost."""
    first = cost.time_to_first_pass
    return solve_pb2.Accounting(
        samples_requested=cost.samples_requested,
        samples_started=cost.samples_started,
        samples_finished=cost.samples_finished,
        samples_pruned=cost.samples_pruned,
        samples_cut_off=cost.samples_cut_off,
        samples_passed=cost.samples_passed,
        branches_started=cost.branches_started,
        candidates_finished=cost.candidates_finished,
        candidates_executed=cost.candidates_executed,
        candidates_passed=cost.candidates_passed,
        prompt_tokens=cost.prompt_tokens,
        cached_prompt_tokens=cost.cached_prompt_tokens,
        generated_tokens=cost.generated_tokens,
        rows_computed=cost.rows_computed,
        rows_saved=cost.rows_saved,
        wasted_tokens=cost.wasted_tokens,
        drafted_tokens=cost.drafted_tokens,
        accepted_draft_tokens=cost.accepted_draft_tokens,
        time_to_first_pass=None if first is None else duration_out(first),
        queue_time=duration_out(cost.queue_time),
        generation_time=duration_out(cost.generation_time),
        execution_queue_time=duration_out(cost.execution_queue_time),
        execution_time=duration_out(cost.execution_time),
    )


def _tier_cost(tier: TierCost) -> solve_pb2.TierCost:
    return solve_pb2.TierCost(
        tier=tier.tier,
        name=tier.name,
        model=_named(tier.model),
        outcome=TIER_OUTCOME[tier.outcome],
        accounting=accounting_out(tier.accounting),
        price=tier.price,
        partial=tier.partial,
        detail=tier.detail,
    )


def load_out(load: Load) -> info_service_pb2.GetLoadResponse:
    """How busy the server is."""
    return info_service_pb2.GetLoadResponse(
        solves_running=load.solves_running,
        solves_waiting=load.solves_waiting,
        branches_running=load.branches_running,
        kv_cache_usage=load.kv_cache_usage,
        executor_slots=load.executor_slots,
        executor_queue=load.executor_queue,
        tokens_per_second=load.rows_per_second,
        draining=load.draining,
    )


def model_out(model: ModelInfo) -> info_service_pb2.Model:
    """A served model."""
    return info_service_pb2.Model(
        name=model_name(model.name),
        context_length=model.context_length,
        chat=model.chat,
        infill=model.infill,
        dtype=model.dtype,
        device=model.device,
        deterministic=model.deterministic,
        tiers=[
            info_service_pb2.ModelTier(name=tier.name, model=_named(tier.model), addresses=tier.addresses)
            for tier in model.tiers
        ],
    )
