"""`thresher route` as a process of its own before server processes, one of which is killed."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from thresher.client import AsyncClient
from thresher.v1 import solve_pb2

from tests.support.event_order import EventOrderChecker
from tests.support.served import spec

ROUTE = "import typer\nfrom engine.cli.route import route\ntyper.run(route)"


@dataclass
class Processes:
    """A router and its servers, by name."""

    folder: str
    children: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    async def start(self, name: str, *words: str) -> None:
        with (Path(self.folder) / f"{name}.log").open("wb") as log:
            self.children[name] = await asyncio.create_subprocess_exec(
                sys.executable, *words, env={**os.environ, "XDG_RUNTIME_DIR": self.folder}, stderr=log
            )

    def address(self, name: str) -> str:
        return f"unix:{self.folder}/{name}"

    def log(self, name: str) -> str:
        return (Path(self.folder) / f"{name}.log").read_text()


@asynccontextmanager
async def routed(**scenarios: str) -> AsyncGenerator[Processes]:
    with tempfile.TemporaryDirectory(prefix="thr") as folder:
        running = Processes(folder)
        try:
            for name, scenario in scenarios.items():
                await running.start(name, "-m", "tests.support.serve_scripted", f"{folder}/{name}", scenario, "5")
            # A router begins with the first tier that is up; the others may not be there yet.
            for name in scenarios:
                async with AsyncClient(running.address(name)) as client:
                    await client.wait_ready(120)
            tiers = [word for name in scenarios for word in ("--tier", f"{name}={running.address(name)}")]
            await running.start(
                "router", "-c", ROUTE, "--listen", running.address("router"), "--drain-seconds", "1", *tiers
            )
            yield running
        finally:
            for child in running.children.values():
                if child.returncode is None:
                    child.kill()
                    await child.wait()


async def test_kill_9_of_a_tier_loses_no_solve_and_the_router_stops_when_told() -> None:
    async with routed(small="never-ends", big="plain") as running, AsyncClient(running.address("router")) as client:
        await client.wait_ready(120)
        asked = spec(request_id="r")
        asked.events.branches = True
        checker = EventOrderChecker(asked)
        async for event in client.solve(asked, timeout=120):
            checker.see(event)
            if event.HasField("tier_started") and event.tier_started.name == "small":
                running.children["small"].send_signal(signal.SIGKILL)
        checker.end(grpc.StatusCode.OK)
        outcomes = [solve_pb2.TierOutcome.Name(tier.outcome) for tier in checker.summary.tiers]
        assert outcomes == ["TIER_OUTCOME_LOST", "TIER_OUTCOME_SOLVED"], running.log("router")
        live = asyncio.create_task(client.solve_once(endless(), timeout=120))
        await asyncio.sleep(0.2)
        router = running.children["router"]
        router.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(router.wait(), 100) == 0, running.log("router")
        await asyncio.wait([live])
        assert isinstance(live.exception(), Exception)


def endless() -> solve_pb2.SolveSpec:
    asked = spec()
    asked.problem.problem_id = "endless"
    return asked
