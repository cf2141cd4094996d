"""A record as a problem file (docs/problem-files.md): what is asked, what is quoted, what decides."""

from collections.abc import Mapping
from typing import Any, Literal

from thresher.client.problem_tests import read_tests
from thresher.client.prompts import chat_prompt

from benchmarks.data.errors import DataError
from benchmarks.data.record import Record, TestDocument

HeldOut = Literal["hidden", "decide", "left_out"]

_EXPERT = "You are an expert Python programmer, and here is your task:"
_PROGRAM = """\
The program reads standard input and writes to standard output.

Write only the program, in one ```python code block."""


def document(
    record: Record,
    *,
    problem_id: str = "",
    ask: Literal["words", "stub"] | Mapping[str, Any] | None = None,
    quoted: int | None = None,
    held_out: HeldOut = "hidden",
) -> dict[str, Any]:
    """The mapping of a problem file; a caller adds how to draw.

    ask: "words" is a chat prompt of the task; "stub" lets the model continue the stub, which is part of the program;
    a mapping is the prompt itself, such as {"completion": text}. By default the stub where the tests are not quotable
    and there is one, else words. quoted: how many of the visible tests the words quote, from the first on; by default
    all of them, or none where they are not quotable. All visible tests decide, quoted or not. held_out: those tests
    are hidden ones, or decide like the others, or are left out.

    Raises DataError where nothing would decide, and for a wish that the record cannot meet.
    """
    deciding = record.tests if held_out == "decide" else record.visible
    hidden = record.tests[len(record.visible) :] if held_out == "hidden" else ()
    if not deciding:
        raise DataError(f"{record.id}: it has no visible test, so nothing would decide; take held_out='decide'")
    if ask is None:
        ask = "stub" if record.stub and not record.quotable else "words"
    if quoted is not None and ask != "words":
        raise DataError(f"{record.id}: quoted={quoted} goes with ask='words'; other prompts stand as they are")
    found: dict[str, Any] = {"problem_id": problem_id or record.id}
    if isinstance(ask, Mapping):
        found |= ask
    elif ask == "stub":
        found |= _stub(record)
    else:
        found |= _words(record, _quoted(record, quoted), deciding)
    if record.entry_point:
        found["entry_point"] = record.entry_point
    if record.setup_code:
        found["setup_code"] = record.setup_code
    found["tests"] = [*deciding, *map(_hidden, hidden)]
    return found


def words(record: Record) -> str:
    """The task in words, with the code to begin with where that says more than the words."""
    if not record.stub.strip() or record.text in record.stub:
        return record.text
    return f"{record.text}\n\nYour code must begin like this:\n```python\n{record.stub.rstrip()}\n```"


def _quoted(record: Record, count: int | None) -> tuple[TestDocument, ...]:
    if count is None:
        return record.visible if record.quotable else ()
    if count and not record.quotable:
        raise DataError(f"{record.id}: its tests tell the answer and cannot be quoted; take quoted=0")
    if not 0 <= count <= len(record.visible):
        raise DataError(f"{record.id}: it has {len(record.visible)} visible tests, so {count} cannot be quoted")
    return record.visible[:count]


def _stub(record: Record) -> dict[str, Any]:
    if not record.stub:
        raise DataError(f"{record.id}: it has no stub to continue; take ask='words'")
    return {"completion": {"text": record.stub, "part_of_program": True}}


def _words(record: Record, quoted: tuple[TestDocument, ...], deciding: tuple[TestDocument, ...]) -> dict[str, Any]:
    task = words(record)
    if quoted == deciding:
        return {"prompt": task}  # of which the client makes a chat that quotes all tests
    if not quoted and all(isinstance(test, dict) and "stdio" in test for test in deciding):
        content = f"{_EXPERT}\n{task.strip()}\n\n{_PROGRAM}"
    else:
        content = chat_prompt(task, read_tests(list(quoted)) if quoted else [], record.entry_point)
    return {"chat": [{"role": "user", "content": content}]}


def _hidden(test: TestDocument) -> TestDocument:
    return {"snippet": test, "hidden": True} if isinstance(test, str) else test | {"hidden": True}
