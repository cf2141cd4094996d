"""Every system call number, asked in a jail of each kind: what is denied is denied, and what is new does not exist."""

import errno
import os

import pytest

from executor import Executor, ExecutorConfig, Limits, Mode, Program, StdioTest
from executor.seccomp import DENIED

pytestmark = [pytest.mark.sandbox, pytest.mark.asyncio(loop_scope="module")]

LAST = 600
# Arguments of -1 make nearly every call fail at once. Not asked: those that end, stop or replace the process all the
# same, and those whose answer depends on the moment.
ENDS_OR_WAITS = {15, 34, 56, 57, 58, 60, 231}
X32 = 0x40000000
X32_DENIED = sorted(X32 + number for number in [*DENIED.values(), 16, 53, 56, 72, 157, 302, 435, *range(512, 548)])
PROBE = f"""
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
def ask(number):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6)
        os.write(write, str(0 if result != -1 else ctypes.get_errno()).encode())
        os._exit(0)
    os.close(write)
    answer = os.read(read, 100).decode() or "died"
    os.close(read)
    os.waitpid(child, 0)
    return answer
for number in [*range({LAST}), *{X32_DENIED}]:
    if number not in {ENDS_OR_WAITS}:
        print(number, ask(number))
"""


async def answers(mode: Mode) -> dict[int, str]:
    limits = Limits(cpu_seconds=60, wall_seconds=200)
    program = Program(code=PROBE, tests=(StdioTest(expected_stdout=b"unknown"),), limits=limits)
    async with Executor(ExecutorConfig(mode=mode, slots=1, warm=1, allow_weaker=WEAKER)) as executor:
        report = await executor.run(program)
    lines = report.tests[0].stdout.decode().splitlines()
    found = {int(number): answer for number, answer in (line.split() for line in lines)}
    assert len(found) == LAST - len(ENDS_OR_WAITS) + len(X32_DENIED), report
    return found


WEAKER = ("shared-uid", "memory-per-process", "processes-per-user", "cpu-per-process", "kill-by-init")


def check(found: dict[int, str]) -> None:
    allowed = [name for name, number in DENIED.items() if found[number] != str(errno.EPERM)]
    assert not allowed
    # Most kernels have no calls of the x32 kind, and would answer ENOSYS: it is the filter that answers.
    assert {found[number] for number in X32_DENIED} == {str(errno.EPERM)}
    known = [number for number in range(451, LAST) if found[number] != str(errno.ENOSYS)]
    assert not known, "numbers newer than the list must not exist inside"
    assert found[435] == str(errno.ENOSYS), "clone3"


async def test_in_a_jail() -> None:
    check(await answers(Mode.JAIL))


@pytest.mark.skipif(os.geteuid() != 0, reason="the fork server needs root")
async def test_a_fork_answers_as_a_jail_does() -> None:
    forked, jailed = await answers(Mode.FORK_SERVER), await answers(Mode.JAIL)
    check(forked)
    assert {number: (forked[number], jailed[number]) for number in jailed if forked[number] != jailed[number]} == {}
