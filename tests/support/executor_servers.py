"""Executor-only servers as processes of their own, on Unix sockets, with real jails."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from thresher.client import AsyncClient

START_SECONDS = 180.0
_numbers = itertools.count()


@dataclass
class ExecutorServer:
    """`thresher serve --executor-only`, running."""

    child: asyncio.subprocess.Process
    address: str
    log: Path

    def family(self) -> list[psutil.Process]:
        """Its processes and those of its jails."""
        me = psutil.Process(self.child.pid)
        return [me, *me.children(recursive=True)]

    def busy_seconds(self) -> float:
        """CPU time of the busiest process below the executor: programs in their jails."""
        times = [0.0]
        for process in self.family()[2:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times.append(process.cpu_times().user)
        return max(times)

    def entries(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    async def kill(self) -> None:
        """What a machine that loses its power looks like from afar."""
        self.child.send_signal(signal.SIGKILL)
        await self.child.wait()

    async def stop(self) -> int:
        """Drain and leave; returns its exit code."""
        self.child.terminate()
        return await asyncio.wait_for(self.child.wait(), 100)


async def start(address: str, folder: Path, *options: str, executor_only: bool = True) -> ExecutorServer:
    """Start one without waiting for it; or, with the same comforts, a whole server."""
    log = folder / f"log-{next(_numbers)}"
    with log.open("wb") as output:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "engine.cli.main", "serve", *(["--executor-only"] if executor_only else [])),
            *("--listen", address, "--log-format", "json", *options),
            env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},
            stderr=output,
        )
    return ExecutorServer(child, address, log)


async def ready(server: ExecutorServer, seconds: float = START_SECONDS) -> None:
    """Wait until it serves. Raises AssertionError with its log if it ends instead."""
    async with AsyncClient(server.address) as client:
        serves = asyncio.create_task(client.wait_ready(seconds))
        ended = asyncio.create_task(server.child.wait())
        await asyncio.wait((serves, ended), return_when=asyncio.FIRST_COMPLETED)
        for task in (serves, ended):
            if not task.done():
                task.cancel()
        assert server.child.returncode is None, server.log.read_text()
        await serves


@asynccontextmanager
async def executor_servers(count: int, *options: str) -> AsyncGenerator[list[ExecutorServer]]:
    """Servers that are ready; all that were added to the list are ended after the block."""
    servers: list[ExecutorServer] = []
    with tempfile.TemporaryDirectory(prefix="thr") as folder:
        try:
            for number in range(count):
                server = await start(f"unix:{folder}/{number}", Path(folder), *options)
                servers.append(server)
            await asyncio.gather(*(ready(server) for server in servers))
            yield servers
        finally:
            for server in servers:
                if server.child.returncode is None:
                    server.child.kill()
                    await server.child.wait()
