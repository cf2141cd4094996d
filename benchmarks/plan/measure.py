"""The measurements: each problem's samples once, then a minute or two of the load's own kind for the steps.

1. Every problem of the mix is drawn `samples` times and all of it is judged: the sampling tree, lengths, pass rates,
   judging times.
2. One user, then several, ask for the mix as they will later: the metrics, looked at twice a second, tell how long
   steps of how many rows are while programs are judged beside them.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from thresher.client import AsyncClient
from thresher.v1 import solve_pb2

from benchmarks.experiments.errors import CannotRun
from benchmarks.load.calls import Answer
from benchmarks.load.loads import Users
from benchmarks.load.mix import Entry, Mix
from benchmarks.load.run import Served, run
from benchmarks.load.scrape import Scraper
from benchmarks.plan.draws import Draws
from benchmarks.plan.recorded import Measured, Problem, Solved, Window
from engine.exposition import Book, grown, total

_LOOK_SECONDS = 0.5
_AT_ONCE = 2
_PLAIN = ("k", "temperature", "top_p", "top_k", "min_p", "max_new_tokens", "seed", "width", "stop")
"""What a twin can play of `sampling`."""


async def measure(
    served: Served,
    mix: Mix,
    *,
    samples: int,
    seconds: float,
    users: int,
    provenance: Mapping[str, Any],
    say: Callable[[str], None],
) -> Measured:
    """Measure a server; `seconds` for each of the two loads, the second of so many users.

    Raises CannotRun for a server without metrics. The mix is one that can be predicted (`require_plain`).
    """
    if served.metrics is None:
        raise CannotRun("--metrics: the lengths of steps are read from the server's metrics; name host:port")
    scraper = Scraper(served.metrics)
    async with AsyncClient(served.target.address, token=served.target.token, name="plan") as client:
        await client.wait_ready(60.0)
        slots = (await client.load()).executor_slots
        problems = {entry.name: await _draw_all(client, entry, samples, say) for entry in mix.entries}
    windows: list[Window] = []
    fronts: list[float] = []
    solves: list[Solved] = []
    for count in (1, users):
        say(f"steps: {count} at a time, {seconds:g} s")
        answers = await _load(served, scraper, mix, count, seconds, windows)
        fronts += [front for answer in answers if (front := _front(answer)) is not None]
        solves += [_solved(answer, count) for answer in answers if answer.answered]
    return Measured(
        about={"samples": samples, "seconds": seconds, "users": users, "mix": mix.protocol},
        problems=problems,
        windows=tuple(windows),
        front_seconds=sum(fronts) / len(fronts) if fronts else 0.0,
        slots=slots,
        solves=tuple(solves),
        provenance=provenance,
    )


def require_plain(entry: Entry) -> None:
    """Raises CannotRun for what a twin does not play: other ways to draw, budgets, several passes."""
    for spec in entry.specs:
        sampling = spec.sampling
        odd = {field.name for field, _ in sampling.ListFields()} - {*_PLAIN}
        if sampling.mode in (solve_pb2.SAMPLING_MODE_UNSPECIFIED, solve_pb2.SAMPLING_MODE_INDEPENDENT):
            odd -= {"mode"}
        if spec.HasField("budget"):
            odd.add("budget")
        if spec.HasField("cascade"):
            odd.add("cascade")
        if spec.HasField("stop_after_passes") and spec.stop_after_passes > 1:
            odd.add("stop_after_passes")
        if spec.return_policy == solve_pb2.RETURN_POLICY_BEST or not sampling.HasField("k"):
            odd.add("policy: best" if sampling.HasField("k") else "an open k")
        if odd:
            raise CannotRun(f"{entry.name}: {', '.join(sorted(odd))} cannot be predicted; leave it out of this mix")


async def _draw_all(client: AsyncClient, entry: Entry, samples: int, say: Callable[[str], None]) -> tuple[Problem, ...]:
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(spec: solve_pb2.SolveSpec, name: str) -> Problem:
        async with limit:
            found = await _draw(client, spec, name, samples)
        passing = sum(text.samples for text in found.texts if found.programs[text.program].passed)
        say(f"{entry.name}/{name}: {passing} of {sum(text.samples for text in found.texts)} samples pass")
        return found

    return tuple(await asyncio.gather(*map(one, entry.specs, entry.problems)))


async def _draw(client: AsyncClient, spec: solve_pb2.SolveSpec, name: str, samples: int) -> Problem:
    asked = solve_pb2.SolveSpec()
    asked.CopyFrom(spec)
    asked.return_policy = solve_pb2.RETURN_POLICY_ALL
    asked.sampling.k = samples
    asked.request_id = f"plan-{secrets.token_hex(6)}"
    asked.events.branches = True
    draws = Draws(name)
    async with client.solve(asked) as stream:
        async for event in stream:
            draws.take(event)
    return draws.problem


async def _load(
    served: Served, scraper: Scraper, mix: Mix, users: int, seconds: float, windows: list[Window]
) -> tuple[Answer, ...]:
    """Users for so long, with a window for each look; their answers."""
    before = await scraper.settled()
    done = asyncio.Event()

    async def look() -> None:
        nonlocal before
        while not done.is_set():
            due = time.monotonic() + _LOOK_SECONDS
            after = await scraper.scrape()
            windows.append(_window(grown(before, after)))
            before = after
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    looking = asyncio.create_task(look())
    try:
        load = Users(users=users, think=0.0, seconds=seconds)
        ran = await run(served, mix, load, seed=1, patience=60.0, title=f"steps, {users} users", slo=math.inf)
    finally:
        done.set()
        await looking
    return ran.answers


def _window(counted: Book) -> Window:
    def of(name: str) -> float:
        return total(counted, f"thresher_{name}")

    prefill_steps, prefill_seconds = of("prefill_seconds_count"), of("prefill_seconds_sum")
    return Window(
        rows=int(of("rows_computed_total")),
        steps=int(of("step_seconds_count") - prefill_steps),
        seconds=of("step_seconds_sum") - prefill_seconds,
        prefill_steps=int(prefill_steps),
        prefill_seconds=prefill_seconds,
        prefill_tokens=int(of("prefix_cache_queries_total") - of("prefix_cache_hits_total")),
    )


def _solved(answer: Answer, users: int) -> Solved:
    cost = answer.accounting
    return Solved(
        users=users,
        entry=answer.entry,
        problem=answer.problem,
        first_pass=None if answer.first_pass is None else round(answer.first_pass - answer.sent, 4),
        rows=int(cost.get("rows_computed", 0)),
        drafted=int(cost.get("drafted_tokens", 0)),
        accepted=int(cost.get("accepted_draft_tokens", 0)),
    )


def _front(answer: Answer) -> float | None:
    """What a first pass took on its way: from sending and back, beside what the server says it took."""
    inside = answer.accounting.get("time_to_first_pass")
    if inside is None or answer.first_pass is None:
        return None
    return max(0.0, answer.first_pass - answer.sent - float(inside))
