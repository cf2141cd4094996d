"""The tests of a problem file."""

import ast
import json
import warnings
from typing import Any

from thresher.client.reader import ProblemError, Reader
from thresher.v1 import problem_pb2

_KINDS = ("snippet", "call", "stdio")
_TOLERANCES = {"rel_tol": float, "abs_tol": float}


def read_tests(items: list[object] | None) -> list[problem_pb2.Test]:
    """A text is a snippet; a mapping has one of snippet, call and stdio. Raises ProblemError."""
    if not items:
        raise ProblemError("tests", "missing: at least one test is needed")
    return [_test(item, f"tests[{index}]") for index, item in enumerate(items)]


def read_limits(reader: Reader, target: problem_pb2.ExecutionLimits) -> None:
    """Reads a `limits` mapping."""
    reader.fill_seconds(target, {"wall_seconds": "wall_time", "cpu_seconds": "cpu_time"})
    reader.fill(target, {"memory_bytes": int, "output_bytes": int, "max_processes": int})
    reader.done()


def _test(item: object, path: str) -> problem_pb2.Test:
    if isinstance(item, str):
        return problem_pb2.Test(snippet=problem_pb2.SnippetTest(code=_python(item, path)))
    reader = Reader(item, path)
    kinds = [kind for kind in _KINDS if reader.has(kind)]
    if len(kinds) != 1:
        raise ProblemError(path, f"expected one of {', '.join(_KINDS)}, found {' and '.join(kinds) or 'none of them'}")
    test = problem_pb2.Test(name=reader.take("name", str, ""), hidden=reader.take("hidden", bool, False))
    reader.fill(test, {"weight": float})
    if limits := reader.section("limits"):
        read_limits(limits, test.limits)
    if kinds == ["snippet"]:
        test.snippet.code = _python(reader.take("snippet", str), reader.path("snippet"))
    elif kinds == ["call"] and (call := reader.section("call")):
        _call(call, test.call)
    elif stdio := reader.section("stdio"):
        _stdio(stdio, test.stdio)
    reader.done()
    return test


def _call(reader: Reader, target: problem_pb2.CallTest) -> None:
    target.function = reader.take("function", str, "")
    target.args_json = _json(reader.take("args", list, []), reader.path("args"))
    target.kwargs_json = _json(reader.take("kwargs", dict, {}), reader.path("kwargs"))
    if reader.has("expected") == reader.has("raises"):
        raise ProblemError(reader.path("expected"), "give either expected (a value) or raises (an exception's name)")
    if reader.has("expected"):
        target.expected_json = _json(reader.take_any("expected"), reader.path("expected"))
    else:
        target.expected_exception = reader.take("raises", str)
    target.comparison = reader.take_word("comparison", problem_pb2.Comparison.DESCRIPTOR)
    reader.fill(target, _TOLERANCES)
    reader.done()


def _stdio(reader: Reader, target: problem_pb2.StdioTest) -> None:
    target.stdin = reader.take("stdin", str, "").encode()
    # A special judge may need no expected output.
    expected = reader.take("expected", str, "") if reader.has("judge") else reader.take("expected", str)
    target.expected_stdout = expected.encode()
    target.comparison = reader.take_word("comparison", problem_pb2.Comparison.DESCRIPTOR)
    if reader.has("judge"):
        target.judge = _python(reader.take("judge", str), reader.path("judge"))
    arguments = reader.take("argv", list, [])
    if not all(isinstance(word, str) for word in arguments):
        raise ProblemError(reader.path("argv"), "expected a list of texts")
    target.argv.extend(arguments)
    reader.fill(target, _TOLERANCES)
    reader.done()


def _python(code: str, path: str) -> str:
    """Refuses what does not parse: YAML cuts `[assert f(1, 2) == 3]` in two at the comma, and says nothing."""
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ProblemError(path, f"not Python ({error}): {code[:60]!r}") from error
    return code


def _json(value: Any, path: str) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ProblemError(path, f"not a JSON value ({error})") from error
