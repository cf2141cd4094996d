"""Sessions over a real solver and scheduler: prompts that are kept, and nothing left of a client that is gone."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest_asyncio
from jinja2 import Template
from thresher.v1 import refine_pb2, solve_pb2, synthesis_service_pb2, verdict_pb2

from engine.metrics import Metrics
from engine.text.chat import ChatTemplate
from tests.support.babbler import Babbler
from tests.support.refine_talk import Request, Response, Talk, resume, start, talking
from tests.support.scripted_engine import FakeExecutor, scripted_solver
from tests.support.served import Served, serving, until

TURNS = "{% for turn in messages %}<{{ turn.role }}>{{ turn.content }}</>{% endfor %}<assistant>"
SAMPLING = solve_pb2.SamplingParams(k=6, seed=4, max_new_tokens=30)


@dataclass
class Real:
    served: Served
    solver: Any
    executor: FakeExecutor
    metrics: Metrics

    def counted(self, name: str) -> float:
        """What the metrics have counted of the model."""
        return self.metrics.registry.get_sample_value(f"thresher_{name}", {"model": "scripted"}) or 0.0

    @property
    def idle(self) -> bool:
        load = self.solver.load()
        return not (load.solves_running + load.solves_waiting + load.branches_running + len(self.executor.running))


@pytest_asyncio.fixture
async def real() -> AsyncGenerator[Real]:
    executor = FakeExecutor(0.0)
    script, chat = Babbler(step_seconds=0.002), ChatTemplate(Template(TURNS), {})
    metrics = Metrics()
    solver: Any = scripted_solver(script, executor, chat=chat, max_k=4096, metrics=metrics)
    await solver.start()
    async with serving(solver, sessions={"linger_seconds": 0.05}) as running:
        yield Real(running, solver, executor, metrics)
    await solver.close()


async def test_each_round_computes_only_what_is_new_in_its_prompt(real: Real) -> None:
    first = start(rounds=5, sampling=SAMPLING, return_policy=solve_pb2.RETURN_POLICY_ALL)
    first.start.spec.problem.tests[0].snippet.code = "assert HELD"  # no babble holds what it wants
    async with talking(real.served, first) as talk:
        for number in range(5):
            ended = await talk.turn()
            assert ended.another_follows == (number < 4), ended
    ends = [heard.event.summary.accounting for heard in talk.heard if heard.event.HasField("summary")]
    assert len(ends) == 5
    assert ends[0].cached_prompt_tokens == 0
    for before, after in pairwise(ends):
        assert after.prompt_tokens > before.prompt_tokens
        # The scripted engine's pages hold 4 tokens: of the former prompt at most the last page is computed again.
        assert after.cached_prompt_tokens >= before.prompt_tokens - 8


async def test_of_a_client_that_is_gone_no_branch_and_no_jail_is_left(real: Real) -> None:
    real.executor.seconds = 60.0
    async with talking(real.served, start(sampling=SAMPLING)) as talk:
        await until(lambda: bool(real.executor.running))
        assert not real.idle
    await until(lambda: real.idle)
    async with talking(real.served, resume(talk.session, talk.seen)) as again:
        assert (await again.turn()).outcome == refine_pb2.TURN_OUTCOME_CUT_OFF


async def test_of_a_turn_that_was_ended_nothing_is_left(real: Real) -> None:
    real.executor.seconds = 60.0
    async with talking(real.served, start(sampling=SAMPLING)) as talk:
        await until(lambda: bool(real.executor.running))
        await talk.say(number=1, end_turn=refine_pb2.EndTurn())
        assert (await talk.turn()).outcome == refine_pb2.TURN_OUTCOME_CUT_OFF
        await until(lambda: real.idle)
        await talk.say(number=2, end_session=refine_pb2.EndSession())
        assert (await talk.hear()).HasField("session_ended")


async def test_a_session_ended_in_mid_turn_leaves_nothing(real: Real) -> None:
    real.executor.seconds = 60.0
    async with talking(real.served, start(sampling=SAMPLING)) as talk:
        await until(lambda: bool(real.executor.running))
        await talk.say(number=1, end_session=refine_pb2.EndSession())
        assert (await talk.turn()).outcome == refine_pb2.TURN_OUTCOME_CUT_OFF
        assert (await talk.hear()).HasField("session_ended")
    await until(lambda: real.idle)
    await until(lambda: not len(real.served.front.sessions))


def long_turn() -> Request:
    """A turn that nothing but its person ends within the test's time."""
    sampling = solve_pb2.SamplingParams(k=4096, seed=4, max_new_tokens=30)
    first = start(sampling=sampling, return_policy=solve_pb2.RETURN_POLICY_ALL)
    first.start.spec.problem.tests[0].snippet.code = "assert HELD"
    return first


async def judged(talk: Talk, programs: int = 3) -> None:
    """Hear of so many verdicts."""
    while programs:
        programs -= (await talk.hear()).event.HasField("candidate_judged")


def check_cost(real: Real, cost: solve_pb2.Accounting, heard: Sequence[Response]) -> None:
    """It is what the metrics have counted, and what the turn's own messages tell of it."""
    assert cost.generated_tokens == real.counted("generated_tokens_total") > 0
    assert cost.rows_computed == real.counted("rows_computed_total") > 0
    assert cost.prompt_tokens > 0
    assert cost.samples_cut_off > 0
    assert cost.samples_started == cost.samples_finished + cost.samples_cut_off
    verdicts = [one.event.candidate_judged.candidate.report.verdict for one in heard]
    run = [verdict for verdict in verdicts if verdict not in (0, verdict_pb2.VERDICT_SKIPPED)]
    assert cost.candidates_executed == len(run) == len(real.executor.judged) > 0
    labels = {"model": "scripted", "outcome": "cancelled", "priority": "interactive"}
    assert real.metrics.registry.get_sample_value("thresher_solves_total", labels) == 1


async def test_a_turn_that_its_person_ends_tells_what_it_cost(real: Real) -> None:
    async with talking(real.served, long_turn()) as talk:
        await judged(talk)
        await talk.say(number=1, end_turn=refine_pb2.EndTurn())
        ended = await talk.turn()
        assert ended.outcome == refine_pb2.TURN_OUTCOME_CUT_OFF
        assert not any(one.event.HasField("summary") for one in talk.heard)
        await until(lambda: real.idle)
        check_cost(real, ended.accounting, talk.heard)
        request = synthesis_service_pb2.GetTranscriptRequest(session=talk.session)
        (turn,) = (await real.served.synthesis.GetTranscript(request)).transcript.turns
        assert (turn.outcome, turn.accounting) == (refine_pb2.TURN_OUTCOME_CUT_OFF, ended.accounting)


async def test_a_turn_whose_client_vanishes_tells_the_next_call_what_it_cost(real: Real) -> None:
    async with talking(real.served, long_turn()) as talk:
        await judged(talk)
    await until(lambda: real.idle)
    async with talking(real.served, resume(talk.session, talk.seen)) as again:
        ended = await again.turn()
        assert ended.outcome == refine_pb2.TURN_OUTCOME_CUT_OFF
        check_cost(real, ended.accounting, [*talk.heard, *again.heard])


async def test_a_session_that_ends_in_mid_turn_tells_what_that_turn_cost(real: Real) -> None:
    async with talking(real.served, long_turn()) as talk:
        await judged(talk)
        await talk.say(number=1, end_session=refine_pb2.EndSession())
        ended = await talk.turn()
        (turn,) = (await talk.hear()).session_ended.transcript.turns
        assert turn.accounting == ended.accounting
        await until(lambda: real.idle)
        check_cost(real, turn.accounting, talk.heard)


async def test_a_turn_that_another_one_ends_tells_what_it_cost(real: Real) -> None:
    async with talking(real.served, long_turn()) as talk:
        await judged(talk)
        few = solve_pb2.SamplingParams(k=2, seed=4, max_new_tokens=30)
        await talk.say(number=1, resample=refine_pb2.Resample(sampling=few))
        first, second = await talk.turn(), await talk.turn()
        assert first.outcome == refine_pb2.TURN_OUTCOME_CUT_OFF
        assert second.outcome == refine_pb2.TURN_OUTCOME_UNSOLVED
        assert not second.HasField("accounting"), "its summary has it"
        (summary,) = [one.event.summary for one in talk.heard if one.event.HasField("summary")]
        await until(lambda: real.idle)
        both = first.accounting.generated_tokens + summary.accounting.generated_tokens
        assert both == real.counted("generated_tokens_total")


async def test_while_prior_programs_are_judged_a_turn_can_be_ended(real: Real) -> None:
    real.executor.seconds = 60.0
    first = long_turn()
    first.start.spec.cascade.prior_attempts.add(code="x = 1")
    async with talking(real.served, first) as talk:
        await until(lambda: bool(real.executor.running))
        await talk.say(number=1, end_turn=refine_pb2.EndTurn())
        ended = await talk.turn()
        assert ended.outcome == refine_pb2.TURN_OUTCOME_CUT_OFF
        assert ended.accounting.generated_tokens == 0
        await until(lambda: real.idle)


async def test_a_turn_that_wants_all_and_has_one_is_solved_where_it_is_ended(real: Real) -> None:
    first = long_turn()
    first.start.spec.problem.tests[0].snippet.code = "assert PASS"
    first.start.spec.cascade.prior_attempts.add(code="x = 'PASS'")
    async with talking(real.served, first) as talk:
        await judged(talk)
        await talk.say(number=1, end_turn=refine_pb2.EndTurn())
        ended = await talk.turn()
        assert ended.outcome == refine_pb2.TURN_OUTCOME_SOLVED
        assert not ended.HasField("accounting")
        (summary,) = [one.event.summary for one in talk.heard if one.event.HasField("summary")]
        assert summary.accounting.samples_cut_off > 0
