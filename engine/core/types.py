"""What travels in and out of the core: requests, intents, steps for the runner, events for the solver."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, Self

import msgspec
import numpy as np
import numpy.typing as npt

from engine.core.distribution import Distribution

Slots = npt.NDArray[np.int32]
"""KV locations of consecutive tokens: slot = page * page_size + offset within the page."""


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """How logits become a distribution: temperature, then top-k, then top-p, then min-p.

    temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 mean no limit.
    """

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


class FinishReason(StrEnum):
    """Why a sample's text ends where it does."""

    END_OF_TEXT = "end_of_text"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    END_OF_PROGRAM = "end_of_program"


class EndReason(StrEnum):
    """Why a solve stops drawing. COMPLETE: every sample has ended by itself."""

    COMPLETE = "complete"
    CUT_OFF = "cut_off"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    BUDGET_TIME = "budget_time"
    BUDGET_TOKENS = "budget_tokens"
    BUDGET_ROWS = "budget_rows"
    BUDGET_EXECUTIONS = "budget_executions"
    ERROR = "error"


class Stopper(Protocol):
    """Recognises where a sample's text ends; one per branch, copied at a fork."""

    def push(self, token: int) -> FinishReason | None:
        """Take the next token; the reason if the text ends with it."""
        ...

    def fork(self) -> Self:
        """An independent copy."""
        ...

    @property
    def text(self) -> str:
        """The text that belongs to the sample so far."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreRequest:
    """One solve as the core sees it. `width`, `max_rows` and `max_tokens` are limits; None is no limit.

    `prompt` are token ids, at least one. `interactive` solves go ahead of the others.
    """

    solve: int
    prompt: list[int]
    k: int
    filters: Filters
    seed: int
    max_new_tokens: int
    stopper: Stopper
    greedy_first: bool = False
    width: int | None = None
    max_rows: int | None = None
    max_tokens: int | None = None
    interactive: bool = True


@dataclass(slots=True)
class Chunk:
    """A run of tokens of one path for the runner.

    The path is prefix + suffix; `suffix` ends with the slots of this chunk's own tokens, whose keys and values the
    runner writes. Rows of one solve hold the identical `prefix` object, so the runner can group them. `start` is the
    position of the first token. If `filters` is given, the runner answers with the distribution after the last token;
    `numbers` ([n] float64 in [0, 1)) are the draws about to be made from it, which it must resolve.
    """

    solve: int
    tokens: list[int]
    start: int
    prefix: Slots
    suffix: Slots
    filters: Filters | None = None
    numbers: npt.NDArray[np.float64] | None = None


@dataclass(slots=True)
class Step:
    """One step of the engine: prefill chunks and decode rows together."""

    chunks: list[Chunk]

    @property
    def tokens(self) -> int:
        """Number of tokens the step computes."""
        return sum(len(chunk.tokens) for chunk in self.chunks)


class Runner(Protocol):
    """Executes one step; owns the KV pool."""

    page_size: int
    pages: int

    def run(self, step: Step) -> list[Distribution | None]:
        """One entry per chunk: the distribution where `filters` was given, else None."""
        ...


class BranchStarted(msgspec.Struct, frozen=True, tag="branch_started"):
    """A branch got its first samples; `position` tokens after the prompt it left `parent` (None: the root)."""

    solve: int
    branch: int
    parent: int | None
    position: int
    samples: tuple[int, ...]


class BranchText(msgspec.Struct, frozen=True, tag="branch_text"):
    """More text of a running branch, the first time all of it; `tokens` is the length of its whole text in tokens."""

    solve: int
    branch: int
    text: str
    tokens: int


class BranchFinished(msgspec.Struct, frozen=True, tag="branch_finished"):
    """A branch's text is complete.

    `logprob` is the sum over its tokens of the natural logarithm of the unfiltered probability at temperature 1.
    """

    solve: int
    branch: int
    reason: FinishReason
    text: str
    tokens: int
    logprob: float
    samples: tuple[int, ...]


class SamplesFinished(msgspec.Struct, frozen=True, tag="samples_finished"):
    """Late samples drew the whole text of a branch that had already finished."""

    solve: int
    branch: int
    samples: tuple[int, ...]


class BranchCut(msgspec.Struct, frozen=True, tag="branch_cut"):
    """A branch ended with its solve before its text was complete."""

    solve: int
    branch: int
    tokens: int
    samples: tuple[int, ...]


class SolveStarted(msgspec.Struct, frozen=True, tag="solve_started"):
    """The first chunk of a solve entered a step, `queued` seconds after its arrival."""

    solve: int
    queued: float


class Counts(msgspec.Struct, kw_only=True):
    """What a solve has cost so far."""

    samples_started: int = 0
    samples_finished: int = 0
    samples_cut: int = 0
    branches: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    rows: int = 0
    recomputed_tokens: int = 0
    wasted_tokens: int = 0
    preemptions: int = 0

    @property
    def rows_saved(self) -> int:
        """Rows that separate draws would have computed on top.

        A separate draw of n tokens computes n - 1 decode rows: its first token comes from the prompt's last row.
        """
        return max(0, self.generated_tokens - self.samples_started - self.rows)


class SolveEnded(msgspec.Struct, frozen=True, tag="solve_ended"):
    """The solve draws no more and holds no page: its last event. `latency`: seconds from the intent to here."""

    solve: int
    reason: EndReason
    counts: Counts
    latency: float = 0.0


CoreEvent = BranchStarted | BranchText | BranchFinished | SamplesFinished | BranchCut | SolveStarted | SolveEnded
