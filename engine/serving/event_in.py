"""Events of another server's solve: from proto to domain, the way back of `solve_out`."""

from enum import StrEnum
from typing import Any

from google.protobuf.duration_pb2 import Duration
from thresher.v1 import info_service_pb2, solve_pb2, verdict_pb2

from engine.core.types import FinishReason
from engine.serving.report_in import limit_in, report_in, test_report_in
from engine.serving.solve_out import BRANCH, FINISH, OUTCOME, SOURCE, TIER_OUTCOME, TIER_REASON
from engine.solving.events import (
    Accepted,
    BranchDelta,
    BranchEnded,
    BranchStarted,
    CandidateFinished,
    CandidateJudged,
    EventBody,
    SamplesJoined,
    SolveEvent,
    TestFinished,
    TierStarted,
)
from engine.solving.served import ModelInfo, TierInfo
from engine.solving.spec import SolveSpec
from engine.solving.summary import Accounting, Candidate, Escalation, Summary, TierCost
from executor.types import Program
from executor.verdict import LoweredLimit, Report

_PREFIX = "models/"
_TIMES = ("queue_time", "generation_time", "execution_queue_time", "execution_time")
_COUNTS = tuple(field.name for field in solve_pb2.Accounting.DESCRIPTOR.fields if field.type != field.TYPE_MESSAGE)


def _turned[Word: StrEnum](table: dict[Word, Any]) -> dict[int, Word]:
    return {number: word for word, number in table.items()}


_FINISH = _turned(FINISH)
_SOURCE = _turned(SOURCE)
_BRANCH = _turned(BRANCH)
_OUTCOME = _turned(OUTCOME)
_TIER_REASON = _turned(TIER_REASON)
_TIER_OUTCOME = _turned(TIER_OUTCOME)


class EventReader:
    """Reads the events of one solve; from the request that was sent follows what tests they speak of.

    Every method raises ValueError for what cannot be of this solve, or is not known to this version.
    """

    def __init__(self, spec: SolveSpec) -> None:
        self._places: dict[bool, list[int]] = {False: [], True: []}
        for position, held in enumerate(spec.tests):
            self._places[held.hidden].append(position)
        self._programs = {
            hidden: Program(code="", tests=tuple(spec.tests[position].test for position in positions))
            for hidden, positions in self._places.items()
        }
        self._whole = Program(code="", tests=tuple(held.test for held in spec.tests))

    def event(self, message: solve_pb2.SolveEvent) -> SolveEvent:
        """One event."""
        return SolveEvent(message.sequence, _seconds(message.elapsed), self._body(message))

    def _body(self, message: solve_pb2.SolveEvent) -> EventBody:
        match message.WhichOneof("event"):
            case "accepted":
                accepted = message.accepted
                return Accepted(
                    request_id=accepted.request_id,
                    model=model_in(accepted.model),
                    queue_depth=accepted.queue_depth,
                    prompt_tokens=accepted.prompt_tokens,
                    seed=accepted.seed,
                )
            case "tier_started":
                tier = message.tier_started
                return TierStarted(
                    tier=tier.tier,
                    name=tier.name,
                    model=model_in(tier.model),
                    reason=_word(tier.reason, _TIER_REASON, "reason"),
                )
            case "branch_started":
                started = message.branch_started
                return BranchStarted(
                    branch=started.branch,
                    parent=started.parent if started.HasField("parent") else None,
                    position=started.position,
                    samples=tuple(started.samples),
                    model=model_in(started.model),
                    tier=started.tier,
                )
            case "branch_delta":
                delta = message.branch_delta
                return BranchDelta(branch=delta.branch, text=delta.text, tokens=delta.tokens)
            case "branch_ended":
                ended = message.branch_ended
                return BranchEnded(
                    branch=ended.branch,
                    outcome=_word(ended.outcome, _BRANCH, "outcome"),
                    generated_tokens=ended.generated_tokens,
                    candidate=ended.candidate if ended.HasField("candidate") else None,
                )
            case "candidate_finished":
                finished = message.candidate_finished
                return CandidateFinished(
                    index=finished.index,
                    branch=finished.branch if finished.HasField("branch") else None,
                    finish_reason=_finish_in(finished.finish_reason),
                    generated_tokens=finished.generated_tokens,
                    samples=tuple(finished.samples),
                )
            case "test_finished":
                tested = message.test_finished
                result = test_report_in(tested.result, self._programs[False], self._places[False])
                return TestFinished(index=tested.index, result=result)
            case "candidate_judged":
                return CandidateJudged(candidate=self.candidate(message.candidate_judged.candidate))
            case "samples_joined":
                joined = message.samples_joined
                return SamplesJoined(
                    index=joined.index,
                    samples=tuple(joined.samples),
                    sample_logprobs=tuple(joined.sample_logprobs),
                )
            case "summary":
                return self.summary(message.summary)
            case None:
                raise ValueError("an event that is not known here; is that server newer than this one?")

    def summary(self, message: solve_pb2.Summary) -> Summary:
        """The last event."""
        return Summary(
            outcome=_word(message.outcome, _OUTCOME, "outcome"),
            candidates=tuple(self.candidate(candidate) for candidate in message.candidates),
            accounting=_accounting_in(message.accounting),
            escalation=Escalation(
                recommended=message.escalation.recommended,
                confidence=message.escalation.confidence,
                reason=message.escalation.reason,
            ),
            seed=message.seed,
            tiers=tuple(_tier_cost_in(tier) for tier in message.tiers),
            lowered_limits=tuple(self._lowered_in(lowered) for lowered in message.lowered_limits),
            expected_draws=message.expected_draws if message.HasField("expected_draws") else None,
        )

    def candidate(self, message: solve_pb2.Candidate) -> Candidate:
        """A program."""
        if len(message.samples) != len(message.sample_logprobs):
            raise ValueError("sample_logprobs: there must be one for each of samples")
        return Candidate(
            index=message.index,
            code=message.code,
            finish_reason=_finish_in(message.finish_reason),
            generated_tokens=message.generated_tokens,
            samples=tuple(message.samples),
            model=model_in(message.model),
            source=_word(message.source, _SOURCE, "source"),
            tier=message.tier,
            mean_logprob=message.mean_logprob if message.HasField("mean_logprob") else None,
            sample_logprobs=tuple(message.sample_logprobs),
            report=self._report_in(message.report, hidden=False) if message.HasField("report") else None,
            held_out=self._report_in(message.held_out, hidden=True) if message.HasField("held_out") else None,
        )

    def _report_in(self, message: verdict_pb2.ExecutionReport, *, hidden: bool) -> Report:
        return report_in(message, self._programs[hidden], self._places[hidden])

    def _lowered_in(self, message: verdict_pb2.LoweredLimit) -> LoweredLimit:
        return limit_in(message, self._whole, range(len(self._whole.tests)))


def model_info_in(message: info_service_pb2.Model) -> ModelInfo:
    """A model of another server."""
    return ModelInfo(
        name=model_in(message.name),
        context_length=message.context_length,
        chat=message.chat,
        infill=message.infill,
        dtype=message.dtype,
        device=message.device,
        deterministic=message.deterministic,
        tiers=tuple(TierInfo(tier.name, model_in(tier.model), tuple(tier.addresses)) for tier in message.tiers),
    )


def model_in(name: str) -> str:
    """A model's own name; empty stays empty."""
    return name.removeprefix(_PREFIX)


def _word[Word: StrEnum](number: int, table: dict[int, Word], name: str) -> Word:
    if number not in table:
        raise ValueError(f"{name}: {number} is not known here; is that server newer than this one?")
    return table[number]


def _finish_in(number: solve_pb2.FinishReason.ValueType) -> FinishReason | None:
    return None if number == solve_pb2.FINISH_REASON_UNSPECIFIED else _word(number, _FINISH, "finish_reason")


def _accounting_in(message: solve_pb2.Accounting) -> Accounting:
    first = _seconds(message.time_to_first_pass) if message.HasField("time_to_first_pass") else None
    figures: dict[str, Any] = {name: getattr(message, name) for name in _COUNTS}
    figures |= {name: _seconds(getattr(message, name)) for name in _TIMES}
    return Accounting(**figures, time_to_first_pass=first)


def _tier_cost_in(message: solve_pb2.TierCost) -> TierCost:
    return TierCost(
        tier=message.tier,
        name=message.name,
        model=model_in(message.model),
        outcome=_word(message.outcome, _TIER_OUTCOME, "outcome"),
        accounting=_accounting_in(message.accounting),
        price=message.price if message.HasField("price") else None,
        partial=message.partial,
        detail=message.detail,
    )


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
