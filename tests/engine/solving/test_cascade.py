"""A cascade over tiers that play scripts: who is asked what, when, and what the caller is told."""

import asyncio
from dataclasses import fields, replace
from typing import Any

import grpc
import pytest

from engine.core.types import Mode
from engine.metric_words import OUTCOMES
from engine.metrics import Metrics
from engine.solving.errors import DeadlineExceeded, EngineFailed, InvalidRequest, QueueFull, Unavailable
from engine.solving.events import (
    Accepted,
    BranchEnded,
    BranchOutcome,
    BranchStarted,
    CandidateFinished,
    CandidateJudged,
    SamplesJoined,
    SolveEvent,
    TierReason,
    TierStarted,
)
from engine.solving.experience import Experience
from engine.solving.spec import (
    Budget,
    Cascade,
    ChatMessage,
    ChatPrompt,
    CompletionPrompt,
    EventOptions,
    HeldTest,
    PriorAttempt,
    ReturnPolicy,
    Sampling,
    SolveSpec,
)
from engine.solving.stage import Policy
from engine.solving.summary import CandidateSource, SolveOutcome, Summary, TierOutcome
from engine.solving.tiers import Terms
from executor.types import SnippetTest
from executor.verdict import Verdict
from tests.support.scripted_tiers import (
    FAILED,
    PASSED,
    Play,
    ScriptedTier,
    Step,
    cascade_of,
    check,
    checked,
    drawing,
    forever,
)
from tests.support.served import until

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


# Who is asked


async def test_what_the_first_tier_solves_nobody_else_is_asked() -> None:
    first, second = small("a FAIL", "b PASS"), big()
    events = await checked(cascade_of(first, second), spec())
    summary = summary_of(events)
    assert summary.outcome is SolveOutcome.SOLVED
    assert [candidate.code for candidate in summary.candidates] == ["b PASS"]
    assert second.specs == []
    assert outcomes(events) == [TierOutcome.SOLVED]
    assert isinstance(events[0].body, Accepted) and events[0].body.model == "cascade"
    # But for the word of the tier, the stream is that of the tier itself.
    alone = [body for step in first.script(replace(first.specs[0])) if not isinstance(body := step, Accepted | Summary)]
    assert [event.body for event in events[1:-1] if not isinstance(event.body, TierStarted)] == alone


async def test_where_it_fails_the_next_one_is_asked_and_told_what_failed() -> None:
    first, second = small(), big("b FAIL", "g PASS")
    events = await checked(cascade_of(first, second), spec())
    summary = summary_of(events)
    assert summary.outcome is SolveOutcome.SOLVED
    assert reasons(events) == [(0, TierReason.FIRST), (1, TierReason.EXHAUSTED)]
    (asked,) = second.specs
    assert [attempt.code for attempt in asked.cascade.attempts] == ["a FAIL", "b FAIL", "c FAIL", "d FAIL"]
    assert all(attempt.report is not None for attempt in asked.cascade.attempts), "nothing is judged twice"
    assert (asked.cascade.tier, asked.cascade.upstream_model, asked.cascade.in_prompt) == (1, "scripted", False)
    judged = [event.body.candidate for event in events if isinstance(event.body, CandidateJudged)]
    assert [(one.code, one.tier) for one in judged] == [
        ("a FAIL", 0),
        ("b FAIL", 0),
        ("c FAIL", 0),
        ("d FAIL", 0),
        ("g PASS", 1),
    ]
    (joined,) = [event.body for event in events if isinstance(event.body, SamplesJoined)]
    assert (joined.index, joined.samples) == (1, (4,)), "sample 0 of the second tier drew the first one's program"
    (best,) = summary.candidates
    assert (best.index, best.tier, best.samples, best.source) == (4, 1, (5,), CandidateSource.SAMPLED)


async def test_no_tier_solves_it() -> None:
    events = await checked(cascade_of(small(), big("e FAIL", "f FAIL")), spec(k=2))
    summary = summary_of(events)
    assert summary.outcome is SolveOutcome.EXHAUSTED
    assert outcomes(events) == [TierOutcome.EXHAUSTED] * 2
    assert summary.accounting.samples_requested == 4
    assert summary.escalation.recommended


async def test_each_tier_draws_as_its_terms_say() -> None:
    first, second = small(), big()
    terms = (Terms(k=2, temperatures=(0.2, 0.4, 0.9), variant=1), Terms(k=9, temperatures=(1.0,)))
    asked = spec(k=4, variants=(CHAT,), sampling={"temperatures": (0.7,)})
    await checked(cascade_of(first, second, terms=terms), asked)
    (one,), (other,) = first.specs, second.specs
    assert (one.sampling.k, one.sampling.temperatures, one.prompts) == (2, (0.2, 0.4), (CHAT,))
    assert (other.sampling.k, other.sampling.temperatures) == (4, (1.0,)), "the request's k holds for each tier"
    assert other.prompts == asked.prompts
    assert one.sampling.seed != other.sampling.seed
    assert all(found.events.failing_code and found.events.branches for found in (one, other))


async def test_a_mode_takes_what_it_can() -> None:
    first = small()
    terms = (Terms(k=2, temperatures=(0.2, 0.4)),)
    for mode, temperatures, seeded in ((Mode.DISTINCT, (0.2,), True), (Mode.BEAM, (), False)):
        await checked(cascade_of(first, terms=terms), spec(k=3, sampling={"mode": mode}))
        assert first.specs[-1].sampling.temperatures == temperatures
        assert (first.specs[-1].sampling.seed is not None) == seeded


@pytest.mark.parametrize(("prompt", "shown"), [(CHAT, True), (CompletionPrompt("p"), False)])
async def test_what_failed_is_shown_in_chats(prompt: Any, shown: bool) -> None:
    first, second = small(), big()
    await checked(cascade_of(first, second, terms=(Terms(), Terms(attempts_in_prompt=True))), spec(prompt=prompt, k=2))
    assert first.specs[0].cascade.in_prompt is False, "there is nothing to show yet"
    assert second.specs[0].cascade.in_prompt is shown


async def test_more_than_one_pass_may_come_from_several_tiers() -> None:
    first, second = small("a PASS", "b FAIL"), big("c FAIL", "d PASS", "e PASS")
    events = await checked(cascade_of(first, second), spec(k=3, stop_after_passes=2))
    summary = summary_of(events)
    assert summary.outcome is SolveOutcome.SOLVED
    assert {candidate.code for candidate in summary.candidates} == {"a PASS", "d PASS"}
    assert second.specs[0].stop_after_passes == 1
    assert [attempt.code for attempt in second.specs[0].cascade.attempts] == ["b FAIL"]


@pytest.mark.parametrize("policy", [ReturnPolicy.ALL, ReturnPolicy.BEST])
async def test_where_all_are_wanted_a_tier_that_passes_ends_it(policy: ReturnPolicy) -> None:
    first, second, third = small("a FAIL", "b FAIL"), big("c PASS", "d FAIL", "e PASS"), big()
    events = await checked(cascade_of(first, second, third), spec(k=3, return_policy=policy))
    summary = summary_of(events)
    assert summary.outcome is SolveOutcome.SOLVED
    assert len(summary.candidates) == 5
    assert third.specs == []
    if policy is ReturnPolicy.BEST:
        assert summary.candidates[0].passed


async def test_the_callers_own_attempts_go_along() -> None:
    given = Cascade(attempts=(PriorAttempt(code="own FAIL"),), upstream_model="theirs", tier=3)
    first, second = small("a FAIL"), big("own FAIL", "f PASS")
    events = await checked(cascade_of(first, second), spec(k=2, cascade=given, return_policy=ReturnPolicy.ALL))
    assert [attempt.code for attempt in first.specs[0].cascade.attempts] == ["own FAIL"]
    assert [attempt.report is None for attempt in second.specs[0].cascade.attempts] == [False, False]
    own, *others = summary_of(events).candidates
    assert (own.source, own.model, own.tier, own.samples) == (CandidateSource.PRIOR_ATTEMPT, "theirs", 3, (2,))
    assert [one.tier for one in others] == [3, 4]
    assert [tier.tier for tier in summary_of(events).tiers] == [3, 4]


async def test_an_attempt_that_passes_costs_no_draw() -> None:
    first, second = small(), big()
    given = Cascade(attempts=(PriorAttempt(code="own PASS"),))
    summary = summary_of(await checked(cascade_of(first, second), spec(cascade=given)))
    assert summary.outcome is SolveOutcome.SOLVED
    assert summary.accounting.samples_started == 0
    assert second.specs == []


# What it may cost


async def test_no_tier_is_given_more_than_is_left() -> None:
    first, second = small("a FAIL", "b FAIL"), big("c FAIL")
    budget = Budget(generated_tokens=45, rows=50, executions=10, wall_seconds=30)
    asked = spec(budget=budget)
    events = await checked(cascade_of(first, second, terms=(Terms(tokens=25, seconds=5, k=2),)), asked)
    (one,), (other,) = (tier.specs for tier in (first, second))
    assert (one.budget.generated_tokens, one.budget.rows, one.budget.executions) == (25, 50, 10)
    assert one.budget.wall_seconds == pytest.approx(5)
    assert (other.budget.generated_tokens, other.budget.rows, other.budget.executions) == (25, 30, 8)
    assert other.budget.wall_seconds is not None and 29 < other.budget.wall_seconds <= 30
    assert summary_of(events).outcome is SolveOutcome.EXHAUSTED


async def test_a_tier_has_its_own_limit_of_rows() -> None:
    first, second = small("a FAIL"), big("c FAIL")
    terms = (Terms(rows=7), Terms(rows=90))
    await checked(cascade_of(first, second, terms=terms), spec(k=1))
    assert [tier.specs[0].budget.rows for tier in (first, second)] == [7, 90]
    await checked(cascade_of(first, second, terms=terms), spec(k=1, budget=Budget(rows=50)))
    assert [tier.specs[1].budget.rows for tier in (first, second)] == [7, 40], "and no more than is left: 10 are spent"


async def test_money_buys_tokens() -> None:
    first = small()
    summary = summary_of(await checked(cascade_of(first, terms=(Terms(money=0.0003, price=10.0, k=2),)), spec()))
    assert first.specs[0].budget.generated_tokens == 30
    assert summary.tiers[0].price == pytest.approx(20 * 10 / 1e6)


async def test_a_tier_that_has_spent_its_own_budget_is_not_the_end() -> None:
    def spends(asked: SolveSpec) -> list[Step]:
        play = Play(asked)
        return [*play.begin(), *play.start(0), *play.finish(0, "a FAIL"), *play.judge(0, FAILED),
                *play.end(SolveOutcome.BUDGET_TOKENS)]  # fmt: skip

    first, second = ScriptedTier("small", spends), big("f PASS")
    events = await checked(cascade_of(first, second, terms=(Terms(tokens=10),)), spec())
    assert reasons(events)[1] == (1, TierReason.BUDGET)
    assert outcomes(events) == [TierOutcome.BUDGET, TierOutcome.SOLVED]
    # The same as the only tier: the answer says what has been reached.
    alone = summary_of(await checked(cascade_of(first, terms=(Terms(tokens=10),)), spec()))
    assert alone.outcome is SolveOutcome.BUDGET_TOKENS


@pytest.mark.parametrize(
    ("budget", "outcome"),
    [
        (Budget(generated_tokens=20), SolveOutcome.BUDGET_TOKENS),
        (Budget(rows=20), SolveOutcome.BUDGET_ROWS),
        (Budget(executions=2), SolveOutcome.BUDGET_EXECUTIONS),
    ],
)
async def test_a_request_that_has_spent_its_budget_is_over(budget: Budget, outcome: SolveOutcome) -> None:
    second = big()
    summary = summary_of(await checked(cascade_of(small("a FAIL", "b FAIL"), second), spec(k=2, budget=budget)))
    assert summary.outcome is outcome
    assert second.specs == []


async def test_beside_each_other_tiers_share_the_budget() -> None:
    def slow(asked: SolveSpec) -> list[Step]:
        return [*Play(asked).begin(), forever]

    first, second = ScriptedTier("small", slow), big("f PASS")
    policy = Policy(hedged=True, after=0.01)
    events = await checked(cascade_of(first, second, policy=policy), spec(k=2, budget=Budget(generated_tokens=101)))
    assert (first.specs[0].budget.generated_tokens, second.specs[0].budget.generated_tokens) == (51, 50)
    assert summary_of(events).outcome is SolveOutcome.SOLVED


async def test_a_program_that_nobody_had_time_to_judge_is_judged_by_the_next_tier() -> None:
    def out_of_time(asked: SolveSpec) -> list[Step]:
        play = Play(asked)
        return [*play.begin(), *play.start(0), *play.finish(0, "a PASS"), *play.judge(0, Verdict.SKIPPED),
                *play.end(SolveOutcome.BUDGET_TIME)]  # fmt: skip

    first, second = ScriptedTier("small", out_of_time), big("f FAIL")
    events = await checked(cascade_of(first, second, terms=(Terms(seconds=5),)), spec())
    summary = summary_of(events)
    assert summary.outcome is SolveOutcome.SOLVED
    (best,) = summary.candidates
    assert (best.code, best.tier, best.samples, best.source) == ("a PASS", 0, (0,), CandidateSource.SAMPLED)
    assert second.specs[0].cascade.attempts[0].report is None
    # Without a next tier it is told as what it is.
    alone = await checked(cascade_of(first), spec(return_policy=ReturnPolicy.ALL))
    (told,) = summary_of(alone).candidates
    assert told.report is not None and told.report.verdict is Verdict.SKIPPED


# Tiers that fail


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


# Ends from outside


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


async def test_the_deadline_ends_it() -> None:
    first, second = small("a FAIL"), hanging()
    with pytest.raises(DeadlineExceeded):
        await checked(cascade_of(first, second), spec(), deadline=0.05)
    assert second.live == 0
    (left,) = second.deadlines
    assert left is not None and left <= 0.05
    with pytest.raises(DeadlineExceeded):
        await checked(cascade_of(first), spec(), deadline=0.0)


async def test_the_budget_of_time_ends_a_tier_that_does_not_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for where in ("ascent", "legs"):
        monkeypatch.setattr(f"engine.solving.{where}.GRACE_SECONDS", 5.0)
    first = hanging("a FAIL")
    summary = summary_of(await checked(cascade_of(first), spec(budget=Budget(wall_seconds=0.05))))
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


# Hedged


async def test_the_next_tier_starts_beside_one_that_takes_too_long() -> None:
    first, second = hanging("a FAIL"), big("f PASS")
    policy = Policy(hedged=True, after=0.02)
    events = await checked(cascade_of(first, second, policy=policy), spec())
    assert reasons(events) == [(0, TierReason.FIRST), (1, TierReason.TIME)]
    assert outcomes(events) == [TierOutcome.CUT_OFF, TierOutcome.SOLVED]
    assert summary_of(events).tiers[0].partial
    assert (first.cuts, first.live) == (1, 0)
    assert summary_of(events).accounting.samples_cut_off == 1


async def test_it_starts_where_the_one_before_is_unlikely_to_solve_it() -> None:
    first, second = hanging("a FAIL", "b FAIL", "c FAIL"), big("f PASS")
    unknown = [Experience().still_solves(failed, 4 - failed) for failed in range(5)]
    assert unknown == sorted(unknown, reverse=True)
    policy = Policy(hedged=True, below=(unknown[1] + unknown[2]) / 2)
    events = await checked(cascade_of(first, second, policy=policy), spec())
    place = next(n for n, event in enumerate(events) if isinstance(event.body, TierStarted) and event.body.tier)
    failed = sum(isinstance(event.body, CandidateJudged) for event in events[:place])
    assert failed == 2, "by the chances of a model of which nothing is known"
    assert reasons(events)[1] == (1, TierReason.CHANCE)


async def test_the_one_before_may_still_win() -> None:
    released = asyncio.Event()

    async def wait() -> None:
        await released.wait()

    def late(asked: SolveSpec) -> list[Step]:
        play = Play(asked)
        return [*play.begin(), *play.start(0), wait, *play.finish(0, "a PASS"), *play.judge(0, PASSED), *play.end()]

    first, second = ScriptedTier("small", late), hanging("f FAIL")
    cascade = cascade_of(first, second, policy=Policy(hedged=True, after=0.0))
    events: list[SolveEvent] = []
    async for event in cascade.solve(spec(), deadline=20):
        events.append(event)
        if isinstance(event.body, CandidateJudged) and event.body.candidate.tier == 1:
            released.set()
    check(spec(), events, grpc.StatusCode.OK)
    assert outcomes(events) == [TierOutcome.SOLVED, TierOutcome.CUT_OFF]
    assert [one.tier for one in summary_of(events).candidates] == [0]


async def test_tiers_beside_each_other_may_both_be_lost() -> None:
    first, second = hanging("a FAIL"), ScriptedTier("big", dies(3))
    third = big("g PASS")
    policy = Policy(hedged=True, after=0.01)
    events = await checked(cascade_of(first, second, third, policy=policy), spec())
    assert reasons(events)[-1] == (2, TierReason.LOST)
    assert outcomes(events) == [TierOutcome.CUT_OFF, TierOutcome.LOST, TierOutcome.SOLVED]


# Learned


async def test_a_tier_gives_up_where_the_next_one_is_worth_more() -> None:
    first = ScriptedTier("small", drawing(*(f"{n} FAIL" for n in range(16))))
    second = ScriptedTier("big", drawing("x PASS"))
    terms = (Terms(k=16, price=1.0), Terms(k=4, price=3.0))
    cascade = cascade_of(first, second, terms=terms, policy=Policy(learned=True))
    drawn: list[int] = []
    for _ in range(40):
        events = await checked(cascade, spec(k=None))
        drawn.append(summary_of(events).tiers[0].accounting.samples_finished)
    assert drawn[:8] == [16] * 8, "until there is something to decide by"
    assert drawn[-1] == 1, "it never passes here, and the next one does at three times its price"
    assert reasons(events)[1] == (1, TierReason.GAVE_UP)
    fixed = cascade_of(first, second, terms=terms)
    for _ in range(12):
        events = await checked(fixed, spec(k=None))
    assert summary_of(events).tiers[0].accounting.samples_finished == 16


async def test_a_tier_that_is_worth_it_is_not_given_up() -> None:
    hard = iter(range(1000))

    def mostly_right(asked: SolveSpec) -> Any:
        return drawing("a FAIL", "b FAIL" if next(hard) % 5 == 0 else "c PASS", "d FAIL", "e FAIL")(asked)

    first, second = ScriptedTier("small", mostly_right), big("x PASS")
    terms = (Terms(k=4, price=1.0), Terms(k=4, price=100.0))
    cascade = cascade_of(first, second, terms=terms, policy=Policy(learned=True))
    for _ in range(40):
        await checked(cascade, spec(k=None))
    assert [asked.sampling.k for asked in first.specs] == [4] * 40


# What it says of itself


def test_it_can_do_what_any_of_its_tiers_can() -> None:
    info = cascade_of(small(), big(model="m", addresses=("unix:/a",))).info()
    assert (info.name, info.chat, info.infill, info.context_length) == ("cascade", True, False, 1000)
    assert [(tier.name, tier.model, tier.addresses) for tier in info.tiers] == [
        ("small", "scripted", ()),
        ("big", "m", ("unix:/a",)),
    ]
    assert info.deterministic
    assert not cascade_of(small(), big(), policy=Policy(learned=True)).info().deterministic
    assert not cascade_of(small(), big(deterministic=False)).info().deterministic
