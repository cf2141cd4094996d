"""Sessions over a real solver and scheduler: prompts that are kept, and nothing left of a client that is gone."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest_asyncio
from jinja2 import Template
from thresher.v1 import refine_pb2, solve_pb2

from engine.metrics import Metrics
from engine.text.chat import ChatTemplate
from tests.support.babbler import Babbler
from tests.support.refine_talk import resume, start, talking
from tests.support.scripted_engine import FakeExecutor, scripted_solver
from tests.support.served import Served, serving, until

TURNS = "{% for turn in messages %}<{{ turn.role }}>{{ turn.content }}</>{% endfor %}<assistant>"
SAMPLING = solve_pb2.SamplingParams(k=6, seed=4, max_new_tokens=30)


@dataclass
class Real:
    served: Served
    solver: Any
    executor: FakeExecutor

    @property
    def idle(self) -> bool:
        load = self.solver.load()
        return not (load.solves_running + load.solves_waiting + load.branches_running + len(self.executor.running))


@pytest_asyncio.fixture
async def real() -> AsyncGenerator[Real]:
    executor = FakeExecutor(0.0)
    script, chat = Babbler(step_seconds=0.002), ChatTemplate(Template(TURNS), {})
    solver: Any = scripted_solver(script, executor, chat=chat, max_k=4096, metrics=Metrics())
    await solver.start()
    async with serving(solver, sessions={"linger_seconds": 0.05}) as running:
        yield Real(running, solver, executor)
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
