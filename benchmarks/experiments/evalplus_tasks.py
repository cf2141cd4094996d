"""HumanEval+ and MBPP+ as EvalPlus judges them: the base inputs decide, the plus inputs are held out."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.data import Record
from benchmarks.data.evalplus import problem
from benchmarks.experiments.experiment import Task
from executor import Executor, ExecutorConfig, Program
from executor.evalplus import REFERENCE_HASH_SEED, Kind, References, calls_test
from executor.types import CallsTest, Rules

SETS = ("humanevalplus", "mbppplus")
RULES = Rules.V0_2
"""Of the release that the recorded verdicts are from."""
_MADE_BY = (
    f"EvalPlus's inputs, values and limits, rules of {RULES.value}, references with hash seed {REFERENCE_HASH_SEED}: "
    "base decides, plus is held out"
)
_NOTHING = "pass\n"


def tasks(records: Sequence[Record], limits: Mapping[str, Any]) -> tuple[Task, ...]:
    """The tasks. Expected values are found first, by running each canonical solution: about a minute for 363 problems.

    Raises executor.evalplus.NoReference.
    """
    tests = asyncio.run(_tests(records))
    return tuple(_task(record, tests[record.id], limits) for record in records)


async def _tests(records: Sequence[Record]) -> dict[str, dict[Kind, CallsTest]]:
    found: dict[str, dict[Kind, CallsTest]] = {}
    async with Executor(ExecutorConfig(hash_seed=REFERENCE_HASH_SEED)) as executor:
        references = References(executor)

        async def make(record: Record) -> None:
            asked = problem(record)
            by_kind = {kind: await references.get(asked, kind) for kind in Kind}
            found[record.id] = {
                kind: calls_test(asked, kind, values, rules=RULES) for kind, values in by_kind.items() if values.values
            }
            references.forget(asked)

        async with asyncio.TaskGroup() as group:
            for record in records:
                group.create_task(make(record))
    return found


def _task(record: Record, tests: Mapping[Kind, CallsTest], limits: Mapping[str, Any]) -> Task:
    # What the document says of tests is for readers of the problem; the two makers say what is run.
    document = {
        "completion": {"text": record.stub, "part_of_program": True},
        "entry_point": record.entry_point,
        "tests": list(record.visible) or [_NOTHING],
        "limits": dict(limits),
    }
    held_out = partial(_program, tests[Kind.PLUS]) if Kind.PLUS in tests else None
    return Task(
        record=record,
        document=document,
        make=partial(_program, tests[Kind.BASE]),
        make_held_out=held_out,
        made_by=_MADE_BY,
    )


def _program(test: CallsTest, code: str) -> Program:
    return Program(code=code, tests=(test,))
