"""What is particular to jails that are forks: the server's own life, and what a fork has left behind."""

import asyncio
import os
import signal

import pytest

from executor import (
    WEAKNESSES,
    Executor,
    ExecutorConfig,
    Limits,
    Mode,
    Program,
    SandboxUnavailable,
    SnippetTest,
    StdioTest,
    Verdict,
)
from executor.forking import ForkMaker

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(os.geteuid() != 0, reason="the fork server needs root"),
]

GOOD = Program(code="def f(x):\n    return 2 * x\n", tests=(SnippetTest(code="assert f(2) == 4"),))
SLOW = Program(code=f"import time\ntime.sleep(0.5)\n{GOOD.code}", tests=GOOD.tests)


async def server_of(executor: Executor) -> tuple[ForkMaker, int]:
    """The maker of the jails and the pid of its server's process 1."""
    while executor._jails.pool().unsettled:  # noqa: ASYNC110  # pyright: ignore
        await asyncio.sleep(0.001)
    maker = executor._jails.pool().maker  # pyright: ignore
    assert isinstance(maker, ForkMaker)
    return maker, maker._current.jail._control.sender  # pyright: ignore


def alive(pid: int) -> bool:
    """Whether it runs: a zombie only waits to be noticed."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """Those that run."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [child for child in map(int, file.read().split()) if alive(child)]


async def test_a_lost_server_loses_no_program() -> None:
    async with Executor(ExecutorConfig(mode=Mode.FORK_SERVER, slots=2, warm=2)) as executor:
        runs = [asyncio.create_task(executor.run(SLOW)) for _ in range(8)]
        while not executor.stats().busy:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        _, first = await server_of(executor)
        os.kill(first, signal.SIGKILL)
        reports = await asyncio.gather(*runs)
        assert [report.verdict for report in reports] == [Verdict.PASSED] * 8
        _, second = await server_of(executor)
        assert second != first
        await executor.settled()
        stats = executor.stats()
        assert (stats.kill_alarms, stats.leaked_cgroups) == (0, 0)
    assert not alive(second)


async def test_a_worn_server_is_replaced_and_ends_after_its_last_jail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("executor.forking._MOST_FORKS", 5)
    seen: set[int] = set()
    async with Executor(ExecutorConfig(mode=Mode.FORK_SERVER, slots=2, warm=1)) as executor:
        held = asyncio.create_task(executor.run(SLOW))
        for _ in range(24):
            seen.add((await server_of(executor))[1])
            assert (await executor.run(GOOD)).verdict is Verdict.PASSED
        assert (await held).verdict is Verdict.PASSED, "it outlived several servers"
        await executor.settled()
        assert len(seen) >= 4
        maker, last = await server_of(executor)
        # The parser's jail may be one of the last but one; the next text then finds another.
        for _ in range(10):
            if not any(alive(pid) for pid in seen - {last}):
                break
            await executor.run(GOOD)
            await executor.settled()
            seen.add(last)
            maker, last = await server_of(executor)
            await asyncio.gather(*maker._ends)  # pyright: ignore
        assert not any(alive(pid) for pid in seen - {last})
        assert len(children(last)) == executor.stats().idle + 1, "and the parser's"


async def test_a_fork_has_no_right_of_its_servers() -> None:
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
header = ctypes.create_string_buffer((0x20080522).to_bytes(4, "little") + bytes(4))
held = ctypes.create_string_buffer(24)
assert libc.capget(header, held) == 0 and bytes(held.raw) == bytes(24)
for number in range(64):
    assert libc.prctl(23, number, 0, 0, 0) in (0, -1)  # PR_CAPBSET_READ
    assert libc.prctl(47, 1, number, 0, 0) in (0, -1)  # PR_CAP_AMBIENT_IS_SET
assert libc.prctl(39, 0, 0, 0, 0) == 1  # PR_GET_NO_NEW_PRIVS
assert libc.prctl(21, 0, 0, 0, 0) == 2  # PR_GET_SECCOMP: filter
assert 0 not in os.getresuid() + os.getresgid() and os.getgroups() == []
for become in (os.setuid, os.setgid, os.seteuid):
    try:
        become(0)
    except PermissionError:
        continue
    raise AssertionError(become)
for descriptor in range(3, 256):
    try:
        os.fstat(descriptor)
    except OSError:
        continue
    raise AssertionError(descriptor)
try:
    os.kill(os.getppid() + 5, 0)
except ProcessLookupError:
    print("nothing")
"""
    async with Executor(ExecutorConfig(mode=Mode.FORK_SERVER, slots=1, warm=1)) as executor:
        report = await executor.run(Program(code=code, tests=(StdioTest(expected_stdout=b"nothing\n"),)))
        assert report.verdict is Verdict.PASSED, report.tests[0].stderr


async def test_each_fork_has_namespaces_of_its_own() -> None:
    async with Executor(ExecutorConfig(mode=Mode.FORK_SERVER, slots=1, warm=3)) as executor:
        await executor.settled()
        _, server = await server_of(executor)
        runners = children(server)
        assert len(runners) == 4, "three warm ones and the parser's"
        for kind in ("pid", "mnt", "ipc", "net", "uts", "cgroup"):
            links = {os.readlink(f"/proc/{pid}/ns/{kind}") for pid in [*runners, server]}
            assert len(links) == 5, kind


async def test_nothing_of_one_program_is_in_the_next() -> None:
    first = Program(
        code="MARKER = 'marker-' + '4711'\ndef f(x):\n    open('/tmp/left', 'w').write(MARKER)\n    return 2 * x\n",
        tests=(SnippetTest(code="assert f(2) == 4 # text-marker-4712"),),
    )
    second = """
import gc, os, sys
seen = [str(thing) for thing in gc.get_objects() if type(thing) in (dict, list, tuple, str)]
wanted = [word[::-1] for word in ("1174-rekram", "2174-rekram-txet")]
assert not any(word in text for word in wanted for text in seen)
print(os.listdir("/tmp"), os.listdir("/dev/shm"))
"""
    async with Executor(ExecutorConfig(mode=Mode.FORK_SERVER, slots=1, warm=0)) as executor:
        assert (await executor.run(first)).verdict is Verdict.PASSED
        report = await executor.run(Program(code=second, tests=(StdioTest(expected_stdout=b"[] []\n"),)))
        assert report.verdict is Verdict.PASSED, report.tests[0].stderr


@pytest.mark.parametrize("backend", ["hybrid", "v2", "v1", "none"])
async def test_every_back_end_ends_a_crowd(backend: str) -> None:
    crowd = Program(
        code="import os, time\nfor _ in range(4):\n    os.fork()\ntime.sleep(60)\n",
        tests=(StdioTest(),),
        limits=Limits(wall_seconds=0.5, processes=20),
    )
    config = ExecutorConfig(
        mode=Mode.FORK_SERVER, slots=1, warm=1, cgroup_backend=backend, allow_weaker=tuple(WEAKNESSES)
    )
    async with Executor(config) as executor:
        for program, verdict in ((GOOD, Verdict.PASSED), (crowd, Verdict.TIME_LIMIT), (GOOD, Verdict.PASSED)):
            assert (await executor.run(program)).verdict is verdict
        await executor.settled()
        _, server = await server_of(executor)
        assert len(children(server)) == 2, "the warm one and the parser's"
        assert executor.stats().kill_alarms == 0


async def test_a_mode_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="fork_server"):
        await Executor(ExecutorConfig(mode="fork_server")).__aenter__()  # pyright: ignore


async def test_without_users_of_their_own_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    config = ExecutorConfig(mode=Mode.FORK_SERVER, allow_weaker=("shared-uid",))
    with pytest.raises(SandboxUnavailable, match="only root can give"):
        await Executor(config).__aenter__()
