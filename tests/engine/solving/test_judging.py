"""Which candidates run, which wait and which are set back, whatever happens in whatever order."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.solving import judging
from engine.solving.candidates import Entry
from engine.solving.flight import Flight
from engine.solving.judging import Done, Judged, Judging, Posted, Slow
from engine.solving.spans import SolveSpans
from engine.solving.spec import CompletionPrompt, HeldTest, ReturnPolicy, Sampling, SolveSpec
from executor.passing import MOST_SLOW
from executor.types import SnippetTest
from executor.verdict import Report, TestReport, Verdict
from tests.support.hand_loop import HandLoop
from tests.support.held_parts import HeldExecutor, Run

SLOTS = 1


class Sandbox(HeldExecutor):
    """One that tells of the first test at once."""

    async def run(self, program: Any, *, group: str = "", on_test: Any = None) -> Report:
        on_test(TestReport(index=0, verdict=Verdict.PASSED))
        return await super().run(program, group=group, on_test=on_test)


class Judge:
    """Candidates of one solve, its inbox read at once."""

    def __init__(self, loop: HandLoop, policy: ReturnPolicy) -> None:
        self.loop = loop
        self.sandbox = Sandbox(loop)
        self.posted: list[Posted] = []
        self.entries: list[Entry] = []
        self.ended = Counter[int]()
        self.cancelled = False
        tests = (HeldTest(SnippetTest(code="first")), HeldTest(SnippetTest(code="second")))
        spec = SolveSpec(
            request_id="r",
            prompt=CompletionPrompt("p"),
            tests=tests,
            sampling=Sampling(k=1, seed=1),
            return_policy=policy,
        )
        self.judging = Judging(
            spec, executor=self.sandbox, slots=SLOTS, group="g", post=self.post, watch=(SolveSpans(None), Flight("m"))
        )

    def post(self, happening: Posted) -> None:
        """As a solve reads it."""
        self.posted.append(happening)
        match happening:
            case Slow():
                self.judging.slow(happening.index)
            case Judged():
                self.entries[happening.index].report = happening.report
            case Done():
                self.ended[happening.index] += self.judging.done(happening.index)
            case _:
                pass
        if not self.cancelled:
            self.loop.call_soon(self.judging.launch)

    @property
    def running(self) -> list[Run]:
        """Those that can end with a report."""
        return [run for run in self.sandbox.runs if not (run.cancels or run.ends)]

    @property
    def leaving(self) -> list[Run]:
        """Those whose jails have yet to go."""
        return [run for run in self.sandbox.runs if run.cancels and not run.gone.done()]

    def write(self) -> None:
        """A candidate is complete."""
        index = len(self.entries)
        self.entries.append(
            Entry(
                index=index, code=f"x = {index}", model="m", finish_reason=None, generated_tokens=1, mean_logprob=None
            )
        )
        self.judging.pending.append(self.entries[-1])
        self.judging.launch()

    def wait(self) -> None:
        """Half a second goes by."""
        self.loop.now += 0.5
        for timer in [timer for timer in self.loop.timers if timer.when() <= self.loop.now]:
            self.loop.fire(timer)

    def fail(self, run: Run) -> None:
        """A run comes to its verdict."""
        tests = (TestReport(index=1, verdict=Verdict.WRONG_ANSWER),)
        run.report.set_result(Report(verdict=Verdict.WRONG_ANSWER, tests=tests, tests_total=2))

    def check(self) -> None:
        """What holds at any time."""
        under_way = len(self.running) + len(self.leaving)
        assert under_way <= SLOTS + 2 + MOST_SLOW
        assert max(self.ended.values(), default=0) <= 1
        told = Counter((one.index, one.result.index) for one in self.posted if isinstance(one, judging.Tested))
        assert max(told.values(), default=0) <= 1, "the result of a test was told twice"
        waiting = len(self.entries) - sum(self.ended.values()) - under_way
        assert waiting == len(self.judging.pending) + len(self.judging._later)  # pyright: ignore[reportPrivateUsage]
        assert self.cancelled or not waiting or under_way >= min(MOST_SLOW, SLOTS + 2)


@pytest.fixture
def loop() -> Iterator[HandLoop]:
    made = HandLoop()
    yield made
    # What still runs is told to end, and then no longer waited for, until nothing new begins either.
    while tasks := asyncio.all_tasks(made):
        for task in tasks:
            task.cancel()
        made.settle()
    made.close()


@settings(max_examples=150)
@given(st.data())
def test_every_candidate_ends_once_and_none_is_kept_waiting_for_good(data: st.DataObject) -> None:
    loop = HandLoop()
    judge = Judge(loop, data.draw(st.sampled_from(ReturnPolicy)))

    async def happen() -> None:
        match data.draw(st.sampled_from(["write", "write", "wait", "wait", "fail", "gone", "cancel"])):
            case "write" if not judge.cancelled:
                judge.write()
            case "wait":
                judge.wait()
            case "fail" if judge.running:
                judge.fail(data.draw(st.sampled_from(judge.running)))
            case "gone" if judge.leaving:
                judge.leaving[0].gone.set_result(None)
            case "cancel" if not data.draw(st.integers(0, 9)):
                judge.cancelled = True
                judge.judging.cancel(keep_passed=False)
            case _:
                pass

    def turn(what: Any) -> None:
        loop.create_task(what)
        loop.settle()
        judge.check()

    async def finish() -> None:
        for run in judge.leaving:
            run.gone.set_result(None)
        for run in judge.running:
            judge.fail(run)

    for _ in range(data.draw(st.integers(1, 60))):
        turn(happen())
    while judge.judging.running:
        turn(finish())
    assert not judge.running and not judge.leaving
    left = {entry.index for entry in judge.judging.pending}
    assert set(judge.ended) | left == set(range(len(judge.entries)))
    assert judge.cancelled or not left
    for entry in judge.entries:
        assert judge.cancelled or (entry.report is not None and entry.report.verdict is Verdict.WRONG_ANSWER)
    assert not loop.timers
    loop.close()


@pytest.mark.parametrize("policy", [ReturnPolicy.FIRST_PASS, ReturnPolicy.ALL])
def test_long_runs_are_set_back_for_others_and_each_time_later(loop: HandLoop, policy: ReturnPolicy) -> None:
    judge = Judge(loop, policy)

    async def fill() -> None:
        for _ in range(SLOTS + 2 + MOST_SLOW):
            judge.write()

    async def wait() -> None:
        judge.wait()

    def setbacks(after: Any) -> int:
        before = len(judge.leaving)
        loop.create_task(after())
        loop.settle()
        return len(judge.leaving) - before

    async def write() -> None:
        judge.write()

    async def fail() -> None:
        for run in judge.running:
            judge.fail(run)

    async def leave() -> None:
        for run in judge.leaving:
            run.gone.set_result(None)

    assert setbacks(fill) == 0
    assert setbacks(wait) == setbacks(wait) == setbacks(wait) == 0, "nobody waits"
    if policy is ReturnPolicy.ALL:
        assert setbacks(write) == 0, "all of them are wanted"
        return
    assert setbacks(write) == 1 == len(judge.leaving)
    first = judge.sandbox.runs.index(judge.leaving[0])
    assert first == 0, "it was not the one that has run for longest"
    assert setbacks(leave) == -1
    assert len(judge.sandbox.runs) == SLOTS + 2 + MOST_SLOW + 1
    # The others go the same way, one for each that is written.
    for _ in range(SLOTS + 2 + MOST_SLOW):
        assert setbacks(wait) == 0
        assert setbacks(write) == 1
        assert setbacks(leave) == -1
    # They run again when nobody waits, and then those that came after them are set back first.
    loop.create_task(fail())
    loop.settle()
    again = len(judge.sandbox.runs)
    assert len(judge.running) == MOST_SLOW
    for _ in range(SLOTS + 2):
        assert setbacks(write) == 0
    assert setbacks(wait) == 0
    assert setbacks(write) == 1
    assert judge.sandbox.runs.index(judge.leaving[0]) == again
