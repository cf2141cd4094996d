"""One jail: made into its own control group, used for one program, ended by the one kill path."""

import asyncio
import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Callable

from executor.errors import JailError
from executor.guest.plain import PlainError, decode, encode
from executor.homes import Home
from executor.spawning import Starter
from executor.streams import Frames, read_log

_CONTROL_LIMIT = 1 << 16
KILL_SECONDS = 5.0
_REPEAT_SECONDS = 0.2
_CROWD = 8


class Jail:
    """One jail with the runner inside. Single use: pool.py never hands it out twice.

    `on_exit(number, status, cpu_seconds)` reports the end of a test's process, `on_lost()` the jail's own,
    `on_parsed(number, name, text)` what the compiler said of a text (an error's name, or "").
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self.group = home.group
        self.on_exit: Callable[[int, int, float], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self.on_parsed: Callable[[int, str, str], None] | None = None
        self.end: asyncio.Task[None] | None = None
        """Set by the pool when it disposes of the jail."""
        self.lost = False
        self.spent = False
        self.tests = 0
        self.keepers = 0
        """Processes in the group that are not the program's."""
        self._maker: Starter | None = None
        """Set while the jail lives."""
        self._oom_kills = 0
        self._control: Frames | None = None
        self._log: int | None = None
        self._pidfd: int | None = None
        self._init_fd: int | None = None
        self._awaited: tuple[str, asyncio.Future[None]] | None = None

    async def start(self, maker: Starter, seconds: float) -> None:
        """Have it made and wait until its runner is ready, inside its group. Raises JailError with nsjail's log."""
        loop = asyncio.get_running_loop()
        self.keepers = maker.keepers
        self._maker = maker
        self._oom_kills = self.group.oom_kills()
        mine, theirs = socket.socketpair()
        # The kernel then says which process it is that calls itself ready.
        mine.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._control = Frames(loop, mine, _CONTROL_LIMIT, self._on_frame, self._on_end)
        with theirs:
            ready = self._await("ready")
            born = await maker.make(self.home, theirs)
            self._pidfd, self._log = born.pidfd, born.log
        await self._in_time(ready, seconds)
        pid = self._control.sender
        self._init_fd = os.pidfd_open(pid)
        if self.group.has("kill") and pid not in self.group.pids():
            raise JailError("the jail is not in its control group")

    async def ask(self, message: tuple[object, ...], answer: str, seconds: float) -> None:
        """Send an order and wait for its answer. Raises JailError."""
        waiting = self._await(answer)
        self.send(message)
        await self._in_time(waiting, seconds)

    def _await(self, word: str) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaited = word, future
        return future

    async def _in_time(self, waiting: asyncio.Future[None], seconds: float) -> None:
        try:
            await asyncio.wait_for(asyncio.shield(waiting), seconds)
        except TimeoutError:
            raise JailError(f"the jail was not ready after {seconds} s: {self.log()}") from None

    def log(self) -> str:
        """What nsjail said last, without the loader's harmless warnings."""
        if self._log is None:
            return ""
        lines = read_log(self._log).splitlines()
        return " | ".join(line for line in lines if "no version information available" not in line)

    def send(self, message: tuple[object, ...], descriptors: tuple[int, ...] = ()) -> None:
        """Send an order to the runner."""
        if self._control is not None:
            self._control.send(encode(message), descriptors)

    def _on_frame(self, content: bytes) -> None:
        try:
            message = decode(content)
        except PlainError as error:
            self._on_end(str(error))
            return
        match message:
            case ("parsed", int(number), str(name), str(text)) if self.on_parsed is not None:
                self.on_parsed(number, name, text)
            case (str(word),) if self._awaited is not None and word == self._awaited[0]:
                waiting, self._awaited = self._awaited[1], None
                if not waiting.done():
                    waiting.set_result(None)
            case ("exit", int(number), int(status), float(cpu)):
                if self.on_exit is not None:
                    self.on_exit(number, status, cpu)
            case _:
                self._on_end("the runner spoke out of turn")

    def _on_end(self, reason: str | None) -> None:
        self.lost = self.spent = True
        if self._maker is not None and self.group.oom_kills() == self._oom_kills:
            self._maker.lost(self.home)
        if self._awaited is not None and not self._awaited[1].done():
            waiting = self._awaited[1]
            waiting.set_exception(JailError(f"the jail ended at its start: {reason or self.log() or 'no log'}"))
            waiting.exception()  # a start that was given up must not log "never retrieved"
        if self.on_lost is not None:
            self.on_lost()

    async def kill(self) -> bool:
        """The one kill path: kill all at once, wait until nothing is left, close. Returns False if something is."""
        self.spent = True
        self._maker = None
        self.on_exit = self.on_lost = self.on_parsed = None
        await self._strike_aside()
        if self._control is not None:
            self._control.close()
        gone = await self._wait_empty()
        for fd in (self._log, self._pidfd, self._init_fd):
            if fd is not None:
                os.close(fd)
        self._log = self._pidfd = self._init_fd = None
        return gone

    async def _strike_aside(self) -> None:
        if self.group.crowded(_CROWD):
            # Killing a crowd takes the kernel milliseconds, which other runs need not wait for.
            await asyncio.to_thread(self._strike)
        else:
            self._strike()

    def _strike(self) -> None:
        self.group.kill()
        for fd in (self._init_fd, self._pidfd):
            if fd is not None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)

    async def _wait_empty(self) -> bool:
        started = struck = time.monotonic()
        pause = 0.0005
        for fd in (self._init_fd, self._pidfd):
            if fd is not None:
                await _end_of(fd, _REPEAT_SECONDS)
        # Nearly always nothing is left by now: the first process of a namespace ends after all others in it.
        while self._alive():
            now = time.monotonic()
            if now - started > KILL_SECONDS:
                return False
            if now - struck > _REPEAT_SECONDS:
                await self._strike_aside()
                struck = now
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.01)
        return True

    def _alive(self) -> bool:
        if self.group.has("kill"):
            return self.group.populated()
        return any(fd is not None and not _ended(fd) for fd in (self._init_fd, self._pidfd))


async def _end_of(pidfd: int, seconds: float) -> None:
    """Wait until the process has ended, but not longer than this."""
    if _ended(pidfd):
        return
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    loop.add_reader(pidfd, lambda: ended.done() or ended.set_result(None))
    try:
        await asyncio.wait((ended,), timeout=seconds)
    finally:
        loop.remove_reader(pidfd)


def _ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
