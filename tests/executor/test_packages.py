"""Packages that an operator lends to Python programs: numpy works, reads only, and starts no thread of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from executor import (
    CallTest,
    Comparison,
    Executor,
    ExecutorConfig,
    Program,
    SandboxUnavailable,
    SnippetTest,
    StdioTest,
    Test,
    Verdict,
)
from executor.guest.plain import encode
from executor.types import CallsTest

numpy = pytest.importorskip("numpy", reason="the environment of these tests has no numpy to lend")
pytestmark = [pytest.mark.sandbox, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lender() -> AsyncIterator[Executor]:
    folder = Path(numpy.__file__).parents[1]
    async with Executor(ExecutorConfig(slots=1, site_packages=str(folder))) as running:
        yield running


async def test_numpy(lender: Executor) -> None:
    code = """
import numpy as np
def inverse(n):
    a = np.eye(n) * 2 + 1
    return bool(np.allclose(a @ np.linalg.inv(a), np.eye(n)))
def total(items):
    return int(np.array(items).sum())
"""
    tests = (SnippetTest(code="assert inverse(200)"), SnippetTest(code="assert total([1, 2, 3]) == 6"))
    report = await lender.run(Program(code=code, tests=tests))
    assert report.verdict is Verdict.PASSED, report.detail


NUMBERS = """
import numpy as np
def total(items):
    return np.array(items).sum()
def mean(items):
    return np.array(items).mean()
def positive(items):
    return (np.array(items) > 0).all()
def bounds(items):
    return {"least": np.min(items), "all": [np.float64(0.5), np.array(7)]}
def doubled(items):
    return np.array(items) * 2
"""


async def test_numbers_of_numpy_are_the_plain_numbers(lender: Executor) -> None:
    tests: tuple[Test, ...] = (
        SnippetTest(code="assert total([1, 2, 3]) == 6\nassert mean([1, 2]) == 1.5\nassert positive([1]) is True"),
        SnippetTest(code="assert bounds([3, 2]) == {'least': 2, 'all': [0.5, 7]}"),
        SnippetTest(code="for n in range(1, 5):\n    assert total(list(range(n))) + 1 == sum(range(n)) + 1"),
        CallTest(function="total", args_json="[[1, 2, 3]]", expected_json="6"),
        CallTest(function="mean", args_json="[[1, 2]]", expected_json="1.5", comparison=Comparison.APPROX),
        CallsTest(function="total", calls=(encode([[1, 2]]),), expected=(encode(3),)),
    )
    report = await lender.run(Program(code=NUMBERS, tests=tests, run_all=True))
    assert [test.verdict for test in report.tests] == [Verdict.PASSED] * len(tests), report.detail
    wrong = (SnippetTest(code="assert total([1, 2, 3]) == 7"), SnippetTest(code="assert total([1]) is True"))
    report = await lender.run(Program(code=NUMBERS, tests=wrong, run_all=True))
    assert [test.verdict for test in report.tests] == [Verdict.WRONG_ANSWER] * 2


async def test_an_array_is_no_list(lender: Executor) -> None:
    test = SnippetTest(code="assert doubled([1, 2]) == [2, 4]")
    report = await lender.run(Program(code=NUMBERS, tests=(test,)))
    assert (report.verdict, report.detail) == (
        Verdict.WRONG_ANSWER,
        "not so: doubled([1, 2]) == [2, 4] (got <ndarray object>)",
    )


async def test_they_cannot_be_changed_and_say_nothing_of_the_host(lender: Executor) -> None:
    code = """
import numpy, os, threading
numpy.ones((300, 300)) @ numpy.ones((300, 300))
found = [numpy.__file__, threading.active_count()]
found.append(os.access(numpy.__file__, os.W_OK) or not os.statvfs("/site-packages").f_flag & os.ST_RDONLY)
print(*found, sep="|")
"""
    test = StdioTest(expected_stdout=b"/site-packages/numpy/__init__.py|1|False\n")
    report = await lender.run(Program(code=code, tests=(test,)))
    assert report.verdict is Verdict.PASSED, report.tests[0].stdout


async def test_without_it_there_is_none(executor: Executor) -> None:
    report = await executor.run(Program(code="import numpy\ndef f(): pass", tests=(SnippetTest(code="f()"),)))
    assert report.verdict is Verdict.RUNTIME_ERROR
    assert "ModuleNotFoundError" in report.detail


async def test_a_folder_that_is_not_there_stops_the_start() -> None:
    with pytest.raises(SandboxUnavailable, match="site_packages: '/nowhere' is no folder"):
        async with Executor(ExecutorConfig(site_packages="/nowhere")):
            pass
