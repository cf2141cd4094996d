"""SamplingParams: from proto to domain, checked. What does not go together, or would have no effect, is refused."""

from thresher.v1 import solve_pb2

from engine.config import LimitSettings
from engine.core.types import Mode
from engine.serving import fields
from engine.solving.errors import InvalidRequest, Unsupported
from engine.solving.spec import Constraint, Prune, Sampling, SolveSpec

MODES = {
    solve_pb2.SAMPLING_MODE_UNSPECIFIED: Mode.INDEPENDENT,
    solve_pb2.SAMPLING_MODE_INDEPENDENT: Mode.INDEPENDENT,
    solve_pb2.SAMPLING_MODE_DISTINCT: Mode.DISTINCT,
    solve_pb2.SAMPLING_MODE_BEAM: Mode.BEAM,
}
PRUNES = {
    solve_pb2.PRUNE_UNSPECIFIED: Prune.NONE,
    solve_pb2.PRUNE_NONE: Prune.NONE,
    solve_pb2.PRUNE_SYNTAX: Prune.SYNTAX,
}
_MOST_STOPS = 16
_LONGEST_STOP = 1024
_MOST_TEMPERATURES = 16
_WIDEST_BEAM = 64
_LARGEST_GRAMMAR = 64 << 10
_LARGEST_PENALTY = 10
# Below this a softmax of float32 logits is greedy anyway; the caller means 0, or has made a mistake.
_LEAST_TEMPERATURE = 1e-3

_BEAM_DRAWS_NOTHING = "has no effect with SAMPLING_MODE_BEAM, which draws nothing; leave it out"
_OF_DRAWING = ("temperature", "temperatures", "top_p", "top_k", "min_p", "seed", "greedy_first")


def sampling_in(message: solve_pb2.SamplingParams, path: str, limits: LimitSettings) -> Sampling:
    """How to draw. Raises InvalidRequest or Unsupported with the path of the first field that cannot be served."""
    mode = fields.choice(message.mode, MODES, solve_pb2.SamplingMode.DESCRIPTOR, f"{path}.mode")
    _check_mode(message, mode, path)
    if message.HasField("repetition_penalty") and message.repetition_penalty != 1:
        raise Unsupported(f"{path}.repetition_penalty", "only 1 (none) is available: samples must follow the model")
    fields.count(len(message.stop), f"{path}.stop", most=_MOST_STOPS, least=0)
    constraint = _constraint_in(message, path)
    prune = fields.choice(message.prune, PRUNES, solve_pb2.Prune.DESCRIPTOR, f"{path}.prune")
    if prune is Prune.SYNTAX and constraint is not None:
        raise InvalidRequest(
            f"{path}.prune", f"does not go with {constraint.kind}, which decides by itself what may be written"
        )
    if message.keep_after_program and constraint is not None:
        raise InvalidRequest(
            f"{path}.keep_after_program",
            f"has no effect with {constraint.kind}: such a text ends where it may; leave it out",
        )
    return Sampling(
        k=fields.count(message.k, f"{path}.k", most=limits.max_k) if message.HasField("k") else None,
        mode=mode,
        temperatures=_temperatures_in(message, path),
        top_p=(
            fields.number(message.top_p, f"{path}.top_p", least=0, most=1, open_below=True)
            if message.HasField("top_p")
            else None
        ),
        top_k=message.top_k if message.HasField("top_k") else None,
        min_p=fields.number(message.min_p, f"{path}.min_p", least=0, most=1) if message.HasField("min_p") else None,
        length_penalty=(
            fields.number(message.length_penalty, f"{path}.length_penalty", least=0, most=_LARGEST_PENALTY)
            if message.HasField("length_penalty")
            else 1.0
        ),
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
        prune=prune,
        constraint=constraint,
        distinct_programs=message.distinct_programs,
    )


def check_reach(spec: SolveSpec, samples: int, path: str) -> None:
    """Refuse prompts and temperatures that none of the `samples` would get, and several where the mode takes one."""
    sampling, prompts = spec.sampling, len(spec.prompts)
    if prompts > 1 and sampling.mode is not Mode.INDEPENDENT:
        raise Unsupported(
            f"{path}.problem.variants", f"SAMPLING_MODE_{sampling.mode.upper()} takes one prompt; leave variants out"
        )
    if prompts > samples:
        raise InvalidRequest(
            f"{path}.problem.variants", f"makes {prompts} prompts for {samples} samples; ask for k of {prompts} or more"
        )
    used = -(-samples // prompts)
    if len(sampling.temperatures) > used:
        raise InvalidRequest(
            f"{path}.sampling.temperatures",
            f"has {len(sampling.temperatures)} numbers, of which {samples} samples of {prompts} prompts reach {used}; "
            f"ask for k of {prompts * (len(sampling.temperatures) - 1) + 1} or more",
        )


def _check_mode(message: solve_pb2.SamplingParams, mode: Mode, path: str) -> None:
    """Refuse what the mode leaves without effect."""
    name = f"SAMPLING_MODE_{mode.upper()}"
    if mode is Mode.BEAM:
        present = {field.name for field, _ in message.ListFields()}
        for field in _OF_DRAWING:
            if field in present:
                raise InvalidRequest(f"{path}.{field}", _BEAM_DRAWS_NOTHING)
        if not message.HasField("k"):
            raise InvalidRequest(f"{path}.k", f"is missing; {name} needs the width of its beam")
        fields.count(message.k, f"{path}.k", most=_WIDEST_BEAM)
    elif message.HasField("length_penalty"):
        raise InvalidRequest(f"{path}.length_penalty", "applies to SAMPLING_MODE_BEAM only")
    if message.distinct_programs and mode is not Mode.DISTINCT:
        raise InvalidRequest(f"{path}.distinct_programs", "applies to SAMPLING_MODE_DISTINCT only")
    if message.greedy_first and mode is not Mode.INDEPENDENT:
        raise InvalidRequest(f"{path}.greedy_first", "applies to SAMPLING_MODE_INDEPENDENT only")
    if len(message.temperatures) > 1 and mode is not Mode.INDEPENDENT:
        raise Unsupported(f"{path}.temperatures", f"{name} takes one temperature")


def _temperatures_in(message: solve_pb2.SamplingParams, path: str) -> tuple[float, ...]:
    if not message.HasField("temperature"):
        fields.count(len(message.temperatures), f"{path}.temperatures", most=_MOST_TEMPERATURES, least=0)
        return tuple(
            _temperature_in(value, f"{path}.temperatures[{index}]") for index, value in enumerate(message.temperatures)
        )
    if message.temperatures:
        raise InvalidRequest(f"{path}.temperatures", "is given beside temperature; leave one of them out")
    return (_temperature_in(message.temperature, f"{path}.temperature"),)


def _temperature_in(value: float, path: str) -> float:
    value = fields.number(value, path, least=0, most=100)
    if 0 < value < _LEAST_TEMPERATURE:
        raise InvalidRequest(path, f"is {value}; use 0 for greedy, or at least {_LEAST_TEMPERATURE}")
    return value


def _constraint_in(message: solve_pb2.SamplingParams, path: str) -> Constraint | None:
    kind = message.WhichOneof("constraint")
    if kind is None:
        return None
    text = fields.text(getattr(message, kind), f"{path}.{kind}", most_bytes=_LARGEST_GRAMMAR)
    if kind == "json_schema":
        fields.json_value(text, f"{path}.{kind}", dict)
    return Constraint(kind=kind, text=text)
