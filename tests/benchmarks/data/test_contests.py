"""What loaders of contest sets do that the files here do not show: private tests, the hub's layout of APPS."""

import base64
import json
import pickle
import zlib
from typing import Any

import pytest
from support.problem_rows import put

from benchmarks.data import DataDamaged, load, program_of
from benchmarks.data.apps import program
from executor import Executor, ExecutorConfig, Limits, StdioTest, Verdict

from .conftest import Places

PUBLIC = [{"input": "[1]\n2", "output": "3", "testtype": "functional"}]
PRIVATE = [{"input": "[5]\n5", "output": "10", "testtype": "functional"}]


def live(private: str) -> dict[str, Any]:
    return {
        "question_id": "1",
        "question_title": "t",
        "question_content": "Add.",
        "platform": "leetcode",
        "contest_id": "c",
        "contest_date": "2024-02-03T00:00:00",
        "starter_code": "class Solution:\n    def add(self, a: List[int], b: int) -> int:\n        ",
        "difficulty": "easy",
        "public_test_cases": json.dumps(PUBLIC),
        "private_test_cases": private,
        "metadata": '{"func_name": "add"}',
    }


def packed(value: object) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("something was unpickled",)


@pytest.mark.parametrize("private", [json.dumps(PRIVATE), packed(json.dumps(PRIVATE))], ids=["json", "packed"])
def test_private_tests_are_held_out(places: Places, private: str) -> None:
    put(places.named, "livecodebench/test2.jsonl", live(private))
    (record,) = load("livecodebench").records
    assert record.visible == ("assert Solution().add([1], 2) == 3",)
    assert record.held_out == ("assert Solution().add([5], 5) == 10",)
    assert record.facts["date"] == "2024-02-03"


def test_packed_tests_are_read_and_never_unpickled(places: Places) -> None:
    put(places.named, "livecodebench/test.jsonl", live(packed(Trap())))
    with pytest.raises(DataDamaged):
        load("livecodebench")


@pytest.mark.sandbox
async def test_the_imports_take_no_helpers_place(places: Places) -> None:
    """Set-up code runs after the program, too: what it imports must not be what programs call their own functions."""
    helpers = ("gcd", "merge", "product", "comb", "count", "copy", "log", "reduce", "pow", "dist", "repeat", "string")
    code = "".join(f"def {name}(*_):\n    return 0\n" for name in helpers)
    code += "class Solution:\n    def add(self, a: List[int], b: int) -> int:\n        return a[0] + b"
    code += "".join(f" + {name}()" for name in helpers)
    put(places.named, "livecodebench/test.jsonl", live(json.dumps(PRIVATE)))
    (record,) = load("livecodebench").records
    async with Executor(ExecutorConfig(slots=1)) as executor:
        report = await executor.run(program_of(record, code))
    assert report.verdict is Verdict.PASSED, report.detail


def apps_row(**changes: Any) -> dict[str, Any]:
    return {
        "problem_id": 12,
        "question": "Print the double.\n\nExample\n\nInput\n\n2\n\nOutput\n\n4\n",
        "starter_code": "",
        "difficulty": "interview",
        "url": "https://example.org",
        "input_output": json.dumps({"inputs": ["2\n", ["3", "0"]], "outputs": ["4\n", "6"]}),
        "solutions": json.dumps(["print(2 * int(input()))"]),
    } | changes


def test_the_hub_has_apps_as_texts_in_one_file_a_split(places: Places) -> None:
    put(places.named, "apps/test.jsonl", apps_row())
    put(places.named, "apps/train.jsonl", apps_row(input_output="", solutions=""))
    train, test = sorted(load("apps").records, key=lambda record: record.split, reverse=True)
    assert (test.id, test.split, train.id) == ("test/0012", "test", "train/0012")
    assert test.visible == ({"stdio": {"stdin": "2\n", "expected": "4\n"}},)
    assert test.held_out == (*test.visible, {"stdio": {"stdin": "3\n0", "expected": "6"}})
    assert test.references == ("print(2 * int(input()))",) and not train.held_out


def test_apps_functions_and_methods(places: Places) -> None:
    tests = {"fn_name": "f", "inputs": [[1, "a"], [2, "b"]], "outputs": [[True], [[1, 2]]]}
    function = apps_row(question="f(1, 'a') is True", starter_code="def f(n, s):\n\t", input_output=tests)
    method = apps_row(
        problem_id=13,
        question='Input: n = 1, s = "a"\nOutput: true',
        starter_code="class Solution:\n    def f(self, n: int, s: str) -> bool:\n        ",
        input_output=tests | {"outputs": [True, [1, 2]]},
    )
    put(places.named, "apps/train.jsonl", function, method)
    first, second = load("apps").records
    assert [test["call"]["expected"] for test in first.held_out if isinstance(test, dict)] == [True, [1, 2]]
    assert first.entry_point == "f" and first.visible == first.held_out[:1]
    assert second.held_out == ("assert Solution().f(1, 'a') == True", "assert Solution().f(2, 'b') == [1, 2]")
    assert second.entry_point == "" and second.visible == second.held_out[:1]


def test_an_apps_program_is_prepared_as_its_grader_does(places: Places) -> None:
    put(places.named, "apps/test.jsonl", apps_row())
    (record,) = load("apps").records
    made = program(record, "n = int(input())\nprint(2 * n)\nif n > 5:\n    return\n", Limits(cpu_seconds=2))
    assert "from collections import Counter" in made.code and "def code():" in made.code
    assert isinstance(made.tests[0], StdioTest) and made.tests[0].comparison == "lines" and len(made.tests) == 2, (
        "the one that is shown is not run twice"
    )
