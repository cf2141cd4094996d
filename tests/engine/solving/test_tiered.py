"""A cascade of a server's own models, over real solvers without a model: exact accounts, drains, deaths."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest

from engine.core.types import EndReason
from engine.metrics import Metrics
from engine.solving.cascade import CascadeSolver
from engine.solving.errors import ModelNotFound, Unavailable
from engine.solving.events import BranchEnded, BranchOutcome, BranchStarted, CandidateJudged, SolveEvent
from engine.solving.solver import Solver
from engine.solving.spec import Budget, ReturnPolicy, SolveSpec
from engine.solving.stage import Policy, Stage
from engine.solving.summary import SolveOutcome, TierOutcome
from engine.solving.tiered import TieredSolver
from engine.solving.tiers import Cut, LocalTier, Terms
from tests.engine.solving.test_solver import HELD_OUT, LONG, spec, summary_of
from tests.support.scripted_engine import FakeExecutor, Script, serve_script
from tests.support.scripted_tiers import check, checked
from tests.support.served import until

SMALL = {
    "p": {"x = 'FAIL a'\n": 1.0, "x = 'FAIL b'\n": 1.0},
    "slow": {f"x = 'FAIL {LONG}'\n": 1.0, f"y = 'FAIL {LONG}'\n": 1.0},
    "easy": {"x = 'PASS RIGHT'\n": 1.0},
}
BIG = {
    "p": {"x = 'FAIL a'\n": 1.0, "x = 'PASS'\n": 1.0},
    "slow": {"x = 'PASS'\n": 1.0},
    "easy": {f"x = 'PASS {LONG}'\n": 1.0},
}


@dataclass
class Two:
    """A server of two models and a cascade of them."""

    solver: TieredSolver
    cascade: CascadeSolver
    own: Solver
    executor: FakeExecutor
    scripts: dict[str, Script]
    metrics: Metrics

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"thresher_{name}", labels) or 0.0

    async def solve(self, asked: SolveSpec) -> Any:
        return summary_of(await checked(self.cascade, asked))

    async def nothing_left(self) -> None:
        def none() -> bool:
            load = self.solver.load()
            left = load.solves_running + load.solves_waiting + load.branches_running
            return not left and not self.executor.running and load.kv_cache_usage == 0

        await until(none)


@contextlib.asynccontextmanager
async def two(policy: Policy | None = None, step: float = 0.0, **terms: Terms) -> AsyncGenerator[Two]:
    from engine.loop.client import thread_starter

    scripts = {"small": Script(SMALL, step_seconds=step), "big": Script(BIG, step_seconds=step)}
    metrics, executor = Metrics(), FakeExecutor()
    own = Solver(
        starters={name: thread_starter(serve_script(script)) for name, script in scripts.items()},
        executor=executor,  # type: ignore[arg-type]
        metrics=metrics,
        max_k=64,
    )
    stages = [Stage(LocalTier(name, name, own), terms.get(name, Terms())) for name in scripts]
    cascade = CascadeSolver("cascade", stages, policy or Policy(), most=64, waiting=16, metrics=metrics)
    solver = TieredSolver(own, cascade, ())
    metrics.serve_tiers(list(scripts))
    await solver.start()
    try:
        yield Two(solver, cascade, own, executor, scripts, metrics)
    finally:
        await solver.close()


async def test_both_models_have_their_exact_account() -> None:
    async with two(small=Terms(k=4, price=1.0), big=Terms(price=3.0)) as running:
        summary = await running.solve(spec("p", k=12))
        assert summary.outcome is SolveOutcome.SOLVED
        small, big = summary.tiers
        assert (small.outcome, small.accounting.samples_finished, small.model) == (TierOutcome.EXHAUSTED, 4, "small")
        assert (big.outcome, big.partial, big.model) == (TierOutcome.SOLVED, False, "big")
        assert big.price == pytest.approx(3.0 * big.accounting.generated_tokens / 1e6)
        assert sorted(running.executor.judged) == ["x = 'FAIL a'\n", "x = 'FAIL b'\n", "x = 'PASS'\n"]
        await running.nothing_left()
        for model in ("small", "big"):
            tokens = running.metric("generated_tokens_total", model=model)
            assert tokens == next(t.accounting.generated_tokens for t in summary.tiers if t.name == model)
        whole = {"model": "cascade", "outcome": "solved", "priority": "interactive"}
        assert running.metric("solves_total", **whole) == 1
        assert running.metric("solves_total", **whole | {"model": "small", "outcome": "exhausted"}) == 1
        labels = {"from_tier": "small", "to_tier": "big", "reason": "exhausted"}
        assert running.metric("cascade_escalations_total", **labels) == 1


async def test_with_fixed_thresholds_a_seed_is_the_whole_story() -> None:
    found: list[list[tuple[str, int, tuple[int, ...]]]] = []
    for step in (0.0, 0.003):
        async with two(step=step, small=Terms(k=6)) as running:
            for _ in range(3):
                asked = spec("p", k=12, seed=3, return_policy=ReturnPolicy.ALL)
                summary = await running.solve(asked)
                found.append(sorted((one.code, one.tier, one.samples) for one in summary.candidates))
    assert all(one == found[0] for one in found), "whatever came before, and however long a step takes"


async def test_the_loser_still_gives_its_account() -> None:
    async with two(Policy(hedged=True, after=0.02), step=0.005) as running:
        summary = await running.solve(spec("slow", k=4))
        assert summary.outcome is SolveOutcome.SOLVED
        loser, winner = summary.tiers
        assert (loser.outcome, loser.partial) == (TierOutcome.CUT_OFF, False)
        assert winner.outcome is TierOutcome.SOLVED
        assert loser.accounting.samples_cut_off == 4
        assert loser.accounting.rows_computed > 0
        await running.nothing_left()
        labels = {"model": "small", "outcome": "cut_off", "priority": "interactive"}
        assert running.metric("solves_total", **labels) == 1
        assert running.metric("wasted_tokens_total", model="small", reason="cut_off") == loser.accounting.wasted_tokens
        assert running.metric("wasted_tokens_total", model="small", reason="client_gone") == 0


async def test_hidden_tests_of_the_winner_are_run() -> None:
    async with two(Policy(hedged=True, after=0.0), step=0.001) as running:
        summary = await running.solve(spec("easy", tests=HELD_OUT, k=2))
        best = next(candidate for candidate in summary.candidates if candidate.tier == 0)
        assert best.held_out is not None and best.held_out.tests_passed == 1
        await running.nothing_left()


async def test_an_engine_that_dies_in_mid_solve_is_no_loss() -> None:
    async with two(step=0.002) as running:
        task = asyncio.create_task(checked(running.cascade, spec("slow", k=4)))
        await until(lambda: running.solver.load().branches_running > 0)
        running.scripts["small"].fail = True
        events = await task
        summary = summary_of(events)
        assert summary.outcome is SolveOutcome.SOLVED
        assert [tier.outcome for tier in summary.tiers] == [TierOutcome.LOST, TierOutcome.SOLVED]
        ends = [event.body.outcome for event in events if isinstance(event.body, BranchEnded)]
        assert BranchOutcome.ERROR in ends
        await until(lambda: running.solver.load().solves_running == 0 and not running.executor.running)


async def test_a_model_that_hangs_in_a_step_is_left_and_nothing_of_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.solving.solve.GRACE_SECONDS", 0.05)
    async with two(small=Terms(k=4, seconds=0.1)) as running:
        running.scripts["small"].step_seconds = 1.0
        summary = await running.solve(spec("p", k=12))
        assert summary.outcome is SolveOutcome.SOLVED
        assert [tier.outcome for tier in summary.tiers] == [TierOutcome.BUDGET, TierOutcome.SOLVED]
        assert summary.candidates[0].tier == 1
        whole = {"model": "cascade", "outcome": "solved", "priority": "interactive"}
        assert running.metric("solves_total", **whole) == 1
        await running.nothing_left()
        assert running.metric("solves_total", **whole | {"model": "small", "outcome": "budget_time"}) == 1


async def test_a_budget_of_rows_is_that_of_both() -> None:
    async with two() as running:
        summary = await running.solve(spec("slow", k=4, budget=Budget(rows=300)))
        assert summary.outcome is SolveOutcome.BUDGET_ROWS
        assert 300 <= summary.accounting.rows_computed < 320
        assert len(summary.tiers) == 1
        # The first tier's own leaves something for the second one.
        await running.nothing_left()
    async with two(small=Terms(rows=100)) as running:
        summary = await running.solve(spec("slow", k=4, budget=Budget(rows=300)))
        assert [tier.outcome for tier in summary.tiers] == [TierOutcome.BUDGET, TierOutcome.SOLVED]


async def test_all_are_judged_where_all_are_wanted() -> None:
    async with two(small=Terms(k=4)) as running:
        summary = await running.solve(spec("p", k=8, return_policy=ReturnPolicy.ALL))
        assert {candidate.code for candidate in summary.candidates} == {
            "x = 'FAIL a'\n",
            "x = 'FAIL b'\n",
            "x = 'PASS'\n",
        }
        assert sum(len(candidate.samples) for candidate in summary.candidates) == 12


async def test_the_models_are_served_beside_it() -> None:
    async with two() as running:
        assert [model.name for model in running.solver.models()] == ["small", "big", "cascade"]
        assert running.solver.default_model == "small"
        events = [event async for event in running.solver.solve(spec("p", k=2), deadline=20)]
        assert summary_of(events).tiers == ()
        asked = spec("p", k=2, model="cascade")
        assert summary_of([event async for event in running.solver.solve(asked, deadline=20)]).tiers
        with pytest.raises(ModelNotFound, match="small, big, cascade"):
            await anext(running.solver.solve(spec("p", model="other"), deadline=20))


async def test_a_drain_lets_a_live_cascade_go_on_to_its_next_tier() -> None:
    async with two(step=0.02, small=Terms(k=4)) as running:
        asked = spec("p", k=4, model="cascade")
        judged = asyncio.Event()

        async def read() -> Any:
            events = []
            async for event in running.solver.solve(asked, deadline=20):
                events.append(event)
                if isinstance(event.body, CandidateJudged):
                    judged.set()
            return summary_of(events)

        task = asyncio.create_task(read())
        await judged.wait()
        drain = asyncio.create_task(running.solver.drain(20))
        await until(lambda: running.solver.status == "draining")
        with pytest.raises(Unavailable):
            await anext(running.solver.solve(spec("p"), deadline=20))
        with pytest.raises(Unavailable):
            await anext(running.solver.solve(asked, deadline=20))
        assert (await task).outcome is SolveOutcome.SOLVED
        await drain
        assert running.solver.load().draining


async def test_a_drain_that_takes_too_long_ends_it() -> None:
    async with two(step=0.01) as running:
        task = asyncio.create_task(checked(running.cascade, spec("slow", k=4)))
        await until(lambda: running.solver.load().branches_running > 0)
        await running.solver.drain(0.05)
        with pytest.raises(Unavailable) as caught:
            await task
        assert caught.value.reason == "DRAINING"
        await running.nothing_left()


async def test_a_client_that_vanishes_leaves_nothing() -> None:
    async with two(Policy(hedged=True, after=0.0), step=0.002) as running:
        task = asyncio.create_task(checked(running.cascade, spec("slow", k=8)))
        await until(lambda: running.solver.load().branches_running > 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await running.nothing_left()
        labels = {"model": "cascade", "outcome": "cancelled", "priority": "interactive"}
        assert running.metric("solves_total", **labels) == 1


async def test_a_caller_that_leaves_hears_what_each_tier_has_cost() -> None:
    async with two(Policy(hedged=True, after=0.0), step=0.02, small=Terms(k=4)) as running:
        cut: Cut = asyncio.get_running_loop().create_future()
        asked = replace(spec("slow", k=8), return_policy=ReturnPolicy.ALL)
        events: list[SolveEvent] = []
        async for event in running.solver.solve(replace(asked, model="cascade"), deadline=20.0, cut=cut):
            events.append(event)
            if isinstance(event.body, BranchStarted) and event.body.tier == 1 and not cut.done():
                cut.set_result(EndReason.CANCELLED)
        check(asked, events, grpc.StatusCode.OK)
        small, big = summary_of(events).tiers
        assert (small.outcome, small.partial, big.partial) == (TierOutcome.CUT_OFF, False, False)
        assert small.accounting.rows_computed > 0
        assert small.accounting.samples_cut_off > 0
        await running.nothing_left()
        for tier in (small, big):
            assert tier.accounting.generated_tokens == running.metric("generated_tokens_total", model=tier.name) > 0
        labels = {"model": "small", "outcome": "cancelled", "priority": "interactive"}
        assert running.metric("solves_total", **labels) == 1
        assert running.metric("wasted_tokens_total", model="small", reason="client_gone") > 0


async def test_before_anything_has_passed_a_caller_that_leaves_is_counted_as_gone() -> None:
    async with two(step=0.002, small=Terms(k=4)) as running:
        cut: Cut = asyncio.get_running_loop().create_future()
        events: list[SolveEvent] = []
        async for event in running.cascade.solve(spec("slow", k=8), deadline=20.0, cut=cut):
            events.append(event)
            if isinstance(event.body, BranchStarted) and not cut.done():
                cut.set_result(EndReason.CANCELLED)
        assert summary_of(events).outcome is SolveOutcome.EXHAUSTED
        (small,) = summary_of(events).tiers
        assert (small.outcome, small.partial) == (TierOutcome.CUT_OFF, False)
        ends = [event.body.outcome for event in events if isinstance(event.body, BranchEnded)]
        assert set(ends) == {BranchOutcome.CANCELLED}
        await running.nothing_left()
        for model in ("cascade", "small"):
            labels = {"model": model, "outcome": "cancelled", "priority": "interactive"}
            assert running.metric("solves_total", **labels) == 1
