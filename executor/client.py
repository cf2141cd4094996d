"""The executor in a process of its own: the same API as `Executor`, across an inherited socket.

If the process dies, it is started again with growing pauses, and each outstanding run is sent to it once more; a run
that loses two processes ends with the verdict sandbox_failure, which never counts against the candidate.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import random
import sys
import time
from dataclasses import dataclass, field
from typing import Self

import msgspec

from executor import errors
from executor.config import ExecutorConfig, ExecutorStats, SandboxInfo
from executor.errors import (
    ExecutionCancelled,
    ExecutorClosed,
    ExecutorDied,
    ExecutorError,
    InvalidProgram,
    SandboxUnavailable,
)
from executor.frames import FrameError, FrameStream, connect, socket_pair
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
from executor.sandbox import OnTest
from executor.types import Program
from executor.verdict import Report, Verdict

_log = logging.getLogger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_CALM_SECONDS = 30.0
_SHUTDOWN_SECONDS = 1.5

Stream = FrameStream[FromExecutor, ToExecutor]


@dataclass(slots=True)
class _Outstanding:
    message: RunProgram
    done: asyncio.Future[Report]
    on_test: OnTest | None
    retried: bool = False
    cancelling: bool = False
    told: set[int] = field(default_factory=set[int])


class ExecutorClient:
    """Runs programs in the executor's process. Use as an async context manager; see `ExecutorLike`.

    Raises SandboxUnavailable on entry when that process cannot give the isolation asked for, ExecutorDied when it does
    not start at all.
    """

    def __init__(self, config: ExecutorConfig | None = None, *, stats_seconds: float = 0.25) -> None:
        self._config = config or ExecutorConfig()
        self._stats_seconds = stats_seconds
        self._numbers = itertools.count(1)
        self._runs: dict[int, _Outstanding] = {}
        self._cancels: dict[int, asyncio.Future[None]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._stream: Stream | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._info: SandboxInfo | None = None
        self._stats: ExecutorStats | None = None
        self._restarts = 0
        self._closed = False

    @property
    def info(self) -> SandboxInfo:
        """What isolates the programs. Known once started."""
        if self._info is None:
            raise ExecutorClosed("the executor is not started: use `async with ExecutorClient(...)`")
        return self._info

    @property
    def pid(self) -> int | None:
        """The process that runs the jails; None while there is none."""
        return None if self._process is None else self._process.pid

    def stats(self) -> ExecutorStats:
        """The last snapshot that the process sent (at most `stats_seconds` old while it lives)."""
        if self._stats is None:
            raise ExecutorClosed("the executor is not started: use `async with ExecutorClient(...)`")
        return msgspec.structs.replace(self._stats, restarts=self._restarts)

    async def __aenter__(self) -> Self:
        await self._start()
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End all runs (they raise ExecutorClosed) and the process."""
        self._closed = True
        if self._stream is not None:
            with contextlib.suppress(ConnectionError):
                await self._stream.send(Shutdown())
        if self._keeper is not None:
            done, _ = await asyncio.wait([self._keeper], timeout=_SHUTDOWN_SECONDS)
            if not done:
                self._keeper.cancel()
                await asyncio.wait([self._keeper])
        await self._reap()
        for run in list(self._runs.values()):
            _fail(run.done, ExecutorClosed("the executor was closed"))
        self._end_cancels()

    async def _start(self) -> None:
        mine, theirs = socket_pair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "executor", "--fd", str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                env=_environment(),
            )
        self._stream = await connect(mine, FromExecutor, ToExecutor)  # type: ignore[arg-type]
        try:
            await self._stream.send(Configure(self._config, self._stats_seconds))
            answer = await self._stream.receive()
        except (FrameError, ConnectionError) as error:
            answer = error
        match answer:
            case Ready(info=info, stats=stats):
                self._info, self._stats = info, stats
            case Failed(kind=kind, text=text):
                await self._reap()
                raise _error(kind, text)
            case _:
                await self._reap()
                raise ExecutorDied(f"the executor's process did not start: {answer or 'it hung up'}")

    async def _reap(self) -> None:
        if self._stream is not None:
            await self._stream.close()
            self._stream = None
        if self._process is not None:
            try:
                await asyncio.wait_for(self._process.wait(), _SHUTDOWN_SECONDS)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
            self._process = None

    async def _keep(self) -> None:
        """Read from the process; when it dies, start it again and send what is outstanding."""
        pause = _FIRST_PAUSE
        while True:
            started = time.monotonic()
            reason = await self._read()
            if self._closed:
                return
            if self._process is not None and self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
            await self._reap()
            self._end_cancels()
            self._end_cancelled_runs()
            _log.error("the executor's process ended (%s); %d runs are outstanding", reason, len(self._runs))
            self._give_up_twice_lost()
            if time.monotonic() - started > _CALM_SECONDS:
                pause = _FIRST_PAUSE
            while not self._closed and not await self._restarted():
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _restarted(self) -> bool:
        try:
            await self._start()
        except (ExecutorDied, SandboxUnavailable, OSError) as error:
            _log.error("the executor's process could not be started again: %s", error)
            return False
        self._restarts += 1
        assert self._stream is not None
        for run in self._runs.values():
            run.retried = True
            self._stream.post(run.message)
        return True

    def _end_cancelled_runs(self) -> None:
        for run in self._runs.values():
            if run.cancelling:
                _fail(run.done, ExecutionCancelled("the run was cancelled"))

    def _give_up_twice_lost(self) -> None:
        for run in self._runs.values():
            if run.retried and not run.done.done():
                detail = "the executor's process died twice under this program"
                total = len(run.message.program.tests)
                weaknesses = self.info.weaknesses
                run.done.set_result(
                    Report(verdict=Verdict.SANDBOX_FAILURE, tests_total=total, detail=detail, weaknesses=weaknesses)
                )
        self._runs = {number: run for number, run in self._runs.items() if not run.done.done()}

    async def _read(self) -> str:
        assert self._stream is not None
        try:
            while (message := await self._stream.receive()) is not None:
                self._handle(message)
        except FrameError as error:
            return str(error)
        return "it hung up"

    def _handle(self, message: FromExecutor) -> None:
        match message:
            case Stats(stats=stats):
                self._stats = stats
            case TestDone(id=number, report=report):
                run = self._runs.get(number)
                if run is not None and run.on_test is not None and report.index not in run.told:
                    run.told.add(report.index)
                    run.on_test(report)
            case RunDone(id=number, report=report):
                run = self._runs.get(number)
                if run is not None and not run.done.done():
                    run.done.set_result(report)
            case Failed(id=number, kind=kind, text=text):
                run = self._runs.get(number)
                if run is not None:
                    _fail(run.done, _error(kind, text))
            case Cancelled(id=number):
                if (waiting := self._cancels.get(number)) is not None and not waiting.done():
                    waiting.set_result(None)
                elif (run := self._runs.get(number)) is not None:
                    _fail(run.done, ExecutionCancelled("the run was cancelled"))
            case Ready():
                _log.error("the executor's process said ready twice")

    async def run(self, program: Program, *, group: str = "", on_test: OnTest | None = None) -> Report:
        """As `Executor.run`. `on_test` is called once per test, even if a dead process makes it run twice.

        Cancelling the awaiting task returns when the jail is gone.
        """
        self._require_open()
        number = next(self._numbers)
        message = RunProgram(number, program, group, on_test is not None)
        run = _Outstanding(message, asyncio.get_running_loop().create_future(), on_test)
        if self._stream is not None:
            try:
                self._stream.post(message)
            except FrameError as error:
                raise InvalidProgram(f"tests: too large for the executor's process: {error}; split them") from None
        self._runs[number] = run
        try:
            return await asyncio.shield(run.done)
        except asyncio.CancelledError:
            await self._cancel(run)
            raise
        finally:
            self._runs.pop(number, None)

    async def _cancel(self, run: _Outstanding) -> None:
        if run.done.done() or self._stream is None:
            return
        run.cancelling = True
        self._stream.post(CancelRun(run.message.id))
        with contextlib.suppress(ExecutorError):
            await asyncio.shield(run.done)

    async def cancel_group(self, group: str) -> None:
        """End all runs of `group`; they raise ExecutionCancelled. Returns when their jails are gone."""
        self._require_open()
        if self._stream is None:
            # No process, so no jail: what waits for the next one is simply dropped.
            for run in self._runs.values():
                if run.message.group == group:
                    _fail(run.done, ExecutionCancelled(f"the run was cancelled with its group {group!r}"))
            return
        number = next(self._numbers)
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._cancels[number] = waiting
        self._stream.post(CancelGroup(number, group))
        try:
            await waiting
        finally:
            del self._cancels[number]

    def _require_open(self) -> None:
        if self._closed or self._keeper is None:
            raise ExecutorClosed("the executor is closed, or was never started")

    def _end_cancels(self) -> None:
        # The process is gone and its jails with it: their runners end when their host hangs up.
        for waiting in self._cancels.values():
            if not waiting.done():
                waiting.set_result(None)


def _fail(future: asyncio.Future[Report], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # the caller may have been cancelled: nobody else will look


def _error(kind: str, text: str) -> Exception:
    found = getattr(errors, kind, None)
    if isinstance(found, type) and issubclass(found, ExecutorError):
        return found(text)
    return ValueError(text) if kind == "ValueError" else ExecutorError(f"{kind}: {text}")


def _environment() -> dict[str, str]:
    """This process's environment, with the package findable where it was found here."""
    paths = [path for path in sys.path if path]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
