"""Programs and tests for another server: from domain to proto, the way back of `problem_in`."""

from thresher.v1 import execution_service_pb2, problem_pb2

from engine.serving.problem_in import COMPARISONS
from engine.serving.report_out import duration_out
from executor.errors import InvalidProgram
from executor.types import CallTest, Comparison, Limits, Program, SnippetTest, StdioTest, Test

_COMPARISONS = {word: number for number, word in COMPARISONS.items()}


def program_out(program: Program) -> execution_service_pb2.Program:
    """One program. Names and weights of its tests stay here: a report speaks of tests by their positions.

    Raises InvalidProgram for what the protocol cannot say.
    """
    language = problem_pb2.Language.DESCRIPTOR.values_by_name.get(f"LANGUAGE_{program.language.upper()}")
    if language is None:
        raise InvalidProgram(f"language: {program.language!r} cannot be sent to another executor")
    if program.allow_in_process:
        raise InvalidProgram("allow_in_process: cannot be asked of another executor")
    return execution_service_pb2.Program(
        language=problem_pb2.Language.ValueType(language.number),
        code=program.code,
        entry_point=program.entry_point or "",
        tests=[test_out(test, f"tests[{index}]") for index, test in enumerate(program.tests)],
        limits=limits_out(program.limits),
        run_all=program.run_all,
        any_order=program.any_order,
        setup_code=program.setup_code,
    )


def limits_out(limits: Limits) -> problem_pb2.ExecutionLimits:
    """Each of them, so that none is filled in from elsewhere."""
    return problem_pb2.ExecutionLimits(
        wall_time=duration_out(limits.effective_wall_seconds),
        cpu_time=duration_out(limits.cpu_seconds),
        memory_bytes=limits.memory_bytes,
        output_bytes=limits.output_bytes,
        max_processes=limits.processes,
    )


def test_out(test: Test, path: str) -> problem_pb2.Test:
    """One test, without name and weight. Raises InvalidProgram for what the protocol cannot say."""
    message = problem_pb2.Test()
    match test:
        case SnippetTest():
            message.snippet.code = test.code
        case CallTest():
            message.call.function = test.function
            message.call.args_json = test.args_json
            message.call.kwargs_json = test.kwargs_json
            if test.expected_json is not None:
                message.call.expected_json = test.expected_json
            if test.expected_exception is not None:
                message.call.expected_exception = test.expected_exception
            _comparison_out(test, message.call, path)
        case StdioTest():
            message.stdio.stdin = test.stdin
            message.stdio.expected_stdout = test.expected_stdout
            message.stdio.argv.extend(test.argv)
            message.stdio.judge = test.judge
            _comparison_out(test, message.stdio, path)
        case _:
            raise InvalidProgram(f"{path}: {type(test).__name__} cannot be sent to another executor")
    if test.limits is not None:
        message.limits.CopyFrom(limits_out(test.limits))
    return message


def _comparison_out(
    test: CallTest | StdioTest, message: problem_pb2.CallTest | problem_pb2.StdioTest, path: str
) -> None:
    if test.comparison not in _COMPARISONS:
        raise InvalidProgram(f"{path}.comparison: {test.comparison} cannot be sent to another executor")
    message.comparison = _COMPARISONS[test.comparison]
    if test.comparison is Comparison.APPROX:
        message.rel_tol = test.rel_tol
        message.abs_tol = test.abs_tol
