"""Sessions over gRPC: a dropped call and its resume, whose they are, their bounds, how they end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest
from thresher.v1 import problem_pb2, refine_pb2, solve_pb2, synthesis_service_pb2

from engine.solving.spec import SolveSpec
from tests.support.refine_talk import (
    RIGHT,
    WRONG,
    Request,
    Talk,
    drawn,
    failing_until,
    prompt,
    resume,
    start,
    talking,
)
from tests.support.scripted_solver import ScriptedSolver, Step, accepted, forever
from tests.support.served import Refused, Served, refused, serving, until
from tests.support.tokens import add_token, bearer


async def test_a_dropped_call_is_resumed_without_loss() -> None:
    go = asyncio.Event()

    async def wait() -> None:
        await go.wait()

    def script(spec: SolveSpec) -> list[Step]:
        steps = failing_until(1)(spec)
        return [*steps[:2], wait, *steps[2:]]

    async with serving(ScriptedSolver(script), sessions={"linger_seconds": 600}) as served:
        async with talking(served, start()) as talk:
            for _ in range(2):
                await talk.hear()
        await until(lambda: not len(served.front.calls))
        go.set()
        async with talking(served, resume(talk.session, talk.seen)) as again:
            assert again.session == talk.session
            assert (await again.turn()).outcome == refine_pb2.TURN_OUTCOME_SOLVED
        told = [response.sequence for response in (*talk.heard, *again.heard)]
        assert told == [1, 2, 3, 4, 5, 6]
        assert len(served.solver.specs) == 1


async def test_an_action_sent_twice_is_taken_once() -> None:
    async with serving(ScriptedSolver(failing_until(9))) as served:
        async with talking(served, start()) as talk:
            await talk.turn()
            await talk.say(number=1, feedback=refine_pb2.Feedback(comment="Once."))
            await talk.say(number=2, resample=refine_pb2.Resample())
            await talk.turn()
        async with talking(served, resume(talk.session, talk.seen)) as again:
            assert again.actions_taken == 2
            await again.say(number=1, feedback=refine_pb2.Feedback(comment="Once."))
            await again.say(number=2, resample=refine_pb2.Resample())
            await again.say(number=3, resample=refine_pb2.Resample())
            await again.turn()
            assert len(served.solver.specs) == 3
            assert prompt(served)[2][1].count("Once.") == 1
            await again.say(number=5, end_turn=refine_pb2.EndTurn())
            assert (await refused(again.call)).info.reason == "BAD_REQUEST"


async def test_the_newer_connection_takes_over() -> None:
    async with serving(ScriptedSolver(failing_until(2))) as served, talking(served, start()) as old:
        await old.turn()
        async with talking(served, resume(old.session, 2)) as new:
            error = await refused(old.call)
            assert error.code is grpc.StatusCode.ABORTED
            assert error.info.reason == "SESSION_SUPERSEDED"
            await new.turn()
            assert [response.sequence for response in new.heard] == [3, 4, 5, 6]
            await new.say(number=1, resample=refine_pb2.Resample())
            assert (await new.turn()).outcome == refine_pb2.TURN_OUTCOME_SOLVED


async def test_what_is_unknown_is_not_found() -> None:
    async with serving() as served:
        talk = Talk(served, resume("sessions/nobody"))
        await talk.call.write(talk.first)
        not_found(await refused(talk.call))
        request = synthesis_service_pb2.GetTranscriptRequest(session="sessions/nobody")
        not_found(await refused(served.synthesis.GetTranscript(request)))


def not_found(error: Refused) -> None:
    assert error.code is grpc.StatusCode.NOT_FOUND
    assert error.info.reason == "SESSION_NOT_FOUND"
    assert error.details["ResourceInfo"].resource_type == "thresher.v1.Session"


async def test_a_session_ends_with_its_transcript() -> None:
    soon = {"linger_seconds": 0.05}
    async with serving(ScriptedSolver(failing_until(2)), sessions=soon) as served, talking(served, start()) as talk:
        await talk.turn()
        await talk.say(number=1, feedback=refine_pb2.Feedback(comment="Plus."))
        more = problem_pb2.Test(name="more", snippet=problem_pb2.SnippetTest(code="assert add(0, 0) == 0"))
        await talk.say(number=2, add_tests=refine_pb2.AddTests(tests=[more]))
        await talk.say(number=3, resample=refine_pb2.Resample())
        await talk.turn()
        request = synthesis_service_pb2.GetTranscriptRequest(session=talk.session)
        asked = (await served.synthesis.GetTranscript(request)).transcript
        await talk.say(number=4, end_session=refine_pb2.EndSession())
        transcript = (await talk.hear()).session_ended.transcript
        assert await talk.call.read() is grpc.aio.EOF
        assert await talk.call.code() is grpc.StatusCode.OK
        assert transcript == asked
        assert [test.name for test in transcript.tests] == ["sum", "more"]
        assert [turn.candidates[0].code for turn in transcript.turns] == [WRONG.format(1), RIGHT]
        assert [action.WhichOneof("action") for action in transcript.turns[1].actions] == ["feedback", "add_tests"]
        assert transcript.turns[1].actions[1].add_tests.tests == [more]
        assert transcript.model == "models/scripted"
        await until(lambda: not len(served.front.sessions))


async def test_closing_the_sending_side_ends_the_call_after_the_turn_and_leaves_the_session() -> None:
    async with serving(ScriptedSolver(failing_until(3))) as served, talking(served, start(rounds=3)) as talk:
        await talk.call.done_writing()
        for _ in range(3):
            await talk.turn()
        assert await talk.call.read() is grpc.aio.EOF
        assert await talk.call.code() is grpc.StatusCode.OK
        async with talking(served, resume(talk.session, 0)) as again:
            for _ in range(3):
                await again.turn()
            assert again.heard == talk.heard


async def test_a_client_that_is_gone_leaves_nothing() -> None:
    solver = ScriptedSolver(lambda spec: [accepted(spec), forever])
    limits = {"linger_seconds": 0.05, "seconds_to_live": 0.2}
    async with serving(solver, sessions=limits) as served:
        async with talking(served, start()) as talk:
            await until(lambda: solver.live == 1)
        await until(lambda: not solver.live)
        await until(lambda: not len(served.front.sessions))
        gone = Talk(served, resume(talk.session, 0))
        await gone.call.write(gone.first)
        not_found(await refused(gone.call))


async def test_the_number_of_sessions_is_bounded_and_one_left_alone_makes_room() -> None:
    bound = {"most_per_caller": 2}
    async with (
        serving(ScriptedSolver(failing_until(1)), sessions=bound) as served,
        talking(served, start()) as first,
        talking(served, start()),
    ):
        third = Talk(served, start())
        await third.call.write(third.first)
        error = await refused(third.call)
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.info.reason == "SESSION_LIMIT"
        first.call.cancel()
        await until(lambda: len(served.front.calls) == 1)
        async with talking(served, start()):
            assert len(served.front.sessions) == 2


async def test_what_a_session_holds_is_bounded() -> None:
    async with serving(ScriptedSolver(failing_until(9)), sessions={"max_bytes": 1 << 16}) as served:
        async with talking(served, start()) as talk:
            await talk.turn()
            await talk.say(number=1, feedback=refine_pb2.Feedback(comment="x" * (1 << 15)))
            error = await refused(talk.call)
            assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert error.info.reason == "SESSION_FULL"
        async with talking(served, resume(talk.session, talk.seen)) as again:
            assert again.actions_taken == 0
            await again.say(number=1, resample=refine_pb2.Resample())
            await again.turn()


async def test_what_is_kept_no_longer_is_told_as_such() -> None:
    async with serving(ScriptedSolver(failing_until(9))) as served:
        async with talking(served, start()) as talk:
            await talk.turn()
            await talk.say(seen=4)
            await talk.say(number=1, end_turn=refine_pb2.EndTurn(), seen=4)
            await talk.say(number=2, resample=refine_pb2.Resample())
            await talk.turn()
        gone = Talk(served, resume(talk.session, 3))
        await gone.call.write(gone.first)
        error = await refused(gone.call)
        assert error.code is grpc.StatusCode.OUT_OF_RANGE
        assert error.info.reason == "SESSION_EVENTS_GONE"
        assert error.info.metadata["oldest"] == "5"
        async with talking(served, resume(talk.session, 4)) as again:
            await again.turn()


REFUSED = {
    "completion": lambda spec: spec.problem.completion.CopyFrom(problem_pb2.CompletionPrompt(text="def add(")),
    "variants": lambda spec: spec.problem.variants.add().chat.CopyFrom(spec.problem.chat),
    "attempts": lambda spec: (
        spec.cascade.prior_attempts.add(code="x = 1"),
        setattr(spec.cascade, "attempts_in_prompt", True),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_a_session_cannot_do_is_refused(what: str) -> None:
    async with serving() as served:
        first = start()
        REFUSED[what](first.start.spec)
        talk = Talk(served, first)
        await talk.call.write(talk.first)
        assert (await refused(talk.call)).code is grpc.StatusCode.UNIMPLEMENTED


BAD = {
    "no such candidate": Request(
        number=1, feedback={"comment": "no", "candidate": refine_pb2.CandidateName(turn=1, index=7)}
    ),
    "blank": Request(number=1, feedback=refine_pb2.Feedback(comment="  ")),
    "no tests": Request(number=1, add_tests=refine_pb2.AddTests()),
    "many rounds": Request(number=1, resample=refine_pb2.Resample(rounds=10_000)),
    "bad sampling": Request(number=1, resample={"sampling": solve_pb2.SamplingParams(temperature=-1)}),
    "start again": start(),
    "number alone": Request(number=1),
    "take back nothing": Request(number=1, take_back=refine_pb2.TakeBack()),
    "seen too much": Request(seen=1000),
}


@pytest.mark.parametrize("what", BAD)
async def test_a_bad_action_ends_the_call_and_not_the_session(what: str) -> None:
    async with serving(ScriptedSolver(failing_until(2))) as served:
        async with talking(served, start()) as talk:
            await talk.turn()
            await talk.call.write(BAD[what])
            assert (await refused(talk.call)).code is grpc.StatusCode.INVALID_ARGUMENT
        async with talking(served, resume(talk.session, talk.seen)) as again:
            await again.say(number=1, resample=refine_pb2.Resample())
            assert (await again.turn()).outcome == refine_pb2.TURN_OUTCOME_SOLVED


@asynccontextmanager
async def tcp(path: Path) -> AsyncGenerator[Served]:
    """A server that knows its callers by the tokens of a file."""
    async with (
        serving(ScriptedSolver(failing_until(1)), tcp=True, serving={"tokens_file": path}) as served,
        grpc.aio.insecure_channel(served.tcp) as channel,
    ):
        yield replace(served, channel=channel)


async def test_another_caller_sees_no_session(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    mine, theirs = bearer(add_token(path, "one")), bearer(add_token(path, "two"))
    async with tcp(path) as served, talking(served, start(), mine) as talk:
        await talk.turn()
        thief = Talk(served, resume(talk.session), theirs)
        await thief.call.write(thief.first)
        not_found(await refused(thief.call))
        request = synthesis_service_pb2.GetTranscriptRequest(session=talk.session)
        not_found(await refused(served.synthesis.GetTranscript(request, metadata=theirs)))
        assert (await served.synthesis.GetTranscript(request, metadata=mine)).transcript.turns


async def test_every_turn_that_is_asked_for_counts_towards_the_rate(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    slow = bearer(add_token(path, "slow", requests_per_second=0.01))
    async with tcp(path) as served, talking(served, start(), slow) as talk:
        await talk.turn()
        await talk.say(number=1, resample=refine_pb2.Resample())
        assert (await refused(talk.call)).info.reason == "QUOTA"


async def test_a_drain_lets_the_turn_finish_and_then_ends_the_call() -> None:
    go = asyncio.Event()

    async def wait() -> None:
        await go.wait()

    def script(spec: SolveSpec) -> list[Step]:
        return [accepted(spec), wait, *drawn(spec, WRONG)[1:]]

    solver = ScriptedSolver(script)
    async with serving(solver) as served, talking(served, start(rounds=4)) as busy:
        await until(lambda: solver.live == 1)
        await served.front.refuse_new()
        go.set()
        ended = await busy.turn()
        assert ended.outcome == refine_pb2.TURN_OUTCOME_UNSOLVED
        assert not ended.another_follows
        error = await refused(busy.call)
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert error.info.reason == "DRAINING"


async def test_a_drain_ends_a_session_that_waits_for_its_person_at_once() -> None:
    async with serving(ScriptedSolver(failing_until(1))) as served, talking(served, start()) as idle:
        await idle.turn()
        await served.front.refuse_new()
        error = await refused(idle.call)
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert error.info.reason == "DRAINING"
