"""Many calls of one function in one process: through real jails, honest candidates and others."""

import math

import pytest

from executor import (
    Evidence,
    Executor,
    ExecutorClient,
    ExecutorConfig,
    ExecutorError,
    InvalidProgram,
    Limits,
    Program,
    Report,
    TestReport,
    Verdict,
)
from executor.evalplus import carry
from executor.guest.plain import decode, encode
from executor.types import CallsTest, Oracle

pytestmark = [pytest.mark.sandbox, pytest.mark.asyncio(loop_scope="module")]

PASSED, WRONG, RAISED, TIME = Verdict.PASSED, Verdict.WRONG_ANSWER, Verdict.RUNTIME_ERROR, Verdict.TIME_LIMIT


def calls_test(inputs: list[list[object]], expected: list[object] | None, **fields: object) -> CallsTest:
    wanted = None if expected is None else tuple(map(carry, expected))
    return CallsTest(function="f", calls=tuple(map(carry, inputs)), expected=wanted, **fields)  # type: ignore[arg-type]


def answer(value: object) -> bytes:
    """The frame that says so."""
    content = encode(("value", value))
    return len(content).to_bytes(4, "big") + content


async def run(executor: Executor, code: str, test: CallsTest, **fields: object) -> TestReport:
    report: Report = await executor.run(Program(code=code, tests=(test,), **fields))  # type: ignore[arg-type]
    assert report.verdict is report.tests[0].verdict
    return report.tests[0]


def verdicts(report: TestReport) -> list[Verdict]:
    return [call.verdict for call in report.calls]


async def test_values_of_every_plain_type(executor: Executor) -> None:
    values: list[object] = [
        *(None, True, -3, 2**200, 0.1, math.inf, -0.0, 1 + 2j, "a\ud800\0", b"\xff", [1, [2]], (1, (2,)), {1, 2}),
        *(frozenset({1}), {"a": [1], 2: None}, [], (), "", [[], ()], math.nan),
    ]
    test = calls_test([[value] for value in values], values, tolerances=(1e-6,) * len(values))
    report = await run(executor, "def f(x):\n    return x\n", test)
    # No NaN equals another by the rules of EvalPlus 0.3.
    assert verdicts(report) == [PASSED] * (len(values) - 1) + [WRONG]
    assert report.evidence is Evidence.VALUES
    assert report.message == f"call {len(values)} of {len(values)}: returned nan, expected nan"


async def test_the_first_failure_ends_the_test(executor: Executor) -> None:
    report = await run(executor, "def f(x):\n    return x\n", calls_test([[1], [2], [3]], [1, 0, 3]))
    assert verdicts(report) == [PASSED, WRONG]
    assert report.message == "call 2 of 3: returned 2, expected 0"


async def test_all_calls(executor: Executor) -> None:
    """Whatever one call does, each has a verdict of its own; the test's is that of the first that failed."""
    code = """\
import os
def f(what):
    if what == "spin":
        while True:
            pass
    if what == "exit":
        os._exit(0)
    if what == "raise":
        raise KeyError(what)
    return what
"""
    doings = ["a", "raise", "b", "exit", "c", "spin", "d"]
    test = calls_test([[doing] for doing in doings], list(doings), all_calls=True, call_seconds=(0.3,) * 7)
    report = await run(executor, code, test)
    assert verdicts(report) == [PASSED, RAISED, PASSED, RAISED, PASSED, TIME, PASSED]
    assert report.verdict is RAISED
    assert report.message.startswith("call 2 of 7: KeyError")
    assert 0.3 < report.cpu_seconds < 3


async def test_one_process_for_all_calls(executor: Executor) -> None:
    code = "seen = []\ndef f(x):\n    seen.append(x)\n    return list(seen)\n"
    assert (await run(executor, code, calls_test([[1], [2]], [[1], [1, 2]]))).verdict is PASSED


async def test_arguments_are_fresh_for_each_call(executor: Executor) -> None:
    code = "def f(x):\n    x.append(0)\n    return x\n"
    inputs: list[list[object]] = [[[1]], [[1]]]
    assert (await run(executor, code, calls_test(inputs, [[1, 0], [1, 0]]))).verdict is PASSED


async def test_values_without_comparison(executor: Executor) -> None:
    code = "import re\ndef f(x):\n    return (x, x / 3) if x else re.match('a', 'a')\n"
    report = await run(executor, code, calls_test([[1], [0]], None))
    assert report.verdict is PASSED
    assert decode(report.calls[0].value) == (1, 1 / 3)
    assert repr(decode(report.calls[1].value)) == "<Match object>"


@pytest.mark.parametrize(
    ("value", "name"),
    [("object()", "object"), ("map(str, [1])", "map"), ("[1, {'a': iter('')}]", "str_ascii_iterator")],
)
async def test_what_cannot_be_carried_is_named(executor: Executor, value: str, name: str) -> None:
    report = await run(executor, f"def f():\n    return {value}\n", calls_test([[]], [1]))
    assert report.verdict is WRONG
    assert f"a {name} object is not plain data" in report.message


async def test_a_set_takes_any_iterable(executor: Executor) -> None:
    test = calls_test([[]], [(1, 2)], oracle=Oracle.SET)
    assert (await run(executor, "def f():\n    return iter([2, 1, 2])\n", test)).verdict is PASSED
    assert (await run(executor, "def f():\n    return 12\n", test)).verdict is RAISED


async def test_the_limit_of_one_call(executor: Executor) -> None:
    """Seventeen calls of 0.1 s may go on, one of more than 0.5 s may not; all together have a limit, too."""
    code = """\
import time
def f(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
"""
    steady = calls_test([[0.1]] * 17, [None] * 17, call_seconds=(0.5,) * 17)
    assert (await run(executor, code, steady, limits=Limits(cpu_seconds=20))).verdict is PASSED
    slow = calls_test([[0], [60], [0]], [None] * 3, call_seconds=(0.5,) * 3)
    report = await run(executor, code, slow, limits=Limits(cpu_seconds=50))
    assert verdicts(report) == [PASSED, TIME]
    assert report.message == "call 2 of 3: more than 0.5 s of CPU time in one call"
    assert report.cpu_seconds < 5
    report = await run(executor, code, steady, limits=Limits(cpu_seconds=0.6))
    assert report.verdict is TIME
    assert "more than 0.6 s of CPU time" in report.message
    assert 2 <= len(report.calls) <= 9


async def test_a_call_that_sleeps_ends_by_the_wall(executor: Executor) -> None:
    code = "import time\ndef f(seconds):\n    time.sleep(seconds)\n"
    test = calls_test([[0], [600]], [None, None], call_seconds=(0.2, 0.2))
    report = await run(executor, code, test, limits=Limits(cpu_seconds=600))
    assert verdicts(report) == [PASSED, TIME]
    assert report.wall_seconds < 20


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("def f(x:\n", Verdict.COMPILE_ERROR),
        ("raise ValueError('no')\n", RAISED),
        ("def g(x):\n    return x\n", RAISED),
        ("import os\nos._exit(0)\n", RAISED),
        ("def f(x):\n    return [0] * 10**9\n", Verdict.MEMORY_LIMIT),
        ("def f(x):\n    return 'a' * 10**7\n", Verdict.OUTPUT_LIMIT),
        ("def f(x):\n    x = []\n    for _ in range(10**3):\n        x = [x]\n    return x\n", WRONG),
        ("class V:\n    def __eq__(self, other):\n        return True\ndef f(x):\n    return V()\n", WRONG),
        ("class V(int):\n    def __eq__(self, other):\n        return True\ndef f(x):\n    return V(5)\n", WRONG),
        # Answers that the program writes itself: before it is asked, and once more than it is asked.
        (f"import os\nos.write(3, {answer(1)!r})\n", RAISED),
        (f"import os\ndef f(x):\n    os.write(3, {answer(1) + answer(2) + answer(0)!r})\n    os._exit(0)\n", WRONG),
        (f"import os\ndef f(x):\n    os.write(3, {9 * answer(1)!r})\n    os._exit(0)\n", WRONG),
    ],
)
async def test_programs_that_fail(executor: Executor, code: str, verdict: Verdict) -> None:
    test = calls_test([[1], [2], [3]], [1, 2, 3])
    assert (await run(executor, code, test, limits=Limits(memory_bytes=128 << 20))).verdict is verdict


async def test_later_tests_are_unharmed(executor: Executor) -> None:
    code = "def f(x):\n    while x == 2:\n        pass\n    return x\n"
    slow = calls_test([[1], [2]], [1, 2], call_seconds=(0.2, 0.2))
    quick = calls_test([[1], [3]], [1, 3])
    report = await executor.run(Program(code=code, tests=(slow, quick), run_all=True))
    assert [test.verdict for test in report.tests] == [TIME, PASSED]
    assert report.verdict is TIME


async def test_too_much_for_one_message() -> None:
    """Tests and reports that the executor's process cannot be sent, or cannot send, are refused by name."""
    big = "def f(x):\n    return b'a' * (25 << 20)\n"
    limits = Limits(output_bytes=32 << 20)
    async with ExecutorClient(ExecutorConfig(slots=1)) as client:
        with pytest.raises(InvalidProgram, match="tests: too large"):
            await client.run(Program(code=big, tests=(calls_test([[b"a" * (25 << 20)]] * 3, None),)))
        with pytest.raises(ExecutorError, match="the report is too large"):
            await client.run(Program(code=big, tests=(calls_test([[1], [2], [3]], None),), limits=limits))
        report = await client.run(Program(code=big, tests=(calls_test([[1]], None),), limits=limits))
        assert decode(report.tests[0].calls[0].value) == b"a" * (25 << 20)
