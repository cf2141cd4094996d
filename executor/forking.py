"""The host's end of the fork server: jails that cost a fork, made by a jail that is warm already.

The server is a jail of its own that holds no program. Each child is parted from it and from its siblings before the
host sends a program: see executor.guest.forkserver.
"""

import asyncio
import logging
import socket
from dataclasses import dataclass, field

from executor.homes import Home, Homes, Identities
from executor.jail import Jail
from executor.policy import FORKED_IDS, WRITABLE, tmpfs_options
from executor.seccomp import bpf
from executor.spawning import Born, Spawner

_log = logging.getLogger(__name__)

_MEMORY_BYTES = 1 << 30
_PROCESSES = 512
_MOST_FORKS = 2048
"""Jails of one server, before a fresh one takes its place."""


@dataclass(slots=True, eq=False)
class _Server:
    jail: Jail
    made: int = 0
    worn: bool = False
    """Whether another is to take its place."""
    suspect: bool = False
    """Whether it may have died."""
    homes: set[int] = field(default_factory=set[int])
    """Numbers of the homes of its living children."""


class _ServerMaker:
    """Starts a fork server's own jail."""

    keepers = 2

    def __init__(self, spawner: Spawner, identities: Identities) -> None:
        self._spawner = spawner
        self._identities = identities

    async def make(self, home: Home, control: socket.socket) -> Born:
        return await self._spawner.spawn(self._identities.of_fork_server(home.number), home, control)

    def lost(self, home: Home) -> None:
        """As Starter.lost: the jail itself knows."""


class ForkMaker:
    """A jail is a fork of a warm one. The server is started when first needed, and replaced when worn or lost."""

    keepers = 1
    """The runner."""

    def __init__(
        self,
        spawner: Spawner,
        homes: Homes,
        identities: Identities,
        *,
        tmp_bytes: int,
        start_seconds: float,
    ) -> None:
        self._spawner = spawner
        self._homes = homes
        self._start_seconds = start_seconds
        self._identities = identities
        self._server_maker = _ServerMaker(spawner, identities)
        self._order = ("fork server", bpf(), [(path, tmpfs_options(tmp_bytes)) for path in WRITABLE])
        self._starting = asyncio.Lock()
        self._current: _Server | None = None
        self._worn: list[_Server] = []
        self._server_of: dict[int, _Server] = {}
        self._ends: set[asyncio.Task[None]] = set()
        self.kill_alarms = 0

    async def make(self, home: Home, control: socket.socket) -> Born:
        """As Maker.make."""
        async with self._starting:
            server = self._current
            if server is None or server.worn or server.jail.lost:
                server = await self._replace()
        server.made += 1
        server.worn = server.made >= _MOST_FORKS
        server.homes.add(home.number)
        self._server_of[home.number] = server
        first, second = home.group.entrances(self._identities.outside(server.jail.home.number))
        descriptors = (control.fileno(), *first, *second)
        server.jail.send(("fork", FORKED_IDS + home.number, bool(second)), descriptors)
        return Born()

    def usable(self, home: Home) -> bool:
        """As Maker.usable: a fork dies with its server, and keeps it from ending."""
        server = self._server_of[home.number]
        return server is self._current and not server.suspect

    def lost(self, home: Home) -> None:
        """As Starter.lost: the server may be dying, which the host hears of last; another takes its place."""
        if (server := self._server_of.get(home.number)) is not None:
            server.worn = server.suspect = True

    def gone(self, home: Home) -> None:
        """As Maker.gone."""
        server = self._server_of.pop(home.number, None)
        if server is not None:
            server.homes.discard(home.number)
            if server in self._worn and not server.homes:
                self._worn.remove(server)
                self._end(server)

    async def _replace(self) -> _Server:
        old, self._current = self._current, None
        if old is not None:
            if old.jail.lost:
                _log.error("the fork server was lost after %d jails: %s", old.made, old.jail.log())
            if old.homes and not old.jail.lost:
                self._worn.append(old)
            else:
                self._end(old)
        jail = Jail(self._homes.take())
        server = _Server(jail)
        try:
            jail.home.group.limit(_MEMORY_BYTES, _PROCESSES)
            self._homes.admit(self._identities.outside(jail.home.number))
            await jail.start(self._server_maker, self._start_seconds)
            await jail.ask(self._order, "serving", self._start_seconds)
        except BaseException:
            self._end(server)
            raise
        self._current = server
        return server

    def _end(self, server: _Server) -> None:
        task = asyncio.create_task(self._kill(server.jail))
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    async def _kill(self, jail: Jail) -> None:
        if await jail.kill():
            self._homes.give_back(jail.home)
        else:
            _log.error("the fork server's jail %d was not empty in time after its kill", jail.home.number)
            self.kill_alarms += 1

    async def close(self) -> None:
        """As Maker.close."""
        for server in [*self._worn, *([self._current] if self._current else [])]:
            self._end(server)
        self._current = None
        self._worn.clear()
        await asyncio.gather(*self._ends)
        self._spawner.close()
