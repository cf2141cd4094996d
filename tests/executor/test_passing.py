"""The first that passes ends the race; siblings meet the deadliest test first."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from executor import (
    Executor,
    ExecutorClient,
    ExecutorConfig,
    Limits,
    Program,
    SnippetTest,
    StdioTest,
    Verdict,
    first_passing,
)
from executor.order import KillOrder

TESTS = (SnippetTest(code="assert f(2) == 4"),)
GOOD = Program(code="def f(x):\n    return 2 * x\n", tests=TESTS)
WRONG = Program(code="def f(x):\n    return x\n", tests=TESTS)
ENDLESS = Program(
    code="def f(x):\n    while True:\n        pass\n", tests=TESTS, limits=Limits(cpu_seconds=60, wall_seconds=600)
)


@pytest.mark.sandbox
@pytest.mark.parametrize("kind", [Executor, ExecutorClient])
async def test_the_first_pass_ends_all_others_and_the_stream(kind: type[Executor] | type[ExecutorClient]) -> None:
    taken: list[int] = []

    async def stream() -> AsyncIterator[Program]:
        for index in range(100):
            taken.append(index)
            yield WRONG if index < 2 else GOOD if index == 4 else ENDLESS
            await asyncio.sleep(0.01)

    async with kind(ExecutorConfig(slots=4, warm=4)) as executor:
        seen = [judged async for judged in first_passing(executor, stream())]
        assert seen[-1].index == 4 and seen[-1].report.verdict is Verdict.PASSED
        assert {judged.index for judged in seen[:-1]} <= {0, 1}
        assert len(taken) < 20
        if isinstance(executor, Executor):
            await executor.settled()
            stats = executor.stats()
            assert (stats.busy, stats.queue_depth, stats.jails_live - stats.idle) == (0, 0, 0)


@pytest.mark.sandbox
async def test_without_a_pass_every_program_is_reported_and_the_stream_is_not_outrun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("executor.passing.SLOW_SECONDS", 3600)  # none of them is slow, however slow this machine is
    ahead: list[int] = []
    done = 0

    async def stream() -> AsyncIterator[Program]:
        for _ in range(30):
            ahead.append(done)
            yield WRONG

    async with Executor(ExecutorConfig(slots=2, warm=2)) as executor:
        indices: list[int] = []
        async for judged in first_passing(executor, stream()):
            indices.append(judged.index)
            done += 1
        assert sorted(indices) == list(range(30))
        # The n-th program is asked for when no more than slots + 2 before it are unfinished (and one is held ready).
        assert all(index - finished <= 2 + 2 + 1 for index, finished in enumerate(ahead))


@pytest.mark.sandbox
async def test_endless_programs_do_not_keep_a_good_one_out_of_the_race() -> None:
    async with Executor(ExecutorConfig(slots=1, warm=1)) as executor, asyncio.timeout(120):
        # More of them than are taken at first, and fewer than may be slow.
        endless = [msgspec.structs.replace(ENDLESS, code=f"{ENDLESS.code}# {n}\n") for n in range(4)]
        seen = [judged async for judged in first_passing(executor, [*endless, GOOD])]
        assert [judged.index for judged in seen] == [4]


@pytest.mark.sandbox
async def test_an_abandoned_race_leaves_nothing() -> None:
    async with Executor(ExecutorConfig(slots=2, warm=2)) as executor:
        race = first_passing(executor, [WRONG, ENDLESS, ENDLESS, ENDLESS])
        assert (await anext(race)).report.verdict is Verdict.WRONG_ANSWER
        await race.aclose()
        assert executor.stats().busy == 0
        await executor.settled()


@pytest.mark.sandbox
async def test_an_error_of_the_stream_ends_the_race() -> None:
    def stream() -> "list[Program]":
        raise LookupError("no more")

    async def failing() -> AsyncIterator[Program]:
        yield ENDLESS
        stream()

    async with Executor(ExecutorConfig(slots=2, warm=2)) as executor:
        with pytest.raises(LookupError, match="no more"):
            _ = [judged async for judged in first_passing(executor, failing())]
        assert executor.stats().busy == 0


@pytest.mark.sandbox
async def test_siblings_meet_the_deadliest_test_first() -> None:
    """The count of tests that ran shows it: once test 3 has killed one, it kills the next ones alone."""
    tests = tuple(StdioTest(stdin=b"%d" % n, expected_stdout=b"%d" % (n * n if n == 3 else n)) for n in range(5))
    program = Program(code="print(input())", tests=tests, any_order=True)
    async with Executor(ExecutorConfig(slots=1, warm=1)) as executor:
        ran = [[test.index for test in (await executor.run(program)).tests] for _ in range(3)]
        assert ran == [[0, 1, 2, 3], [3], [3]]
        other = await executor.run(Program(code="print(input())", tests=tests[:4], any_order=True))
        assert [test.index for test in other.tests] == [0, 1, 2, 3]
        fixed = Program(code="print(input())", tests=tests)
        assert len((await executor.run(fixed)).tests) == 4


def test_the_order_is_stable_and_bounded() -> None:
    kills = KillOrder()
    tests = tuple(SnippetTest(code=f"assert f({n})") for n in range(4))
    assert kills.order(tests) == [0, 1, 2, 3]
    for index in (2, 2, 3):
        kills.note(tests, index)
    assert kills.order(tests) == [2, 3, 0, 1]
    assert kills.order(tests[:3]) == [0, 1, 2], "other tests, other counts"
    for number in range(2000):
        kills.note((SnippetTest(code=f"assert g({number})"),), 0)
    assert kills.order(tests) == [0, 1, 2, 3], "forgotten"
    assert len(kills._kills) == 1024  # pyright: ignore
