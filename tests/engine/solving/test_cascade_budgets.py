"""What a cascade may cost: tokens, rows, runs, seconds and money, of each tier and of the request."""

import pytest

from engine.solving.events import TierReason
from engine.solving.spec import Budget, ReturnPolicy, SolveSpec
from engine.solving.stage import Policy
from engine.solving.summary import CandidateSource, SolveOutcome, TierOutcome
from engine.solving.tiers import Terms
from executor.verdict import Verdict
from tests.support.cascades import big, outcomes, reasons, small, spec, summary_of
from tests.support.scripted_tiers import FAILED, Play, ScriptedTier, Step, cascade_of, checked, forever


async def test_no_tier_is_given_more_than_is_left() -> None:
    first, second = small("a FAIL", "b FAIL"), big("c FAIL")
    budget = Budget(generated_tokens=45, rows=50, executions=10, wall_seconds=3000)
    asked = spec(budget=budget)
    events = await checked(cascade_of(first, second, terms=(Terms(tokens=25, seconds=5, k=2),)), asked)
    (one,), (other,) = (tier.specs for tier in (first, second))
    assert (one.budget.generated_tokens, one.budget.rows, one.budget.executions) == (25, 50, 10)
    assert one.budget.wall_seconds == pytest.approx(5)
    assert (other.budget.generated_tokens, other.budget.rows, other.budget.executions) == (25, 30, 8)
    assert other.budget.wall_seconds is not None and 2900 < other.budget.wall_seconds <= 3000
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
