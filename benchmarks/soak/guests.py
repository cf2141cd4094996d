"""Guests whom a server must bear: programs that mean harm, callers who cancel them, and requests that are none."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import grpc.aio
from thresher.client import AsyncClient, ThresherError, program
from thresher.client.plain import enum_word
from thresher.v1 import execution_service_pb2, problem_pb2, solve_pb2, synthesis_service_pb2, verdict_pb2

HOSTILE = {
    "forks": "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
    "memory": "held = []\nwhile True:\n    held.append(bytearray(1 << 22))",
    "output": "while True:\n    print('x' * 65536)",
    "daemon": "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\nos._exit(0)",
    "signals": "import signal\nfor n in range(1, 65):\n    try:\n        signal.signal(n, signal.SIG_IGN)\n"
    "    except (OSError, ValueError):\n        pass\nwhile True:\n    pass",
    "files": "n = 0\nwhile True:\n    open(f'/tmp/{n}', 'wb').write(bytes(1 << 20))\n    n += 1",
    "threads": "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(60,)).start()",
    "network": "import socket\nsocket.create_connection(('127.0.0.1', 22), 1)",
    "exit": "import os\nos._exit(0)",
    "equal": "class Any:\n    def __eq__(self, other):\n        return True\ndef f(x):\n    return Any()",
}
"""None of them may pass."""
HONEST = "def f(x):\n    return 2 * x\n"
_TESTS = {
    "tests": ["assert f(2) == 4"],
    "entry_point": "f",
    "limits": {"cpu_seconds": 0.5, "wall_seconds": 2, "memory_bytes": 64 << 20, "max_processes": 8},
}
_REFUSALS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND}
_SOLVE_ONCE = "/thresher.v1.SynthesisService/SolveOnce"
_EXECUTE = "/thresher.v1.ExecutionService/Execute"
_MANY = 12


class Guests:
    """Counts what came of them in `seen`; `faults` are what must not be, in words.

    told: verdicts of programs. left: programs whose caller went before their verdict, at most.
    """

    def __init__(self, address: str, seed: int) -> None:
        self.seen: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.left = 0
        self.faults: list[str] = []
        self._address = address
        self._random = random.Random(seed)

    async def come(self, seconds: float) -> None:
        """All kinds at once, again and again for so long."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again(self._run_programs, seconds))
            group.create_task(self._again(self._send_nonsense, seconds))

    def differences(self, counted: Mapping[str, float]) -> Iterator[str]:
        """Where the server's count of their verdicts is not theirs: what was told is counted, and no more than that and
        what was left."""
        for verdict in sorted({*self.told, *counted}):
            told, server = self.told[verdict], counted.get(verdict, 0.0)
            if not told <= server <= told + self.left:
                yield f"programs of guests: {told} told as {verdict}, {server:g} counted; {self.left} were left at most"

    async def _again(self, visit: Any, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            await visit()

    async def _run_programs(self) -> None:
        """One call of ExecuteMany; every third one is given up while its programs run."""
        names = [*self._random.choices([*HOSTILE], k=_MANY - 4), *["honest"] * 4]
        self._random.shuffle(names)
        patience = self._random.uniform(0.1, 2.0) if self._random.random() < 1 / 3 else None
        heard = 0
        programs = [program(HOSTILE.get(name, HONEST), _TESTS) for name in names]
        async with AsyncClient(self._address, name="guest") as client:
            try:
                async with asyncio.timeout(patience), client.execute_many(programs, timeout=120) as replies:
                    async for reply in replies:
                        heard += 1
                        self._judged(names[reply.id], reply)
            except TimeoutError:
                self.seen["calls of programs given up"] += 1
                self.left += len(names) - heard
            except ThresherError as error:
                self.left += len(names) - heard
                self.faults.append(f"ExecuteMany ended with {error.code.name} {error.reason}: {error.message}")
                await asyncio.sleep(1)

    def _judged(self, name: str, reply: execution_service_pb2.ExecuteManyResponse) -> None:
        verdict = enum_word(verdict_pb2.Verdict.DESCRIPTOR, reply.report.verdict)
        self.told[verdict] += 1
        self.seen[f"{'honest' if name == 'honest' else 'hostile'}: {verdict}"] += 1
        if verdict == "sandbox_failure" or (verdict == "passed") != (name == "honest"):
            self.faults.append(f"the {name} program ended as {verdict}: {reply.report.detail}")

    async def _send_nonsense(self) -> None:
        """Every wrong request once, over a connection of its own, and one call that its caller leaves at once."""
        async with grpc.aio.insecure_channel(self._address) as channel:
            for method, data in _nonsense(self._random):
                call: Any = channel.unary_unary(method)(data, timeout=30)
                code = await call.code()
                self.seen[f"nonsense: {code.name.lower()}"] += 1
                if code not in _REFUSALS:
                    self.faults.append(f"a request that is none ended with {code.name}: {await call.details()}")
            left: Any = channel.unary_unary(_EXECUTE)(_execute(HONEST).SerializeToString(), timeout=30)
            await asyncio.sleep(0.01)
            left.cancel()
            self.left += 1
        await asyncio.sleep(0.2)


def _execute(code: str) -> execution_service_pb2.ExecuteRequest:
    return execution_service_pb2.ExecuteRequest(program=program(code, _TESTS))


def _nonsense(chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """Requests that are wrong in one way each: no message at all, not UTF-8, unknown fields, values out of bounds."""
    spec = solve_pb2.SolveSpec(
        problem=problem_pb2.Problem(completion=problem_pb2.CompletionPrompt(text="def f():")),
        sampling=solve_pb2.SamplingParams(k=2),
    )
    good = synthesis_service_pb2.SolveOnceRequest(spec=spec)
    for method in (_SOLVE_ONCE, _EXECUTE):
        yield method, b"\xff" * chance.randint(1, 2000)
        yield method, b"\x0a\xff\xff\xff\x7f" + chance.randbytes(200)
        yield method, b"\xfa\x3f\x01x" + good.SerializeToString()
    yield _SOLVE_ONCE, good.SerializeToString().replace(b"def f", b"def \xfe")
    for field, value in (("temperature", float("nan")), ("top_p", -1.0), ("k", 0), ("max_new_tokens", 0)):
        bad = synthesis_service_pb2.SolveOnceRequest()
        bad.CopyFrom(good)
        setattr(bad.spec.sampling, field, value)
        yield _SOLVE_ONCE, bad.SerializeToString()
    bad = synthesis_service_pb2.SolveOnceRequest()
    bad.CopyFrom(good)
    bad.spec.model = "models/there-is-none"
    yield _SOLVE_ONCE, bad.SerializeToString()
    wrong = _execute("def f(:")
    wrong.program.limits.memory_bytes = 0
    yield _EXECUTE, wrong.SerializeToString()
