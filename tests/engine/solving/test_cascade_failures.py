"""Tiers that fail: killed, hanging, refusing, raising, or answering what no solve could answer."""

from dataclasses import fields, replace
from typing import Any

import grpc
import pytest

from engine.metrics import Metrics
from engine.solving.errors import EngineFailed, InvalidRequest, Unavailable
from engine.solving.events import (
    BranchEnded,
    BranchOutcome,
    BranchStarted,
    CandidateFinished,
    CandidateJudged,
    SamplesJoined,
    SolveEvent,
    TierReason,
)
from engine.solving.spec import ReturnPolicy, SolveSpec
from engine.solving.summary import SolveOutcome, TierOutcome
from engine.solving.tiers import Terms
from executor.verdict import Verdict
from tests.support.cascades import big, counted, dies, outcomes, reasons, small, spec, summary_of
from tests.support.scripted_tiers import FAILED, Play, ScriptedTier, Step, cascade_of, check, checked, drawing, forever


@pytest.mark.parametrize("after", range(-1, 9))
async def test_a_tier_that_is_killed_is_no_loss_for_the_solve(after: int) -> None:
    first, second = ScriptedTier("small", dies(after)), big("e FAIL", "f PASS")
    metrics = Metrics()
    events = await checked(cascade_of(first, second, metrics=metrics), spec(return_policy=ReturnPolicy.ALL, k=3))
    summary = summary_of(events)
    assert summary.outcome is SolveOutcome.SOLVED
    assert reasons(events) == [(0, TierReason.FIRST), (1, TierReason.LOST)]
    lost, ended = summary.tiers
    assert (lost.outcome, lost.partial, lost.detail) == (TierOutcome.LOST, True, "the engine died")
    assert (ended.outcome, ended.partial) == (TierOutcome.SOLVED, False)
    verdicts = {one.code: one.report.verdict for one in summary.candidates if one.report is not None}
    assert Verdict.SANDBOX_FAILURE not in verdicts.values(), "never counted against a candidate"
    ends = [event.body.outcome for event in events if isinstance(event.body, BranchEnded)]
    assert ends.count(BranchOutcome.ERROR) == (after in (1, 2, 5, 6, 8)), "a branch whose end was not told"
    labels = {"from_tier": "small", "to_tier": "big", "reason": "lost"}
    assert metrics.registry.get_sample_value("thresher_cascade_escalations_total", labels) == 1
    assert (first.live, second.live) == (0, 0)
    assert counted(metrics) == {"solved": 1}


async def test_a_lost_solve_is_begun_again_where_there_is_another_replica() -> None:
    tries = iter([dies(4), drawing("0 a FAIL", "g PASS")])
    first, second = ScriptedTier("small", lambda asked: next(tries)(asked), tries=2), big()
    events = await checked(cascade_of(first, second), spec(k=3))
    assert reasons(events) == [(0, TierReason.FIRST), (0, TierReason.LOST)]
    assert [attempt.code for attempt in first.specs[1].cascade.attempts] == ["0 a FAIL"]
    assert first.specs[0].sampling.seed == first.specs[1].sampling.seed
    (cost,) = summary_of(events).tiers
    assert (cost.outcome, cost.partial, cost.accounting.samples_started) == (TierOutcome.SOLVED, True, 3)
    assert second.specs == []


async def test_a_last_tier_that_is_lost_is_an_honest_error() -> None:
    metrics = Metrics()
    cascade = cascade_of(small(), ScriptedTier("big", dies(0)), metrics=metrics)
    events: list[SolveEvent] = []

    async def read() -> None:
        async for event in cascade.solve(spec(), deadline=20):
            events.append(event)  # noqa: PERF401  # those before the error are wanted

    with pytest.raises(Unavailable, match="big: the engine died") as caught:
        await read()
    assert caught.value.reason == "TIER_LOST"
    check(spec(), events, grpc.StatusCode.UNAVAILABLE)
    assert (
        metrics.registry.get_sample_value(
            "thresher_solves_total", {"model": "cascade", "outcome": "error", "priority": "interactive"}
        )
        == 1
    )


async def test_a_lost_tier_below_the_last_is_told_and_is_no_error() -> None:
    events = await checked(cascade_of(ScriptedTier("small", dies(2)), big("f FAIL")), spec())
    assert summary_of(events).outcome is SolveOutcome.EXHAUSTED
    assert outcomes(events) == [TierOutcome.LOST, TierOutcome.EXHAUSTED]


async def test_what_one_tier_refuses_another_may_do() -> None:
    too_long = InvalidRequest("problem.prompt", "too long", reason="PROMPT_TOO_LONG")
    first, second = ScriptedTier("small", lambda _: [too_long]), big("f PASS")
    events = await checked(cascade_of(first, second), spec())
    assert reasons(events) == [(0, TierReason.FIRST), (1, TierReason.REFUSED)]
    assert outcomes(events) == [TierOutcome.REFUSED, TierOutcome.SOLVED]
    assert summary_of(events).tiers[0].detail == "problem.prompt: too long"
    with pytest.raises(InvalidRequest, match="too long"):
        await checked(cascade_of(first, ScriptedTier("big", lambda _: [too_long])), spec())
    with pytest.raises(Unavailable):
        await checked(cascade_of(first, ScriptedTier("big", dies(-1))), spec())


async def test_a_fault_in_a_tier_is_the_tiers() -> None:
    events = await checked(cascade_of(ScriptedTier("small", lambda _: [RuntimeError("a bug")]), big("f PASS")), spec())
    assert outcomes(events) == [TierOutcome.LOST, TierOutcome.SOLVED]
    with pytest.raises(Unavailable, match="a bug"):
        await checked(cascade_of(ScriptedTier("small", lambda _: [EngineFailed("a bug")])), spec())


async def test_a_tier_that_hangs_is_left_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.solving.legs.GRACE_SECONDS", 0.05)
    hangs = ScriptedTier("small", lambda asked: [*Play(asked).begin(), *Play(asked).start(0), forever])
    metrics = Metrics()
    cascade = cascade_of(hangs, big("f PASS"), terms=(Terms(seconds=0.05),), metrics=metrics)
    events = await checked(cascade, spec())
    assert outcomes(events) == [TierOutcome.LOST, TierOutcome.SOLVED]
    assert counted(metrics) == {"solved": 1}
    assert "did not end in the time" in summary_of(events).tiers[0].detail
    assert hangs.live == 0


def garbage(asked: SolveSpec) -> dict[str, list[Step]]:
    """Streams that no solve could have."""
    play = Play(asked)
    begin, start = play.begin(), play.start(0)
    finish, judge, end = play.finish(0, "a FAIL"), play.judge(0, FAILED), play.end()
    branch_ended, finished = finish

    def judged(**changes: Any) -> list[Step]:
        made = replace(play.made[0], **changes)
        return [*begin, *start, *finish, CandidateJudged(candidate=made)]

    def started(**changes: Any) -> list[Step]:
        made = BranchStarted(branch=0, parent=None, position=0, samples=(0,), model="m")
        return [*begin, replace(made, **changes)]

    def joined(index: int, sample: int) -> SamplesJoined:
        return SamplesJoined(index=index, samples=(sample,), sample_logprobs=(-1.0,))

    return {
        "nothing": [],
        "no acceptance": [*start, *finish],
        "accepted twice": [*begin, *begin],
        "a gap": [*begin, SolveEvent(7, 0.1, start[0])],
        "no summary": [*begin, *start],
        "a branch twice": [*begin, *start, *start],
        "an unknown branch ends": [*begin, branch_ended],
        "a branch of an unknown parent": started(parent=9),
        "a sample beyond k": started(samples=(4,)),
        "a candidate twice": [*begin, *start, *finish, finished],
        "a candidate out of turn": [*begin, *start, CandidateFinished(**as_dict(finished) | {"index": 3})],
        "a prior attempt that was not given": [*begin, CandidateFinished(**as_dict(finished) | {"samples": ()})],
        "an unknown candidate is judged": judged(index=7),
        "a verdict twice": [*begin, *start, *finish, *judge, *judge],
        "a verdict without a report": judged(report=None),
        "samples that never drew it": judged(samples=(0, 1), sample_logprobs=(-1.0, -1.0)),
        "an unknown candidate is joined": [*begin, joined(3, 1)],
        "joined twice": [*begin, *start, *finish, joined(0, 0)],
        "an event after the summary": [*begin, *start, *finish, *judge, *end, *start],
    }


def as_dict(body: Any) -> dict[str, Any]:
    return {field.name: getattr(body, field.name) for field in fields(body)}


@pytest.mark.parametrize("kind", garbage(spec()))
async def test_a_tier_that_answers_garbage_is_lost(kind: str) -> None:
    first, second = ScriptedTier("small", lambda asked: garbage(asked)[kind]), big("f PASS")
    metrics = Metrics()
    events = await checked(cascade_of(first, second, metrics=metrics), spec(return_policy=ReturnPolicy.ALL))
    assert (first.live, second.live) == (0, 0)
    assert counted(metrics) == {"solved": 1}
    assert summary_of(events).outcome is SolveOutcome.SOLVED
    assert outcomes(events) == [TierOutcome.LOST, TierOutcome.SOLVED]
    assert summary_of(events).tiers[0].detail


async def test_another_program_than_the_one_that_was_given_is_garbage() -> None:
    def swaps(asked: SolveSpec) -> list[Step]:
        attempts = tuple(replace(one, code="another") for one in asked.cascade.attempts)
        return list(drawing("f PASS")(replace(asked, cascade=replace(asked.cascade, attempts=attempts))))

    with pytest.raises(Unavailable, match="not the program that it was given"):
        await checked(cascade_of(small("a FAIL"), ScriptedTier("big", swaps)), spec())
