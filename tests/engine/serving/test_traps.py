"""Traps of grpc.aio (api.md a.4), each with a test that fails without its guard."""

import asyncio
import os
import socket
import sys
import time

import grpc
import grpc.aio
import pytest
from thresher.v1 import execution_service_pb2

from engine.config_base import ConfigError
from engine.serving.listen import server_options
from engine.solving.events import BranchDelta
from tests.support.scripted_solver import ScriptedSolver, accepted, forever
from tests.support.served import once_request, refused, serving, solve_request, spec, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _cancelled_child() -> None:
    child = asyncio.create_task(forever())
    await asyncio.sleep(0)
    child.cancel()
    await child


@pytest.mark.parametrize("once", [False, True])
async def test_t1_a_leaked_cancellation_ends_the_call_at_once(once: bool) -> None:
    async def raise_cancelled() -> None:
        raise asyncio.CancelledError

    for leak in ([asyncio.CancelledError()], [_cancelled_child], [raise_cancelled]):
        solver = ScriptedSolver(lambda spec, leak=leak: [accepted(spec), *leak])
        async with serving(solver) as served:
            began = time.monotonic()
            call = (
                served.synthesis.SolveOnce(once_request(), timeout=30)
                if once
                else served.synthesis.Solve(solve_request(), timeout=30)
            )
            found = await refused(call)
            assert (found.code, found.info.reason) == (grpc.StatusCode.INTERNAL, "ENGINE_FAILED")
            assert time.monotonic() - began < 10


async def test_t1_holds_for_execute_too() -> None:
    solver = ScriptedSolver()
    solver.executor.before = _cancelled_child
    program = execution_service_pb2.Program(code="x = 1", entry_point="f", tests=spec().problem.tests)
    async with serving(solver) as served:
        call = served.execution.Execute(execution_service_pb2.ExecuteRequest(program=program), timeout=30)
        assert (await refused(call)).code is grpc.StatusCode.INTERNAL


async def test_t2_cancelled_and_deadline_are_told_apart_by_the_exception_path() -> None:
    solver = ScriptedSolver(lambda spec: [accepted(spec), forever])
    name, method = "thresher_grpc_requests_total", "/thresher.v1.SynthesisService/Solve"
    async with serving(solver) as served:
        call = served.synthesis.Solve(solve_request(), timeout=600)
        await call.read()
        call.cancel()
        await until(lambda: served.metric(name, {"method": method, "code": "CANCELLED"}) == 1)
        late = served.synthesis.Solve(solve_request(), timeout=1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in late:
                pass
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: served.metric(name, {"method": method, "code": "DEADLINE_EXCEEDED"}) == 1)
        assert served.metric(name, {"method": method, "code": "OK"}) == 0
        assert served.metric(name, {"method": method, "code": "INTERNAL"}) == 0


async def test_t3_a_cancel_reaches_a_silent_solve_without_polling() -> None:
    solver = ScriptedSolver(lambda spec: [accepted(spec), forever])
    async with serving(solver) as served:
        call = served.synthesis.Solve(solve_request())
        await call.read()
        assert solver.live == 1
        began = time.monotonic()
        call.cancel()
        await until(lambda: solver.live == 0)
        assert time.monotonic() - began < 5
    assert solver.ended == ["cancelled"]


async def test_t3_a_cancel_ends_a_solve_whose_reader_is_slow() -> None:
    flood = [BranchDelta(branch=0, text="x" * 60_000, tokens=1)] * 2000
    solver = ScriptedSolver(lambda spec: [accepted(spec), *flood])
    async with serving(solver) as served:
        call = served.synthesis.Solve(solve_request())
        await call.read()
        await asyncio.sleep(0.2)
        assert solver.live == 1
        call.cancel()
        await until(lambda: solver.live == 0)


async def test_t4_the_front_waits_for_handlers_itself() -> None:
    cleaned = asyncio.Event()

    async def slow_to_die() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
            cleaned.set()

    solver = ScriptedSolver()
    solver.executor.before = slow_to_die
    async with serving(solver) as served:
        program = execution_service_pb2.Program(code="x = 1", entry_point="f", tests=spec().problem.tests)
        call = served.execution.Execute(execution_service_pb2.ExecuteRequest(program=program))
        await until(lambda: len(solver.executor.programs) == 1)
        await served.front.refuse_new()
        served.front.calls.end_all()
        assert await served.front.calls.wait(30)
        assert cleaned.is_set()
        found = await refused(call)
        assert (found.code, found.info.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


async def test_t5_fork_support_is_off_before_grpc_is_imported() -> None:
    program = (
        "import sys, os\n"
        "import engine.serving\n"
        "assert 'grpc' not in sys.modules, 'engine.serving imports grpc before it could say so'\n"
        "assert os.environ['GRPC_ENABLE_FORK_SUPPORT'] == '0'\n"
        "import uvloop, asyncio, engine.serving.front\n"
        "import grpc.aio\n"
        "async def main():\n"
        "    server = grpc.aio.server(); server.add_insecure_port('127.0.0.1:0'); await server.start()\n"
        "    for _ in range(10):\n"
        "        child = await asyncio.create_subprocess_exec('true'); await child.wait()\n"
        "    await server.stop(0)\n"
        "uvloop.run(main())\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(child.communicate(), 240)
    assert child.returncode == 0, errors.decode()
    assert b"fork" not in errors


async def test_t6_one_loop_serves_many_channels_without_noise(capfd: pytest.CaptureFixture[str]) -> None:
    async with serving() as served:
        address = str(served.front.bound[0])
        for _ in range(10):
            async with grpc.aio.insecure_channel(address) as channel:
                call = channel.unary_unary("/thresher.v1.SynthesisService/SolveOnce")
                await call(once_request().SerializeToString())
    assert "BlockingIOError" not in capfd.readouterr().err


async def test_t8_the_limit_is_set_both_ways() -> None:
    options = dict(server_options(16 << 20))
    assert options["grpc.max_receive_message_length"] == options["grpc.max_send_message_length"] == 16 << 20


def _padded(size: int) -> bytes:
    """A request of exactly `size` bytes, most of them setup code."""
    request = once_request()
    request.spec.problem.setup_code = "#" * size
    request.spec.problem.setup_code = "#" * (2 * size - request.ByteSize())
    assert request.ByteSize() == size
    return request.SerializeToString()


async def test_t8_sixteen_mebibytes_pass_and_one_byte_more_does_not() -> None:
    async with serving(limits={"max_program_bytes": 17 << 20}) as served:
        call = served.channel.unary_unary("/thresher.v1.SynthesisService/SolveOnce")
        await call(_padded(16 << 20))
        assert len(served.solver.specs[0].setup_code) > 16_700_000
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(_padded((16 << 20) + 1))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await call(_padded(1 << 20))


async def test_t10_a_port_is_never_shared_silently() -> None:
    async with serving(tcp=True) as served:
        with pytest.raises(ConfigError, match="cannot be bound"):
            async with serving(serving={"listen": (served.tcp,)}):
                pass
        assert dict(server_options(1))["grpc.so_reuseport"] == 0


async def test_t10_a_port_that_somebody_else_holds_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="cannot be bound"):
            async with serving(serving={"listen": (f"127.0.0.1:{taken.getsockname()[1]}",)}):
                pass


async def test_t11_a_vanished_client_is_noticed_and_a_pinging_one_kept() -> None:
    options = dict(server_options(1))
    assert options["grpc.keepalive_time_ms"] + options["grpc.keepalive_timeout_ms"] <= 40_000
    assert options["grpc.http2.min_recv_ping_interval_without_data_ms"] <= 10_000
