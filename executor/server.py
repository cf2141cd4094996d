"""The executor as a process of its own: serves one client over an inherited socket, and ends with it."""

import asyncio
import contextlib
import signal
import socket

from executor.errors import ExecutorError
from executor.frames import FrameError, FrameStream, connect
from executor.messages import (
    CancelGroup,
    Cancelled,
    CancelRun,
    Configure,
    Failed,
    FromExecutor,
    Ready,
    RunDone,
    RunProgram,
    Shutdown,
    Stats,
    TestDone,
    ToExecutor,
)
from executor.sandbox import Executor
from executor.verdict import TestReport

Stream = FrameStream[ToExecutor, FromExecutor]


class Server:
    """One client's executor."""

    def __init__(self, stream: Stream, executor: Executor) -> None:
        self._stream = stream
        self._executor = executor
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()

    async def serve(self, stats_seconds: float) -> None:
        """Serve until the client hangs up or says so; then end all runs. Raises FrameError."""
        self._spawn(self._report_stats(stats_seconds))
        try:
            while (message := await self._stream.receive()) is not None:
                match message:
                    case RunProgram():
                        self._start(message)
                    case CancelRun(id=number):
                        if (task := self._runs.get(number)) is not None:
                            task.cancel()
                    case CancelGroup():
                        self._spawn(self._cancel_group(message))
                    case Shutdown():
                        return
                    case Configure():
                        raise FrameError("configure came twice")
        finally:
            tasks = [*self._runs.values(), *self._others]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> None:  # pyright: ignore[reportPrivateUsage]
        task = asyncio.ensure_future(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    def _start(self, message: RunProgram) -> None:
        task = self._runs[message.id] = asyncio.create_task(self._run(message))
        task.add_done_callback(lambda _: self._ended(message.id, task))

    def _ended(self, number: int, task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step takes none, and yet its client waits to hear of the end."""
        if self._runs.pop(number, None) is not None and task.cancelled():
            self._stream.post(Cancelled(number))

    async def _run(self, message: RunProgram) -> None:
        number = message.id

        def on_test(report: TestReport) -> None:
            self._stream.post(TestDone(number, report))

        try:
            report = await self._executor.run(
                message.program, group=message.group, on_test=on_test if message.tests else None
            )
            self._stream.post(RunDone(number, report))
        except asyncio.CancelledError:
            self._stream.post(Cancelled(number))
        except ExecutorError as error:
            self._stream.post(Failed(number, type(error).__name__, str(error)))
        except FrameError as error:
            self._stream.post(Failed(number, "ExecutorError", f"the report is too large for the client: {error}"))
        except Exception as error:  # a fault of this house: its client is not to wait for ever
            self._stream.post(Failed(number, "ExecutorError", f"{type(error).__name__}: {error}"))
            raise
        finally:
            self._runs.pop(number, None)
        self._stream.post(Stats(self._executor.stats()))

    async def _cancel_group(self, message: CancelGroup) -> None:
        await self._executor.cancel_group(message.group)
        self._stream.post(Cancelled(message.id))

    async def _report_stats(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            self._stream.post(Stats(self._executor.stats()))


async def main(fd: int) -> int:
    """Serve the client on descriptor `fd`. Returns the exit status."""
    stream: Stream = await connect(socket.socket(fileno=fd), ToExecutor, FromExecutor)  # type: ignore[arg-type]
    loop = asyncio.get_running_loop()
    # A Ctrl-C in a terminal reaches the whole group: the client decides when this process ends, by hanging up.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    me = asyncio.current_task()
    assert me is not None
    loop.add_signal_handler(signal.SIGTERM, me.cancel)
    first = await stream.receive()
    if not isinstance(first, Configure):
        return 2
    try:
        async with Executor(first.config) as executor:
            stream.post(Ready(executor.info, executor.stats()))
            with contextlib.suppress(asyncio.CancelledError):
                await Server(stream, executor).serve(first.stats_seconds)
    except (ExecutorError, ValueError) as error:
        stream.post(Failed(0, type(error).__name__, str(error)))
        await stream.close()
        return 1
    await stream.close()
    return 0
