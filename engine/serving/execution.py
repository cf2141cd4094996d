"""ExecutionService: runs callers' own programs in the sandbox."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc.aio
from google.protobuf.message import Message
from structlog.contextvars import get_contextvars
from thresher.v1 import execution_service_pb2, execution_service_pb2_grpc

from engine.config import Settings
from engine.metrics import Metrics
from engine.serving.backend import SolverLike
from engine.serving.callers import current_caller
from engine.serving.calls import LiveCalls
from engine.serving.fields import refuse_unknown
from engine.serving.limits import lowered_in
from engine.serving.problem_in import program_in
from engine.serving.program_stream import EXECUTE_MANY, CheckedProgram, ProgramStream, with_lowered
from engine.serving.report_out import TestPlaces, report_out
from engine.serving.synthesis import CHECK_IN_THREAD_BYTES, starting
from engine.solving.routing import no_sandbox
from engine.tracing import Span, Tracing
from executor.errors import ExecutorBusy
from executor.sandbox import OnTest
from executor.types import Program
from executor.verdict import Report

_BUSY_PAUSE = 0.05
_LEAST_IN_FLIGHT = 16
_Context = grpc.aio.ServicerContext[Any, Any]


def most_in_flight(slots: int) -> int:
    """Programs of one ExecuteMany call that the server holds at once: enough to keep its slots busy over a slow line,
    and few enough for its other callers."""
    return max(_LEAST_IN_FLIGHT, 4 * slots)


class ExecutionService(execution_service_pb2_grpc.ExecutionServiceServicer):
    """Runs programs in the sandbox; draws nothing."""

    def __init__(
        self,
        settings: Settings,
        solver: SolverLike,
        calls: LiveCalls,
        metrics: Metrics,
        tracing: Tracing | None = None,
    ) -> None:
        self._settings = settings
        self._solver = solver
        self._calls = calls
        self._metrics = metrics
        self._tracing = tracing

    async def Execute(
        self, request: execution_service_pb2.ExecuteRequest, context: _Context
    ) -> execution_service_pb2.ExecuteResponse:
        """Run one program against its tests; cancelling the call kills its jail."""
        async with self._calls.one():
            self._require_started()
            program, lowered = await self._read(request, request.program, "request")
            report = with_lowered(await self._run(program, _group(), None), lowered)
            places = TestPlaces.of([(index, test.weight) for index, test in enumerate(program.tests)])
            return execution_service_pb2.ExecuteResponse(report=report_out(report, places))

    # A coroutine that writes, not a generator: replies do not come in the order of requests.
    async def ExecuteMany(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, requests: AsyncIterator[execution_service_pb2.ExecuteManyRequest], context: _Context
    ) -> None:
        """Run programs as they come, several at a time; the call's end is the end of every one of them."""
        async with self._calls.one():
            self._require_started()
            stream = ProgramStream(
                read=lambda message: self._read(message, message.program, "run"),
                run=partial(self._run_in_turn, _group()),
                trace=self._span_of,
                write=context.write,
                closing=self._calls.closing,
                most=most_in_flight(self._solver.load().executor_slots),
            )
            await stream.serve(requests)

    def _require_started(self) -> None:
        if self._solver.executor is None:
            raise no_sandbox()
        if self._solver.status == "starting":
            raise starting(self._solver)

    async def _read(self, whole: Message, program: execution_service_pb2.Program, path: str) -> CheckedProgram:
        if whole.ByteSize() > CHECK_IN_THREAD_BYTES:
            return await asyncio.to_thread(self._check, whole, program, path)
        return self._check(whole, program, path)

    def _check(self, whole: Message, program: execution_service_pb2.Program, path: str) -> CheckedProgram:
        refuse_unknown(whole, path)
        found = program_in(program, "program", self._settings.limits, self._settings.executor)
        current_caller().check_program(found)
        return found, lowered_in(program.limits, program.tests, self._settings.executor)

    def _span_of(self, message: execution_service_pb2.RunProgram) -> Span | None:
        if self._tracing is None or not message.HasField("trace_context"):
            return None
        context = message.trace_context
        metadata = {"traceparent": context.traceparent, "tracestate": context.tracestate}
        return self._tracing.called(EXECUTE_MANY, metadata)

    async def _run(self, program: Program, group: str, on_test: OnTest | None) -> Report:
        if self._solver.executor is None:
            raise no_sandbox()
        report = await self._solver.executor.run(program, group=group, on_test=on_test)
        self._metrics.verdict(report.verdict, "request")
        self._metrics.executors.execution(
            queue_seconds=report.queue_seconds,
            startup_seconds=report.startup_seconds,
            run_seconds=report.wall_seconds,
        )
        return report

    async def _run_in_turn(self, group: str, program: Program, on_test: OnTest | None) -> Report:
        """Wait for the caller's quota, and while the queue is full: the place that the program holds slows it down."""
        caller = current_caller()
        rate = caller.quota.requests_per_second
        while (pause := caller.meter.seconds_to_wait(rate)) > 0:  # noqa: ASYNC110 (only time brings the next one)
            await asyncio.sleep(pause)
        while True:
            try:
                return await self._run(program, group, on_test)
            except ExecutorBusy:
                await asyncio.sleep(_BUSY_PAUSE)


def _group() -> str:
    """Programs of one call take turns with those of others."""
    return f"execute:{get_contextvars()['request_id']}"
