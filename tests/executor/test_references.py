"""Published reference solutions pass their own tests, most of them with nothing but values crossing the wall."""

import asyncio
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from executor import Executor, Limits, Program, Report, SnippetTest, Verdict

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


async def run_all(executor: Executor, programs: dict[str, Program]) -> dict[str, Report]:
    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(executor.run(program)) for name, program in programs.items()}
    return {name: task.result() for name, task in tasks.items()}


def failures(reports: dict[str, Report]) -> dict[str, str]:
    return {name: f"{r.verdict}: {r.detail}" for name, r in reports.items() if r.verdict is not Verdict.PASSED}


def evidence(reports: dict[str, Report]) -> Counter[str]:
    return Counter(str(report.evidence) for report in reports.values())


async def test_humaneval(executor: Executor, data_folder: Path) -> None:
    """164 canonical solutions; the snippet defines check() and does not call it."""
    programs: dict[str, Program] = {}
    with gzip.open(data_folder / "humaneval" / "HumanEval.jsonl.gz", "rt") as lines:
        for row in map(json.loads, lines):
            programs[row["task_id"]] = Program(
                code=row["prompt"] + row["canonical_solution"],
                tests=(SnippetTest(code=row["test"]),),
                entry_point=row["entry_point"],
                limits=Limits(cpu_seconds=10),
            )
    reports = await run_all(executor, programs)
    assert failures(reports) == {}
    assert len(reports) == 164
    assert evidence(reports)["values"] >= 140, evidence(reports)


async def test_humaneval_stub_fails(executor: Executor, data_folder: Path) -> None:
    """The same tests reject a program that only returns None: the passes above mean something."""
    programs: dict[str, Program] = {}
    with gzip.open(data_folder / "humaneval" / "HumanEval.jsonl.gz", "rt") as lines:
        for row in map(json.loads, lines):
            programs[row["task_id"]] = Program(
                code=row["prompt"] + "\n    return None\n",
                tests=(SnippetTest(code=row["test"]),),
                entry_point=row["entry_point"],
            )
    reports = await run_all(executor, programs)
    assert {name for name, report in reports.items() if report.verdict is Verdict.PASSED} == set()
    assert not [name for name, report in reports.items() if report.verdict is Verdict.SANDBOX_FAILURE]


def mbpp_program(row: dict[str, Any]) -> Program:
    setup = row.get("test_setup_code") or "\n".join(row.get("test_imports", []))
    return Program(
        code=row["code"],
        tests=tuple(SnippetTest(code=test) for test in row["test_list"] + row.get("challenge_test_list", [])),
        setup_code=setup,
        limits=Limits(cpu_seconds=10),
    )


async def test_mbpp_sanitized(executor: Executor, data_folder: Path) -> None:
    with gzip.open(data_folder / "mbpp" / "sanitized-mbpp.json.gz", "rt") as file:
        programs = {str(row["task_id"]): mbpp_program(row) for row in json.load(file)}
    reports = await run_all(executor, programs)
    assert failures(reports) == {}
    assert len(reports) == 300


async def test_mbpp(executor: Executor, data_folder: Path) -> None:
    with gzip.open(data_folder / "mbpp" / "mbpp.jsonl.gz", "rt") as lines:
        programs = {str(row["task_id"]): mbpp_program(row) for row in map(json.loads, lines)}
    reports = await run_all(executor, programs)
    assert failures(reports) == {}
    assert len(reports) == 724
