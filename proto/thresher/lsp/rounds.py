"""Feedback rounds: what failed, or what the user says, goes into the prompt of another solve.

A round is a chat: the task, the earlier program as the answer, and what is wrong with it. This file is all there is of
it on this side, so that a call of the server's own for refining can take its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from thresher.lsp.problem import Task
from thresher.v1 import problem_pb2

_MOST_FAILURES = 5
"""More would push the task out of a small model's sight."""
_AGAIN = "Write it again, in the same form."


@dataclass(frozen=True, slots=True)
class Round:
    """What is known of an earlier program: its text (the function's lines; empty where there is none yet), the tests
    that it fails, and the user's words."""

    text: str
    failures: tuple[str, ...] = ()
    words: str = ""


@dataclass(frozen=True, slots=True)
class Misfit:
    """A program that passed on its own and cannot stand in the file, and why."""

    code: str
    reason: str


def with_feedback(task: Task, before: Round) -> problem_pb2.Problem:
    """The problem of `task`, asked once more with what an earlier program taught."""
    problem = task.chat()
    if not before.text:
        problem.chat.messages[0].content += f"\n\n{before.words.strip()}"
        return problem
    problem.chat.messages.add(role="assistant", content=task.answer(before.text))
    problem.chat.messages.add(role="user", content=_said(before.failures, before.words))
    return problem


def again(task: Task, asked: problem_pb2.Problem, misfit: Misfit) -> problem_pb2.Problem:
    """The problem `asked` for `task` once more, told why a program that passed cannot stand in the file."""
    problem = problem_pb2.Problem()
    problem.CopyFrom(asked if asked.HasField("chat") else task.chat())
    problem.chat.messages.add(role="assistant", content=f"```python\n{misfit.code.rstrip()}\n```")
    wrong = f"That program cannot take the place of `{task.function.dotted}` in its file: {misfit.reason}"
    problem.chat.messages.add(role="user", content=f"{wrong}\n\n{_AGAIN}")
    return problem


def _said(failures: Sequence[str], words: str) -> str:
    parts: list[str] = []
    if failures:
        lines = [f"- {failure}" for failure in failures[:_MOST_FAILURES]]
        parts.append("That program is wrong:\n" + "\n".join(lines))
    if words.strip():
        parts.append(words.strip())
    parts.append(_AGAIN)
    return "\n\n".join(parts)
