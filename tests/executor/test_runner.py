"""What a program may do to the process that reports on it. A lost jail is the sandbox's failure: none may be lost."""

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from executor import Executor, ExecutorConfig, Limits, Mode, Program, SnippetTest, Verdict

pytestmark = [pytest.mark.sandbox, pytest.mark.asyncio(loop_scope="module")]

TESTS = (SnippetTest(code="assert f(2) == 4"), SnippetTest(code="assert f(10) == 20"))
HOSTILE = {
    "limits of the runner": """
import resource
def f(x):
    for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_CPU):
        try:
            resource.prlimit(1, kind, (0, 0))
        except PermissionError:
            pass
    return 2 * x
""",
    "folders deeper than the recursion of the runner": """
import os
def f(x):
    os.chdir("/tmp")
    for _ in range(1200):
        os.mkdir("d")
        os.chdir("d")
    return 2 * x
""",
    "folders longer than a path": """
import os
def f(x):
    os.chdir("/dev/shm")
    for _ in range(25):
        os.mkdir("d" * 250)
        os.chdir("d" * 250)
    return 2 * x
""",
    "a folder shut to all": """
import os
def f(x):
    for path in ("/tmp", "/dev/shm"):
        try:
            os.chmod(path, 0)
        except PermissionError:
            pass
    return 2 * x
""",
    "more warnings than a pipe holds": "def f(x):\n    return 2 * x\n" + "text = '\\d'\n" * 2000,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=list(Mode))
async def single(request: pytest.FixtureRequest) -> AsyncIterator[Executor]:
    """No jail is kept warm, so each run starts those that it needs and no others."""
    if request.param is Mode.FORK_SERVER and os.geteuid() != 0:
        pytest.skip("the fork server needs root")
    async with Executor(ExecutorConfig(mode=request.param, slots=1, warm=0)) as running:
        yield running


@pytest.mark.parametrize("name", HOSTILE)
async def test_no_program_can_end_its_own_jail(single: Executor, name: str) -> None:
    limits = Limits(cpu_seconds=5, wall_seconds=20)
    await single.settled()
    before = single.stats().jails_started
    report = await single.run(Program(code=HOSTILE[name], tests=TESTS, limits=limits))
    assert report.verdict is Verdict.PASSED, report
    assert single.stats().jails_started == before + 1, "the second test found the first one's jail alive"


async def test_files_that_are_more_than_the_next_test_may_have(single: Executor) -> None:
    """The kernel refuses to lower the limit of a group below what it holds."""
    code = """
def f(x):
    if x == 2:
        for path in ("/tmp/x", "/dev/shm/x"):
            with open(path, "wb") as file:
                file.write(bytes(60 << 20))
    return 2 * x
"""
    small = SnippetTest(code="assert f(10) == 20", limits=Limits(memory_bytes=64 << 20))
    report = await single.run(Program(code=code, tests=(TESTS[0], small, TESTS[0])))
    assert [test.verdict for test in report.tests] == [Verdict.PASSED] * 3, report
