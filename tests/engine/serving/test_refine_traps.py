"""Sessions over gRPC, where something is held back: hidden tests, an old connection's reader, a revoked token."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import grpc.aio
import pytest
from thresher.v1 import problem_pb2, refine_pb2

from engine.config import SessionSettings, Settings
from engine.serving.callers import LOCAL, set_caller
from engine.serving.once import SharedSolves
from engine.serving.synthesis import SynthesisService
from engine.solving.errors import SessionSuperseded
from engine.solving.sessions import Sessions
from tests.support.refine_talk import Request, Response, failing_until, prompt, resume, start, talking
from tests.support.scripted_solver import ScriptedSolver, accepted, forever
from tests.support.served import refused, serving, until
from tests.support.tokens import add_token, bearer, drop_tokens

SECRET = "assert add(20, 22) == 42"
LATER = "assert add(1000, 1) == 1001"


async def test_hidden_tests_are_in_no_prompt_and_in_no_transcript() -> None:
    async with serving(ScriptedSolver(failing_until(9))) as served:
        first = start()
        held = problem_pb2.Test(name="held", hidden=True, snippet=problem_pb2.SnippetTest(code=SECRET), weight=2.0)
        first.start.spec.problem.tests.insert(0, held)
        async with talking(served, first) as talk:
            await talk.turn()
            more = problem_pb2.Test(name="later", hidden=True, snippet=problem_pb2.SnippetTest(code=LATER))
            shown = problem_pb2.Test(name="shown", snippet=problem_pb2.SnippetTest(code="assert add(0, 0) == 0"))
            await talk.say(number=1, add_tests=refine_pb2.AddTests(tests=[more, shown]))
            await talk.say(number=2, resample=refine_pb2.Resample())
            await talk.turn()
            await talk.say(number=3, end_session=refine_pb2.EndSession())
            transcript = (await talk.hear()).session_ended.transcript
        told = str(prompt(served)) + str(transcript)
        assert "assert add(0, 0) == 0" in told
        assert "20, 22" not in told
        assert "1000, 1" not in told
        # Results name tests by their places, so that each has one.
        assert [(test.name, test.hidden, test.WhichOneof("kind")) for test in transcript.tests] == [
            ("held", True, None),
            ("sum", False, "snippet"),
            ("later", True, None),
            ("shown", False, "snippet"),
        ]
        assert transcript.tests[0].weight == 2.0
        assert [test.name for test in transcript.turns[1].actions[0].add_tests.tests] == ["later", "shown"]
        report = transcript.turns[0].candidates[0].report
        assert [result.test_index for result in report.results] == [1]


class Deaf:
    """A call whose client reads two messages and no more, as where its connection has silently broken."""

    def __init__(self) -> None:
        self.told: list[Response] = []

    async def write(self, message: Response) -> None:
        self.told.append(message)
        if len(self.told) > 2:
            await asyncio.Event().wait()


async def asked(request: Request) -> AsyncGenerator[Request]:
    """A client that says this, and stays."""
    yield request
    await asyncio.Event().wait()


async def test_an_old_connection_that_reads_nothing_is_gone_when_a_new_one_takes_over() -> None:
    async with serving(ScriptedSolver(failing_until(9))) as served:
        set_caller(LOCAL)
        service = SynthesisService(
            Settings(), served.solver, served.front.calls, SharedSolves(), Sessions(SessionSettings())
        )
        spec_of: Any = partial(service._spec, client="")  # pyright: ignore[reportPrivateUsage]
        refining = service._refining  # pyright: ignore[reportPrivateUsage]
        deaf, hearing = Deaf(), Deaf()
        old = asyncio.create_task(refining.serve(asked(start()), cast(Any, deaf), spec_of))
        await until(lambda: len(deaf.told) == 3)
        again = resume(deaf.told[0].session_opened.session)
        new = asyncio.create_task(refining.serve(asked(again), cast(Any, hearing), spec_of))
        with pytest.raises(SessionSuperseded):
            await asyncio.wait_for(old, 10)
        assert [message.sequence for message in hearing.told[1:]] == [1, 2]
        new.cancel()
        await asyncio.wait([new])


async def test_a_call_that_has_not_said_anything_does_not_hold_a_drain_up() -> None:
    async with serving(ScriptedSolver(failing_until(1))) as served:
        call = served.synthesis.Refine()
        await until(lambda: len(served.front.calls) == 1)
        await served.front.refuse_new()
        assert (await refused(call)).info.reason == "DRAINING"
        assert not len(served.front.calls)


async def test_a_session_ends_with_its_caller_s_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    mine = bearer(add_token(path, "mine"))
    add_token(path, "other")
    solver = ScriptedSolver(lambda spec: [accepted(spec), forever])
    async with (
        serving(
            solver, tcp=True, serving={"tokens_file": path}, sessions={"linger_seconds": 3600, "seconds_to_live": 7200}
        ) as served,
        grpc.aio.insecure_channel(served.tcp) as channel,
        talking(replace(served, channel=channel), start(rounds=4), mine),
    ):
        await until(lambda: solver.live == 1)
        drop_tokens(path, ["mine"])
        served.front.reload()
        await until(lambda: not solver.live)
        assert not len(served.front.sessions)
