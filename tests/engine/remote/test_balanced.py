"""The balance itself, over members that do what they are told."""

import asyncio
import random
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.metrics import Metrics
from engine.remote.balanced import BalancedExecutor
from engine.remote.member import Balance, Member
from engine.remote.runs import FairQueue, Run
from executor import ExecutionCancelled, ExecutorClosed, InvalidProgram, SandboxInfo, SandboxUnavailable
from executor.types import Program, SnippetTest
from executor.verdict import Report, TestReport, Verdict
from tests.support.served import until

PROGRAM = Program(code="x", tests=(SnippetTest(code="x"),))
PASSED = Report(verdict=Verdict.PASSED, tests_total=1, weaknesses=("shared-uid",))


class Puppet(Member):
    """Holds what it is given."""

    def __init__(self, name: str, slots: int = 2, *, up: bool = True, runtimes: tuple[str, ...] = ("python",)) -> None:
        super().__init__(name)
        self.slots = slots
        self.most = 100
        self.given: list[Run] = []
        self.cancels: list[Run] = []
        self.closed = False
        self._up_at_start = up
        self._runtimes = runtimes
        self._balance: Balance | None = None

    async def start(self, balance: Balance) -> None:
        self._balance = balance
        if self._up_at_start:
            self.come()

    def come(self) -> None:
        weaknesses = (f"weak-{self.name}", "both")
        self.info = SandboxInfo(
            backend=f"nsjail+{self.name}", version="1", weaknesses=weaknesses, runtimes=self._runtimes
        )
        self.up = True
        self.balance.changed(self)

    @property
    def balance(self) -> Balance:
        assert self._balance is not None
        return self._balance

    def post(self, run: Run) -> None:
        self.runs.add(run)
        self.given.append(run)

    def cancel(self, run: Run) -> None:
        self.cancels.append(run)

    def take(self, run: Run) -> Run:
        self.runs.remove(run)
        return run

    def judge(self, run: Run, report: Report = PASSED) -> None:
        run.tell(TestReport(index=0, verdict=report.verdict))
        self.balance.judged(self, self.take(run), report)

    def go(self, *, blame: bool = True) -> None:
        self.up = False
        self.balance.changed(self)
        for run in list(self.runs):
            self.balance.lost(self, self.take(run), blame=blame)

    async def close(self) -> None:
        self.closed = True


async def test_runs_go_where_the_fewest_wait_for_each_slot() -> None:
    small, large = Puppet("small", 1), Puppet("large", 3)
    async with BalancedExecutor([small, large], Metrics()) as executor:
        tasks = [asyncio.create_task(executor.run(PROGRAM)) for _ in range(20)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (len(small.runs), len(large.runs)) == (3, 7), "two for each slot and one more; the others wait here"
        assert executor.stats().slots == 4
        assert executor.stats().busy == 4
        assert executor.stats().queue_depth == 16
        while small.runs or large.runs:
            for member in (small, large):
                for run in list(member.runs):
                    member.judge(run)
        reports = await asyncio.gather(*tasks)
        assert {report.weaknesses for report in reports} == {("shared-uid",)}
        assert len(small.given) + len(large.given) == 20
        assert executor.stats().executed == {"passed": 20}
    assert small.closed
    assert large.closed


async def test_what_is_known_of_all_is_the_weakest_of_each() -> None:
    async with BalancedExecutor([Puppet("a"), Puppet("b"), Puppet("c", up=False)], Metrics()) as executor:
        info = executor.info
        assert info.backend == "nsjail+a + nsjail+b"
        assert info.weaknesses == ("weak-a", "both", "weak-b")


async def test_a_language_that_not_every_executor_runs_is_refused_by_name() -> None:
    plain, rich = Puppet("a"), Puppet("b", runtimes=("cpp", "python"))
    async with BalancedExecutor([rich, plain], Metrics()) as executor:
        assert executor.info.runtimes == ("python",)
        with pytest.raises(InvalidProgram, match="cpp is not run by every executor; all of them run python"):
            await executor.run(Program(code="x", tests=PROGRAM.tests, language="cpp"))


async def test_groups_take_turns() -> None:
    only = Puppet("only", 1)
    async with BalancedExecutor([only], Metrics()) as executor:
        tasks = [asyncio.create_task(executor.run(PROGRAM, group=group)) for group in ["big"] * 9 + ["small"] * 2]
        await until(lambda: executor.stats().queue_depth == 10)
        while only.runs:
            only.judge(next(run for run in only.given if run in only.runs))
        await asyncio.gather(*tasks)
        order = [run.group for run in only.given]
        assert order[3:8] == ["big", "small", "big", "small", "big"]


async def test_a_lost_run_goes_first_to_another_and_three_losses_are_enough() -> None:
    members = [Puppet(name, 1) for name in "abcd"]
    async with BalancedExecutor(members, Metrics()) as executor:
        told: list[TestReport] = []
        task = asyncio.create_task(executor.run(PROGRAM, on_test=told.append))
        for place in range(3):
            await until(lambda place=place: bool(members[place].runs))
            (run,) = members[place].runs
            run.tell(TestReport(index=0, verdict=Verdict.PASSED))
            members[place].go()
        report = await task
        assert report.verdict is Verdict.SANDBOX_FAILURE
        assert "3 executors" in report.detail
        assert len(told) == 1
        assert not members[3].given


async def test_losses_without_blame_do_not_count() -> None:
    first, second = Puppet("a"), Puppet("b")
    async with BalancedExecutor([first, second], Metrics()) as executor:
        task = asyncio.create_task(executor.run(PROGRAM))
        for _ in range(4):
            for member in (first, second):
                await until(lambda member=member: bool(member.runs))
                member.go(blame=False)
                member.come()
        await until(lambda: bool(first.runs))
        first.judge(next(iter(first.runs)))
        assert (await task).verdict is Verdict.PASSED


async def test_patience_is_counted_from_the_moment_that_none_was_left() -> None:
    only = Puppet("a")
    async with BalancedExecutor([only], Metrics(), patience=0.4) as executor:
        lost = asyncio.create_task(executor.run(PROGRAM))
        await until(lambda: bool(only.runs))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        only.go()
        tasks = [lost, *(asyncio.create_task(executor.run(PROGRAM)) for _ in range(3))]
        assert {report.verdict for report in await asyncio.gather(*tasks)} == {Verdict.SANDBOX_FAILURE}
        assert time.monotonic() - began >= 0.4
        assert executor.stats().queue_depth == 0


async def test_a_run_waits_for_an_executor_that_comes_back() -> None:
    only = Puppet("a")
    async with BalancedExecutor([only], Metrics()) as executor:
        task = asyncio.create_task(executor.run(PROGRAM))
        await until(lambda: bool(only.runs))
        only.go()
        await asyncio.sleep(0.02)
        assert not task.done()
        only.come()
        only.judge(next(iter(only.runs)))
        assert (await task).verdict is Verdict.PASSED


async def test_cancels_wait_for_the_jail_and_never_blame_anybody() -> None:
    only = Puppet("a", 1)
    async with BalancedExecutor([only], Metrics()) as executor:
        tasks = [asyncio.create_task(executor.run(PROGRAM, group="g")) for _ in range(6)]
        await until(lambda: len(only.runs) == 3)
        cancel = asyncio.create_task(executor.cancel_group("g"))
        await until(lambda: len(only.cancels) == 3)
        # Those that waited here are gone at once.
        await until(lambda: sum(task.done() for task in tasks) == 3)
        await asyncio.sleep(0.02)
        assert not cancel.done()
        gone, crossed, lost = list(only.runs)
        only.balance.cancelled(only, only.take(gone))
        only.judge(crossed)
        only.balance.lost(only, only.take(lost), blame=True)
        await cancel
        found = await asyncio.gather(*tasks, return_exceptions=True)
        kinds = Counter(type(one) for one in found)
        assert kinds == {ExecutionCancelled: 5, Report: 1}


async def test_a_refusal_is_the_caller_s_to_hear() -> None:
    only = Puppet("a", 1)
    async with BalancedExecutor([only], Metrics()) as executor:
        task = asyncio.create_task(executor.run(PROGRAM))
        await until(lambda: bool(only.runs))
        only.balance.refused(only, only.take(next(iter(only.runs))), InvalidProgram("tests[0]: no"))
        with pytest.raises(InvalidProgram):
            await task


async def test_closing_ends_all_runs() -> None:
    only = Puppet("a", 1)
    executor = BalancedExecutor([only], Metrics())
    async with executor:
        tasks = [asyncio.create_task(executor.run(PROGRAM)) for _ in range(6)]
        await until(lambda: len(only.runs) == 3)
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(error) for error in found} == {ExecutorClosed}
    with pytest.raises(ExecutorClosed):
        await executor.run(PROGRAM)


async def test_a_start_without_anybody_says_why() -> None:
    one, two = Puppet("one", up=False), Puppet("two", up=False)
    two.trouble = "no route"
    with pytest.raises(SandboxUnavailable, match="two: no route"):
        async with BalancedExecutor([one, two], Metrics(), patience=0.05):
            pass
    assert one.closed
    assert two.closed


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9))
async def test_every_run_ends_once_whatever_members_do(seed: int) -> None:
    chance = random.Random(seed)
    members = [Puppet(name, chance.randint(1, 3)) for name in "abc"]
    ends: Counter[int] = Counter()
    tests: Counter[int] = Counter()

    async def one(executor: BalancedExecutor, number: int) -> None:
        try:
            await executor.run(PROGRAM, group=str(number % 3), on_test=lambda _: tests.update([number]))
        except ExecutionCancelled:
            pass
        finally:
            ends[number] += 1

    async with BalancedExecutor(members, Metrics()) as executor:
        tasks: list[asyncio.Task[None]] = []
        waits: list[asyncio.Task[None]] = []
        for step in range(120):
            member = chance.choice(members)
            runs = sorted(member.runs, key=member.given.index)
            match chance.randrange(8):
                case 0 | 1 | 2 if len(tasks) < 40:
                    tasks.append(asyncio.create_task(one(executor, len(tasks))))
                case 3 if runs:
                    member.judge(chance.choice(runs))
                case 4 if member.up:
                    for run in runs:
                        run.tell(TestReport(index=0, verdict=Verdict.PASSED))
                    member.go(blame=chance.random() < 0.3)
                case 5 if not member.up:
                    member.come()
                case 6 if step % 5 == 0:
                    waits.append(asyncio.create_task(executor.cancel_group(str(chance.randrange(3)))))
                case 7 if tasks:
                    chance.choice(tasks).cancel()
                case _:
                    pass
            await asyncio.sleep(0)
            for asked in [run for run in member.cancels if run in member.runs]:
                if chance.random() < 0.5:
                    member.balance.cancelled(member, member.take(asked))
        while not all(task.done() for task in tasks):
            for member in members:
                if not member.up:
                    member.come()
                for run in list(member.runs):
                    if run.cancelling:
                        member.balance.cancelled(member, member.take(run))
                    else:
                        member.judge(run)
            await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*waits)
        assert all(ends[number] <= 1 for number in range(len(tasks)))
        assert all(tests[number] <= 1 for number in range(len(tasks)))
        assert executor.stats().queue_depth == 0
        assert executor.stats().busy == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())))
async def test_the_queue_loses_and_doubles_nothing(moves: list[tuple[str, bool]]) -> None:
    queue = FairQueue()
    inside: list[Run] = []
    for group, first in moves:
        if first and inside:
            gone = inside[len(inside) // 2]
            assert queue.remove(gone)
            assert not queue.remove(gone)
            inside.remove(gone)
        else:
            run = Run(PROGRAM, group, None, asyncio.get_running_loop().create_future())
            queue.put(run, first=first)
            inside.append(run)
        assert len(queue) == len(inside) == len(list(queue))
    assert {id(queue.take()) for _ in range(len(queue))} == {id(run) for run in inside}
    assert len(queue) == 0
