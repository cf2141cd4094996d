"""The programs that are run: small ones of our own, and published references."""

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import data
from executor import Executor, ExecutorConfig, Limits, Program, Report, SnippetTest, StdioTest, Verdict

MODES = ("jail", "fork-server")

_VOWELS = '''\
def vowels(text):
    """The number of vowels in a text."""
    count = 0
    for letter in text.lower():
        if letter in "aeiou":
            count += 1
    return count
'''
_WORDS = ("banana", "Rhythm", "queue", "", "AEIOU", "sky", "Onomatopoeia", "xyz", "idea", "strength")
_TOTAL = """\
count = int(input())
print(sum(int(input()) for _ in range(count)))
"""


def available_modes() -> tuple[str, ...]:
    """The modes that this executor has, the default first."""
    return MODES if "mode" in ExecutorConfig.__struct_fields__ else MODES[:1]


def start(mode: str, **settings: Any) -> Executor:
    """An executor in this mode, with default settings but for those given."""
    if mode != MODES[0]:
        settings["mode"] = mode
    return Executor(ExecutorConfig(**settings))


def value_candidate(number: int, tests: int) -> Program:
    """A candidate with its own text and `tests` asserts that are judged by value, each in a process of its own."""
    snippets = tuple(
        SnippetTest(code=f"assert vowels({word!r}) == {sum(letter in 'aeiou' for letter in word.lower())}")
        for word in (f"{_WORDS[index % len(_WORDS)]}{'a' * (index // len(_WORDS))}" for index in range(tests))
    )
    return Program(code=f"{_VOWELS}# candidate {number}\n", tests=snippets, entry_point="vowels")


def stdio_candidate(number: int) -> Program:
    """A candidate that reads and prints."""
    test = StdioTest(stdin=b"3\n10\n20\n30\n", expected_stdout=b"60\n")
    return Program(code=f"{_TOTAL}# candidate {number}\n", tests=(test,))


def data_folder() -> Path:
    """Where the published data are. Raises RuntimeError."""
    folder = os.environ.get("THRESHER_DATA", "")
    if not folder:
        raise RuntimeError("set THRESHER_DATA to the folder with humaneval/, humanevalplus/ and mbpp/")
    return Path(folder)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a compressed JSON lines file."""
    with gzip.open(path, "rt") as lines:
        yield from map(json.loads, lines)


def humaneval_file() -> Path:
    """All 164 problems of HumanEval."""
    return data_folder() / "humaneval" / "HumanEval.jsonl.gz"


def humaneval_candidates(timeout: float) -> dict[str, Program]:
    """The references of HumanEval with their tests, by task."""
    records = data.load("humaneval", data=data_folder()).records
    limits = Limits(cpu_seconds=timeout)
    return {record.id: data.program_of(record, record.references[0], limits) for record in records}


def mbpp_candidates() -> list[Program]:
    """The references of MBPP, each with the first of its asserts."""
    records = data.load("mbpp", data=data_folder()).records
    nameless = (replace(record, entry_point="") for record in records)
    return [data.program_of(record, record.references[0], tests=record.visible[:1]) for record in nameless]


def require_passed(report: Report) -> None:
    """A figure of a run that did not pass means nothing. Raises RuntimeError."""
    if report.verdict is not Verdict.PASSED:
        raise RuntimeError(f"a reference did not pass: {report.verdict}: {report.detail}")
