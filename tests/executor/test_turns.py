"""Whose turn it is: fair groups, and long runs that step aside."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.pool import Turn, Turns


@pytest.fixture(autouse=True)
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is long when a test says so."""
    monkeypatch.setattr("executor.pool.LONG_SECONDS", 3600)


async def test_groups_take_turns_whatever_each_has_queued() -> None:
    turns = Turns(slots=1, queue_limit=100)
    order: list[str] = []

    async def one(group: str) -> None:
        turn = await turns.take(group)
        order.append(group)
        await asyncio.sleep(0)
        turns.give(turn)

    first = await turns.take("first")
    tasks = [asyncio.create_task(one(group)) for group in "aaaaaabbc"]
    await asyncio.sleep(0)
    assert turns.depth == 9
    tasks[1].cancel()
    await asyncio.sleep(0)
    turns.give(first)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert "".join(order) == "abcabaaa"
    assert (turns.busy, turns.aside, turns.depth) == (0, 0, 0)


@settings(max_examples=30)
@given(st.data())
async def test_long_runs_step_aside_for_the_others(data: st.DataObject) -> None:
    """Whatever begins, gets long or ends: nobody waits while there is room, and never more run than may."""
    slots, most_aside = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 5))
    turns = Turns(slots=slots, queue_limit=100)
    turns.most_aside = most_aside
    waiting: list[asyncio.Task[Turn]] = []
    running: list[Turn] = []
    long: set[Turn] = set()
    told: list[Turn] = []
    for _ in range(data.draw(st.integers(1, 40))):
        match data.draw(st.sampled_from(["begin", "long", "end", "give up"])):
            case "begin":
                waiting.append(asyncio.create_task(turns.take(data.draw(st.sampled_from("ab")))))
            case "long":
                if short := [turn for turn in running if turn not in long]:
                    turn = data.draw(st.sampled_from(short))
                    assert turn.timer is not None
                    turn.timer.cancel()
                    turn.on_long = lambda turn=turn: told.append(turn)
                    turns._is_long(turn)  # pyright: ignore[reportPrivateUsage]  # as the clock would
                    long.add(turn)
                    assert told[-1] is turn
            case "end" if running:
                turns.give(running.pop(data.draw(st.integers(0, len(running) - 1))))
            case "give up" if waiting:
                waiting.pop(data.draw(st.integers(0, len(waiting) - 1))).cancel()
            case _:
                pass
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running += [task.result() for task in waiting if task.done()]
        waiting = [task for task in waiting if not task.done()]
        assert turns.aside == sum(turn.aside for turn in running) <= most_aside
        assert turns.busy == len(running) - turns.aside <= slots
        assert turns.depth == len(waiting)
        assert not waiting or turns.busy == slots
    for task in waiting:
        task.cancel()
    for turn in running:
        turns.give(turn)
    await asyncio.sleep(0)
    assert (turns.busy, turns.aside, turns.depth) == (0, 0, 0)
