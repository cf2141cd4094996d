"""Published reference solutions pass their own tests, most of them with nothing but values crossing the wall."""

import asyncio
import gzip
import json
import os
import platform
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.data import load, program_maker, program_of
from executor import Executor, ExecutorConfig, Limits, Mode, Program, Report, Verdict
from executor.recipes import apps_program, mathqa_program

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.asyncio(loop_scope="module"),
]


async def run_all(executor: Executor, programs: dict[str, Program]) -> dict[str, Report]:
    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(executor.run(program)) for name, program in programs.items()}
    return {name: task.result() for name, task in tasks.items()}


def failures(reports: dict[str, Report]) -> dict[str, str]:
    return {name: f"{r.verdict}: {r.detail}" for name, r in reports.items() if r.verdict is not Verdict.PASSED}


def evidence(reports: dict[str, Report]) -> Counter[str]:
    return Counter(str(report.evidence) for report in reports.values())


def references(name: str, folder: Path) -> dict[str, Program]:
    """The references of a set with all their tests, by the ids of their problems."""
    make = program_maker(name)
    records = load(name, data=folder).records
    return {record.id: make(record, record.references[0], Limits(cpu_seconds=10)) for record in records}


async def test_humaneval(executor: Executor, data_folder: Path) -> None:
    reports = await run_all(executor, references("humaneval", data_folder))
    assert failures(reports) == {}
    assert len(reports) == 164
    assert evidence(reports)["values"] >= 140, evidence(reports)


async def test_humaneval_stub_fails(executor: Executor, data_folder: Path) -> None:
    """The same tests reject a program that only returns None: the passes above mean something."""
    records = load("humaneval", data=data_folder).records
    programs = {record.id: program_of(record, f"{record.stub}\n    return None\n") for record in records}
    reports = await run_all(executor, programs)
    assert {name for name, report in reports.items() if report.verdict is Verdict.PASSED} == set()
    assert not [name for name, report in reports.items() if report.verdict is Verdict.SANDBOX_FAILURE]


async def test_mbpp_sanitized(executor: Executor, data_folder: Path) -> None:
    reports = await run_all(executor, references("mbpp-sanitized", data_folder))
    assert failures(reports) == {}
    assert len(reports) == 300


async def test_mbpp(executor: Executor, data_folder: Path) -> None:
    """Challenge tests included."""
    reports = await run_all(executor, references("mbpp", data_folder))
    assert failures(reports) == {}
    assert len(reports) == 724


async def test_mathqa(data_folder: Path) -> None:
    """Every answer is compared on the host; 40 programs call the three functions of numpy and scipy that are shims."""
    programs = references("mathqa-python", data_folder)
    assert Counter(name.split("/")[0] for name in programs) == {"train": 5, "validation": 2822, "test": 942}
    # Thousands of small programs: where it can be, in the mode made for that.
    mode = Mode.FORK_SERVER if os.geteuid() == 0 and platform.machine() == "x86_64" else Mode.JAIL
    async with Executor(ExecutorConfig(slots=2, mode=mode)) as executor:
        reports = await run_all(executor, programs)
        assert failures(reports) == {}
        assert evidence(reports) == {"values": 3769}
        wrong = await executor.run(mathqa_program("answer = 38.001", 38.0))
        assert wrong.verdict is Verdict.WRONG_ANSWER


APPS_GENERATED = {
    # (verdict here, recorded result, recorded error) -> programs. Recorded: True passed, False wrong, -1 raised or
    # late, -2 did not load. What was late then is late here, or fails an earlier test, which ends the run.
    "train/0001": {
        ("passed", True, "passed unit tests"): 14,
        ("wrong_answer", False, "failed unit tests"): 6,
    },
    "train/0111": {
        ("passed", True, "passed unit tests"): 2,
        ("wrong_answer", False, "failed unit tests"): 6,
        ("runtime_error", -1, "nameerror"): 7,
        ("runtime_error", -1, "valueerror"): 2,
        ("runtime_error", -1, "unboundlocalerror"): 1,
        ("runtime_error", -1, "indexerror"): 1,
        ("compile_error", -2, "syntaxerror"): 1,
    },
    "train/2287": {
        ("time_limit", -1, "timeoutexception"): 1,
        ("runtime_error", -1, "typeerror"): 1,
        ("runtime_error", -1, "indexerror"): 2,
    },
    "train/2404": {
        ("passed", True, "passed unit tests"): 18,
        ("wrong_answer", False, "failed unit tests"): 1,
    },
    "train/4184": {
        ("passed", True, "passed unit tests"): 1,
        ("wrong_answer", False, "failed unit tests"): 10,
        ("runtime_error", -1, "typeerror"): 3,
        ("time_limit", -1, "timeoutexception"): 2,
        ("wrong_answer", -1, "timeoutexception"): 1,
        ("runtime_error", -1, "indexerror"): 1,
        ("wrong_answer", -1, "indexerror"): 1,
        ("runtime_error", -2, "nameerror"): 1,
    },
}
APPS_SOLUTIONS = {"train/0001": 24, "train/0111": 1, "train/2287": 10, "train/2404": 58, "train/4184": 8}


async def test_apps(executor: Executor, data_folder: Path) -> None:
    """Every listed solution passes; every recorded candidate ends as recorded."""
    with gzip.open(data_folder / "apps" / "apps_train5_native.jsonl.gz", "rt") as lines:
        rows = {row["problem_id"]: row for row in map(json.loads, lines)}
    assert {name: len(row["solutions"]) for name, row in rows.items()} == APPS_SOLUTIONS
    for name, row in rows.items():
        tests = row["input_output"]
        solutions = {str(i): apps_program(code, tests) for i, code in enumerate(row["solutions"])}
        assert failures(await run_all(executor, solutions)) == {}, name
        candidates = {str(i): apps_program(one["code"], tests) for i, one in enumerate(row["gen_solutions"])}
        reports = await run_all(executor, candidates)
        ends = Counter(
            (str(reports[str(i)].verdict), one["result"], one["error_type"])
            for i, one in enumerate(row["gen_solutions"])
        )
        assert ends == APPS_GENERATED[name], name


async def test_apps_baselines(executor: Executor, data_folder: Path) -> None:
    """None passes, whatever is recorded: their text is the grader's own rewriting, a function that nobody calls."""
    with gzip.open(data_folder / "apps" / "apps_train5_native.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    programs = {
        row["problem_id"]: apps_program(row["baseline_solutions"][0]["code"], row["input_output"]) for row in rows
    }
    reports = await run_all(executor, programs)
    assert {name: str(report.verdict) for name, report in reports.items()} == {
        "train/0001": "runtime_error",
        "train/0111": "runtime_error",
        "train/2287": "compile_error",
        "train/2404": "runtime_error",
        "train/4184": "runtime_error",
    }
    assert "numpy" in reports["train/2404"].detail, "and it asks for numpy before that"
