"""A record and a program as what the executor runs. Tests are read by the client, as a problem file's are."""

from collections.abc import Sequence

from thresher.client.problem_tests import read_tests
from thresher.v1 import problem_pb2

from benchmarks.data.record import Record, TestDocument
from executor import CallTest, Comparison, Limits, Program, SnippetTest, StdioTest, Test


def program_of(
    record: Record,
    code: str,
    limits: Limits | None = None,
    *,
    tests: Sequence[TestDocument] | None = None,
    run_all: bool = False,
) -> Program:
    """`code` with tests of a record: all of them, visible ones first, or those given.

    Raises thresher.client.ProblemError for a test that is none, or where there are none.
    """
    chosen = record.tests if tests is None else tests
    limits = limits or Limits()
    return Program(
        code=code,
        tests=tuple(_test(test, record.entry_point, limits) for test in read_tests(list(chosen))),
        entry_point=record.entry_point or None,
        setup_code=record.setup_code,
        limits=limits,
        run_all=run_all,
    )


def _test(test: problem_pb2.Test, entry_point: str, base: Limits) -> Test:
    weight = test.weight if test.HasField("weight") else 1.0
    limits = _limits(test.limits, base) if test.HasField("limits") else None
    match test.WhichOneof("kind"):
        case "call":
            call = test.call
            wanted = call.WhichOneof("expected")
            return CallTest(
                function=call.function or entry_point,
                args_json=call.args_json,
                kwargs_json=call.kwargs_json,
                expected_json=call.expected_json if wanted == "expected_json" else None,
                expected_exception=call.expected_exception if wanted == "expected_exception" else None,
                comparison=_comparison(call.comparison, Comparison.EXACT),
                rel_tol=call.rel_tol if call.HasField("rel_tol") else 1e-9,
                abs_tol=call.abs_tol,
                name=test.name,
                weight=weight,
                limits=limits,
            )
        case "stdio":
            stdio = test.stdio
            return StdioTest(
                stdin=stdio.stdin,
                expected_stdout=stdio.expected_stdout,
                comparison=_comparison(stdio.comparison, Comparison.JUDGE if stdio.judge else Comparison.LINES),
                rel_tol=stdio.rel_tol if stdio.HasField("rel_tol") else 1e-9,
                abs_tol=stdio.abs_tol,
                judge=stdio.judge,
                argv=tuple(stdio.argv),
                name=test.name,
                weight=weight,
                limits=limits,
            )
        case _:
            return SnippetTest(code=test.snippet.code, name=test.name, weight=weight, limits=limits)


def _comparison(value: problem_pb2.Comparison.ValueType, usual: Comparison) -> Comparison:
    if value == problem_pb2.COMPARISON_UNSPECIFIED:
        return usual
    return Comparison(problem_pb2.Comparison.Name(value).removeprefix("COMPARISON_").lower())


def _limits(given: problem_pb2.ExecutionLimits, base: Limits) -> Limits:
    """A test's own limits; what they leave out is as for the others."""
    return Limits(
        cpu_seconds=given.cpu_time.ToNanoseconds() / 1e9 if given.HasField("cpu_time") else base.cpu_seconds,
        wall_seconds=given.wall_time.ToNanoseconds() / 1e9 if given.HasField("wall_time") else base.wall_seconds,
        memory_bytes=given.memory_bytes if given.HasField("memory_bytes") else base.memory_bytes,
        output_bytes=given.output_bytes if given.HasField("output_bytes") else base.output_bytes,
        processes=given.max_processes if given.HasField("max_processes") else base.processes,
    )
