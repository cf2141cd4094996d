"""Special judges: the caller's code decides about what a candidate printed, from a jail of its own."""

import pytest

from executor import Comparison, Evidence, Executor, InvalidProgram, Program, Report, StdioTest, Verdict

pytestmark = [pytest.mark.sandbox, pytest.mark.asyncio(loop_scope="module")]

SUMS_UP = """
def judge(stdin, expected, output):
    words = output.split()
    if len(words) != 2 or not all(word.isdigit() for word in words):
        return False
    a, b = map(int, words)
    assert a + b == int(expected), f"{a} + {b} is not {int(expected)}"
    return a > int(stdin)
"""


async def judged(executor: Executor, code: str, judge: str, count: int = 1) -> Report:
    test = StdioTest(stdin=b"2\n", expected_stdout=b"7\n", comparison=Comparison.JUDGE, judge=judge)
    return await executor.run(Program(code=code, tests=(test,) * count, run_all=True))


@pytest.mark.parametrize(
    ("code", "verdict", "detail"),
    [
        ("print(3, 4)", Verdict.PASSED, ""),
        ("print(5, 2)", Verdict.PASSED, ""),
        ("print(3, 5)", Verdict.WRONG_ANSWER, "3 + 5 is not 7"),
        ("print(2, 5)", Verdict.WRONG_ANSWER, "the special judge rejects the printed output"),
        ("print('three', 4)", Verdict.WRONG_ANSWER, "the special judge rejects the printed output"),
        ("print(3, 4); raise SystemExit(1)", Verdict.RUNTIME_ERROR, "exit status 1"),
        ("def", Verdict.COMPILE_ERROR, "SyntaxError"),
    ],
)
async def test_it_decides(executor: Executor, code: str, verdict: Verdict, detail: str) -> None:
    report = await judged(executor, code, SUMS_UP, count=2)
    assert report.verdict is verdict, report.detail
    assert report.detail.startswith(detail)
    if verdict is Verdict.COMPILE_ERROR:
        assert report.evidence in (None, Evidence.STDOUT), "the parser may have been quicker than any jail"
    else:
        assert report.evidence is (Evidence.STDOUT if verdict is Verdict.RUNTIME_ERROR else Evidence.JUDGE)


@pytest.mark.parametrize(
    ("judge", "reason"),
    [
        ("def judge(stdin, expected, output):\n    return 1\n", "it returned 1"),
        ("def judge(stdin, expected, output):\n    return int(output) == 7\n", "ValueError"),
        ("def judge(stdin):\n    return True\n", "TypeError"),
        ("import os\ndef judge(stdin, expected, output):\n    os._exit(0)\n", "exited with status 0"),
        ("def judge(stdin, expected, output):\n    return bytearray(1 << 30)\n", "memory"),
        ("def judge(stdin, expected, output):\n    return 'x' * (1 << 20)\n", "too large"),
        ("import absent\ndef judge(stdin, expected, output):\n    return True\n", "ModuleNotFoundError"),
    ],
)
async def test_its_failure_is_its_own(executor: Executor, judge: str, reason: str) -> None:
    report = await judged(executor, "print('x')", judge)
    assert report.verdict is Verdict.SANDBOX_FAILURE
    assert report.detail.startswith("the special judge failed: ")
    assert reason in report.detail


async def test_output_reaches_it_as_text_only(executor: Executor) -> None:
    """What would be code, a format or a byte that is no text arrives as it was printed."""
    hostile = b"__import__('os')._exit(0) {0.__class__} %s \x00 \xff \\n '''"
    echo = f"import sys\nsys.stdout.buffer.write({hostile!r})"
    judge = f"def judge(stdin, expected, output):\n    return output == {hostile.decode(errors='surrogateescape')!r}\n"
    assert (await judged(executor, echo, judge)).verdict is Verdict.PASSED


async def test_the_candidate_does_not_find_it(executor: Executor) -> None:
    """Neither the judge nor the expected output is in the candidate's jail, and nothing it leaves reaches the judge."""
    code = """
import gc, os, sys
open("/tmp/judge.py", "w").write("x")
sys.modules["math"] = None
found = [o for o in gc.get_objects() if isinstance(o, (dict, list, tuple)) and "SECRET" + str(-7) in repr(o)]
print(len(found), [name for name in os.listdir("/tmp") if name != "judge.py"])
"""
    judge = """
# SECRET-7
import math, os
def judge(stdin, expected, output):
    assert not os.path.exists("/tmp/judge.py"), "the candidate's file is here"
    assert output == "0 []\\n", output
    return expected == "7\\n"
"""
    report = await judged(executor, code, judge)
    assert report.verdict is Verdict.PASSED, report.detail


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (StdioTest(comparison=Comparison.JUDGE), "judge: set it together"),
        (StdioTest(judge=SUMS_UP), "judge: set it together"),
        (StdioTest(comparison=Comparison.JUDGE, judge="def judge(:"), "judge is not Python"),
        (StdioTest(comparison=Comparison.JUDGE, judge="def check(a, b, c): pass"), "it defines no judge"),
    ],
)
async def test_a_wrong_judge_is_refused(executor: Executor, test: StdioTest, message: str) -> None:
    with pytest.raises(InvalidProgram, match=message):
        await executor.run(Program(code="", tests=(test,)))
