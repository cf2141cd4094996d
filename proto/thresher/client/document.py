"""Types of problem documents (docs/problem-files.md), for editors and type checkers.

    document: Problem = {"prompt": "Write add(a, b).", "tests": ["assert add(1, 2) == 3"], "sampling": {"k": 8}}
    spec = solve_spec(document)

A plain dict does as well: `solve_spec` checks every key and value of either.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict


class ChatTurn(TypedDict):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class Completion(TypedDict, total=False):
    """Raw text to go on with."""

    text: str
    part_of_program: bool


class Infill(TypedDict, total=False):
    """What stands around a hole."""

    prefix: str
    suffix: str
    path: str


class Variant(TypedDict, total=False):
    """Another prompt of the same problem: exactly one of these."""

    prompt: str
    chat: Sequence[ChatTurn]
    completion: str | Completion
    infill: Infill


class Limits(TypedDict, total=False):
    """Of each test."""

    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int
    output_bytes: int
    max_processes: int


class Sampling(TypedDict, total=False):
    """How to draw (docs/sampling.md)."""

    mode: Literal["independent", "distinct", "beam"]
    k: int
    temperature: float
    temperatures: Sequence[float]
    top_p: float
    top_k: int
    min_p: float
    max_new_tokens: int
    stop: Sequence[str]
    seed: int
    greedy_first: bool
    distinct_programs: bool
    length_penalty: float
    prune: Literal["none", "syntax"]
    regex: str
    ebnf: str
    json_schema: str | Mapping[str, Any]
    repetition_penalty: float
    width: int
    keep_after_program: bool


class Budget(TypedDict, total=False):
    """What may be spent."""

    wall_seconds: float
    generated_tokens: int
    executions: int
    rows: int


class Events(TypedDict, total=False):
    """Which optional events are wanted."""

    token_deltas: bool
    delta_interval_ms: int
    test_results: bool
    failing_code: bool
    branches: bool


class PriorAttempt(TypedDict, total=False):
    """A program that somebody else wrote."""

    code: str
    mean_logprob: float


class Cascade(TypedDict, total=False):
    """What a cheaper tier knows (docs/cascades.md)."""

    prior_attempts: Sequence[str | PriorAttempt]
    attempts_in_prompt: bool
    upstream_model: str
    tier: int
    difficulty: float


class Problem(TypedDict, total=False):
    """A problem document: exactly one of prompt, chat, completion and infill; a test is a text or a mapping."""

    prompt: str
    chat: Sequence[ChatTurn]
    completion: str | Completion
    infill: Infill
    variants: Sequence[str | Variant]
    tests: Sequence[str | Mapping[str, Any]]
    entry_point: str
    setup_code: str
    limits: Limits
    language: Literal["python", "cpp", "javascript"]
    problem_id: str
    sampling: Sampling
    policy: Literal["first_pass", "all", "best"]
    stop_after_passes: int
    budget: Budget
    cascade: Cascade
    model: str
    priority: Literal["interactive", "batch"]
    events: Events
    request_id: str
