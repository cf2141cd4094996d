"""The front's side of an engine: starts the process, talks to it, starts it anew when it dies."""

import asyncio
import contextlib
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
import structlog

from engine.core.types import CoreEvent, EndReason, SolveEnded
from engine.loop.arbiter import Seat
from engine.loop.messages import (
    LENGTH,
    Admitted,
    End,
    EngineConfig,
    Failed,
    FromEngine,
    Loaded,
    Loading,
    Ready,
    Refused,
    Slow,
    StepReport,
    Submit,
    ToEngine,
    TurnOver,
    TurnWanted,
    Verdict,
    frame,
    from_engine,
)
from engine.models.catalogue import cache_folder

_log = structlog.stdlib.get_logger("engine")

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_LEAVE_SECONDS = 1.5


class EngineDown(Exception):
    """The engine has died or cannot serve its model."""


class SubmitRefused(Exception):
    """The engine does not take a solve; `refusal` says why."""

    def __init__(self, refusal: Refused) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


class Link(Protocol):
    """A started engine: a connected socket, and a way to see to its end."""

    connection: socket.socket

    async def ended(self) -> str:
        """Wait until the engine has ended; how, in words."""
        ...

    async def kill(self) -> None:
        """End it if it does not by itself within a few seconds."""
        ...


class ProcessLink:
    """An engine in a process of its own."""

    def __init__(self, connection: socket.socket, process: asyncio.subprocess.Process) -> None:
        self.connection = connection
        self._process = process

    @classmethod
    async def start(cls, config: EngineConfig) -> "ProcessLink":
        """Start `python -m engine.loop.process` with one end of a socket pair."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "engine.loop.process",
                str(theirs.fileno()),
                msgspec.json.encode(config).decode(),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                # OpenMP threads that spin at barriers starve whatever shares their cores, jails and front included. A
                # step of 8 rows on two cores took 80 ms alone and 1.9 s beside two busy loops with libgomp's default,
                # 107 ms and 140 ms without spinning, and 85 ms and 180 ms with this much of it.
                # Compiled kernels are kept beside the models: where the packages lie may not be written to.
                env={
                    "GOMP_SPINCOUNT": "5000",
                    "NUMBA_CACHE_DIR": str(cache_folder().with_name("kernels")),
                    **os.environ,
                },
            )
        return cls(ours, process)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def ended(self) -> str:
        """Wait for the process; how it ended."""
        status = await self._process.wait()
        return f"signal {-status}" if status < 0 else f"status {status}"

    async def kill(self) -> None:
        """Give the process a few seconds to see that the connection is closed, then kill it."""
        try:
            await asyncio.wait_for(self._process.wait(), _LEAVE_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


class ThreadLink:
    """An engine in a thread of this process: for tests and for debugging."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self.connection, self._theirs = socket.socketpair()
        self._serve = serve
        self._error = "status 0"
        self._done = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._serve(self._theirs)
        except Exception as error:  # what would have ended the process
            self._error = repr(error)
        finally:
            # The reader thread still holds the socket: closing alone would not end the connection.
            with contextlib.suppress(OSError):
                self._theirs.shutdown(socket.SHUT_RDWR)
            self._theirs.close()
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._done.set)

    async def ended(self) -> str:
        """Wait for the thread; how it ended."""
        await self._done.wait()
        return self._error

    async def kill(self) -> None:
        """Wait for the thread; a thread cannot be killed."""
        await self._done.wait()


Sink = Callable[[list[CoreEvent] | None], None]
"""Takes the events of one solve, a step at a time; None means that the engine died."""


class _Drawing:
    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.answer: asyncio.Future[Admitted] = asyncio.get_running_loop().create_future()

    def refuse(self, error: Exception) -> None:
        """Nothing more will come."""
        if not self.answer.done():
            self.answer.set_exception(error)
        self.sink(None)


class EngineClient:
    """One engine, kept alive. All methods belong to one event loop.

    `on_report` gets every step report, `on_change` is called when `facts` changes (None: the engine is down). `seat`:
    its place among the engines that share its device.
    """

    def __init__(
        self,
        start_link: Callable[[], Awaitable[Link]],
        *,
        on_report: Callable[[StepReport], None],
        on_change: Callable[[], None],
        seat: Seat | None = None,
    ) -> None:
        self._start_link = start_link
        self._seat = seat
        self._on_report = on_report
        self._on_change = on_change
        self._drawings: dict[int, _Drawing] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._first: asyncio.Future[Ready] | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._next_solve = 0
        self.facts: Ready | None = None
        self.starts = 0

    async def start(self) -> Ready:
        """Start the engine and wait until its model is loaded.

        Raises:
            EngineDown: the first start failed; the message is the engine's own.
        """
        self._first = asyncio.get_running_loop().create_future()
        self._supervisor = asyncio.create_task(self._supervise(), name="engine-supervisor")
        return await asyncio.shield(self._first)

    async def close(self) -> None:
        """End the engine. Live drawings see it as its death."""
        self._fail_first(EngineDown("the engine was closed while it was starting"))
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])
            self._supervisor = None

    async def submit(self, message: Submit, sink: Sink) -> Admitted:
        """Submit a solve; its number is put in here. Its events go to `sink` until it has ended or is forgotten.

        Cancelled, it ends the solve. The engine may have begun with it by then, so that `sink` still hears of its end;
        or gets None, where the engine has refused it or is gone.

        Raises:
            EngineDown: the engine is not there.
            SubmitRefused: it does not take this solve.
        """
        if self._writer is None or self.facts is None:
            raise EngineDown("the engine is starting again")
        self._next_solve += 1
        solve = self._next_solve
        drawing = self._drawings[solve] = _Drawing(sink)
        self._send(msgspec.structs.replace(message, solve=solve))
        try:
            return await drawing.answer
        except asyncio.CancelledError:
            self.end(solve, EndReason.CANCELLED)
            raise

    def end(self, solve: int, reason: EndReason) -> None:
        """Post the intent to end a solve; without effect if it has ended or the engine is down."""
        if solve in self._drawings:
            self._send(End(solve, reason))

    def judged(self, solve: int, branch: int, *, passed: bool | None) -> None:
        """Tell the verdict on a finished branch; None: there could be none. Without effect if the engine is down."""
        self._send(Verdict(solve, branch, passed))

    def slow(self, solve: int, branch: int) -> None:
        """Tell that the verdict on a finished branch takes long. Without effect if the engine is down."""
        self._send(Slow(solve, branch))

    def forget(self, solve: int) -> None:
        """Nobody wants the events of this solve any more."""
        self._drawings.pop(solve, None)

    def _send(self, message: ToEngine) -> None:
        if self._writer is not None:
            self._writer.write(frame(message))

    async def _supervise(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            self.starts += 1
            try:
                link = await self._start_link()
            except Exception as error:  # whatever keeps an engine from being started is told, and tried again
                if self._fail_first(EngineDown(str(error))):
                    return
                pause = min(2 * pause, _LONGEST_PAUSE)
                _log.error("engine_did_not_start", error=str(error), restart_in_seconds=pause)
                await asyncio.sleep(pause)
                continue
            served = False
            try:
                served = await self._talk(link)
            except Exception:
                # A message that cannot be read, or a fault in what reacts to one: this engine is not to be trusted.
                _log.exception("engine_lost")
            finally:
                # Also when the server stops: nobody may wait for an engine that is not listened to any more.
                self._lose("the engine is gone")
                await link.kill()
            how = await link.ended()
            if self._fail_first(EngineDown(f"the engine ended with {how} before its model was loaded")):
                return
            pause = _FIRST_PAUSE if served else min(2 * pause, _LONGEST_PAUSE)
            _log.error("engine_died", how=how, restart_in_seconds=pause)
            await asyncio.sleep(pause)

    def _fail_first(self, error: EngineDown) -> bool:
        """Tell whoever waits for the first start that it has failed. Whether it has; there is no second try then."""
        if self._first is None:
            return False
        if not self._first.done():
            self._first.set_exception(error)
        return self._first.exception() is not None  # asking for it also marks it as seen

    async def _talk(self, link: Link) -> bool:
        """Read what the engine says until it closes the connection. Whether it got as far as a step."""
        served = False
        reader, writer = await asyncio.open_connection(sock=link.connection)
        self._writer = writer
        if self._seat is not None:
            self._seat.tell = self._send
        try:
            while True:
                try:
                    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                    message = from_engine.decode(await reader.readexactly(length))
                except (asyncio.IncompleteReadError, ConnectionError):
                    return served
                served = served or isinstance(message, StepReport)
                self._take(message)
        finally:
            self._writer = None
            if self._seat is not None:
                self._seat.leave()
            writer.close()

    def _take(self, message: FromEngine) -> None:
        match message:
            case Loading():
                _log.info("engine_loading", model=message.model, part=message.part)
            case Loaded():
                how = {"how": message.how} if message.how else {}
                seconds = round(message.seconds, 1)
                _log.info("engine_loaded", model=message.model, part=message.part, seconds=seconds, **how)
            case Ready():
                self.facts = message
                if self._first is not None and not self._first.done():
                    self._first.set_result(message)
                self._on_change()
            case Failed():
                if self._first is not None and not self._first.done():
                    self._first.set_exception(EngineDown(message.message))
                _log.error("engine_cannot_serve", message=message.message)
            case Admitted():
                drawing = self._drawings.get(message.solve)
                if drawing is not None and not drawing.answer.done():
                    drawing.answer.set_result(message)
            case Refused():
                drawing = self._drawings.pop(message.solve, None)
                if drawing is not None:
                    drawing.refuse(SubmitRefused(message))
            case TurnWanted():
                self._seated.want(interactive=message.interactive)
            case TurnOver():
                self._seated.over(message.seconds, more=message.more, interactive=message.interactive)
            case StepReport():
                self._deliver(message.events)
                self._on_report(message)

    @property
    def _seated(self) -> Seat:
        """The seat of an engine that takes turns."""
        if self._seat is None:
            raise ValueError("the engine takes turns, and nobody gives them: it was started as one of several")
        return self._seat

    def _deliver(self, events: list[CoreEvent]) -> None:
        by_solve: dict[int, list[CoreEvent]] = {}
        for event in events:
            by_solve.setdefault(event.solve, []).append(event)
        for solve, mine in by_solve.items():
            drawing = self._drawings.get(solve)
            if drawing is not None:
                drawing.sink(mine)
            if isinstance(mine[-1], SolveEnded):
                self.forget(solve)  # what becomes of the engine is nothing to it any more

    def _lose(self, why: str) -> None:
        """The engine is gone: every drawing ends."""
        self.facts = None
        drawings, self._drawings = self._drawings, {}
        for drawing in drawings.values():
            drawing.refuse(EngineDown(why))
        self._on_change()


def process_starter(config: EngineConfig) -> Callable[[], Awaitable[Link]]:
    """Starts the engine in a process of its own."""

    async def start() -> Link:
        return await ProcessLink.start(config)

    return start


def thread_starter(serve: Callable[[socket.socket], None]) -> Callable[[], Awaitable[Link]]:
    """Starts the engine in a thread of this process."""

    async def start() -> Link:
        return ThreadLink(serve)

    return start
