"""A router before scripted servers over gRPC: tiers, replicas, and what happens when one of them is gone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from thresher.client import ThresherError, program, solve_spec
from thresher.client.channel import Endpoint
from thresher.v1 import problem_pb2, solve_pb2

from engine.metrics import Metrics
from engine.remote.replica import Replica
from engine.remote.tier import RemoteTier
from engine.solving.errors import InvalidRequest, QueueFull, Unavailable
from engine.solving.routing import NoTier, Router
from engine.solving.spec import SolveSpec
from tests.support.event_order import EventOrderChecker
from tests.support.fake_server import FakeServer, solved_events
from tests.support.routed import Routed, routed
from tests.support.scripted_engine import FakeExecutor, Script, scripted_solver
from tests.support.scripted_solver import ScriptedSolver
from tests.support.scripted_tiers import FAILED, Play, cascade_of, drawing, forever
from tests.support.served import serving, until


def asked(*, k: int = 3, prompt: str = "def f():", **more: Any) -> solve_pb2.SolveSpec:
    problem = problem_pb2.Problem(
        completion=problem_pb2.CompletionPrompt(text=prompt),
        tests=[
            problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="assert f() == 1"), hidden=hidden)
            for hidden in (False, True, False)
        ],
    )
    return solve_pb2.SolveSpec(
        problem=problem,
        sampling=solve_pb2.SamplingParams(k=k, seed=1),
        events=solve_pb2.EventOptions(branches=True, test_results=True),
        **more,
    )


async def solved(running: Routed, spec: solve_pb2.SolveSpec | None = None) -> EventOrderChecker:
    """A solve that ends well, and keeps the contract."""
    spec = spec or asked()
    checker = EventOrderChecker(spec)
    async for event in running.client.solve(spec, timeout=100):
        checker.see(event)
    checker.end(grpc.StatusCode.OK)
    return checker


def outcomes(checker: EventOrderChecker) -> list[str]:
    return [solve_pb2.TierOutcome.Name(tier.outcome)[13:] for tier in checker.summary.tiers]


def hanging(after: str = "a FAIL") -> Callable[[SolveSpec], Any]:
    """Draws one program, which fails, and never ends."""

    def script(spec: SolveSpec) -> Any:
        play = Play(spec)
        steps, index = play.begin(), len(play.made)
        return [*steps, *play.start(0), *play.finish(0, after), *play.judge(index, FAILED), *play.start(1), forever]

    return script


FAILS, PASSES = drawing("a FAIL", "b FAIL", "c FAIL"), drawing("b FAIL", "d PASS")


async def test_a_solve_goes_up_the_tiers() -> None:
    small, big = ScriptedSolver(FAILS), ScriptedSolver(PASSES)
    async with routed([("small", small)], [("big", big)]) as running:
        checker = await solved(running, asked(request_id="mine"))
        assert [(tier.tier, tier.name) for tier in checker.tiers] == [(0, "small"), (1, "big")]
        assert outcomes(checker) == ["EXHAUSTED", "SOLVED"]
        (best,) = checker.summary.candidates
        assert (best.code, best.tier, best.model, list(best.samples)) == ("d PASS", 1, "models/scripted", [4])
        (given,) = big.specs
        assert given.request_id == "mine"
        attempts = given.cascade.attempts
        assert [attempt.code for attempt in attempts] == ["a FAIL", "b FAIL", "c FAIL"]
        assert attempts[0].report is not None and attempts[0].report.tests[0].index == 0
        assert small.specs[0].client == given.client != "", "whose it is goes along"
        await until(lambda: small.live + big.live == 0)


async def test_over_engines_the_same_programs_are_judged_once() -> None:
    executor = FakeExecutor()
    texts = {"p": {"x = 'FAIL a'\n": 1.0, "x = 'FAIL b'\n": 1.0}}
    small = scripted_solver(Script(texts), executor)
    big = scripted_solver(Script({"p": {**texts["p"], "x = 'PASS'\n": 1.0}}), executor)
    await asyncio.gather(small.start(), big.start())
    async with routed([("small", small)], [("big", big)], terms={"small": {"k": 4}}) as running:
        checker = await solved(running, asked(k=12, prompt="p"))
        assert outcomes(checker) == ["EXHAUSTED", "SOLVED"]
        failed = [code for code in executor.judged if "FAIL" in code]
        assert sorted(failed) == ["x = 'FAIL a'\n", "x = 'FAIL b'\n"], "no program twice"
        assert checker.summary.accounting.candidates_executed == 3
        assert not any(tier.partial for tier in checker.summary.tiers)
    await asyncio.gather(small.close(), big.close())


async def test_a_tier_that_is_killed_in_mid_solve_is_no_loss() -> None:
    small, big = ScriptedSolver(hanging()), ScriptedSolver(drawing("d PASS"))
    async with routed([("small", small)], [("big", big)]) as running:
        spec = asked()
        checker = EventOrderChecker(spec)
        async for event in running.client.solve(spec, timeout=100):
            checker.see(event)
            if event.HasField("candidate_judged") and running.servers["small"].front is not None:
                await running.kill("small")
        checker.end(grpc.StatusCode.OK)
        assert outcomes(checker) == ["LOST", "SOLVED"]
        assert checker.summary.tiers[0].partial
        assert [attempt.code for attempt in big.specs[0].cascade.attempts] == ["a FAIL"], (
            "nothing that was judged is lost"
        )
        labels = {"from_tier": "small", "to_tier": "big", "reason": "lost"}
        assert running.metrics.registry.get_sample_value("thresher_cascade_escalations_total", labels) == 1
        await running.up("big")
        assert (await running.client.health("")) == "SERVING"


async def test_another_replica_of_the_tier_takes_it_up_first() -> None:
    started: list[str] = []

    def script_of(name: str) -> Any:
        def script(spec: SolveSpec) -> Any:
            started.append(name)
            return hanging()(spec) if len(started) == 1 else drawing("d PASS")(spec)

        return script

    names = ("one", "two", "three")
    solvers = [(name, ScriptedSolver(script_of(name))) for name in names]
    async with routed(solvers) as running:
        await running.up(*names)
        spec = asked()
        checker = EventOrderChecker(spec)
        async for event in running.client.solve(spec, timeout=100):
            checker.see(event)
            if event.HasField("candidate_judged") and len(started) == 1:
                await running.kill(started[0])
        checker.end(grpc.StatusCode.OK)
        assert [tier.tier for tier in checker.tiers] == [0, 0]
        assert started[0] != started[1]
        assert outcomes(checker) == ["SOLVED"]
        await running.revive(started[0])
        await running.up(*names)


async def test_where_all_are_lost_it_says_so_and_comes_back() -> None:
    async with routed([("small", ScriptedSolver(FAILS))], [("big", ScriptedSolver(PASSES))]) as running:
        await running.up("small", "big")
        await running.kill("small")
        await running.kill("big")
        await running.up()
        with pytest.raises(ThresherError, match="no server of tier big can be used") as caught:
            await solved(running)
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "TIER_LOST")
        assert await running.client.health("") == "NOT_SERVING"
        await running.revive("big")
        await running.up("big")
        assert outcomes(await solved(running)) == ["LOST", "SOLVED"]


async def test_a_refusal_is_told_as_the_tier_tells_it() -> None:
    def refusing(error: Exception) -> ScriptedSolver:
        return ScriptedSolver(lambda _: [error])

    refusal = InvalidRequest("problem.prompt", "too long", reason="PROMPT_TOO_LONG")
    async with routed([("small", refusing(refusal))], [("big", ScriptedSolver(PASSES))]) as running:
        checker = await solved(running)
        assert outcomes(checker) == ["REFUSED", "SOLVED"]
        assert "too long" in checker.summary.tiers[0].detail
    async with routed([("small", refusing(refusal))]) as running:
        with pytest.raises(ThresherError) as caught:
            await solved(running)
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PROMPT_TOO_LONG")
        assert caught.value.details["violations"][0]["field"] == "problem.prompt"
    for error in (QueueFull(3, 1.0), Unavailable("SANDBOX_UNAVAILABLE", "no jail"), RuntimeError("a bug")):
        async with routed([("small", refusing(error))], [("big", ScriptedSolver(PASSES))]) as running:
            assert outcomes(await solved(running)) == ["LOST", "SOLVED"]


async def test_a_client_that_vanishes_takes_every_tier_along() -> None:
    small, big = ScriptedSolver(hanging()), ScriptedSolver(hanging("z FAIL"))
    policy = {"policy": "hedged", "hedge_ms": 20}
    async with routed([("small", small)], [("big", big)], cascade=policy) as running:
        stream = running.client.solve(asked(), timeout=100)
        async for event in stream:
            if event.HasField("branch_started") and event.branch_started.tier == 1:
                break
        assert (small.live, big.live) == (1, 1)
        stream.cancel()
        await until(lambda: small.live + big.live == 0)
        assert small.ended == big.ended == ["cancelled"]
        labels = {"model": "cascade", "outcome": "cancelled", "priority": "interactive"}
        await until(lambda: running.metrics.registry.get_sample_value("thresher_solves_total", labels) == 1)


async def test_the_loser_is_cancelled_at_the_first_pass() -> None:
    small, big = ScriptedSolver(hanging()), ScriptedSolver(drawing("d PASS"))
    async with routed([("small", small)], [("big", big)], cascade={"policy": "hedged", "hedge_ms": 20}) as running:
        checker = await solved(running)
        assert outcomes(checker) == ["CUT_OFF", "SOLVED"]
        await until(lambda: small.live == 0)
        assert small.ended == ["cancelled"]


async def test_the_deadline_reaches_the_tiers() -> None:
    small = ScriptedSolver(hanging())
    async with routed([("small", small)]) as running:
        with pytest.raises(ThresherError) as caught:
            async for _ in running.client.solve(asked(), timeout=2.0):
                pass
        assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        (left,) = small.deadlines
        assert left is not None and left < 2.05
        await until(lambda: small.live == 0)


# A tier that hangs, or answers garbage


def tier_at(address: str, **more: Any) -> RemoteTier:
    return RemoteTier("odd", "one", [Replica(address, Endpoint(address, pinned=True), "one")], **more)


@pytest.fixture
async def odd(tmp_path: Any) -> AsyncIterator[FakeServer]:
    with FakeServer(tmp_path / "s") as server:
        server.set_serving(True)
        server.health.set("thresher.v1.SynthesisService", 1)  # SERVING
        yield server


async def beside_odd(tier: RemoteTier, spec: SolveSpec) -> list[Any]:
    """A cascade of the odd tier and a good one; events as the solver tells them."""
    from tests.support.scripted_tiers import ScriptedTier, checked

    tier.start(lambda: None)
    try:
        await tier.asked()
        return await checked(cascade_of(tier, ScriptedTier("good", drawing("d PASS"))), spec)
    finally:
        await tier.close()


def domain_spec() -> SolveSpec:
    from engine.config import Settings
    from engine.serving.solve_in import solve_in

    return solve_in(asked(request_id="r"), "spec", Settings())


async def test_a_tier_that_falls_silent_and_does_not_answer_is_lost(odd: FakeServer) -> None:
    odd.hang = True
    odd.events = lambda: solved_events()[:3]
    tier = tier_at(odd.address, silence=0.1)
    task = asyncio.create_task(beside_odd(tier, domain_spec()))
    await until(lambda: bool(odd.specs))
    await asyncio.sleep(0.5)
    assert not task.done(), "while its server answers, it may only be slow"
    from google.rpc import code_pb2

    from tests.support.fake_server import rich_error

    odd.error = rich_error(code_pb2.UNAVAILABLE, "GONE", "gone")
    events = await asyncio.wait_for(task, 60)
    assert [tier.outcome.value for tier in events[-1].body.tiers] == ["lost", "solved"]
    assert "fallen silent" in events[-1].body.tiers[0].detail
    await until(odd.cancelled.is_set)  # its solve is ended


GARBAGE: dict[str, Callable[[], list[solve_pb2.SolveEvent]]] = {
    "nothing": list,
    "no summary": lambda: solved_events()[:-1],
    "an unknown verdict": lambda: broken(5),
    "events out of order": lambda: list(reversed(solved_events())),
}


def broken(place: int) -> list[solve_pb2.SolveEvent]:
    events = solved_events()[:place]
    judged = solve_pb2.Candidate(index=0, source=1)
    judged.report.verdict = 99  # type: ignore[assignment]
    return [*events, solve_pb2.SolveEvent(candidate_judged=solve_pb2.CandidateJudged(candidate=judged))]


@pytest.mark.parametrize("kind", GARBAGE)
async def test_a_tier_that_answers_garbage_is_lost(odd: FakeServer, kind: str) -> None:
    odd.events = GARBAGE[kind]
    events = await beside_odd(tier_at(odd.address), domain_spec())
    assert len(odd.specs) == 1, "it was asked"
    assert [tier.outcome.value for tier in events[-1].body.tiers] == ["lost", "solved"]


async def test_bytes_that_are_no_message_are_garbage(tmp_path: Any) -> None:
    """A server of something else, which answers every call with noise."""

    async def noise(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"\xff\xff\xff\xff noise"

    class Anything(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            if "Synthesis" in handler_call_details.method:
                return grpc.unary_stream_rpc_method_handler(noise)
            return grpc.unary_unary_rpc_method_handler(lambda *_: b"")

    server = grpc.aio.server(handlers=[Anything()])  # type: ignore[arg-type]
    server.add_insecure_port(f"unix:{tmp_path}/s")
    await server.start()
    try:
        tier = tier_at(f"unix:{tmp_path}/s")
        events = await beside_odd(tier, domain_spec())
        assert [one.outcome.value for one in events[-1].body.tiers] == ["lost", "solved"]
        # Even if it looked well.
        for replica in tier._replicas:  # pyright: ignore[reportPrivateUsage]
            replica.up = True
        events = await beside_noise(tier)
        assert [one.outcome.value for one in events[-1].body.tiers] == ["lost", "solved"]
    finally:
        await server.stop(0)


async def beside_noise(tier: RemoteTier) -> list[Any]:
    from tests.support.scripted_tiers import ScriptedTier, checked

    (replica,) = tier._replicas  # pyright: ignore[reportPrivateUsage]
    replica.start(lambda: None)
    replica.up = True
    try:
        return await checked(cascade_of(tier, ScriptedTier("good", drawing("d PASS"))), domain_spec())
    finally:
        await tier.close()


# The router itself


async def test_what_it_says_of_itself() -> None:
    async with routed([("small", ScriptedSolver(FAILS))], [("big", ScriptedSolver(PASSES))]) as running:
        await running.up("small", "big")
        (model,) = await running.client.models()
        assert (model.name, model.chat, model.context_length) == ("models/cascade", True, 1024)
        assert [(tier.name, tier.model) for tier in model.tiers] == [("small", ""), ("big", "")]
        assert model.tiers[1].addresses == [running.address("big")]
        info = await running.client.server_info()
        assert info.default_model == "models/cascade"
        assert "SynthesisService.Solve" in info.features
        assert not [name for name in info.features if name.startswith("ExecutionService")]
        assert not info.HasField("sandbox")
        assert await running.client.health("thresher.v1.SynthesisService") == "SERVING"
        assert await running.client.health("thresher.v1.ExecutionService") == "NOT_SERVING"
        assert await running.client.health("models/cascade") == "SERVING"
        load = await running.client.load()
        assert (load.solves_running, load.executor_slots, load.draining) == (0, 8, False)
        with pytest.raises(ThresherError, match="only passes solves on") as caught:
            await running.client.execute(program("x", {"tests": ["assert f()"]}))
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNIMPLEMENTED, "ROUTER")
        spec = asked()
        spec.model = "models/other"
        with pytest.raises(ThresherError, match="cascade") as caught:
            await solved(running, spec)
        assert caught.value.code is grpc.StatusCode.NOT_FOUND
        spec.model = "models/cascade"
        await solved(running, spec)


async def test_solve_once_goes_through_too() -> None:
    async with routed([("small", ScriptedSolver(FAILS))], [("big", ScriptedSolver(PASSES))]) as running:
        spec = asked()
        spec.ClearField("events")
        reply = await running.client.solve_once(spec, timeout=100)
        assert reply.summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED
        assert len(reply.summary.tiers) == 2
        document = {"prompt": "x", "tests": ["assert f()"], "sampling": {"k": 2}, "model": "cascade"}
        assert (await running.client.solve_once(solve_spec(document), timeout=100)).summary.candidates


async def test_it_drains() -> None:
    small = ScriptedSolver(hanging())
    async with routed([("small", small)]) as running:
        stream = running.client.solve(asked(), timeout=100)
        await anext(stream)
        draining = asyncio.create_task(running.router.drain(0.2))
        await until(lambda: running.router.status == "draining")
        with pytest.raises(ThresherError) as caught:
            await solved(running)
        assert caught.value.reason == "DRAINING"
        await draining
        with pytest.raises(ThresherError) as caught:
            async for _ in stream:
                pass
        assert caught.value.reason == "DRAINING"
        await until(lambda: small.live == 0)


async def test_a_start_without_any_tier_fails_and_says_what_each_answered() -> None:
    tier = tier_at("unix:/tmp/thresher-there-is-none.sock")
    router = Router(cascade_of(tier, metrics=Metrics()), [tier], patience=0.3)
    with pytest.raises(NoTier, match="there-is-none"):
        await router.start()
    await router.close()


async def test_a_server_without_the_model_is_of_no_use() -> None:
    async with serving(ScriptedSolver()) as running:
        address = f"unix:{running.folder}/s"
        replica = Replica(address, Endpoint(address, pinned=True), "none-such")
        replica.start(lambda: None)
        await replica.asked.wait()
        assert not replica.up
        assert "none-such" in replica.trouble and "scripted" in replica.trouble
        await replica.close()
        named = Replica(address, Endpoint(address, pinned=True), "second")
        named.start(lambda: None)
        await named.asked.wait()
        assert named.up and named.info is not None and named.info.name == "second"
        await named.close()
