"""One run: the metrics before, the calls, the metrics after, and both books held against each other."""

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thresher.client import AsyncClient, ThresherError
from thresher.v1 import info_service_pb2

from benchmarks.load.books import Verdict, compare
from benchmarks.load.calls import Answer
from benchmarks.load.generator import Generator, Target
from benchmarks.load.live import LiveLine
from benchmarks.load.loads import Load, put_on
from benchmarks.load.mix import Mix
from benchmarks.load.receipts import ServerLog
from benchmarks.load.scrape import Scraper
from engine.exposition import Book, grown

_LOOK_SECONDS = 1.0
_READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server that is asked. metrics: host:port of its endpoint; log: its log file, where we can read it."""

    target: Target
    metrics: str | None = None
    log: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The server's own load at a moment, in seconds since the run's beginning."""

    at: float
    running: int
    waiting: int
    rows_per_second: float
    executor_queue: int
    kv_cache_usage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a run has left. counted, books: None without a metrics endpoint. seconds: until the last call had ended;
    cpu_seconds: of the generator's process meanwhile."""

    answers: tuple[Answer, ...]
    counted: Book | None
    books: Verdict | None
    looks: tuple[Look, ...]
    seconds: float
    cpu_seconds: float


async def run(
    served: Served,
    mix: Mix,
    load: Load,
    *,
    seed: int,
    patience: float,
    title: str,
    slo: float,
    on_answer: Callable[[Answer], None] = lambda _: None,
) -> Ran:
    """Put a load on a server; calls that have not ended `patience` seconds after the last was due are given up.

    Raises CannotRun where nothing was asked yet, ThresherError if the server is not there.
    """
    scraper = None if served.metrics is None else Scraper(served.metrics)
    answers: list[Answer] = []
    looks: list[Look] = []

    async with AsyncClient(served.target.address, token=served.target.token, name="load test") as watcher:
        await watcher.wait_ready(_READY_SECONDS)
        before = None if scraper is None else await scraper.settled()
        log = None if served.log is None else ServerLog(served.log)
        name = f"load-{secrets.token_hex(4)}"
        with LiveLine(title, slo) as line:

            def heard(answer: Answer) -> None:
                answers.append(answer)
                line.answer(answer)
                on_answer(answer)

            async with Generator(served.target, mix, name, heard) as generator:

                async def watch() -> None:
                    while True:
                        found = await _look(watcher)
                        line.look(generator.made, found)
                        if found is not None:
                            looks.append(_noted(generator.now, found))
                        await asyncio.sleep(_LOOK_SECONDS)

                began, worked = time.monotonic(), time.process_time()
                watching = asyncio.create_task(watch())
                try:
                    await put_on(generator, load, mix, seed, patience)
                finally:
                    watching.cancel()
                    await asyncio.wait([watching])
                    line.look(generator.made, None)
                seconds, cpu_seconds = time.monotonic() - began, time.process_time() - worked
        counted = books = None
        if scraper is not None and before is not None:
            counted = grown(before, await scraper.settled())
            books = compare(answers, counted, None if log is None else log.receipts())
    return Ran(
        answers=tuple(answers),
        counted=counted,
        books=books,
        looks=tuple(looks),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
    )


async def server_words(served: Served) -> dict[str, Any]:
    """What a server says of itself, for the protocol. Raises ThresherError if it is not there."""
    async with AsyncClient(served.target.address, token=served.target.token) as client:
        await client.wait_ready(_READY_SECONDS)
        info, models = await client.server_info(), await client.models()
    shown = [
        {"model": one.name.removeprefix("models/"), "arithmetic": one.dtype, "device": one.device} for one in models
    ]
    return {"version": info.version, "models": shown, "sandbox": info.sandbox.backend}


async def _look(client: AsyncClient) -> info_service_pb2.GetLoadResponse | None:
    # What a look does not see is missing in the picture; the run goes on.
    with suppress(ThresherError):
        return await client.load(timeout=5.0)
    return None


def _noted(at: float, found: info_service_pb2.GetLoadResponse) -> Look:
    return Look(
        at=round(at, 2),
        running=found.solves_running,
        waiting=found.solves_waiting,
        rows_per_second=round(found.tokens_per_second, 1),
        executor_queue=found.executor_queue,
        kv_cache_usage=round(found.kv_cache_usage, 4),
    )
