"""The chat prompt that a task in words becomes."""

import json
from collections.abc import Iterable

from thresher.v1 import problem_pb2

_SHOWN_CHARACTERS = 4000
"""Tests beyond this are not quoted: they would push the task out of a small model's sight."""


def chat_prompt(task: str, tests: Iterable[problem_pb2.Test], entry_point: str = "") -> str:
    """The text of the user's turn: the task, the visible tests, and the form of the answer.

    The tests are in it because a model that sees them writes far more programs that pass (names, argument order and
    formats are often told by them alone). Hidden tests are never quoted. The last line is there because small models
    like to copy the tests below their program: with it the default model passes as many sanitized MBPP problems
    (greedy), with 62 tokens a program instead of 99 (a softer wish) or 206 (none).
    """
    visible = [test for test in tests if not test.hidden]
    asserts = _fit([text for test in visible if (text := _as_assert(test, entry_point))], "\n")
    examples = _fit([_as_example(test.stdio) for test in visible if test.WhichOneof("kind") == "stdio"], "\n\n")
    parts = [f"You are an expert Python programmer, and here is your task:\n{task.strip()}"]
    if asserts:
        parts.append(f"Your code should pass these tests:\n```python\n{asserts}\n```")
    elif entry_point:
        parts.append(f"The function must be called `{entry_point}`.")
    if examples:
        parts.append(
            f"The program reads standard input and writes to standard output, as in these examples:\n{examples}"
        )
    thing = "program" if examples and not asserts else "function"
    parts.append(f"Write only the {thing}, in one ```python code block. Do not repeat the tests.")
    return "\n\n".join(parts)


def _as_assert(test: problem_pb2.Test, entry_point: str) -> str:
    if test.WhichOneof("kind") == "snippet":
        return test.snippet.code.strip()
    if test.WhichOneof("kind") != "call":
        return ""
    call = test.call
    positional = [repr(value) for value in json.loads(call.args_json or "[]")]
    named = [f"{name}={value!r}" for name, value in json.loads(call.kwargs_json or "{}").items()]
    text = f"{call.function or entry_point}({', '.join(positional + named)})"
    if call.WhichOneof("expected") == "expected_exception":
        return f"{text}  # raises {call.expected_exception}"
    return f"assert {text} == {json.loads(call.expected_json)!r}"


def _as_example(test: problem_pb2.StdioTest) -> str:
    given = test.stdin.decode("utf-8", errors="replace").rstrip("\n")
    wanted = test.expected_stdout.decode("utf-8", errors="replace").rstrip("\n")
    return f"Input:\n```\n{given}\n```\nOutput:\n```\n{wanted}\n```"


def _fit(texts: list[str], separator: str) -> str:
    """As many of the first texts as fit; at least one."""
    kept: list[str] = []
    for text in texts:
        if kept and sum(map(len, kept)) + len(text) > _SHOWN_CHARACTERS:
            break
        kept.append(text)
    return separator.join(kept)
