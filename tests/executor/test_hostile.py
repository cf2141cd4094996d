"""A hostile pack and honest controls, each in a real jail: allowed verdicts, nothing left, the next run unharmed.

A case in corpus/*.toml has a name, code, the task that it is given to, and the verdicts allowed. Tasks: `double` (calls
judged by value), `check` (a judge jail), `echo` (stdin to stdout), `collect` (a list made of what is returned),
`method` (Solution().f), `zipped` (loops that end with what they go through); `all` is the first three. Every task asks
for the double of a number.
"""

import asyncio
import contextlib
import os
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from executor import Executor, ExecutorConfig, Limits, Mode, Program, Report, SnippetTest, StdioTest, Test, Verdict

pytestmark = [pytest.mark.sandbox, pytest.mark.asyncio(loop_scope="module")]

LIMITS = Limits(cpu_seconds=1, wall_seconds=3, memory_bytes=192 << 20, processes=32, output_bytes=1 << 20)
PATIENT = msgspec.structs.replace(LIMITS, cpu_seconds=10, wall_seconds=30)
"""Of programs that are not to end by the clock, on however slow a machine."""
TASKS: dict[str, tuple[tuple[Test, ...], str | None]] = {
    "double": ((SnippetTest(code="assert f(2) == 4"), SnippetTest(code="assert f(10) == 20")), None),
    "check": ((SnippetTest(code="def check(g):\n    for i in range(1, 5):\n        assert g(i) == 2 * i\n"),), "f"),
    "echo": ((StdioTest(stdin=b"21\n", expected_stdout=b"42\n"),), None),
    "collect": ((SnippetTest(code="assert list(f(3)) == [0, 2, 4]"),), None),
    "zipped": (
        (
            SnippetTest(code="for got, want in zip(map(f, [1, 2, 3]), [2, 4, 6]):\n    assert got == want"),
            SnippetTest(code="assert all(map(lambda x: f(x) == 2 * x, [1, 2, 3]))"),
        ),
        None,
    ),
    "method": ((SnippetTest(code="assert Solution().f(3) == 6"),), None),
}
DESCRIPTORS_MORE = 120
"""That a run may find open beyond what the first one of its executor left: some twenty control groups are kept, with
three to five files each."""
_descriptors: dict[int, int] = {}
JAIL_USERS = range(1_000_000_000 + os.getpid() * 256, 1_000_000_000 + os.getpid() * 256 + 256)
"""Outside users of this process's jails."""
GOOD = {
    "echo": "print(int(input()) * 2)",
    "double": "def f(x):\n    return 2 * x\n",
}


@dataclass(frozen=True)
class Case:
    name: str
    task: str
    code: str
    allowed: frozenset[str]

    @property
    def program(self) -> Program:
        tests, entry_point = TASKS[self.task]
        limits = LIMITS if "time_limit" in self.allowed else PATIENT
        return Program(code=self.code, tests=tests, entry_point=entry_point, limits=limits)


def load(folder: Path) -> tuple[list[Case], list[Case]]:
    hostile: list[Case] = []
    controls: list[Case] = []
    for path in sorted(folder.glob("*.toml")):
        for row in tomllib.loads(path.read_text())["case"]:
            tasks = ("double", "check", "echo") if row["task"] == "all" else (row["task"],)
            allowed = frozenset(row.get("allowed", ("passed",)))
            cases = [Case(f"{path.stem}: {row['name']} [{task}]", task, row["code"], allowed) for task in tasks]
            (controls if path.stem == "controls" else hostile).extend(cases)
    return hostile, controls


HOSTILE, CONTROLS = load(Path(__file__).with_name("corpus"))


def named(case: Case) -> str:
    return case.name


def told(report: Report) -> str:
    stderr = report.tests[-1].stderr[-300:] if report.tests else b""
    return f"{report.verdict}: {report.detail} {stderr!r}"


def users_of_processes() -> list[int]:
    """The outside user of every process of this machine, zombies apart."""
    users: list[int] = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                text = (path / "status").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if "\nState:\tZ" not in text:
                users.append(int(text.split("\nUid:", 1)[1].split()[0]))
    return users


def users_of_jails() -> list[int]:
    """The same, of this process's jails only (nsjail itself keeps the executor's user)."""
    return [user for user in users_of_processes() if user in JAIL_USERS]


def host_files() -> set[str]:
    """What jails could let lie about on the host: nsjail's own folders, and files of their users in /dev/shm."""
    found = {str(path) for path in Path("/tmp").glob("nsjail*")}
    for path in Path("/dev/shm").iterdir():
        with contextlib.suppress(FileNotFoundError):  # another program's, which has just removed it
            user = path.lstat().st_uid
            if user in JAIL_USERS or (os.geteuid() != 0 and user == os.geteuid()):
                found.add(str(path))
    return found


async def runners(executor: Executor) -> int:
    """How many processes of jails there are, once they are as many as warm jails; or after ten seconds."""
    # Two that run no program: the parser's jail, and the fork server's.
    others = 1 + executor.info.backend.endswith("fork-server")
    until = time.monotonic() + 10
    # A process leaves its control group some moments before it is gone.
    while (found := len(users_of_jails()) - others) != executor.stats().idle and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return found


@pytest.mark.parametrize("case", HOSTILE, ids=named)
async def test_hostile(executor: Executor, case: Case) -> None:
    files = host_files()
    report = await executor.run(case.program)
    assert report.verdict.value in case.allowed, told(report)
    await executor.settled()
    stats = executor.stats()
    assert stats.jails_live == stats.idle
    assert stats.kill_alarms == stats.leaked_cgroups == stats.start_failures == 0
    # A few for each warm jail and for each group, whose files stay open; one leaked by each run would soon exceed it.
    # What other test modules have left open does not count.
    found = len(os.listdir("/proc/self/fd"))
    assert found <= _descriptors.setdefault(id(executor), found) + DESCRIPTORS_MORE
    assert await runners(executor) == stats.idle
    assert host_files() <= files


@pytest.mark.parametrize("case", CONTROLS, ids=named)
async def test_control(executor: Executor, case: Case) -> None:
    report = await executor.run(case.program)
    assert report.verdict is Verdict.PASSED, told(report)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mode", Mode)
async def test_eight_at_once(mode: Mode) -> None:
    """The whole pack again, eight programs at a time, with an honest program beside every hostile one."""
    if mode is Mode.FORK_SERVER and os.geteuid() != 0:
        pytest.skip("the fork server needs root")
    async with Executor(ExecutorConfig(mode=mode, slots=8, warm=4)) as executor:
        gate = asyncio.Semaphore(8)
        wrong: list[str] = []

        async def one(name: str, program: Program, allowed: frozenset[str]) -> None:
            async with gate:
                report = await executor.run(program)
                if report.verdict.value not in allowed:
                    wrong.append(f"{name}: {told(report)}")

        async with asyncio.TaskGroup() as group:
            for index, case in enumerate(HOSTILE):
                limits = case.program.limits
                patient = msgspec.structs.replace(limits, wall_seconds=max(12, limits.effective_wall_seconds))
                program = msgspec.structs.replace(case.program, limits=patient)
                group.create_task(one(case.name, program, case.allowed))
                task = ("echo", "double")[index % 2]
                good = Case("good", task, GOOD[task], frozenset({"passed"}))
                calm = Program(code=good.code, tests=good.program.tests, limits=Limits(cpu_seconds=10, wall_seconds=60))
                group.create_task(one(f"beside {case.name}", calm, good.allowed))
        assert not wrong, "\n".join(wrong)
        await executor.settled()
        assert executor.stats().kill_alarms == executor.stats().leaked_cgroups == 0


class TestBetweenCandidates:
    """Two candidates at the same time."""

    async def both(self, executor: Executor, first: str, second: str) -> tuple[Report, Report]:
        tests, _ = TASKS["echo"]
        a, b = (Program(code=code, tests=tests, limits=LIMITS) for code in (first, second))
        return await asyncio.gather(executor.run(a), executor.run(b))

    async def test_files_do_not_cross(self, executor: Executor) -> None:
        write = "import time\nfor p in ('/tmp/x', '/dev/shm/x'):\n    open(p, 'w').write('x')\ntime.sleep(1)\nprint(42)"
        read = "import os, time\ntime.sleep(0.5)\nassert not os.listdir('/tmp') + os.listdir('/dev/shm')\nprint(42)"
        for report in await self.both(executor, write, read):
            assert report.verdict is Verdict.PASSED, told(report)

    async def test_kills_do_not_cross(self, executor: Executor) -> None:
        kill = (
            "import os, signal\nfor pid in range(2, 5000):\n    try:\n        pid == os.getpid() or os.kill(pid, 9)\n"
        )
        kill += "    except OSError:\n        pass\nprint(42)"
        sleep = "import time\ntime.sleep(1)\nprint(42)"
        for report in await self.both(executor, kill, sleep):
            assert report.verdict is Verdict.PASSED, told(report)

    async def test_each_has_an_outside_user_of_its_own(self, executor: Executor) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can give each jail a user of its own")
        sleep = "import time\ntime.sleep(1)\nprint(42)"
        running = asyncio.gather(*(executor.run(Program(code=sleep, tests=TASKS["echo"][0])) for _ in range(2)))
        await asyncio.sleep(0.6)
        assert len(set(users_of_jails())) >= 2
        for report in await running:
            assert report.verdict is Verdict.PASSED


async def test_the_jail_never_sees_what_is_expected(executor: Executor) -> None:
    """A program that prints all of its memory that it can read: neither expected values nor test text are in it."""
    code = """
import ctypes, gc, sys
def f(x):
    seen = [str(thing) for thing in gc.get_objects() if type(thing) in (dict, list, tuple)]
    frame = sys._getframe()
    while frame:
        seen.append(str(frame.f_locals))
        frame = frame.f_back
    sys.stderr.write(" ".join(seen)[:900_000])
    return 0
"""
    test = SnippetTest(code="assert f('question') == 'expected-marker-71' # text-marker-72", name="name-marker-73")
    report = await executor.run(Program(code=code, tests=(test,)))
    assert report.verdict is Verdict.WRONG_ANSWER
    async with Executor(ExecutorConfig(slots=1, warm=0, tail_bytes=1 << 20)) as wide:
        report = await wide.run(Program(code=code, tests=(test,)))
    seen = report.tests[0].stderr
    assert b"question" in seen
    for marker in (b"expected-marker-71", b"text-marker-72", b"name-marker-73"):
        assert marker not in seen
