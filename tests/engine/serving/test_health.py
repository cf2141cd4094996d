"""Health by service name, and reflection."""

import asyncio
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from engine.serving.front import SERVICES
from tests.support.scripted_solver import ScriptedSolver
from tests.support.served import Served, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health(served: Served) -> Any:
    return health_pb2_grpc.HealthStub(served.channel)


async def check(served: Served, service: str = "") -> int:
    return (await health(served).Check(health_pb2.HealthCheckRequest(service=service))).status


async def test_health_follows_the_solver_by_service() -> None:
    solver = ScriptedSolver(status="starting")
    async with serving(solver) as served:
        assert {await check(served, name) for name in ("", *SERVICES)} == {NOT_SERVING}
        watch = health(served).Watch(health_pb2.HealthCheckRequest(service=SERVICES[-1]))
        assert (await watch.read()).status == NOT_SERVING
        solver.status = "ready"
        assert (await asyncio.wait_for(watch.read(), 10)).status == SERVING
        assert {await check(served, name) for name in ("", *SERVICES)} == {SERVING}
        for status, expected in (("failed", NOT_SERVING), ("ready", SERVING)):
            solver.status = status
            assert (await asyncio.wait_for(watch.read(), 10)).status == expected


async def test_watchers_see_the_drain_and_it_is_final() -> None:
    solver = ScriptedSolver()
    async with serving(solver) as served:
        watch = health(served).Watch(health_pb2.HealthCheckRequest(service=SERVICES[0]))
        assert (await watch.read()).status == SERVING
        await served.front.refuse_new()
        assert (await asyncio.wait_for(watch.read(), 5)).status == NOT_SERVING
        solver.status = "ready"
        await asyncio.sleep(0.05)
        assert await check(served, SERVICES[0]) == NOT_SERVING


async def ask(served: Served, **question: str) -> reflection_pb2.ServerReflectionResponse:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**question)]))
    return await call.read()


async def test_reflection_lists_all_services() -> None:
    async with serving() as served:
        answer = await ask(served, list_services="*")
    names = {service.name for service in answer.list_services_response.service}
    assert names == {*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


@pytest.mark.parametrize("symbol", [*SERVICES, "thresher.v1.SolveSpec", "thresher.v1.ExecutionReport"])
async def test_reflection_describes_what_a_caller_needs(symbol: str) -> None:
    async with serving() as served:
        answer = await ask(served, file_containing_symbol=symbol)
    assert answer.file_descriptor_response.file_descriptor_proto
