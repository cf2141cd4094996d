"""A cascade over tiers that play scripts: who is asked what, when, and what the caller is told."""

from dataclasses import replace
from typing import Any

import pytest

from engine.core.types import Mode
from engine.solving.events import Accepted, CandidateJudged, SamplesJoined, TierReason, TierStarted
from engine.solving.spec import Cascade, CompletionPrompt, PriorAttempt, ReturnPolicy
from engine.solving.stage import Policy
from engine.solving.summary import CandidateSource, SolveOutcome, Summary, TierOutcome
from engine.solving.tiers import Terms
from tests.support.cascades import CHAT, big, outcomes, reasons, small, spec, summary_of
from tests.support.scripted_tiers import cascade_of, checked


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
