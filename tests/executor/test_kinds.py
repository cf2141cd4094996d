"""Every kind of test through a real jail: verdicts, evidence, setup code, order, retries."""

import pytest

from executor import (
    CallTest,
    Comparison,
    Evidence,
    Executor,
    InvalidProgram,
    Limits,
    Program,
    Report,
    SnippetTest,
    StdioTest,
    TestReport,
    Verdict,
)

pytestmark = [pytest.mark.sandbox, pytest.mark.asyncio(loop_scope="module")]

CODE = """
import math
class Node:
    def __init__(self, value, left=None, right=None):
        self.value, self.left, self.right = value, left, right
    def __eq__(self, other):
        return True
class Odd(LookupError):
    pass
def add(a, b=0):
    return a + b
def pair(a):
    return a, [a]
def fail(kind):
    raise {"value": ValueError, "odd": Odd, "key": KeyError}[kind]("no " + kind)
def sort(items):
    items.sort()
def total(node):
    return 0 if node is None else node.value + total(node.left) + total(node.right)
def gen(n):
    yield from range(n)
def apply(function, value):
    return function(value)
def pi():
    return math.pi
"""


async def run(executor: Executor, *tests: object, code: str = CODE, **fields: object) -> Report:
    return await executor.run(Program(code=code, tests=tests, **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("test", "verdict"),
    [
        (CallTest(function="add", args_json="[1, 2]", expected_json="3"), Verdict.PASSED),
        (CallTest(function="add", args_json="[1]", kwargs_json='{"b": 4}', expected_json="5"), Verdict.PASSED),
        (CallTest(function="add", args_json="[1, 2]", expected_json="3.0"), Verdict.WRONG_ANSWER),
        (CallTest(function="pair", args_json="[1]", expected_json="[1, [1]]"), Verdict.PASSED),
        (
            CallTest(function="pi", expected_json="3.14159", comparison=Comparison.APPROX, rel_tol=1e-5),
            Verdict.PASSED,
        ),
        (CallTest(function="pi", expected_json="3.14159", comparison=Comparison.APPROX), Verdict.WRONG_ANSWER),
        (CallTest(function="fail", args_json='["value"]', expected_exception="ValueError"), Verdict.PASSED),
        (CallTest(function="fail", args_json='["odd"]', expected_exception="Odd"), Verdict.PASSED),
        (CallTest(function="fail", args_json='["odd"]', expected_exception="LookupError"), Verdict.PASSED),
        (CallTest(function="fail", args_json='["key"]', expected_exception="ValueError"), Verdict.WRONG_ANSWER),
        (CallTest(function="add", args_json="[1]", expected_exception="ValueError"), Verdict.WRONG_ANSWER),
        (CallTest(function="fail", args_json='["key"]', expected_json="1"), Verdict.RUNTIME_ERROR),
        (CallTest(function="missing", expected_json="1"), Verdict.RUNTIME_ERROR),
        (CallTest(function="Node", args_json="[1]", expected_json="1"), Verdict.WRONG_ANSWER),
    ],
)
async def test_call(executor: Executor, test: CallTest, verdict: Verdict) -> None:
    report = await run(executor, test)
    assert report.verdict is verdict, report.detail
    assert report.evidence is Evidence.VALUES


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("for i in range(3):\n    assert add(i, i) == 2 * i", Verdict.PASSED),
        ("for i in range(3):\n    assert add(i, i) == i", Verdict.WRONG_ANSWER),
        ("items = [3, 1, 2]\nsort(items)\nassert items == [1, 2, 3]", Verdict.PASSED),
        ("tree = Node(1, Node(2), Node(3))\nassert total(tree) == 6", Verdict.PASSED),
        ("tree = Node(1)\ntree.left = Node(5)\nassert tree.left.value == 5 and total(tree) == 6", Verdict.PASSED),
        ("trees = [Node(i) for i in range(3)]\nassert sum(total(t) for t in trees) == 3", Verdict.PASSED),
        ("for x in gen(3):\n    assert x in (0, 1, 2)\nassert [*gen(2)] == [0, 1]", Verdict.PASSED),
        ("it = gen(2)\nassert next(it) == 0 and next(it) == 1", Verdict.PASSED),
        ("try:\n    fail('value')\nexcept ValueError as e:\n    assert 'no value' in str(e)", Verdict.PASSED),
        ("try:\n    fail('odd')\nexcept LookupError:\n    pass", Verdict.PASSED),
        ("x = Node(1)\nassert x == 1", Verdict.WRONG_ANSWER),
        ("x = [Node(1)]\nassert x == [1] or x == ['anything']", Verdict.WRONG_ANSWER),
        ("for _ in (1,):\n    fail('key')", Verdict.RUNTIME_ERROR),
        ("import random\nn = random.randint(1, 9)\nassert add(n, n) == 2 * n", Verdict.PASSED),
        ("while True:\n    pass", Verdict.TIME_LIMIT),
        ("for i in range(1):\n    assert missing(i) == 1", Verdict.RUNTIME_ERROR),
    ],
)
async def test_judged(executor: Executor, code: str, verdict: Verdict) -> None:
    report = await run(executor, SnippetTest(code=code), limits=Limits(cpu_seconds=1))
    assert report.verdict is verdict, report.detail
    assert report.evidence is Evidence.JUDGE


async def test_what_no_judge_can_carry_is_said_and_may_run_in_process(executor: Executor) -> None:
    test = SnippetTest(code="assert apply(lambda x: x + 1, 2) == 3")
    report = await run(executor, test)
    assert report.verdict is Verdict.SANDBOX_FAILURE
    assert "allow_in_process" in report.detail
    report = await run(executor, test, allow_in_process=True)
    assert (report.verdict, report.evidence) == (Verdict.PASSED, Evidence.IN_PROCESS)
    wrong = SnippetTest(code="assert apply(lambda x: x + 1, 2) == 4")
    report = await run(executor, wrong, allow_in_process=True)
    assert (report.verdict, report.evidence) == (Verdict.WRONG_ANSWER, Evidence.IN_PROCESS)
    judged = SnippetTest(code="for i in (1,):\n    assert add(i) == 1")
    report = await run(executor, judged, allow_in_process=True)
    assert report.evidence is Evidence.JUDGE, "in-process only where nothing else does"


async def test_setup_code(executor: Executor) -> None:
    """Its imports also run before the program; all of it runs after and may use the program's classes."""
    code = "def f(x):\n    return math.floor(x)\nE = math.e\nclass Box:\n    size = 3\n"
    setup = "import math\nbox = Box()\ndef size(box):\n    return box.size\n"
    report = await run(
        executor,
        SnippetTest(code="assert f(2.5) == 2"),
        SnippetTest(code="assert size(box) == 3"),
        SnippetTest(code="for i in (1,):\n    assert math.isclose(f(1.5), i) and size(box) == 3"),
        code=code,
        setup_code=setup,
    )
    assert report.verdict is Verdict.PASSED, report.detail


async def test_humaneval_style_check_with_and_without_its_call(executor: Executor) -> None:
    check = "METADATA = {}\n\ndef check(candidate):\n    assert candidate(2, 3) == 5\n"
    for code in (check, check + "check(add)\n"):
        report = await run(executor, SnippetTest(code=code), entry_point="add")
        assert (report.verdict, report.evidence) == (Verdict.PASSED, Evidence.VALUES)


async def test_stdio(executor: Executor) -> None:
    code = "import sys\nprint(sys.argv[1:], sys.stdin.read().strip())\nsys.stderr.write('note')\n"
    test = StdioTest(stdin=b" a\nb ", expected_stdout=b"['x', '-y'] a\nb", argv=("x", "-y"))
    report = await run(executor, test, code=code)
    assert report.verdict is Verdict.PASSED, report.tests
    (one,) = report.tests
    assert (one.evidence, one.exit_code, one.signal, one.stderr) == (Evidence.STDOUT, 0, None, b"note")


async def test_eight_mebibytes_of_input_that_nobody_reads(executor: Executor) -> None:
    test = StdioTest(stdin=bytes(8 << 20), expected_stdout=b"42")
    assert (await run(executor, test, code="print(42)")).verdict is Verdict.PASSED


async def test_a_slow_reader_gets_all_of_its_input(executor: Executor) -> None:
    code = """
import sys, time
count = 0
while chunk := sys.stdin.buffer.read(1 << 19):
    count += len(chunk)
    time.sleep(0.01)
print(count)
"""
    test = StdioTest(stdin=bytes(3 << 20), expected_stdout=b"3145728")
    assert (await run(executor, test, code=code)).verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("code", "verdict", "said"),
    [
        ("print(41)", Verdict.WRONG_ANSWER, "not the expected"),
        ("print(42)\nraise SystemExit(3)", Verdict.RUNTIME_ERROR, "exit status 3"),
        ("print(42)\nraise SystemExit('no')", Verdict.RUNTIME_ERROR, "exit status 1: no"),
        ("import sys, os\nprint(42)\nos.close(1)", Verdict.RUNTIME_ERROR, "exit status 120"),
        ("print(42)\n1/0", Verdict.RUNTIME_ERROR, "ZeroDivisionError"),
        ("print(42", Verdict.COMPILE_ERROR, "SyntaxError: line 1"),
        ("x = '\\ud800'.encode()", Verdict.RUNTIME_ERROR, "UnicodeEncodeError"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", Verdict.RUNTIME_ERROR, "SIGSEGV"),
        ("raise MemoryError", Verdict.MEMORY_LIMIT, "MemoryError"),
    ],
)
async def test_how_scripts_fail(executor: Executor, code: str, verdict: Verdict, said: str) -> None:
    report = await run(executor, StdioTest(expected_stdout=b"42"), code=code)
    assert report.verdict is verdict
    assert said in report.detail


async def test_the_first_failing_test_ends_the_run_unless_all_are_wanted(executor: Executor) -> None:
    tests = tuple(SnippetTest(code=f"assert add({i}) == {i if i != 1 else 9}", name=f"t{i}") for i in range(4))
    seen: list[TestReport] = []
    report = await executor.run(Program(code=CODE, tests=tests), on_test=seen.append)
    assert [one.verdict.value for one in report.tests] == ["passed", "wrong_answer"]
    assert report.tests_total == 4 and report.tests_passed == 1
    assert "(got 1)" in report.detail
    assert tuple(seen) == report.tests
    report = await executor.run(Program(code=CODE, tests=tests, run_all=True))
    assert [one.name for one in report.tests] == ["t0", "t1", "t2", "t3"]
    assert report.tests_passed == 3 and report.verdict is Verdict.WRONG_ANSWER


async def test_run_all_goes_on_in_a_fresh_jail_after_a_limit(executor: Executor) -> None:
    code = "def f(x):\n    while x == 1:\n        pass\n    return x\n"
    tests = tuple(SnippetTest(code=f"assert f({i}) == {i}") for i in range(3))
    report = await run(executor, *tests, code=code, run_all=True, limits=Limits(cpu_seconds=0.3))
    assert [one.verdict.value for one in report.tests] == ["passed", "time_limit", "passed"]
    assert 0.3 <= report.tests[1].cpu_seconds < 3


async def test_each_test_has_a_process_and_files_of_its_own(executor: Executor) -> None:
    code = """
import os
calls = 0
def f(x):
    global calls
    calls += 1
    left = os.listdir("/tmp") + os.listdir("/dev/shm")
    os.makedirs("/tmp/deep/er")
    os.chmod("/tmp/deep", 0)
    open("/dev/shm/y", "w").close()
    return calls, left
"""
    tests = tuple(SnippetTest(code="assert f(1) == (1, [])") for _ in range(3))
    report = await run(executor, *tests, code=code)
    assert report.verdict is Verdict.PASSED, report.detail


async def test_limits_of_one_test_hold_for_it_alone(executor: Executor) -> None:
    code = "def f(n):\n    return len(bytearray(n << 20))\n"
    small = SnippetTest(code="assert f(100) == 100 << 20", limits=Limits(memory_bytes=64 << 20))
    large = SnippetTest(code="assert f(100) == 100 << 20")
    report = await run(executor, large, small, large, code=code, run_all=True)
    assert [one.verdict.value for one in report.tests] == ["passed", "memory_limit", "passed"]
    assert report.peak_memory_bytes is not None and report.peak_memory_bytes > 60 << 20


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tests": (SnippetTest(code="assert f("),)}, r"tests\[0\]: test code is not Python"),
        ({"tests": (CallTest(function="f"),)}, "exactly one of expected_json"),
        ({"tests": (CallTest(function="f", expected_json="{"),)}, "expected_json"),
        ({"tests": (CallTest(function="f", args_json="{}", expected_json="1"),)}, "args_json"),
        ({"tests": (CallTest(function="f(", expected_json="1"),)}, "function"),
        ({"tests": (CallTest(function="f", expected_json="1", comparison=Comparison.LINES),)}, "comparison"),
        ({"setup_code": "import"}, "setup_code"),
        ({"language": "cobol"}, "language"),
        ({"limits": Limits(memory_bytes=1)}, "limits.memory_bytes"),
        ({"limits": Limits(cpu_seconds=0)}, "limits.cpu_seconds"),
        ({"tests": ()}, "tests: at least one"),
    ],
)
async def test_a_wrong_record_is_refused_by_field(executor: Executor, fields: dict[str, object], said: str) -> None:
    whole: dict[str, object] = {"code": "", "tests": (StdioTest(),)} | fields
    with pytest.raises(InvalidProgram, match=said):
        await executor.run(Program(**whole))  # type: ignore[arg-type]


async def test_a_source_that_is_too_long_is_the_candidates_fault(executor: Executor) -> None:
    report = await run(executor, StdioTest(), code="#" * (2 << 20))
    assert report.verdict is Verdict.COMPILE_ERROR and "2097152 bytes" in report.detail


@pytest.mark.parametrize("way", ["script", "call"])
async def test_a_source_as_long_as_may_be(executor: Executor, way: str) -> None:
    """It fills the socket to the jail; the order of the first test, with its descriptors, waits behind it."""
    code = f"# {'x' * 1_000_000}\ndef f(x):\n    return 2 * x\nif __name__ == '__main__':\n    print(f(int(input())))\n"
    stdio = StdioTest(stdin=b"21\n", expected_stdout=b"42\n")
    call = CallTest(function="f", args_json="[21]", expected_json="42")
    report = await run(executor, stdio if way == "script" else call, code=code)
    assert report.verdict is Verdict.PASSED, report.detail
