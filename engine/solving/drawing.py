"""What the engine is asked to draw for a request, with the defaults filled in."""

from engine.core.types import Filters, Mode
from engine.loop.messages import Completion, Infill, Submit, Turn
from engine.loop.messages import Constraint as EngineConstraint
from engine.loop.messages import Prompt as EnginePrompt
from engine.solving.candidates import Entry
from engine.solving.feedback import Failure, with_failures
from engine.solving.spec import (
    ChatPrompt,
    CompletionPrompt,
    InfillPrompt,
    Priority,
    Prompt,
    Prune,
    ReturnPolicy,
    Sampling,
    SolveSpec,
)

DEFAULT_TEMPERATURE = 0.8
DEFAULT_TOP_P = 0.95

OPEN_END_SAMPLES = 64
"""Samples being drawn at once where their number is open: enough to fill the rows of a step."""


def submission(
    spec: SolveSpec,
    *,
    k: int,
    most: int,
    seed: int,
    judges: int,
    seconds_left: float | None,
    attempts: tuple[Entry, ...] = (),
) -> Submit:
    """The engine's part of a request for k samples; `judges` programs are judged at once, `attempts` have been.

    Who wants distinct programs gets sequences, up to `most`, until there are k programs: how many that takes, only
    their programs tell.
    """
    sampling = spec.sampling
    constraint = sampling.constraint
    return Submit(
        solve=0,
        prompts=tuple(_prompt(prompt) for prompt in _told(spec, attempts)),
        likenesses=tuple(entry.code for entry in attempts),
        difficulty=spec.cascade.difficulty,
        k=most if sampling.distinct_programs else k,
        mode=sampling.mode,
        filters=_filters(sampling, k),
        length_penalty=sampling.length_penalty,
        seed=seed,
        max_new_tokens=sampling.max_new_tokens,
        stop=sampling.stop,
        end_at_program=not sampling.keep_after_program,
        entry_point=spec.entry_point,
        prune=sampling.prune is Prune.SYNTAX,
        constraint=None if constraint is None else EngineConstraint(constraint.kind, constraint.text),
        greedy_first=sampling.greedy_first,
        width=sampling.width,
        at_once=_at_once(spec, k),
        max_rows=spec.budget.rows,
        max_tokens=spec.budget.generated_tokens,
        interactive=spec.priority is Priority.INTERACTIVE,
        delta_seconds=spec.events.delta_interval if spec.events.token_deltas else None,
        client=spec.client,
        seconds_left=seconds_left,
        first_pass=spec.return_policy is ReturnPolicy.FIRST_PASS,
        judges=judges,
    )


def _told(spec: SolveSpec, attempts: tuple[Entry, ...]) -> tuple[Prompt, ...]:
    """The prompts, with the failed attempts in those that can hold them."""
    failed = [Failure(entry.code, entry.report) for entry in attempts if entry.report is not None and not entry.passed]
    if not spec.cascade.in_prompt or not failed:
        return spec.prompts
    return tuple(
        with_failures(prompt, failed, spec.tests) if isinstance(prompt, ChatPrompt) else prompt
        for prompt in spec.prompts
    )


def _filters(sampling: Sampling, k: int) -> tuple[Filters, ...]:
    """One for each temperature. A single sample is greedy unless told otherwise; a beam follows the model as it is."""
    if sampling.mode is Mode.BEAM:
        return (Filters(temperature=1.0),)
    usual = 0.0 if k == 1 else DEFAULT_TEMPERATURE
    return tuple(
        Filters(
            temperature=temperature,
            top_k=sampling.top_k or 0,
            top_p=DEFAULT_TOP_P if sampling.top_p is None else sampling.top_p,
            min_p=sampling.min_p or 0.0,
        )
        for temperature in sampling.temperatures or (usual,)
    )


def _at_once(spec: SolveSpec, k: int) -> int | None:
    """Where nobody knows how many samples will be wanted, they are begun as others end."""
    if spec.sampling.distinct_programs:
        return k if spec.sampling.k is not None else OPEN_END_SAMPLES
    return OPEN_END_SAMPLES if spec.sampling.k is None and spec.budget.given else None


def _prompt(prompt: Prompt) -> EnginePrompt:
    match prompt:
        case CompletionPrompt():
            return Completion(prompt.text, prompt.part_of_program)
        case InfillPrompt():
            return Infill(prompt.prefix, prompt.suffix, prompt.path)
        case ChatPrompt():
            return tuple(Turn(message.role, message.content) for message in prompt.messages)
