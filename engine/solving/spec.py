"""What a solve is asked: its prompt and tests, how to draw, what it may cost and when it ends. Times are in seconds."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from engine.core.types import Mode
from executor.types import Limits, Test
from executor.verdict import Report


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
