"""What a person who ran the tests sees of a program that failed."""

import ast
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from thresher.client.plain import enum_word
from thresher.v1 import verdict_pb2

from benchmarks.data import TestDocument

_TAIL_LINES = 8
_QUOTED = 600
_RETURNED = re.compile(r"returned (?P<got>.*), expected (?P<expected>.*)", re.DOTALL)
_NOT_SO = re.compile(r"not so: (?P<check>.*) \(got (?P<got>.*)\)", re.DOTALL)
_QUIET = (verdict_pb2.VERDICT_PASSED, verdict_pb2.VERDICT_SKIPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A typed record of a failure; empty texts where there is nothing to be told.

    verdict: of the program, executor.Verdict's word. passed, total: tests. test: the first that failed, as the problem
    has it. expected, got: the values, where the test compares some. message: what the sandbox said. traceback: the end
    of its standard error.
    """

    verdict: str
    passed: int = 0
    total: int = 0
    test: str = ""
    expected: str = ""
    got: str = ""
    message: str = ""
    traceback: str = ""

    def plain(self) -> dict[str, Any]:
        """JSON values; `Failure(**values)` is the way back."""
        return asdict(self)


def failure_of(report: verdict_pb2.ExecutionReport, tests: Sequence[TestDocument]) -> Failure:
    """The failure that a report tells; `tests` are those of the problem's document. No report tells of hidden tests."""
    failing = next((one for one in report.results if one.verdict not in _QUIET), None)
    message = report.detail if failing is None or not failing.message else failing.message
    test = "" if failing is None else _text(tests[failing.test_index])
    values = _RETURNED.fullmatch(message)
    held = _NOT_SO.fullmatch(message)
    return Failure(
        verdict=enum_word(verdict_pb2.Verdict.DESCRIPTOR, report.verdict),
        passed=report.tests_passed,
        total=report.tests_total,
        test=test,
        expected=_cut(values["expected"] if values else pointed_at(test)[1]),
        got=_cut(values["got"] if values else held["got"] if held else ""),
        message=_cut(message),
        traceback=_tail(report.stderr),
    )


def pointed_at(test: str) -> tuple[str, str]:
    """The call that an assert makes and the value that it wants, as they stand there; empty where it says neither."""
    try:
        [check] = ast.parse(test).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return "", ""
    match check:
        case ast.Assert(test=ast.Compare(left=left, ops=[ast.Eq() | ast.Is()], comparators=[right])):
            return ast.unparse(left), ast.unparse(right)
        case ast.Assert(test=ast.UnaryOp(op=ast.Not(), operand=operand)):
            return ast.unparse(operand), "False"
        case ast.Assert(test=ast.Call() as call):
            return ast.unparse(call), "True"
        case _:
            return "", ""


def _text(test: TestDocument) -> str:
    """A test as a person would point at it; of a call or a program's input what is put in."""
    if isinstance(test, str):
        return test.strip()
    if "snippet" in test:
        snippet = test["snippet"]
        return str(snippet["code"] if isinstance(snippet, dict) else snippet).strip()
    return _cut(str({key: value for key, value in test.items() if key != "hidden"}))


def _tail(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").rstrip().splitlines()
    return "\n".join(lines[-_TAIL_LINES:])[-_QUOTED:]


def _cut(text: str) -> str:
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]} ..."
