"""Programs on both sides of every limit, none of them closer than a factor of two: load must not push one across."""

from executor import CallTest, Limits, Program, SnippetTest, StdioTest

_BURN = """\
import time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return "done"
"""
_SLEEP = """\
import time
def rest(seconds):
    time.sleep(seconds)
    return "done"
"""
_HOLD = """\
def hold(mebibytes):
    data = bytearray(mebibytes << 20)
    data[::4096] = b"x" * len(data[::4096])
    return len(data)
"""
_PRINT = """\
def tell(size):
    print("x" * size)
    return size
"""
_FORK = """\
import os, time
def burst(count):
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            time.sleep(0.2)
            os._exit(0)
        children.append(child)
    return sum(os.waitpid(child, 0)[1] == 0 for child in children)
"""
_THREADS = """\
import threading, time
def share(threads, seconds):
    end = time.process_time() + seconds
    def work():
        while time.process_time() < end:
            pass
    crowd = [threading.Thread(target=work) for _ in range(threads)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join()
    return "done"
"""


def _call(code: str, function: str, arguments: str, expected: str, **limits: float) -> Program:
    test = CallTest(function=function, args_json=arguments, expected_json=expected)
    return Program(code=code, tests=(test,), limits=Limits(**limits))  # type: ignore[arg-type]


def edge_programs() -> dict[str, Program]:
    """The programs by name; what each should end with is in its name."""
    spin = Program(code="while True:\n    pass\n", tests=(StdioTest(),), limits=Limits(cpu_seconds=1))
    nap = Program(code="import time\ntime.sleep(60)\n", tests=(StdioTest(),), limits=Limits(cpu_seconds=0.5))
    # Two tests and 0.45 s in each: a limit for all tests together would be crossed.
    twice = Program(
        code=_BURN,
        tests=(SnippetTest(code="assert burn(0.45) == 'done'"), SnippetTest(code="assert burn(0.44) == 'done'")),
        limits=Limits(cpu_seconds=1),
    )
    mib = 1 << 20
    return {
        "spin, time_limit": spin,
        "sleep past the wall, time_limit": nap,
        "half of the CPU limit twice, passed": twice,
        "half of the CPU limit, passed": _call(_BURN, "burn", "[0.5]", '"done"', cpu_seconds=1),
        "half of the CPU limit in 8 threads, passed": _call(_THREADS, "share", "[8, 0.5]", '"done"', cpu_seconds=1),
        "twice the CPU limit, time_limit": _call(_BURN, "burn", "[2]", '"done"', cpu_seconds=1),
        "half of the wall limit, passed": _call(_SLEEP, "rest", "[2]", '"done"', cpu_seconds=1),
        "twice the wall limit, time_limit": _call(_SLEEP, "rest", "[8]", '"done"', cpu_seconds=1),
        "half of the memory, passed": _call(_HOLD, "hold", "[64]", str(64 * mib), memory_bytes=128 * mib),
        "twice the memory, memory_limit": _call(_HOLD, "hold", "[256]", str(256 * mib), memory_bytes=128 * mib),
        "half of the output, passed": _call(_PRINT, "tell", f"[{mib // 2}]", str(mib // 2), output_bytes=mib),
        "twice the output, output_limit": _call(_PRINT, "tell", f"[{2 * mib}]", str(2 * mib), output_bytes=mib),
        "half of the processes, passed": _call(_FORK, "burst", "[16]", "16", processes=32),
        "twice the processes, runtime_error": _call(_FORK, "burst", "[64]", "64", processes=32),
        "nothing special, passed": _call(_BURN, "burn", "[0]", '"done"'),
        "wrong, wrong_answer": _call(_BURN, "burn", "[0]", '"no"'),
    }
