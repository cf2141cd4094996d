"""Every order in which two tiers that work at the same time, a pass, and an ending from outside can arrive.

Each tier holds its events back until it is told to go on; `every_path` goes through all orders. Whatever the order: the
stream keeps the contract, it ends once, as the first of its endings says, and no tier is left.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc
import pytest
import structlog

from engine.metrics import Metrics
from engine.solving.cascade import CascadeSolver
from engine.solving.errors import SolveError, Unavailable
from engine.solving.events import SolveEvent
from engine.solving.legs import Bell, Late
from engine.solving.served import ModelInfo
from engine.solving.spec import Budget, CompletionPrompt, EventOptions, HeldTest, Sampling, SolveSpec
from engine.solving.stage import Policy, Stage
from engine.solving.summary import SolveOutcome, Summary, TierOutcome
from engine.solving.tiers import Cut, Terms
from executor.types import SnippetTest
from executor.verdict import Verdict
from tests.support.every_path import every_path
from tests.support.scripted_tiers import FAILED, PASSED, Play, Step, check

SPEC = SolveSpec(
    request_id="r",
    prompt=CompletionPrompt("p"),
    tests=(HeldTest(SnippetTest(code="visible")),),
    sampling=Sampling(k=2, seed=1),
    budget=Budget(wall_seconds=1000),
    events=EventOptions(branches=True),
)


class HeldTier:
    """Goes on to its next steps, which come together, when it is told to. Once it is cut it has no last words."""

    tries = 1
    addresses: tuple[str, ...] = ()
    model = "held"

    def __init__(self, name: str, script: Callable[[SolveSpec], list[list[Step]]]) -> None:
        self.name = name
        self._script = script
        self.go = asyncio.Queue[None]()
        self.live = False

    def info(self) -> ModelInfo | None:
        return None

    async def solve(self, spec: SolveSpec, *, deadline: float | None, cut: Cut) -> AsyncGenerator[SolveEvent, None]:
        self.live = True
        cut.add_done_callback(lambda _: self.go.put_nowait(None))
        sequence = 0
        try:
            for together in self._script(spec):
                await self.go.get()
                if cut.done():
                    return
                for step in together:
                    if isinstance(step, Exception):
                        raise step
                    assert not callable(step) and not isinstance(step, SolveEvent)
                    sequence += 1
                    yield SolveEvent(sequence, 0.0, step)
        finally:
            self.live = False


def drawing(verdict: Verdict, *, dies: bool = False) -> Callable[[SolveSpec], list[list[Step]]]:
    """One sample with this verdict. `dies`: instead of the summary."""

    def script(asked: SolveSpec) -> list[list[Step]]:
        play = Play(asked)
        begin, index = play.begin(), len(play.made)
        finished = [*play.start(0), *play.finish(0, f"{asked.cascade.tier} {verdict}")]
        judged = play.judge(index, verdict)
        end = [Unavailable("ENGINE_RESTARTING", "died")] if dies else play.end()
        return [[*begin], [*finished], [*judged], [*end]]

    return script


ENDINGS = {"deadline": Bell.DEADLINE, "budget": Bell.BUDGET, "drain": Bell.DRAIN}


async def play_one(
    choose: Callable[[int], int], scripts: tuple[Any, Any], endings: tuple[str, ...], hedge: bool
) -> str:
    """One order. Returns how it ended."""
    tiers = [HeldTier(name, script) for name, script in zip(("a", "b"), scripts, strict=True)]
    metrics = Metrics()
    metrics.serve_tiers(["a", "b"])
    policy = Policy(hedged=hedge, after=1e6 if hedge else None)
    cascade = CascadeSolver(
        "cascade", [Stage(tier, Terms()) for tier in tiers], policy, most=8, waiting=8, metrics=metrics
    )
    events: list[SolveEvent] = []
    failed: list[Exception] = []

    async def read() -> None:
        try:
            async for event in cascade.solve(SPEC, deadline=1000):
                events.append(event)  # noqa: PERF401  # those before an error are wanted
        except SolveError as error:
            failed.append(error)

    reader = asyncio.create_task(read())
    await settle()
    pending = [*endings, "leave"] if endings else []
    hedged = not hedge
    while not reader.done():
        choices: list[Any] = [tier for tier in tiers if tier.live]
        choices += pending
        if not hedged and tiers[0].live:
            choices.append("hedge")
        assert choices, "nothing can happen any more, and it has not ended"
        match choices[choose(len(choices))]:
            case HeldTier() as tier:
                tier.go.put_nowait(None)
            case "hedge":
                hedged = True
                (ascent,) = cascade._live  # pyright: ignore[reportPrivateUsage]
                ring_hedge(ascent)
            case "leave":
                pending.remove("leave")
                reader.cancel()
            case ending:
                pending.remove(ending)
                (ascent,) = cascade._live  # pyright: ignore[reportPrivateUsage]
                ascent._live.post(ENDINGS[ending])  # pyright: ignore[reportPrivateUsage]
        await settle()
    assert [tier.live for tier in tiers] == [False, False], "no tier is left"
    assert cascade.running + cascade.waits == 0
    ended = "left" if reader.cancelled() else type(failed[0]).__name__ if failed else "summary"
    code = {"summary": grpc.StatusCode.OK}.get(ended, grpc.StatusCode.UNAVAILABLE)
    check(SPEC, events, code)
    counted = {
        outcome: count
        for outcome in ("solved", "exhausted", "budget_time", "cancelled", "deadline", "error")
        if (count := ended_as(metrics, outcome))
    }
    assert sum(counted.values()) == 1, "it ends exactly once"
    (outcome,) = counted
    if ended == "summary":
        summary = events[-1].body
        assert isinstance(summary, Summary)
        assert summary.outcome.value == outcome
        passed = any(candidate.passed for candidate in summary.candidates)
        assert passed == (summary.outcome is SolveOutcome.SOLVED) or summary.outcome is SolveOutcome.BUDGET_TIME
        for tier in summary.tiers:
            assert tier.partial == (tier.outcome in (TierOutcome.CUT_OFF, TierOutcome.LOST))
    assert outcome == {"left": "cancelled", "DeadlineExceeded": "deadline", "Unavailable": "error"}.get(ended, outcome)
    return f"{ended} {outcome}"


def ring_hedge(ascent: Any) -> None:
    """The time after which the next tier starts is over."""
    ascent._live.post(Late(ascent._legs[0], hedge=True))


def ended_as(metrics: Metrics, outcome: str) -> float:
    labels = {"model": "cascade", "outcome": outcome, "priority": "interactive"}
    return metrics.registry.get_sample_value("thresher_solves_total", labels) or 0


async def settle() -> None:
    """Until nothing happens by itself any more."""
    for _ in range(12):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("scripts", "endings", "hedge", "wanted"),
    [
        pytest.param(
            (drawing(PASSED), drawing(PASSED)), (), True, {"summary solved"}, id="both pass, beside each other"
        ),
        pytest.param((drawing(FAILED), drawing(PASSED)), (), True, {"summary solved"}, id="the second passes"),
        pytest.param(
            (drawing(PASSED, dies=True), drawing(FAILED)), (), True, {"summary solved"}, id="the first passes and dies"
        ),
        pytest.param(
            (drawing(FAILED, dies=True), drawing(PASSED, dies=True)),
            (),
            True,
            {"summary solved"},
            id="the second passes and dies",
        ),
        pytest.param(
            (drawing(FAILED, dies=True), drawing(FAILED, dies=True)),
            (),
            True,
            {"Unavailable error"},
            id="both die",
        ),
        pytest.param(
            (drawing(FAILED), drawing(PASSED)),
            ("deadline",),
            False,
            {"summary solved", "DeadlineExceeded deadline", "left cancelled"},
            id="a deadline",
        ),
        pytest.param(
            (drawing(FAILED), drawing(PASSED)),
            ("budget", "drain"),
            False,
            {"summary solved", "summary budget_time", "Unavailable error", "left cancelled"},
            id="a budget and a drain",
        ),
        pytest.param(
            (drawing(PASSED), drawing(FAILED, dies=True)),
            ("drain",),
            True,
            {"summary solved", "Unavailable error", "left cancelled"},
            id="beside each other, a drain",
        ),
    ],
)
def test_every_order_ends_once(
    scripts: tuple[Any, Any], endings: tuple[str, ...], hedge: bool, wanted: set[str]
) -> None:
    ends: Counter[str] = Counter()
    with structlog.testing.capture_logs(), asyncio.Runner() as runner:
        for end in every_path(lambda choose: runner.run(play_one(choose, scripts, endings, hedge))):
            ends[end] += 1
    assert set(ends) == wanted
