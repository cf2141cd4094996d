"""The race that Thresher is made for: programs come as they are written, and the first that passes ends it."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, AsyncIterable, Iterable

import msgspec

from executor.sandbox import ExecutorLike
from executor.types import Program
from executor.verdict import Report, Verdict

_BEYOND_SLOTS = 2
SLOW_SECONDS = 0.5
"""After which a program is waited for no longer before another one is taken: many times what most take."""
MOST_SLOW = 6
"""Programs that may be so at a time."""
_numbers = itertools.count(1)


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A program of the stream and what came of it. `index` is its place in the stream, from 0."""

    index: int
    program: Program
    report: Report


async def first_passing(
    executor: ExecutorLike, programs: AsyncIterable[Program] | Iterable[Program], *, group: str = ""
) -> AsyncGenerator[Judged, None]:
    """Run programs as they come and yield each report as it is there, up to the first that passed.

    Then, and whenever the generator is closed, all others end; their jails are gone before it returns. No more
    programs are taken from the stream than the executor can work on, so a slow sandbox slows the stream down; a few
    that run on and on hold up none of the others. Raises what `run` and the stream raise.
    """
    group = group or f"first-passing/{next(_numbers)}"
    source = aiter(programs) if isinstance(programs, AsyncIterable) else aiter(_each(programs))
    running: dict[asyncio.Task[Report], tuple[int, Program]] = {}
    slow_at: dict[asyncio.Task[Report], float] = {}  # in the order of their starts
    clock = asyncio.get_running_loop().time
    most, count = executor.stats().slots + _BEYOND_SLOTS, 0
    taking: asyncio.Task[Program] | None = asyncio.ensure_future(anext(source))  # type: ignore[arg-type]
    try:
        while taking is not None or running:
            waiting: set[asyncio.Task[Report] | asyncio.Task[Program]] = set(running)
            slow = min(MOST_SLOW, sum(at <= clock() for at in slow_at.values()))
            room = len(running) - slow < most
            if taking is not None and room:
                waiting.add(taking)
            next_slow = next((at for at in slow_at.values() if at > clock()), None)
            patience = None if room or next_slow is None else next_slow - clock()
            done, _ = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in running if task in done]:
                index, program = running.pop(task)
                del slow_at[task]
                judged = Judged(index=index, program=program, report=task.result())
                yield judged
                if judged.report.verdict is Verdict.PASSED:
                    return
            if taking is not None and taking in done:
                program = _taken(taking)
                if program is None:
                    taking = None
                    continue
                task = asyncio.create_task(executor.run(program, group=group))
                running[task], slow_at[task] = (count, program), clock() + SLOW_SECONDS
                count += 1
                taking = asyncio.ensure_future(anext(source))  # type: ignore[arg-type]
    finally:
        left: set[asyncio.Task[Report] | asyncio.Task[Program]] = set(running) if taking is None else {*running, taking}
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


async def _each(programs: Iterable[Program]) -> AsyncGenerator[Program, None]:
    for program in programs:
        yield program


def _taken(task: "asyncio.Task[Program]") -> Program | None:
    try:
        return task.result()
    except StopAsyncIteration:
        return None
