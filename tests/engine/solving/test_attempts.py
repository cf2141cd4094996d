"""Programs that a cheaper tier has written: judged before a token is drawn, once, and used where they failed."""

import asyncio
from dataclasses import replace

import pytest
from jinja2 import Template

from engine.core.types import Mode
from engine.solving.errors import DeadlineExceeded, Unavailable
from engine.solving.events import Accepted, CandidateFinished, CandidateJudged
from engine.solving.feedback import ASKING, Failure, told, with_failures
from engine.solving.spec import Budget, Cascade, ChatMessage, ChatPrompt, HeldTest, PriorAttempt, ReturnPolicy
from engine.solving.summary import CandidateSource, SolveOutcome
from engine.text.chat import ChatTemplate
from executor.types import CallTest, SnippetTest, StdioTest
from executor.verdict import Report, TestReport, Verdict
from tests.engine.solving.test_solver import HELD_OUT, collect, nothing_left, solver_over, spec, summary_of
from tests.support.babbler import Babbler
from tests.support.scripted_engine import FakeExecutor, Script, scripted_solver

FAILED = Report(verdict=Verdict.WRONG_ANSWER, tests=(TestReport(index=0, verdict=Verdict.WRONG_ANSWER),), tests_total=1)


def attempts(*codes: str, **more: object) -> Cascade:
    found = tuple(PriorAttempt(code=code) for code in codes)
    return Cascade(attempts=found, upstream_model="small", **more)  # type: ignore[arg-type]


async def judging(executor: FakeExecutor) -> None:
    """Until something runs in the sandbox."""
    for _ in range(1000):
        if executor.running:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing was ever judged")


async def test_a_pass_among_them_answers_and_nothing_is_drawn() -> None:
    async with solver_over() as (solver, executor, script):
        events = await collect(solver, spec("endless", cascade=attempts("a = 'FAIL'\n", "a = 'PASS'\n", tier=1)))
        summary = summary_of(events)
        assert summary.outcome is SolveOutcome.SOLVED
        (best,) = summary.candidates
        assert (best.code, best.source, best.model, best.tier) == (
            "a = 'PASS'\n",
            CandidateSource.PRIOR_ATTEMPT,
            "small",
            1,
        )
        assert (best.samples, best.finish_reason) == ((), None)
        books = summary.accounting
        assert (books.samples_started, books.rows_computed, books.generated_tokens, books.prompt_tokens) == (0, 0, 0, 0)
        assert (books.candidates_finished, books.candidates_passed) == (2, 1)
        assert books.time_to_first_pass is not None
        assert script.steps == 0, "the model has not been asked"
        assert isinstance(events[0].body, Accepted)
        assert {e.body.index for e in events if isinstance(e.body, CandidateFinished)} == {0, 1}
        assert {e.body.candidate.index for e in events if isinstance(e.body, CandidateJudged)} == {0, 1}
        await nothing_left(solver, executor)


async def test_where_they_fail_it_draws_and_judges_none_of_them_again() -> None:
    async with solver_over() as (solver, executor, _):
        wrong = "x  =  'FAIL b'  # as the model writes it, but for layout\n"
        summary = summary_of(await collect(solver, spec("easy", k=12, seed=1, cascade=attempts(wrong))))
        assert summary.outcome is SolveOutcome.SOLVED
        assert summary.candidates[0].source is CandidateSource.SAMPLED
        assert executor.judged.count(wrong) == 1
        assert "x = 'FAIL b'\n" not in executor.judged, "a sample that draws it joins it"
        await nothing_left(solver, executor)


async def test_a_report_that_comes_along_is_not_asked_for_again() -> None:
    async with solver_over() as (solver, executor, _):
        given = Cascade(attempts=(PriorAttempt(code="x = 'FAIL a'\n", report=FAILED),), upstream_model="small")
        events = await collect(solver, spec("hopeless", k=12, cascade=given, return_policy=ReturnPolicy.ALL))
        summary = summary_of(events)
        assert "x = 'FAIL a'\n" not in executor.judged
        prior = summary.candidates[0]
        assert (prior.source, prior.report) == (CandidateSource.PRIOR_ATTEMPT, FAILED)
        assert prior.samples, "some sample has drawn it, too"
        assert summary.accounting.candidates_executed == len(summary.candidates) - 1


async def test_equal_programs_are_one_attempt() -> None:
    async with solver_over() as (solver, executor, _):
        same = attempts("x = 'FAIL'\n", "x  = 'FAIL'\n", "x = 'FAIL' # again\n")
        summary = summary_of(await collect(solver, spec("one", cascade=same)))
        assert len(executor.judged) == 2
        assert summary.accounting.candidates_finished == 2


async def test_held_out_tests_run_on_an_attempt_that_passes() -> None:
    async with solver_over() as (solver, _, _):
        asked = spec("endless", cascade=attempts("a = 'PASS'\n"), tests=HELD_OUT)
        (best,) = summary_of(await collect(solver, asked)).candidates
        assert best.held_out is not None
        assert best.held_out.verdict is Verdict.WRONG_ANSWER


async def test_all_of_them_are_judged_where_all_are_wanted() -> None:
    async with solver_over() as (solver, executor, _):
        asked = spec("one", k=3, cascade=attempts("a = 'PASS'\n", "a = 'FAIL'\n"), return_policy=ReturnPolicy.ALL)
        summary = summary_of(await collect(solver, asked))
        assert len(executor.judged) == 3
        assert summary.accounting.samples_finished == 3
        assert [c.source for c in summary.candidates][:2] == [CandidateSource.PRIOR_ATTEMPT] * 2


async def test_k_programs_are_k_drawn_ones() -> None:
    async with solver_over() as (solver, _, _):
        asked = spec("easy", k=2, cascade=attempts("x = 'FAIL other'\n"), return_policy=ReturnPolicy.ALL)
        asked = replace(asked, sampling=replace(asked.sampling, mode=Mode.DISTINCT, distinct_programs=True))
        summary = summary_of(await collect(solver, asked))
        assert sum(c.source is CandidateSource.SAMPLED for c in summary.candidates) == 2


async def test_the_budget_of_executions_counts_them() -> None:
    async with solver_over() as (solver, executor, script):
        asked = spec("one", cascade=attempts("a = 'FAIL'\n", "b = 'FAIL'\n"), budget=Budget(executions=2))
        summary = summary_of(await collect(solver, asked))
        assert summary.outcome is SolveOutcome.BUDGET_EXECUTIONS
        assert summary.accounting.candidates_executed == 2
        assert script.steps == 0
        await nothing_left(solver, executor)


async def test_ends_while_they_are_judged() -> None:
    async with solver_over() as (solver, executor, script):
        slow = attempts("a = 'SLOW FAIL'\n")
        with pytest.raises(DeadlineExceeded):
            await collect(solver, spec("one", cascade=slow), deadline=0.2)
        await nothing_left(solver, executor)
        timed = summary_of(await collect(solver, spec("one", cascade=slow, budget=Budget(wall_seconds=0.2))))
        assert timed.outcome is SolveOutcome.BUDGET_TIME
        await nothing_left(solver, executor)
        task = asyncio.create_task(collect(solver, spec("one", cascade=slow)))
        await judging(executor)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await nothing_left(solver, executor)
        task = asyncio.create_task(collect(solver, spec("one", cascade=slow)))
        await judging(executor)
        await solver.drain(0.1)
        with pytest.raises(Unavailable):
            await task
        assert script.steps == 0


@pytest.mark.parametrize("shown", [True, False])
async def test_failed_ones_are_shown_to_the_model(shown: bool) -> None:
    turns = "{% for turn in messages %}<{{ turn.role }}>{{ turn.content }}</>{% endfor %}<assistant>"
    executor, prompt = FakeExecutor(), ChatPrompt((ChatMessage("user", "Write f."),))
    solver = scripted_solver(Babbler(), executor, chat=ChatTemplate(Template(turns), {}))
    await solver.start()
    try:
        given = attempts("a = 'FAIL'\n", "b = 'FAIL'\n", in_prompt=shown)
        asked = replace(spec("", k=1, cascade=given, sampling={"max_new_tokens": 4}), prompt=prompt)
        events = await collect(solver, asked)
    finally:
        await solver.close()
    judged = [event.body.candidate for event in events if isinstance(event.body, CandidateJudged)][:2]
    failures = [Failure(one.code, one.report) for one in judged if one.report is not None]
    whole = with_failures(prompt, failures, asked.tests) if shown else prompt
    text = "".join(f"<{message.role}>{message.content}</>" for message in whole.messages) + "<assistant>"
    assert summary_of(events).accounting.prompt_tokens == len(text), "a byte is a token"
    assert ("a = 'FAIL'" in text) is shown


async def test_what_they_wrote_is_drafted() -> None:
    """A model that writes what a failed program has, but for a word, is asked for many tokens in one step."""
    common = "".join(f"{number * 7919 % 9973:04d}" for number in range(40))
    steps: list[int] = []
    for given in (Cascade(), attempts(f"x = 'FAIL {common}'\n")):
        script, executor = Script({"p": {f"x = 'PASS {common}'\n": 1.0}}, step_seconds=0.01), FakeExecutor()
        solver = scripted_solver(script, executor)
        await solver.start()
        try:
            summary = summary_of(await collect(solver, spec("p", k=1, cascade=given)))
        finally:
            await solver.close()
        assert summary.outcome is SolveOutcome.SOLVED
        steps.append(script.steps)
        assert (summary.accounting.accepted_draft_tokens > 80) == bool(given.attempts)
    assert steps[1] < 0.7 * steps[0]


def test_the_best_failures_are_told_and_the_best_is_last() -> None:
    tests = (
        HeldTest(CallTest(function="f", args_json="[1]", expected_json="2")),
        HeldTest(SnippetTest(code="SECRET"), hidden=True),
        HeldTest(SnippetTest(code="assert f(2) == 3")),
    )

    def failure(name: str, passed: int) -> Failure:
        reports = tuple(
            TestReport(index=n, verdict=Verdict.PASSED if n < passed else Verdict.WRONG_ANSWER, message=f"got {name}")
            for n in range(2)
        )
        return Failure(f"def f(x): return {name!r}", Report(verdict=Verdict.WRONG_ANSWER, tests=reports, tests_total=2))

    prompt = ChatPrompt((ChatMessage("user", "Write f."),))
    turns = with_failures(prompt, [failure("best", 1), failure("bad", 0), failure("worse", 0)], tests).messages
    assert [turn.role for turn in turns] == ["user", "assistant", "user", "assistant", "user"]
    assert "best" in turns[3].content
    assert "assert f(2) == 3" in turns[4].content
    assert "got best" in turns[4].content
    assert turns[4].content.endswith(ASKING)
    assert "f(1)" in turns[2].content
    assert not any("SECRET" in turn.content for turn in turns)


def test_every_kind_of_failure_has_words() -> None:
    for verdict in Verdict:
        if verdict in (Verdict.PASSED, Verdict.SKIPPED, Verdict.SANDBOX_FAILURE):
            continue
        test = TestReport(
            index=0, verdict=verdict, message="why", stderr=b"Traceback\n" + b"line\n" * 50 + b"ValueError: 3"
        )
        report = Report(verdict=verdict, tests=(test,), tests_total=1)
        said = told(report, [StdioTest(stdin=b"1 2\n", expected_stdout=b"3\n")])
        assert "0 of 1 tests" in said
        assert "why" in said
        assert "ValueError: 3" in said
        assert said.count("line") < 10, "the end of a traceback, not all of it"
        assert "Expected output" in said
    broken = Report(verdict=Verdict.COMPILE_ERROR, tests_total=4, detail="SyntaxError: line 3")
    assert "SyntaxError: line 3" in told(broken, [])
