"""Recorded EvalPlus verdicts reproduced, and verdicts that stay the same under load.

    THRESHER_DATA=FOLDER python -m benchmarks.replay_evalplus [--part replay --part load] [--out FILE.json]

`replay` judges every recorded completion of Qwen2.5-Coder 1.5B and 7B on HumanEval+ and MBPP+ by the rules that they
were judged by (EvalPlus 0.2) and lists each verdict that differs. `load` judges the same completions, and programs near
every limit, again and again: with 1 slot, and with 8 slots beside a busy loop. With --out a part that was measured
replaces its earlier figures in the file and leaves the others.
"""

import argparse
import asyncio
import contextlib
import gzip
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.executing.edges import edge_programs
from benchmarks.executing.programs import data_folder
from benchmarks.record import provenance, write
from executor import Executor, ExecutorConfig, Program
from executor.evalplus import REFERENCE_HASH_SEED, Kind, Problem, References, calls_test, passed, read_problems
from executor.types import CallsTest, Rules

_MODELS = ("1.5b", "7b")
_SETS = {
    "humaneval": ("HumanEval+ v0.1.10", Path("humanevalplus") / "HumanEvalPlus-v0.1.10.jsonl.gz"),
    "mbpp": ("MBPP+ v0.1.0", Path("mbppplus") / "MbppPlus-v0.1.0.jsonl.gz"),
}
SLOW = ("Mbpp/599",)
"""Adds up numbers one by one to 10^8 several times over: a minute for each completion, so it is in one part only."""
_PARTS = ("replay", "load")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One completion, and whether EvalPlus passed it."""

    model: str
    data_set: str
    task_id: str
    program: str
    passed: dict[Kind, bool]


def problems(folder: Path) -> dict[str, Problem]:
    """All problems by task_id."""
    return {name: problem for _, path in _SETS.values() for name, problem in read_problems(folder / path).items()}


def recorded(folder: Path) -> list[Recorded]:
    """All completions, a problem's next to each other."""
    found: list[Recorded] = []
    for data_set in _SETS:
        for model in _MODELS:
            path = folder / "replay-evalplus-qwen25coder-base" / f"{data_set}-{model}.jsonl.gz"
            with gzip.open(path, "rt") as lines:
                for row in map(json.loads, lines):
                    statuses = {kind: row[f"{kind}_status"] == "pass" for kind in Kind}
                    found.append(Recorded(model, data_set, row["task_id"], row["evaluated_solution"], statuses))
    return sorted(found, key=lambda each: (each.data_set, each.task_id))


async def make_tests(chosen: list[Problem], rules: Rules) -> dict[str, tuple[CallsTest, ...]]:
    """The tests of each problem, with expected values from its canonical solution, which runs in jails of its own."""
    tests: dict[str, tuple[CallsTest, ...]] = {}

    async def make(references: References, problem: Problem) -> None:
        found = [(kind, await references.get(problem, kind)) for kind in Kind]
        tests[problem.task_id] = tuple(
            calls_test(problem, kind, reference, rules=rules) for kind, reference in found if reference.values
        )

    async with Executor(ExecutorConfig(hash_seed=REFERENCE_HASH_SEED)) as executor:
        references = References(executor)
        async with asyncio.TaskGroup() as group:
            for problem in chosen:
                group.create_task(make(references, problem))
    return tests


def as_program(each: Recorded, tests: dict[str, tuple[CallsTest, ...]]) -> Program:
    """A completion and all its problem's tests."""
    return Program(code=each.program, tests=tests[each.task_id], run_all=True)


async def replay(folder: Path, rules: Rules) -> dict[str, Any]:
    """Judge every completion once and compare with the record."""
    everything, rows = problems(folder), recorded(folder)
    passes: Counter[str] = Counter()
    recorded_passes: Counter[str] = Counter()
    differing: list[dict[str, Any]] = []
    calls = 0
    cpu_seconds = 0.0
    started = time.monotonic()
    tests = await make_tests(list(everything.values()), rules)
    referenced = time.monotonic()
    async with Executor(ExecutorConfig()) as executor:
        async with asyncio.TaskGroup() as group:
            tasks = [(each, group.create_task(executor.run(as_program(each, tests)))) for each in rows]
        ended = time.monotonic()
    for each, task in tasks:
        report = task.result()
        calls += sum(len(test.calls) for test in report.tests)
        cpu_seconds += report.cpu_seconds
        ours = {kind: passed(report.tests, kind) for kind in Kind}
        for counter, verdicts in ((passes, ours), (recorded_passes, each.passed)):
            counter[f"{each.data_set} {each.model} base"] += verdicts[Kind.BASE]
            counter[f"{each.data_set} {each.model} base and plus"] += all(verdicts.values())
        for kind in Kind:
            if ours[kind] != each.passed[kind]:
                test = next(test for test in report.tests if test.name == kind.value)
                differing.append(
                    {
                        "task": each.task_id,
                        "model": each.model,
                        "inputs": kind.value,
                        "recorded": "pass" if each.passed[kind] else "fail",
                        "here": test.verdict.value,
                        "message": test.message,
                    }
                )
    return {
        "rules": f"EvalPlus {rules.value}",
        "problems": {name: version for name, (version, _) in _SETS.items()},
        "completions": len(rows),
        "verdicts": len(rows) * len(Kind),
        "agree": len(rows) * len(Kind) - len(differing),
        "differing": differing,
        "passed": dict(passes),
        "passed_recorded": dict(recorded_passes),
        "slots": ExecutorConfig().effective_slots,
        "reference_calls": sum(len(test.calls) for pair in tests.values() for test in pair),
        "reference_seconds": round(referenced - started, 1),
        "judging_seconds": round(ended - referenced, 1),
        "judging_calls": calls,
        "candidate_cpu_seconds": round(cpu_seconds, 1),
    }


async def load(folder: Path, rules: Rules, rounds: int) -> dict[str, Any]:
    """Judge the same file in turns with 1 slot and with 8 beside a busy loop; list what does not stay the same."""
    everything = problems(folder)
    rows = [each for each in recorded(folder) if each.task_id not in SLOW]
    tests = await make_tests([p for name, p in everything.items() if name not in SLOW], rules)
    programs = {f"{each.model} {each.task_id}": as_program(each, tests) for each in rows}
    programs |= {f"edge: {name}": program for name, program in edge_programs().items()}
    seen: dict[str, list[str]] = {name: [] for name in programs}
    runs: list[dict[str, Any]] = []
    for _ in range(rounds):
        for slots in (1, 8):
            busy = contextlib.nullcontext() if slots == 1 else busy_loop()
            started = time.monotonic()
            with busy:
                verdicts = await judge(programs, slots)
            runs.append({"slots": slots, "busy_loop": slots > 1, "seconds": round(time.monotonic() - started, 1)})
            for name, verdict in verdicts.items():
                seen[name].append(verdict)
    unsteady = {name: verdicts for name, verdicts in seen.items() if len(set(verdicts)) > 1}
    return {
        "rules": f"EvalPlus {rules.value}",
        "programs": len(programs),
        "of_them_near_a_limit": len(edge_programs()),
        "left_out": list(SLOW),
        "runs": runs,
        "compared": "the verdict of every test of every program, in words",
        "unsteady": unsteady,
        "edges": {name: verdicts[0] for name, verdicts in seen.items() if name.startswith("edge: ")},
    }


async def judge(programs: dict[str, Program], slots: int) -> dict[str, str]:
    """The verdicts of each program's tests, in words, from an executor with so many slots."""
    async with Executor(ExecutorConfig(slots=slots)) as executor:
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(executor.run(program)) for name, program in programs.items()}
        return {name: " ".join(test.verdict.value for test in task.result().tests) for name, task in tasks.items()}


@contextlib.contextmanager
def busy_loop() -> Generator[None]:
    """A process that does nothing but use a core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Entry of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--part", action="append", choices=_PARTS, help="both of them if not given")
    parser.add_argument("--rules", type=Rules, default=Rules.V0_2, choices=list(Rules))
    parser.add_argument("--rounds", type=int, default=3, help="of the part load")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    path: Path | None = options.out
    result: dict[str, Any] = {"experiment": "replay_evalplus", "parts": {}}
    if path is not None and path.exists():
        result = json.loads(path.read_text())
    for part in options.part or _PARTS:
        print(f"measuring {part} ...", file=sys.stderr)
        folder = data_folder()
        work = replay(folder, options.rules) if part == "replay" else load(folder, options.rules, options.rounds)
        command = ["python", "-m", "benchmarks.replay_evalplus", "--part", part]
        result["parts"][part] = {"provenance": provenance(command), **asyncio.run(work)}
        if path is not None:
            write(path, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
