"""From records to tasks: what the model is told, which tests decide, and under which limits."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.data import Record, TestDocument
from benchmarks.data import document as data_document
from benchmarks.experiments.errors import CannotRun
from benchmarks.experiments.experiment import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Tasks, and what goes with this way to ask.

    sampling: keys of a problem file's `sampling` that end a sample where the prompt's form wants it. settings: for the
    protocol. stop: where recorded completions of such prompts are cut.
    """

    tasks: tuple[Task, ...]
    sampling: dict[str, Any]
    settings: dict[str, Any]
    stop: tuple[str, ...] = ()

    def told(self, *, to_model: bool) -> dict[str, Any]:
        """The settings for the protocol; where no model reads the prompts it must not say that they were asked."""
        return self.settings if to_model else {"prompt": "none: no model was asked"}


def document(
    record: Record, prompt: Mapping[str, Any], limits: Mapping[str, Any], *, setup_code: str = ""
) -> dict[str, Any]:
    """The record as a problem document with a prompt of its own: its visible tests decide, the held-out ones are
    hidden.

    limits: of each test. setup_code: instead of the record's. Raises DataError where nothing would decide.
    """
    found = data_document(record, ask=prompt)
    return {**found, **({"setup_code": setup_code} if setup_code else {}), "limits": dict(limits)}


def user(text: str) -> dict[str, Any]:
    """A chat of one turn, as a prompt key of a document."""
    return {"chat": [{"role": "user", "content": text}]}


def quoted(tests: Sequence[TestDocument]) -> str:
    """Tests as a prompt shows them: one below the other. Only those that are Python as they stand."""
    return "\n".join(test for test in tests if isinstance(test, str))


def prompt_text(tasks: Sequence[Task], task_id: str) -> str:
    """What a model is told of one of the tasks, byte for byte: the text it goes on with, or the user's turns.

    Raises CannotRun where the task is not among them.
    """
    for task in tasks:
        if task.id == task_id:
            if "chat" in task.document:
                return "\n".join(turn["content"] for turn in task.document["chat"])
            completion = task.document["completion"]
            return completion if isinstance(completion, str) else completion["text"]
    near = difflib.get_close_matches(task_id, [task.id for task in tasks], n=3, cutoff=0.5)
    hint = f"near it are {', '.join(near)}" if near else f"the first is {tasks[0].id}"
    raise CannotRun(f"--print-prompt: {task_id!r} is not among the {len(tasks)} problems that are here; {hint}")
