"""How soon a verdict comes, and what a verdict costs."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from benchmarks.executing.meter import Cost, Ledger, middle, spread
from benchmarks.executing.programs import (
    mbpp_candidates,
    require_passed,
    start,
    stdio_candidate,
    value_candidate,
)
from executor import Executor, Program

_WARM_UP = 30


async def latency(modes: tuple[str, ...], book: Ledger, runs: int = 400) -> dict[str, Any]:
    """Milliseconds from the call of `run` to its report, one program at a time, a jail ready before each."""
    result: dict[str, Any] = {
        "how": "default settings; one program at a time; before each the executor is at rest with its jails warm",
        "unit": "ms",
    }
    kinds: dict[str, Callable[[int], Program]] = {
        "one value test": lambda number: value_candidate(number, 1),
        "one stdio test": stdio_candidate,
    }
    for mode in modes:
        result[mode] = {}
        async with start(mode) as executor:
            for kind, make in kinds.items():
                times: list[float] = []
                for number in range(-_WARM_UP, runs):
                    program = make(number)
                    await executor.settled()
                    began = time.perf_counter()
                    report = await executor.run(program)
                    if number >= 0:
                        times.append(1000 * (time.perf_counter() - began))
                    require_passed(report)
                result[mode][kind] = spread(times, 2)
    return result


async def throughput(modes: tuple[str, ...], book: Ledger, rounds: int = 3, runs: int = 240) -> dict[str, Any]:
    """Candidates and tests a second and core, all slots busy."""
    slots = 2
    references = mbpp_candidates()
    kinds: dict[str, tuple[int, Callable[[int], Program]]] = {
        "one value test": (1, lambda number: value_candidate(number, 1)),
        "one stdio test": (1, stdio_candidate),
        "MBPP references, first assert": (1, lambda number: references[number % len(references)]),
        "fifty value tests": (50, lambda number: value_candidate(number, 50)),
    }
    result: dict[str, Any] = {
        "how": f"{slots} slots, {2 * slots} programs in flight; by CPU: programs / CPU seconds of everything ("
        "executor, spawner, nsjail, jails; by cgroup); by wall: programs / seconds / slots; medians of the rounds",
        "slots": slots,
        "rounds": rounds,
        "programs_a_round": runs,
    }
    spent: dict[tuple[str, str], list[Cost]] = {}
    for _ in range(rounds):
        for mode in modes:
            async with start(mode, slots=slots) as executor:
                for kind, (tests, make) in kinds.items():
                    count = max(1, runs // 3) if tests > 1 else runs
                    await _crowd(executor, slots, [make(number) for number in range(_WARM_UP)])
                    programs = [make(number) for number in range(count)]
                    before = book.read()
                    await _crowd(executor, slots, programs)
                    spent.setdefault((mode, kind), []).append(book.read() - before)
    for (mode, kind), costs in spent.items():
        tests = kinds[kind][0]
        count = max(1, runs // 3) if tests > 1 else runs
        figures: dict[str, Any] = {
            "candidates_per_second_and_core_by_cpu": middle([count / cost.cpu for cost in costs], 1),
            "candidates_per_second_and_core_by_wall": middle([count / cost.wall / slots for cost in costs], 1),
            "cpu_ms_per_candidate": _shares(costs, count),
        }
        if tests > 1:
            figures["tests_per_second_and_core_by_cpu"] = middle([count * tests / cost.cpu for cost in costs], 1)
            figures["tests_per_second_and_core_by_wall"] = middle(
                [count * tests / cost.wall / slots for cost in costs], 1
            )
        result.setdefault(mode, {})[kind] = figures
    return result


def _shares(costs: list[Cost], count: int) -> dict[str, float]:
    each = [cost.per(count) for cost in costs]
    return {name: middle([shares[name] for shares in each]) for name in each[0]}


async def _crowd(executor: Executor, slots: int, programs: list[Program]) -> None:
    """Run all of them, twice as many in flight as there are slots; ends when all jails used are gone."""
    waiting = iter(programs)

    async def feed() -> None:
        for program in waiting:
            require_passed(await executor.run(program))

    await asyncio.gather(*(feed() for _ in range(2 * slots)))
    await executor.settled()
