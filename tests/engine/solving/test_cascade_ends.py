"""Ends of a cascade from outside: deadline, budget of time, a client that vanishes, drain, a full queue."""

import asyncio

import pytest

from engine.metrics import Metrics
from engine.solving.errors import DeadlineExceeded, QueueFull, Unavailable
from engine.solving.events import TierStarted
from engine.solving.spec import Budget, SolveSpec
from engine.solving.stage import Policy
from engine.solving.summary import SolveOutcome, TierOutcome
from engine.solving.tiers import Terms
from tests.support.cascades import big, hanging, small, spec, summary_of
from tests.support.scripted_tiers import ScriptedTier, Step, cascade_of, checked, drawing
from tests.support.served import until


async def test_the_deadline_ends_it() -> None:
    first, second = small("a FAIL"), hanging()
    with pytest.raises(DeadlineExceeded):
        await checked(cascade_of(first, second), spec(), deadline=0.5)
    assert second.live == 0
    (left,) = second.deadlines
    assert left is not None and left <= 0.5
    with pytest.raises(DeadlineExceeded):
        await checked(cascade_of(first), spec(), deadline=0.0)


async def test_the_budget_of_time_ends_a_tier_that_does_not_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for where in ("ascent", "legs"):
        monkeypatch.setattr(f"engine.solving.{where}.GRACE_SECONDS", 5.0)
    first = hanging("a FAIL")
    summary = summary_of(await checked(cascade_of(first), spec(budget=Budget(wall_seconds=0.5))))
    assert summary.outcome is SolveOutcome.BUDGET_TIME
    assert summary.tiers[0].outcome is TierOutcome.CUT_OFF
    assert summary.accounting.samples_cut_off == 1
    assert first.live == 0


async def test_a_client_that_vanishes_takes_every_tier_along() -> None:
    metrics = Metrics()
    first, second = hanging("a FAIL"), hanging()
    cascade = cascade_of(first, second, policy=Policy(hedged=True, after=0.0), metrics=metrics)
    events = cascade.solve(spec(), deadline=20)
    async for event in events:
        if isinstance(event.body, TierStarted) and event.body.tier == 1:
            break
    await events.aclose()
    assert (first.live, second.live) == (0, 0)
    labels = {"model": "cascade", "outcome": "cancelled", "priority": "interactive"}
    assert metrics.registry.get_sample_value("thresher_solves_total", labels) == 1
    assert metrics.registry.get_sample_value("thresher_solves_running", {"model": "cascade"}) == 0
    task = asyncio.create_task(checked(cascade, spec()))
    await until(lambda: second.live == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (first.live, second.live) == (0, 0)


async def test_a_drain_waits_then_ends_what_is_left() -> None:
    first = hanging("a FAIL")
    cascade = cascade_of(first, small())
    task = asyncio.create_task(checked(cascade, spec()))
    await until(lambda: first.live == 1)
    await cascade.drain(0.05)
    with pytest.raises(Unavailable) as caught:
        await task
    assert caught.value.reason == "DRAINING"
    assert first.live == 0
    with pytest.raises(Unavailable, match="shutting down"):
        await checked(cascade, spec())
    escalating = cascade_of(small("a FAIL"), big("f PASS"))
    task = asyncio.create_task(checked(escalating, spec()))
    await asyncio.sleep(0)
    await escalating.drain(10)
    assert summary_of(await task).outcome is SolveOutcome.SOLVED, "a live one still goes on to its next tier"


async def test_so_many_solves_wait() -> None:
    first = hanging()
    cascade = cascade_of(first, terms=(Terms(concurrency=1),), waiting=1)
    tasks = [asyncio.create_task(checked(cascade, spec()))]
    await until(lambda: cascade.running == 1)
    tasks.append(asyncio.create_task(checked(cascade, spec())))
    await until(lambda: cascade.waits == 1)
    with pytest.raises(QueueFull):
        await checked(cascade, spec())
    assert (cascade.running, cascade.waits, first.live) == (1, 1, 1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert (cascade.running, cascade.waits, first.live) == (0, 0, 0)


async def test_a_tier_takes_as_many_solves_as_its_terms_say() -> None:
    async def a_moment() -> None:
        await asyncio.sleep(0.002)

    def slow(asked: SolveSpec) -> list[Step]:
        return [a_moment, *drawing("a PASS")(asked)]

    first = ScriptedTier("small", slow)
    cascade = cascade_of(first, terms=(Terms(concurrency=2),))
    await asyncio.gather(*(checked(cascade, spec()) for _ in range(12)))
    assert first.most_live == 2
    assert len(first.specs) == 12
