"""A whole request for another server: from domain to proto, the way back of `solve_in`."""

from thresher.v1 import problem_pb2, solve_pb2

from engine.core.types import Mode
from engine.serving.problem_out import limits_out, test_out
from engine.serving.report_out import TestPlaces, duration_out, report_out
from engine.serving.sampling_in import MODES, PRUNES
from engine.serving.solve_in import POLICIES, PRIORITIES
from engine.serving.solve_out import model_name
from engine.solving.spec import (
    Budget,
    Cascade,
    ChatPrompt,
    CompletionPrompt,
    HeldTest,
    InfillPrompt,
    Prompt,
    ReturnPolicy,
    Sampling,
    SolveSpec,
)

# The first number of a word is UNSPECIFIED for the default one: both say the same.
_MODES = {word: number for number, word in MODES.items()}
_PRUNES = {word: number for number, word in PRUNES.items()}
_POLICIES = {word: number for number, word in POLICIES.items()}
_PRIORITIES = {word: number for number, word in PRIORITIES.items()}


def solve_spec_out(spec: SolveSpec) -> solve_pb2.SolveSpec:
    """The request, but for whose it is, which is told in the call's metadata.

    Raises InvalidProgram for a test that the protocol cannot say.
    """
    message = solve_pb2.SolveSpec(
        request_id=spec.request_id,
        model=model_name(spec.model) if spec.model else "",
        problem=problem_pb2.Problem(
            problem_id=spec.problem_id,
            entry_point=spec.entry_point or "",
            tests=[_held_out(held, f"problem.tests[{index}]") for index, held in enumerate(spec.tests)],
            limits=limits_out(spec.limits),
            setup_code=spec.setup_code,
        ),
        sampling=_sampling_out(spec.sampling),
        return_policy=_POLICIES[spec.return_policy],
        priority=_PRIORITIES[spec.priority],
        events=solve_pb2.EventOptions(
            token_deltas=spec.events.token_deltas,
            delta_interval_ms=round(spec.events.delta_interval * 1000) if spec.events.token_deltas else None,
            test_results=spec.events.test_results,
            failing_code=spec.events.failing_code,
            branches=spec.events.branches,
        ),
        cascade=_cascade_out(spec.cascade, spec.tests),
    )
    _prompt_out(spec.prompt, message.problem)
    for variant in spec.variants:
        _prompt_out(variant, message.problem.variants.add())
    if spec.return_policy is ReturnPolicy.FIRST_PASS:
        message.stop_after_passes = spec.stop_after_passes
    _budget_out(spec.budget, message.budget)
    return message


def _held_out(held: HeldTest, path: str) -> problem_pb2.Test:
    message = test_out(held.test, path)
    message.name = held.test.name
    message.weight = held.test.weight
    message.hidden = held.hidden
    return message


def _prompt_out(prompt: Prompt, target: problem_pb2.Problem | problem_pb2.PromptVariant) -> None:
    match prompt:
        case CompletionPrompt():
            target.completion.text = prompt.text
            target.completion.part_of_program = prompt.part_of_program
        case ChatPrompt():
            for message in prompt.messages:
                target.chat.messages.add(role=message.role, content=message.content)
        case InfillPrompt():
            target.infill.prefix = prompt.prefix
            target.infill.suffix = prompt.suffix
            target.infill.path = prompt.path


def _sampling_out(sampling: Sampling) -> solve_pb2.SamplingParams:
    message = solve_pb2.SamplingParams(
        k=sampling.k,
        max_new_tokens=sampling.max_new_tokens,
        stop=sampling.stop,
        mode=_MODES[sampling.mode],
        width=sampling.width,
        keep_after_program=sampling.keep_after_program,
        prune=_PRUNES[sampling.prune],
        distinct_programs=sampling.distinct_programs,
        greedy_first=sampling.greedy_first,
    )
    if sampling.constraint is not None:
        setattr(message, sampling.constraint.kind, sampling.constraint.text)
    if sampling.mode is Mode.BEAM:
        # What has no effect there is refused there.
        message.length_penalty = sampling.length_penalty
        return message
    message.MergeFrom(
        solve_pb2.SamplingParams(
            temperatures=sampling.temperatures,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            seed=sampling.seed,
        )
    )
    return message


def _budget_out(budget: Budget, target: solve_pb2.Budget) -> None:
    if budget.wall_seconds is not None:
        target.wall_time.CopyFrom(duration_out(budget.wall_seconds))
    for name in ("generated_tokens", "executions", "rows"):
        if (limit := getattr(budget, name)) is not None:
            setattr(target, name, limit)


def _cascade_out(cascade: Cascade, tests: tuple[HeldTest, ...]) -> solve_pb2.CascadeContext:
    places = TestPlaces.of([(index, held.test.weight) for index, held in enumerate(tests) if not held.hidden])
    return solve_pb2.CascadeContext(
        tier=cascade.tier,
        upstream_model=cascade.upstream_model,
        prior_attempts=[
            solve_pb2.PriorAttempt(
                code=attempt.code,
                report=None if attempt.report is None else report_out(attempt.report, places),
                mean_logprob=attempt.mean_logprob,
            )
            for attempt in cascade.attempts
        ],
        attempts_in_prompt=cascade.in_prompt,
        difficulty=cascade.difficulty,
    )
