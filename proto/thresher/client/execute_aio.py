"""The replies of one asyncio ExecuteMany call."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Self

import grpc
import grpc.aio

from thresher.client.errors import ThresherError, from_rpc
from thresher.client.true_status import keep_true_status
from thresher.v1 import execution_service_pb2

Request = execution_service_pb2.ExecuteManyRequest
Response = execution_service_pb2.ExecuteManyResponse
Item = execution_service_pb2.Program | execution_service_pb2.RunProgram
Programs = Iterable[Item] | AsyncIterable[Item]
"""A RunProgram says for itself whether its tests' results are wanted."""


class AsyncExecuteStream(AsyncIterator[Response]):
    """Replies as programs end; `id` is a program's position among those given, `reply` says what came of it.

    Each program ends with exactly one of report, refused and cancelled. Programs are taken from their iterable only as
    fast as the server has room and these replies are read. Use it in `async with`, read it to its end, or `cancel` it:
    that kills what runs. Iterating raises ThresherError where the call fails, and what the iterable of programs raised,
    once what was sent before has ended.
    """

    def __init__(
        self,
        start: Callable[[], Any],
        most: Callable[[], Awaitable[int]],
        programs: Programs,
        test_results: bool,
    ) -> None:
        self._call = keep_true_status(start())
        self._test_results = test_results
        self._cancelled = False
        self._fault: Exception | None = None
        self._cancels: asyncio.Queue[int] = asyncio.Queue()
        self._early: set[int] = set()
        self._sent = 0
        self._writing = asyncio.Lock()
        self._live = 0
        self._room = asyncio.Condition()
        self._tasks = [asyncio.create_task(self._feed(programs, most)), asyncio.create_task(self._send_cancels())]

    async def __anext__(self) -> Response:
        try:
            reply: Any = await self._call.read()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self.cancel()
                raise
            # gRPC raises this for its own cancelled call too; let out, it would look like a cancelled task.
            if self._fault is not None and not self._cancelled:
                raise self._fault from None
            raise StopAsyncIteration from None
        except grpc.RpcError as error:
            self._stop()
            if self._cancelled:
                raise StopAsyncIteration from None
            raise self._fault or from_rpc(error) from error
        if reply is grpc.aio.EOF:
            self._stop()
            if self._fault is not None and not self._cancelled:
                raise self._fault
            raise StopAsyncIteration
        if reply.WhichOneof("reply") != "test":
            async with self._room:
                self._live -= 1
                self._room.notify_all()
        return reply

    def cancel_program(self, number: int) -> None:
        """Ends one program by its id, also before it is sent; its last reply says whether that was in time."""
        if number < self._sent:
            self._cancels.put_nowait(number)
        else:
            self._early.add(number)

    def cancel(self) -> None:
        """Ends the call and kills every program of it. May be called twice."""
        self._cancelled = True
        self._call.cancel()
        self._stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.cancel()

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _feed(self, programs: Programs, most: Callable[[], Awaitable[int]]) -> None:
        try:
            room = await most()
        except ThresherError as error:
            self._fault = error
            self._call.cancel()
            return
        try:
            async for item in _each(programs):
                async with self._room:
                    await self._room.wait_for(lambda: self._live < room)
                    self._live += 1
                run = item
                if isinstance(run, execution_service_pb2.Program):
                    run = execution_service_pb2.RunProgram(program=run, test_results=self._test_results)
                await self._write(Request(id=self._sent, run=run))
                if self._sent in self._early:
                    self._cancels.put_nowait(self._sent)
                self._sent += 1
        except Exception as error:  # raised again where the caller iterates, once what is running has ended
            self._fault = error
        # Open until the last program has ended, for its cancel.
        async with self._room:
            await self._room.wait_for(lambda: not self._live)
        await self._write(None)

    async def _send_cancels(self) -> None:
        while True:
            number = await self._cancels.get()
            await self._write(Request(id=number, cancel=execution_service_pb2.CancelProgram()))

    async def _write(self, request: Request | None) -> None:
        """Write one request; None closes the sending side."""
        async with self._writing:
            try:
                await (self._call.done_writing() if request is None else self._call.write(request))
            except (grpc.RpcError, asyncio.InvalidStateError):
                # The call is over, and its reader is told why. Nothing is to be written any more.
                self._stop()


async def _each(programs: Programs) -> AsyncIterator[Item]:
    if isinstance(programs, AsyncIterable):
        async for item in programs:
            yield item
        return
    for item in programs:
        yield item
