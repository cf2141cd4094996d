"""A record as a problem file: what is asked, what is quoted, what decides; and as a program to run."""

from typing import Any

import pytest
from thresher.client import ProblemError, solve_spec

from benchmarks.data import DataError, Record, document, program_of
from executor import CallTest, Comparison, Limits, SnippetTest, StdioTest

ADD = Record(
    id="7",
    text="Write a function add(a, b).",
    entry_point="add",
    setup_code="import math",
    visible=("assert add(1, 2) == 3", {"call": {"args": [0, 0], "expected": 0}}),
    held_out=("assert add(5, 5) == 10", {"call": {"args": [1, 1], "expected": 2}, "name": "ones"}),
)
STUB = Record(
    id="HumanEval/0",
    text="Complete the function `half`.",
    stub='def half(x):\n    """Half of x."""\n',
    entry_point="half",
    visible=("assert half(4) == 2",),
    quotable=False,
)
TOTAL = Record(
    id="total",
    text="Print the sum.",
    visible=({"stdio": {"stdin": "1 2\n", "expected": "3\n"}},),
    held_out=({"stdio": {"stdin": "1 2\n", "expected": "3\n"}}, {"stdio": {"stdin": "4\n", "expected": "4\n"}}),
)


def prompt_of(found: dict[str, Any]) -> str:
    return solve_spec(found).problem.chat.messages[0].content


def test_words_quote_the_visible_tests_and_hide_the_held_out_ones() -> None:
    found = document(ADD, problem_id="mine/7")
    assert found == {
        "problem_id": "mine/7",
        "prompt": ADD.text,
        "entry_point": "add",
        "setup_code": "import math",
        "tests": [
            *ADD.visible,
            {"snippet": "assert add(5, 5) == 10", "hidden": True},
            {"call": {"args": [1, 1], "expected": 2}, "name": "ones", "hidden": True},
        ],
    }
    spec = solve_spec(found)
    assert [test.hidden for test in spec.problem.tests] == [False, False, True, True]
    text = prompt_of(found)
    assert "assert add(1, 2) == 3\nassert add(0, 0) == 0\n" in text and "10" not in text


@pytest.mark.parametrize("count", [0, 1, 2])
def test_as_many_tests_are_quoted_as_were_asked_for(count: int) -> None:
    found = document(ADD, quoted=count)
    text = prompt_of(found)
    assert [quoted in text for quoted in ("add(1, 2) == 3", "add(0, 0) == 0")] == [count > 0, count > 1]
    assert ("The function must be called `add`" in text) == (count == 0)
    assert [test.hidden for test in solve_spec(found).problem.tests] == [False, False, True, True], "all decide"


def test_held_out_tests_may_decide_and_are_not_quoted_for_that() -> None:
    found = document(ADD, held_out="decide")
    assert [test.hidden for test in solve_spec(found).problem.tests] == [False] * 4
    assert "assert add(1, 2) == 3" in prompt_of(found) and "10" not in prompt_of(found)
    assert document(ADD, held_out="left_out")["tests"] == list(ADD.visible)


def test_a_held_out_test_that_is_also_visible_is_there_once() -> None:
    assert len(document(TOTAL)["tests"]) == len(document(TOTAL, held_out="decide")["tests"]) == 2


def test_a_stub_is_continued_where_the_tests_may_not_be_quoted() -> None:
    found = document(STUB)
    assert found["completion"] == {"text": STUB.stub, "part_of_program": True}
    assert "prompt" not in found and "chat" not in found
    with pytest.raises(DataError, match="cannot be quoted; take quoted=0"):
        document(STUB, ask="words", quoted=1)
    text = prompt_of(document(STUB, ask="words"))
    assert STUB.stub.rstrip() in text and STUB.text in text and "assert" not in text


def test_a_stub_that_only_repeats_the_words_is_not_quoted() -> None:
    record = Record(id="1", text="Add two numbers.", stub='"""\nAdd two numbers.\n"""\n', visible=ADD.visible)
    assert document(record)["prompt"] == "Add two numbers."
    assert document(record, ask="stub")["completion"]["text"] == record.stub


def test_a_prompt_of_the_callers_stands_as_it_is() -> None:
    found = document(ADD, ask={"completion": "[BEGIN]\n"})
    assert found["completion"] == "[BEGIN]\n" and "prompt" not in found
    with pytest.raises(DataError, match="quoted=2 goes with ask='words'"):
        document(ADD, ask={"completion": "[BEGIN]\n"}, quoted=2)


def test_a_program_over_standard_input_is_asked_for_as_one() -> None:
    shown, bare = prompt_of(document(TOTAL)), prompt_of(document(TOTAL, quoted=0))
    assert "Input:\n```\n1 2\n```\nOutput:\n```\n3\n```" in shown
    assert "Input:" not in bare and "reads standard input" in bare
    assert all("Write only the program" in text and "function" not in text for text in (shown, bare))


def test_what_a_record_cannot_give_is_refused() -> None:
    with pytest.raises(DataError, match="it has 2 visible tests, so 3 cannot be quoted"):
        document(ADD, quoted=3)
    with pytest.raises(DataError, match="it has no stub to continue; take ask='words'"):
        document(ADD, ask="stub")
    bare = Record(id="1", text="x", held_out=("assert f() == 1",))
    with pytest.raises(DataError, match="nothing would decide; take held_out='decide'"):
        document(bare)
    assert document(bare, held_out="decide")["tests"] == ["assert f() == 1"]


def test_a_program_has_all_tests_as_the_executor_takes_them() -> None:
    record = Record(
        id="1",
        text="x",
        entry_point="f",
        setup_code="import math",
        visible=(
            {"snippet": "assert f(1) == 1", "name": "one", "weight": 2, "limits": {"cpu_seconds": 1}},
            {"call": {"args": [1], "kwargs": {"y": 2}, "expected": [1.5], "comparison": "approx", "abs_tol": 0.1}},
            {"call": {"function": "g", "raises": "ValueError"}},
        ),
        held_out=(
            {"stdio": {"stdin": "é\n", "expected": "1\n", "argv": ["x"], "comparison": "tokens"}},
            {"stdio": {"stdin": "1\n", "expected": "1\n"}},
            {"stdio": {"judge": "def judge(stdin, expected, output):\n    return True\n"}},
        ),
    )
    base = Limits(cpu_seconds=5, memory_bytes=64 << 20)
    program = program_of(record, "pass\n", base, run_all=True)
    assert (program.code, program.entry_point, program.setup_code) == ("pass\n", "f", "import math")
    assert (program.limits, program.run_all) == (base, True)
    own = Limits(cpu_seconds=1, memory_bytes=64 << 20)
    assert program.tests == (
        SnippetTest(code="assert f(1) == 1", name="one", weight=2, limits=own),
        CallTest(
            function="f",
            args_json="[1]",
            kwargs_json='{"y": 2}',
            expected_json="[1.5]",
            comparison=Comparison.APPROX,
            abs_tol=0.1,
        ),
        CallTest(function="g", expected_exception="ValueError"),
        StdioTest(stdin="é\n".encode(), expected_stdout=b"1\n", argv=("x",), comparison=Comparison.TOKENS),
        StdioTest(stdin=b"1\n", expected_stdout=b"1\n", comparison=Comparison.LINES),
        StdioTest(comparison=Comparison.JUDGE, judge="def judge(stdin, expected, output):\n    return True\n"),
    )


def test_a_program_may_have_other_tests_and_must_have_some() -> None:
    assert program_of(ADD, "pass", tests=ADD.visible[:1]).tests == (SnippetTest(code="assert add(1, 2) == 3"),)
    with pytest.raises(ProblemError, match="at least one test is needed"):
        program_of(Record(id="1", text="x"), "pass")
