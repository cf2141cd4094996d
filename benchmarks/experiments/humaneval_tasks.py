"""HumanEval as it is asked: a stub to go on with, or a chat for models that were taught to answer."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.data import Record
from benchmarks.experiments.errors import CannotRun
from benchmarks.experiments.experiment import Task
from benchmarks.experiments.tasks import Asked, document, user

STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""The stop sequences of Chen et al. 2021."""

PROMPTS = ("completion", "chat")
ENDS = ("program", "paper")


def humaneval(records: Sequence[Record], prompt: str, end: str, limits: Mapping[str, Any]) -> Asked:
    """The tasks. `prompt` is one of PROMPTS, `end` one of ENDS: our rule, or the paper's stop sequences alone.

    Raises CannotRun for another word, and for stop sequences in a chat, where they mean nothing.
    """
    if prompt not in PROMPTS:
        raise CannotRun(f"--prompt: {prompt!r} is none of {', '.join(PROMPTS)}")
    if end not in ENDS:
        raise CannotRun(f"--end: {end!r} is none of {', '.join(ENDS)}")
    if prompt == "chat":
        if end == "paper":
            raise CannotRun("--end paper: its stop sequences are for completions; take --prompt completion")
        tasks = tuple(Task(record=record, document=_chat(record, limits)) for record in records)
        settings = {"prompt": "chat, the stub quoted", "tests_shown": "those in the stub's docstring"}
        return Asked(tasks=tasks, sampling={}, settings=settings, stop=STOP)
    completion = [{"completion": {"text": record.stub, "part_of_program": True}} for record in records]
    tasks = tuple(
        Task(record=record, document=document(record, one, limits))
        for record, one in zip(records, completion, strict=True)
    )
    ended = "where the stub's function is complete" if end == "program" else "at the paper's stop sequences"
    return Asked(
        tasks=tasks,
        sampling={} if end == "program" else {"stop": list(STOP), "keep_after_program": True},
        settings={
            "prompt": "completion of the stub",
            "tests_shown": "those in the stub's docstring",
            "samples_end": ended,
        },
        stop=STOP,
    )


def _chat(record: Record, limits: Mapping[str, Any]) -> dict[str, Any]:
    text = (
        "Complete this Python function. Answer with the whole function, and with the imports and helpers that it "
        f"needs, in one ```python code block.\n\n```python\n{record.stub.rstrip()}\n```"
    )
    # An answer may leave out what the stub has above the function, and the check may call it, too.
    above = before_function(record.stub, record.entry_point)
    setup = "\n".join(part for part in (above, record.setup_code) if part)
    return document(record, user(text), limits, setup_code=setup)


def before_function(stub: str, entry_point: str) -> str:
    """What a stub has above the function to be completed: imports and helpers."""
    try:
        body = ast.parse(stub).body
    except SyntaxError:  # a stub whose docstring is not its function's whole body
        return ""
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == entry_point:
            return "\n".join(stub.splitlines()[: node.lineno - 1]).strip()
    return ""
