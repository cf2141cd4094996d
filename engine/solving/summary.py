"""What comes back of a solve: how it ended, its candidates, and what it cost. Times are in seconds."""

from dataclasses import dataclass
from enum import StrEnum

from engine.core.types import FinishReason
from executor.verdict import LoweredLimit, Report, Verdict


class SolveOutcome(StrEnum):
    """Why a solve ended well enough to have a summary."""

    SOLVED = "solved"
    EXHAUSTED = "exhausted"
    BUDGET_TIME = "budget_time"
    BUDGET_TOKENS = "budget_tokens"
    BUDGET_EXECUTIONS = "budget_executions"
    BUDGET_ROWS = "budget_rows"


class CandidateSource(StrEnum):
    """Where a candidate came from."""

    SAMPLED = "sampled"
    PRIOR_ATTEMPT = "prior_attempt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A finished program. Samples with the same program share one candidate.

    A prior attempt has no samples as long as none draws it, and no finish reason. Log-probabilities are natural
    logarithms: `mean_logprob` is per token, and like `generated_tokens` of its first sample; `sample_logprobs` are
    summed over the tokens of each of `samples`.
    """

    index: int
    code: str
    finish_reason: FinishReason | None
    generated_tokens: int
    samples: tuple[int, ...]
    model: str
    source: CandidateSource = CandidateSource.SAMPLED
    tier: int = 0
    mean_logprob: float | None = None
    sample_logprobs: tuple[float, ...] = ()
    report: Report | None = None
    held_out: Report | None = None

    @property
    def passed(self) -> bool:
        """Whether it passed all visible tests."""
        return self.report is not None and self.report.verdict is Verdict.PASSED


@dataclass(slots=True, kw_only=True)
class Accounting:
    """What a solve cost. See Accounting in solve.proto for the meaning of each figure.

    For the metrics alone: `pruned_tokens`, those of `wasted_tokens` that pruned samples drew; `recomputed_tokens`;
    `preemptions`; `after_pass_tokens` of programs that were complete and, after a pass, not judged any more;
    `candidates_to_first_pass`, judged until the first passed, that one included.
    """

    samples_requested: int = 0
    samples_started: int = 0
    samples_finished: int = 0
    samples_pruned: int = 0
    samples_cut_off: int = 0
    samples_passed: int = 0
    branches_started: int = 0
    candidates_finished: int = 0
    candidates_executed: int = 0
    candidates_passed: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    generated_tokens: int = 0
    rows_computed: int = 0
    rows_saved: int = 0
    wasted_tokens: int = 0
    pruned_tokens: int = 0
    recomputed_tokens: int = 0
    preemptions: int = 0
    after_pass_tokens: int = 0
    candidates_to_first_pass: int | None = None
    drafted_tokens: int = 0
    accepted_draft_tokens: int = 0
    time_to_first_pass: float | None = None
    queue_time: float = 0.0
    generation_time: float = 0.0
    execution_queue_time: float = 0.0
    execution_time: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """Advice to a router above: whether another tier is worth asking."""

    recommended: bool
    confidence: float
    reason: str


class TierOutcome(StrEnum):
    """What became of a tier's part of a solve."""

    SOLVED = "solved"
    EXHAUSTED = "exhausted"
    BUDGET = "budget"
    CUT_OFF = "cut_off"
    """The solve was over without it."""
    LOST = "lost"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class TierCost:
    """What one tier of a cascade has cost; all of them add up to the accounting of the solve.

    `price` is that of its tokens, None without a price for them. `partial`: it did not live to give its own account,
    and this is what its events had told. `detail`: why it was lost, or what it refused.
    """

    tier: int
    name: str
    model: str
    outcome: TierOutcome
    accounting: Accounting
    price: float | None = None
    partial: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The last event of a solve that ended well. `lowered_limits` are those that a server elsewhere has lowered.

    `expected_draws`: until the first pass, see `policy.expected_draws`.
    """

    outcome: SolveOutcome
    candidates: tuple[Candidate, ...]
    accounting: Accounting
    escalation: Escalation
    seed: int
    tiers: tuple[TierCost, ...] = ()
    lowered_limits: tuple[LoweredLimit, ...] = ()
    expected_draws: float | None = None
