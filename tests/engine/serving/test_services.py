"""The services over a real socket: what goes in reaches the solver, what comes out reaches the client."""

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from thresher.v1 import (
    execution_service_pb2,
    info_service_pb2,
    problem_pb2,
    solve_pb2,
    synthesis_service_pb2,
    verdict_pb2,
)

from engine.serving.execution import most_in_flight
from engine.serving.info import FEATURES
from engine.solving.spec import ReturnPolicy
from tests.support.event_order import check_stream
from tests.support.scripted_solver import ScriptedSolver, accepted, passing_script
from tests.support.served import once_request, refused, serving, solve_request, spec

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_solve_streams_events_in_order_and_ends_with_the_summary() -> None:
    async with serving() as served:
        request = solve_request(request_id="r-1", return_policy=solve_pb2.RETURN_POLICY_ALL)
        call = served.synthesis.Solve(request)
        events = [response.event async for response in call]
        checker = check_stream(request.spec, events, await call.code())
    assert checker.summary.candidates[0].code.startswith("def f")
    assert checker.summary.candidates[0].report.evidence == verdict_pb2.EVIDENCE_VALUES
    assert served.solver.specs[0].return_policy is ReturnPolicy.ALL
    assert served.solver.ended in (["done"], ["closed early"])


async def test_solve_once_returns_the_summary_and_the_request_id() -> None:
    async with serving() as served:
        response = await served.synthesis.SolveOnce(once_request(request_id="r-2"))
    assert response.request_id == "r-2"
    assert response.summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED
    assert response.summary.accounting.time_to_first_pass.ToMilliseconds() == 500


async def test_a_request_without_an_id_gets_one() -> None:
    async with serving() as served:
        response = await served.synthesis.SolveOnce(once_request())
    assert len(response.request_id) == 32
    assert response.request_id == served.solver.specs[0].request_id


async def test_the_deadline_reaches_the_solver() -> None:
    async with serving() as served:
        await served.synthesis.SolveOnce(once_request(), timeout=50)
        await served.synthesis.SolveOnce(once_request())
    assert served.solver.deadlines[0] is not None
    assert 40 < served.solver.deadlines[0] <= 50.5
    assert served.solver.deadlines[1] is None


@pytest.mark.parametrize("name", ["token_deltas", "test_results", "branches"])
async def test_solve_once_refuses_events_it_cannot_deliver(name: str) -> None:
    async with serving() as served:
        found = await refused(served.synthesis.SolveOnce(once_request(events=solve_pb2.EventOptions(**{name: True}))))
    assert found.code is grpc.StatusCode.UNIMPLEMENTED
    assert name in found.message


async def test_execute_runs_the_program_and_reports() -> None:
    program = execution_service_pb2.Program(
        code="def f(): return 1",
        entry_point="f",
        tests=spec().problem.tests,
        limits=problem_pb2.ExecutionLimits(cpu_time=Duration(seconds=2)),
    )
    async with serving() as served:
        response = await served.execution.Execute(execution_service_pb2.ExecuteRequest(program=program))
    assert response.report.verdict == verdict_pb2.VERDICT_PASSED
    assert response.report.score == 1.0
    assert served.solver.executor.programs[0].limits.cpu_seconds == 2
    assert served.solver.executor.groups[0].startswith("execute:")
    assert served.metric("thresher_verdicts_total", {"verdict": "passed", "source": "request"}) == 1


async def test_server_info_names_limits_features_and_the_sandbox() -> None:
    async with serving(limits={"max_k": 12}) as served:
        info = await served.info.GetServerInfo(info_service_pb2.GetServerInfoRequest())
    assert info.max_k == 12
    assert info.max_request_bytes == 16 << 20
    assert info.default_model == "models/scripted"
    assert info.sandbox.backend == "nsjail, cgroup v2"
    assert list(info.sandbox.weaknesses) == ["one uid for all slots"]
    assert [name for name in FEATURES if not name.startswith("LANGUAGE_")] == [
        name for name in info.features if not name.startswith("LANGUAGE_")
    ]
    assert [name for name in info.features if name.startswith("LANGUAGE_")] == ["LANGUAGE_PYTHON"]
    assert info.max_programs_in_flight == most_in_flight(4)


async def test_features_are_real_names_of_the_protocol() -> None:
    enums = {
        value.name
        for file in (problem_pb2, solve_pb2)
        for enum in file.DESCRIPTOR.enum_types_by_name.values()
        for value in enum.values
    }
    files = (problem_pb2, solve_pb2, execution_service_pb2)
    messages = [message for file in files for message in file.DESCRIPTOR.message_types_by_name.values()]
    fields = {f"{message.name}.{field.name}" for message in messages for field in message.fields}
    services = [
        file.DESCRIPTOR.services_by_name[name]
        for file, name in ((execution_service_pb2, "ExecutionService"), (synthesis_service_pb2, "SynthesisService"))
    ]
    methods = {f"{service.name}.{method.name}" for service in services for method in service.methods}
    assert set(FEATURES) <= enums | fields | methods
    assert methods <= set(FEATURES)


async def test_models_come_in_pages() -> None:
    async with serving() as served:
        first = await served.info.ListModels(info_service_pb2.ListModelsRequest(page_size=2))
        second = await served.info.ListModels(
            info_service_pb2.ListModelsRequest(page_size=2, page_token=first.next_page_token)
        )
        bad = await refused(served.info.ListModels(info_service_pb2.ListModelsRequest(page_token="77")))
    assert [model.name for model in first.models] == ["models/scripted", "models/second"]
    assert [model.name for model in second.models] == ["models/third"]
    assert [model.deterministic for model in (*first.models, *second.models)] == [True, False, False]
    assert second.next_page_token == ""
    assert bad.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_load_is_the_solver_s() -> None:
    async with serving() as served:
        load = await served.info.GetLoad(info_service_pb2.GetLoadRequest())
    assert (load.solves_waiting, load.branches_running, load.executor_slots, load.executor_queue) == (2, 3, 4, 5)
    assert load.tokens_per_second == 6.5


async def test_while_starting_solves_are_refused_and_info_answers() -> None:
    async with serving(ScriptedSolver(status="starting")) as served:
        solve = await refused(served.synthesis.SolveOnce(once_request()))
        execute = await refused(served.execution.Execute(execution_service_pb2.ExecuteRequest()))
        info = await served.info.GetServerInfo(info_service_pb2.GetServerInfoRequest())
        models = await served.info.ListModels(info_service_pb2.ListModelsRequest())
    for found in (solve, execute):
        assert (found.code, found.info.reason) == (grpc.StatusCode.UNAVAILABLE, "STARTING")
        assert found.info.metadata["model"] == "scripted"
        assert found.message == "this server is still loading scripted"
    assert not info.HasField("sandbox")
    assert not models.models


async def test_a_solver_that_ends_without_a_summary_is_an_error() -> None:
    async with serving(ScriptedSolver(lambda spec: [accepted(spec)])) as served:
        found = await refused(served.synthesis.Solve(solve_request()))
    assert (found.code, found.info.reason) == (grpc.StatusCode.INTERNAL, "ENGINE_FAILED")


async def test_nothing_follows_the_summary_and_no_error_comes_with_it() -> None:
    def script(spec: object) -> list[object]:
        steps = passing_script(spec)
        return [*steps, steps[1], RuntimeError("too late")]

    async with serving(ScriptedSolver(script)) as served:
        request = solve_request()
        call = served.synthesis.Solve(request)
        events = [response.event async for response in call]
        check_stream(request.spec, events, await call.code())
    assert served.solver.ended == ["closed early"]


async def test_calls_are_counted_by_method_and_code() -> None:
    async with serving() as served:
        await served.synthesis.SolveOnce(once_request())
        await refused(served.synthesis.SolveOnce(once_request(model="bare")))
        stranger = served.channel.unary_unary("/evil.Label/" + "x" * 50)
        with pytest.raises(grpc.aio.AioRpcError):
            await stranger(b"")
    name = "thresher_grpc_requests_total"
    method = "/thresher.v1.SynthesisService/SolveOnce"
    assert served.metric(name, {"method": method, "code": "OK"}) == 1
    assert served.metric(name, {"method": method, "code": "INVALID_ARGUMENT"}) == 1
    assert served.metric(name, {"method": "unknown", "code": "UNIMPLEMENTED"}) == 1
