"""Failing tests in the user's words: the counterexample of each, and at how many programs."""

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from thresher.client.plain import enum_word
from thresher.lsp.found import FoundTest
from thresher.v1 import verdict_pb2

_GOT = re.compile(r"\(got (.*)\)$", re.DOTALL)
_NOT_SO = "not so: "
_NO_VERDICT = (verdict_pb2.VERDICT_PASSED, verdict_pb2.VERDICT_SKIPPED)


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that programs failed. `programs` of them did; `message` is what happened in the best of these."""

    test: FoundTest
    verdict: str
    message: str
    programs: int


def failures_of(tests: Sequence[FoundTest], reports: Iterable[verdict_pb2.ExecutionReport]) -> list[Failure]:
    """The tests that the programs failed, each once, in the order of the tests.

    Of a program that no test was run on (it does not parse, it does not load) the first test tells.
    """
    found: dict[int, Failure] = {}
    for report in sorted(reports, key=lambda report: -report.tests_passed):
        results = [result for result in report.results if result.verdict not in _NO_VERDICT]
        for result in results or ([_untested(report)] if report.verdict not in _NO_VERDICT else []):
            index = min(result.test_index, len(tests) - 1)
            earlier = found.get(index)
            if earlier is None:
                word = verdict_word(result.verdict)
                found[index] = Failure(tests[index], word, told(tests[index], word, result.message), 1)
            else:
                found[index] = Failure(tests[index], earlier.verdict, earlier.message, earlier.programs + 1)
    return [found[index] for index in sorted(found)]


def told(test: FoundTest, verdict: str, message: str) -> str:
    """What happened, in one line: `f(-1) gives -1, expected 1`, or the server's own words."""
    got = _GOT.search(message)
    if test.expected is not None and got is not None:
        return f"{test.subject} gives {_printed(got.group(1))}, expected {_one_line(test.expected)}"
    if message.startswith(_NOT_SO):  # it names the very assert
        return message
    text = message.strip().rpartition("\n")[2] or verdict.replace("_", " ")
    return f"{test.subject}: {text}"


def verdict_word(verdict: verdict_pb2.Verdict.ValueType) -> str:
    """`wrong_answer`."""
    return enum_word(verdict_pb2.Verdict.DESCRIPTOR, verdict)


def _untested(report: verdict_pb2.ExecutionReport) -> verdict_pb2.TestResult:
    return verdict_pb2.TestResult(verdict=report.verdict, message=report.detail)


def _printed(text: str) -> str:
    """What a doctest printed, which comes as the repr of a text that may be cut."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return _one_line(value) if isinstance(value, str) else text


def _one_line(text: str) -> str:
    """The last line of a traceback; otherwise the text with its line ends shown."""
    if text.startswith("Traceback"):
        return text.strip().rpartition("\n")[2]
    return text.strip("\n").replace("\n", "\\n") or "nothing"
