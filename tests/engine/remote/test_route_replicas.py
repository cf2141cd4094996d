"""Which replica of a tier a router asks, and whom it asks next where that one is lost."""

from dataclasses import replace

import grpc
import pytest
from thresher.client import ThresherError
from thresher.v1 import solve_pb2

from engine.solving.served import Load
from tests.engine.remote.test_route import asked, hanging, solved
from tests.support.event_order import EventOrderChecker
from tests.support.routed import routed
from tests.support.scripted_solver import ScriptedSolver
from tests.support.scripted_tiers import drawing
from tests.support.served import until


async def test_prompts_that_begin_alike_go_to_one_replica() -> None:
    solvers = {name: ScriptedSolver(drawing("d PASS")) for name in ("one", "two", "three")}
    async with routed(list(solvers.items())) as running:
        await running.up(*solvers)
        beginning = "You are an expert. " * 20
        for number in range(12):
            await solved(running, asked(prompt=f"{beginning} Problem {number}"))
        assert sorted(len(solver.specs) for solver in solvers.values()) == [0, 0, 12]
        for number in range(60):
            await solved(running, asked(prompt=f"Problem {number}"))
        # By the names of the sockets, which are others in each run: fewer come to one once in twenty million runs.
        assert min(len(solver.specs) for solver in solvers.values()) > 2, "others are spread"


async def test_no_replica_gets_many_more_than_the_others() -> None:
    solvers = {name: ScriptedSolver(hanging()) for name in ("one", "two", "three")}
    async with routed(list(solvers.items())) as running:
        await running.up(*solvers)
        streams = [running.client.solve(asked(), timeout=100) for _ in range(12)]
        for stream in streams:
            await anext(stream)
        live = [solver.live for solver in solvers.values()]
        # Seven at most, whenever each of the three has said last how many it has.
        assert sum(live) == 12 and max(live) <= 7, "though all would prefer the same one"
        for stream in streams:
            stream.cancel()
        await until(lambda: not any(solver.live for solver in solvers.values()))


class Occupied(ScriptedSolver):
    """Busy with the solves of others, as GetLoad tells."""

    def load(self) -> Load:
        return replace(super().load(), solves_running=40)


async def test_a_replica_that_others_keep_busy_gets_nothing() -> None:
    names = ("one", "two", "three")
    solvers = {name: (Occupied if name == "two" else ScriptedSolver)(drawing("d PASS")) for name in names}
    async with routed(list(solvers.items())) as running:
        await running.up(*names)
        for number in range(40):
            await solved(running, asked(prompt=f"Problem {number}"))
        assert solvers["two"].specs == []
        assert min(len(solvers[name].specs) for name in ("one", "three")) > 2


async def test_a_replica_then_the_next_tier_then_an_honest_error() -> None:
    solvers = {name: ScriptedSolver(hanging(f"{name} FAIL")) for name in ("one", "two", "big")}
    tiers = [[(name, solvers[name]) for name in ("one", "two")], [("big", solvers["big"])]]
    async with routed(*tiers) as running:
        await running.up(*solvers)
        spec, events = asked(), list[solve_pb2.SolveEvent]()
        checker = EventOrderChecker(spec)

        async def read() -> None:
            async for event in running.client.solve(spec, timeout=100):
                checker.see(event)
                events.append(event)
                if event.HasField("candidate_judged"):
                    (live,) = [name for name, solver in solvers.items() if solver.live]
                    await running.kill(live)

        with pytest.raises(ThresherError) as caught:
            await read()
        checker.end(caught.value.code)
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, "TIER_LOST")
        assert "tier one: " in caught.value.message and "tier big: " in caught.value.message
        assert [event.tier_started.tier for event in events if event.HasField("tier_started")] == [0, 0, 1]
        assert [len(solver.specs) for solver in solvers.values()] == [1, 1, 1]
        given = [attempt.code for attempt in solvers["big"].specs[0].cascade.attempts]
        assert sorted(given) == ["one FAIL", "two FAIL"], "what both replicas had drawn is known to the next tier"


async def test_a_replica_that_drains_gets_no_more() -> None:
    solvers = {name: ScriptedSolver(drawing("d PASS")) for name in ("one", "two")}
    async with routed(list(solvers.items())) as running:
        await running.up(*solvers)
        used = next(solver for solver in solvers.values())
        used.status = "draining"
        await running.up("two")
        for number in range(10):
            await solved(running, asked(prompt=f"{number}"))
        assert used.specs == []
