"""Whether a set is what it claims: each record a problem that a server takes, each reference a program that passes."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec
from thresher.client import ProblemError, solve_spec
from thresher.client.problem_tests import read_tests

from benchmarks.data.document import document
from benchmarks.data.record import DataSet, Record
from executor import ExecutorLike, Limits, Program, Report, Verdict

REFERENCE_LIMITS = Limits(cpu_seconds=10)
_AT_ONCE = 8

Make = Callable[[Record, str, Limits], Program]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a record."""

    id: str
    text: str


@dataclass(slots=True)
class References:
    """How the references of a set did. One passes if all tests of its record do; records may have several.

    held_out: references of records that have held-out tests. failed: a reference, by its record and its number there,
    with the first thing that went wrong.
    """

    programs: int = 0
    passed: int = 0
    held_out: int = 0
    held_out_passed: int = 0
    failed: dict[str, str] = field(default_factory=dict[str, str])


def faults(data: DataSet) -> list[Fault]:
    """Everything that is wrong with the records; their ids are known to be distinct, since they were loaded."""
    if not data.records:
        return [Fault("", "the set is empty")]
    return [Fault(record.id, text) for record in data.records for text in _faults(record)]


def _faults(record: Record) -> Iterator[str]:
    if not record.id:
        yield "id: is empty"
    if not record.text.strip():
        yield "text: is empty; say what the program must do"
    for name, tests in (("visible", record.visible), ("held_out", record.held_out)):
        if tests:
            try:
                read_tests(list(tests))
            except ProblemError as error:
                yield f"{name}{error.field.removeprefix('tests')}: {error.description}"
    if record.entry_point and not record.entry_point.isidentifier():
        yield f"entry_point: {record.entry_point!r} is not a Python name"
    if not record.visible and not record.held_out:
        yield "visible: no test, and none is held out; at least one is needed"
        return
    try:
        # The tests were read above; what else stands in the document is read here.
        solve_spec(document(record, quoted=0, ask="words", held_out="decide") | {"tests": ["pass"]})
    except ProblemError as error:
        yield str(error)
    if any(not code.strip() for code in record.references):
        yield "references: one is empty"
    try:
        compile(record.setup_code, "setup_code", "exec")
    except (SyntaxError, ValueError) as error:
        yield f"setup_code: not Python ({error})"
    try:
        json.dumps(record.facts)
    except (TypeError, ValueError) as error:
        yield f"facts: no JSON ({error})"


async def run_references(
    data: DataSet, make: Make, executor: ExecutorLike, done: Callable[[int], None] | None = None
) -> References:
    """Run every reference against all tests of its record. done: hears how many have ended.

    Raises RuntimeError where the sandbox failed: that says nothing about a reference. Raises what `executor.run` does.
    """
    found = References()
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(record: Record, number: int, code: str) -> None:
        program = msgspec.structs.replace(make(record, code, REFERENCE_LIMITS), run_all=True)
        async with gate:
            report = await executor.run(program)
        _count(found, record, number, report)
        if done is not None:
            done(found.programs)

    async with asyncio.TaskGroup() as group:
        for record in data.records:
            for number, code in enumerate(record.references):
                group.create_task(one(record, number, code))
    return found


def _count(found: References, record: Record, number: int, report: Report) -> None:
    if report.verdict is Verdict.SANDBOX_FAILURE:
        raise RuntimeError(f"{record.id}: the sandbox failed: {report.detail}; see `thresher doctor`")
    passed = report.verdict is Verdict.PASSED
    found.programs += 1
    found.passed += passed
    if record.held_out:
        good = [test for test, told in zip(record.tests, report.tests, strict=False) if told.verdict is Verdict.PASSED]
        found.held_out += 1
        found.held_out_passed += all(test in good for test in record.held_out)
    if not passed:
        name = record.id if len(record.references) == 1 else f"{record.id} (reference {number + 1})"
        found.failed[name] = f"{report.verdict}: {report.detail}"
