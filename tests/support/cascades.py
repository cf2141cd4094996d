"""Cascades for tests: a request, tiers that play scripts, and what a stream of events says of its tiers."""

from typing import Any

from engine.metric_words import OUTCOMES
from engine.metrics import Metrics
from engine.solving.errors import Unavailable
from engine.solving.events import SolveEvent, TierReason, TierStarted
from engine.solving.spec import ChatMessage, ChatPrompt, CompletionPrompt, EventOptions, HeldTest, Sampling, SolveSpec
from engine.solving.summary import Summary, TierOutcome
from executor.types import SnippetTest
from tests.support.scripted_tiers import FAILED, Play, ScriptedTier, Step, drawing, forever

TESTS = (HeldTest(SnippetTest(code="visible")),)
CHAT = ChatPrompt((ChatMessage("user", "Write f."),))


def spec(*, k: int | None = 4, sampling: dict[str, Any] | None = None, **more: Any) -> SolveSpec:
    made: dict[str, Any] = {
        "request_id": "r",
        "prompt": CompletionPrompt("p"),
        "tests": TESTS,
        "sampling": Sampling(k=k, seed=5, **(sampling or {})),
        "events": EventOptions(branches=True, test_results=True),
    }
    return SolveSpec(**made | more)


def summary_of(events: list[SolveEvent]) -> Summary:
    assert isinstance(events[-1].body, Summary)
    return events[-1].body


def small(*codes: str, **more: Any) -> ScriptedTier:
    return ScriptedTier("small", drawing(*codes or ("a FAIL", "b FAIL", "c FAIL", "d FAIL")), **more)


def big(*codes: str, **more: Any) -> ScriptedTier:
    return ScriptedTier("big", drawing(*codes or ("e FAIL", "f PASS")), **more)


def counted(metrics: Metrics) -> dict[str, float]:
    """Solves of the cascade by outcome, and none that is still running or waiting."""
    value = metrics.registry.get_sample_value
    for state in ("running", "waiting"):
        assert value(f"thresher_solves_{state}", {"model": "cascade"}) == 0
    found = {
        outcome: value("thresher_solves_total", {"model": "cascade", "outcome": outcome, "priority": "interactive"})
        for outcome in OUTCOMES
    }
    return {outcome: count for outcome, count in found.items() if count}


def reasons(events: list[SolveEvent]) -> list[tuple[int, TierReason]]:
    return [(event.body.tier, event.body.reason) for event in events if isinstance(event.body, TierStarted)]


def outcomes(events: list[SolveEvent]) -> list[TierOutcome]:
    return [tier.outcome for tier in summary_of(events).tiers]


def dies(after: int) -> Any:
    """A tier that is killed in mid-solve, so many steps after it has accepted."""

    def script(asked: SolveSpec) -> list[Step]:
        play = Play(asked)
        first, name = len(asked.cascade.attempts), asked.cascade.tier
        steps = [*play.begin()]
        before = len(steps)
        steps += [*play.start(0), *play.finish(0, f"{name} a FAIL"), *play.judge(first, FAILED)]
        steps += [*play.start(1), *play.finish(1, f"{name} b FAIL"), *play.start(2)]
        return [*steps[: before + after], Unavailable("ENGINE_RESTARTING", "the engine died")]

    return script


def hanging(*codes: str) -> ScriptedTier:
    """Draws these programs, which fail, and never ends."""

    def script(asked: SolveSpec) -> list[Step]:
        play = Play(asked)
        steps: list[Step] = [*play.begin()]
        for sample, code in enumerate(codes):
            index = len(play.made)
            steps += [*play.start(sample), *play.finish(sample, code), *play.judge(index, FAILED)]
        return [*steps, *play.start(len(codes)), forever]

    return ScriptedTier("hanging", script)
