"""One jail: started into its own control group, used for one program, ended by the one kill path."""

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from executor.cgroup import Group
from executor.errors import JailError
from executor.guest.plain import PlainError, decode, encode
from executor.streams import Frames, read_log

_CONTROL_LIMIT = 1 << 16
KILL_SECONDS = 5.0
_REPEAT_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class SpawnOrder:
    """What is the same for all jails of one executor."""

    head: tuple[str, ...]
    """nsjail and its options, before the user map."""
    tail: tuple[str, ...]
    """The command inside."""
    binds: tuple[tuple[str, str], ...]
    """(source, name below the stage); empty when nothing needs staging."""
    config_fd: int
    bundle_fd: int


class Spawner:
    """The host's end of the process that starts jails; started again should it die."""

    def __init__(self, order: SpawnOrder) -> None:
        self._order = order
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._waiting: deque[asyncio.Future[tuple[int, int]]] = deque()
        self._starting = asyncio.Lock()

    async def spawn(self, identity: tuple[str, str], groups: list[str], control: int, log: int) -> tuple[int, int]:
        """Start one nsjail; `identity` is its user map and its group map. Returns its pid and a pidfd.

        Raises JailError.
        """
        async with self._starting:
            if self._socket is None:
                await self._start()
        if self._socket is None:
            raise JailError("the spawner ended at its start")
        answer: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
        message = "\n".join([*identity, *groups]).encode()
        try:
            socket.send_fds(self._socket, [message], [control, log])
        except OSError as error:
            self.close()
            raise JailError(f"the spawner is gone: {error}") from None
        self._waiting.append(answer)
        return await asyncio.shield(answer)

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mine.setblocking(False)
        descriptors = (theirs.fileno(), self._order.config_fd, self._order.bundle_fd)
        script = str(Path(__file__).with_name("spawner.py"))
        command = [sys.executable, "-I", "-S", script, *map(str, descriptors)]
        with theirs:
            self._process = subprocess.Popen(  # noqa: ASYNC220 (a vfork: it takes a millisecond)
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=descriptors,
                start_new_session=True,
                env={},
            )
        self._socket = mine
        order = {"binds": self._order.binds, "head": self._order.head, "tail": self._order.tail}
        await loop.sock_sendall(mine, json.dumps(order).encode())
        reply = await loop.sock_recv(mine, 4096)
        if reply != b"ready":
            self.close()
            raise JailError(f"the spawner did not start: {reply[1:].decode(errors='replace') or 'it hung up'}")
        loop.add_reader(mine.fileno(), self._read)

    def _read(self) -> None:
        if self._socket is None:
            return
        try:
            data, descriptors, _flags, _address = socket.recv_fds(self._socket, 4096, 1)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self.close()
            return
        answer = self._waiting.popleft()
        if data.startswith(b"!"):
            answer.set_exception(JailError(data[1:].decode(errors="replace")))
            answer.exception()  # an abandoned start must not log "never retrieved"
        else:
            answer.set_result((int(data), descriptors[0]))

    def close(self) -> None:
        """End the spawner. Jails already started go on."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        while self._waiting:
            answer = self._waiting.popleft()
            answer.set_exception(JailError("the spawner is gone"))
            answer.exception()


class Jail:
    """One nsjail with the runner inside. Single use: pool.py never hands it out twice.

    `on_exit(number, status, cpu_seconds, peak_bytes)` reports the end of a test's process, `on_lost()` the jail's own.
    """

    def __init__(self, number: int, group: Group) -> None:
        self.number = number
        self.group = group
        self.on_exit: Callable[[int, int, float, int], None] | None = None
        self.on_lost: Callable[[], None] | None = None
        self.end: asyncio.Task[None] | None = None
        """Set by the pool when it disposes of the jail."""
        self.lost = False
        self.spent = False
        self.tests = 0
        self._control: Frames | None = None
        self._log: int | None = None
        self._pid = 0
        self._pidfd: int | None = None
        self._init_fd: int | None = None
        self._ready: asyncio.Future[None] | None = None

    async def start(self, spawner: Spawner, identity: tuple[str, str], seconds: float) -> None:
        """Start it and wait until its runner is ready, inside its group. Raises JailError with nsjail's log."""
        loop = asyncio.get_running_loop()
        mine, theirs = socket.socketpair()
        self._log, log = os.pipe()
        self._ready = loop.create_future()
        self._control = Frames(loop, mine, _CONTROL_LIMIT, self._on_frame, self._on_end)
        try:
            groups = [str(folder / "cgroup.procs") for folder in self.group.folders]
            self._pid, self._pidfd = await spawner.spawn(identity, groups, theirs.fileno(), log)
        finally:
            theirs.close()
            os.close(log)
        try:
            await asyncio.wait_for(asyncio.shield(self._ready), seconds)
        except TimeoutError:
            raise JailError(f"the jail was not ready after {seconds} s: {self.log()}") from None
        if self.group.has("kill"):
            inside = len(self.group.pids())
            if inside < 2:
                raise JailError(f"the jail is not in its control group: {inside} of 2 processes are")
        else:
            self._init_fd = _open_child(self._pid)

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
            case ("ready",):
                if self._ready is not None and not self._ready.done():
                    self._ready.set_result(None)
            case ("exit", int(number), int(status), float(cpu), int(peak)):
                if self.on_exit is not None:
                    self.on_exit(number, status, cpu, peak)
            case _:
                self._on_end("the runner spoke out of turn")

    def _on_end(self, reason: str | None) -> None:
        self.lost = self.spent = True
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(JailError(f"the jail ended at its start: {reason or self.log() or 'no log'}"))
            self._ready.exception()  # a start that was given up must not log "never retrieved"
        if self.on_lost is not None:
            self.on_lost()

    async def kill(self) -> bool:
        """The one kill path: kill all at once, wait until nothing is left, close. Returns False if something is."""
        self.spent = True
        self.on_exit = self.on_lost = None
        # Killing a crowd takes the kernel milliseconds, which other runs need not wait for.
        await asyncio.to_thread(self._strike)
        if self._control is not None:
            self._control.close()
        gone = await self._wait_empty()
        for fd in (self._log, self._pidfd, self._init_fd):
            if fd is not None:
                os.close(fd)
        self._log = self._pidfd = self._init_fd = None
        return gone

    def _strike(self) -> None:
        self.group.kill()
        for fd in (self._init_fd, self._pidfd):
            if fd is not None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)

    async def _wait_empty(self) -> bool:
        started = struck = time.monotonic()
        pause = 0.0005
        while self._alive():
            now = time.monotonic()
            if now - started > KILL_SECONDS:
                return False
            if now - struck > _REPEAT_SECONDS:
                await asyncio.to_thread(self._strike)
                struck = now
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.01)
        return True

    def _alive(self) -> bool:
        if self.group.has("kill"):
            return self.group.populated()
        return any(fd is not None and not _ended(fd) for fd in (self._init_fd, self._pidfd))


def _ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _open_child(pid: int) -> int | None:
    """A pidfd of the only child of nsjail: the jail's first process."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return os.pidfd_open(int(children[0])) if children else None
    except (FileNotFoundError, ProcessLookupError):
        return None
