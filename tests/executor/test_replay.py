"""Verdicts that EvalPlus recorded are found again, and verdicts stay the same however busy the machine is."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.executing.edges import edge_programs
from benchmarks.replay_evalplus import SLOW, as_program, busy_loop, judge, make_tests, problems, recorded
from executor import Executor, ExecutorConfig
from executor.evalplus import Kind, passed
from executor.types import Rules

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(3600)]

PASSES = {
    # model and data set: base, base and plus, as recorded
    ("1.5b", "humaneval"): (42, 36),
    ("7b", "humaneval"): (52, 45),
    ("1.5b", "mbpp"): (199, 168),
    ("7b", "mbpp"): (219, 177),
}


async def test_recorded_verdicts(data_folder: Path) -> None:
    """All completions but two that take a minute each, verdict by verdict."""
    rows = recorded(data_folder)
    for (model, data_set), counts in PASSES.items():
        mine = [each.passed for each in rows if (each.model, each.data_set) == (model, data_set)]
        assert (sum(each[Kind.BASE] for each in mine), sum(all(each.values()) for each in mine)) == counts
    rows = [each for each in rows if each.task_id not in SLOW]
    chosen = [problem for name, problem in problems(data_folder).items() if name not in SLOW]
    tests = await make_tests(chosen, Rules.V0_2)
    async with Executor(ExecutorConfig()) as executor, asyncio.TaskGroup() as group:
        tasks = [group.create_task(executor.run(as_program(each, tests))) for each in rows]
    reports = [task.result() for task in tasks]
    assert len(reports) == 724
    differing = {
        (each.model, each.task_id, kind)
        for each, report in zip(rows, reports, strict=True)
        for kind in Kind
        if passed(report.tests, kind) != each.passed[kind]
    }
    assert differing == set()


async def test_load_changes_no_verdict(data_folder: Path) -> None:
    """Programs on both sides of every limit, and a sample of the recorded ones: 1 slot, then 8 beside a busy loop."""
    rows = [each for each in recorded(data_folder) if each.task_id not in SLOW][::24]
    wanted = {each.task_id for each in rows}
    chosen = [problem for name, problem in problems(data_folder).items() if name in wanted]
    tests = await make_tests(chosen, Rules.V0_3)
    edges = edge_programs()
    programs = {f"{each.model} {each.task_id}": as_program(each, tests) for each in rows} | edges
    quiet = await judge(programs, slots=1)
    for name in edges:
        assert set(quiet[name].split()) == {name.rsplit(", ", 1)[1]}, name
    for _ in range(3):
        with busy_loop():
            assert await judge(programs, slots=8) == quiet
