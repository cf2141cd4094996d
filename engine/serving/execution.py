"""ExecutionService: runs a caller's own program in the sandbox."""

import asyncio
from typing import Any

import grpc.aio
from structlog.contextvars import get_contextvars
from thresher.v1 import execution_service_pb2, execution_service_pb2_grpc

from engine.config import Settings
from engine.metrics import Metrics
from engine.serving.backend import SolverLike
from engine.serving.calls import LiveCalls
from engine.serving.fields import refuse_unknown
from engine.serving.problem_in import program_in
from engine.serving.report_out import TestPlaces, report_out
from engine.serving.synthesis import CHECK_IN_THREAD_BYTES, starting
from executor.types import Program


class ExecutionService(execution_service_pb2_grpc.ExecutionServiceServicer):
    """Runs programs in the sandbox; draws nothing."""

    def __init__(self, settings: Settings, solver: SolverLike, calls: LiveCalls, metrics: Metrics) -> None:
        self._settings = settings
        self._solver = solver
        self._calls = calls
        self._metrics = metrics

    async def Execute(
        self, request: execution_service_pb2.ExecuteRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> execution_service_pb2.ExecuteResponse:
        """Run one program against its tests; cancelling the call kills its jail."""
        async with self._calls.one():
            if self._solver.status == "starting":
                raise starting()
            if request.ByteSize() > CHECK_IN_THREAD_BYTES:
                program = await asyncio.to_thread(self._program, request)
            else:
                program = self._program(request)
            report = await self._solver.executor.run(program, group=f"execute:{get_contextvars()['request_id']}")
            self._metrics.verdict(report.verdict, "request")
            self._metrics.execution(
                queue_seconds=report.queue_seconds,
                startup_seconds=report.startup_seconds,
                run_seconds=report.wall_seconds,
            )
            places = TestPlaces.of([(index, test.weight) for index, test in enumerate(program.tests)])
            return execution_service_pb2.ExecuteResponse(report=report_out(report, places))

    def _program(self, request: execution_service_pb2.ExecuteRequest) -> Program:
        refuse_unknown(request, "request")
        return program_in(request.program, "program", self._settings.limits, self._settings.executor)
