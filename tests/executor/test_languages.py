"""C++ and JavaScript: what they are told, what they may use, and hostile programs in both, in real jails."""

import asyncio
import contextlib
import os
import subprocess
from pathlib import Path

import msgspec
import pytest
from support.ordinary_user import run_as_ordinary_user

from executor import (
    CallTest,
    Comparison,
    Evidence,
    Executor,
    ExecutorConfig,
    InvalidProgram,
    Limits,
    Program,
    Report,
    SnippetTest,
    StdioTest,
    UnsupportedLanguage,
    Verdict,
)
from executor.languages import LANGUAGES

LIMITS = Limits(cpu_seconds=1, wall_seconds=4, memory_bytes=192 << 20, processes=16, output_bytes=1 << 20)
PATIENT = msgspec.structs.replace(LIMITS, cpu_seconds=10, wall_seconds=30)
DOUBLES = (StdioTest(stdin=b"21\n", expected_stdout=b"42\n"), StdioTest(stdin=b"4\n", expected_stdout=b"8\n"))


def needs(name: str) -> pytest.MarkDecorator:
    missing = LANGUAGES[name].missing()
    return pytest.mark.skipif(bool(missing), reason=f"this machine has no {', '.join(missing)}")


pytestmark = [pytest.mark.sandbox, pytest.mark.asyncio(loop_scope="module")]
cpp, javascript = needs("cpp"), needs("javascript")


async def run(executor: Executor, language: str, code: str, **fields: object) -> Report:
    whole: dict[str, object] = {"tests": DOUBLES, "limits": LIMITS} | fields
    return await executor.run(Program(code=code, language=language, **whole))  # type: ignore[arg-type]


def limits(allowed: set[str]) -> Limits:
    """The clock ends only what it may end, on however slow a machine."""
    return LIMITS if "time_limit" in allowed else PATIENT


def told(report: Report) -> str:
    return f"{report.verdict}: {report.detail} {report.tests[-1].stderr[-300:]!r}"


CPP = """
#include <cstdio>
#include <thread>
static int deep(int n) { volatile char room[64]; room[0] = 1; return n ? deep(n - 1) + room[0] : 0; }
int main(int argc, char **argv) {
    long long n;
    if (scanf("%lld", &n) != 1) return 2;
    std::thread([&] { n *= 2; }).join();
    fprintf(stderr, "%d %s %d", argc, argv[argc - 1], deep(200000));
    printf("%lld\\n", n);
}
"""


@cpp
async def test_cpp(executor: Executor) -> None:
    test = StdioTest(stdin=b"21\n", expected_stdout=b"42\n", argv=("last",))
    report = await run(executor, "cpp", CPP, tests=(test, *DOUBLES))
    assert report.verdict is Verdict.PASSED, told(report)
    assert report.evidence is Evidence.STDOUT
    assert report.tests[0].stderr == b"2 last 200000"
    compiling = report.cpu_seconds - sum(test.cpu_seconds for test in report.tests)
    assert compiling > 0.02, "what the compiler took is in the report's total"


@cpp
@pytest.mark.parametrize(
    ("code", "verdict", "detail"),
    [
        ("int main() { return x; }", Verdict.COMPILE_ERROR, "'x' was not declared"),
        ('#include "/etc/passwd"\nint main() {}', Verdict.COMPILE_ERROR, "No such file"),
        ("int main() { return 3; }", Verdict.RUNTIME_ERROR, "exit status 3"),
        ("int main() { __builtin_trap(); }", Verdict.RUNTIME_ERROR, "killed by SIGILL"),
        ("int main() { *(volatile int *)0 = 1; }", Verdict.RUNTIME_ERROR, "killed by SIGSEGV"),
        ("int main() {}", Verdict.WRONG_ANSWER, "not the expected one"),
    ],
)  # fmt: skip
async def test_cpp_that_fails(executor: Executor, code: str, verdict: Verdict, detail: str) -> None:
    report = await run(executor, "cpp", code, run_all=True)
    assert [test.verdict for test in report.tests] == [verdict] * 2, told(report)
    assert detail in report.detail


@cpp
async def test_a_compiler_has_limits_of_its_own(executor: Executor) -> None:
    """A small source can make a compiler work for ever, or write gigabytes: neither is a sandbox failure."""
    endless = "template <int N> struct A { static const int x = A<N - 1>::x + A<N - 2>::x; };\n" * 1
    deep = endless + "int main() { return A<100000>::x; }"
    assert (await run(executor, "cpp", deep)).verdict is Verdict.COMPILE_ERROR
    huge = "char room[1 << 30] = {1};\nint main() { return room[5]; }"
    report = await run(executor, "cpp", huge)
    assert report.verdict is Verdict.COMPILE_ERROR, told(report)


@cpp
async def test_no_test_changes_the_program_for_the_next(executor: Executor) -> None:
    """The artifact has no name, is not open in the program, and its jail has no way to open it again."""
    code = """
#include <cstdio>
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>
#include <initializer_list>
int main() {
    long long n;
    if (scanf("%lld", &n) != 1) return 2;
    for (int fd = 3; fd < 256; fd++)
        if (fcntl(fd, F_GETFD) != -1) { printf("descriptor %d is open\\n", fd); return 0; }
    for (const char *path : {"/tmp/a.out", "/tmp/solution.cpp", "/proc/self/exe", "/usr/bin/g++", "/usr/bin/as"})
        if (access(path, F_OK) == 0) { printf("%s is there\\n", path); return 0; }
    DIR *folder = opendir("/tmp");
    for (dirent *entry; (entry = readdir(folder));)
        if (entry->d_name[0] != '.') { printf("%s lies about\\n", entry->d_name); return 0; }
    FILE *left = fopen("/tmp/a.out", "w");
    fputs("#!/bin/sh\\necho 1\\n", left);
    fclose(left);
    printf("%lld\\n", 2 * n);
}
"""
    report = await run(executor, "cpp", code, tests=DOUBLES * 2)
    assert report.verdict is Verdict.PASSED, told(report) + repr(report.tests[-1].stdout)


CPP_HOSTILE = {
    "fork bomb": ("#include <unistd.h>\nint main() { for (;;) fork(); }", {"time_limit", "wrong_answer"}),
    "flood": ("#include <cstdio>\nint main() { for (;;) puts(\"42\"); }", {"output_limit"}),
    "flood of errors": ("#include <cstdio>\nint main() { for (;;) fputs(\"42\", stderr); }", {"output_limit"}),
    "memory": (
        "#include <cstdlib>\n#include <cstring>\nint main() { for (;;) memset(malloc(1 << 20), 1, 1 << 20); }",
        {"memory_limit"},
    ),
    "bad_alloc": ("int main() { return *new char[1ULL << 45]; }", {"memory_limit"}),
    "memory in children": (
        "#include <cstdlib>\n#include <cstring>\n#include <unistd.h>\n#include <sys/wait.h>\n"
        "int main() { for (int i = 0; i < 8; i++) if (!fork()) { memset(malloc(80 << 20), 1, 80 << 20); pause(); }"
        " while (wait(0) > 0); }",
        {"memory_limit"},
    ),
    "spin": ("int main() { for (volatile int x = 0;; x++); }", {"time_limit"}),
    "sleep": ("#include <unistd.h>\nint main() { for (;;) pause(); }", {"time_limit"}),
    "signals ignored": (
        "#include <csignal>\nint main() { for (int i = 1; i < 65; i++) signal(i, SIG_IGN); for (;;); }",
        {"time_limit"},
    ),
    "stack": ("int f(volatile int n) { return n ? f(n + 1) + 1 : 0; }\nint main() { return f(1); }", {"runtime_error"}),
    "foreign system calls": ('int main() { asm("mov $20, %eax; int $0x80"); }', {"sandbox_violation"}),
    "answer, then hang": (
        "#include <cstdio>\nint main() { puts(\"42\"); fflush(stdout); for (;;); }",
        {"time_limit"},
    ),
    "files of the host": (
        "#include <fstream>\n#include <iostream>\nint main() { for (auto p : {\"/etc/shadow\", \"/etc/passwd\","
        " \"/proc/1/environ\", \"/root/.ssh/id_rsa\", \"/sys/fs/cgroup/cgroup.procs\"})"
        " { std::ifstream f(p); if (f) { std::cout << 42 << std::endl; return 0; } } }",
        {"wrong_answer"},
    ),
    "a socket, a mount, a namespace": (
        "#include <cstdio>\n#include <sched.h>\n#include <sys/mount.h>\n#include <sys/socket.h>\n"
        "int main() { if (socket(AF_INET, SOCK_STREAM, 0) >= 0 || unshare(CLONE_NEWUSER) == 0"
        " || mount(\"none\", \"/tmp\", \"tmpfs\", 0, 0) == 0) puts(\"42\"); }",
        {"wrong_answer"},
    ),
    "writing to the runtime": (
        "#include <cstdio>\n#include <string>\n"
        "int main() { for (std::string p : {\"/\", \"/lib/x86_64-linux-gnu/\", \"/dev/\"})"
        " if (fopen((p + \"x\").c_str(), \"w\")) puts(\"42\"); }",
        {"wrong_answer"},
    ),
    "a daemon that holds the output": (
        "#include <cstdio>\n#include <unistd.h>\nint main() { long n; scanf(\"%ld\", &n); printf(\"%ld\\n\", 2 * n);"
        " fflush(stdout); if (!fork()) { setsid(); for (;;) pause(); } }",
        {"passed"},
    ),
}  # fmt: skip


@cpp
@pytest.mark.parametrize("name", CPP_HOSTILE)
async def test_hostile_cpp(executor: Executor, name: str) -> None:
    code, allowed = CPP_HOSTILE[name]
    report = await run(executor, "cpp", code, limits=limits(allowed))
    assert report.verdict.value in allowed, told(report)


JAVASCRIPT = {
    "descriptor 0": "console.log(2 * Number(require('fs').readFileSync(0, 'utf8')));",
    "/dev/stdin": "console.log(2 * Number(require('fs').readFileSync('/dev/stdin', 'utf8')));",
    "a stream": "let s = ''; process.stdin.on('data', d => s += d).on('end', () => console.log(2 * Number(s)));",
    "a stream of /dev/stdin": "let s = ''; require('fs').createReadStream('/dev/stdin').on('data', d => s += d)"
    ".on('end', () => console.log(2 * Number(s)));",
    "lines": "require('readline').createInterface({input: process.stdin}).on('line', l => console.log(2 * Number(l)));",
    "big integers": "console.log(String(2n * BigInt(require('fs').readFileSync(0, 'utf8').trim())));",
    "recursion": "const f = n => n ? f(n - 1) + 2 : 0; const n = Number(require('fs').readFileSync(0));"
    "console.log(f(100000) - 200000 + 2 * n);",
    "100 MB": "const a = Buffer.alloc(100 << 20, 1); console.log(2 * Number(require('fs').readFileSync(0)) * a[5]);",
    "promises and timers": "(async () => { await new Promise(r => setTimeout(r, 5));"
    " console.log(2 * Number(require('fs').readFileSync(0))); })();",
}


@javascript
@pytest.mark.parametrize("name", JAVASCRIPT)
async def test_javascript(executor: Executor, name: str) -> None:
    report = await run(executor, "javascript", JAVASCRIPT[name])
    assert report.verdict is Verdict.PASSED, told(report)


MODULES = {
    "import": 'import fs from "fs";\nconsole.log(Number(fs.readFileSync("/dev/stdin", "utf8")) * 2)',
    "a name": 'import { readFileSync } from "node:fs";\nconsole.log(Number(readFileSync("/dev/stdin", "utf8")) * 2)',
    "await": 'let text = "";\nfor await (const part of process.stdin) text += part;\nconsole.log(Number(text) * 2)',
    "export": 'export const double = (n) => 2 * n;\nprocess.stdin.on("data", (n) => console.log(double(n)))',
}


def node_version() -> tuple[int, ...]:
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in said.strip().removeprefix("v").split("."))


@javascript
@pytest.mark.parametrize("name", MODULES)
async def test_node_knows_a_module_by_its_syntax(executor: Executor, name: str) -> None:
    """From 20.19 and 22.7 on; before that a program is CommonJS, whatever it looks like."""
    version = node_version()
    known = version >= (22, 7) or (20, 19) <= version < (21,)
    report = await run(executor, "javascript", MODULES[name])
    assert report.verdict is (Verdict.PASSED if known else Verdict.COMPILE_ERROR), told(report)


JAVASCRIPT_HOSTILE = {
    "no program": ("let = ;", {"compile_error"}),
    "not that of its input": ("JSON.parse('{')", {"runtime_error"}),
    "exit": ("process.exit(3)", {"runtime_error"}),
    "thrown": ("throw new RangeError('mine')", {"runtime_error"}),
    "spin": ("for (;;);", {"time_limit"}),
    "never done": ("setInterval(() => 0, 1000)", {"time_limit"}),
    "flood": ("for (;;) require('fs').writeSync(1, '42\\n')", {"output_limit"}),
    "heap": ("const a = []; for (;;) a.push(new Array(1000).fill(a.length));", {"memory_limit"}),
    "buffers": ("const a = []; for (;;) a.push(Buffer.alloc(10 << 20, 1));", {"memory_limit"}),
    "fork bomb": (
        "const { spawn } = require('child_process'); for (let i = 0; i < 100; i++) spawn(process.execPath,"
        " [process.argv[1]]).on('error', () => 0);",
        {"time_limit", "memory_limit", "wrong_answer", "runtime_error"},
    ),
    "worker bomb": (
        "const { Worker } = require('worker_threads'); const f = () => { for (let i = 0; i < 50; i++)"
        " new Worker('for(;;);', { eval: true }).on('error', () => 0); }; f();",
        {"time_limit", "memory_limit", "runtime_error", "wrong_answer"},
    ),
    "files of the host": (
        "for (const p of ['/etc/shadow', '/etc/passwd', '/proc/1/environ', '/sys/fs/cgroup/cgroup.procs'])"
        " try { require('fs').readFileSync(p); console.log(42); } catch {}",
        {"wrong_answer"},
    ),
    "the network": (
        "require('net').connect(80, '1.1.1.1').on('connect', () => console.log(42)).on('error', () => 0)",
        {"wrong_answer"},
    ),
    "its own source, for the next test": (
        "const fs = require('fs'); console.log(42); fs.writeFileSync(process.argv[1], 'console.log(8)');"
        " fs.writeFileSync('/tmp/stdin.js', 'console.log(8)')",
        {"wrong_answer"},
    ),
}


@javascript
@pytest.mark.parametrize("name", JAVASCRIPT_HOSTILE)
async def test_hostile_javascript(executor: Executor, name: str) -> None:
    code, allowed = JAVASCRIPT_HOSTILE[name]
    report = await run(executor, "javascript", code, limits=limits(allowed))
    assert report.verdict.value in allowed, told(report)


@javascript
async def test_a_syntax_error_is_one_for_every_test(executor: Executor) -> None:
    report = await run(executor, "javascript", "let x = ;", run_all=True)
    assert [test.verdict for test in report.tests] == [Verdict.COMPILE_ERROR] * 2
    assert "SyntaxError" in report.detail


@cpp
@javascript
async def test_python_sees_none_of_it(executor: Executor) -> None:
    """Whatever other languages run beside it: its jails hold neither compiler nor interpreter nor headers."""
    await run(executor, "cpp", "int main() {}")
    await run(executor, "javascript", "0")
    code = """
import os
n = int(input())
paths = ["/usr/bin/g++", "/usr/bin/as", "/usr/bin/ld", "/usr/bin/node", "/usr/include", "/usr/lib/gcc"]
found = [path for path in paths if os.path.exists(path)]
print(found or 2 * n)
"""
    report = await run(executor, "python", code)
    assert report.verdict is Verdict.PASSED, report.tests[0].stdout


@cpp
async def test_a_special_judge_reads_cpp(executor: Executor) -> None:
    judge = "def judge(stdin, expected, output):\n    return output.split() == ['42'] * 2\n"
    test = StdioTest(stdin=b"21\n", comparison=Comparison.JUDGE, judge=judge)
    report = await run(executor, "cpp", '#include <cstdio>\nint main() { puts("42 42"); }', tests=(test,))
    assert (report.verdict, report.evidence) == (Verdict.PASSED, Evidence.JUDGE)


@pytest.mark.parametrize("language", [pytest.param("cpp", marks=cpp), pytest.param("javascript", marks=javascript)])
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tests": (SnippetTest(code="assert f(1) == 1"),)}, r"tests\[0\]: .* stdio tests only"),
        ({"tests": (*DOUBLES, CallTest(function="f", expected_json="1"))}, r"tests\[2\]: .* stdio tests only"),
        ({"entry_point": "f"}, "entry_point"),
        ({"setup_code": "import math"}, "setup_code"),
        ({"allow_in_process": True}, "allow_in_process"),
    ],
)
async def test_what_only_python_has_is_refused(
    executor: Executor, language: str, fields: dict[str, object], said: str
) -> None:
    with pytest.raises(InvalidProgram, match=said):
        await run(executor, language, "", **fields)


async def test_a_language_without_its_tools_is_refused(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(UnsupportedLanguage, match=r"cpp needs g\+\+.*apt-get install"):
        await run(executor, "cpp", "int main() {}")
    with pytest.raises(UnsupportedLanguage, match="'cobol' is not supported; there are python, cpp, javascript"):
        await run(executor, "cobol", "")


@javascript
async def test_where_no_group_limits_memory_javascript_is_refused() -> None:
    weaker = ("memory-per-process", "processes-per-user", "cpu-per-process", "kill-by-init")
    async with Executor(ExecutorConfig(slots=1, cgroup_backend="none", allow_weaker=weaker)) as executor:
        assert "javascript" not in executor.info.runtimes
        with pytest.raises(UnsupportedLanguage, match="memory-per-process"):
            await run(executor, "javascript", "")


@cpp
async def test_cpp_without_any_group() -> None:
    weaker = ("memory-per-process", "processes-per-user", "cpu-per-process", "kill-by-init")
    async with Executor(ExecutorConfig(slots=1, cgroup_backend="none", allow_weaker=weaker)) as executor:
        report = await run(executor, "cpp", CPP)
        assert report.verdict is Verdict.PASSED, told(report)
        for name in ("bad_alloc", "spin", "fork bomb"):
            code, allowed = CPP_HOSTILE[name]
            report = await run(executor, "cpp", code, limits=limits(allowed))
            assert report.verdict.value in allowed, told(report)


@cpp
async def test_an_ordinary_user_compiles_too(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become an ordinary user")
    script = f"""
import asyncio
from executor import WEAKNESSES, Executor, ExecutorConfig, Program, StdioTest
async def main():
    test = StdioTest(stdin=b"21\\n", expected_stdout=b"42\\n")
    async with Executor(ExecutorConfig(slots=1, allow_weaker=tuple(WEAKNESSES))) as executor:
        report = await executor.run(Program(code={CPP!r}, language="cpp", tests=(test, test)))
        print(report.verdict.value, report.tests_passed, report.detail)
asyncio.run(main())
"""
    run = await asyncio.to_thread(run_as_ordinary_user, script, tmp_path, 240)
    assert run.stdout.split() == ["passed", "2"], run.stdout + run.stderr[-2000:]


@cpp
async def test_nothing_is_left(executor: Executor) -> None:
    """Neither descriptors nor jails, whether it compiled, ran out of time or was cancelled."""
    await executor.settled()
    before = artifacts()
    for code in ("int main() { for (;;); }", "int main() { return x; }", "int main() {}"):
        await run(executor, "cpp", code)
    task = asyncio.create_task(run(executor, "cpp", "int main() { for (;;); }", limits=Limits(cpu_seconds=60)))
    while not artifacts():  # noqa: ASYNC110 (of another process's doing nobody tells)
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await executor.settled()
    assert artifacts() == before == []
    assert executor.stats().leaked_cgroups == executor.stats().kill_alarms == 0


def artifacts() -> list[str]:
    found: list[str] = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(path))
    return [name for name in found if "thresher-compiled" in name or "thresher-artifact" in name]
