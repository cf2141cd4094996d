"""What happens in a solve, as its caller is told: its events, of which the summary is the last."""

from dataclasses import dataclass
from enum import StrEnum

from engine.core.types import FinishReason
from engine.solving.summary import Candidate, Summary
from executor.verdict import TestReport


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
