"""HumanEval, greedily, through the whole path: engine process, extraction, sandbox."""

import asyncio
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.config import LogLevel, Settings
from engine.logs import configure_logs
from engine.loop.client import EngineDown
from engine.metrics import Metrics
from engine.models.errors import ModelError
from engine.solving.backing import local_executor
from engine.solving.build import build_solver
from engine.solving.errors import SolveError
from engine.solving.solver import Solver
from engine.solving.spec import CompletionPrompt, HeldTest, ReturnPolicy, Sampling, SolveSpec
from engine.solving.summary import SolveOutcome, Summary
from executor.errors import ExecutorError
from executor.types import SnippetTest

_AT_ONCE = 8
_FIELDS = ("task_id", "prompt", "entry_point", "test")


def problems(path: Path, count: int) -> list[dict[str, str]]:
    """The first `count` records of HumanEval.jsonl or HumanEval.jsonl.gz. ValueError if they are not there."""
    try:
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        records: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()[:count] if line.strip()]
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as HumanEval: {error}") from error
    if len(records) < count or any(not isinstance(record.get(name), str) for record in records for name in _FIELDS):
        raise ValueError(f"{path} does not hold {count} records with {', '.join(_FIELDS)}")
    return [{name: record[name] for name in _FIELDS} for record in records]


def solved(
    model: str, arithmetic: str, records: list[dict[str, str]], step: Callable[[int, int], None] | None
) -> list[str]:
    """The ids of the problems whose greedy completion passes. ModelError if engine or sandbox fail."""
    settings = Settings.model_validate({"models": {"serve": [model], "arithmetic": arithmetic}})
    configure_logs(LogLevel.WARNING)
    try:
        return asyncio.run(_solved(settings, records, step))
    except (SolveError, ExecutorError, EngineDown) as error:
        raise ModelError(f"HumanEval in {arithmetic} broke off: {error}") from error


async def _solved(
    settings: Settings, records: list[dict[str, str]], step: Callable[[int, int], None] | None
) -> list[str]:
    solver = build_solver(settings, Metrics(), local_executor(settings))
    passed: list[str] = []
    places = asyncio.Semaphore(_AT_ONCE)
    done = 0

    async def one(record: dict[str, str]) -> None:
        nonlocal done
        async with places:
            if await _passes(solver, record):
                passed.append(record["task_id"])
        done += 1
        if step is not None:
            step(done, len(records))

    try:
        await solver.start()
        await asyncio.gather(*map(one, records))
    finally:
        await solver.close()
    return sorted(passed, key=[record["task_id"] for record in records].index)


async def _passes(solver: Solver, record: dict[str, str]) -> bool:
    check = f"{record['test']}\ncheck({record['entry_point']})\n"
    spec = SolveSpec(
        request_id=record["task_id"].replace("/", "-"),
        prompt=CompletionPrompt(record["prompt"], part_of_program=True),
        tests=(HeldTest(SnippetTest(code=check)),),
        entry_point=record["entry_point"],
        sampling=Sampling(k=1, temperatures=(0.0,), seed=0),
        return_policy=ReturnPolicy.ALL,
    )
    async for event in solver.solve(spec, deadline=None):
        if isinstance(event.body, Summary):
            return event.body.outcome is SolveOutcome.SOLVED
    raise RuntimeError(f"the solve of {record['task_id']} ended without a summary")
