"""The generator does not wait for those it asks, and counts every second that a call was late."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.load.arrivals import Call, Chooser
from benchmarks.load.calls import Answer
from benchmarks.load.generator import Generator, Target
from benchmarks.load.mix import Mix, mix_of
from engine.solving.errors import QueueFull
from engine.solving.spec import SolveSpec
from tests.support.scripted_solver import ScriptedSolver, Step, accepted, forever, passing_script
from tests.support.served import serving, until

PROBLEM = {"problem_id": "one", "completion": "def f():", "entry_point": "f", "tests": ["assert f() == 1"]}


def mix(**more: Any) -> Mix:
    return mix_of({"name": "a", "problems": [PROBLEM], **more})


def call(place: int, due: float = 0.0, cancel: float | None = None) -> Call:
    return Call(place=place, due=due, entry=0, problem=0, client=0, seed=place, cancel=cancel)


def behind(wait: Callable[[], Awaitable[Any]]) -> Any:
    """A passing candidate, after a wait."""

    def script(spec: SolveSpec) -> Iterable[Step]:
        first, *rest = passing_script(spec)
        return [first, wait, *rest]

    return script


@asynccontextmanager
async def generating(script: Any, asked: Mix) -> AsyncIterator[tuple[Generator, list[Answer], ScriptedSolver]]:
    solver = ScriptedSolver(script)
    answers: list[Answer] = []
    async with (
        serving(solver) as served,
        Generator(Target(address=str(served.front.bound[0])), asked, "test", answers.append) as generator,
    ):
        yield generator, answers, solver


async def test_calls_go_out_when_they_are_due_whatever_the_server_does() -> None:
    """A server that answers nothing until all forty calls are there."""
    gate = asyncio.Event()
    async with generating(behind(gate.wait), mix()) as (generator, answers, solver):
        run = asyncio.create_task(generator.open([call(n, n * 0.005) for n in range(40)], patience=60))
        await until(lambda: len(solver.specs) == 40)
        assert not answers
        assert generator.made == 40
        gate.set()
        await run
    assert [answer.end for answer in answers] == ["solved"] * 40


async def test_what_is_sent_late_is_late_from_when_it_was_due() -> None:
    async with generating(passing_script, mix()) as (generator, answers, _):
        await generator.open([call(0, -7.0)], patience=20)
    (answer,) = answers
    assert answer.sent >= 0
    assert answer.seconds >= 7.0 and (answer.pass_seconds or 0) >= 7.0
    assert not answer.within(6.9)


async def test_calls_that_never_end_are_given_up_and_counted() -> None:
    async with generating(lambda spec: [accepted(spec), forever], mix()) as (generator, answers, solver):
        await generator.open([call(0), call(1)], patience=3.0)  # in which both are accepted
        assert {answer.end for answer in answers} == {"unfinished"}
        assert all(answer.accepted and not answer.answered for answer in answers)
        await until(lambda: len(solver.ended) == 2)
    assert set(solver.ended) == {"cancelled"}


async def test_clients_cancel_as_the_mix_says() -> None:
    async with generating(lambda spec: [accepted(spec), forever], mix()) as (generator, answers, _):
        await generator.open([call(0, cancel=0.2)], patience=30)
    (answer,) = answers
    assert answer.end == "cancelled" and 0.2 <= answer.seconds < 20
    assert not answer.counts(20) and answer.counts(0.1)


async def test_deadlines_and_refusals_have_their_reasons() -> None:
    async with generating(lambda spec: [accepted(spec), forever], mix(timeout=0.2)) as (generator, answers, _):
        await generator.open([call(0)], patience=30)
    assert (answers[0].end, answers[0].code) == ("failed", "DEADLINE_EXCEEDED")
    async with generating(lambda spec: [QueueFull(3, 1.0)], mix()) as (generator, answers, _):
        await generator.open([call(0)], patience=30)
    assert (answers[0].end, answers[0].code, answers[0].reason) == ("failed", "RESOURCE_EXHAUSTED", "QUEUE_FULL")
    assert not answers[0].accepted


async def test_every_call_has_a_name_and_a_seed_of_its_own() -> None:
    async with generating(passing_script, mix()) as (generator, answers, solver):
        await generator.open([call(n) for n in range(5)], patience=20)
        assert sorted(spec.request_id for spec in solver.specs) == [f"test-{n}" for n in range(5)]
        assert sorted(spec.sampling.seed or 0 for spec in solver.specs) == list(range(5))
        assert {spec.client for spec in solver.specs} == {"a-0"}
    assert sorted(answer.id for answer in answers) == [f"test-{n}" for n in range(5)]
    async with generating(passing_script, mix(sampling={"seed": 9})) as (generator, _, solver):
        await generator.open([call(0)], patience=20)
        assert solver.specs[0].sampling.seed == 9


async def test_users_wait_for_their_answers() -> None:
    """All three are there at once, and never a fourth call beside theirs."""
    live: list[int] = []
    all_here = asyncio.Event()

    async def answer() -> None:
        live.append(solver.live)
        if solver.live == 3:
            all_here.set()
        await all_here.wait()
        await asyncio.sleep(0.05)

    async with generating(behind(answer), mix(clients=3)) as (generator, answers, solver):
        began = time.monotonic()
        await generator.closed(3, 0.0, 2.0, Chooser(mix(clients=3), 1), patience=60)
        assert time.monotonic() - began >= 2.0
    assert max(live) == 3
    assert len(answers) >= 6
    assert all(answer.due <= answer.sent for answer in answers)


async def test_users_do_not_hammer_a_server_that_refuses() -> None:
    async with generating(lambda spec: [QueueFull(3, 1.0)], mix()) as (generator, answers, _):
        await generator.closed(2, 0.0, 0.5, Chooser(mix(), 1), patience=20)
    assert len(answers) == 2


async def test_an_interrupted_run_leaves_nothing_behind() -> None:
    async with generating(lambda spec: [accepted(spec), forever], mix()) as (generator, answers, solver):
        run = asyncio.create_task(generator.open([call(0), call(1, 3600.0)], patience=3600))
        await until(lambda: solver.live == 1)
        run.cancel()
        await asyncio.wait([run], timeout=10)
        assert run.cancelled()
        assert [answer.end for answer in answers] == ["unfinished"]
