"""A session whose client says what it has not seen, whose server drains, or whose caller may call no longer."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from engine.config_sessions import SessionSettings
from engine.solving.errors import SessionNotFound, Unavailable
from engine.solving.events import SolveEvent
from engine.solving.refine import EndTurn, Resample, TurnOutcome
from engine.solving.session import Session
from engine.solving.sessions import Sessions
from engine.solving.spec import SolveSpec
from engine.solving.tiers import Cut
from tests.support.served import until
from tests.support.session_script import Client, Solves, begin, event, session, settle, summary

DRAINING = Unavailable("DRAINING", "this server is stopping")


async def test_what_a_client_says_it_has_seen_is_not_waited_for() -> None:
    solves = Solves()
    one = session(solves)
    begin(one)
    solves.let(3)
    await settle()
    replies = one.replies(one.connect(0))
    assert (await anext(replies)).startswith(b"1 started")
    one.seen(5)
    one.act(Resample())
    solves.let(3)
    assert (await asyncio.wait_for(anext(replies), 10)).startswith(b"6 started")
    await replies.aclose()
    await one.gone(1)


async def test_a_session_that_drains_begins_no_turn() -> None:
    solves = Solves()
    one = session(solves)
    client = Client(one)
    begin(one)
    client.connect()
    solves.let(1)
    await settle()
    one.drain(DRAINING)
    with pytest.raises(Unavailable):
        one.act(Resample(), number=1)
    assert one.actions_taken == 0
    solves.let(5)
    await settle()
    assert client.heard[-1] == "ended 1 unsolved"
    assert solves.begun == 1
    assert client.error is DRAINING
    await client.drop()


async def test_no_session_opens_while_the_server_drains() -> None:
    sessions = Sessions[Session](SessionSettings())
    sessions.drain(DRAINING)
    with pytest.raises(Unavailable):
        sessions.open("me", lambda _: session(Solves()))
    assert not len(sessions)


async def test_the_sessions_of_a_caller_who_may_call_no_longer_end_with_their_turns() -> None:
    sessions = Sessions[Session](SessionSettings(linger_seconds=3600))
    solves = {"me": Solves(), "you": Solves()}
    opened: dict[str, Session] = {}
    for owner, solving in solves.items():

        def make(name: str, solving: Solves = solving) -> Session:
            made = session(solving)
            made.name = name
            return made

        opened[owner] = sessions.open(owner, make)
        begin(opened[owner])
        sessions.disconnect(opened[owner], sessions.connect(opened[owner], 0))
    await settle()
    sessions.end_those({"me"})
    await until(lambda: not solves["me"].live)
    with pytest.raises(SessionNotFound):
        sessions.find("me", opened["me"].name)
    assert solves["you"].live == 1
    assert sessions.find("you", opened["you"].name) is opened["you"]
    await sessions.close()


async def test_a_turn_with_its_summary_has_not_failed_whatever_its_solve_leaks() -> None:
    solves = Solves()

    async def leaking(spec: SolveSpec, cut: Cut) -> AsyncGenerator[SolveEvent]:
        async for told in solves.run(spec, cut):
            yield told
        raise asyncio.CancelledError

    one = session(solves)
    one._run = leaking  # pyright: ignore[reportPrivateUsage]
    client = Client(one)
    begin(one)
    client.connect()
    solves.let(3)
    await settle()
    assert client.heard[-1] == "ended 1 unsolved"
    await client.drop()


async def test_a_solve_that_does_not_end_when_it_is_told_to_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.solving.session._LAST_WORD_SECONDS", 0.05)
    solves = Solves()

    async def deaf(spec: SolveSpec, cut: Cut) -> AsyncGenerator[SolveEvent]:
        async with aclosing(solves.run(spec, asyncio.get_running_loop().create_future())) as events:
            async for told in events:
                yield told

    one = session(solves)
    one._run = deaf  # pyright: ignore[reportPrivateUsage]
    client = Client(one)
    begin(one)
    client.connect()
    solves.let(1)
    await settle()
    one.act(EndTurn())
    await until(lambda: not one.busy)
    await settle()
    assert client.heard[-1] == "ended 1 cut_off"
    assert one.conversation.turns[0].accounting is None
    assert not solves.live
    await client.drop()


async def test_who_has_a_session_ended_finds_nothing_of_its_solve_afterwards() -> None:
    """Also where the solve does not end when it is told to: a server then closes what the solve works with."""
    ended: list[bool] = []

    async def deaf(spec: SolveSpec, cut: Cut) -> AsyncGenerator[SolveEvent]:
        try:
            await asyncio.Event().wait()
            yield event(1, summary())
        finally:
            await asyncio.sleep(0.01)
            ended.append(True)

    one = session(Solves())
    one._run = deaf  # pyright: ignore[reportPrivateUsage]
    begin(one)
    await settle()
    await one.gone(0.3)
    assert ended == [True] and not one.busy


async def test_a_turn_that_waits_for_a_slow_reader_can_be_ended() -> None:
    solves = Solves()
    solves.pad = 3000
    one = session(solves, log_bytes=4096)
    begin(one)
    one.connect(0)
    solves.let(2)
    await settle()
    assert solves.live == 1
    one.act(EndTurn())
    await until(lambda: not one.busy)
    assert one.conversation.turns[0].outcome is TurnOutcome.CUT_OFF
    assert one.conversation.turns[0].accounting is not None


async def test_a_turn_whose_summary_is_out_is_not_cut_off() -> None:
    solves = Solves()
    solves.pad = 3000
    one = session(solves, log_bytes=4096)
    begin(one)
    connection = one.connect(0)
    solves.let(3)
    await settle()
    connection.told = 3
    one._tell()  # pyright: ignore[reportPrivateUsage]
    await settle()
    one.act(EndTurn())
    await until(lambda: not one.busy)
    assert one.conversation.turns[0].outcome is TurnOutcome.UNSOLVED
