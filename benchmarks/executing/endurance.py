"""What many runs leave behind in the executor's process."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.executing.meter import Ledger
from benchmarks.executing.programs import require_passed, start, value_candidate
from executor import Executor

_WARM_UP = 500
_MIB = 1 << 20


async def endurance(modes: tuple[str, ...], book: Ledger, runs: int = 10_000) -> dict[str, Any]:
    """State at rest: before any run, after a warm-up, along the way and at the end."""
    result: dict[str, Any] = {
        "how": f"one value test each, 2 slots; state with the executor at rest; warm-up of {_WARM_UP} runs",
        "runs": runs,
    }
    for mode in modes:
        folders = len(book.groups())
        async with start(mode, slots=2) as executor:
            await executor.settled()
            states = {"start": state(book)}
            await _runs(executor, 0, _WARM_UP)
            states["warm"] = state(book)
            began = time.monotonic()
            step = max(1, runs // 4)
            for done in range(0, runs, step):
                await _runs(executor, _WARM_UP + done, min(step, runs - done))
                states[f"after {min(done + step, runs)}"] = state(book)
            seconds = time.monotonic() - began
            stats = executor.stats()
        end = list(states.values())[-1]
        result[mode] = {
            "seconds": round(seconds, 1),
            "states": states,
            "growth_since_warm": {name: round(end[name] - states["warm"][name], 2) for name in end},
            "growth_in_the_last_half": {name: round(end[name] - list(states.values())[-3][name], 2) for name in end},
            "groups_left_after_close": len(book.groups()) - folders,
            "kill_alarms": stats.kill_alarms,
            "leaked_cgroups": stats.leaked_cgroups,
            "start_failures": stats.start_failures,
        }
    return result


async def _runs(executor: Executor, first: int, count: int) -> None:
    waiting = iter(range(first, first + count))

    async def feed() -> None:
        for number in waiting:
            require_passed(await executor.run(value_candidate(number, 1)))

    await asyncio.gather(*(feed() for _ in range(4)))
    await executor.settled()


def state(book: Ledger) -> dict[str, float]:
    """Of this process, and the number of processes and groups of everything."""
    own = psutil.Process()
    everybody = book.processes()
    return {
        "resident_mib": round(own.memory_info().rss / _MIB, 2),
        "resident_mib_of_all": round(sum(_resident(pid) for pid in everybody) / _MIB, 2),
        "descriptors": own.num_fds(),
        "threads": own.num_threads(),
        "processes": len(everybody),
        "groups": len(book.groups()),
    }


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0
