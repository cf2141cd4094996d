"""Where jails come from, seen from the host: nsjail by way of the spawner, or a fork of a jail that is warm already."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from executor.errors import JailError
from executor.homes import Home, Identities, IdMaps


@dataclass(frozen=True, slots=True)
class Born:
    """A jail's outermost process as its maker knows it."""

    pidfd: int | None = None
    log: int | None = None
    """Where nsjail writes what went wrong."""


class Starter(Protocol):
    """Starts jails of one kind."""

    keepers: int
    """Processes of ours in each jail's group, which count against its limit."""

    async def make(self, home: Home, control: socket.socket) -> Born:
        """Make one whose runner serves `control`. Raises JailError."""
        ...

    def lost(self, home: Home) -> None:
        """Take note that the jail made for `home` ended by itself, at its start or later."""
        ...


class Maker(Starter, Protocol):
    """Makes the jails of one pool."""

    kill_alarms: int
    """Jails of the maker's own that were not empty in time after a kill."""

    def usable(self, home: Home) -> bool:
        """Whether what the jail in `home` depends on is alive, and is to stay so."""
        ...

    def gone(self, home: Home) -> None:
        """Take note that nothing is left of the jail that was made for `home`."""
        ...

    async def close(self) -> None:
        """End what makes jails; all of them must be gone."""
        ...


@dataclass(frozen=True, slots=True)
class SpawnOrder:
    """What is the same for all jails of one kind."""

    head: tuple[str, ...]
    """nsjail and its options, before the user map."""
    tail: tuple[str, ...]
    """The command inside."""
    binds: tuple[tuple[str, str], ...]
    """(source, name below the stage); empty when nothing needs staging."""
    config_fd: int
    bundle_fd: int


class Spawner:
    """The host's end of the process that starts nsjail; started again should it die."""

    def __init__(self, order: SpawnOrder) -> None:
        self._order = order
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._waiting: deque[asyncio.Future[int]] = deque()
        self._starting = asyncio.Lock()

    async def spawn(self, maps: tuple[IdMaps, IdMaps], home: Home, control: socket.socket) -> Born:
        """Start one nsjail inside the home's group, with these user and group maps. Raises JailError."""
        async with self._starting:
            if self._socket is None:
                await self._start()
        if self._socket is None:
            raise JailError("the spawner ended at its start")
        users, groups = maps
        options = [word for entry in users for word in ("--user", entry)]
        options += [word for entry in groups for word in ("--group", entry)]
        first, second = home.group.folders_of(1), home.group.folders_of(2)
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        log, theirs = os.pipe()
        try:
            message = json.dumps([options, [str(f) for f in first], str(second[0]) if second else None]).encode()
            socket.send_fds(self._socket, [message], [control.fileno(), theirs])
        except OSError as error:
            os.close(log)
            self.close()
            raise JailError(f"the spawner is gone: {error}") from None
        finally:
            os.close(theirs)
        self._waiting.append(answer)
        try:
            pidfd = await asyncio.shield(answer)
        except BaseException:
            os.close(log)
            answer.add_done_callback(_close)
            raise
        return Born(pidfd=pidfd, log=log)

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
            _fail(answer, data[1:].decode(errors="replace"))
        else:
            answer.set_result(descriptors[0])

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
            _fail(self._waiting.popleft(), "the spawner is gone")


def _close(answer: asyncio.Future[int]) -> None:
    if answer.exception() is None:
        os.close(answer.result())


def _fail(answer: asyncio.Future[int], reason: str) -> None:
    answer.set_exception(JailError(reason))
    answer.exception()  # an abandoned start must not log "never retrieved"


class NsjailMaker:
    """A jail is an nsjail of its own."""

    keepers = 2
    """nsjail and the runner."""
    kill_alarms = 0

    def __init__(self, spawner: Spawner, identities: Identities) -> None:
        self._spawner = spawner
        self._identities = identities

    async def make(self, home: Home, control: socket.socket) -> Born:
        """As Maker.make."""
        return await self._spawner.spawn(self._identities.of(home.number), home, control)

    def usable(self, home: Home) -> bool:
        """As Maker.usable: it depends on nothing."""
        del home
        return True

    def lost(self, home: Home) -> None:
        """As Starter.lost: nothing else depends on it."""

    def gone(self, home: Home) -> None:
        """As Maker.gone: nothing to do."""

    async def close(self) -> None:
        """As Maker.close."""
        self._spawner.close()
