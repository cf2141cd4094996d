"""How long it takes until nothing is left of what was ended."""

import asyncio
import contextlib
import time
from typing import Any

from benchmarks.executing.meter import Ledger, alive, middle, spread
from benchmarks.executing.programs import require_passed, start
from executor import ExecutionCancelled, Executor, Limits, Program, Report, SnippetTest

_PATIENCE = 30.0
_BOMB = """\
import os
def burst():
    while True:
        try:
            os.fork()
        except OSError:
            pass
"""
_SLEEPER = """\
import time
def rest():
    time.sleep(60)
"""
_SPINNER = """\
def rest():
    while True:
        pass
"""
_WORKER = """\
def work():
    total = 0
    for number in range(6_000_000):
        total += number & 3
    return total
"""


async def kill(modes: tuple[str, ...], book: Ledger, rounds: int = 20) -> dict[str, Any]:
    """A live fork bomb of 32 processes: from the cancel to the end of its run, when nothing of it may be left."""
    bomb = Program(
        code=_BOMB,
        tests=(SnippetTest(code="assert burst() == 0"),),
        entry_point="burst",
        limits=Limits(cpu_seconds=60, wall_seconds=120, processes=32),
    )
    result: dict[str, Any] = {
        "how": "from the cancel of the run to its end; its processes, listed just before, are then looked for",
        "unit": "ms",
    }
    for mode in modes:
        times: list[float] = []
        async with start(mode) as executor:
            for _ in range(rounds):
                await executor.settled()
                before = book.processes()
                task = asyncio.create_task(executor.run(bomb))
                doomed = await _grown(book, before, 31)
                began = time.perf_counter()
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                times.append(1000 * (time.perf_counter() - began))
                _require_gone(doomed)
            await executor.settled()
            _require_no_alarm(executor)
        result[mode] = spread(times, 1)
    return result


async def cancel(modes: tuple[str, ...], book: Ledger, rounds: int = 10) -> dict[str, Any]:
    """31 of 32 running candidates are cancelled while the last is at work."""
    result: dict[str, Any] = {
        "how": "32 slots; 31 candidates sleep (or spin), one computes; the 31 are cancelled by their group 50 ms after "
        "the one began. Gone: from the cancel until cancel_group returns. Delay: the one's time beside 31 sleepers "
        "that are cancelled, less its time beside 31 that are not, in turns",
        "unit": "ms",
    }
    for mode in modes:
        gone: dict[str, list[float]] = {"sleeping": [], "spinning": []}
        first: dict[bool, list[float]] = {True: [], False: []}
        async with start(mode, slots=32) as executor:
            for _ in range(rounds):
                for cancelling in (True, False):
                    ended, worked = await _race_with_the_doomed(executor, book, _SLEEPER, cancelling)
                    first[cancelling].append(worked)
                    if cancelling:
                        gone["sleeping"].append(ended)
                ended, _ = await _race_with_the_doomed(executor, book, _SPINNER, True)
                gone["spinning"].append(ended)
            _require_no_alarm(executor)
        result[mode] = {
            "all_gone_sleeping": spread(gone["sleeping"], 1),
            "all_gone_spinning": spread(gone["spinning"], 1),
            "first_result_with_cancels": spread(first[True], 1),
            "first_result_without": spread(first[False], 1),
            "delay_of_the_first_result": round(middle(first[True], 1) - middle(first[False], 1), 1),
        }
    return result


async def _race_with_the_doomed(
    executor: Executor, book: Ledger, resting: str, cancelling: bool
) -> tuple[float, float]:
    """Milliseconds until the 31 were gone, and until the one had its report."""
    sleeper = Program(
        code=resting,
        tests=(SnippetTest(code="assert rest() == 0"),),
        entry_point="rest",
        limits=Limits(cpu_seconds=60, wall_seconds=120),
    )
    worker = Program(code=_WORKER, tests=(SnippetTest(code="assert work() == 9_000_000"),), entry_point="work")
    await executor.settled()
    before = book.processes()
    tasks = [asyncio.create_task(executor.run(sleeper, group="doomed")) for _ in range(31)]
    doomed = await _grown(book, before, 31)
    await asyncio.sleep(0.1)
    began = time.perf_counter()
    one = asyncio.create_task(_timed(executor, worker))
    ended = 0.0
    if cancelling:
        await asyncio.sleep(0.05)
        if one.done():
            raise RuntimeError("the one had its report before the others were cancelled: nothing was measured")
        began = time.perf_counter()
        await executor.cancel_group("doomed")
        ended = 1000 * (time.perf_counter() - began)
        _require_gone(doomed)
    report, worked = await one
    require_passed(report)
    await executor.cancel_group("doomed")
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(outcome, ExecutionCancelled):
            raise RuntimeError(f"a candidate to be cancelled ended as {outcome!r}")
    return ended, worked


async def _timed(executor: Executor, program: Program) -> tuple[Report, float]:
    began = time.perf_counter()
    report = await executor.run(program)
    return report, 1000 * (time.perf_counter() - began)


async def _grown(book: Ledger, before: set[int], count: int) -> set[int]:
    """The processes that came since `before`, once there are `count`."""
    began = time.monotonic()
    while len(new := book.processes() - before) < count:
        if time.monotonic() - began > _PATIENCE:
            raise RuntimeError(f"{len(new)} of {count} processes after {_PATIENCE} s")
        await asyncio.sleep(0.01)
    return new


def _require_gone(doomed: set[int]) -> None:
    left = [pid for pid in doomed if alive(pid)]
    if left:
        raise RuntimeError(f"{len(left)} processes outlived the end of their run")


def _require_no_alarm(executor: Executor) -> None:
    stats = executor.stats()
    if stats.kill_alarms or stats.leaked_cgroups:
        raise RuntimeError(f"kill alarms: {stats.kill_alarms}, leaked groups: {stats.leaked_cgroups}")
