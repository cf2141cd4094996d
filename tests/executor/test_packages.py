"""Packages that an operator lends to Python programs: numpy works, reads only, and starts no thread of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from executor import Executor, ExecutorConfig, Program, SandboxUnavailable, SnippetTest, StdioTest, Verdict

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
