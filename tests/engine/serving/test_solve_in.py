"""Every rule of a request, by example: what is refused names its field; what is accepted arrives unchanged."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from thresher.v1 import execution_service_pb2, problem_pb2, solve_pb2

from engine.config import Settings
from engine.serving.problem_in import program_in
from engine.serving.solve_in import solve_in
from engine.solving.errors import InvalidRequest, Unsupported
from engine.solving.spec import (
    ChatMessage,
    ChatPrompt,
    CompletionPrompt,
    InfillPrompt,
    Priority,
    ReturnPolicy,
    SolveSpec,
)
from executor.types import CallTest, Comparison, SnippetTest, StdioTest
from tests.support.served import spec

SETTINGS = Settings.model_validate(
    {
        "limits": {"max_k": 32, "max_tests": 4, "max_program_bytes": 1000, "max_prompt_bytes": 2000},
        "executor": {
            "max_cpu_seconds": 10,
            "max_wall_seconds": 20,
            "max_memory_bytes": 1 << 30,
            "max_output_bytes": 1 << 20,
            "max_processes": 8,
        },
    }
)
Spec = solve_pb2.SolveSpec
Change = Callable[[Spec], object]


def read(message: Spec) -> SolveSpec:
    return solve_in(message, "spec", SETTINGS)


def call_test(**fields: Any) -> problem_pb2.Test:
    return problem_pb2.Test(call=problem_pb2.CallTest(**{"expected_json": "1", **fields}))


def stdio_test(**fields: Any) -> problem_pb2.Test:
    return problem_pb2.Test(stdio=problem_pb2.StdioTest(**fields))


def set_test(test: problem_pb2.Test) -> Change:
    return lambda message: message.problem.tests[0].CopyFrom(test)


def chat(*turns: tuple[str, str]) -> Change:
    messages = [problem_pb2.ChatMessage(role=role, content=content) for role, content in turns]
    return lambda message: message.problem.chat.CopyFrom(problem_pb2.ChatPrompt(messages=messages))


def sampling(**fields: Any) -> Change:
    return lambda message: message.sampling.CopyFrom(solve_pb2.SamplingParams(**fields))


def limits(**fields: Any) -> Change:
    return lambda message: message.problem.limits.CopyFrom(problem_pb2.ExecutionLimits(**fields))


def budget(**fields: Any) -> Change:
    return lambda message: message.budget.CopyFrom(solve_pb2.Budget(**fields))


def infill(**fields: Any) -> Change:
    return lambda message: message.problem.infill.CopyFrom(problem_pb2.InfillPrompt(**fields))


def put(path: str, value: Any) -> Change:
    *parents, name = path.split(".")

    def change(message: Any) -> None:
        for parent in parents:
            message = getattr(message, parent)
        setattr(message, name, value)

    return change


INVALID: list[tuple[str, Change]] = [
    ("spec.request_id", put("request_id", "two words")),
    ("spec.request_id", put("request_id", "x" * 129)),
    ("spec.model", put("model", "small")),
    ("spec.model", put("model", "models/")),
    ("spec.model", put("model", "models/a\nb")),
    ("spec.problem", lambda message: message.ClearField("problem")),
    ("spec.problem.problem_id", put("problem.problem_id", "a\nb")),
    ("spec.problem.problem_id", put("problem.problem_id", "x" * 201)),
    ("spec.problem.prompt", lambda message: message.problem.ClearField("completion")),
    ("spec.problem.completion.text", put("problem.completion.text", "")),
    ("spec.problem.completion.text", put("problem.completion.text", "é" * 1001)),
    ("spec.problem.chat.messages", chat()),
    ("spec.problem.chat.messages", chat(*[("user", "x")] * 257)),
    ("spec.problem.chat.messages[0].role", chat(("tool", "x"))),
    ("spec.problem.chat.messages[0].content", chat(("user", ""))),
    ("spec.problem.chat.messages[1].content", chat(("system", "x" * 1500), ("user", "x" * 501))),
    ("spec.problem.chat.messages[1].role", chat(("user", "x"), ("assistant", "y"))),
    ("spec.problem.entry_point", put("problem.entry_point", "1f")),
    ("spec.problem.entry_point", put("problem.entry_point", "a.b")),
    ("spec.problem.setup_code", put("problem.setup_code", "x" * 1001)),
    ("spec.problem.tests", lambda message: message.problem.ClearField("tests")),
    ("spec.problem.tests", lambda message: message.problem.tests.extend([message.problem.tests[0]] * 4)),
    ("spec.problem.tests", lambda message: setattr(message.problem.tests[0], "hidden", True)),
    ("spec.problem.tests", lambda message: setattr(message.problem.tests[0], "weight", 0)),
    ("spec.problem.tests[0].weight", lambda message: setattr(message.problem.tests[0], "weight", -1)),
    ("spec.problem.tests[0].weight", lambda message: setattr(message.problem.tests[0], "weight", math.nan)),
    ("spec.problem.tests[0].name", lambda message: setattr(message.problem.tests[0], "name", "x" * 201)),
    ("spec.problem.tests[0].kind", set_test(problem_pb2.Test())),
    ("spec.problem.tests[0].snippet.code", set_test(problem_pb2.Test(snippet=problem_pb2.SnippetTest()))),
    (
        "spec.problem.tests[0].snippet.code",
        set_test(problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="x" * 1001))),
    ),
    ("spec.problem.tests[0].call.function", set_test(call_test(function="f()"))),
    (
        "spec.problem.tests[0].call.function",
        lambda message: (message.problem.ClearField("entry_point"), set_test(call_test())(message)),
    ),
    ("spec.problem.tests[0].call.args_json", set_test(call_test(args_json="{}"))),
    ("spec.problem.tests[0].call.args_json", set_test(call_test(args_json="[1,"))),
    ("spec.problem.tests[0].call.args_json", set_test(call_test(args_json="[NaN]"))),
    ("spec.problem.tests[0].call.args_json", set_test(call_test(args_json="[" * 100_000))),
    ("spec.problem.tests[0].call.kwargs_json", set_test(call_test(kwargs_json="[]"))),
    ("spec.problem.tests[0].call.expected_json", set_test(call_test(expected_json="nope"))),
    ("spec.problem.tests[0].call.expected", set_test(problem_pb2.Test(call=problem_pb2.CallTest()))),
    (
        "spec.problem.tests[0].call.expected_exception",
        set_test(problem_pb2.Test(call=problem_pb2.CallTest(expected_exception="Value Error"))),
    ),
    (
        "spec.problem.tests[0].call.comparison",
        set_test(call_test(expected_exception="ValueError", comparison=problem_pb2.COMPARISON_UNORDERED)),
    ),
    ("spec.problem.tests[0].call.comparison", set_test(call_test(comparison=problem_pb2.COMPARISON_LINES))),
    ("spec.problem.tests[0].call.rel_tol", set_test(call_test(rel_tol=0.1))),
    (
        "spec.problem.tests[0].call.abs_tol",
        set_test(call_test(abs_tol=-1, comparison=problem_pb2.COMPARISON_APPROX)),
    ),
    ("spec.problem.tests[0].call.comparison", set_test(call_test(comparison=problem_pb2.COMPARISON_JUDGE))),
    ("spec.problem.tests[0].stdio.judge", set_test(stdio_test(comparison=problem_pb2.COMPARISON_JUDGE))),
    (
        "spec.problem.tests[0].stdio.judge",
        set_test(stdio_test(judge="def judge(*_): return True", comparison=problem_pb2.COMPARISON_LINES)),
    ),
    ("spec.problem.tests[0].stdio.judge", set_test(stdio_test(judge="x" * 1001))),
    ("spec.problem.tests[0].stdio.abs_tol", set_test(stdio_test(abs_tol=0.1))),
    ("spec.problem.tests[0].stdio.argv", set_test(stdio_test(argv=["x"] * 65))),
    ("spec.problem.tests[0].stdio.argv[1]", set_test(stdio_test(argv=["x", "a\0b"]))),
    (
        "spec.problem.tests[0].limits.cpu_time",
        lambda message: message.problem.tests[0].limits.cpu_time.CopyFrom(Duration(seconds=-1)),
    ),
    ("spec.problem.limits.cpu_time", limits(cpu_time=Duration())),
    ("spec.problem.limits.wall_time", limits(wall_time=Duration(nanos=-5))),
    ("spec.problem.limits.wall_time", limits(wall_time=Duration(nanos=1_000_000_000))),
    ("spec.problem.limits.memory_bytes", limits(memory_bytes=0)),
    ("spec.problem.limits.output_bytes", limits(output_bytes=0)),
    ("spec.problem.limits.max_processes", limits(max_processes=0)),
    ("spec.stop_after_passes", put("stop_after_passes", 0)),
    ("spec.stop_after_passes", lambda message: (sampling(k=2)(message), put("stop_after_passes", 3)(message))),
    (
        "spec.stop_after_passes",
        lambda message: (
            put("stop_after_passes", 1)(message),
            put("return_policy", solve_pb2.RETURN_POLICY_ALL)(message),
        ),
    ),
    ("spec.problem.infill.prefix", put("problem.infill.prefix", "")),
    ("spec.problem.infill.path", infill(prefix="x", path="a\nb")),
    ("spec.problem.infill.path", infill(prefix="x", path="a" * 1001)),
    ("spec.problem.infill.suffix", infill(prefix="x" * 1500, suffix="y" * 501)),
    ("spec.budget.wall_time", budget(wall_time=Duration())),
    ("spec.budget.generated_tokens", budget(generated_tokens=0)),
    ("spec.budget.executions", budget(executions=0)),
    ("spec.budget.rows", budget(rows=0)),
    ("spec.events.delta_interval_ms", put("events.delta_interval_ms", 50)),
    (
        "spec.events.delta_interval_ms",
        lambda message: message.events.CopyFrom(solve_pb2.EventOptions(token_deltas=True, delta_interval_ms=1)),
    ),
]

UNSUPPORTED: list[tuple[str, str, Change]] = [
    ("spec.problem.language", "LANGUAGE_UNSUPPORTED", put("problem.language", 7)),
    ("spec.problem.language", "LANGUAGE_UNSUPPORTED", put("problem.language", problem_pb2.LANGUAGE_CPP)),
    ("spec.problem.language", "LANGUAGE_UNSUPPORTED", put("problem.language", problem_pb2.LANGUAGE_JAVASCRIPT)),
    ("spec.return_policy", "UNSUPPORTED", put("return_policy", 9)),
    ("spec.priority", "UNSUPPORTED", put("priority", 9)),
    ("spec.problem.tests[0].call.comparison", "UNSUPPORTED", set_test(call_test(comparison=9))),
    ("spec.cascade.time_spent", "UNSUPPORTED", put("cascade.time_spent.seconds", 3)),
    # Fields of a newer protocol: number 999, a varint, at two depths.
    ("spec", "UNSUPPORTED", lambda message: message.MergeFromString(b"\xb8\x3e\x01")),
    ("spec.problem.tests[0]", "UNSUPPORTED", lambda message: message.problem.tests[0].MergeFromString(b"\xb8\x3e\x01")),
]


@pytest.mark.parametrize(("field", "change"), INVALID, ids=lambda value: value if isinstance(value, str) else "")
def test_invalid_values_are_refused_by_their_path(field: str, change: Change) -> None:
    message = spec()
    change(message)
    with pytest.raises(InvalidRequest) as caught:
        read(message)
    assert caught.value.field == field
    assert caught.value.reason == "BAD_REQUEST"


@pytest.mark.parametrize(
    ("field", "reason", "change"), UNSUPPORTED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_this_server_lacks_is_refused_by_name(field: str, reason: str, change: Change) -> None:
    message = spec()
    change(message)
    with pytest.raises(Unsupported) as caught:
        read(message)
    assert (caught.value.field, caught.value.reason) == (field, reason)


def test_a_bare_request_takes_the_documented_defaults() -> None:
    found = read(spec())
    assert found.prompt == CompletionPrompt(text="def f():")
    assert found.return_policy is ReturnPolicy.FIRST_PASS
    assert found.priority is Priority.INTERACTIVE
    assert found.stop_after_passes == 1
    assert found.model == ""
    assert found.sampling.k is None
    assert found.sampling.temperatures == ()
    assert found.prompts == (found.prompt,)
    assert found.events.delta_interval == 0.05
    assert found.limits.cpu_seconds == 3
    assert isinstance(found.tests[0].test, SnippetTest)


def test_a_hole_to_fill_arrives() -> None:
    message = spec()
    message.problem.infill.CopyFrom(problem_pb2.InfillPrompt(prefix="def f():\n", suffix="f()\n", path="a/b.py"))
    assert read(message).prompt == InfillPrompt(prefix="def f():\n", suffix="f()\n", path="a/b.py")
    message.problem.infill.CopyFrom(problem_pb2.InfillPrompt(suffix="\n\nf()  "))
    assert read(message).prompt == InfillPrompt(prefix="", suffix="\n\nf()  ")


def test_zero_is_a_value() -> None:
    message = spec(sampling=solve_pb2.SamplingParams(temperature=0, top_k=0, min_p=0, seed=0, repetition_penalty=1))
    found = read(message).sampling
    assert (found.temperatures, found.top_k, found.min_p, found.seed) == ((0,), 0, 0, 0)


def test_everything_that_is_set_arrives() -> None:
    message = spec(
        request_id="a.b-c:1",
        model="models/org/name",
        return_policy=solve_pb2.RETURN_POLICY_BEST,
        priority=solve_pb2.PRIORITY_BATCH,
        sampling=solve_pb2.SamplingParams(
            k=8, temperature=0.8, top_p=0.9, top_k=40, min_p=0.05, max_new_tokens=100, stop=["\n\n"], seed=2**64 - 1,
            greedy_first=True, width=4, keep_after_program=True,
        ),
        budget=solve_pb2.Budget(
            wall_time=Duration(seconds=2, nanos=500_000_000), generated_tokens=5, executions=6, rows=7
        ),
        events=solve_pb2.EventOptions(
            token_deltas=True, delta_interval_ms=250, test_results=True, failing_code=True, branches=True
        ),
    )  # fmt: skip
    chat(("system", "be brief"), ("user", "write f"))(message)
    message.problem.problem_id = "MBPP/7"
    message.problem.setup_code = "import math"
    del message.problem.tests[:]
    message.problem.tests.extend(
        [
            problem_pb2.Test(call=problem_pb2.CallTest(args_json="[1]", expected_exception="ValueError"), hidden=True),
            call_test(comparison=problem_pb2.COMPARISON_APPROX, abs_tol=0.5, function="g", kwargs_json='{"a": 1}'),
            problem_pb2.Test(
                name="io",
                weight=2.5,
                stdio=problem_pb2.StdioTest(stdin=b"\xff", expected_stdout=b"1", argv=["-x"]),
            ),
        ]
    )
    found = read(message)
    assert (found.request_id, found.model, found.problem_id) == ("a.b-c:1", "org/name", "MBPP/7")
    assert found.prompt == ChatPrompt(messages=(ChatMessage("system", "be brief"), ChatMessage("user", "write f")))
    assert found.setup_code == "import math"
    assert found.sampling.seed == 2**64 - 1
    assert found.sampling.temperatures == (0.8,)
    assert found.sampling.stop == ("\n\n",)
    assert found.sampling.greedy_first
    assert found.sampling.keep_after_program
    assert (found.sampling.k, found.sampling.width, found.sampling.max_new_tokens) == (8, 4, 100)
    assert found.budget.wall_seconds == 2.5
    assert (found.budget.generated_tokens, found.budget.executions, found.budget.rows) == (5, 6, 7)
    assert found.events.token_deltas
    assert found.events.delta_interval == 0.25
    assert found.events.branches
    assert found.priority is Priority.BATCH
    assert found.return_policy is ReturnPolicy.BEST
    first, second, third = found.tests
    assert first.hidden
    assert first.test == CallTest(function="f", args_json="[1]", expected_exception="ValueError")
    assert second.test == CallTest(
        function="g", kwargs_json='{"a": 1}', expected_json="1", comparison=Comparison.APPROX, abs_tol=0.5
    )
    assert third.test == StdioTest(stdin=b"\xff", expected_stdout=b"1", argv=("-x",), name="io", weight=2.5)


def test_an_empty_cascade_asks_for_nothing() -> None:
    read(spec(cascade=solve_pb2.CascadeContext()))


def test_limits_are_clamped_and_inherited() -> None:
    message = spec()
    limits(cpu_time=Duration(seconds=99), memory_bytes=1 << 40, output_bytes=1 << 30, max_processes=999)(message)
    message.problem.tests[0].limits.cpu_time.FromMilliseconds(500)
    found = read(message)
    assert found.limits.cpu_seconds == 10
    assert found.limits.effective_wall_seconds == 20
    assert (found.limits.memory_bytes, found.limits.output_bytes, found.limits.processes) == (1 << 30, 1 << 20, 8)
    own = found.tests[0].test.limits
    assert own is not None
    assert (own.cpu_seconds, own.memory_bytes) == (0.5, 1 << 30)
    assert read(spec()).tests[0].test.limits is None


def test_a_wall_limit_is_kept_when_it_is_below_the_maximum() -> None:
    message = spec()
    limits(wall_time=Duration(seconds=5))(message)
    assert read(message).limits.wall_seconds == 5


@given(cpu=st.integers(1, 10**6), wall=st.none() | st.integers(1, 10**6))
def test_no_request_gets_more_than_the_maxima(cpu: int, wall: int | None) -> None:
    message = spec()
    limits(cpu_time=Duration(seconds=cpu), wall_time=None if wall is None else Duration(seconds=wall))(message)
    found = read(message).limits
    assert 0 < found.cpu_seconds <= 10
    assert 0 < found.effective_wall_seconds <= 20


def program(**fields: Any) -> execution_service_pb2.Program:
    base = spec()
    tests = list(base.problem.tests)
    return execution_service_pb2.Program(**{"code": "x = 1", "entry_point": "f", "tests": tests, **fields})


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("program.code", {"code": ""}),
        ("program.code", {"code": "x" * 1001}),
        ("program.tests", {"tests": []}),
        ("program.tests", {"tests": [call_test()] * 5}),
        ("program.tests", {"tests": [problem_pb2.Test(weight=0, snippet=problem_pb2.SnippetTest(code="x"))]}),
        ("program.entry_point", {"entry_point": "f g"}),
        ("program.setup_code", {"setup_code": "x" * 1001}),
    ],
)
def test_invalid_programs_are_refused_by_their_path(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        program_in(program(**fields), "program", SETTINGS.limits, SETTINGS.executor)
    assert caught.value.field == field


def test_execute_refuses_hidden_tests_and_other_languages() -> None:
    hidden = problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="x"), hidden=True)
    for field, fields in (("program.tests[0].hidden", {"tests": [hidden]}), ("program.language", {"language": 9})):
        with pytest.raises(Unsupported) as caught:
            program_in(program(**fields), "program", SETTINGS.limits, SETTINGS.executor)
        assert caught.value.field == field


def test_a_program_arrives() -> None:
    found = program_in(program(run_all=True, setup_code="import os"), "program", SETTINGS.limits, SETTINGS.executor)
    assert found.run_all
    assert (found.code, found.setup_code, found.entry_point) == ("x = 1", "import os", "f")
