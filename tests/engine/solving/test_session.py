"""A session as a state machine: whatever its client does, each turn ends once, and no message is lost or told twice."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.solving.errors import InvalidRequest, SessionEventsGone, SessionLimit, SessionSuperseded
from engine.solving.refine import EndSession, EndTurn, Feedback, Resample
from tests.support.session_script import Client, Solves, begin, session, settle

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("let"), st.integers(1, 6)),
        st.tuples(st.just("resample"), st.integers(1, 4)),
        st.tuples(st.sampled_from(["drop", "connect", "end_turn", "say", "passes", "fails", "seen"]), st.just(0)),
    ),
    max_size=40,
)


@given(steps=STEPS, ends=st.booleans())
@settings(max_examples=200, deadline=None)
def test_each_turn_ends_once_and_no_message_is_lost_or_told_twice(steps: list[tuple[str, int]], ends: bool) -> None:
    asyncio.run(_play(steps, ends))


async def _play(steps: list[tuple[str, int]], ends: bool) -> None:
    solves = Solves()
    one = session(solves)
    client = Client(one)
    begin(one)
    client.connect()
    for step, count in steps:
        match step:
            case "let":
                solves.let(count)
            case "resample":
                one.act(Resample(rounds=count))
            case "drop":
                await client.drop()
            case "connect" if client.connection is None:
                client.connect()
            case "end_turn":
                one.act(EndTurn())
            case "say":
                one.act(Feedback("more"), size=4)
            case "passes":
                solves.passes = not solves.passes
            case "fails":
                solves.fails = not solves.fails
            case "seen":
                one.seen(len(client.heard))
            case _:
                pass
        await settle()
        assert solves.live <= 1
    one.act(EndSession() if ends else EndTurn())
    if client.connection is None:
        client.connect()
    await settle()
    assert not one.busy
    assert not solves.live
    assert client.error is None
    _check(client.heard, over=ends)
    await client.drop()


def _check(heard: list[str], *, over: bool) -> None:
    """The grammar of a session: started, events, ended; and over, last of all."""
    open_turn, turns = 0, 0
    for place, text in enumerate(heard):
        kind, _, rest = text.partition(" ")
        match kind:
            case "started":
                assert not open_turn
                turns += 1
                open_turn = int(rest.split()[0])
                assert open_turn == turns
            case "event":
                assert open_turn
            case "ended":
                assert int(rest.split()[0]) == open_turn
                open_turn = 0
            case _:
                assert place == len(heard) - 1
    assert not open_turn
    assert (heard[-1] == "over") == over


async def test_every_order_has_its_turn_however_fast_they_come() -> None:
    solves = Solves()
    one = session(solves)
    client = Client(one)
    begin(one)
    for number in range(1, 5):
        one.act(Resample(), number=number)
    client.connect()
    solves.let(3)
    await settle()
    ends = [text for text in client.heard if text.startswith("ended")]
    assert ends == [*(f"ended {turn} cut_off" for turn in range(1, 5)), "ended 5 unsolved"]
    assert solves.begun == 1
    await client.drop()


async def test_a_reader_that_is_slow_makes_the_turn_wait() -> None:
    solves = Solves()
    solves.pad = 3000
    one = session(solves, log_bytes=4096)
    begin(one)
    connection = one.connect(0)
    solves.let(3)
    await settle()
    assert one.last == 3  # started, accepted and the large candidate; the summary waits
    replies = one.replies(connection)
    heard = [await anext(replies) for _ in range(5)]
    assert [data.split()[0] for data in heard] == [b"1", b"2", b"3", b"4", b"5"]


async def test_memory_is_bounded_with_nobody_there_and_what_is_gone_is_told() -> None:
    solves = Solves()
    solves.pad = 1000
    one = session(solves, log_bytes=8192, room=16384)
    begin(one, rounds=40)
    solves.let(1000)
    for _ in range(60):
        await settle()
        assert one.size <= 8192 + 16384 + 2048
    assert not one.busy
    with pytest.raises(SessionEventsGone) as gone:
        one.connect(0)
    client = Client(one, heard=["?"] * (gone.value.oldest - 1))
    client.connect()
    await settle()
    assert client.error is None
    assert client.heard[-1] == "ended 40 unsolved"
    assert any(turn.left_out for turn in one.conversation.turns)
    await client.drop()


async def test_the_newer_connection_takes_over() -> None:
    solves = Solves()
    one = session(solves)
    old, new = Client(one), Client(one)
    begin(one)
    old.connect()
    solves.let(1)
    await settle()
    new.connect()
    solves.let(2)
    await settle()
    assert isinstance(old.error, SessionSuperseded)
    assert len(old.heard) == 2
    assert new.heard[-1] == "ended 1 unsolved"
    assert not one.disconnect(old.connection) if old.connection else False
    assert one.connected
    await new.drop()
    assert not one.connected


async def test_actions_are_taken_in_order_and_once() -> None:
    one = session(Solves())
    begin(one)
    one.act(Feedback("a"), number=1, size=1)
    one.act(Feedback("a"), number=1, size=1)
    assert len(one.conversation.since) == 1
    with pytest.raises(InvalidRequest, match="number: is 3"):
        one.act(Feedback("c"), number=3, size=1)
    assert one.actions_taken == 1
    await one.gone(1)


async def test_turns_are_bounded() -> None:
    solves = Solves()
    one = session(solves, most_turns=3)
    client = Client(one)
    begin(one, rounds=50)
    client.connect()
    solves.let(30)
    await settle()
    assert Counter(text.split()[0] for text in client.heard)["ended"] == 3
    with pytest.raises(SessionLimit):
        one.act(Resample())
    await client.drop()
