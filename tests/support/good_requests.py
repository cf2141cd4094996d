"""Requests that a server takes, with as many fields set as go together."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from thresher.v1 import (
    execution_service_pb2,
    info_service_pb2,
    problem_pb2,
    solve_pb2,
    synthesis_service_pb2,
    verdict_pb2,
)

_LIMITS = problem_pb2.ExecutionLimits(
    wall_time=Duration(seconds=5),
    cpu_time=Duration(seconds=2),
    memory_bytes=1 << 26,
    output_bytes=1000,
    max_processes=4,
)
_TESTS = (
    problem_pb2.Test(name="first", snippet=problem_pb2.SnippetTest(code="assert f() == 1"), weight=2.0, limits=_LIMITS),
    problem_pb2.Test(
        call=problem_pb2.CallTest(
            function="f",
            args_json="[1]",
            kwargs_json='{"a": 2}',
            expected_json="3",
            comparison=problem_pb2.COMPARISON_APPROX,
            rel_tol=1e-3,
            abs_tol=1e-3,
        )
    ),
    problem_pb2.Test(call=problem_pb2.CallTest(function="f", expected_exception="ValueError")),
    problem_pb2.Test(
        stdio=problem_pb2.StdioTest(
            stdin=b"1\n", expected_stdout=b"2\n", argv=["a"], comparison=problem_pb2.COMPARISON_TOKENS
        ),
    ),
)


def solve_spec() -> solve_pb2.SolveSpec:
    """A solve with prior attempts, variants and hidden tests."""
    hidden = problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="HELD"), hidden=True)
    report = verdict_pb2.ExecutionReport(
        verdict=verdict_pb2.VERDICT_WRONG_ANSWER,
        tests_total=4,
        results=[verdict_pb2.TestResult(test_index=0, verdict=verdict_pb2.VERDICT_WRONG_ANSWER, message="got 2")],
        usage=verdict_pb2.ResourceUsage(wall_time=Duration(nanos=1), max_rss_bytes=1 << 20),
        lowered_limits=[verdict_pb2.LoweredLimit(limit="cpu_time", asked=9.0, applied=5.0)],
    )
    return solve_pb2.SolveSpec(
        model="models/scripted",
        problem=problem_pb2.Problem(
            problem_id="p",
            language=problem_pb2.LANGUAGE_PYTHON,
            completion=problem_pb2.CompletionPrompt(text="def f():", part_of_program=True),
            entry_point="f",
            setup_code="import math",
            tests=[*_TESTS, hidden],
            limits=_LIMITS,
            variants=[problem_pb2.PromptVariant(completion=problem_pb2.CompletionPrompt(text="def f(a):"))],
        ),
        sampling=solve_pb2.SamplingParams(
            k=4, temperature=0.8, top_p=0.9, top_k=40, min_p=0.01, max_new_tokens=12, stop=["\n\n"], seed=3, width=2
        ),
        return_policy=solve_pb2.RETURN_POLICY_ALL,
        budget=solve_pb2.Budget(wall_time=Duration(seconds=9), generated_tokens=5000, executions=50, rows=5000),
        events=solve_pb2.EventOptions(
            token_deltas=True, delta_interval_ms=20, test_results=True, failing_code=True, branches=True
        ),
        cascade=solve_pb2.CascadeContext(
            tier=1,
            upstream_model="small",
            difficulty=0.5,
            prior_attempts=[
                solve_pb2.PriorAttempt(code="def f(): return 2", report=report, mean_logprob=-1.0),
                solve_pb2.PriorAttempt(code="def f(): return 3"),
            ],
        ),
        priority=solve_pb2.PRIORITY_BATCH,
    )


def program() -> execution_service_pb2.Program:
    """A program with tests of every kind."""
    return execution_service_pb2.Program(
        language=problem_pb2.LANGUAGE_PYTHON,
        code="def f(): return 1",
        entry_point="f",
        setup_code="import math",
        tests=_TESTS,
        limits=_LIMITS,
        run_all=True,
        any_order=True,
    )


def good_requests() -> dict[str, Message]:
    """One request for each method of ours."""
    once = solve_spec()
    once.ClearField("events")
    context = execution_service_pb2.TraceContext(
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", tracestate="vendor=1"
    )
    run = execution_service_pb2.RunProgram(program=program(), test_results=True, trace_context=context)
    return {
        "/thresher.v1.SynthesisService/Solve": synthesis_service_pb2.SolveRequest(spec=solve_spec()),
        "/thresher.v1.SynthesisService/SolveOnce": synthesis_service_pb2.SolveOnceRequest(spec=once),
        "/thresher.v1.ExecutionService/Execute": execution_service_pb2.ExecuteRequest(program=program()),
        "/thresher.v1.ExecutionService/ExecuteMany": execution_service_pb2.ExecuteManyRequest(id=7, run=run),
        "/thresher.v1.InfoService/GetServerInfo": info_service_pb2.GetServerInfoRequest(),
        "/thresher.v1.InfoService/ListModels": info_service_pb2.ListModelsRequest(page_size=2),
        "/thresher.v1.InfoService/GetLoad": info_service_pb2.GetLoadRequest(),
    }
