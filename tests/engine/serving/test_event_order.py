"""The event order of a.6 as a property: whatever a solver plays, its client sees a stream that keeps the contract."""

from collections.abc import AsyncGenerator

import grpc
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from thresher.v1 import solve_pb2, synthesis_service_pb2

from engine.config import Settings
from engine.serving.solve_in import solve_in
from engine.serving.solve_out import EventWriter
from engine.solving.events import SolveEvent
from tests.support.event_order import EventOrderChecker, EventOrderError, check_stream
from tests.support.scripted_solver import ScriptedSolver
from tests.support.scripted_solves import ScriptedSolve, scripted_solves
from tests.support.served import Served, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncGenerator[Served]:
    async with serving(ScriptedSolver()) as running:
        yield running


@given(scripted=scripted_solves())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_streams_keep_the_contract(served: Served, scripted: ScriptedSolve) -> None:
    steps = [*scripted.bodies, *([scripted.error] if scripted.error else [])]
    served.solver.script = lambda spec: steps
    call = served.synthesis.Solve(synthesis_service_pb2.SolveRequest(spec=scripted.spec))
    checker = EventOrderChecker(scripted.spec)
    seen = 0
    try:
        async for response in call:
            checker.see(response.event)
            seen += 1
    except grpc.aio.AioRpcError:
        assert scripted.error is not None
    code = await call.code()
    checker.end(code)
    assert (code is grpc.StatusCode.OK) == (scripted.error is None)
    assert seen == len(scripted.bodies) or scripted.error is not None
    assert served.solver.live == 0


@given(scripted=scripted_solves())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_solve_once_says_what_the_summary_of_solve_says(served: Served, scripted: ScriptedSolve) -> None:
    assume(scripted.error is None)
    served.solver.script = lambda spec: scripted.bodies
    scripted.spec.ClearField("events")
    scripted.spec.ClearField("request_id")  # the server would know it again, and give the answer of another example
    response = await served.synthesis.SolveOnce(synthesis_service_pb2.SolveOnceRequest(spec=scripted.spec))
    assert response.summary == _events(scripted)[-1].summary


def _events(scripted: ScriptedSolve) -> list[solve_pb2.SolveEvent]:
    writer = EventWriter(solve_in(scripted.spec, "spec", Settings()))
    return [writer.event(SolveEvent(number, 0.0, body)) for number, body in enumerate(scripted.bodies, start=1)]


def _renumbered(events: list[solve_pb2.SolveEvent]) -> list[solve_pb2.SolveEvent]:
    for number, event in enumerate(events, start=1):
        event.sequence = number
    return events


NEEDED = {"accepted", "candidate_finished", "candidate_judged", "summary", "branch_ended"}
ONCE = NEEDED | {"branch_started", "samples_joined"}


@given(scripted=scripted_solves(), data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_the_checker_finds_lost_repeated_and_swapped_events(scripted: ScriptedSolve, data: st.DataObject) -> None:
    assume(scripted.error is None)
    events = _events(scripted)
    check_stream(scripted.spec, events, grpc.StatusCode.OK)
    index = data.draw(st.integers(0, len(events) - 1))
    kind = events[index].WhichOneof("event")
    broken: list[list[solve_pb2.SolveEvent]] = [events[:index] + events[index + 1 :]]
    if kind in NEEDED:
        broken.append(_copies(events[:index] + events[index + 1 :]))
    if kind in ONCE:
        broken.append(_copies([*events[: index + 1], *events[index:]]))
    if kind == "candidate_judged":
        judged = events[index].candidate_judged.candidate.index
        finished = next(
            place
            for place, event in enumerate(events)
            if event.HasField("candidate_finished") and event.candidate_finished.index == judged
        )
        broken.append(_copies([*events[:finished], events[index], *events[finished:index], *events[index + 1 :]]))
    for stream in broken:
        with pytest.raises(EventOrderError):
            check_stream(scripted.spec, stream, grpc.StatusCode.OK)
    with pytest.raises(EventOrderError):
        check_stream(scripted.spec, events, grpc.StatusCode.INTERNAL)


def _copies(events: list[solve_pb2.SolveEvent]) -> list[solve_pb2.SolveEvent]:
    return _renumbered([solve_pb2.SolveEvent.FromString(event.SerializeToString()) for event in events])
