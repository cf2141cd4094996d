"""What a server holds when nobody asks it anything, and whether that has grown."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from thresher.client import AsyncClient

from benchmarks.load.scrape import Scraper
from engine.exposition import total

_CGROUPS = Path("/sys/fs/cgroup")
_PATIENCE = 60.0
# Warm jails come back one after the other.
_CALM_LOOKS = 4
_SLACK = {
    "processes": 0,
    "jails": 0,
    "cgroups": 0,
    "threads": 4,
    "tasks": 4,
    "descriptors": 8,
    "pages": 0,
    "branches": 0,
}
_MEMORY_SHARE, _MEMORY_BYTES = 0.08, 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """The server's processes at rest. tasks: of the front's event loop. pages: of the key-value pool that solves
    hold, in thousandths of the pool. resident_bytes: of all processes, shared memory counted once for each."""

    processes: int
    jails: int
    cgroups: int
    threads: int
    tasks: int
    descriptors: int
    pages: int
    branches: int
    resident_bytes: int

    def plain(self) -> dict[str, int]:
        """As JSON values."""
        return asdict(self)


async def at_rest(client: AsyncClient, pid: int, scraper: Scraper) -> Resting:
    """The state once no solve is left and the numbers of processes and tasks stand still.

    Raises RuntimeError where that is not so within a minute.
    """
    until = time.monotonic() + _PATIENCE
    looks: list[Resting] = []
    while True:
        load = await client.load(timeout=10)
        tasks = round(total(await scraper.scrape(), "thresher_process_tasks"))
        pages = round(1000 * load.kv_cache_usage)
        found = await asyncio.to_thread(_look, pid, pages=pages, branches=load.branches_running, tasks=tasks)
        busy = load.solves_running + load.solves_waiting + load.branches_running + load.executor_queue
        looks = [] if busy else [*looks[-_CALM_LOOKS + 1 :], found]
        if len(looks) == _CALM_LOOKS and len({(look.processes, look.cgroups, look.tasks) for look in looks}) == 1:
            return found
        if time.monotonic() > until:
            raise RuntimeError(f"the server was not at rest after {_PATIENCE:g} s: {busy} things at work, {found}")
        await asyncio.sleep(0.4)


def _look(pid: int, **known: int) -> Resting:
    front = psutil.Process(pid)
    family: list[psutil.Process] = []
    sums = {"threads": 0, "descriptors": 0, "resident_bytes": 0}
    jails = 0
    for one in (front, *front.children(recursive=True)):
        try:
            with one.oneshot():
                sums["threads"] += one.num_threads()
                sums["descriptors"] += one.num_fds()
                sums["resident_bytes"] += one.memory_info().rss
                jails += one.name() == "nsjail"
        except psutil.NoSuchProcess:
            continue
        family.append(one)
    groups = sum(len([*folder.glob("*/")]) for one in family for folder in _CGROUPS.glob(f"**/thresher.{one.pid}.*"))
    return Resting(processes=len(family), jails=jails, cgroups=groups, **known, **sums)


def growth(states: Sequence[Resting], warm: int) -> list[str]:
    """What has grown since the first `warm` states, in words; none is as it should be.

    The last state is held against the largest of the warm ones: what was needed once may be needed again. Counts may
    not grow at all, but for threads, tasks and descriptors of pools that fill on demand; memory by 8 % and 64 MiB,
    which is the noise of allocators over a few minutes. Pages and branches must be none.
    """
    before, last = states[:warm], states[-1]
    found: list[str] = []
    for name, slack in _SLACK.items():
        most = 0 if name in ("pages", "branches") else max(getattr(state, name) for state in before)
        if (now := getattr(last, name)) > most + slack:
            found.append(f"{name}: {now} at the end, {most} after the warm-up")
    most = max(state.resident_bytes for state in before)
    if last.resident_bytes > most * (1 + _MEMORY_SHARE) + _MEMORY_BYTES:
        found.append(f"memory: {_mib(last.resident_bytes)} at the end, {_mib(most)} after the warm-up")
    return found


def _mib(count: int) -> str:
    return f"{count >> 20} MiB"


def line(state: Resting) -> str:
    """One state, for people."""
    words: dict[str, Any] = state.plain()
    memory = _mib(words.pop("resident_bytes"))
    return ", ".join(f"{value} {name}" for name, value in words.items()) + f", {memory}"
