"""The hostile pack as an ordinary user, with all that is weaker then allowed: what differs is known and named."""

import os
from pathlib import Path

import pytest
from support.ordinary_user import run_as_ordinary_user

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(1200)]

# Where no group counts it, a limit of memory holds for each process, and for no files that lie in memory.
NOT_STOPPED = {"memory: twelve children of 30 MB [echo]", "memory: memfd [echo]"}
SCRIPT = """
import asyncio, importlib.util
from executor import Executor, ExecutorConfig
from executor.config import WEAKNESSES
spec = importlib.util.spec_from_file_location("pack", PACK)
pack = sys.modules["pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
def mine():
    return pack.users_of_processes().count(os.getuid())
async def main():
    config = ExecutorConfig(slots=2, warm=1, allow_weaker=tuple(WEAKNESSES), cgroup_backend="none")
    async with Executor(config) as executor:
        await executor.settled()
        before = mine()
        for case in [*pack.HOSTILE, *pack.CONTROLS]:
            report = await executor.run(case.program)
            await executor.settled()
            if report.verdict.value not in case.allowed:
                print("verdict", case.name, report.verdict.value, sep="|")
            if mine() != before:
                print("left", case.name, mine() - before, sep="|")
        stats = executor.stats()
        print("done", sum(stats.executed.values()), stats.kill_alarms + stats.start_failures, sep="|")
asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")
def test_the_pack_as_an_ordinary_user(tmp_path: Path) -> None:
    pack = Path(__file__).with_name("test_hostile.py")
    run = run_as_ordinary_user(SCRIPT.replace("PACK", repr(str(pack))), tmp_path, 1000)
    lines = [line.split("|") for line in run.stdout.splitlines()]
    assert lines, run.stderr[-2000:]
    assert lines[-1][0] == "done" and lines[-1][2] == "0", (lines[-1], run.stderr[-2000:])
    assert {tuple(line[1:]) for line in lines[:-1]} <= {(name, "passed") for name in NOT_STOPPED}, lines
