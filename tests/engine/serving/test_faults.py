"""Faults under a whole server, as its clients see them. (Those of the sandbox: tests/executor/test_life.py and
tests/system/test_faults.py; of files: tests/engine/models; of the protocol: test_fuzz.py.)"""

import asyncio
import gc
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from thresher.v1 import problem_pb2, solve_pb2, synthesis_service_pb2

from engine.config import Settings
from engine.loop import client as engine_client
from engine.loop.client import EngineClient, EngineDown, Link, thread_starter
from engine.metrics import Metrics
from engine.serving.solve_in import solve_in
from engine.solving import solve as solving
from engine.solving.events import BranchDelta
from engine.solving.solver import Solver
from tests.support.scripted_engine import NAME, FakeExecutor, Script, scripted_solver, serve_script
from tests.support.scripted_solver import ScriptedSolver, accepted, passing_script
from tests.support.served import Served, refused, serving, solve_request, until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
PROGRAMS = {"easy": {"x = 'PASS'\n": 1.0}, "long": {"z" * 1500: 1.0}}


def spec(prompt: str, **fields: Any) -> solve_pb2.SolveSpec:
    problem = problem_pb2.Problem(
        completion=problem_pb2.CompletionPrompt(text=prompt),
        tests=[problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="visible"))],
    )
    sampling = solve_pb2.SamplingParams(**{"k": 2, "seed": 1, "top_p": 1.0, **fields.pop("sampling", {})})
    return solve_pb2.SolveSpec(problem=problem, sampling=sampling, **fields)


def once(prompt: str, **fields: Any) -> synthesis_service_pb2.SolveOnceRequest:
    return synthesis_service_pb2.SolveOnceRequest(spec=spec(prompt, **fields))


@asynccontextmanager
async def whole(solver: Any, **sections: Any) -> AsyncGenerator[Served]:
    await solver.start()
    try:
        async with serving(solver, **sections) as served:
            yield served
    finally:
        await solver.close()


async def kinds_of(call: Any) -> list[str]:
    """The events that are left of a stream."""
    kinds: list[str] = []
    while (response := await call.read()) is not grpc.aio.EOF:
        kinds.append(response.event.WhichOneof("event"))
    return kinds


# An engine dies


async def watched(served: Served, service: str) -> AsyncGenerator[int]:
    """The health of a service, each time it changes."""
    stub: Any = health_pb2_grpc.HealthStub(served.channel)
    call = stub.Watch(health_pb2.HealthCheckRequest(service=service))
    while True:
        yield (await asyncio.wait_for(call.read(), 20)).status


async def test_the_death_of_one_model_is_no_other_model_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Health NOT_SERVING for that model and the whole, its solves UNAVAILABLE, the other's go on; then ready again."""
    monkeypatch.setattr(engine_client, "_FIRST_PAUSE", 0.01)
    scripts = {name: Script(PROGRAMS, step_seconds=0.005) for name in ("a", "b")}
    starters = {name: thread_starter(serve_script(script)) for name, script in scripts.items()}
    may_start = asyncio.Event()
    may_start.set()

    async def start_when_it_may() -> Link:
        await may_start.wait()
        return await starters["a"]()

    metrics = Metrics()
    solver = Solver(
        starters={"a": start_when_it_may, "b": starters["b"]},
        executor=FakeExecutor(),  # type: ignore[arg-type]
        metrics=metrics,
        max_k=64,
    )
    async with whole(solver) as served:
        watches = {name: watched(served, name) for name in ("", "models/a", "models/b")}
        for watch in watches.values():
            assert await anext(watch) == SERVING
        requests = [solve_pb2.SolveSpec(), solve_pb2.SolveSpec()]
        for request, name in zip(requests, scripts, strict=True):
            request.CopyFrom(spec("long", model=f"models/{name}"))
        calls = [served.synthesis.Solve(synthesis_service_pb2.SolveRequest(spec=request)) for request in requests]
        for call in calls:
            await call.read()
        await until(lambda: solver.load().branches_running == 2)
        may_start.clear()
        scripts["a"].fail = True
        found = await refused(calls[0])
        assert (found.code, found.info.reason) == (grpc.StatusCode.UNAVAILABLE, "ENGINE_RESTARTING")
        assert found.details["RetryInfo"].retry_delay.ToMilliseconds() > 0
        assert await anext(watches["models/a"]) == NOT_SERVING
        assert await anext(watches[""]) == NOT_SERVING
        late = await refused(served.synthesis.SolveOnce(once("easy", model="models/a")))
        assert (late.code, late.info.reason) == (grpc.StatusCode.UNAVAILABLE, "ENGINE_RESTARTING")
        answer = await served.synthesis.SolveOnce(once("easy", model="models/b"))
        assert answer.summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED
        may_start.set()
        assert await anext(watches["models/a"]) == SERVING
        assert await anext(watches[""]) == SERVING
        answer = await served.synthesis.SolveOnce(once("easy", model="models/a"))
        assert answer.summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED
        events = await kinds_of(calls[1])
        assert events[-1] == "summary", "a solve of the other model has lived through it"
        for name in watches:
            if name == "models/b":
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(watches[name]), 0.05)
        await until(lambda: solver.load().branches_running == 0)


async def test_an_engine_that_does_not_come_back_is_tried_with_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_client, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(engine_client, "_LONGEST_PAUSE", 0.1)
    begin = thread_starter(serve_script(script := Script(PROGRAMS)))
    failures = 0

    async def start() -> Link:
        nonlocal failures
        if script.steps and failures < 6:
            failures += 1
            raise OSError("no memory for another process")
        return await begin()

    solver = Solver(starters={NAME: start}, executor=FakeExecutor(), metrics=Metrics(), max_k=64)  # type: ignore[arg-type]
    with structlog.testing.capture_logs() as logs:
        async with whole(solver) as served:
            await served.synthesis.SolveOnce(once("easy"))
            script.fail = True
            await refused(served.synthesis.SolveOnce(once("easy")))
            await until(lambda: solver.status == "failed")
            script.fail = False
            await until(lambda: solver.status == "ready")
            answer = await served.synthesis.SolveOnce(once("easy"))
            assert answer.summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED
    pauses = [line["restart_in_seconds"] for line in logs if "restart_in_seconds" in line]
    assert pauses[-6:] == [0.02, 0.04, 0.08, 0.1, 0.1, 0.1]


async def test_an_engine_that_never_starts_is_told_as_it_says_it() -> None:
    async def start() -> Link:
        raise OSError("the model's file is a folder")

    client = EngineClient(start, on_report=lambda _: None, on_change=lambda: None)
    with pytest.raises(EngineDown, match="the model's file is a folder"):
        await client.start()
    await client.close()


# Too many, too large, too slow


@pytest.mark.parametrize(
    ("count", "waiting"),
    [
        pytest.param(1_000, 64, id="most are refused"),
        pytest.param(10_000, 64, id="10,000, most are refused", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
        pytest.param(10_000, 20_000, id="10,000, all of them wait", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
async def test_a_crowd_of_solves_is_refused_or_waits_and_goes(count: int, waiting: int) -> None:
    solver: Any = scripted_solver(Script(PROGRAMS, step_seconds=0.002), FakeExecutor(), rows=2, waiting=waiting)
    async with whole(solver, limits={"max_solves_per_caller": 50_000}) as served:
        await served.synthesis.SolveOnce(once("easy"))
        gc.collect()
        tasks = len(asyncio.all_tasks())
        codes: dict[grpc.StatusCode, int] = {}

        async def ask() -> None:
            try:
                await served.synthesis.SolveOnce(once("long", sampling={"k": 1}))
                code = grpc.StatusCode.OK
            except grpc.aio.AioRpcError as error:
                code = error.code()
            codes[code] = codes.get(code, 0) + 1

        crowd = [asyncio.create_task(ask()) for _ in range(count)]
        refusals = max(0, count - waiting - 2)

        def settled() -> bool:
            load = solver.load()
            # A few have ended and are on their way to their callers.
            return load.solves_running + load.solves_waiting + sum(codes.values()) >= count - 8

        await until(settled, 240)
        refused = codes.get(grpc.StatusCode.RESOURCE_EXHAUSTED, 0)
        # How many were drawn and are being judged or told, and how many are done, is a matter of the machine's speed.
        assert refused >= refusals // 2 if refusals else not refused
        # The server still answers others, and lets all of them go at once.
        assert await asyncio.wait_for(check_health(served), 30) == SERVING
        ended = set(codes)  # what a call says that its own client has cancelled is gRPC's affair
        for one in crowd:
            one.cancel()
        await asyncio.wait(crowd)

        def idle() -> bool:
            load = solver.load()
            return not (load.solves_running or load.solves_waiting or load.branches_running)

        await until(idle, 240)
        assert len(served.front.calls) == 0
        await until(lambda: len(asyncio.all_tasks()) <= tasks + 2, 30)
        assert ended <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        answer = await served.synthesis.SolveOnce(once("easy"))
        assert answer.summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED


@pytest.mark.parametrize(
    ("count", "seconds"),
    [
        pytest.param(3_500, 0, id="more than gRPC lets wait by default"),
        pytest.param(10, 32, id="longer than gRPC lets them wait by default", marks=pytest.mark.slow),
    ],
)
async def test_calls_that_come_while_the_front_stands_still_are_answered(count: int, seconds: float) -> None:
    async with serving() as served:
        with grpc.insecure_channel(f"unix:{served.folder}/s") as channel:
            check: Any = health_pb2_grpc.HealthStub(channel)
            # These calls and the sleep hold up the loop, and with it the front; the channel has threads of its own.
            calls = [check.Check.future(health_pb2.HealthCheckRequest()) for _ in range(count)]
            time.sleep(seconds)  # noqa: ASYNC251 (it is what this is about)
            codes = await asyncio.to_thread(lambda: [call.code() for call in calls])
    assert set(codes) == {grpc.StatusCode.OK}


async def check_health(served: Served) -> int:
    stub: Any = health_pb2_grpc.HealthStub(served.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest())).status


async def test_a_reader_that_stops_reading_stops_the_writing() -> None:
    """What is written ahead of it is bounded by gRPC's flow control, not by what the solve has to tell."""
    told = 0
    text = "x" * 60_000

    def script(spec: Any) -> Any:
        nonlocal told
        yield accepted(spec)
        for _ in range(5000):
            told += 1
            yield BranchDelta(branch=0, text=text, tokens=1)
        yield from passing_script(spec)[1:]

    solver = ScriptedSolver(script)
    async with serving(solver) as served:
        call = served.synthesis.Solve(solve_request())
        await call.read()
        settled = -1
        while settled != told:
            settled = told
            await asyncio.sleep(0.3)
        assert told * len(text) < 64 << 20, "of 300 MB"
        kinds = await kinds_of(call)
        assert kinds[-1] == "summary"
        assert kinds.count("branch_delta") == 5000, "and nothing was lost"


async def test_a_slow_reader_s_solve_waits_in_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine goes on; what it tells is joined where nobody reads it."""
    inboxes: list[Any] = []
    plain = solving.Inbox

    def watched_inbox() -> Any:
        inboxes.append(plain())
        return inboxes[-1]

    monkeypatch.setattr(solving, "Inbox", watched_inbox)
    monkeypatch.setattr("engine.solving.inbox._MOST_STEPS", 4)
    programs = {"wide": {f"{letter * 400}\n": 1.0 for letter in "abcdefgh"}}
    solver: Any = scripted_solver(Script(programs), FakeExecutor(), rows=16)
    await solver.start()
    asked = spec("wide", sampling={"k": 8, "max_new_tokens": 500, "mode": "SAMPLING_MODE_DISTINCT"})
    asked.events.token_deltas = asked.events.branches = True
    events = solver.solve(solve_in(asked, "spec", Settings()), deadline=None)
    await anext(events)
    await until(lambda: solver.load().branches_running == 0 and len(inboxes[0]) > 0, 200)
    assert len(inboxes[0]) <= 8
    texts: dict[int, str] = {}
    async for event in events:
        if isinstance(event.body, BranchDelta):
            texts[event.body.branch] = texts.get(event.body.branch, "") + event.body.text
    # The last tokens of a text come with its program alone.
    assert sorted(text[0] for text in texts.values()) == list("abcdefgh")
    assert all(text == text[0] * len(text) and len(text) > 300 for text in texts.values())
    await solver.close()
