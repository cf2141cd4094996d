"""A machine on which jails stop being startable while the executor works, and start again."""

import asyncio
import time
from pathlib import Path

import pytest

from executor import Executor, ExecutorConfig, Program, SnippetTest, Verdict
from executor.errors import ExecutorError
from executor.jails import find_nsjail

pytestmark = pytest.mark.sandbox

GOOD = Program(code="def f(x):\n    return 2 * x\n", tests=(SnippetTest(code="assert f(2) == 4"),))


class Breakable:
    """An nsjail that can be made to fail. The file is changed in place: jails are started from a view of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._real, _ = find_nsjail("")
        self.mend()
        path.chmod(0o755)

    def mend(self) -> None:
        self.path.write_text(f'#!/bin/sh\nexec {self._real} "$@"\n')

    def spoil(self) -> None:
        self.path.write_text("#!/bin/sh\necho no namespaces are left >&2\nexit 1\n")


async def ran(executor: Executor) -> Verdict | None:
    """The verdict on a good program; None where the executor says that it cannot run it."""
    try:
        return (await asyncio.wait_for(executor.run(GOOD), 60)).verdict
    except ExecutorError:
        return None


async def test_jails_that_cannot_start_are_the_sandbox_s_failure_and_pass(tmp_path: Path) -> None:
    nsjail = Breakable(tmp_path / "nsjail")
    async with Executor(ExecutorConfig(nsjail=str(nsjail.path), slots=2, warm=1)) as executor:
        assert (await executor.run(GOOD)).verdict is Verdict.PASSED
        await executor.settled()  # a file cannot be written while it is being started
        nsjail.spoil()
        # Jails that were warm still serve. After them no program runs, and nothing is held against it.
        for _ in range(20):
            outcome = await ran(executor)
            assert outcome in (Verdict.PASSED, Verdict.SANDBOX_FAILURE, None)
            if outcome is not Verdict.PASSED:
                break
        else:
            raise AssertionError("programs ran without a jail")
        assert executor.stats().start_failures > 0
        await executor.settled()
        nsjail.mend()
        until = time.monotonic() + 60
        while await ran(executor) is not Verdict.PASSED:
            assert time.monotonic() < until
            await asyncio.sleep(0.1)
        assert executor.stats().leaked_cgroups == 0
