"""A solve from request to summary, over a scripted engine and executor: policies, ends, books."""

import asyncio
import contextlib
import random
import string
import time
from collections import Counter
from collections.abc import AsyncGenerator

import pytest
import structlog
from prometheus_client import generate_latest

from engine.exposition import read, total
from engine.metrics import Metrics
from engine.solving.errors import DeadlineExceeded, InvalidRequest, ModelNotFound, QueueFull, Unavailable, Unsupported
from engine.solving.events import (
    BranchEnded,
    BranchOutcome,
    BranchStarted,
    CandidateFinished,
    CandidateJudged,
    SolveEvent,
    TestFinished,
)
from engine.solving.solver import Solver
from engine.solving.spec import (
    Budget,
    ChatMessage,
    ChatPrompt,
    CompletionPrompt,
    EventOptions,
    HeldTest,
    InfillPrompt,
    ReturnPolicy,
    Sampling,
    SolveSpec,
)
from engine.solving.summary import SolveOutcome, Summary
from engine.text.infill import InfillForm
from executor.types import Program, SnippetTest
from executor.verdict import Report, Verdict
from tests.support.scripted_engine import FakeExecutor, Script, scripted_solver
from tests.support.served import until
from tests.support.watched_device import Device, Watched

TESTS = (HeldTest(SnippetTest(code="visible")),)
HELD_OUT = (*TESTS, HeldTest(SnippetTest(code="HELD"), hidden=True))
# Nothing in it comes again, so that no draft makes it short.
LONG = "".join(random.Random(1).choices(string.ascii_lowercase, k=900))

PROGRAMS = {
    "easy": {"x = 'PASS a'\n": 1.0, "x = 'FAIL b'\n": 1.0, "x = 'FAIL c'\n": 1.0},
    "hopeless": {"x = 'FAIL a'\n": 1.0, "x = 'FAIL b'\n": 1.0, "x = 'FAIL c'\n": 1.0},
    "one": {"x = 'PASS RIGHT'\n": 1.0},
    "wrong": {"x = 'PASS'\n": 1.0},
    "slow": {"x = 'PASS'\n": 1.0, "x = 'SLOW FAIL'\n": 5.0},
    "stuck": {"x = 'SLOW FAIL'\n": 1.0},
    "clogged": {f"x = 'SLOW FAIL {n}'\n": 3.0 for n in range(30)} | {f"y = 'PASS {LONG[:80]}'\n": 3.0},
    "long": {f"x = 'LONG FAIL {n}'\n": 1.0 for n in range(18)},
    "endless": {f"x = '{LONG}'\n": 1.0, f"y = '{LONG}'\n": 1.0},
    "race": {"PASS = 1\n": 1.0, f"FAIL = '{LONG}'\n": 3.0},
    "broken": {"x = 'BROKEN'\n": 1.0},
    "dies": {"x = 'DIES'\n": 1.0},
    "told\n\n": {"x = 'PASS'\n": 1.0},
    "\x01def f():\n\x02\nPASS = f()\n\x03": {"    return 1\n": 1.0, "    return 2\n\nPASS = f()\n": 2.0},
    "layout": {"x = 'PASS'\n": 1.0, "x  =  'PASS'\n": 1.0, "x='PASS'\n": 1.0},
}


def spec(name: str, *, k: int = 12, tests: tuple[HeldTest, ...] = TESTS, **more: object) -> SolveSpec:
    sampling = Sampling(k=k, seed=int(more.pop("seed", 5)), top_p=1.0, **more.pop("sampling", {}))  # type: ignore
    return SolveSpec(
        request_id=f"test-{name}",
        prompt=CompletionPrompt(name),
        tests=tests,
        sampling=sampling,
        events=EventOptions(branches=True, test_results=True),
        **more,  # type: ignore[arg-type]
    )


@contextlib.asynccontextmanager
async def solver_over(
    script: Script | None = None,
    executor: FakeExecutor | None = None,
    *,
    seconds: float = 0.0,
    step: float = 0.0,
    rows: int = 16,
    pages: int = 4000,
    waiting: int = 64,
) -> AsyncGenerator[tuple[Solver, FakeExecutor, Script]]:
    script = script or Script(PROGRAMS, pages=pages, step_seconds=step)
    executor = executor or FakeExecutor(seconds)
    solver = scripted_solver(script, executor, rows=rows, waiting=waiting)
    await solver.start()
    try:
        yield solver, executor, script
    finally:
        await solver.close()


async def collect(solver: Solver, asked: SolveSpec, deadline: float | None = 60.0) -> list[SolveEvent]:
    return [event async for event in solver.solve(asked, deadline=deadline)]


def summary_of(events: list[SolveEvent]) -> Summary:
    found = [event.body for event in events if isinstance(event.body, Summary)]
    assert len(found) == 1 and isinstance(events[-1].body, Summary), "exactly one summary, and it is last"
    return found[0]


async def nothing_left(solver: Solver, executor: FakeExecutor) -> None:
    """Rows, jails and pages of all solves are gone before long."""

    def nothing() -> bool:
        load = solver.load()
        left = load.solves_running + load.solves_waiting + load.branches_running
        return not left and load.kv_cache_usage == 0 and not executor.running

    await until(nothing)


async def test_first_pass_ends_everything() -> None:
    async with solver_over(step=0.002) as (solver, executor, _):
        events = await collect(solver, spec("slow", k=8))
        summary = summary_of(events)
        assert summary.outcome is SolveOutcome.SOLVED
        assert [c.code for c in summary.candidates] == ["x = 'PASS'\n"]
        started = {e.body.branch for e in events if isinstance(e.body, BranchStarted)}
        ended = [e.body.branch for e in events if isinstance(e.body, BranchEnded)]
        assert sorted(ended) == sorted(started), "each branch ends exactly once"
        judged = [e.body.candidate for e in events if isinstance(e.body, CandidateJudged)]
        finished = [e.body.index for e in events if isinstance(e.body, CandidateFinished)]
        assert sorted(c.index for c in judged) == sorted(finished), "each candidate is judged exactly once"
        books = summary.accounting
        assert books.samples_finished + books.samples_cut_off == books.samples_started <= 8
        assert books.candidates_executed <= books.candidates_finished
        assert books.time_to_first_pass is not None
        await nothing_left(solver, executor)


async def test_endless_candidates_hold_up_neither_the_sandbox_nor_the_drawing() -> None:
    async with solver_over() as (solver, executor, _):
        summary = summary_of(await collect(solver, spec("clogged", k=250)))
        assert [c.code for c in summary.candidates] == executor.judged
        assert summary.candidates[0].index > executor.slots + 8, "more stood before it than run at a time"
        await nothing_left(solver, executor)


@pytest.mark.parametrize("executions", [None, 14])
async def test_candidates_that_were_set_back_are_judged_in_the_end(executions: int | None) -> None:
    async with solver_over() as (solver, executor, _):
        asked = spec("long", k=250, budget=Budget(executions=executions))
        events = await collect(solver, asked)
        outcome = SolveOutcome.EXHAUSTED if executions is None else SolveOutcome.BUDGET_EXECUTIONS
        assert summary_of(events).outcome is outcome
        judged = [e.body.candidate for e in events if isinstance(e.body, CandidateJudged)]
        verdicts = Counter(candidate.report.verdict for candidate in judged if candidate.report)
        expected = {Verdict.WRONG_ANSWER: 18} if executions is None else {Verdict.WRONG_ANSWER: 14, Verdict.SKIPPED: 4}
        assert verdicts == expected
        assert len({candidate.index for candidate in judged}) == len(judged) == 18
        assert executor.cancelled > 0, "some were set back"
        tests = [(e.body.index, e.body.result.index) for e in events if isinstance(e.body, TestFinished)]
        assert len(tests) == len(set(tests)) == expected[Verdict.WRONG_ANSWER]
        await nothing_left(solver, executor)


async def test_siblings_are_cut_off_in_mid_flight() -> None:
    async with solver_over(step=0.003) as (solver, executor, _):
        events = await collect(solver, spec("race", k=8))
        summary = summary_of(events)
        assert summary.outcome is SolveOutcome.SOLVED
        outcomes = [e.body.outcome for e in events if isinstance(e.body, BranchEnded)]
        assert BranchOutcome.CUT_OFF in outcomes
        assert summary.accounting.samples_cut_off > 0
        assert summary.accounting.wasted_tokens > 0
        await nothing_left(solver, executor)


async def test_exhausted_is_an_answer() -> None:
    async with solver_over() as (solver, executor, _):
        summary = summary_of(await collect(solver, spec("hopeless")))
        assert summary.outcome is SolveOutcome.EXHAUSTED
        assert summary.candidates == ()
        assert summary.escalation.recommended
        assert summary.accounting.samples_finished == 12
        await nothing_left(solver, executor)


async def test_equal_programs_are_judged_once_and_count_for_all() -> None:
    async with solver_over() as (solver, executor, _):
        events = await collect(solver, spec("layout", k=20, return_policy=ReturnPolicy.ALL))
        summary = summary_of(events)
        assert len(executor.judged) == len(summary.candidates) == 1
        assert summary.candidates[0].samples == tuple(range(20))
        outcomes = [e.body.outcome for e in events if isinstance(e.body, BranchEnded)]
        assert sorted(outcomes) == ["duplicate", "duplicate", "finished"]
        assert summary.accounting.samples_passed == 20


async def test_all_and_best() -> None:
    async with solver_over() as (solver, _, __):
        everything = summary_of(await collect(solver, spec("easy", k=30, return_policy=ReturnPolicy.ALL)))
        assert everything.outcome is SolveOutcome.SOLVED
        assert len(everything.candidates) == 3
        assert everything.accounting.samples_finished == 30
        assert sum(len(c.samples) for c in everything.candidates) == 30
        best = summary_of(await collect(solver, spec("easy", k=30, return_policy=ReturnPolicy.BEST)))
        assert "PASS" in best.candidates[0].code
        assert best.candidates[0].report is not None
        assert {c.code for c in best.candidates} == {c.code for c in everything.candidates}


@pytest.mark.parametrize(("name", "held_out"), [("one", Verdict.PASSED), ("wrong", Verdict.WRONG_ANSWER)])
async def test_hidden_tests_are_told_and_never_decide(name: str, held_out: Verdict) -> None:
    async with solver_over() as (solver, _, __):
        summary = summary_of(await collect(solver, spec(name, k=3, tests=HELD_OUT)))
        assert summary.outcome is SolveOutcome.SOLVED
        winner = summary.candidates[0]
        assert winner.report is not None and winner.report.verdict is Verdict.PASSED
        assert winner.held_out is not None and winner.held_out.verdict is held_out
        assert summary.escalation.recommended is (held_out is not Verdict.PASSED)


class SlowWithHidden(FakeExecutor):
    """Takes half a minute for hidden tests, and no time for visible ones."""

    async def run(self, program: Program, *, group: str = "", on_test: object = None) -> Report:
        self.seconds = 30.0 if any("HELD" in getattr(test, "code", "") for test in program.tests) else 0.0
        return await super().run(program, group=group, on_test=on_test)


async def test_hidden_tests_end_with_the_deadline_and_the_pass_stands() -> None:
    async with solver_over(executor=SlowWithHidden()) as (solver, executor, _):
        asked = spec("one", k=1, tests=HELD_OUT, budget=Budget(wall_seconds=1.5))
        began = asyncio.get_running_loop().time()
        summary = summary_of(await collect(solver, asked))
        assert summary.outcome is SolveOutcome.SOLVED
        assert summary.candidates[0].held_out is None
        assert asyncio.get_running_loop().time() - began < 20
        await nothing_left(solver, executor)


async def test_an_engine_stuck_in_a_step_does_not_hold_the_deadline() -> None:
    script = Watched(Device(), "one", PROGRAMS, step_seconds=0.01)
    async with solver_over(script) as (solver, executor, _):
        solving = asyncio.create_task(collect(solver, spec("endless"), deadline=0.5))
        await until(script.entered.is_set)
        script.let.clear()
        began = asyncio.get_running_loop().time()
        with pytest.raises(DeadlineExceeded):
            await solving
        assert asyncio.get_running_loop().time() - began < 20
        script.let.set()
        assert not executor.running


async def test_the_seed_is_returned_and_repeats_the_solve() -> None:
    async with solver_over() as (solver, _, __):
        policy = ReturnPolicy.ALL
        drawn = spec("easy", k=9, return_policy=policy, seed=0)
        free = SolveSpec(
            request_id="a", prompt=drawn.prompt, tests=TESTS, sampling=Sampling(k=9, top_p=1.0), return_policy=policy
        )
        first = summary_of(await collect(solver, free))
        again = summary_of(await collect(solver, spec("easy", k=9, return_policy=policy, seed=first.seed)))
        other = summary_of(await collect(solver, free))
        assert {c.code: c.samples for c in first.candidates} == {c.code: c.samples for c in again.candidates}
        assert other.seed != first.seed


async def test_cancelling_leaves_nothing() -> None:
    async with solver_over(seconds=30.0, step=0.002) as (solver, executor, _):
        for name in ("endless", "easy"):
            stream = solver.solve(spec(name), deadline=None)
            async for event in stream:
                if isinstance(event.body, BranchStarted if name == "endless" else CandidateFinished):
                    break
            await asyncio.sleep(0.05)
            await stream.aclose()
            await nothing_left(solver, executor)


@pytest.mark.parametrize("name", ["endless", "stuck"])
async def test_the_deadline_ends_drawing_and_judging(name: str) -> None:
    async with solver_over(step=0.01) as (solver, executor, _):
        with pytest.raises(DeadlineExceeded) as caught:
            await collect(solver, spec(name, k=4), deadline=1.0)
        assert caught.value.reason == "DEADLINE_RUNNING"
        await nothing_left(solver, executor)


async def test_a_deadline_in_the_queue_is_told_apart() -> None:
    async with solver_over(step=0.01, rows=1) as (solver, executor, script):
        first = asyncio.create_task(collect(solver, spec("endless", k=1)))
        await until(lambda: solver.load().solves_running == 1)
        with pytest.raises(DeadlineExceeded) as caught:
            await collect(solver, spec("easy"), deadline=0.2)
        assert caught.value.reason == "DEADLINE_IN_QUEUE"
        first.cancel()
        await asyncio.wait([first])
        await nothing_left(solver, executor)
        assert script.steps


@pytest.mark.parametrize(
    ("budget", "outcome"),
    [
        (Budget(rows=40), SolveOutcome.BUDGET_ROWS),
        (Budget(generated_tokens=60), SolveOutcome.BUDGET_TOKENS),
        (Budget(wall_seconds=0.2), SolveOutcome.BUDGET_TIME),
    ],
)
async def test_budgets_end_with_a_summary(budget: Budget, outcome: SolveOutcome) -> None:
    async with solver_over(step=0.005) as (solver, executor, _):
        summary = summary_of(await collect(solver, spec("endless", k=4, budget=budget)))
        assert summary.outcome is outcome
        await nothing_left(solver, executor)


async def test_the_budget_of_executions() -> None:
    async with solver_over() as (solver, executor, _):
        summary = summary_of(await collect(solver, spec("hopeless", k=30, budget=Budget(executions=2))))
        assert summary.outcome is SolveOutcome.BUDGET_EXECUTIONS
        assert summary.accounting.candidates_executed == len(executor.judged) == 2


@pytest.mark.parametrize("name", ["broken", "dies"])
async def test_a_failing_sandbox_is_an_error_not_an_answer(name: str) -> None:
    async with solver_over() as (solver, executor, _):
        with pytest.raises(Unavailable) as caught:
            await collect(solver, spec(name))
        assert caught.value.reason == "SANDBOX_UNAVAILABLE"
        await nothing_left(solver, executor)


async def test_an_engine_that_dies_ends_its_solves_and_comes_back() -> None:
    async with solver_over(step=0.01) as (solver, executor, script):
        changes: list[str] = []
        solver.on_status(changes.append)
        solving = asyncio.create_task(collect(solver, spec("endless")))
        await until(lambda: solver.load().branches_running > 0)
        script.fail = True
        with pytest.raises(Unavailable) as caught:
            await solving
        assert caught.value.reason == "ENGINE_RESTARTING"
        await until(lambda: solver.status == "ready")
        assert changes == ["failed", "ready"]
        assert summary_of(await collect(solver, spec("one"))).outcome is SolveOutcome.SOLVED
        await nothing_left(solver, executor)


async def test_the_bounded_queue_and_other_refusals() -> None:
    async with solver_over(step=0.01, rows=1, waiting=2) as (solver, executor, _):
        tasks: list[asyncio.Task[list[SolveEvent]]] = []
        for _ in range(3):
            tasks.append(asyncio.create_task(collect(solver, spec("endless", k=1))))
            # The first one has begun before the others fill the queue.
            await until(lambda: (load := solver.load()).solves_running == 1 == len(tasks) - load.solves_waiting)
        with pytest.raises(QueueFull) as full:
            await collect(solver, spec("easy"))
        assert full.value.retry_after > 0
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await nothing_left(solver, executor)
        with pytest.raises(InvalidRequest, match="leave no room"):
            await collect(solver, spec("easy" + "x" * 2100))
        with pytest.raises(InvalidRequest, match="max_new_tokens"):
            await collect(solver, spec("easy", sampling={"max_new_tokens": 1999}))
        with pytest.raises(ModelNotFound):
            await collect(solver, spec("easy", model="other"))
        chat = ChatPrompt((ChatMessage("user", "a"), ChatMessage("assistant", "b"), ChatMessage("user", "easy")))
        with pytest.raises(Unsupported, match=r"problem\.infill: this model was not trained to fill in the middle"):
            await collect(solver, SolveSpec(request_id="i", prompt=InfillPrompt("a", "b"), tests=TESTS))
        with pytest.raises(Unsupported, match="chat template"):
            await collect(solver, SolveSpec(request_id="c", prompt=chat, tests=TESTS))
        assert solver.load().solves_waiting == 0


async def test_a_model_without_a_template_continues_the_bare_texts() -> None:
    chat = ChatPrompt((ChatMessage("user", "told\n"),))
    async with solver_over() as (solver, executor, _):
        events = await collect(solver, SolveSpec(request_id="raw", prompt=chat, tests=TESTS, sampling=Sampling(k=1)))
        assert summary_of(events).outcome is SolveOutcome.SOLVED
        assert executor.judged == ["x = 'PASS'\n"]


async def test_a_hole_is_filled_and_the_whole_program_judged() -> None:
    prompt = InfillPrompt("def f():\n", "\nPASS = f()\n")
    # The second text goes on with the suffix and is cut off there.
    filled = {"def f():\n    return 1\n\nPASS = f()\n", "def f():\n    return 2\nPASS = f()\n"}
    script, executor = Script(PROGRAMS), FakeExecutor()
    solver = scripted_solver(script, executor, infill=InfillForm(prefix=1, suffix=2, middle=3, file=None))
    await solver.start()
    try:
        assert solver.models()[0].infill
        asked = SolveSpec(
            request_id="hole",
            prompt=prompt,
            tests=TESTS,
            entry_point="f",
            return_policy=ReturnPolicy.ALL,
            sampling=Sampling(k=12, seed=5, top_p=1.0),
        )
        found = summary_of(await collect(solver, asked))
        assert found.outcome is SolveOutcome.SOLVED
        assert {candidate.code for candidate in found.candidates} == filled
        assert set(executor.judged) == filled
        named = SolveSpec(request_id="path", prompt=InfillPrompt("a", "b", "c.py"), tests=TESTS)
        with pytest.raises(Unsupported, match=r"problem\.infill\.path: .*no place for a path; leave it out"):
            await collect(solver, named)
    finally:
        await solver.close()


def stand_still(script: Script) -> None:
    """Hold up the event loop while the engine's thread takes steps: what the engine says lies there unread."""
    before = script.steps
    for _ in range(6_000):
        if script.steps >= before + 4:
            return
        time.sleep(0.01)
    raise AssertionError("the engine takes no steps")


async def test_rows_drawn_for_a_caller_who_left_before_the_answer_was_read_are_in_both_books() -> None:
    script, metrics, executor = Script(PROGRAMS, step_seconds=0.001), Metrics(), FakeExecutor()
    solver = scripted_solver(script, executor, metrics=metrics)
    await solver.start()
    try:
        caller = asyncio.create_task(collect(solver, spec("endless", k=2)))
        await asyncio.sleep(0)  # it is submitted
        stand_still(script)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError), structlog.testing.capture_logs() as logs:
            await caller
        with structlog.testing.capture_logs() as more:
            await nothing_left(solver, executor)
        (receipt,) = [line for line in [*logs, *more] if line["event"] == "solve_ended"]
        counted = read(generate_latest(metrics.registry).decode())
        assert receipt["outcome"] == "cancelled"
        assert receipt["accounting"]["rows_computed"] == total(counted, "thresher_rows_computed_total") > 0
    finally:
        await solver.close()


async def test_draining_refuses_waits_and_ends() -> None:
    async with solver_over(step=0.01) as (solver, executor, _):
        short = asyncio.create_task(collect(solver, spec("one", k=2)))
        long = {"keep_after_program": True, "max_new_tokens": 900}
        endless = asyncio.create_task(collect(solver, spec("endless", sampling=long)))
        await until(lambda: (load := solver.load()).solves_running + load.solves_waiting == 2)
        draining = asyncio.create_task(solver.drain(2.0))
        await until(lambda: solver.status == "draining")
        with pytest.raises(Unavailable) as refused:
            await collect(solver, spec("one"))
        assert refused.value.reason == "DRAINING"
        assert summary_of(await short).outcome is SolveOutcome.SOLVED
        with pytest.raises(Unavailable) as ended:
            await endless
        assert ended.value.reason == "DRAINING"
        await draining
        await nothing_left(solver, executor)


async def test_thirty_two_solves_at_once_under_pressure() -> None:
    async with solver_over(rows=8, pages=150, seconds=0.001) as (solver, executor, _):
        names = ["easy", "hopeless", "one", "layout"]
        asked = [spec(names[n % 4], k=1 + n % 9, seed=n) for n in range(32)]
        results = await asyncio.gather(*(collect(solver, one) for one in asked))
        for events in results:
            summary_of(events)
        await nothing_left(solver, executor)
