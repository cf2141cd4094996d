"""APPS (Hendrycks, Basart et al. 2021, arXiv 2105.09938): three levels, functions and programs over standard input.

Visible tests are those that the statement shows; the held-out ones are the grader's whole list, so that scores over
them are the published ones. The list of the 87 selected problems holds most of their samples again.

In a function's tests of the selected problems each argument stands as a line of text: whether `12` is a number or a
text is told by all values of that argument, but for two problems. Answers to functions come wrapped in a list of one,
but for those to a class Solution.
"""

import ast
import json
import re
from itertools import zip_longest
from typing import Any, cast

import msgspec

from benchmarks.data import contest
from benchmarks.data.programs import program_of
from benchmarks.data.record import Record, TestDocument
from benchmarks.data.rows import Row
from executor import Limits, Program
from executor.recipes import apps_program

_TEXT_BY_STATEMENT = {1627: (0,)}
"""Problem -> arguments that are texts though all their values look like numbers."""
_EACH_BY_ITSELF = {3766}
"""Problems that hand over numbers and texts."""
_SIGNATURE = re.compile(r"def (\w+)\((.*?)\)", re.DOTALL)
_NO_TESTS: dict[str, Any] = {"inputs": [], "outputs": []}


def problem(row: Row, file: str) -> Record:
    """One problem: of the selection, or in the native layout (and the hub's, where the inner parts are JSON texts)."""
    return _selected(row) if "test_list" in row else _native(row, file)


def program(record: Record, code: str, limits: Limits) -> Program:
    """With the grader's imports before it; a program that returns from its top level is made a function, as there."""
    prepared = apps_program(code, _NO_TESTS).code
    return msgspec.structs.replace(program_of(record, code, limits), code=prepared)


def _selected(row: Row) -> Record:
    stub: str = row["starter_code"]
    signature = _SIGNATURE.search(stub)
    samples, tests = row["sample_io"], row["test_list"]
    if signature is None:
        visible, held_out = ([contest.stdio(one["input"], *one["output"]) for one in part] for part in (samples, tests))
    else:
        columns = zip_longest(*(one["input"].split("\n") for one in tests))
        texts = [any(value is not None and not _is_literal(value) for value in column) for column in columns]
        for index in _TEXT_BY_STATEMENT.get(row["id"], ()):
            texts[index] = True
        if row["id"] in _EACH_BY_ITSELF:
            texts = [False] * len(texts)
        name = signature.group(1)
        visible, held_out = (
            [contest.call(name, _arguments(one["input"], texts), *one["output"]) for one in part]
            for part in (samples, tests)
        )
    return Record(
        id=f"train/{row['id']}",
        text=row["description"],
        stub=stub,
        entry_point=signature.group(1) if signature else "",
        setup_code=contest.IMPORTS if signature else "",
        visible=tuple(visible),
        held_out=tuple(held_out),
        split="train",
        facts={"difficulty": row["difficulty"], "call_based": signature is not None},
    )


def _native(row: Row, file: str) -> Record:
    number = str(row["problem_id"])
    split = number.split("/")[0] if "/" in number else file.removesuffix(".jsonl")
    stub: str = row["starter_code"]
    tests: dict[str, Any] = _inner(row["input_output"]) or _NO_TESTS
    name: str = tests.get("fn_name") or ""
    pairs = list(zip(tests["inputs"], tests["outputs"], strict=True))
    in_class = "class Solution" in stub
    documents = [_test(name, given, wanted, in_class=in_class) for given, wanted in pairs]
    shown = [_shows(row["question"], stub, name, given) for given, _ in pairs]
    return Record(
        id=number if "/" in number else f"{split}/{int(number):04}",
        text=row["question"],
        stub=stub,
        entry_point="" if in_class else name,
        setup_code=contest.IMPORTS if name else "",
        visible=tuple(test for test, seen in zip(documents, shown, strict=True) if seen),
        held_out=tuple(documents),
        references=tuple(_inner(row["solutions"]) or ()),
        split=split,
        facts={
            "difficulty": row["difficulty"],
            "call_based": bool(name),
            "url": row["url"],
            "input_output": tests,
        },
    )


def _inner(value: object) -> Any:
    """A part of a row: as it is, or as JSON text, as on the hub; None where that is empty."""
    return (json.loads(value) if value else None) if isinstance(value, str) else value


def _test(name: str, given: Any, wanted: Any, *, in_class: bool) -> TestDocument:
    if not name:
        return contest.stdio(_lines(given), _lines(wanted))
    if in_class:
        return contest.method(name, given, wanted)
    wrapped = isinstance(wanted, list) and len(cast("list[Any]", wanted)) == 1
    return contest.call(name, given, wanted[0] if wrapped else wanted)


def _lines(value: Any) -> str:
    return "\n".join(map(str, cast("list[Any]", value))) if isinstance(value, list) else str(value)


def _shows(question: str, stub: str, name: str, given: Any) -> bool:
    """Whether a statement shows an input: as it is read, as a call, or as LeetCode writes arguments (k = 3)."""
    if not name:
        return contest.shows(question, _lines(given))
    signature = _SIGNATURE.search(stub)
    parameters = signature.group(2).split(",") if signature else []
    names = [word.split(":")[0].strip() for word in parameters if word.strip() != "self"]
    values = [contest.plain(json.dumps(value)) for value in given]
    call = f"{name}({','.join(values)})".lower()
    named = ",".join(f"{word}={value}" for word, value in zip(names, values, strict=False))
    text = contest.plain(question)
    return call in text or bool(re.search(rf"{re.escape(named.lower())}(?!\d|\.\d)", text))


def _is_literal(text: str) -> bool:
    try:
        _literal(text)
    except (ValueError, SyntaxError):
        return False
    return True


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return ast.literal_eval(text)


def _arguments(text: str, texts: list[bool]) -> list[Any]:
    """The arguments of a call, a line each; those in `texts` are texts, others values where they read as such."""
    lines = text.split("\n")
    if len(lines) > len(texts):
        raise ValueError(f"a sample has {len(lines)} arguments, the tests have {len(texts)}")
    return [
        line if as_text or not _is_literal(line) else _literal(line)
        for line, as_text in zip(lines, texts, strict=False)
    ]
