"""The part of a problem file that says how to draw."""

import json
from typing import Any

from thresher.client.reader import ProblemError, Reader
from thresher.v1 import solve_pb2

_VALUES = {
    "k": int,
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "min_p": float,
    "max_new_tokens": int,
    "seed": int,
    "greedy_first": bool,
    "repetition_penalty": float,
    "length_penalty": float,
    "distinct_programs": bool,
    "width": int,
    "keep_after_program": bool,
}
_CONSTRAINTS = ("regex", "ebnf", "json_schema")


def read_sampling(section: Reader, target: solve_pb2.SamplingParams) -> None:
    """Reads a `sampling` mapping. Raises ProblemError, which names the key."""
    section.fill(target, _VALUES)
    target.mode = section.take_word("mode", solve_pb2.SamplingMode.DESCRIPTOR)
    target.prune = section.take_word("prune", solve_pb2.Prune.DESCRIPTOR)
    stop: list[object] = section.take("stop", list, [])
    for text in stop:
        if not isinstance(text, str):
            raise ProblemError(section.path("stop"), "expected a list of texts")
        target.stop.append(text)
    temperatures: list[object] = section.take_some("temperatures", list, [])
    for number in temperatures:
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ProblemError(section.path("temperatures"), "expected a list of numbers")
        target.temperatures.append(number)
    _read_constraint(section, target)
    section.done()


def _read_constraint(section: Reader, target: solve_pb2.SamplingParams) -> None:
    given = [key for key in _CONSTRAINTS if section.has(key)]
    if len(given) > 1:
        raise ProblemError(
            section.path(given[1]), f"only one of {', '.join(_CONSTRAINTS)} can be given; {given[0]} is there"
        )
    if given == ["json_schema"] and not isinstance(section.peek("json_schema"), str):
        schema: dict[str, Any] = section.take("json_schema", dict)
        try:
            target.json_schema = json.dumps(schema, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ProblemError(section.path("json_schema"), f"not a JSON value ({error})") from error
    elif given:
        setattr(target, given[0], section.take(given[0], str))
