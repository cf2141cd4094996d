"""Sessions by both clients against a real front: what they say, and that they take a session up again by themselves."""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc
import pytest
import pytest_asyncio
from support.cable import Cable, cable
from support.refine_talk import RIGHT, WRONG, failing_until, prompt, task
from support.scripted_solver import ScriptedSolver, accepted, cut_summary, forever
from support.served import Served, serving, until
from thresher.client import AsyncClient, Client, ThresherError, TurnStream, to_plain
from thresher.client.problems import ProblemError
from thresher.v1 import problem_pb2, solve_pb2

from engine.serving.solve_out import accounting_out
from engine.solving.errors import Unavailable


@pytest_asyncio.fixture
async def served() -> AsyncGenerator[Served]:
    async with serving(ScriptedSolver(failing_until(3)), sessions={"linger_seconds": 600}) as running:
        yield running


async def blocking(served: Served, work: Callable[[Client], Any], address: str = "") -> Any:
    """Run `work` with a blocking client, in a thread: the server is in this one's loop."""

    def run() -> Any:
        with Client(address or f"unix:{served.folder}/s") as client:
            return work(client)

    return await asyncio.to_thread(run)


async def test_a_conversation(served: Served) -> None:
    def converse(client: Client) -> Any:
        with client.refine(task()) as session:
            first = session.start().run()
            assert (first.solved, first.code) == (False, None)
            assert first.turns[0].outcome == "unsolved"
            session.take_back(1, 0)
            second = session.say("Add them.").run()
            third = session.add_tests(["assert add(0, 0) == 0"], words="Also zero.").run()
            assert third.code == RIGHT
            assert third.summary is not None
            fourth = session.resample().run()
            assert [turns.turns[0].number for turns in (first, second, third, fourth)] == [1, 2, 3, 4]
            before = session.transcript()
            transcript = session.end()
            assert transcript == before == session.transcript()
            return transcript

    transcript = await blocking(served, converse)
    told = json.loads(json.dumps(to_plain(transcript)))
    assert [turn["outcome"] for turn in told["turns"]] == ["unsolved", "unsolved", "solved", "solved"]
    assert told["turns"][1]["actions"][0]["take_back"]["candidate"] == {"turn": 1, "index": 0}
    assert told["turns"][2]["actions"][1]["feedback"]["comment"] == "Also zero."
    assert told["turns"][2]["candidates"][0]["code"] == RIGHT
    assert prompt(served, 3) == prompt(served, 2)


async def test_rounds_are_one_question(served: Served) -> None:
    def ask(client: Client) -> TurnStream:
        with client.refine(task(), rounds=4) as session:
            return session.start().run()

    asked = await blocking(served, ask)
    assert [turn.number for turn in asked.turns] == [1, 2, 3]
    assert [turn.automatic for turn in asked.turns] == [False, True, True]
    assert asked.code == RIGHT
    assert asked.turns[1].added[0].content == f"```python\n{WRONG.format(1).strip()}\n```"


async def test_the_same_by_asyncio(served: Served) -> None:
    async with AsyncClient(f"unix:{served.folder}/s") as client, client.refine(task()) as session:
        first = await (await session.start()).run()
        await session.take_back(1, 0)
        second = await (await session.say("Add.", rounds=2)).run()
        test = problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="assert add(0, 0) == 0"))
        third = await (await session.add_tests([test])).run()
        fourth = await (await session.resample(sampling=solve_pb2.SamplingParams(k=2))).run()
        assert [len(asked.turns) for asked in (first, second, third, fourth)] == [1, 2, 1, 1]
        assert second.solved
        transcript = await session.transcript()
        assert await session.end() == transcript
    assert served.solver.specs[-1].sampling.k == 2


async def test_a_session_that_could_not_be_started_can_be_started_again(served: Served) -> None:
    def ask(client: Client) -> bool:
        with client.refine(task(), rounds=3) as session:
            served.solver.status = "starting"
            with pytest.raises(ThresherError, match="STARTING"):
                session.start()
            served.solver.status = "ready"
            return session.start().run().solved

    assert await blocking(served, ask)
    async with AsyncClient(f"unix:{served.folder}/s") as client, client.refine(task(), rounds=3) as session:
        served.solver.status = "starting"
        with pytest.raises(ThresherError, match="STARTING"):
            await session.start()
        served.solver.status = "ready"
        assert (await (await session.start()).run()).solved


async def test_a_question_while_another_one_is_open_ends_that_one(served: Served) -> None:
    served.solver.script = lambda spec: [accepted(spec), forever]

    def ask(client: Client) -> None:
        with client.refine(task()) as session:
            first = session.start()
            next(first)
            served.solver.script = failing_until(1)
            assert session.say("Now.").run().solved
            assert not first.over

    await blocking(served, ask)


async def test_stop_ends_the_turn(served: Served) -> None:
    served.solver.script = lambda spec: [accepted(spec), forever]
    async with AsyncClient(f"unix:{served.folder}/s") as client, client.refine(task(), rounds=5) as session:
        asked = await session.start()
        await anext(asked)
        await session.stop()
        await asked.run()
        assert [turn.outcome for turn in asked.turns] == ["cut_off"]
        (turn,) = (await session.end()).turns
    assert not served.solver.live
    assert asked.summary is None
    assert asked.turns[0].accounting == turn.accounting == accounting_out(cut_summary().accounting)


async def test_a_turn_that_was_cut_off_while_nobody_was_connected_says_what_it_cost(served: Served) -> None:
    served.solver.script = lambda spec: [accepted(spec), forever]
    async with AsyncClient(f"unix:{served.folder}/s") as client, client.refine(task()) as session:
        asked = await session.start()
        await anext(asked)
        await until(lambda: served.solver.live == 1)
        session._call.cancel()  # pyright: ignore[reportPrivateUsage]
        await until(lambda: not len(served.front.calls))
        (held,) = served.front.sessions._held.values()  # pyright: ignore[reportPrivateUsage]
        held.session.end_turn()  # as it does itself once nobody has been connected for `sessions.linger_seconds`
        await until(lambda: not served.solver.live)
        await asked.run()
        assert [turn.outcome for turn in asked.turns] == ["cut_off"]
        assert asked.turns[0].accounting == accounting_out(cut_summary().accounting)


async def test_a_turn_with_a_summary_has_that_one_s_account(served: Served) -> None:
    async with AsyncClient(f"unix:{served.folder}/s") as client, client.refine(task()) as session:
        asked = await (await session.start()).run()
        assert asked.summary is not None
        assert asked.turns[0].accounting == asked.summary.accounting


async def test_a_turn_that_fails_is_told_and_the_session_goes_on(served: Served) -> None:
    served.solver.script = lambda spec: [accepted(spec), Unavailable("ENGINE_RESTARTING", "the engine died")]
    async with AsyncClient(f"unix:{served.folder}/s") as client, client.refine(task()) as session:
        with pytest.raises(ThresherError) as error:
            await (await session.start()).run()
        assert (error.value.code, error.value.reason) == (grpc.StatusCode.UNAVAILABLE, "ENGINE_RESTARTING")
        served.solver.script = failing_until(1)
        assert (await (await session.say()).run()).solved


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_after_a_refused_action_the_session_goes_on(served: Served, kind: str) -> None:
    if kind == "sync":
        await blocking(served, _refused_then_on)
    else:
        async with AsyncClient(f"unix:{served.folder}/s") as client, client.refine(task()) as session:
            await (await session.start()).run()
            with pytest.raises(ThresherError, match="temperature"):
                await (await session.say("Words.", sampling=solve_pb2.SamplingParams(temperature=-1))).run()
            assert (await (await session.say(rounds=2)).run()).solved
    assert prompt(served, 1)[-1][1].count("Words.") == 1


def _refused_then_on(client: Client) -> None:
    with client.refine(task()) as session:
        session.start().run()
        with pytest.raises(ThresherError, match="temperature"):
            session.say("Words.", sampling=solve_pb2.SamplingParams(temperature=-1)).run()
        assert session.say(rounds=2).run().solved


async def test_what_cannot_be_said_is_refused_at_once(served: Served) -> None:
    def ask(client: Client) -> None:
        session = client.refine(task())
        with pytest.raises(ValueError, match="call start first"):
            session.say("no")
        with session:
            session.start().run()
            with pytest.raises(ValueError, match="has begun"):
                session.start()
            with pytest.raises(ValueError, match="candidate: is given without words"):
                session.say(candidate=(1, 0))
            with pytest.raises(ProblemError):
                session.add_tests([])
        with pytest.raises(ValueError, match="has ended"):
            session.say("more")

    await blocking(served, ask)


# Dropped connections


async def cut_often(line: Cable, times: int, opened: threading.Event) -> None:
    """Cut it from when the session is open: before, a client knows of none to take up."""
    await until(opened.is_set)
    for _ in range(times):
        await asyncio.sleep(0.05)
        line.cut()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_cut_line_loses_no_message_and_doubles_none(served: Served, kind: str) -> None:
    served.solver.script = failing_until(6)
    async with cable(served.folder) as line:
        opened = threading.Event()
        cutting = asyncio.create_task(cut_often(line, 6, opened))
        if kind == "sync":
            told = await blocking(served, lambda client: _long_talk(client, opened), line.address)
        else:
            async with AsyncClient(line.address) as client, client.refine(task()) as session:
                started = await session.start()
                opened.set()
                told = [reply.sequence async for reply in started]
                for number in range(5):
                    await asyncio.sleep(0.04)
                    told += [reply.sequence async for reply in await session.say(f"Word {number}.")]
        await cutting
        assert line.cuts >= 6
    assert told == list(range(1, len(told) + 1))
    assert len(served.solver.specs) == 6
    said = "\n".join(content for _, content in prompt(served))
    assert [said.count(f"Word {number}.") for number in range(5)] == [1] * 5


def _long_talk(client: Client, opened: threading.Event) -> list[int]:
    with client.refine(task()) as session:
        started = session.start()
        opened.set()
        told = [reply.sequence for reply in started]
        for number in range(5):
            told += [reply.sequence for reply in session.say(f"Word {number}.")]
        return told


async def test_a_session_that_is_gone_is_told_as_such(served: Served) -> None:
    async with cable(served.folder) as line, AsyncClient(line.address) as client:
        session = client.refine(task())
        await (await session.start()).run()
        await served.front.sessions.close()
        line.cut()
        with pytest.raises(ThresherError) as error:
            await (await session.say()).run()
        assert error.value.reason == "SESSION_NOT_FOUND"


async def test_a_session_taken_over_elsewhere_is_told_as_such(served: Served) -> None:
    async with AsyncClient(f"unix:{served.folder}/s") as client:
        session, other = client.refine(task()), client.refine(task())
        await (await session.start()).run()
        other.dialogue.name = session.name
        await other.start()
        with pytest.raises(ThresherError) as error:
            await (await session.say()).run()
        assert error.value.reason == "SESSION_SUPERSEDED"
        await other.end()


async def test_the_server_hears_what_has_come_and_keeps_it_no_longer(served: Served) -> None:
    served.solver.script = failing_until(99)
    async with AsyncClient(f"unix:{served.folder}/s") as client, client.refine(task(), rounds=30) as session:
        await (await session.start()).run()
        held = served.front.sessions.find("local", session.name.removeprefix("sessions/"))
        await until(lambda: held.last - held.oldest < 70)
        assert held.last == 180
