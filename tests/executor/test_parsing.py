"""What is no Python costs no jail; what the parser cannot tell in time is left to the program's own jail."""

import asyncio
import os
import signal

import pytest

from executor import Executor, ExecutorConfig, Limits, Program, SnippetTest, TestReport, Verdict

pytestmark = [pytest.mark.sandbox]

TESTS = (SnippetTest(code="assert f(2) == 4", name="two"), SnippetTest(code="assert f(3) == 6", name="three"))
CONFIG = ExecutorConfig(slots=1, warm=1)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser has all the time it wants: a busy machine is no reason to spend a jail."""
    monkeypatch.setattr("executor.parsing._ANSWER_SECONDS", 60)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def f(x)\n    return 2 * x\n", "line 1: expected ':'"),
        ("def f(x):\nreturn 2 * x\n", "line 2: expected an indented block after function definition on line 1"),
        ("return 1\n", "line 1: 'return' outside function"),
        ("def f(x):\n    return '2\n", "line 2: unterminated string literal"),
    ],
)
@pytest.mark.usefixtures("patient")
async def test_no_jail_is_spent_on_what_is_no_program(code: str, message: str) -> None:
    async with Executor(CONFIG) as executor:
        await executor.settled()
        before = executor.stats().jails_started
        seen: list[TestReport] = []
        for run_all in (False, True):
            report = await executor.run(Program(code=code, tests=TESTS, run_all=run_all), on_test=seen.append)
            assert report.verdict is Verdict.COMPILE_ERROR
            assert message in report.detail
            assert [test.name for test in report.tests] == (["two", "three"] if run_all else ["two"])
            assert report.tests_total == 2
        assert [test.index for test in seen] == [0, 0, 1]
        await executor.settled()
        assert executor.stats().jails_started == before
        assert executor.stats().executed == {"compile_error": 2}


async def test_text_that_only_a_real_run_can_judge_gets_one() -> None:
    nested = "x = " + "(" * 5000 + "1" + ")" * 5000 + "\n"
    slow = "x = " + "-" * 90_000 + "1\n"
    warning = "import re\ndef f(x):\n    return 2 * x if re.match('\\d', '1') else 0\n"
    async with Executor(CONFIG) as executor:
        await executor.settled()
        for code, verdicts in ((nested, ("compile_error", "memory_limit")), (slow, ("compile_error", "memory_limit"))):
            report = await executor.run(Program(code=code, tests=TESTS, limits=Limits(cpu_seconds=2)))
            assert report.verdict.value in verdicts, report
        for _ in range(200):  # a warning each, on a descriptor that nobody reads
            assert await executor._jails.parser.refusal(warning) is None  # pyright: ignore
        report = await executor.run(Program(code=warning, tests=TESTS))
        assert report.verdict is Verdict.PASSED
        await executor.settled()
        assert executor.stats().kill_alarms == 0


@pytest.mark.usefixtures("patient")
async def test_a_lost_parser_delays_nobody_and_comes_back() -> None:
    async with Executor(CONFIG) as executor:
        await executor.settled()
        parser = executor._jails.parser  # pyright: ignore
        os.kill(parser._jail._control.sender, signal.SIGKILL)  # pyright: ignore
        good, bad = Program(code="def f(x):\n    return 2 * x\n", tests=TESTS), Program(code="def", tests=TESTS)
        reports = await asyncio.gather(*(executor.run(program) for program in (good, bad, good, bad)))
        assert [report.verdict.value for report in reports] == ["passed", "compile_error"] * 2
        await executor.settled()
        before = executor.stats().jails_started
        assert (await executor.run(bad)).verdict is Verdict.COMPILE_ERROR
        await executor.settled()
        assert executor.stats().jails_started == before, "there is a parser again"
