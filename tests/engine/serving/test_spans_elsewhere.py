"""Spans of programs that run on other servers: from the candidate's span over real gRPC to the executor's own."""

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from thresher.client import AsyncClient, ThresherError
from thresher.client.channel import Endpoint
from thresher.v1 import execution_service_pb2, problem_pb2, solve_pb2

from engine.metrics import Metrics
from engine.remote.balanced import BalancedExecutor
from engine.remote.link import RemoteMember
from engine.serving import info
from engine.serving.execution import ExecutionService
from engine.tracing import Span
from executor import InvalidProgram
from tests.support.collector import Collector, collecting
from tests.support.good_requests import good_requests
from tests.support.scripted_engine import Script, scripted_solver
from tests.support.scripted_solver import ScriptedSolver, forever
from tests.support.served import serving, until

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
EXECUTE = "/thresher.v1.ExecutionService/Execute"
MANY = "thresher.v1.ExecutionService/ExecuteMany"


def context(*, kept: bool = True) -> list[tuple[str, str]]:
    """The metadata of a caller whose own spans are kept, or not."""
    return [("traceparent", f"00-{TRACE}-{CALLER}-{'01' if kept else '00'}"), ("tracestate", "vendor=1")]


def asked() -> solve_pb2.SolveSpec:
    """A solve with one candidate."""
    problem = problem_pb2.Problem(
        completion=problem_pb2.CompletionPrompt(text="any"),
        tests=[problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="assert x"))],
    )
    return solve_pb2.SolveSpec(problem=problem, sampling=solve_pb2.SamplingParams(k=1, seed=3))


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Generator[Collector]:
    """The environment of both servers names it."""
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
        yield collector


@asynccontextmanager
async def judged_elsewhere(elsewhere: ScriptedSolver) -> AsyncGenerator[AsyncClient]:
    """A server whose programs run on another one; all spans of both have been sent once it has ended."""
    async with serving(elsewhere) as other:
        member = RemoteMember("pod", Endpoint(f"unix:{other.folder}/s", pinned=True))
        executor: Any = BalancedExecutor([member], Metrics())
        solver: Any = scripted_solver(Script({"any": {"x = 1\n": 1.0}}), executor, rows=16, waiting=8)
        await solver.start()
        try:
            async with serving(solver) as served, AsyncClient(f"unix:{served.folder}/s") as client:
                yield client
                await until(lambda: not solver.load().solves_running and not executor.stats().queue_depth)
        finally:
            await solver.close()


async def outcome(client: AsyncClient, *, kept: bool = True) -> solve_pb2.SolveOutcome:
    events = [event async for event in client.solve(asked(), timeout=30, metadata=context(kept=kept))]
    return events[-1].summary.outcome


async def test_an_executor_elsewhere_goes_on_with_the_trace(collector: Collector) -> None:
    async with judged_elsewhere(ScriptedSolver()) as client:
        assert await outcome(client) == solve_pb2.SOLVE_OUTCOME_SOLVED
    assert {span.trace for span in collector.spans} == {TRACE}
    execute = collector.one("execute")
    assert execute.parent == collector.one("candidate").id
    sent, run = sorted(collector.named(MANY), key=lambda span: span.kind)
    assert (sent.kind, sent.parent, sent.attributes["thresher.executor"]) == ("CLIENT", execute.id, "pod")
    assert (run.kind, run.parent, run.attributes["thresher.verdict"]) == ("SERVER", sent.id, "passed")
    assert execute.start <= sent.start <= run.start <= run.end and sent.end <= execute.end
    assert not any(span.failed for span in collector.spans)


async def test_a_program_that_is_cancelled_elsewhere_ends_its_spans(collector: Collector) -> None:
    elsewhere = ScriptedSolver()
    elsewhere.executor.before = forever
    async with judged_elsewhere(elsewhere) as client:
        async with client.solve(asked(), timeout=60, metadata=context()):
            await until(lambda: len(elsewhere.executor.programs) == 1)
        await until(lambda: elsewhere.executor.cancelled == 1)
    (run,) = (span for span in collector.named(MANY) if span.kind == "SERVER")
    assert run.attributes["thresher.verdict"] == collector.one("execute").attributes["thresher.verdict"] == "cancelled"
    assert not run.failed


async def test_a_program_that_is_refused_elsewhere_is_a_failure_of_its_span(collector: Collector) -> None:
    elsewhere = ScriptedSolver()
    elsewhere.executor.error = InvalidProgram("tests[0]: no name")
    async with judged_elsewhere(elsewhere) as client:
        with pytest.raises(ThresherError):
            await outcome(client)
    (run,) = (span for span in collector.named(MANY) if span.kind == "SERVER")
    assert run.failed and run.attributes["error.type"] == "INVALID_ARGUMENT"
    assert "thresher.verdict" not in run.attributes


@pytest.mark.parametrize("kept", [True, False])
async def test_an_executor_is_told_of_no_trace_that_is_not_kept_or_that_it_cannot_go_on_with(
    kept: bool, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    plain: Any = ExecutionService._span_of  # type: ignore

    def watched(self: ExecutionService, message: execution_service_pb2.RunProgram) -> Span | None:
        told.append(message.HasField("trace_context"))
        return plain(self, message)

    monkeypatch.setattr(ExecutionService, "_span_of", watched)
    if kept:  # an older server refuses programs with fields that it does not know
        monkeypatch.setattr(info, "FEATURES", tuple(name for name in info.FEATURES if "trace" not in name))
    async with judged_elsewhere(ScriptedSolver()) as client:
        assert await outcome(client, kept=kept) == solve_pb2.SOLVE_OUTCOME_SOLVED
    assert told == [False]
    assert [span.kind for span in collector.named(MANY)] == (["CLIENT"] if kept else [])


async def test_execute_goes_on_with_its_callers_trace(collector: Collector) -> None:
    async with serving(ScriptedSolver()) as served:
        for kept in (True, False):
            await served.execution.Execute(good_requests()[EXECUTE], metadata=context(kept=kept))
    call = collector.one(EXECUTE.removeprefix("/"))
    assert (call.trace, call.parent, call.kind) == (TRACE, CALLER, "SERVER")
