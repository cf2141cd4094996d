"""All sessions of a server: whose they are, how many there may be, and how one that was left alone ends."""

import pytest

from engine.config_sessions import SessionSettings
from engine.solving.errors import SessionLimit, SessionNotFound
from engine.solving.session import Session
from engine.solving.sessions import Sessions
from tests.support.served import until
from tests.support.session_script import Solves, begin, session, settle


def opened(sessions: Sessions[Session], owner: str, solves: Solves | None = None) -> Session:
    def make(name: str) -> Session:
        made = session(solves or Solves())
        made.name = name
        return made

    return sessions.open(owner, make)


async def test_a_session_is_its_owner_s_alone() -> None:
    sessions = Sessions[Session](SessionSettings())
    one = opened(sessions, "me")
    assert sessions.find("me", one.name) is one
    for owner, name in (("you", one.name), ("me", "other")):
        with pytest.raises(SessionNotFound):
            sessions.find(owner, name)
    await sessions.close()


async def test_whoever_has_too_many_loses_the_one_that_was_left_first() -> None:
    sessions = Sessions[Session](SessionSettings(most_per_caller=2))
    first, second = opened(sessions, "me"), opened(sessions, "me")
    ends = [sessions.connect(one, 0) for one in (first, second)]
    with pytest.raises(SessionLimit, match="this caller has 2 sessions"):
        opened(sessions, "me")
    opened(sessions, "you")
    sessions.disconnect(second, ends[1])
    sessions.disconnect(first, ends[0])
    opened(sessions, "me")
    assert sessions.find("me", first.name) is first
    with pytest.raises(SessionNotFound):
        sessions.find("me", second.name)
    await sessions.close()
    assert not len(sessions)


async def test_nobody_loses_a_session_to_another_caller() -> None:
    sessions = Sessions[Session](SessionSettings(most=1))
    mine = opened(sessions, "me")
    sessions.disconnect(mine, sessions.connect(mine, 0))
    with pytest.raises(SessionLimit, match="there are 1 sessions"):
        opened(sessions, "you")
    assert sessions.find("me", mine.name) is mine
    await sessions.close()


async def test_a_session_left_alone_ends_its_turn() -> None:
    solves = Solves()
    sessions = Sessions[Session](SessionSettings(linger_seconds=0.02, seconds_to_live=3600))
    one = opened(sessions, "me", solves)
    begin(one)
    connection = sessions.connect(one, 0)
    await settle()
    assert solves.live == 1
    sessions.disconnect(one, connection)
    await until(lambda: not solves.live)
    assert sessions.find("me", one.name) is one
    await sessions.close()


async def test_a_session_left_alone_for_its_time_is_gone_with_its_turn() -> None:
    solves = Solves()
    sessions = Sessions[Session](SessionSettings(linger_seconds=3600, seconds_to_live=0.02))
    one = opened(sessions, "me", solves)
    begin(one)
    sessions.disconnect(one, sessions.connect(one, 0))
    await until(lambda: not len(sessions))
    await until(lambda: not solves.live)


async def test_whoever_comes_back_in_time_loses_nothing() -> None:
    solves = Solves()
    sessions = Sessions[Session](SessionSettings(linger_seconds=3600, seconds_to_live=3600))
    one = opened(sessions, "me", solves)
    begin(one)
    sessions.disconnect(one, sessions.connect(one, 0))
    sessions.connect(sessions.find("me", one.name), 0)
    await settle()
    assert solves.live == 1
    await sessions.close()
    assert not solves.live
