"""LeetCode's contest problems of 2023, as DeepSeek-Coder's evaluation has them: 100 asserts over a class Solution."""

import ast
import datetime
import re

from benchmarks.data import contest
from benchmarks.data.record import Record
from benchmarks.data.rows import Row

_TEST = re.compile(r"\n(?=test_input = )")
_EXAMPLE = re.compile(r"^Input: *(.*(?:\n(?!Output:).*)*)", re.MULTILINE)


def problem(row: Row, file: str) -> Record:
    """Visible: the tests whose input is an example of the statement, one each; held out: all others, in one snippet."""
    statement, stub = _parted(row["prompt"])
    before, *tests = _TEST.split(row["test"])
    examples = {contest.plain(example) for example in _EXAMPLE.findall(statement)}
    shown = [_input(test) in examples for test in tests]
    hidden = [test for test, seen in zip(tests, shown, strict=True) if not seen]
    return Record(
        id=row["task_id"],
        text=statement,
        stub=stub,
        setup_code=contest.IMPORTS,
        visible=tuple(f"{before}\n{test}".strip() for test, seen in zip(tests, shown, strict=True) if seen),
        held_out=("\n".join((before, *hidden)).strip(),),
        facts={
            "title": row["meta"]["title"],
            "difficulty": row["meta"]["difficulty"].lower(),
            "date": datetime.datetime.fromtimestamp(row["start_time"], datetime.UTC).date().isoformat(),
            "url": row["url"],
            "asserts": len(tests),
        },
    )


def _parted(prompt: str) -> tuple[str, str]:
    """The statement, which is a docstring, and the code after it."""
    _, statement, stub = prompt.split('"""', 2)
    return statement.strip(), stub.lstrip("\n")


def _input(test: str) -> str:
    """A test's arguments as a statement writes them: nums = [1,2], k = 3; lists that become linked lists as lists."""
    assigned = ast.parse(test.split("\nassert ", 1)[0]).body[0]
    if not isinstance(assigned, ast.Assign) or not isinstance(assigned.value, ast.Dict):
        raise ValueError("a test does not begin with its arguments, test_input = {...}")
    names = [ast.literal_eval(ast.unparse(name)) for name in assigned.value.keys if name is not None]
    values = [value.args[0] if isinstance(value, ast.Call) else value for value in assigned.value.values]
    pairs = (f"{name}={ast.unparse(value)}" for name, value in zip(names, values, strict=True))
    return contest.plain(",".join(pairs))
