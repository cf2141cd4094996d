"""One call of ExecuteMany: programs in, reports out as they end, a bounded number in between.

One task reads, each program has a task of its own, and the call's own task writes; whatever ends the call ends them
all. A program holds its place until the reply that ends it has been written, so a caller that does not read its replies
stops the reading of its requests.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import msgspec
from thresher.v1 import execution_service_pb2, verdict_pb2

from engine.serving.calls import draining
from engine.serving.fields import refuse_unknown_here
from engine.serving.report_out import TestPlaces, report_out, result_out
from engine.serving.status import refusal_of
from engine.solving.errors import EngineFailed, InvalidRequest, Unsupported
from engine.solving.spans import end_execute_span
from engine.tracing import Span, now_within
from executor.sandbox import OnTest
from executor.types import Program
from executor.verdict import LoweredLimit, Report, TestReport

EXECUTE_MANY = "/thresher.v1.ExecutionService/ExecuteMany"
Request = execution_service_pb2.ExecuteManyRequest
Response = execution_service_pb2.ExecuteManyResponse


CheckedProgram = tuple[Program, tuple[LoweredLimit, ...]]
"""A program that may run, and what it asked for beyond the server's maxima."""
Read = Callable[[execution_service_pb2.RunProgram], Awaitable[CheckedProgram]]
"""The program of a message, checked."""
Run = Callable[[Program, OnTest | None], Awaitable[Report]]
"""Runs a program; cancelling the awaiting task kills its jail."""
Trace = Callable[[execution_service_pb2.RunProgram], Span | None]
"""The span of a program, where its message names a trace and spans are kept here."""


class ProgramStream:
    """Serves one call. `most` programs are in flight at once; `closing` is set when the server drains."""

    def __init__(
        self,
        read: Read,
        run: Run,
        trace: Trace,
        write: Callable[[Response], Awaitable[None]],
        closing: asyncio.Event,
        most: int,
    ) -> None:
        self._read = read
        self._run = run
        self._trace = trace
        self._write = write
        self._closing = closing
        self._places = asyncio.Semaphore(most)
        self._live: dict[int, asyncio.Task[verdict_pb2.ExecutionReport]] = {}
        # None only wakes the writer. Bounded by the places, and by the tests of the programs that hold them.
        self._replies: asyncio.Queue[Response | None] = asyncio.Queue()
        self._held = 0
        self._fault: BaseException | None = None

    async def serve(self, requests: AsyncIterator[Request]) -> None:
        """Serve until the caller has closed its side and every program has ended.

        Raises InvalidRequest or Unsupported for a request that belongs to no program, and Unavailable once a draining
        server has nothing left to do for this call. On any way out the jails are gone.
        """
        reading = asyncio.create_task(self._take(requests))
        closing = asyncio.create_task(self._closing.wait())
        for task in (reading, closing):
            task.add_done_callback(lambda _: self._replies.put_nowait(None))
        try:
            while not self._over(reading):
                reply = await self._replies.get()
                if reply is None:
                    continue
                await self._write(reply)
                if reply.WhichOneof("reply") != "test":
                    self._held -= 1
                    self._places.release()
        finally:
            tasks: list[asyncio.Task[Any]] = [reading, closing, *self._live.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _over(self, reading: asyncio.Task[None]) -> bool:
        if self._fault is not None:
            raise self._fault
        if reading.done():
            reading.result()
        if self._held:
            return False
        if not reading.done() and self._closing.is_set():
            raise draining()
        return reading.done()

    async def _take(self, requests: AsyncIterator[Request]) -> None:
        async for request in requests:
            refuse_unknown_here(request, "request")
            match request.WhichOneof("action"):
                case "run":
                    await self._places.acquire()
                    self._held += 1
                    self._begin(request)
                case "cancel":
                    refuse_unknown_here(request.cancel, "cancel")
                    if (task := self._live.get(request.id)) is not None:
                        task.cancel()
                case None:
                    raise InvalidRequest("action", "is missing; set run or cancel")

    def _begin(self, request: Request) -> None:
        number = request.id
        if number in self._live:
            raise InvalidRequest("id", f"{number} is that of a program that has not ended", reason="ID_IN_USE")
        if self._closing.is_set():
            self._replies.put_nowait(Response(id=number, refused=_refused(draining())))
            return
        task = asyncio.create_task(self._judge(number, request.run))
        self._live[number] = task
        task.add_done_callback(lambda task: self._ended(number, task))

    async def _judge(self, number: int, message: execution_service_pb2.RunProgram) -> verdict_pb2.ExecutionReport:
        program, lowered = await self._read(message)
        places = TestPlaces.of([(index, test.weight) for index, test in enumerate(program.tests)])

        def on_test(report: TestReport) -> None:
            self._replies.put_nowait(Response(id=number, test=result_out(report, places)))

        report = await self._run_traced(message, program, on_test if message.test_results else None)
        return report_out(with_lowered(report, lowered), places)

    async def _run_traced(
        self, message: execution_service_pb2.RunProgram, program: Program, on_test: OnTest | None
    ) -> Report:
        span = self._trace(message)
        now_within(span)
        report: Report | None = None
        try:
            report = await self._run(program, on_test)
            return report
        except Exception as error:
            if span is not None:
                span.fail(refusal_of(error).code.name)
                span.end()
            raise
        finally:
            if span is not None:
                end_execute_span(span, report)

    def _ended(self, number: int, task: asyncio.Task[verdict_pb2.ExecutionReport]) -> None:
        # Forgotten before the reply is written: its reader may use the number again at once.
        del self._live[number]
        reply: Response | None = None
        if task.cancelled():
            if task.cancelling():
                reply = Response(id=number, cancelled=execution_service_pb2.ProgramCancelled())
            else:
                self._fault = EngineFailed("a program was cancelled that nobody had cancelled")
        elif (error := task.exception()) is None:
            reply = Response(id=number, report=task.result())
        elif isinstance(error, Exception) and refusal_of(error).code is not grpc.StatusCode.INTERNAL:
            reply = Response(id=number, refused=_refused(error))
        else:
            self._fault = error
        self._replies.put_nowait(reply)


def with_lowered(report: Report, lowered: tuple[LoweredLimit, ...]) -> Report:
    """The report with what this server lowered before what another one lowered further."""
    return msgspec.structs.replace(report, lowered_limits=(*lowered, *report.lowered_limits)) if lowered else report


def _refused(error: Exception) -> execution_service_pb2.ProgramRefused:
    refusal = refusal_of(error)
    field = error.field if isinstance(error, InvalidRequest | Unsupported) else getattr(error, "path", "")
    code: int = refusal.code.value[0]
    return execution_service_pb2.ProgramRefused(code=code, reason=refusal.reason, message=refusal.message, field=field)
