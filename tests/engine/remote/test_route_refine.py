"""A session through a router: it lives there, and each of its turns is a solve of the tiers'."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from thresher.v1 import refine_pb2, solve_pb2, synthesis_service_pb2

from engine.solving.spec import ChatPrompt, SolveSpec
from tests.support.refine_talk import (
    RIGHT,
    WRONG,
    Response,
    Talk,
    drawn,
    failing_until,
    resume,
    start,
    talking,
    task,
)
from tests.support.routed import Routed, routed
from tests.support.scripted_solver import ScriptedSolver, forever
from tests.support.scripted_tiers import FAILED, Play, drawing
from tests.support.served import Served, refused, until

SOLVED, UNSOLVED = refine_pb2.TURN_OUTCOME_SOLVED, refine_pb2.TURN_OUTCOME_UNSOLVED
CUT_OFF, TURN_FAILED = refine_pb2.TURN_OUTCOME_CUT_OFF, refine_pb2.TURN_OUTCOME_FAILED
RESAMPLE = refine_pb2.Resample()


@asynccontextmanager
async def before(running: Routed) -> AsyncGenerator[Served]:
    """Calls of the router itself."""
    async with grpc.aio.insecure_channel(running.address("router")) as channel:
        yield Served(running.front, ScriptedSolver(), running.metrics, channel, running.folder)


def turn_of(spec: SolveSpec) -> int:
    return int(spec.request_id.rpartition("/")[2])


def playing(name: str, *, passes_at: int = 99) -> Callable[[SolveSpec], Any]:
    """A program a turn, which says whose it is; from that turn on it passes."""

    def script(spec: SolveSpec) -> Any:
        turn = turn_of(spec)
        return drawing(f"{name} {turn} {'PASS' if turn >= passes_at else 'FAIL'}")(spec)

    return script


def stuck(spec: SolveSpec) -> Any:
    """Draws one program, which fails, and hangs."""
    play = Play(spec)
    return [*play.begin(), *play.start(0), *play.finish(0, "stuck FAIL"), *play.judge(0, FAILED), forever]


def quoted(solver: ScriptedSolver, turn: int = -1) -> list[str]:
    """The programs that the model has been shown as its own."""
    asked = solver.specs[turn].prompt
    assert isinstance(asked, ChatPrompt)
    return [message.content for message in asked.messages if message.role == "assistant"]


def summaries(heard: list[Response]) -> list[solve_pb2.Summary]:
    return [one.event.summary for one in heard if one.event.HasField("summary")]


def outcomes(summary: solve_pb2.Summary) -> list[str]:
    return [solve_pb2.TierOutcome.Name(tier.outcome)[13:] for tier in summary.tiers]


async def test_a_session_s_turns_are_solves_elsewhere() -> None:
    solver = ScriptedSolver(failing_until(2))
    async with routed([("small", solver)]) as running:
        await running.up("small")
        async with running.client.refine(task(), rounds=3, timeout=30) as session:
            asked = await (await session.start()).run()
            assert [turn.outcome for turn in asked.turns] == ["unsolved", "solved"]
            assert asked.code == RIGHT
            transcript = await session.end()
    answer = f"```python\n{WRONG.format(1).strip()}\n```"
    assert len(solver.specs) == 2
    assert asked.turns[1].added[0].content == answer
    assert [candidate.code for candidate in transcript.turns[0].candidates] == [WRONG.format(1)]


async def test_each_turn_goes_up_the_tiers_and_quotes_what_any_of_them_drew() -> None:
    small, big = ScriptedSolver(playing("small")), ScriptedSolver(playing("big", passes_at=2))
    async with routed([("small", small)], [("big", big)]) as running, before(running) as front:
        async with talking(front, start(rounds=2)) as talk:
            assert [(await talk.turn()).outcome for _ in range(2)] == [UNSOLVED, SOLVED]
            first, second = summaries(talk.heard)
            assert (outcomes(first), outcomes(second)) == (["EXHAUSTED", "EXHAUSTED"], ["EXHAUSTED", "SOLVED"])
            assert second.candidates[0].tier == 1
            request = synthesis_service_pb2.GetTranscriptRequest(session=talk.session)
            one, two = (await front.synthesis.GetTranscript(request)).transcript.turns
        assert [candidate.tier for candidate in one.candidates] == [0, 1]
        assert [candidate.code for candidate in two.candidates] == ["small 2 FAIL", "big 2 PASS"]
        assert (one.accounting, two.accounting) == (first.accounting, second.accounting)
        # Both tiers are told the same: of two equally bad programs the one of the first sample.
        assert quoted(small) == quoted(big) == ["```python\nsmall 1 FAIL\n```"]
        assert [attempt.code for attempt in big.specs[1].cascade.attempts] == ["small 2 FAIL"], "and what failed below"


async def test_all_turns_go_to_the_replica_that_has_their_prompt() -> None:
    names = ("one", "two", "three")
    for word in ("add", "subtract", "multiply", "divide"):
        solvers = {name: ScriptedSolver(playing(name)) for name in names}
        async with routed(list(solvers.items())) as running, before(running) as front:
            await running.up(*names)
            first = start(rounds=4)
            first.start.spec.problem.chat.messages[0].content = f"Write {word}(a, b)."
            async with talking(front, first) as talk:
                for _ in range(4):
                    await talk.turn()
            assert sorted(len(solver.specs) for solver in solvers.values()) == [0, 0, 4], word


async def test_the_other_replica_takes_the_next_turn_where_one_is_gone() -> None:
    solvers = {name: ScriptedSolver(playing(name)) for name in ("one", "two")}
    async with routed(list(solvers.items())) as running, before(running) as front:
        await running.up(*solvers)
        async with talking(front, start()) as talk:
            await talk.turn()
            (had,) = [name for name, solver in solvers.items() if solver.specs]
            (other,) = set(solvers) - {had}
            await running.kill(had)
            await running.up(other)
            await talk.say(number=1, resample=RESAMPLE)
            assert (await talk.turn()).outcome == UNSOLVED
            assert quoted(solvers[other]) == [f"```python\n{had} 1 FAIL\n```"], "a tier keeps nothing of a session"


async def test_a_tier_that_dies_in_mid_turn_is_no_loss_for_the_session() -> None:
    small, big = ScriptedSolver(stuck), ScriptedSolver(playing("big", passes_at=2))
    async with routed([("small", small)], [("big", big)]) as running, before(running) as front:
        await running.up("small", "big")
        async with talking(front, start(rounds=2)) as talk:
            while not (await talk.hear()).event.HasField("candidate_judged"):
                pass
            await running.kill("small")
            first = await talk.turn()
            assert (first.outcome, first.another_follows) == (UNSOLVED, True)
            assert (await talk.turn()).outcome == SOLVED
            one, two = summaries(talk.heard)
            assert (outcomes(one), outcomes(two)) == (["LOST", "EXHAUSTED"], ["LOST", "SOLVED"])
            request = synthesis_service_pb2.GetTranscriptRequest(session=talk.session)
            turns = (await front.synthesis.GetTranscript(request)).transcript.turns
            drew = [[(candidate.code, candidate.tier) for candidate in turn.candidates] for turn in turns]
            assert drew == [[("stuck FAIL", 0), ("big 1 FAIL", 1)], [("big 2 PASS", 1)]]
            assert len(small.specs) == 1


async def test_where_every_tier_is_gone_the_turn_fails_and_the_session_waits() -> None:
    solver = ScriptedSolver(failing_until(1))
    async with routed([("small", solver)]) as running, before(running) as front:
        solver.script = stuck
        await running.up("small")
        async with talking(front, start(rounds=3)) as talk:
            while not (await talk.hear()).event.HasField("candidate_judged"):
                pass
            await running.kill("small")
            ended = await talk.turn()
            assert (ended.outcome, ended.another_follows) == (TURN_FAILED, False)
            assert (ended.failure.code, ended.failure.reason) == ("UNAVAILABLE", "TIER_LOST")
            solver.script = failing_until(1)
            await running.revive("small")
            await running.up("small")
            await talk.say(number=1, resample=RESAMPLE)
            assert (await talk.turn()).outcome == SOLVED
            assert quoted(solver) == ["```python\nstuck FAIL\n```"], "what the lost tier had drawn is known"


async def test_a_session_is_resumed_at_its_router_and_at_no_other() -> None:
    go = asyncio.Event()

    async def wait() -> None:
        await go.wait()

    def script(spec: SolveSpec) -> Any:
        steps = drawn(spec, RIGHT, passes=True)
        return [*steps[:1], wait, *steps[1:]]

    solver = ScriptedSolver(script)
    async with routed([("small", solver)]) as running, before(running) as front:
        async with talking(front, start()) as talk:
            await until(lambda: solver.live == 1)
            heard = [await talk.hear() for _ in range(2)]
        await until(lambda: not len(running.front.calls))
        go.set()
        async with talking(front, resume(talk.session, talk.seen)) as again:
            assert (await again.turn()).outcome == SOLVED
        told = [one.sequence for one in (*heard, *again.heard)]
        assert told == list(range(1, len(told) + 1)), "nothing is lost, and nothing told twice"
        assert len(solver.specs) == 1, "the tier has heard nothing of the drop"
        async with routed([("small", ScriptedSolver())]) as another, before(another) as elsewhere:
            lost = Talk(elsewhere, resume(talk.session))
            await lost.call.write(lost.first)
            assert (await refused(lost.call)).info.reason == "SESSION_NOT_FOUND"


@pytest.mark.parametrize("how", ["the person ends it", "the client is gone"])
async def test_a_turn_that_is_cut_off_ends_in_the_tiers_and_tells_what_they_had_told(how: str) -> None:
    small = ScriptedSolver(stuck)
    async with routed([("small", small)], sessions={"linger_seconds": 0.05}) as running, before(running) as front:
        async with talking(front, start()) as talk:
            while not (await talk.hear()).event.HasField("candidate_judged"):
                pass
            if how == "the person ends it":
                await talk.say(number=1, end_turn=refine_pb2.EndTurn())
        await until(lambda: not small.live)
        async with talking(front, resume(talk.session, talk.seen)) as again:
            ended = await again.turn()
        assert ended.outcome == CUT_OFF
        cost = ended.accounting
        assert (cost.samples_finished, cost.generated_tokens, cost.candidates_executed) == (1, 10, 1)
        request = synthesis_service_pb2.GetTranscriptRequest(session=talk.session)
        (turn,) = (await front.synthesis.GetTranscript(request)).transcript.turns
        assert turn.accounting == cost


async def test_what_a_person_adds_and_takes_back_reaches_the_tiers() -> None:
    small = ScriptedSolver(playing("small", passes_at=1))
    async with routed([("small", small)]) as running, running.client.refine(task(), timeout=30) as session:
        assert (await (await session.start()).run()).code == "small 1 PASS"
        await (await session.add_tests(["assert add(0, 0) == 0"])).run()
        (again,) = small.specs[1].cascade.attempts
        assert (again.code, again.report, len(small.specs[1].tests)) == ("small 1 PASS", None, 2)
        await session.take_back(2, 0)
        await (await session.say("Without a plus sign.")).run()
        (refused_one,) = small.specs[2].cascade.attempts
        assert refused_one.report is not None
        assert refused_one.report.detail == "the person has taken it back"
