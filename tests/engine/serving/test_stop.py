"""SIGTERM to a real server process, with and without load."""

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from thresher.v1 import problem_pb2, solve_pb2, synthesis_service_pb2, synthesis_service_pb2_grpc

from tests.support.served import once_request, refused, spec, until

# The contract's bound for leaving after the drain time.
LEAVE_SECONDS = 10


@dataclass
class Process:
    """A server process and what it left."""

    child: asyncio.subprocess.Process
    channel: grpc.aio.Channel
    folder: Path

    @property
    def synthesis(self) -> Any:
        return synthesis_service_pb2_grpc.SynthesisServiceStub(self.channel)

    async def wait_serving(self) -> None:
        health: Any = health_pb2_grpc.HealthStub(self.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=240)
        while (await watch.read()).status != health_pb2.HealthCheckResponse.SERVING:
            pass
        watch.cancel()

    async def watch_solving(self) -> Any:
        """The health of the service that solves, from SERVING on."""
        health: Any = health_pb2_grpc.HealthStub(self.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service="thresher.v1.SynthesisService"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        return watch

    async def leave(self, number: signal.Signals | None = signal.SIGTERM, seconds: float = LEAVE_SECONDS) -> int:
        if number is not None:
            self.child.send_signal(number)
        return await asyncio.wait_for(self.child.wait(), seconds)

    def log(self) -> list[dict[str, Any]]:
        lines = (self.folder / "log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@asynccontextmanager
async def process(scenario: str = "plain", drain_seconds: float = 30) -> AsyncGenerator[Process]:
    with tempfile.TemporaryDirectory(prefix="thr") as folder, (Path(folder) / "log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.serve_scripted",
            f"{folder}/s",
            scenario,
            str(drain_seconds),
            env={**os.environ, "XDG_RUNTIME_DIR": folder},
            # A file, since a pipe that nobody reads would stop the server once it is full.
            stderr=log,
        )
        try:
            async with grpc.aio.insecure_channel(f"unix:{folder}/s") as channel:
                yield Process(child, channel, Path(folder))
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()


def request(kind: str) -> synthesis_service_pb2.SolveRequest:
    message = spec()
    message.problem.problem_id = kind
    return synthesis_service_pb2.SolveRequest(spec=message)


async def test_drain_lets_live_solves_finish_and_ends_the_rest() -> None:
    async with process(drain_seconds=2.5) as server:
        await server.wait_serving()
        assert (server.folder / "thresher" / "server.json").exists()
        finishing = [server.synthesis.Solve(request("drained")) for _ in range(8)]
        endless = [server.synthesis.Solve(request("endless")) for _ in range(8)]
        for call in (*finishing, *endless):
            assert (await call.read()).event.HasField("accepted")
        watch = await server.watch_solving()
        server.child.send_signal(signal.SIGTERM)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        late = await refused(server.synthesis.SolveOnce(once_request()))
        assert (late.code, late.info.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        for call in finishing:
            kinds = []
            while (response := await call.read()) is not grpc.aio.EOF:
                kinds.append(response.event.WhichOneof("event"))
            assert kinds[-1] == "summary"
        for call in endless:
            ended = await refused(call)
            assert (ended.code, ended.info.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
        assert await server.leave(None) == 0
        assert list(server.folder.glob("s")) == []
        assert not (server.folder / "thresher" / "server.json").exists()
        log = server.log()
    assert [line["event"] for line in log if line["event"] in ("ready", "draining", "stopped")] == [
        "ready",
        "draining",
        "stopped",
    ]
    assert all(line["level"] == "info" for line in log)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
async def test_an_idle_server_leaves_at_once(number: signal.Signals) -> None:
    async with process(drain_seconds=60) as server:
        await server.wait_serving()
        assert await server.leave(number) == 0


@pytest.mark.slow
async def test_a_second_signal_means_now() -> None:
    async with process(drain_seconds=600) as server:
        await server.wait_serving()
        call = server.synthesis.Solve(request("endless"))
        await call.read()
        watch = await server.watch_solving()
        server.child.send_signal(signal.SIGTERM)
        # Two signals of a kind that a process has not taken yet are one.
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert server.child.returncode is None
        assert await server.leave(signal.SIGTERM) == 0
        assert (await refused(call)).info.reason == "DRAINING"


@pytest.mark.slow
async def test_t7_a_server_under_load_leaves_in_time() -> None:
    async with process(drain_seconds=1) as server:
        await server.wait_serving()
        stop = asyncio.Event()
        codes: set[grpc.StatusCode] = set()

        async def hammer() -> None:
            once = synthesis_service_pb2.SolveOnceRequest(spec=request("quick").spec)
            while not stop.is_set():
                try:
                    await server.synthesis.SolveOnce(once)
                    codes.add(grpc.StatusCode.OK)
                except grpc.aio.AioRpcError as error:
                    codes.add(error.code())
                    if error.code() is grpc.StatusCode.CANCELLED:
                        print(error)

        async with asyncio.TaskGroup() as group:
            for _ in range(16):
                group.create_task(hammer())
            endless = server.synthesis.Solve(request("endless"))
            await endless.read()
            await until(lambda: grpc.StatusCode.OK in codes)
            began = time.monotonic()
            assert await server.leave(seconds=1 + LEAVE_SECONDS) == 0
            assert time.monotonic() - began < 1 + LEAVE_SECONDS
            stop.set()
    assert {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE} <= codes
    # A call that reaches gRPC's core while it shuts down gets CANCELLED from it; no handler ever sees it.
    assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


@pytest.mark.slow
async def test_a_signal_during_the_start_ends_it() -> None:
    async with process("start-hangs") as server:
        found = await refused(
            server.synthesis.SolveOnce(
                synthesis_service_pb2.SolveOnceRequest(spec=solve_pb2.SolveSpec(problem=problem_pb2.Problem())),
                wait_for_ready=True,
                timeout=240,
            )
        )
        assert found.info.reason == "STARTING"
        assert await server.leave() == 0


@pytest.mark.slow
async def test_a_start_that_fails_is_exit_code_3() -> None:
    async with process("start-fails") as server:
        assert await asyncio.wait_for(server.child.wait(), 240) == 3
        assert "no model here" in json.dumps(server.log())


@pytest.mark.slow
async def test_a_solver_that_never_closes_does_not_keep_the_process() -> None:
    async with process("close-hangs") as server:
        await server.wait_serving()
        assert await server.leave() == 3
