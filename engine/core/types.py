"""What travels in and out of the core: requests, intents, steps for the runner, events for the solver."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from engine.core.distribution import Distribution

Slots = npt.NDArray[np.int32]
"""KV locations of consecutive tokens: slot = page * page_size + offset within the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """How logits become a distribution: temperature, then top-k, then top-p, then min-p.

    temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 mean no limit.
    """

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


class Mode(StrEnum):
    """How a solve explores its sampling tree."""

    INDEPENDENT = "independent"
    """k independent draws."""
    DISTINCT = "distinct"
    """Draws without replacement, in the order in which they would be drawn one after the other."""
    BEAM = "beam"
    """The k texts of the highest score, as far as a beam of k finds them."""


class FinishReason(StrEnum):
    """Why a sample's text ends where it does.

    PRUNED: it can no longer become a valid program. Such a text is no candidate.
    """

    END_OF_TEXT = "end_of_text"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    END_OF_PROGRAM = "end_of_program"
    PRUNED = "pruned"


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


Mask = npt.NDArray[np.uint32]
"""Tokens that may be drawn: bit token % 32 of word token // 32."""


class Stopper(Protocol):
    """Recognises where a sample's text ends and what it may go on with; one per branch, copied at a fork."""

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

    @property
    def mask(self) -> Mask | None:
        """The tokens that may come next; None for all."""
        ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids, at least one, and the stopper of a text that continues them."""

    tokens: list[int]
    stopper: Stopper


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreRequest:
    """One solve as the core sees it. `width`, `at_once`, `max_rows` and `max_tokens` are limits; None is no limit.

    Sample i continues prompt i % len(prompts) and is drawn by filters (i // len(prompts)) % len(filters); modes other
    than INDEPENDENT take one of each. `greedy_first`: sample 0 is greedy instead. `length_penalty`: the score of a text
    of a beam is its log-probability / length ** length_penalty. `at_once`: samples begun and not ended, as far as the
    mode begins them one by one: where nobody knows how many of the k will be wanted, others are not begun for nothing.
    `interactive` solves go ahead of the others; between those of one kind the clients share the rows. `deadline` is on
    the scheduler's clock, in seconds. `first_pass`: the solve is over with the first sample that passes, so that its
    width is chosen for that; `judges` candidates can be judged at once. `likenesses`: texts like those that will be
    drawn, as token ids; drafts come from them, too. `difficulty`: the chance that a sample fails, as somebody guesses.
    """

    solve: int
    prompts: tuple[Prompt, ...]
    k: int
    filters: tuple[Filters, ...]
    seed: int
    max_new_tokens: int
    mode: Mode = Mode.INDEPENDENT
    length_penalty: float = 1.0
    greedy_first: bool = False
    width: int | None = None
    at_once: int | None = None
    max_rows: int | None = None
    max_tokens: int | None = None
    interactive: bool = True
    client: str = ""
    deadline: float | None = None
    first_pass: bool = False
    judges: int = 1
    likenesses: tuple[list[int], ...] = ()
    difficulty: float | None = None


@dataclass(slots=True)
class Ask:
    """A distribution that the runner is asked for: the one after token number `token` of a chunk.

    `numbers` ([n] float64 in [0, 1)) are the draws about to be made from it, which it must resolve. `whole`: no token
    of positive probability may be left out. `mask`: the tokens that may be drawn.
    """

    token: int
    filters: Filters
    numbers: npt.NDArray[np.float64]
    mask: Mask | None = None
    whole: bool = False


@dataclass(slots=True)
class Chunk:
    """A run of tokens of one path for the runner.

    The path is prefix + suffix; `suffix` ends with the slots of this chunk's own tokens, whose keys and values the
    runner writes. Rows of one prompt hold the identical `prefix` object, so the runner can group them. `start` is the
    position of the first token. `prompt`: how many tokens of the path are the prompt's, what follows being drawn; None:
    all of it is prompt.
    """

    solve: int
    tokens: list[int]
    start: int
    prefix: Slots
    suffix: Slots
    asks: list[Ask] = field(default_factory=list["Ask"])
    prompt: int | None = None


UNKNOWN = -1
"""Stands for a token that a step in flight will draw."""

Draw = tuple[int, int | None]
"""An ask of a step, counted over its chunks, and which of its numbers draws; None: the greedy token."""


@dataclass(slots=True)
class Step:
    """One step of the engine: prefill chunks and decode rows together.

    after: empty, or for each chunk the draw of the step before that is its only token, which is `UNKNOWN` yet.
    """

    chunks: list[Chunk]
    after: list[Draw] = field(default_factory=list[Draw])

    @property
    def tokens(self) -> int:
        """Number of tokens the step computes."""
        return sum(len(chunk.tokens) for chunk in self.chunks)


class Runner(Protocol):
    """Executes one step; owns the KV pool."""

    page_size: int
    pages: int

    def run(self, step: Step) -> list[list[Distribution]]:
        """For each chunk the distributions it asks for, in the order of its asks."""
        ...


@dataclass(frozen=True, slots=True)
class BranchStarted:
    """A branch got its first samples; `position` tokens after the prompt it left `parent` (None: the root)."""

    solve: int
    branch: int
    parent: int | None
    position: int
    samples: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BranchText:
    """More text of a running branch, the first time all of it; `tokens` is the length of its whole text in tokens."""

    solve: int
    branch: int
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class BranchFinished:
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


@dataclass(frozen=True, slots=True)
class SamplesFinished:
    """Late samples drew the whole text of a branch that had already finished."""

    solve: int
    branch: int
    samples: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BranchPruned:
    """A branch was given up while its solve goes on: its text cannot become valid, or others took its place."""

    solve: int
    branch: int
    tokens: int
    samples: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BranchCut:
    """A branch ended with its solve before its text was complete."""

    solve: int
    branch: int
    tokens: int
    samples: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SolveStarted:
    """The first chunk of a solve entered a step, `queued` seconds after its arrival.

    Of its `prompt_tokens`, `cached_tokens` were found in the prefix cache.
    """

    solve: int
    queued: float
    prompt_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class FirstToken:
    """A prompt of a solve is computed, so that its first token can be drawn: `seconds` after the solve's arrival."""

    solve: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthChosen:
    """The scheduler has chosen how many rows a solve should have from now on, and why.

    After `failed` samples that failed, with `unjudged` more that wait for their verdicts, the next one is expected to
    pass with the chance `pass_rate`, and the solve to be over in `seconds`; `sharing` solves share the steps.
    """

    solve: int
    width: int
    failed: int
    unjudged: int
    pass_rate: float
    seconds: float
    sharing: int


@dataclass(frozen=True, slots=True)
class WidthHeld:
    """A solve has `rows` fewer rows than were chosen, since `unjudged` texts wait for their verdicts; 0: no longer."""

    solve: int
    rows: int
    unjudged: int


@dataclass(frozen=True, slots=True)
class BranchSetBack:
    """A branch has lost its pages to older ones. It keeps its `tokens` tokens, which are computed again later."""

    solve: int
    branch: int
    tokens: int


@dataclass(frozen=True, slots=True)
class BranchRedrawn:
    """A branch that was set back has its pages again, and goes on."""

    solve: int
    branch: int


@dataclass(slots=True, kw_only=True)
class Counts:
    """What a solve has cost so far. Every sample that has started is finished, pruned or cut in the end.

    Of `prompt_tokens`, `cached_tokens` were computed for an earlier solve. `rows`: tokens that the model computed for
    branches, drafted ones included. Of `drafted_tokens`, `accepted_tokens` were what the samples drew. Of
    `wasted_tokens`, pruned samples drew `pruned_tokens`.
    """

    samples_started: int = 0
    samples_finished: int = 0
    samples_pruned: int = 0
    samples_cut: int = 0
    branches: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    rows: int = 0
    recomputed_tokens: int = 0
    wasted_tokens: int = 0
    pruned_tokens: int = 0
    preemptions: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0

    @property
    def rows_saved(self) -> int:
        """Rows that separate draws would have computed on top.

        A separate draw of n tokens computes n - 1 decode rows: its first token comes from the prompt's last row. Wrong
        drafts are left out: separate draws would have had theirs.
        """
        wrong = self.drafted_tokens - self.accepted_tokens
        return max(0, self.generated_tokens - self.samples_started - (self.rows - wrong))


@dataclass(frozen=True, slots=True)
class SolveEnded:
    """The solve draws no more and holds no page: its last event. `latency`: seconds from the intent to here."""

    solve: int
    reason: EndReason
    counts: Counts
    latency: float = 0.0


CoreEvent = (
    BranchStarted
    | BranchText
    | BranchFinished
    | SamplesFinished
    | BranchPruned
    | BranchCut
    | SolveStarted
    | FirstToken
    | WidthChosen
    | WidthHeld
    | BranchSetBack
    | BranchRedrawn
    | SolveEnded
)
