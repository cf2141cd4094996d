"""What a model is told of a program that failed: the program as its own turn, and the failure as the user's next one.

The words are those of a person who pastes a failing test: which test, what was expected and what came, the end of the
traceback (Chen et al., "Teaching large language models to self-debug", 2023). Hidden tests are never quoted.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from engine.solving.spec import ChatMessage, ChatPrompt, HeldTest
from executor.types import CallTest, SnippetTest, StdioTest, Test
from executor.verdict import Report, TestReport, Verdict

_SHOWN = 2
"""Programs that are shown at most, those that passed the most tests: more would push the task out of sight."""
_QUOTED = 1500  # characters of a test, of a message, of an output
_TRACEBACK_LINES = 8
_WORDS = {
    Verdict.WRONG_ANSWER: "gives a wrong answer",
    Verdict.COMPILE_ERROR: "cannot be compiled",
    Verdict.RUNTIME_ERROR: "ends with an error",
    Verdict.TIME_LIMIT: "takes too long",
    Verdict.MEMORY_LIMIT: "needs too much memory",
    Verdict.OUTPUT_LIMIT: "prints too much",
    Verdict.SANDBOX_VIOLATION: "does what a program may not do here",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A program and the report of its visible tests, which it did not pass."""

    code: str
    report: Report


def with_failures(prompt: ChatPrompt, failures: Sequence[Failure], tests: Sequence[HeldTest]) -> ChatPrompt:
    """The chat, going on with the best of the failed programs, the best one last, and what was wrong with each."""
    visible = [held.test for held in tests if not held.hidden]
    ranked = sorted(failures, key=lambda failure: failure.report.tests_passed)[-_SHOWN:]
    turns = list(prompt.messages)
    for failure in ranked:
        turns += failed_turns(failure, visible)
    return ChatPrompt(tuple(turns))


def failed_turns(failure: Failure, visible: Sequence[Test]) -> tuple[ChatMessage, ChatMessage]:
    """The program as the assistant's turn, and the failure as the user's."""
    return answered(failure.code), ChatMessage("user", f"{told(failure.report, visible)}\n\n{ASKING}")


def answered(code: str) -> ChatMessage:
    """The program as the assistant's turn."""
    return ChatMessage("assistant", f"```python\n{code.strip()}\n```")


ASKING = "Correct it. Write only the whole corrected program, in one ```python code block. Do not repeat the tests."
"""How a turn ends that wants another program."""


def told(report: Report, visible: Sequence[Test]) -> str:
    """What was wrong, in words. `visible` are the tests that the report is about."""
    failing = next((test for test in report.tests if test.verdict not in (Verdict.PASSED, Verdict.SKIPPED)), None)
    what = _WORDS.get(report.verdict, "does not pass")
    parts = [f"This program {what}: it passes {report.tests_passed} of {report.tests_total} tests."]
    if failing is None:
        return "\n\n".join([*parts, _cut(report.detail)] if report.detail else parts)
    if failing.index < len(visible) and (quoted := quoted_test(visible[failing.index])):
        parts.append(f"It fails here:\n{quoted}")
    if failing.message:
        parts.append(_cut(failing.message))
    if tail := _tail(failing):
        parts.append(f"The end of its standard error:\n```\n{tail}\n```")
    return "\n\n".join(parts)


def quoted_test(test: Test) -> str:
    """A test in words; empty for one of a kind that has none."""
    match test:
        case SnippetTest():
            return f"```python\n{_cut(test.code.strip())}\n```"
        case CallTest():
            wanted = test.expected_json if test.expected_exception is None else f"raises {test.expected_exception}"
            positional = [repr(value) for value in json.loads(test.args_json)]
            named = [f"{name}={value!r}" for name, value in json.loads(test.kwargs_json).items()]
            return f"```python\n{_cut(f'{test.function}({", ".join(positional + named)})')}  # {_cut(str(wanted))}\n```"
        case StdioTest():
            given, wanted = (
                part.decode("utf-8", "replace").rstrip("\n") for part in (test.stdin, test.expected_stdout)
            )
            return f"Input:\n```\n{_cut(given)}\n```\nExpected output:\n```\n{_cut(wanted)}\n```"
        case _:
            return ""


def _tail(test: TestReport) -> str:
    lines = test.stderr.decode("utf-8", "replace").rstrip().splitlines()[-_TRACEBACK_LINES:]
    return "\n".join(lines)[-_QUOTED:]


def _cut(text: str) -> str:
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]} ..."
