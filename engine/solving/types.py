"""The domain of a solve: what is asked, what happens, what comes back. Free of gRPC; times are in seconds."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from engine.core.types import FinishReason as FinishReason
from engine.core.types import Mode as Mode
from executor.types import Limits, Test
from executor.verdict import LoweredLimit, Report, TestReport, Verdict


class ReturnPolicy(StrEnum):
    """When a solve ends and which candidates come back."""

    FIRST_PASS = "first_pass"
    ALL = "all"
    BEST = "best"


class Priority(StrEnum):
    """How urgent a solve is."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class Prune(StrEnum):
    """When a sample is given up before its text ends."""

    NONE = "none"
    SYNTAX = "syntax"


class SolveOutcome(StrEnum):
    """Why a solve ended well enough to have a summary."""

    SOLVED = "solved"
    EXHAUSTED = "exhausted"
    BUDGET_TIME = "budget_time"
    BUDGET_TOKENS = "budget_tokens"
    BUDGET_EXECUTIONS = "budget_executions"
    BUDGET_ROWS = "budget_rows"


class TierReason(StrEnum):
    """Why a tier of a cascade was asked, in view of the one before it."""

    FIRST = "first"
    """There is none before it."""
    EXHAUSTED = "exhausted"
    """All samples of the one before have failed."""
    GAVE_UP = "gave_up"
    """The same, of fewer samples than it might have drawn: more were not worth what they cost."""
    BUDGET = "budget"
    LOST = "lost"
    """The one before cannot be reached, broke off, or does not keep the protocol."""
    REFUSED = "refused"
    TIME = "time"
    """It has taken too long, and goes on beside this one."""
    CHANCE = "chance"
    """It is unlikely to solve it, and goes on beside this one."""


class TierOutcome(StrEnum):
    """What became of a tier's part of a solve."""

    SOLVED = "solved"
    EXHAUSTED = "exhausted"
    BUDGET = "budget"
    CUT_OFF = "cut_off"
    """The solve was over without it."""
    LOST = "lost"
    REFUSED = "refused"


class CandidateSource(StrEnum):
    """Where a candidate came from."""

    SAMPLED = "sampled"
    PRIOR_ATTEMPT = "prior_attempt"


class BranchOutcome(StrEnum):
    """How a branch ended. Each branch ends exactly once."""

    FINISHED = "finished"
    PRUNED = "pruned"
    DUPLICATE = "duplicate"
    CUT_OFF = "cut_off"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    BUDGET = "budget"
    DROPPED = "dropped"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class CompletionPrompt:
    """A text to continue. `part_of_program`: the program is this text followed by the completion (HumanEval)."""

    text: str
    part_of_program: bool = False


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One chat turn; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """Turns rendered with the model's chat template."""

    messages: tuple[ChatMessage, ...]


@dataclass(frozen=True, slots=True)
class InfillPrompt:
    """A program with a hole: the program is prefix, drawn text and suffix. `path` is its file's, empty for none."""

    prefix: str
    suffix: str
    path: str = ""


Prompt = CompletionPrompt | ChatPrompt | InfillPrompt


@dataclass(frozen=True, slots=True)
class HeldTest:
    """A test of a problem. Hidden tests run only after all visible ones passed, never decide and are never quoted."""

    test: Test
    hidden: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """What the text of every sample must match: a regular expression, a grammar or a JSON schema."""

    kind: Literal["regex", "ebnf", "json_schema"]
    text: str


DEFAULT_K = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How samples are drawn. None means the model's or the server's default, and so does an empty `temperatures`.

    Sample i is drawn at temperature number (i // prompts) % count. `distinct_programs`: texts whose program is there
    already do not count towards k.
    """

    k: int | None = None
    mode: Mode = Mode.INDEPENDENT
    temperatures: tuple[float, ...] = ()
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    length_penalty: float = 1.0
    max_new_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    greedy_first: bool = False
    width: int | None = None
    keep_after_program: bool = False
    prune: Prune = Prune.NONE
    constraint: Constraint | None = None
    distinct_programs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Soft limits; on reaching one the solve ends with a summary."""

    wall_seconds: float | None = None
    generated_tokens: int | None = None
    executions: int | None = None
    rows: int | None = None

    @property
    def given(self) -> bool:
        """Whether there is any limit."""
        return self != Budget()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOptions:
    """Which optional events the caller wants."""

    token_deltas: bool = False
    delta_interval: float = 0.05
    test_results: bool = False
    failing_code: bool = False
    branches: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorAttempt:
    """A program that somebody else wrote for the problem. `report` is there where it has been judged and failed."""

    code: str
    report: Report | None = None
    mean_logprob: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """What is known from cheaper tiers. Their attempts are judged before a token is drawn.

    `in_prompt`: attempts that failed are shown to the model with what was wrong. `difficulty`: how likely it is that a
    sample fails, 0 to 1, as the caller guesses it.
    """

    attempts: tuple[PriorAttempt, ...] = ()
    in_prompt: bool = False
    tier: int = 0
    upstream_model: str = ""
    difficulty: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveSpec:
    """One validated request. `variants` are other prompts of the same problem: sample i continues number i % count."""

    request_id: str
    prompt: Prompt
    tests: tuple[HeldTest, ...]
    model: str = ""  # without the "models/" prefix; empty: the server's default
    problem_id: str = ""
    entry_point: str | None = None
    setup_code: str = ""
    limits: Limits = field(default_factory=Limits)
    sampling: Sampling = field(default_factory=Sampling)
    return_policy: ReturnPolicy = ReturnPolicy.FIRST_PASS
    stop_after_passes: int = 1
    budget: Budget = field(default_factory=Budget)
    events: EventOptions = field(default_factory=EventOptions)
    priority: Priority = Priority.INTERACTIVE
    variants: tuple[Prompt, ...] = ()
    client: str = ""  # whom the engine's time is shared between
    cascade: Cascade = field(default_factory=Cascade)

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """All prompts, the problem's own first."""
        return (self.prompt, *self.variants)

    def samples(self, most: int) -> int:
        """How many samples to draw at most: k; without it as many as a budget pays for, up to `most`."""
        if self.sampling.k is not None:
            return self.sampling.k
        return most if self.budget.given else min(DEFAULT_K, most)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The request is valid and queued."""

    request_id: str
    model: str
    queue_depth: int
    prompt_tokens: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchStarted:
    """Samples that have drawn the same tokens so far entered the batch, `position` tokens after the prompt."""

    branch: int
    parent: int | None
    position: int
    samples: tuple[int, ...]
    model: str
    tier: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchDelta:
    """More text of a branch."""

    branch: int
    text: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchEnded:
    """A branch left the batch; `generated_tokens` counts its text from the root."""

    branch: int
    outcome: BranchOutcome
    generated_tokens: int
    candidate: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateFinished:
    """A new program is complete and queued for execution; a prior attempt, without branch and samples, is there."""

    index: int
    branch: int | None
    finish_reason: FinishReason | None
    generated_tokens: int
    samples: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TestFinished:
    """One visible test of one candidate has run."""

    __test__ = False  # not a pytest class

    index: int
    result: TestReport


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateJudged:
    """A candidate has its verdict."""

    candidate: Candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplesJoined:
    """More samples drew a candidate that was already finished."""

    index: int
    samples: tuple[int, ...]
    sample_logprobs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TierStarted:
    """Another tier of a cascade was asked; `model` is what it is called there."""

    tier: int
    name: str
    model: str
    reason: TierReason


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
    """The last event of a solve that ended well. `lowered_limits` are those that a server elsewhere has lowered."""

    outcome: SolveOutcome
    candidates: tuple[Candidate, ...]
    accounting: Accounting
    escalation: Escalation
    seed: int
    tiers: tuple[TierCost, ...] = ()
    lowered_limits: tuple[LoweredLimit, ...] = ()


EventBody = (
    Accepted
    | TierStarted
    | BranchStarted
    | BranchDelta
    | BranchEnded
    | CandidateFinished
    | TestFinished
    | CandidateJudged
    | SamplesJoined
    | Summary
)


@dataclass(frozen=True, slots=True)
class SolveEvent:
    """One event: `sequence` counts 1, 2, 3 ... within a solve, `elapsed` seconds since it was accepted."""

    sequence: int
    elapsed: float
    body: EventBody


@dataclass(frozen=True, slots=True)
class TierInfo:
    """A tier of a cascade: its name, its model's (empty: the default one there), and where it is (empty: here)."""

    name: str
    model: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A served model. `deterministic`: what a sample draws does not depend on what else is drawn, bit for bit.

    A cascade is one more, with its `tiers`; it can do what any of them can.
    """

    name: str
    context_length: int
    chat: bool
    infill: bool
    dtype: str
    device: str
    deterministic: bool
    tiers: tuple[TierInfo, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How busy the server is; kv_cache_usage is 0..1, rows_per_second the mean of the last 10 s."""

    solves_running: int
    solves_waiting: int
    branches_running: int
    kv_cache_usage: float
    executor_slots: int
    executor_queue: int
    rows_per_second: float
    draining: bool
