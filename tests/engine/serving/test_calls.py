"""The register of live calls."""

import asyncio
from dataclasses import replace

import pytest

from engine.serving.callers import LOCAL
from engine.serving.calls import LiveCalls
from engine.serving.status import Unauthenticated
from engine.solving.errors import Unavailable
from tests.support.scripted_solver import forever
from tests.support.served import until


@pytest.fixture(autouse=True)
def _caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.serving.calls.current_caller", lambda: LOCAL)


async def test_the_wait_is_for_all_of_them() -> None:
    calls = LiveCalls()
    ends = [asyncio.Event(), asyncio.Event()]

    async def call(end: asyncio.Event) -> None:
        async with calls.one():
            await end.wait()

    tasks = [asyncio.create_task(call(end)) for end in ends]
    await until(lambda: len(calls) == 2)
    ends[0].set()
    await tasks[0]
    assert len(calls) == 1
    assert not await calls.wait(0.02)
    ends[1].set()
    assert await calls.wait(5)
    assert len(calls) == 0


async def test_a_closed_register_takes_no_call() -> None:
    calls = LiveCalls()
    calls.closing.set()
    with pytest.raises(Unavailable) as caught:
        async with calls.one():
            pass
    assert caught.value.reason == "DRAINING"


async def test_ended_calls_end_as_unavailable_and_their_tasks_live_on() -> None:
    calls = LiveCalls()
    reasons: list[str] = []

    async def call() -> None:
        try:
            async with calls.one():
                await forever()
        except Unavailable as error:
            reasons.append(error.reason)
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(call())
        await until(lambda: len(calls) == 3)
        calls.end_all()
        calls.end_all()
    assert reasons == ["DRAINING"] * 3


async def test_errors_of_the_work_itself_pass_through() -> None:
    calls = LiveCalls()
    for error in (TimeoutError("of the work"), ValueError("of the work"), asyncio.CancelledError()):
        with pytest.raises(type(error)):
            async with calls.one():
                raise error
    assert await calls.wait(0)


async def test_a_cancel_from_outside_stays_a_cancel() -> None:
    calls = LiveCalls()

    async def call() -> None:
        async with calls.one():
            await forever()

    task = asyncio.create_task(call())
    await until(lambda: len(calls) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_callers_calls_end_as_it_is_told_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = LiveCalls()
    ended: list[str] = []

    async def call(key: str) -> None:
        monkeypatch.setattr("engine.serving.calls.current_caller", lambda: replace(LOCAL, key=key))
        try:
            async with calls.one():
                await forever()
        except Unauthenticated as error:
            ended.append(f"{key} {error.reason}")

    tasks = []
    for key in ("a", "b"):
        tasks.append(asyncio.create_task(call(key)))
        await asyncio.sleep(0)
    calls.end_those({"a": Unauthenticated("TOKEN_REVOKED", "gone"), "c": Unauthenticated("TOKEN_REVOKED", "gone")})
    await tasks[0]
    assert (ended, len(calls)) == (["a TOKEN_REVOKED"], 1)
    tasks[1].cancel()
    await asyncio.wait(tasks)
