"""What one caller may take: requests, solves at a time, samples, tests. And that nobody sees another one's anything."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from thresher.v1 import (
    execution_service_pb2,
    execution_service_pb2_grpc,
    info_service_pb2,
    info_service_pb2_grpc,
    problem_pb2,
    solve_pb2,
    synthesis_service_pb2_grpc,
)

from engine.serving.callers import Meter
from engine.serving.status import PUSHBACK_TRAILER
from tests.support.scripted_solver import ScriptedSolver, accepted, forever, passing_script
from tests.support.served import Refused, once_request, refused, serving, solve_request, spec, until
from tests.support.tokens import add_token, bearer

Metadata = tuple[tuple[str, str], ...]


def over_quota(found: Refused) -> Refused:
    assert (found.code, found.info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA")
    return found


def program(tests: int) -> execution_service_pb2.Program:
    return execution_service_pb2.Program(code="x = 1", entry_point="f", tests=list(spec().problem.tests) * tests)


async def test_requests_come_as_fast_as_the_rate_and_no_faster(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    slow, other = bearer(add_token(path, "slow", requests_per_second=0.05)), bearer(add_token(path, "other"))
    async with serving(tcp=True, serving={"tokens_file": path}) as served, grpc.aio.insecure_channel(served.tcp) as one:
        stub: Any = info_service_pb2_grpc.InfoServiceStub(one)
        request = info_service_pb2.GetLoadRequest()
        await stub.GetLoad(request, metadata=slow)
        found = over_quota(await refused(stub.GetLoad(request, metadata=slow)))
        wait = found.details["RetryInfo"].retry_delay.ToMilliseconds()
        assert 0 < wait <= 20_000
        assert found.trailers[PUSHBACK_TRAILER] == str(wait)
        for _ in range(5):
            await stub.GetLoad(request, metadata=other)


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60), st.floats(0.2, 20))
def test_no_rate_is_exceeded_however_the_calls_come(pauses: list[float], rate: float) -> None:
    now, admitted, refusals = 100.0, 0, 0
    meter = Meter(clock=lambda: now)
    for pause in pauses:
        now += pause
        wait = meter.seconds_to_wait(rate)
        if wait == 0:
            admitted += 1
            continue
        refusals += 1
        now += wait + 1e-9
        assert meter.seconds_to_wait(rate) == 0, "what it was told to wait is enough"
        admitted += 1
    assert admitted <= max(1.0, rate) + (now - 100) * rate + 1e-6


def test_without_a_rate_nothing_is_counted() -> None:
    meter = Meter(clock=lambda: 0.0)
    assert [meter.seconds_to_wait(None) for _ in range(100)] == [0.0] * 100


async def test_solves_at_a_time_are_bounded_for_each_caller(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    two, other = bearer(add_token(path, "two", solves=2)), bearer(add_token(path, "other"))
    solver = ScriptedSolver(lambda spec: [accepted(spec), forever])
    limits = {"max_solves_per_caller": 3}
    async with (
        serving(solver, tcp=True, serving={"tokens_file": path}, limits=limits) as served,
        grpc.aio.insecure_channel(served.tcp) as channel,
    ):
        stub: Any = synthesis_service_pb2_grpc.SynthesisServiceStub(channel)

        async def begin(metadata: Metadata, count: int) -> list[Any]:
            calls = [stub.Solve(solve_request(), metadata=metadata) for _ in range(count)]
            for call in calls:
                await call.read()
            return calls

        mine, theirs = await begin(two, 2), await begin(other, 3)
        for metadata, most in ((two, 2), (other, 3)):
            for late in (
                stub.Solve(solve_request(), metadata=metadata),
                stub.SolveOnce(once_request(), metadata=metadata),
            ):
                found = over_quota(await refused(late))
                assert f"may have {most}" in found.message
                assert found.details["RetryInfo"].retry_delay.ToMilliseconds() > 0
        mine[0].cancel()
        await until(lambda: len(served.front.calls) == 4)
        mine += await begin(two, 1)
        for call in (*mine, *theirs):
            call.cancel()
        await until(lambda: solver.live == 0)


async def test_callers_by_the_socket_are_one_caller() -> None:
    solver = ScriptedSolver(lambda spec: [accepted(spec), forever])
    async with serving(solver, limits={"max_solves_per_caller": 1}) as served:
        call = served.synthesis.Solve(solve_request(), metadata=(("thresher-client", "ada"),))
        await call.read()
        late = served.synthesis.Solve(solve_request(), metadata=(("thresher-client", "bob"),))
        over_quota(await refused(late))
        call.cancel()


@pytest.mark.parametrize(
    ("sampling", "good"),
    [
        ({"k": 4}, True),
        ({"k": 5}, False),
        ({}, False),  # 16 are the default
        ({"mode": "SAMPLING_MODE_BEAM", "k": 5}, False),
        ({"mode": "SAMPLING_MODE_DISTINCT", "k": 4}, True),
    ],
    ids=str,
)
async def test_samples_are_bounded(tmp_path: Path, sampling: dict[str, Any], good: bool) -> None:
    path = tmp_path / "tokens.json"
    metadata = bearer(add_token(path, "small", k=4))
    request = once_request(sampling=solve_pb2.SamplingParams(**sampling))
    async with serving(tcp=True, serving={"tokens_file": path}) as served, grpc.aio.insecure_channel(served.tcp) as one:
        stub: Any = synthesis_service_pb2_grpc.SynthesisServiceStub(one)
        if good:
            await stub.SolveOnce(request, metadata=metadata)
            return
        found = over_quota(await refused(stub.SolveOnce(request, metadata=metadata)))
    assert found.details["BadRequest"].field_violations[0].field == "spec.sampling.k"
    assert "RetryInfo" not in found.details, "no wait mends it"


async def test_a_budget_opens_no_way_around_the_samples(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    metadata = bearer(add_token(path, "small", k=4))
    request = once_request(budget=solve_pb2.Budget(wall_time=Duration(seconds=1)))
    async with serving(tcp=True, serving={"tokens_file": path}) as served, grpc.aio.insecure_channel(served.tcp) as one:
        stub: Any = synthesis_service_pb2_grpc.SynthesisServiceStub(one)
        found = over_quota(await refused(stub.SolveOnce(request, metadata=metadata)))
    assert "which stands for 4096" in found.message


async def test_tests_are_bounded_in_solves_and_programs(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    metadata = bearer(add_token(path, "small", "solve", "execute", tests=2))
    problem = spec().problem
    problem.tests.extend([problem.tests[0]] * 2)
    async with serving(tcp=True, serving={"tokens_file": path}) as served, grpc.aio.insecure_channel(served.tcp) as one:
        solving: Any = synthesis_service_pb2_grpc.SynthesisServiceStub(one)
        running: Any = execution_service_pb2_grpc.ExecutionServiceStub(one)
        found = over_quota(await refused(solving.SolveOnce(once_request(problem=problem), metadata=metadata)))
        assert found.details["BadRequest"].field_violations[0].field == "spec.problem.tests"
        request = execution_service_pb2.ExecuteRequest
        await running.Execute(request(program=program(2)), metadata=metadata)
        found = over_quota(await refused(running.Execute(request(program=program(3)), metadata=metadata)))
        assert found.details["BadRequest"].field_violations[0].field == "program.tests"
        run = execution_service_pb2.RunProgram(program=program(3))
        many = running.ExecuteMany(metadata=metadata)
        await many.write(execution_service_pb2.ExecuteManyRequest(run=run))
        refusal = (await many.read()).refused
        await many.done_writing()
        code = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert (refusal.code, refusal.reason, refusal.field) == (code, "QUOTA", "program.tests")


async def test_a_stream_of_programs_is_slowed_down_to_the_rate(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    metadata = bearer(add_token(path, "slow", "execute", requests_per_second=20.0))
    run = execution_service_pb2.RunProgram(program=program(1))
    async with serving(tcp=True, serving={"tokens_file": path}) as served, grpc.aio.insecure_channel(served.tcp) as one:
        stub: Any = execution_service_pb2_grpc.ExecutionServiceStub(one)
        began = asyncio.get_running_loop().time()
        requests = [execution_service_pb2.ExecuteManyRequest(id=number, run=run) for number in range(30)]
        replies = [reply.WhichOneof("reply") async for reply in stub.ExecuteMany(iter(requests), metadata=metadata)]
        seconds = asyncio.get_running_loop().time() - began
    assert replies == ["report"] * 30
    assert seconds > 0.4, "a second's worth comes at once, the call itself being one; the other eleven wait"


async def test_one_caller_s_request_id_is_nothing_to_another(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    tokens = [bearer(add_token(path, name)) for name in ("a", "b")]
    gate = asyncio.Event()

    def script(spec: Any) -> list[Any]:
        first, *rest = passing_script(spec)
        return [first, gate.wait, *rest]

    solver = ScriptedSolver(script)  # type: ignore[arg-type]
    async with (
        serving(solver, tcp=True, serving={"tokens_file": path}) as served,
        grpc.aio.insecure_channel(served.tcp) as channel,
    ):
        stub: Any = synthesis_service_pb2_grpc.SynthesisServiceStub(channel)
        secret = once_request(request_id="same")
        secret.spec.problem.completion.text = "def mine():"
        calls = [
            asyncio.ensure_future(stub.SolveOnce(request, metadata=metadata))
            for request, metadata in zip((secret, once_request(request_id="same")), tokens, strict=True)
        ]
        await until(lambda: len(solver.specs) == 2)
        gate.set()
        assert [reply.request_id for reply in await asyncio.gather(*calls)] == ["same", "same"]


async def test_the_limits_of_one_request_hold_for_everybody() -> None:
    """Those that were there before quotas: message, samples, tests, prompt, program."""
    small = {"max_k": 4, "max_tests": 2, "max_prompt_bytes": 100, "max_program_bytes": 100}
    long = problem_pb2.Problem(
        completion=problem_pb2.CompletionPrompt(text="x" * 101), entry_point="f", tests=spec().problem.tests
    )
    many = spec().problem
    many.tests.extend([many.tests[0]] * 2)
    large = spec().problem
    large.setup_code = "#" * 101
    async with serving(limits=small, serving={"max_request_bytes": 1 << 16}) as served:
        for fields, field in (
            ({"sampling": solve_pb2.SamplingParams(k=5)}, "spec.sampling.k"),
            ({"problem": many}, "spec.problem.tests"),
            ({"problem": long}, "spec.problem.completion.text"),
            ({"problem": large}, "spec.problem.setup_code"),
        ):
            found = await refused(served.synthesis.SolveOnce(once_request(**fields)))
            assert found.code is grpc.StatusCode.INVALID_ARGUMENT
            assert found.details["BadRequest"].field_violations[0].field == field
        large.setup_code = "#" * (1 << 16)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.synthesis.SolveOnce(once_request(problem=large))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
