"""SolveSpec: from proto to domain, checked. What this server cannot honour is refused by name."""

import uuid

from thresher.v1 import solve_pb2

from engine.config import Settings
from engine.serving import fields
from engine.serving.limits import limits_in
from engine.serving.problem_in import drawn_language_in, entry_point_in, prompt_in, tests_in
from engine.solving.errors import InvalidRequest, Unsupported
from engine.solving.types import Budget, EventOptions, Priority, ReturnPolicy, Sampling, SolveSpec
from executor.types import Limits

_POLICIES = {
    solve_pb2.RETURN_POLICY_UNSPECIFIED: ReturnPolicy.FIRST_PASS,
    solve_pb2.RETURN_POLICY_FIRST_PASS: ReturnPolicy.FIRST_PASS,
    solve_pb2.RETURN_POLICY_ALL: ReturnPolicy.ALL,
    solve_pb2.RETURN_POLICY_BEST: ReturnPolicy.BEST,
}
_PRIORITIES = {
    solve_pb2.PRIORITY_UNSPECIFIED: Priority.INTERACTIVE,
    solve_pb2.PRIORITY_INTERACTIVE: Priority.INTERACTIVE,
    solve_pb2.PRIORITY_BATCH: Priority.BATCH,
}
_MODES = (solve_pb2.SAMPLING_MODE_UNSPECIFIED, solve_pb2.SAMPLING_MODE_INDEPENDENT)
_MODEL_PREFIX = "models/"
_MOST_STOPS = 16
_LONGEST_STOP = 1024
# Below this a softmax of float32 logits is greedy anyway; the caller means 0, or has made a mistake.
_LEAST_TEMPERATURE = 1e-3

_CONSTRAINT_ADVICE = "this server does not constrain sampling; leave it out and let the tests decide"
_CASCADE_ADVICE = "this server is not a tier of a cascade; leave it out"


def solve_in(message: solve_pb2.SolveSpec, path: str, settings: Settings) -> SolveSpec:
    """A validated spec; a request id is made up if the caller gave none.

    Raises InvalidRequest or Unsupported with the path of the first field that cannot be served.
    """
    fields.refuse_unknown(message, path)
    if not message.HasField("problem"):
        raise InvalidRequest(f"{path}.problem", "is missing")
    problem, place = message.problem, f"{path}.problem"
    drawn_language_in(problem.language, f"{place}.language")
    if message.HasField("cascade"):
        present = {field.name: _CASCADE_ADVICE for field, _ in message.cascade.ListFields()}
        fields.refuse_present(message.cascade, present, f"{path}.cascade")
    prompt = prompt_in(problem, place, settings.limits)
    entry_point = entry_point_in(problem.entry_point, f"{place}.entry_point")
    own_limits = problem.limits if problem.HasField("limits") else None
    limits = limits_in(own_limits, f"{place}.limits", Limits(), settings.executor)
    sampling = _sampling_in(message.sampling, f"{path}.sampling", settings)
    policy = fields.choice(message.return_policy, _POLICIES, solve_pb2.ReturnPolicy.DESCRIPTOR, f"{path}.return_policy")
    return SolveSpec(
        request_id=fields.word(message.request_id, f"{path}.request_id") if message.request_id else uuid.uuid4().hex,
        model=_model_in(message.model, f"{path}.model"),
        problem_id=fields.label(problem.problem_id, f"{place}.problem_id"),
        prompt=prompt,
        tests=tests_in(problem, place, entry_point, limits, settings.limits, settings.executor),
        entry_point=entry_point,
        setup_code=fields.text(
            problem.setup_code, f"{place}.setup_code", most_bytes=settings.limits.max_program_bytes, empty=True
        ),
        limits=limits,
        sampling=sampling,
        return_policy=policy,
        stop_after_passes=_stop_after_passes_in(message, f"{path}.stop_after_passes", policy, sampling),
        budget=_budget_in(message.budget, f"{path}.budget"),
        events=_events_in(message.events, f"{path}.events"),
        priority=fields.choice(message.priority, _PRIORITIES, solve_pb2.Priority.DESCRIPTOR, f"{path}.priority"),
    )


def _model_in(name: str, path: str) -> str:
    if not name:
        return ""
    if not name.startswith(_MODEL_PREFIX) or len(name) == len(_MODEL_PREFIX):
        raise InvalidRequest(path, f"is {name[:80]!r}; it must be of the form models/NAME, or empty for the default")
    return fields.label(name.removeprefix(_MODEL_PREFIX), path)


def _sampling_in(message: solve_pb2.SamplingParams, path: str, settings: Settings) -> Sampling:
    if message.mode not in _MODES:
        named = solve_pb2.SamplingMode.DESCRIPTOR.values_by_number
        name = named[message.mode].name if message.mode in named else str(message.mode)
        raise Unsupported(f"{path}.mode", f"{name} is not available yet; use SAMPLING_MODE_INDEPENDENT")
    constraints = dict.fromkeys(("regex", "ebnf", "json_schema"), _CONSTRAINT_ADVICE)
    if (constraint := message.WhichOneof("constraint")) is not None:
        raise Unsupported(f"{path}.{constraint}", constraints[constraint], reason="CONSTRAINT_UNSUPPORTED")
    if message.HasField("repetition_penalty") and message.repetition_penalty != 1:
        raise Unsupported(f"{path}.repetition_penalty", "only 1 (none) is available: samples must follow the model")
    fields.count(len(message.stop), f"{path}.stop", most=_MOST_STOPS, least=0)
    return Sampling(
        k=fields.count(message.k, f"{path}.k", most=settings.limits.max_k) if message.HasField("k") else None,
        temperature=_temperature_in(message, f"{path}.temperature"),
        top_p=(
            fields.number(message.top_p, f"{path}.top_p", least=0, most=1, open_below=True)
            if message.HasField("top_p")
            else None
        ),
        top_k=message.top_k if message.HasField("top_k") else None,
        min_p=fields.number(message.min_p, f"{path}.min_p", least=0, most=1) if message.HasField("min_p") else None,
        max_new_tokens=(
            fields.count(message.max_new_tokens, f"{path}.max_new_tokens")
            if message.HasField("max_new_tokens")
            else None
        ),
        stop=tuple(
            fields.text(stop, f"{path}.stop[{index}]", most_bytes=_LONGEST_STOP)
            for index, stop in enumerate(message.stop)
        ),
        seed=message.seed if message.HasField("seed") else None,
        greedy_first=message.greedy_first,
        width=fields.count(message.width, f"{path}.width") if message.HasField("width") else None,
        keep_after_program=message.keep_after_program,
    )


def _temperature_in(message: solve_pb2.SamplingParams, path: str) -> float | None:
    if not message.HasField("temperature"):
        return None
    value = fields.number(message.temperature, path, least=0, most=100)
    if 0 < value < _LEAST_TEMPERATURE:
        raise InvalidRequest(path, f"is {value}; use 0 for greedy, or at least {_LEAST_TEMPERATURE}")
    return value


def _stop_after_passes_in(message: solve_pb2.SolveSpec, path: str, policy: ReturnPolicy, sampling: Sampling) -> int:
    if not message.HasField("stop_after_passes"):
        return 1
    if policy is not ReturnPolicy.FIRST_PASS:
        raise InvalidRequest(path, f"applies to RETURN_POLICY_FIRST_PASS only; {policy.upper()} judges every sample")
    passes = fields.count(message.stop_after_passes, path)
    if sampling.k is not None and passes > sampling.k:
        raise InvalidRequest(path, f"is {passes}, more than the {sampling.k} samples of sampling.k")
    return passes


def _budget_in(message: solve_pb2.Budget, path: str) -> Budget:
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
