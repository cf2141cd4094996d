"""Execution prediction: given a function and one input, what does it return? CRUXEval-O, and the asserts of MBPP.

The model is shown the function, the call and two examples, and writes `predicted = value`; the value decides. Recorded
answers stand behind a program that ends with `predicted =`. As in CRUXEval (Gu et al. 2024,
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

STOP = ("[/ANSWER]",)
_NAME = "predicted"
_PROMPT = "completion, two examples"
_REFUSES = "an answer that calls the function, or that an assert reads as two"
_EXAMPLES = """\
Each function is called once. Say what the call returns, as a literal and without a call of the function.

[PYTHON]
def f(words):
    return [word.upper() for word in words if len(word) > 2]

f(['no', 'yes', 'perhaps'])
[/PYTHON]
[ANSWER]
predicted = ['YES', 'PERHAPS']
[/ANSWER]

[PYTHON]
def f(n, step):
    total = 0
    while n > 0:
        total += n
        n -= step
    return total

f(7, 3)
[/PYTHON]
[ANSWER]
predicted = 12
[/ANSWER]

[PYTHON]
"""
_PAPER = "Austin, Odena et al. 2021, 137B fine-tuned, MBPP"


def cruxeval(records: Sequence[Record], limits: Mapping[str, Any]) -> Asked:
    """CRUXEval-O: output prediction for each record."""
    return _asked(
        [_predicting(one, one.facts["code"], f"f({one.facts['input']})", one.facts["output"], ()) for one in records],
        limits,
        {"prompt": _PROMPT, "tests_shown": 0},
    )


def mbpp(records: Sequence[Record], limits: Mapping[str, Any], *, shown: int) -> Asked:
    """MBPP: a problem for each assert of the form `f(...) == value`, its reference given; id/number of the test.

    `shown` of the problem's other asserts stand above it as examples.
    """
    made: list[Task] = []
    for record in records:
        pairs = [pair for test in record.visible if isinstance(test, str) and (pair := call_and_value(test))]
        for place, (call, value) in enumerate(pairs):
            others = [f"{one} == {wanted}" for index, (one, wanted) in enumerate(pairs) if index != place]
            numbered = replace(record, id=f"{record.id}/{place + 1}", held_out=())
            made.append(_predicting(numbered, record.references[0], call, value, others[:shown]))
    return _asked(made, limits, {"prompt": _PROMPT, "tests_shown": shown})


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
    above, _, answer = f"\n{code}".rpartition(f"\n{_NAME} =")
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


def _predicting(record: Record, code: str, call: str, value: str, examples: Sequence[str]) -> Task:
    """The stub is for recorded answers: with it they are programs."""
    stub = f"{code.rstrip()}\n\n# What {call} returns:\n{_NAME} ="
    made = replace(
        record,
        text=f"What does {call} return?",
        stub=stub,
        entry_point="",
        visible=(f"assert {_NAME} == {value}",),
        quotable=False,
        references=(f"{stub} {value}",),
    )
    shows = "".join(f"# {one}\n" for one in examples)
    prompt = f"{_EXAMPLES}{code.rstrip()}\n\n{shows}{call}\n[/PYTHON]\n[ANSWER]\n"
    return Task(record=made, document={"completion": prompt}, refuses=refused, refuses_what=_REFUSES)


def _asked(tasks: Sequence[Task], limits: Mapping[str, Any], settings: dict[str, Any]) -> Asked:
    asked = tuple(replace(task, document=document(task.record, task.document, limits)) for task in tasks)
    sampling = {"stop": list(STOP), "keep_after_program": True}
    return Asked(tasks=asked, sampling=sampling, settings=settings)


EXPERIMENT = plain(
    "prediction",
    "Execution prediction",
    "The function is given; the value that it returns is asked for.",
    (
        Published(who="137B of the MBPP paper", measure="no test shown", value=21, how=_PAPER),
        Published(who="137B of the MBPP paper", measure="tests shown", value=27, how=_PAPER),
    ),
)
