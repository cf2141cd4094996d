"""ExecuteMany over a real socket, with a scripted executor behind it."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from thresher.v1 import execution_service_pb2, problem_pb2, verdict_pb2

from engine.serving.execution import most_in_flight
from executor.errors import ExecutorBusy, ExecutorDied, InvalidProgram
from executor.types import Program
from executor.verdict import Report, TestReport, Verdict
from tests.support.scripted_solver import ScriptedSolver, forever
from tests.support.served import Served, refused, serving, until

Request = execution_service_pb2.ExecuteManyRequest
Response = execution_service_pb2.ExecuteManyResponse
# The scripted solver has four slots.
MOST = most_in_flight(4)


def run(number: int, code: str = "def f(): return 1", *, test_results: bool = False, **fields: Any) -> Request:
    tests = [problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="assert f() == 1"))]
    program = execution_service_pb2.Program(**{"code": code, "tests": tests, **fields})
    return Request(id=number, run=execution_service_pb2.RunProgram(program=program, test_results=test_results))


def cancel(number: int) -> Request:
    return Request(id=number, cancel=execution_service_pb2.CancelProgram())


async def send(call: Any, requests: Iterable[Request]) -> None:
    for request in requests:
        await call.write(request)


async def replies(call: Any, count: int) -> list[Response]:
    found: list[Response] = []
    async with asyncio.timeout(120):
        while len(found) < count:
            reply = await call.read()
            assert reply is not grpc.aio.EOF
            found.append(reply)
    return found


@asynccontextmanager
async def gated() -> AsyncGenerator[tuple[Served, dict[str, asyncio.Event]]]:
    """Programs whose code is `gate NAME` wait until that gate is opened, which may be before they come."""
    gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
    async with serving() as served:
        plain = served.solver.executor.run

        async def run(program: Program, **options: Any) -> Report:
            if program.code.startswith("gate "):
                await gates[program.code].wait()
            return await plain(program, **options)

        served.solver.executor.run = run  # type: ignore[method-assign]
        yield served, gates


async def test_replies_come_as_programs_end() -> None:
    async with gated() as (served, gates):
        call = served.execution.ExecuteMany()
        await send(call, [run(7, "gate a"), run(3), run(5, "gate b")])
        assert [reply.id for reply in await replies(call, 1)] == [3]
        gates["gate b"].set()
        assert [reply.id for reply in await replies(call, 1)] == [5]
        gates["gate a"].set()
        (last,) = await replies(call, 1)
        assert (last.id, last.report.verdict, last.report.tests_passed) == (7, verdict_pb2.VERDICT_PASSED, 1)
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
    assert len(set(served.solver.executor.groups)) == 1, "one call, one turn in the queue"
    assert served.metric("thresher_verdicts_total", {"verdict": "passed", "source": "request"}) == 3


async def test_a_call_that_says_nothing_ends_well() -> None:
    async with serving() as served:
        call = served.execution.ExecuteMany()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_results_of_tests_come_before_the_report_and_only_if_asked_for() -> None:
    solver = ScriptedSolver()
    reports = tuple(TestReport(index=index, verdict=Verdict.PASSED, name=f"t{index}") for index in range(3))
    solver.executor.report = Report(verdict=Verdict.PASSED, tests=reports, tests_total=3)
    tests = [problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="assert f()"))] * 3
    async with serving(solver) as served:
        call = served.execution.ExecuteMany()
        await send(call, [run(1, tests=tests, test_results=True)])
        told = await replies(call, 4)
        await send(call, [run(2, tests=tests)])
        quiet = await replies(call, 1)
    assert [reply.WhichOneof("reply") for reply in told] == ["test", "test", "test", "report"]
    assert [reply.test.test_index for reply in told[:3]] == [0, 1, 2]
    assert quiet[0].WhichOneof("reply") == "report"


@pytest.mark.parametrize(
    ("request_", "reason", "field", "code"),
    [
        (run(9, ""), "BAD_REQUEST", "program.code", grpc.StatusCode.INVALID_ARGUMENT),
        (run(9, tests=[]), "BAD_REQUEST", "program.tests", grpc.StatusCode.INVALID_ARGUMENT),
        (run(9, language=77), "LANGUAGE_UNSUPPORTED", "program.language", grpc.StatusCode.UNIMPLEMENTED),
        (
            Request(id=9, run=execution_service_pb2.RunProgram.FromString(b"\x7a\x01x")),
            "UNSUPPORTED",
            "run",
            grpc.StatusCode.UNIMPLEMENTED,
        ),
    ],
)
async def test_a_wrong_program_is_refused_by_its_id(
    request_: Request, reason: str, field: str, code: grpc.StatusCode
) -> None:
    async with serving() as served:
        call = served.execution.ExecuteMany()
        await send(call, [request_, run(10)])
        first, second = sorted(await replies(call, 2), key=lambda reply: reply.id)
    assert (first.id, first.refused.reason, first.refused.field) == (9, reason, field)
    assert first.refused.code == code.value[0]
    assert first.refused.message
    assert (second.id, second.WhichOneof("reply")) == (10, "report")


@pytest.mark.parametrize(
    ("error", "reason"), [(InvalidProgram("tests[0]: no"), "BAD_REQUEST"), (ExecutorDied("x"), "SANDBOX_UNAVAILABLE")]
)
async def test_what_the_executor_refuses_is_refused_by_id(error: Exception, reason: str) -> None:
    solver = ScriptedSolver()
    solver.executor.error = error
    async with serving(solver) as served:
        call = served.execution.ExecuteMany()
        await send(call, [run(1)])
        (reply,) = await replies(call, 1)
    assert reply.refused.reason == reason


async def test_a_full_queue_is_waited_for() -> None:
    solver = ScriptedSolver()
    solver.executor.error = ExecutorBusy("full")
    async with serving(solver) as served:
        call = served.execution.ExecuteMany()
        await send(call, [run(1)])
        await until(lambda: len(solver.executor.programs) >= 3)
        solver.executor.error = None
        (reply,) = await replies(call, 1)
    assert reply.report.verdict == verdict_pb2.VERDICT_PASSED


@pytest.mark.parametrize(
    ("wrong", "code", "reason"),
    [
        ([run(1, "gate"), run(1)], grpc.StatusCode.INVALID_ARGUMENT, "ID_IN_USE"),
        ([Request(id=2)], grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST"),
        ([Request.FromString(b"\x7a\x01x")], grpc.StatusCode.UNIMPLEMENTED, "UNSUPPORTED"),
    ],
)
async def test_a_request_that_belongs_to_no_program_ends_the_call(
    wrong: list[Request], code: grpc.StatusCode, reason: str
) -> None:
    solver = ScriptedSolver()
    solver.executor.before = forever
    async with serving(solver) as served:
        call = served.execution.ExecuteMany()
        await send(call, [run(100), *wrong])
        found = await refused(call)
    assert (found.code, found.info.reason) == (code, reason)
    assert solver.executor.cancelled == len(solver.executor.programs) >= 1


async def test_a_fault_of_ours_ends_the_call_and_every_program_of_it() -> None:
    async with gated() as (served, _):
        call = served.execution.ExecuteMany()
        await send(call, [run(1, "gate a")])
        served.solver.executor.error = RuntimeError("a bug that quotes a program")
        await send(call, [run(2)])
        found = await refused(call)
    assert (found.code, found.info.reason) == (grpc.StatusCode.INTERNAL, "ENGINE_FAILED")
    assert "bug" not in found.message


async def test_t1_a_leaked_cancellation_leaves_no_caller_hanging() -> None:
    solver = ScriptedSolver()
    solver.executor.error = asyncio.CancelledError()
    async with serving(solver) as served:
        call = served.execution.ExecuteMany(timeout=20)
        await send(call, [run(1)])
        found = await refused(call)
    assert found.code is grpc.StatusCode.INTERNAL


async def test_cancel_by_id_ends_that_program_alone() -> None:
    async with gated() as (served, gates):
        call = served.execution.ExecuteMany()
        await send(call, [run(1, "gate a"), run(2, "gate b")])
        await until(lambda: len(gates) == 2)
        await send(call, [cancel(1), cancel(99)])
        (reply,) = await replies(call, 1)
        assert (reply.id, reply.WhichOneof("reply")) == (1, "cancelled")
        # The number is free again, and cancelling what has ended does nothing.
        await send(call, [cancel(1), run(1)])
        (again,) = await replies(call, 1)
        assert (again.id, again.WhichOneof("reply")) == (1, "report")
        gates["gate b"].set()
        assert [reply.id for reply in await replies(call, 1)] == [2]


async def test_a_cancel_that_follows_its_program_at_once_is_answered() -> None:
    solver = ScriptedSolver()
    solver.executor.before = forever
    async with serving(solver) as served:
        call = served.execution.ExecuteMany()
        for number in range(50):
            await send(call, [run(number), cancel(number)])
        found = await replies(call, 50)
    assert sorted(reply.id for reply in found) == list(range(50))
    assert {reply.WhichOneof("reply") for reply in found} == {"cancelled"}


@pytest.mark.parametrize("end", ["cancel", "deadline"])
async def test_the_end_of_the_call_is_the_end_of_its_programs(end: str) -> None:
    solver = ScriptedSolver()
    solver.executor.before = forever
    async with serving(solver) as served:
        call = served.execution.ExecuteMany(timeout=2 if end == "deadline" else None)
        await send(call, [run(number) for number in range(10)])
        await until(lambda: len(solver.executor.programs) == 10)
        if end == "cancel":
            call.cancel()
        await until(lambda: solver.executor.cancelled == 10)
        await until(lambda: len(served.front.calls) == 0)
        name = "thresher_grpc_requests_total"
        code = "CANCELLED" if end == "cancel" else "DEADLINE_EXCEEDED"
        await until(
            lambda: served.metric(name, {"method": "/thresher.v1.ExecutionService/ExecuteMany", "code": code}) == 1
        )


async def test_no_more_than_its_share_is_in_flight() -> None:
    solver = ScriptedSolver()
    open_ = asyncio.Event()

    async def before() -> None:
        await open_.wait()

    solver.executor.before = before
    async with serving(solver) as served:
        call = served.execution.ExecuteMany()
        sending = asyncio.create_task(send(call, [run(number) for number in range(200)]))
        await until(lambda: len(solver.executor.programs) == MOST)
        await asyncio.sleep(0.2)
        assert len(solver.executor.programs) == MOST
        # A caller within the share is heard at once; this one is beyond it, and yet not lost.
        open_.set()
        found = await replies(call, 200)
        await sending
    assert sorted(reply.id for reply in found) == list(range(200))


async def test_cancels_of_a_full_share_are_read_at_once() -> None:
    solver = ScriptedSolver()
    solver.executor.before = forever
    async with serving(solver) as served:
        call = served.execution.ExecuteMany()
        await send(call, [run(number) for number in range(MOST)])
        await until(lambda: len(solver.executor.programs) == MOST)
        await send(call, [cancel(4)])
        assert [reply.id for reply in await replies(call, 1)] == [4]


async def test_a_caller_that_does_not_read_stops_the_server_and_loses_nothing() -> None:
    solver = ScriptedSolver()
    big = TestReport(index=0, verdict=Verdict.PASSED, stdout=b"x" * (256 << 10))
    solver.executor.report = Report(verdict=Verdict.PASSED, tests=(big,), tests_total=1)
    async with serving(solver) as served:
        call = served.execution.ExecuteMany()
        sending = asyncio.create_task(send(call, [run(number) for number in range(1000)]))
        await until(lambda: len(solver.executor.programs) >= MOST)
        settled = -1
        while settled != len(solver.executor.programs):
            settled = len(solver.executor.programs)
            await asyncio.sleep(0.3)
        # What fits into the connection's windows (64 KiB to a few MiB) has been written; then it stops.
        assert settled < 200
        ids = [reply.id for reply in await replies(call, 1000)]
        await sending
    assert sorted(ids) == list(range(1000))


async def test_a_draining_server_finishes_what_it_took_and_refuses_the_rest() -> None:
    async with gated() as (served, gates):
        idle = served.execution.ExecuteMany()
        await send(idle, [run(1)])
        await replies(idle, 1)
        call = served.execution.ExecuteMany()
        await send(call, [run(1, "gate a")])
        await until(lambda: "gate a" in gates)
        await served.front.refuse_new()
        ended = await refused(idle)
        assert (ended.code, ended.info.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        await send(call, [run(2)])
        (reply,) = await replies(call, 1)
        assert (reply.id, reply.refused.reason) == (2, "DRAINING")
        assert reply.refused.code == grpc.StatusCode.UNAVAILABLE.value[0]
        gates["gate a"].set()
        (last,) = await replies(call, 1)
        assert (last.id, last.WhichOneof("reply")) == (1, "report")
        found = await refused(call)
        assert (found.code, found.info.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert await served.front.calls.wait(5)


async def test_while_starting_and_without_a_token_it_is_refused() -> None:
    async with serving(ScriptedSolver(status="starting"), tcp=True) as served:
        found = await refused(served.execution.ExecuteMany())
        assert found.info.reason == "STARTING"
        async with grpc.aio.insecure_channel(served.tcp) as channel:
            method = channel.stream_stream("/thresher.v1.ExecutionService/ExecuteMany")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await method().read()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
