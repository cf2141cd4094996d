"""A whole server over a scripted engine, in a loop of its own, for tests that send it what nobody should send."""

import asyncio
import gc
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import grpc
import grpc.aio
import psutil

from engine.metrics import Metrics
from tests.support.babbler import Babbler
from tests.support.scripted_engine import FakeExecutor, scripted_solver
from tests.support.served import Served, serving, until

MAY_BE = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
"""How a call may end that is not cut short. Never INTERNAL, UNKNOWN or UNAVAILABLE; and DEADLINE_EXCEEDED is a hang."""
PATIENCE = 120.0


class Pressed:
    """The server, called from synchronous code."""

    def __init__(self, runner: asyncio.Runner, served: Served, solver: Any, blocking: grpc.Channel) -> None:
        self.served = served
        self.solver = solver
        self._runner = runner
        self._blocking = blocking

    def send(self, method: str, *requests: bytes) -> grpc.StatusCode:
        """The status of a call with these messages; a stream of answers is read to its end."""
        return self._runner.run(self._send(method, requests))

    async def _send(self, method: str, requests: tuple[bytes, ...]) -> grpc.StatusCode:
        if method.endswith(("Many", "Refine")):
            return await asyncio.to_thread(self._send_many, method, requests)
        channel = self.served.channel
        streams_out = method.endswith("Solve")
        if streams_out:
            call: Any = channel.unary_stream(method)(requests[0], timeout=PATIENCE)
        else:
            call = channel.unary_unary(method)(requests[0], timeout=PATIENCE)
        try:
            if streams_out:
                while await call.read() is not grpc.aio.EOF:
                    pass
            else:
                await call
        except grpc.aio.AioRpcError as error:
            return error.code()
        return await call.code()

    def _send_many(self, method: str, requests: tuple[bytes, ...]) -> grpc.StatusCode:
        # grpc.aio puts an INTERNAL of its own in the place of the server's status where that comes while it writes.
        call: Any = self._blocking.stream_stream(method)(iter(requests), timeout=PATIENCE)
        try:
            for _ in call:
                pass
        except grpc.RpcError:
            pass
        return call.code()

    def check_nothing_left(self) -> None:
        """No solve, no call, no program, no page."""
        self._runner.run(self._nothing_left())

    async def _nothing_left(self) -> None:
        def idle() -> bool:
            load = self.solver.load()
            busy = load.solves_running + load.solves_waiting + load.branches_running + load.executor_queue
            return not busy and not len(self.served.front.calls) and not self.solver.executor.running

        await until(idle)

    def size(self) -> tuple[int, int]:
        """Tasks of the loop and open descriptors of the process."""

        async def tasks() -> int:
            await asyncio.sleep(0.05)
            gc.collect()
            return len(asyncio.all_tasks())

        return self._runner.run(tasks()), psutil.Process().num_fds()

    def check_size(self, tasks: int, descriptors: int) -> None:
        """No more tasks and open descriptors than these, as soon as what ends has ended."""

        def small() -> bool:
            return len(asyncio.all_tasks()) <= tasks and psutil.Process().num_fds() <= descriptors

        async def wait() -> None:
            gc.collect()
            await until(small)

        self._runner.run(wait())


@contextmanager
def hard_pressed(**sections: Any) -> Generator[Pressed]:
    """A started server. Pages of the scripted engine are few, so that what is kept of prompts has to go."""
    metrics = Metrics()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def begin() -> Pressed:
            solver: Any = scripted_solver(Babbler(pages=3000), FakeExecutor(0.0), max_k=64, metrics=metrics)
            await solver.start()
            stack.push_async_callback(solver.close)
            limits = {"max_k": 64, "max_prior_attempts": 8, **sections.pop("limits", {})}
            # What a session draws with nobody connected would only be waited for.
            alone = {"linger_seconds": 0.0, "seconds_to_live": 0.1}
            served = await stack.enter_async_context(serving(solver, limits=limits, sessions=alone, **sections))
            blocking = stack.enter_context(grpc.insecure_channel(f"unix:{served.folder}/s"))
            return Pressed(runner, served, solver, blocking)

        pressed = runner.run(begin())
        try:
            yield pressed
        finally:
            runner.run(stack.aclose())
