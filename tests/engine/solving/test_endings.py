"""A solve is ended by whatever comes first, and once: every order in which endings, verdicts and last words can arrive.

Nothing here waits and nothing is left to luck: tests/support/endings.py holds every event back until it is told to
happen, and `every_path` goes through all orders. `Rules` says what must come of an order. In short:

    first to arrive                           the caller gets          counted as    branches end as
    enough passes                             Summary, solved          solved        cut_off
    the last verdict, all being drawn         Summary, exhausted       exhausted
    a budget, kept here or by the engine      Summary, budget_...      budget_...    budget
    the deadline                              DeadlineExceeded         deadline      deadline
    the drain of the server                   Unavailable              error         error
    the engine's death, unless all is drawn   Unavailable              error
    a sandbox that cannot be used             Unavailable              error         error
    the caller leaves                         nothing                  cancelled     cancelled

Two things are above this. A caller that leaves before its answer is there is told nothing, whatever has been decided.
And a pass that was on its way when a budget was spent still counts: a summary never hides a program that has passed.
"""

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from engine.core.types import Mode
from engine.metric_words import CANCEL_PHASES
from engine.metrics import Metrics
from engine.solving import candidates
from engine.solving.errors import SolveError
from engine.solving.events import BranchEnded, BranchStarted, CandidateFinished, CandidateJudged
from engine.solving.spec import Budget, CompletionPrompt, EventOptions, HeldTest, ReturnPolicy, Sampling, SolveSpec
from engine.solving.summary import Summary
from executor.types import SnippetTest
from tests.support.ending_rules import CUT, Rules
from tests.support.endings import Ending
from tests.support.every_path import every_path
from tests.support.hand_loop import HandLoop

VISIBLE = HeldTest(SnippetTest(code="visible"))
HIDDEN = HeldTest(SnippetTest(code="HELD"), hidden=True)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[HandLoop]:
    async def open_connection(*, sock: Any) -> tuple[asyncio.StreamReader, Any]:
        return sock.reader, sock

    monkeypatch.setattr(asyncio, "open_connection", open_connection)
    # The same few programs again and again.
    monkeypatch.setattr(candidates, "extract_program", functools.cache(candidates.extract_program))
    monkeypatch.setattr(candidates, "program_key", functools.cache(candidates.program_key))
    made = HandLoop()
    yield made
    made.close()


def spec(k: int, *, sampling: dict[str, Any] | None = None, **more: Any) -> SolveSpec:
    return SolveSpec(
        request_id="r",
        prompt=CompletionPrompt("p"),
        tests=more.pop("tests", (VISIBLE,)),
        sampling=Sampling(k=k, seed=1, **(sampling or {})),
        budget=Budget(wall_seconds=20, executions=more.pop("executions", None)),
        events=EventOptions(branches=True),
        **more,
    )


BOTH = (VISIBLE, HIDDEN)
LONG = (pytest.mark.slow, pytest.mark.timeout(900))
DISTINCT = {"mode": Mode.DISTINCT, "distinct_programs": True}


@pytest.mark.parametrize(
    ("asked", "texts", "most", "stalls"),
    [
        pytest.param(spec(2), 2, 2, False, id="two candidates, two endings"),
        pytest.param(spec(2), 2, 1, True, id="two candidates, a slow reader"),
        pytest.param(spec(1), 1, 3, False, id="three endings"),
        pytest.param(spec(1, tests=BOTH), 1, 2, False, id="hidden tests"),
        pytest.param(spec(2, return_policy=ReturnPolicy.ALL), 2, 1, False, id="all are judged"),
        pytest.param(spec(1, sampling=DISTINCT), 2, 1, False, id="more texts than are wanted"),
        pytest.param(spec(2, executions=1), 2, 2, False, id="a budget of executions"),
        pytest.param(spec(2), 2, 2, True, id="two endings, a slow reader", marks=LONG),
        pytest.param(spec(1, tests=BOTH), 1, 2, True, id="hidden tests, a slow reader", marks=LONG),
        pytest.param(
            spec(2, return_policy=ReturnPolicy.ALL),
            2,
            1,
            True,
            id="all are judged, a slow reader",
            marks=LONG,
        ),
        pytest.param(
            spec(1, sampling=DISTINCT),
            2,
            1,
            True,
            id="more texts than are wanted, a slow reader",
            marks=LONG,
        ),
    ],
)
def test_every_order_ends_a_solve_once(loop: HandLoop, asked: SolveSpec, texts: int, most: int, stalls: bool) -> None:
    orders: Counter[str] = Counter()
    with structlog.testing.capture_logs() as logs:

        def play(choose: Callable[[int], int]) -> None:
            ending = Ending(loop, asked, most, stalls, texts=texts)
            rules = Rules(ending)
            try:
                while not ending.over:
                    options = ending.options()
                    assert options, "nothing can happen any more, and the solve is not over"
                    option = options[choose(len(options))]
                    ending.do(option)
                    rules.arrive(option)
                    check_told(ending, rules)
                check(ending, rules)
            except AssertionError as fault:
                raise AssertionError(f"{fault}\nafter {', '.join(ending.happened)}") from fault
            orders[rules.outcome] += 1

        for _ in every_path(play):
            assert not any(line["event"] == "solve_did_not_end" for line in logs)
            logs.clear()
    print(f"{orders.total()} orders: {dict(orders)}")
    assert set(orders) >= {"solved", "deadline", "error", "cancelled", "budget_time", "budget_rows"}
    assert {"exhausted", "budget_executions"} & set(orders), "every solve was ended from outside"


def check(ending: Ending, rules: Rules) -> None:
    """One end, as the rules have it, and nothing left or told after it."""
    check_answer(ending, rules)
    check_shares(ending)
    check_books(ending, rules)
    check_nothing_left(ending)


def check_answer(ending: Ending, rules: Rules) -> None:
    bodies = [event.body for event in ending.seen]
    assert [event.sequence for event in ending.seen] == list(range(1, len(bodies) + 1))
    summaries = [body for body in bodies if isinstance(body, Summary)]
    if rules.cancelled:
        assert ending.caller.cancelled() and not summaries
    elif rules.error is not None:
        fault = ending.caller.exception()
        assert isinstance(fault, SolveError) and fault.reason == rules.error, f"{fault!r} is not {rules.error}"
        assert not summaries
    else:
        assert ending.caller.exception() is None
        assert len(summaries) == 1 and bodies[-1] is summaries[0], "not exactly one summary as the last event"
        assert summaries[0].outcome == rules.outcome
        finished = [body.index for body in bodies if isinstance(body, CandidateFinished)]
        judged = [body.candidate.index for body in bodies if isinstance(body, CandidateJudged)]
        assert sorted(judged) == sorted(finished), "a candidate was not judged exactly once"
    if rules.told:
        started = [body.branch for body in bodies if isinstance(body, BranchStarted)]
        ended = [body.branch for body in bodies if isinstance(body, BranchEnded)]
        assert len(set(ended)) == len(ended)
        assert rules.cancelled or sorted(ended) == sorted(started), "a branch has not ended exactly once"
        outcomes = {body.outcome for body in bodies if isinstance(body, BranchEnded)}
        assert outcomes <= {"finished", "cut_off" if rules.enough else CUT.get(rules.decision or "", "budget")}


def check_told(ending: Ending, rules: Rules) -> None:
    """Engine and executor hear of an end when it is read; only hidden tests of what has passed may go on."""
    assert len(ending.connection.ends) == rules.ends, "not the intents to end it that there should be"
    if rules.decision is not None:
        for run in ending.executor.runs:
            kept = run.hidden and rules.decision == "pass" and not rules.time_is_up
            assert run.ends or bool(run.cancels) != kept, "an execution goes on, or hidden tests were cut"


def check_shares(ending: Ending) -> None:
    """Whatever was begun in the sandbox has ended once, and was waited for."""
    for run in ending.executor.runs:
        assert run.ends == 1, "an execution has not ended once"
        left = run.left and "grace" in ending.happened
        assert run.cancels in (0, 1 + left), "an execution was cancelled twice: nobody waited for its jail"
        assert run.cancels == 0 or not run.report.done(), "an execution was cancelled after its end"


def check_books(ending: Ending, rules: Rules) -> None:
    metrics = ending.metrics
    assert metrics.count("solve_waiting") == metrics.count("solve_ended") == 1
    _, outcome, _, cost, _, started, _ = metrics.calls["solve_ended"][0]
    assert (outcome, started) == (rules.outcome, rules.started)
    assert metrics.count("solve_started") == rules.started
    assert [phase for phase, _ in metrics.calls.get("cancel_latency", [])] == rules.observed
    assert (cost.candidates_executed, cost.candidates_passed) == (rules.reports, rules.passes)
    assert cost.candidates_passed <= cost.candidates_executed <= cost.candidates_finished <= ending.finished
    assert metrics.count("execution") == cost.candidates_executed
    if rules.told:
        assert cost.samples_started == ending.branches
        assert (cost.samples_finished, cost.samples_cut_off) == (rules.wanted, ending.branches - rules.wanted)
        assert metrics.count("branch_ended") == ending.branches, "a branch was not counted exactly once"


def check_nothing_left(ending: Ending) -> None:
    """No timer and no task of the solve; and what the engine still says of it, as of any other, moves nothing."""
    loop = ending.loop
    assert len(loop.timers) == 1 + (not ending.alive), "a timer is left"  # the watch's and that of the next start
    pending = [task for task in asyncio.all_tasks(loop) if not task.done()]
    assert len(pending) == 2, "a task is left"  # the watch and the engine's supervisor
    before = told(ending)
    if ending.alive:
        ending.branches, ending.finished = 2, 0
        ending.do("finish")
        ending.do("spent")
    assert told(ending) == before, "something was told after the end"
    ending.close()
    assert not loop.timers and all(task.done() for task in asyncio.all_tasks(loop))


def told(ending: Ending) -> tuple[int, int, dict[str, int]]:
    """How much the caller, the engine and the metrics have been told of the solve."""
    return len(ending.seen), len(ending.connection.ends), ending.metrics.counts


@pytest.mark.parametrize(
    ("first", "reason"),
    [("drain", "DRAINING"), ("death", "ENGINE_RESTARTING"), ("deadline", "DEADLINE_IN_QUEUE"), ("cancel", None)],
)
def test_an_end_before_the_engine_has_answered(loop: HandLoop, first: str, reason: str | None) -> None:
    ending = Ending(loop, spec(1), most=1, stalls=False, answers=False)
    if first == "deadline":
        timer = loop.timer_for()  # the one timer that only wakes somebody: that of the wait for the answer
        assert timer is not None
        loop.fire(timer)
        loop.settle()
    else:
        ending.do(first)
    if ending.alive:
        ending.connection.answer()
    loop.settle()
    if ending.connection.ends:
        ending.do("ended")  # the engine may have begun, so that the books wait for what it has drawn
    if reason is None:
        assert ending.caller.cancelled()
    else:
        fault = ending.caller.exception()
        assert isinstance(fault, SolveError) and fault.reason == reason
    assert len(ending.connection.ends) == ending.alive
    assert ending.over and (ending.drained is None or ending.drained.done())
    check_nothing_left(ending)


def test_an_engine_that_never_ends_a_cancelled_solve_does_not_keep_it(loop: HandLoop) -> None:
    ending = Ending(loop, spec(2), most=1, stalls=False)
    for option in ("start", "finish", "cancel"):
        ending.do(option)
    assert not ending.over
    limit = loop.timer_for()
    assert limit is not None
    loop.fire(limit)
    loop.settle()
    assert ending.over and ending.executor.runs[0].left
    assert [phase for phase, _ in ending.metrics.calls["cancel_latency"]] == ["client"]
    assert ending.metrics.calls["solve_ended"][0][3].candidates_finished == 1
    check_nothing_left(ending)


@pytest.mark.parametrize(
    ("first", "phase"),
    [
        ("pass 0", "pass"),
        ("cancel", "client"),
        ("deadline", "deadline"),
        ("wall", "budget"),
        ("drain", "drain"),
        ("broken 0", "error"),
    ],
)
def test_the_histogram_has_the_time_from_an_end_to_the_last_row_gone(
    loop: HandLoop, monkeypatch: pytest.MonkeyPatch, first: str, phase: str
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    metrics = Metrics()
    ending = Ending(loop, spec(2), most=1, stalls=False, metrics=metrics)
    # What happens, and the seconds after it: rows are gone 0.0625 s after the end, the jail half a second later.
    for option, seconds in (("start", 1.0), ("finish", 2.0), (first, 0.0625), ("ended", 0.5), ("gone 0", 0.25)):
        if option != "gone 0" or option in ending.options():
            ending.do(option)
        clock[0] += seconds
    assert ending.over

    def value(what: str, phase: str) -> float | None:
        return metrics.registry.get_sample_value(f"thresher_cancel_latency_seconds_{what}", {"phase": phase})

    assert {one: value("count", one) for one in CANCEL_PHASES if value("count", one)} == {phase: 1}
    assert value("sum", phase) == 0.0625
    ending.close()
