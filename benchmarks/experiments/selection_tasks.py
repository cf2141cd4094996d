"""Generated tests, and programs run on their inputs: what a choice without the deciding tests may look at."""

import ast
import gzip
import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.data import Record
from benchmarks.experiments.errors import CannotRun
from benchmarks.experiments.experiment import Task, fingerprint
from benchmarks.experiments.judging import Judged
from benchmarks.experiments.outcome import PASSED, WRONG, Outcome
from executor import Limits, Program, Report
from executor.evalplus import carry
from executor.guest.plain import PlainError, decode
from executor.types import CallsTest

GENERATED_TESTS = "generated-tests"
"""The experiment in which a model writes tests."""
PER_BLOCK = 5
"""Asserts taken of each generated block of tests, as in CodeT."""
CALL_SECONDS = 0.1
_MADE_BY = "calls of the inputs of visible and generated tests; nothing is compared, values are kept"
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Example:
    """A call with literal arguments, and the value that somebody says it returns."""

    arguments: tuple[Any, ...]
    value: Any

    @property
    def key(self) -> str:
        """Equal for equal calls."""
        return digest(list(self.arguments))

    @property
    def said(self) -> str:
        """Equal for equal calls of which the same value is said."""
        return f"{self.key}={digest(self.value)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Blocks of generated tests by problem. source: which file, for the protocol, and who wrote them where it says so.

    A text goes on after `assert `.
    """

    texts: dict[str, list[str]]
    source: dict[str, Any]


def read_blocks(path: Path) -> Blocks:
    """JSON lines `{"task_id", "samples": [text, ...]}`, or the ledger of generated tests; .gz as well.

    Raises CannotRun.
    """
    try:
        content = path.read_bytes()
        text = gzip.decompress(content) if path.suffix == ".gz" else content
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        if rows and "ledger" in rows[0]:
            return _of_ledger(path, rows)
        texts = {str(row["task_id"]): list(row["samples"]) for row in rows}
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        raise CannotRun(f"--tests: {path} cannot be read as blocks of tests: {error}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    return Blocks(texts=texts, source={"generated_tests": path.name, "generated_tests_sha256": sha256})


def _of_ledger(path: Path, rows: Sequence[Mapping[str, Any]]) -> Blocks:
    """Raises KeyError and ValueError for what is no ledger, and for that of another experiment."""
    protocol = rows[0]["protocol"]
    if protocol["experiment"] != GENERATED_TESTS:
        raise ValueError(f"a run of {protocol['experiment']} wrote no tests")
    outcomes = [Outcome.read(row["outcome"]) for row in rows if "outcome" in row]
    texts = {outcome.id: [one.code for one in outcome.by_sample()] for outcome in outcomes}
    [arm] = protocol["arms"]
    source = {
        "generated_tests": path.name,
        # Of the texts, not of the file: when they were drawn does not matter.
        "generated_tests_sha256": fingerprint(texts),
        "generated_tests_by": {
            "texts_of_each_problem": arm["samples"],
            "seed": arm["seed"],
            "sampling": arm["sampling"],
            "prompt": protocol["prompt"],
            **next((row["source"] for row in rows if "source" in row), {}),
        },
    }
    return Blocks(texts=texts, source=source)


def generated(blocks: Sequence[str], entry_point: str) -> list[Example]:
    """The tests of all blocks, each once, the first PER_BLOCK of each block; others than literal calls are left."""
    found: dict[str, Example] = {}
    for block in blocks:
        for chunk in f"assert {block}".split("\nassert ")[:PER_BLOCK]:
            example = example_of(f"assert {chunk.removeprefix('assert ').strip()}", entry_point)
            if example is not None:
                found.setdefault(example.said, example)
    return list(found.values())


def example_of(test: str, entry_point: str) -> Example | None:
    """`assert f(...) == value`, `assert f(...)` or `assert not f(...)` with literals; None for anything else."""
    with warnings.catch_warnings(action="ignore"):
        for text in (test, test.partition("\n")[0]):
            try:
                body = ast.parse(text).body
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
            return _read(body[0], entry_point) if body else None
    return None


def _read(node: ast.stmt, entry_point: str) -> Example | None:
    if not isinstance(node, ast.Assert):
        return None
    match node.test:
        case ast.Compare(left=ast.Call() as call, ops=[ast.Eq() | ast.Is()], comparators=[wanted]):
            pass
        case ast.UnaryOp(op=ast.Not(), operand=ast.Call() as call):
            wanted = ast.Constant(False)
        case ast.Call() as call:
            wanted = ast.Constant(True)
        case _:
            return None
    if not isinstance(call.func, ast.Name) or call.func.id != entry_point or call.keywords:
        return None
    try:
        arguments, value = tuple(map(ast.literal_eval, call.args)), ast.literal_eval(wanted)
        carry(list(arguments))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    return Example(arguments, value)


def task(record: Record, deciding: Mapping[str, Any], visible: Sequence[Example], tests: Sequence[Example]) -> Task:
    """The problem run on the inputs of these tests. `tests` of an outcome are the visible ones, then the generated.

    `deciding` is the document of the tests that decide; what it sets up is there for these calls as well.
    """
    inputs = {example.key: carry(list(example.arguments)) for example in (*visible, *tests)}
    places = {key: place for place, key in enumerate(inputs)}
    wanted = tuple((places[example.key], digest(example.value)) for example in (*visible, *tests))
    calls = tuple(inputs.values())
    return Task(
        record=record,
        document=deciding,
        make=partial(_program, record.entry_point, deciding.get("setup_code", ""), calls),
        made_by=f"{_MADE_BY}; {len(calls)} calls of {CALL_SECONDS:g} s",
        read=partial(_judged, len(calls), wanted),
    )


def _program(entry_point: str, setup_code: str, calls: tuple[bytes, ...], code: str) -> Program:
    test = CallsTest(
        function=entry_point,
        calls=calls,
        call_seconds=(CALL_SECONDS,) * len(calls),
        all_calls=True,
        limits=Limits(cpu_seconds=1 + CALL_SECONDS * len(calls)),
    )
    return Program(code=code, tests=(test,), setup_code=setup_code)


def _judged(calls: int, wanted: tuple[tuple[int, str], ...], report: Report) -> Judged:
    """What each call returned, and which tests that passes. A call that was not made has the program's own verdict."""
    made = report.tests[0].calls if report.tests else ()
    values = [_value(call.value) if call.verdict == PASSED else f"!{call.verdict}" for call in made]
    values += [f"!{report.verdict}"] * (calls - len(values))
    tests = tuple(PASSED if values[place] == value else WRONG for place, value in wanted)
    ended = report.verdict.value
    if ended in (PASSED, "runtime_error", "time_limit") and made:
        ended = PASSED if all(test == PASSED for test in tests) else WRONG
    return Judged(verdict=ended, tests=tests, tests_total=len(tests), values=tuple(values), message=report.detail[:200])


def _value(data: bytes) -> str:
    try:
        return digest(decode(data))
    except (PlainError, ValueError):
        return hashlib.sha256(data).hexdigest()[:_DIGITS]


def digest(value: object) -> str:
    """Equal for values that `==` finds equal (1, 1.0 and True), and for lists and tuples of such."""
    return hashlib.sha256(repr(_plain(value)).encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def _plain(value: object) -> object:
    match value:
        case bool():
            return int(value)
        case float():
            return int(value) if value.is_integer() else value
        case list() | tuple():
            return list(_each(value))
        case set() | frozenset():
            return ("set", sorted(repr(item) for item in _each(value)))
        case dict():
            pairs: dict[object, object] = value
            return ("dict", sorted((repr(_plain(key)), repr(_plain(item))) for key, item in pairs.items()))
        case _:
            return value


def _each(values: Any) -> Iterator[object]:
    return map(_plain, values)
