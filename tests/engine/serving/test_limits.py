"""Limits beyond the server's maxima are lowered to them, and every answer says which."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from thresher.client.channel import Endpoint
from thresher.v1 import execution_service_pb2, problem_pb2, verdict_pb2

from engine.config import ExecutorSettings
from engine.metrics import Metrics
from engine.remote.balanced import BalancedExecutor
from engine.remote.link import RemoteMember
from engine.serving.limits import limits_in, lowered_in
from executor.types import Limits, Program, SnippetTest
from executor.verdict import LoweredLimit
from tests.support.served import once_request, serving, solve_request, spec

MAXIMA = ExecutorSettings(
    max_cpu_seconds=10, max_wall_seconds=20, max_memory_bytes=1 << 28, max_output_bytes=1 << 20, max_processes=8
)  # type: ignore[arg-type]
MOST = {"executor": {"max_cpu_seconds": 10}}
TEST = problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="assert f() == 1"))
GREEDY = problem_pb2.Test(
    snippet=TEST.snippet, limits=problem_pb2.ExecutionLimits(cpu_time=Duration(seconds=11), memory_bytes=1 << 40)
)


def asked(**limits: Any) -> problem_pb2.ExecutionLimits:
    return problem_pb2.ExecutionLimits(**limits)


def lowered(limit: str, asked: float, applied: float, test_index: int | None = None) -> verdict_pb2.LoweredLimit:
    return verdict_pb2.LoweredLimit(limit=limit, asked=asked, applied=applied, test_index=test_index)


@given(
    cpu=st.none() | st.integers(1, 40),
    wall=st.none() | st.integers(1, 40),
    memory=st.none() | st.integers(1, 1 << 29),
    output=st.none() | st.integers(1, 1 << 21),
    processes=st.none() | st.integers(1, 16),
)
def test_what_is_told_is_what_was_done(
    cpu: int | None, wall: int | None, memory: int | None, output: int | None, processes: int | None
) -> None:
    message = asked(
        cpu_time=None if cpu is None else Duration(seconds=cpu),
        wall_time=None if wall is None else Duration(seconds=wall),
        memory_bytes=memory,
        output_bytes=output,
        max_processes=processes,
    )
    held = limits_in(message, "limits", Limits(), MAXIMA)
    wanted = {"cpu_time": cpu, "wall_time": wall, "memory_bytes": memory, "output_bytes": output}
    got = {
        "cpu_time": held.cpu_seconds,
        "wall_time": held.effective_wall_seconds,
        "memory_bytes": held.memory_bytes,
        "output_bytes": held.output_bytes,
        "max_processes": held.processes,
    }
    different = {
        LoweredLimit(limit=name, asked=value, applied=got[name])
        for name, value in (wanted | {"max_processes": processes}).items()
        if value is not None and value != got[name]
    }
    assert set(lowered_in(message, (), MAXIMA)) == different


def test_a_limit_that_nobody_asked_for_is_not_told() -> None:
    """The wall limit that follows from 10 s of CPU time would be 31 s."""
    assert lowered_in(asked(cpu_time=Duration(seconds=10)), (TEST,), MAXIMA) == ()


async def test_execute_and_execute_many_say_it() -> None:
    program = execution_service_pb2.Program(
        code="x", tests=[TEST, GREEDY], limits=asked(cpu_time=Duration(seconds=9999), max_processes=2)
    )
    expected = [
        lowered("cpu_time", 9999, 10),
        lowered("cpu_time", 11, 10, test_index=1),
        lowered("memory_bytes", 1 << 40, 2 << 30, test_index=1),
    ]
    async with serving(**MOST) as served:
        report = (await served.execution.Execute(execution_service_pb2.ExecuteRequest(program=program))).report
        call = served.execution.ExecuteMany()
        run = execution_service_pb2.RunProgram(program=program)
        await call.write(execution_service_pb2.ExecuteManyRequest(run=run))
        reply = await call.read()
        await call.done_writing()
    assert list(report.lowered_limits) == list(reply.report.lowered_limits) == expected
    assert served.solver.executor.programs[0].limits.cpu_seconds == 10


@pytest.mark.parametrize("once", [True, False])
async def test_the_summary_of_a_solve_says_it(once: bool) -> None:
    problem = spec().problem
    problem.limits.cpu_time.FromSeconds(9999)
    problem.tests.append(GREEDY)
    async with serving(**MOST) as served:
        if once:
            summary = (await served.synthesis.SolveOnce(once_request(problem=problem))).summary
        else:
            events = [response.event async for response in served.synthesis.Solve(solve_request(problem=problem))]
            summary = events[-1].summary
    index = len(problem.tests) - 1
    assert list(summary.lowered_limits) == [
        lowered("cpu_time", 9999, 10),
        lowered("cpu_time", 11, 10, test_index=index),
        lowered("memory_bytes", 1 << 40, 2 << 30, test_index=index),
    ]


async def test_what_an_executor_elsewhere_lowers_comes_back() -> None:
    """The server allows 60 s, the executor that it uses only 10."""
    tests = (SnippetTest(code="x"), SnippetTest(code="x", limits=Limits(cpu_seconds=2, wall_seconds=5)))
    program = Program(code="x", tests=tests, limits=Limits(cpu_seconds=40, wall_seconds=60))
    async with serving(**MOST) as served:
        member = RemoteMember("it", Endpoint(f"unix:{served.folder}/s", pinned=True))
        async with BalancedExecutor([member], Metrics()) as executor:
            report = await executor.run(program)
    assert report.lowered_limits == (LoweredLimit(limit="cpu_time", asked=40, applied=10),)
