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


@dataclass(frozen=True, slots=True)
class Round:
    """What is known of an earlier program: its text (the function's lines; empty where there is none yet), the tests
    that it fails, and the user's words."""

    text: str
    failures: tuple[str, ...] = ()
    words: str = ""


def with_feedback(task: Task, before: Round) -> problem_pb2.Problem:
    """The problem of `task`, asked once more with what an earlier program taught."""
    problem = task.chat()
    if not before.text:
        problem.chat.messages[0].content += f"\n\n{before.words.strip()}"
        return problem
    problem.chat.messages.add(role="assistant", content=task.answer(before.text))
    problem.chat.messages.add(role="user", content=_said(before.failures, before.words))
    return problem


def _said(failures: Sequence[str], words: str) -> str:
    parts: list[str] = []
    if failures:
        lines = [f"- {failure}" for failure in failures[:_MOST_FAILURES]]
        parts.append("That program is wrong:\n" + "\n".join(lines))
    if words.strip():
        parts.append(words.strip())
    parts.append("Write it again, in the same form.")
    return "\n\n".join(parts)
