"""A front with a scripted solver on a Unix socket (and on request TCP), in this process."""

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from thresher.v1 import (
    execution_service_pb2_grpc,
    info_service_pb2_grpc,
    problem_pb2,
    solve_pb2,
    synthesis_service_pb2,
    synthesis_service_pb2_grpc,
)

from engine.config import Settings
from engine.metrics import Metrics
from engine.serving.front import Front
from engine.serving.listen import TcpAddress
from tests.support.scripted_solver import ScriptedSolver

CHANNEL_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass
class Served:
    """A running front and a channel to its first address."""

    front: Front
    solver: ScriptedSolver
    metrics: Metrics
    channel: grpc.aio.Channel
    folder: Path

    @property
    def synthesis(self) -> Any:
        return synthesis_service_pb2_grpc.SynthesisServiceStub(self.channel)

    @property
    def execution(self) -> Any:
        return execution_service_pb2_grpc.ExecutionServiceStub(self.channel)

    @property
    def info(self) -> Any:
        return info_service_pb2_grpc.InfoServiceStub(self.channel)

    @property
    def tcp(self) -> str:
        """The TCP address it listens on."""
        return next(str(address) for address in self.front.bound if isinstance(address, TcpAddress))

    def metric(self, name: str, labels: Mapping[str, str] | None = None) -> float:
        """The value of one series; 0 if it never was touched."""
        return self.metrics.registry.get_sample_value(name, dict(labels or {})) or 0.0


@asynccontextmanager
async def serving(
    solver: ScriptedSolver | None = None,
    *,
    tcp: bool = False,
    options: list[tuple[str, int]] | None = None,
    metrics: Metrics | None = None,
    **sections: Mapping[str, Any],
) -> AsyncGenerator[Served]:
    """Serve until the end of the block. `sections` are settings, e.g. serving={...}; `metrics`: the solver's own."""
    solver = solver or ScriptedSolver()
    # Paths of sockets are short, and those of pytest's folders are not.
    with tempfile.TemporaryDirectory(prefix="thr") as folder, mock.patch.dict(os.environ, XDG_RUNTIME_DIR=folder):
        socket = f"unix:{folder}/s"
        chosen = {"listen": (socket, "127.0.0.1:0") if tcp else (socket,), **sections.pop("serving", {})}
        settings = Settings.model_validate({"serving": chosen, **sections})
        metrics = metrics or Metrics()
        front = Front(settings, solver, metrics)
        await front.start()
        try:
            async with grpc.aio.insecure_channel(socket, options=options or CHANNEL_OPTIONS) as channel:
                yield Served(front, solver, metrics, channel, Path(folder))
        finally:
            await front.stop(0)
            await front.recorded()


def spec(**fields: Any) -> solve_pb2.SolveSpec:
    """A small valid spec; `fields` are set on top."""
    problem = problem_pb2.Problem(
        completion=problem_pb2.CompletionPrompt(text="def f():"),
        entry_point="f",
        tests=[problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="assert f() == 1"))],
    )
    return solve_pb2.SolveSpec(**{"problem": problem, **fields})


def solve_request(**fields: Any) -> synthesis_service_pb2.SolveRequest:
    """A request of Solve."""
    return synthesis_service_pb2.SolveRequest(spec=spec(**fields))


def once_request(**fields: Any) -> synthesis_service_pb2.SolveOnceRequest:
    """A request of SolveOnce."""
    return synthesis_service_pb2.SolveOnceRequest(spec=spec(**fields))


@dataclass
class Refused:
    """An error as a client sees it."""

    code: grpc.StatusCode
    message: str
    info: error_details_pb2.ErrorInfo
    details: dict[str, Any]
    trailers: dict[str, Any]


async def refused(call: Any) -> Refused:
    """Await a call, or read a stream, that must fail; return its error with all details."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _finish(call)
    error = caught.value
    status = await rpc_status.aio.from_call(call)
    assert status is not None, f"{error.code()} {error.details()} came without details"
    details: dict[str, Any] = {}
    for packed in status.details:
        kind = packed.type_url.rsplit(".", 1)[-1]
        details[kind] = getattr(error_details_pb2, kind)()
        packed.Unpack(details[kind])
    trailers = dict(error.trailing_metadata() or ())
    return Refused(error.code(), error.details() or "", details["ErrorInfo"], details, trailers)


async def _finish(call: Any) -> None:
    if not hasattr(call, "read"):
        await call
        return
    while await call.read() is not grpc.aio.EOF:
        pass


async def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until `holds`; TimeoutError if it does not."""
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds
    while not holds():
        if loop.time() > due:
            raise TimeoutError
        await asyncio.sleep(0.002)
