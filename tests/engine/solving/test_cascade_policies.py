"""When a cascade goes on to its next tier: hedged by time or chance, and given up by what was learned."""

import asyncio
from typing import Any

import grpc

from engine.solving.events import CandidateJudged, SolveEvent, TierReason, TierStarted
from engine.solving.experience import Experience
from engine.solving.spec import SolveSpec
from engine.solving.stage import Policy
from engine.solving.summary import TierOutcome
from engine.solving.tiers import Terms
from tests.support.cascades import big, dies, hanging, outcomes, reasons, spec, summary_of
from tests.support.scripted_tiers import PASSED, Play, ScriptedTier, Step, cascade_of, check, checked, drawing


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
