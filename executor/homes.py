"""Where jails live: a number, the outside user that goes with it and a control group, for one jail at a time."""

import asyncio
import logging
import os
from collections import deque
from dataclasses import dataclass

from executor.cgroup import Forest
from executor.errors import JailError
from executor.group import Group
from executor.policy import FORKED_IDS, INSIDE_ID

_log = logging.getLogger(__name__)

_UID_BASE = 1_000_000_000
JAILS_PER_PROCESS = 256
_free_numbers = deque(range(JAILS_PER_PROCESS))

IdMaps = tuple[str, ...]
"""nsjail's `inside:outside:count`; the first is the one that the jail begins as."""


@dataclass(frozen=True, slots=True)
class Home:
    """What one jail at a time lives in."""

    number: int
    group: Group


class Identities:
    """Outside users for jails: one each when root, the own one otherwise."""

    def __init__(self) -> None:
        self.shared = os.geteuid() != 0
        self._base = _UID_BASE + os.getpid() * JAILS_PER_PROCESS
        if not self.shared:
            end = _mapped_end()
            if end < self._base + JAILS_PER_PROCESS:
                # A container with few users: the last ones of its range.
                self._base = end - JAILS_PER_PROCESS
                self.shared = self._base < 1000

    def of(self, number: int) -> tuple[IdMaps, IdMaps]:
        """The user map and the group map of jail `number`."""
        if self.shared:
            return (f"{INSIDE_ID}:{os.geteuid()}:1",), (f"{INSIDE_ID}:{os.getegid()}:1",)
        maps = (f"{INSIDE_ID}:{self._base + number}:1",)
        return maps, maps

    def outside(self, number: int) -> int:
        """The outside user of a jail in home `number`."""
        return os.geteuid() if self.shared else self._base + number

    def of_fork_server(self, number: int) -> tuple[IdMaps, IdMaps]:
        """The maps of a fork server that lives in home `number`: inside, home n's user is FORKED_IDS + n."""
        above = number + 1
        maps = [f"0:{self._base + number}:1"]
        if number:
            maps.append(f"{FORKED_IDS}:{self._base}:{number}")
        if above < JAILS_PER_PROCESS:
            maps.append(f"{FORKED_IDS + above}:{self._base + above}:{JAILS_PER_PROCESS - above}")
        return tuple(maps), tuple(maps)


def _mapped_end() -> int:
    with open("/proc/self/uid_map") as file:
        return max(int(line.split()[0]) + int(line.split()[2]) for line in file)


class Homes:
    """All homes of one executor. The numbers are shared by all executors of this process."""

    def __init__(self, forest: Forest, kept: int) -> None:
        """So many homes are there from beginning to end; those that a greater crowd needs are removed after it."""
        self._forest = forest
        self._kept = kept
        self._made = 0
        self._empty: deque[Home] = deque()
        self._leaving: list[Home] = []
        self.leaked = 0

    def prepare(self) -> None:
        """Make the homes that stay. Raises OSError when a group cannot be made."""
        while self._made < self._kept and _free_numbers:
            self._empty.append(self._make())

    def take(self) -> Home:
        """An empty home. Raises JailError when all are lived in, OSError when a group cannot be made."""
        if self._empty:
            return self._empty.popleft()
        if not _free_numbers:
            raise JailError(f"{JAILS_PER_PROCESS} jails are live in this process: lower slots or warm")
        return self._make()

    def _make(self) -> Home:
        number = _free_numbers.popleft()
        try:
            home = Home(number, self._forest.group(f"j{number}"))
        except OSError:
            _free_numbers.append(number)
            raise
        self._made += 1
        return home

    def give_back(self, home: Home) -> None:
        """Take back a home in which nothing lives any more. One that cannot be used again is counted, not reused."""
        try:
            home.group.renew()
        except OSError as error:
            self.leaked += 1
            _log.error("a control group could not be made new: %s", error)
            return
        # The oldest goes last, so that a user id rests as long as can be.
        self._empty.append(home)
        if self._made > self._kept and self._empty:
            self._made -= 1
            self._leaving.append(self._empty.popleft())
        for left in list(self._leaving):
            self._leave(left)

    def _leave(self, home: Home) -> None:
        try:
            home.group.remove()
        except OSError:
            return  # a v1 hierarchy may take a moment to notice that its last process is gone: another time
        self._leaving.remove(home)
        _free_numbers.append(home.number)

    def admit(self, user: int) -> None:
        """Let a fork server that runs as outside user `user` make processes in the homes' v2 groups."""
        self._forest.admit(user)

    async def remove(self) -> None:
        """Remove the groups and give the numbers back. A group that cannot be removed is counted, its number kept."""
        for home in [*self._empty, *self._leaving]:
            # A v1 hierarchy may take a moment to notice that its last process is gone.
            for pause in (0.001, 0.005, 0.02, 0.1, 0.5, None):
                try:
                    home.group.remove()
                except OSError as error:
                    if pause is None:
                        self.leaked += 1
                        _log.error("a control group could not be removed: %s", error)
                        break
                    await asyncio.sleep(pause)
                else:
                    _free_numbers.append(home.number)
                    break
        self._empty.clear()
        self._leaving.clear()
