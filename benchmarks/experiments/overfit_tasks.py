"""Problems with visible and held-out tests, as they are asked: visible ones decide, the others run on what passed."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.data import Record, document
from benchmarks.experiments.experiment import Task

DECIDES = {
    "mbpp": "The three asserts decide; the challenge tests are held out.",
    "humaneval": "The docstring's examples decide; HumanEval's check is held out.",
    "leetcode": "The statement's examples decide; all other asserts are held out.",
    "humanevalplus": "EvalPlus's base inputs decide; its plus inputs are held out.",
    "mbppplus": "EvalPlus's base inputs decide; its plus inputs are held out.",
}
"""By the name of the set, a sentence for the page."""


def tasks(records: Sequence[Record], limits: Mapping[str, Any], *, stub: bool) -> tuple[Task, ...]:
    """The tasks. stub: the model goes on with the stub; else it is told the task and the visible tests in words."""
    return tuple(
        Task(record=record, document={**document(record, ask="stub" if stub else "words"), "limits": dict(limits)})
        for record in records
    )
