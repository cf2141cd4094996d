"""Programs to another server and reports back: what arrives is what was sent."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from thresher.v1 import verdict_pb2

from engine.config import ExecutorSettings, LimitSettings
from engine.serving.problem_in import program_in
from engine.serving.problem_out import program_out
from engine.serving.report_in import report_in
from engine.serving.report_out import TestPlaces, report_out
from executor import InvalidProgram
from executor.types import CallTest, Comparison, Limits, Program, SnippetTest, StdioTest
from executor.verdict import Evidence, LoweredLimit, Report, TestReport, Verdict

GENEROUS = ExecutorSettings(max_cpu_seconds=1e4, max_wall_seconds=1e5)

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name.isidentifier())
millis = st.integers(1, 10**6).map(lambda number: number / 1000)
limits = st.builds(
    Limits,
    cpu_seconds=millis,
    wall_seconds=st.none() | millis,
    memory_bytes=st.integers(1 << 24, 1 << 30),
    output_bytes=st.integers(1, 1 << 20),
    processes=st.integers(1, 64),
)
tolerances: dict[str, Any] = {"rel_tol": st.floats(0, 1), "abs_tol": st.floats(0, 1)}
snippets = st.builds(SnippetTest, code=texts, name=texts, weight=st.floats(0, 5), limits=st.none() | limits)
calls = st.builds(
    CallTest,
    function=names,
    args_json=st.just("[1, [2]]"),
    kwargs_json=st.just('{"a": 1}'),
    expected_json=st.just("[3]"),
    comparison=st.sampled_from([Comparison.EXACT, Comparison.APPROX, Comparison.UNORDERED, Comparison.APPS]),
    limits=st.none() | limits,
    **tolerances,
) | st.builds(CallTest, function=names, expected_exception=st.just("ValueError"))
streams = st.builds(
    StdioTest,
    stdin=st.binary(max_size=20),
    expected_stdout=st.binary(max_size=20),
    comparison=st.sampled_from([word for word in Comparison if word is not Comparison.JUDGE]),
    argv=st.lists(texts.filter(lambda text: "\0" not in text), max_size=3).map(tuple),
    limits=st.none() | limits,
    **tolerances,
) | st.builds(StdioTest, stdin=st.binary(max_size=20), comparison=st.just(Comparison.JUDGE), judge=texts)
judged = st.builds(StdioTest, comparison=st.just(Comparison.JUDGE), judge=texts)
programs = st.builds(
    Program,
    code=texts,
    tests=st.lists(snippets | calls | streams | judged, min_size=1, max_size=4).map(tuple),
    entry_point=st.none() | names,
    setup_code=st.just("") | texts,
    limits=limits,
    run_all=st.booleans(),
    any_order=st.booleans(),
    language=st.sampled_from(["python", "cpp", "javascript"]),
)


def explicit(found: Limits) -> Limits:
    return msgspec.structs.replace(found, wall_seconds=found.effective_wall_seconds)


def as_sent(program: Program) -> Program:
    """Without what is not sent: names and weights, tolerances that nothing uses; with each limit spelled out."""
    tests = []
    for test in program.tests:
        changes: dict[str, Any] = {"name": "", "weight": 1.0}
        if test.limits is not None:
            changes["limits"] = explicit(test.limits)
        if not isinstance(test, SnippetTest) and test.comparison is not Comparison.APPROX:
            changes |= {"rel_tol": 1e-9, "abs_tol": 0.0}
        tests.append(msgspec.structs.replace(test, **changes))
    return msgspec.structs.replace(program, tests=tuple(tests), limits=explicit(program.limits))


def same_seconds(one: Limits, other: Limits) -> bool:
    close = abs(one.cpu_seconds - other.cpu_seconds) + abs(one.effective_wall_seconds - other.effective_wall_seconds)
    plain = {"cpu_seconds": 1.0, "wall_seconds": 1.0}
    return close < 1e-6 and msgspec.structs.replace(one, **plain) == msgspec.structs.replace(other, **plain)


@given(programs)
def test_a_program_arrives_as_it_was(program: Program) -> None:
    found = program_in(program_out(program), "program", LimitSettings(), GENEROUS)
    sent = as_sent(program)
    assert same_seconds(found.limits, sent.limits)
    for one, other in zip(found.tests, sent.tests, strict=True):
        if other.limits is not None:
            assert one.limits is not None
            assert same_seconds(one.limits, other.limits)
        assert msgspec.structs.replace(one, limits=None) == msgspec.structs.replace(other, limits=None)
    bare = {"limits": Limits(), "tests": ()}
    assert msgspec.structs.replace(found, **bare) == msgspec.structs.replace(sent, **bare)


def test_the_strategies_know_every_field() -> None:
    """A field that a program gets later is to be sent, too, and to be drawn here."""
    fields = {kind.__name__: kind.__struct_fields__ for kind in (SnippetTest, CallTest, StdioTest, Limits, Program)}
    assert fields == {
        "SnippetTest": ("code", "name", "weight", "limits"),
        "CallTest": (
            *("function", "args_json", "kwargs_json", "expected_json", "expected_exception", "comparison"),
            *("rel_tol", "abs_tol", "name", "weight", "limits"),
        ),
        "StdioTest": (
            *("stdin", "expected_stdout", "comparison", "rel_tol", "abs_tol", "judge", "argv"),
            *("name", "weight", "limits"),
        ),
        "Limits": ("cpu_seconds", "wall_seconds", "memory_bytes", "output_bytes", "processes"),
        "Program": (
            *("code", "tests", "entry_point", "setup_code", "limits", "run_all", "any_order"),
            *("language", "allow_in_process"),
        ),
    }


@pytest.mark.parametrize(
    ("changes", "said"), [({"allow_in_process": True}, "allow_in_process"), ({"language": "none-such"}, "none-such")]
)
def test_what_cannot_be_said_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidProgram, match=said):
        program_out(Program(code="x", tests=(SnippetTest(code="x"),), **changes))


verdicts = st.sampled_from(Verdict)
seconds = st.integers(0, 10**9).map(lambda number: number / 1e6)


lowered = st.builds(LoweredLimit, limit=texts, asked=seconds, applied=seconds, test_index=st.none() | st.integers(0, 3))


@st.composite
def reports(draw: st.DrawFn) -> Report:
    count = draw(st.integers(0, 4))
    tests = tuple(
        TestReport(
            index=index,
            name=f"t{index}",
            verdict=draw(verdicts),
            message=draw(texts),
            wall_seconds=draw(seconds),
            cpu_seconds=draw(seconds),
            evidence=draw(st.none() | st.sampled_from(Evidence)),
            exit_code=draw(st.none() | st.integers(0, 255)),
            signal=draw(st.none() | st.integers(1, 31)),
            stdout=draw(st.binary(max_size=5)),
            stderr=draw(st.binary(max_size=5)),
        )
        for index in range(count)
    )
    return Report(
        verdict=draw(verdicts),
        tests=tests,
        tests_total=4,
        detail=draw(texts),
        queue_seconds=draw(seconds),
        startup_seconds=draw(seconds),
        wall_seconds=draw(seconds),
        cpu_seconds=draw(seconds),
        peak_memory_bytes=draw(st.none() | st.integers(0, 1 << 40)),
        weaknesses=tuple(draw(st.lists(texts, max_size=2))),
        lowered_limits=tuple(draw(st.lists(lowered, max_size=2))),
    )


PROGRAM = Program(code="x", tests=tuple(SnippetTest(code="x", name=f"t{index}") for index in range(4)))
PLACES = TestPlaces.of([(index, 1.0) for index in range(4)])


@given(reports())
def test_a_report_is_told_on_as_it_was_told(report: Report) -> None:
    told = report_out(report, PLACES)
    back = report_in(told, PROGRAM, range(4))
    assert report_out(back, PLACES) == told
    assert (back.verdict, back.weaknesses, back.evidence) == (report.verdict, report.weaknesses, report.evidence)
    assert back.lowered_limits == report.lowered_limits
    assert [test.verdict for test in back.tests] == [test.verdict for test in report.tests]


BEYOND = verdict_pb2.TestResult(test_index=4, verdict="VERDICT_PASSED")
LOWERED = verdict_pb2.LoweredLimit(test_index=4, limit="cpu_time")
UNKNOWN = verdict_pb2.TestResult(verdict="VERDICT_PASSED", evidence=99)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (verdict_pb2.ExecutionReport(verdict=77), "verdict"),
        (verdict_pb2.ExecutionReport(verdict="VERDICT_UNSPECIFIED"), "verdict"),
        (verdict_pb2.ExecutionReport(verdict="VERDICT_PASSED", results=[BEYOND]), "test_index"),
        (verdict_pb2.ExecutionReport(verdict="VERDICT_PASSED", lowered_limits=[LOWERED]), "test_index"),
        (verdict_pb2.ExecutionReport(verdict="VERDICT_PASSED", results=[UNKNOWN]), "evidence"),
    ],
)
def test_a_report_that_cannot_be_is_an_error(message: verdict_pb2.ExecutionReport, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        report_in(message, PROGRAM, range(4))
