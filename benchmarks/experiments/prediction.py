"""Execution prediction: given a function and one input, what does it return? CRUXEval-O, and the asserts of MBPP.

The model continues a program that ends with `predicted =`; the expected value decides. As in CRUXEval (Gu et al. 2024,
arXiv 2401.03065) an answer that calls the function is refused, and `1, 2` is the answer `1`: there it stands in an
assert. Splitting MBPP's asserts into call and value is after Austin, Odena et al. 2021 (arXiv 2108.07732).
"""

import ast
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.data import Record
from benchmarks.experiments.experiment import Task
from benchmarks.experiments.plain import plain
from benchmarks.experiments.published import Published
from benchmarks.experiments.tasks import Asked, document

STOP = ("\n",)
_NAME = "predicted"
_REFUSES = "an answer that calls the function, or that an assert reads as two"
_PAPER = "Austin, Odena et al. 2021, 137B fine-tuned, MBPP"


def cruxeval(records: Sequence[Record], limits: Mapping[str, Any]) -> Asked:
    """CRUXEval-O: output prediction for each record."""
    return _asked(
        [_predicting(one, one.facts["code"], f"f({one.facts['input']})", one.facts["output"], ()) for one in records],
        limits,
        {"prompt": "completion of the program", "tests_shown": 0},
    )


def mbpp(records: Sequence[Record], limits: Mapping[str, Any], *, shown: int) -> Asked:
    """MBPP: a problem for each assert of the form `f(...) == value`, its reference given; id/number of the test.

    `shown` of the problem's other asserts stand above it as examples.
    """
    made: list[Record] = []
    for record in records:
        pairs = [pair for test in record.visible if isinstance(test, str) and (pair := call_and_value(test))]
        for place, (call, value) in enumerate(pairs):
            others = [f"{one} == {wanted}" for index, (one, wanted) in enumerate(pairs) if index != place]
            numbered = replace(record, id=f"{record.id}/{place + 1}", held_out=())
            made.append(_predicting(numbered, record.references[0], call, value, others[:shown]))
    return _asked(made, limits, {"prompt": "completion of the program", "tests_shown": shown})


def call_and_value(test: str) -> tuple[str, str] | None:
    """The two sides of `assert f(...) == value`, as they are written; None for any other test."""
    with warnings.catch_warnings(action="ignore"):  # a few have "\d" in a text
        try:
            body = ast.parse(test).body
        except SyntaxError:
            return None
    if len(body) != 1 or not isinstance(body[0], ast.Assert):
        return None
    compared = body[0].test
    if not isinstance(compared, ast.Compare) or len(compared.ops) != 1 or not isinstance(compared.ops[0], ast.Eq):
        return None
    if not isinstance(compared.left, ast.Call) or not isinstance(compared.left.func, ast.Name):
        return None
    call, value = (ast.get_source_segment(test, side) for side in (compared.left, compared.comparators[0]))
    return (call, value) if call and value else None


def refused(code: str) -> str:
    """Why an answer is refused: it calls a function that the program above it defines, or has a comma of its own.

    Empty where it is not.
    """
    above, _, answer = code.rpartition(f"\n{_NAME} =")
    with warnings.catch_warnings(action="ignore"):
        try:
            defined = {node.name for node in ast.parse(above).body if isinstance(node, ast.FunctionDef)}
            statement = ast.parse(f"assert {_NAME} == {answer.strip()}")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ""  # it will fail its test
    if any(isinstance(node, ast.Assert) and node.msg is not None for node in statement.body):
        return "the answer is several values with commas between them and no brackets around them"
    calls = [node.func for node in ast.walk(statement) if isinstance(node, ast.Call)]
    called = sorted({function.id for function in calls if isinstance(function, ast.Name)} & defined)
    return f"the answer calls {', '.join(called)}" if called else ""


def _predicting(record: Record, code: str, call: str, value: str, examples: Sequence[str]) -> Record:
    shows = "".join(f"# {one}\n" for one in examples)
    stub = f"{code.rstrip()}\n\n{shows}# What {call} returns:\n{_NAME} ="
    return replace(
        record,
        text=f"What does {call} return?",
        stub=stub,
        entry_point="",
        visible=(f"assert {_NAME} == {value}",),
        quotable=False,
        references=(f"{stub} {value}",),
    )


def _asked(records: Sequence[Record], limits: Mapping[str, Any], settings: dict[str, Any]) -> Asked:
    tasks = tuple(
        Task(
            record=record,
            document=document(record, {"completion": {"text": record.stub, "part_of_program": True}}, limits),
            refuses=refused,
            refuses_what=_REFUSES,
        )
        for record in records
    )
    return Asked(tasks=tasks, sampling={"stop": list(STOP), "keep_after_program": True}, settings=settings)


EXPERIMENT = plain(
    "prediction",
    "Execution prediction",
    "The function is given; the value that it returns is asked for.",
    (
        Published(who="137B of the MBPP paper", measure="no test shown", value=21, how=_PAPER),
        Published(who="137B of the MBPP paper", measure="tests shown", value=27, how=_PAPER),
    ),
)
