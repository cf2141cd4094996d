"""SolveSpec: from proto to domain, checked. What this server cannot honour is refused by name."""

import uuid

from thresher.v1 import solve_pb2

from engine.config import Settings
from engine.serving import fields
from engine.serving.cascade_in import cascade_in
from engine.serving.limits import limits_in
from engine.serving.problem_in import drawn_language_in, entry_point_in, prompt_in, tests_in, variants_in
from engine.serving.sampling_in import check_reach, sampling_in
from engine.solving.errors import InvalidRequest
from engine.solving.spec import Budget, EventOptions, Priority, ReturnPolicy, Sampling, SolveSpec
from executor.types import Limits

POLICIES = {
    solve_pb2.RETURN_POLICY_UNSPECIFIED: ReturnPolicy.FIRST_PASS,
    solve_pb2.RETURN_POLICY_FIRST_PASS: ReturnPolicy.FIRST_PASS,
    solve_pb2.RETURN_POLICY_ALL: ReturnPolicy.ALL,
    solve_pb2.RETURN_POLICY_BEST: ReturnPolicy.BEST,
}
PRIORITIES = {
    solve_pb2.PRIORITY_UNSPECIFIED: Priority.INTERACTIVE,
    solve_pb2.PRIORITY_INTERACTIVE: Priority.INTERACTIVE,
    solve_pb2.PRIORITY_BATCH: Priority.BATCH,
}
_MODEL_PREFIX = "models/"


def solve_in(message: solve_pb2.SolveSpec, path: str, settings: Settings) -> SolveSpec:
    """A validated spec; a request id is made up if the caller gave none.

    Raises InvalidRequest or Unsupported with the path of the first field that cannot be served.
    """
    fields.refuse_unknown(message, path)
    if not message.HasField("problem"):
        raise InvalidRequest(f"{path}.problem", "is missing")
    problem, place = message.problem, f"{path}.problem"
    drawn_language_in(problem.language, f"{place}.language")
    prompt = prompt_in(problem, place, settings.limits)
    entry_point = entry_point_in(problem.entry_point, f"{place}.entry_point")
    own_limits = problem.limits if problem.HasField("limits") else None
    limits = limits_in(own_limits, f"{place}.limits", Limits(), settings.executor)
    sampling = sampling_in(message.sampling, f"{path}.sampling", settings.limits)
    tests = tests_in(problem, place, entry_point, limits, settings.limits, settings.executor)
    variants = variants_in(problem, place, settings.limits)
    policy = fields.choice(message.return_policy, POLICIES, solve_pb2.ReturnPolicy.DESCRIPTOR, f"{path}.return_policy")
    spec = SolveSpec(
        request_id=fields.word(message.request_id, f"{path}.request_id") if message.request_id else uuid.uuid4().hex,
        model=_model_in(message.model, f"{path}.model"),
        problem_id=fields.label(problem.problem_id, f"{place}.problem_id"),
        prompt=prompt,
        tests=tests,
        entry_point=entry_point,
        setup_code=fields.text(
            problem.setup_code, f"{place}.setup_code", most_bytes=settings.limits.max_program_bytes, empty=True
        ),
        limits=limits,
        sampling=sampling,
        return_policy=policy,
        stop_after_passes=_stop_after_passes_in(message, f"{path}.stop_after_passes", policy, sampling),
        budget=budget_in(message.budget, f"{path}.budget"),
        events=_events_in(message.events, f"{path}.events"),
        priority=fields.choice(message.priority, PRIORITIES, solve_pb2.Priority.DESCRIPTOR, f"{path}.priority"),
        variants=variants,
        cascade=cascade_in(message.cascade, f"{path}.cascade", (prompt, *variants), tests, settings.limits),
    )
    check_reach(spec, spec.samples(settings.limits.max_k), path)
    return spec


def _model_in(name: str, path: str) -> str:
    if not name:
        return ""
    if not name.startswith(_MODEL_PREFIX) or len(name) == len(_MODEL_PREFIX):
        raise InvalidRequest(path, f"is {name[:80]!r}; it must be of the form models/NAME, or empty for the default")
    return fields.label(name.removeprefix(_MODEL_PREFIX), path)


def _stop_after_passes_in(message: solve_pb2.SolveSpec, path: str, policy: ReturnPolicy, sampling: Sampling) -> int:
    if not message.HasField("stop_after_passes"):
        return 1
    if policy is not ReturnPolicy.FIRST_PASS:
        raise InvalidRequest(path, f"applies to RETURN_POLICY_FIRST_PASS only; {policy.upper()} judges every sample")
    passes = fields.count(message.stop_after_passes, path)
    if sampling.k is not None and passes > sampling.k:
        raise InvalidRequest(path, f"is {passes}, more than the {sampling.k} samples of sampling.k")
    return passes


def budget_in(message: solve_pb2.Budget, path: str) -> Budget:
    """The soft limits of a solve."""
    return Budget(
        wall_seconds=fields.seconds(message.wall_time, f"{path}.wall_time") if message.HasField("wall_time") else None,
        generated_tokens=(
            fields.count(message.generated_tokens, f"{path}.generated_tokens")
            if message.HasField("generated_tokens")
            else None
        ),
        executions=fields.count(message.executions, f"{path}.executions") if message.HasField("executions") else None,
        rows=fields.count(message.rows, f"{path}.rows") if message.HasField("rows") else None,
    )


def _events_in(message: solve_pb2.EventOptions, path: str) -> EventOptions:
    interval = 50
    if message.HasField("delta_interval_ms"):
        if not message.token_deltas:
            raise InvalidRequest(f"{path}.delta_interval_ms", "applies only with token_deltas")
        interval = fields.count(message.delta_interval_ms, f"{path}.delta_interval_ms", least=10, most=60_000)
    return EventOptions(
        token_deltas=message.token_deltas,
        delta_interval=interval / 1000,
        test_results=message.test_results,
        failing_code=message.failing_code,
        branches=message.branches,
    )
