"""Faults of whole servers in processes of their own: a killed executor, a clock that jumps."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import grpc.aio
import psutil
import pytest
from thresher.client import AsyncClient, Client, ThresherError, program, solve_spec
from thresher.v1 import verdict_pb2

from tests.support.moved_clock import MovedClock

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
YEAR = 365 * 86_400


@dataclass
class Running:
    """A server process, its address, and where its log is."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path


@contextmanager
def running(*command: str, **environment: str) -> Generator[Running]:
    """A server on the socket SOCKET of its command; it has to end well when it is told to."""
    with tempfile.TemporaryDirectory(prefix="thr") as folder:
        socket, log = f"{folder}/s", Path(folder) / "log"
        words = [sys.executable, "-m", *(word.replace("SOCKET", socket) for word in command)]
        with log.open("wb") as output:
            environ = os.environ | {"XDG_RUNTIME_DIR": folder} | environment
            process = subprocess.Popen(words, env=environ, cwd=ROOT, stderr=output)
        try:
            with Client(f"unix:{socket}") as client:
                client.wait_ready(180)
            yield Running(process, f"unix:{socket}", log)
            process.terminate()
            assert process.wait(120) == 0, log.read_text()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.mark.sandbox
def test_a_killed_executor_costs_no_program_its_verdict() -> None:
    tests = {"tests": ["import time\nfor _ in range(20): time.sleep(0.05)\nassert f(2) == 4"], "entry_point": "f"}
    with (
        running("engine.cli.main", "serve", "--executor-only", "--listen", "unix:SOCKET", "--slots", "2") as server,
        Client(server.address) as client,
    ):
        family = psutil.Process(server.process.pid)
        (executor,) = [one for one in family.children() if "executor" in " ".join(one.cmdline())]
        many = client.execute_many(program("def f(x): return x * x", tests) for _ in range(8))
        jails: list[psutil.Process] = []
        verdicts: list[int] = []
        for reply in many:
            verdicts.append(reply.report.verdict)
            if not jails:
                jails = executor.children(recursive=True)
                executor.send_signal(signal.SIGKILL)
        assert verdicts == [verdict_pb2.VERDICT_PASSED] * 8
        assert client.health() == "SERVING"
        # The jails of the dead one, warm ones and those that were running, are gone as well.
        assert jails
        assert psutil.wait_procs(jails, timeout=30)[1] == []


async def ended(address: str, kind: str, timeout: float) -> tuple[str, float]:
    """How a solve ends, and after how many seconds."""
    document = {"completion": "def f():", "entry_point": "f", "tests": ["assert f() == 1"], "problem_id": kind}
    began = time.monotonic()
    async with AsyncClient(address) as client:
        try:
            await client.solve_once(solve_spec(document), timeout=timeout)
            how = "answered"
        except ThresherError as error:
            how = error.code.name
    return how, time.monotonic() - began


@pytest.mark.parametrize("jump", [YEAR, -YEAR], ids=["a year on", "a year back"])
def test_a_jump_of_the_server_s_clock_ends_nothing_and_keeps_nothing(tmp_path: Path, jump: int) -> None:
    """Deadlines, drain and health go by a clock that does not jump."""
    clock = MovedClock.make(tmp_path)
    command = ("tests.support.serve_scripted", "SOCKET", "plain", "10")
    with running(*command, **clock.environment) as server:

        async def play() -> None:
            before = asyncio.create_task(ended(server.address, "endless", 4.0))
            unhurried = asyncio.create_task(ended(server.address, "second", 60.0))
            await asyncio.sleep(0.5)
            clock.move(jump)
            after = asyncio.create_task(ended(server.address, "endless", 3.0))
            assert (await unhurried)[0] == "answered"
            for task, seconds in ((before, 4.0), (after, 3.0)):
                how, took = await task
                assert how == grpc.StatusCode.DEADLINE_EXCEEDED.name
                assert seconds - 0.5 < took < seconds + 20
            year = (datetime.now(UTC) + timedelta(seconds=jump)).year
            assert f'"timestamp": "{year}-' in server.log.read_text(), "the clock has not moved"
            clock.move(-jump)
            assert (await ended(server.address, "second", 60.0))[0] == "answered"
            async with AsyncClient(server.address) as client:
                assert await client.health() == "SERVING"

        asyncio.run(play())
