"""The executor's process, as its client sees it: every run that was asked for has an end."""

import asyncio
from typing import Any

from executor import Program, SnippetTest
from executor.frames import connect, socket_pair
from executor.messages import Cancelled, CancelRun, Failed, FromExecutor, RunProgram, Shutdown, ToExecutor
from executor.server import Server

PROGRAM = Program(code="x = 1", tests=(SnippetTest(code="assert x"),))


class Busy:
    """An executor whose runs end when they are cancelled."""

    began = 0

    async def run(self, program: Program, **asked: object) -> Any:
        self.began += 1
        await asyncio.Event().wait()

    def stats(self) -> Any:
        raise AssertionError("nobody has asked yet")


async def test_a_run_that_is_cancelled_before_its_first_step_is_told_to_have_ended() -> None:
    """Both messages of one read: the run's task is cancelled before it has begun, and never takes a step."""
    ours, theirs = socket_pair()
    client: Any = await connect(ours, FromExecutor, ToExecutor)  # type: ignore[arg-type]
    for number in range(3):
        client.post(RunProgram(number, PROGRAM, "", False))
        client.post(CancelRun(number))
    stream: Any = await connect(theirs, ToExecutor, FromExecutor)  # type: ignore[arg-type]
    executor: Any = Busy()
    serving = asyncio.create_task(Server(stream, executor).serve(stats_seconds=3600))
    async with asyncio.timeout(30):
        ended = [await client.receive() for _ in range(3)]
        assert ended == [Cancelled(number) for number in range(3)]
        client.post(Shutdown())
        await serving
    await client.close()
    await stream.close()


class Faulty(Busy):
    """An executor with a fault that nobody has foreseen."""

    async def run(self, program: Program, **asked: object) -> Any:
        raise OSError(24, "Too many open files")


async def test_a_run_with_a_fault_that_nobody_has_foreseen_is_told_to_have_failed() -> None:
    ours, theirs = socket_pair()
    client: Any = await connect(ours, FromExecutor, ToExecutor)  # type: ignore[arg-type]
    stream: Any = await connect(theirs, ToExecutor, FromExecutor)  # type: ignore[arg-type]
    executor: Any = Faulty()
    serving = asyncio.create_task(Server(stream, executor).serve(stats_seconds=3600))
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the fault is in the log, too
    async with asyncio.timeout(30):
        client.post(RunProgram(7, PROGRAM, "", False))
        told = await client.receive()
        assert told == Failed(7, "ExecutorError", "OSError: [Errno 24] Too many open files")
        client.post(Shutdown())
        await serving
    await client.close()
    await stream.close()
