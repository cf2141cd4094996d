"""`solve`, `refine` and `execute`: what is asked, what comes back, and what a reader sees of it."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import thresher.client
from support.fake_server import PROGRAM, Event, FakeServer, rich_error, unsolved_events
from support.served import until
from thresher.client import AsyncClient, Client, ProblemError, Result, ThresherError, solve_spec
from thresher.v1 import solve_pb2, verdict_pb2

TESTS = ["assert add(1, 2) == 3", "assert add(0, 0) == 0"]
BAD = "def add(a, b):\n    return a - b\n"


def failing_events() -> list[Event]:
    """Two programs, the second one better; neither passes."""
    reports = [
        verdict_pb2.ExecutionReport(verdict="VERDICT_RUNTIME_ERROR", tests_total=2, detail="Traceback\nNameError: c"),
        verdict_pb2.ExecutionReport(
            verdict="VERDICT_WRONG_ANSWER",
            tests_passed=1,
            tests_total=2,
            results=[verdict_pb2.TestResult(verdict="VERDICT_WRONG_ANSWER", message="add(1, 2) == 3 (got -1)")],
        ),
    ]
    events = [Event(accepted=solve_pb2.Accepted(request_id="r", model="models/fake", seed=3))]
    for index, report in enumerate(reports):
        code = BAD if index else "def add(a, b):\n    return c\n"
        finished = solve_pb2.CandidateFinished(index=index, samples=[index], generated_tokens=9)
        judged = solve_pb2.Candidate(index=index, samples=[index], generated_tokens=9, code=code, report=report)
        events += [
            Event(candidate_finished=finished),
            Event(candidate_judged=solve_pb2.CandidateJudged(candidate=judged)),
        ]
    return [*events, Event(summary=solve_pb2.Summary(outcome="SOLVE_OUTCOME_EXHAUSTED", seed=3))]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """A server that clients find by THRESHER_ADDRESS."""
    with FakeServer(tmp_path / "s.sock") as fake:
        monkeypatch.setenv("THRESHER_ADDRESS", fake.address)
        yield fake


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`call("solve", ...)`: the function, or its sibling for asyncio."""

    def run(name: str, *arguments: Any, **options: Any) -> Any:
        if request.param == "sync":
            return getattr(thresher.client, name)(*arguments, **options)
        return asyncio.run(getattr(thresher.client, f"{name}_async")(*arguments, **options))

    return run


def test_a_task_in_words_is_solved(server: FakeServer, call: Callable[..., Any]) -> None:
    result = call("solve", "Write median(numbers).", TESTS, k=8, timeout=62.5)
    assert isinstance(result, Result)
    assert result
    assert (result.solved, result.code, result.outcome) == (True, PROGRAM, "solved")
    assert [one.verdict for one in result.attempts].count("passed") == 1
    (spec,) = server.specs
    assert "Write median(numbers)." in spec.problem.chat.messages[0].content
    assert [test.snippet.code for test in spec.problem.tests] == TESTS
    assert (spec.sampling.k, spec.budget.wall_time.ToMilliseconds(), spec.events.failing_code) == (8, 62500, True)


def test_a_document_and_a_request_do_as_well(server: FakeServer, call: Callable[..., Any]) -> None:
    document = {"prompt": "Write add(a, b).", "tests": TESTS, "sampling": {"k": 4, "seed": 7}}
    assert call("solve", document)
    given = solve_spec(document)
    assert call("solve", given, k=5)
    assert [spec.sampling.k for spec in server.specs] == [4, 5]
    assert [spec.sampling.seed for spec in server.specs] == [7, 7]
    assert given == solve_spec(document)  # left as it was
    with pytest.raises(ProblemError, match="tests"):
        call("solve", document, TESTS)
    with pytest.raises(ProblemError, match="timeout"):
        call("solve", document, timeout=0)


def test_a_result_tells_itself(server: FakeServer) -> None:
    result = thresher.client.solve("Write median(numbers).", TESTS)
    text = repr(result)
    assert text.startswith("<Result: fake · ")
    assert "1 passed" in text
    assert text.endswith(PROGRAM.rstrip("\n"))
    server.events = failing_events
    failed = thresher.client.solve("Write add(a, b).", TESTS)
    assert not failed
    assert failed.code is None
    assert [one.index for one in failed.failed] == [1, 0]
    assert repr(failed).splitlines()[1:] == [
        "  program 1: wrong answer, 1 of 2 tests: add(1, 2) == 3 (got -1)",
        "  program 0: runtime error, 0 of 2 tests: NameError: c",
    ]
    assert "<td>NameError: c</td>" in failed._repr_html_()


def test_a_result_tells_what_it_cost(server: FakeServer) -> None:
    cost = thresher.client.solve("Write median(numbers).", TESTS).cost
    assert dict(cost.rows)["seed"] == "7"
    lines = repr(cost).splitlines()
    assert len({line.index(words) for line, (_, words) in zip(lines, cost.rows, strict=True)}) == 1, "a column"
    assert any(line.startswith("tokens drawn  ") for line in lines)
    assert "<tr><th>seed</th><td>7</td></tr>" in cost._repr_html_()
    assert cost._repr_html_().count("<tr>") == len(lines)


def test_a_broken_sandbox_is_no_failure_of_a_program(server: FakeServer) -> None:
    report = verdict_pb2.ExecutionReport(verdict="VERDICT_SANDBOX_FAILURE", tests_total=2)
    judged = solve_pb2.Candidate(index=0, samples=[0], code=BAD, report=report)
    server.events = lambda: [
        *unsolved_events()[:1],
        Event(candidate_judged=solve_pb2.CandidateJudged(candidate=judged)),
        *unsolved_events()[1:],
    ]
    result = thresher.client.solve("Write add(a, b).", TESTS)
    assert [one.verdict for one in result.attempts] == ["sandbox_failure"]
    assert result.failed == ()


def test_lines_are_shown_where_they_are_asked_for(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    thresher.client.solve("Write median(numbers).", TESTS)
    assert capsys.readouterr() == ("", "")
    thresher.client.solve("Write median(numbers).", TESTS, show=True)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert "drawing from fake" in lines[0]
    assert lines[-1].endswith("ended: solved")


def test_a_round_tells_what_failed(server: FakeServer, call: Callable[..., Any]) -> None:
    server.events = failing_events
    first = call("solve", "Write add(a, b).", TESTS, k=4)
    second = call("refine", first, "Mind the sign.", k=6)
    call("refine", second)
    one, two, three = server.specs
    assert [attempt.code for attempt in two.cascade.prior_attempts] == [attempt.code for attempt in first.failed]
    assert two.cascade.prior_attempts[0].report.tests_passed == 1
    assert two.cascade.attempts_in_prompt
    assert two.problem.chat.messages[0].content == f"{one.problem.chat.messages[0].content}\n\nMind the sign."
    assert (one.sampling.k, two.sampling.k) == (4, 6)
    assert len(three.cascade.prior_attempts) == 2  # each once, however many rounds
    assert "Mind the sign." in three.problem.chat.messages[0].content


def test_a_solved_problem_is_refined_in_words(server: FakeServer, call: Callable[..., Any]) -> None:
    result = call("solve", "Write median(numbers).", TESTS)
    with pytest.raises(ProblemError, match="say what should be different"):
        call("refine", result)
    call("refine", result, "Without sorting.")
    task, answer, words = server.specs[-1].problem.chat.messages
    assert (task.role, answer.role, words.role) == ("user", "assistant", "user")
    assert PROGRAM.strip() in answer.content
    assert words.content == "Without sorting."
    assert not server.specs[-1].cascade.prior_attempts


def test_only_a_chat_has_rounds(server: FakeServer) -> None:
    result = thresher.client.solve({"completion": "def f():", "tests": ["assert f() == 1"]})
    with pytest.raises(ProblemError, match="only a task in words or a chat"):
        thresher.client.refine(result, "Again.")


def test_a_program_is_executed(server: FakeServer, call: Callable[..., Any]) -> None:
    assert call("execute", BAD, TESTS).verdict == verdict_pb2.VERDICT_PASSED
    call("execute", "print(input())", {"tests": [{"stdio": {"stdin": "a", "expected": "a"}}]})
    first, second = server.programs
    assert (first.code, first.run_all, len(first.tests)) == (BAD, True, 2)
    assert second.tests[0].stdio.stdin == b"a"


def test_a_server_that_loads_its_model_is_waited_for(
    server: FakeServer, call: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    server.error = rich_error(14, "STARTING", "the model is being loaded", metadata={"model": "qwen"})
    server.errors_left = 1
    assert call("solve", "Write median(numbers).", TESTS)
    assert capsys.readouterr() == ("", "")
    server.errors_left = 1
    assert call("solve", "Write median(numbers).", TESTS, show=True)
    assert capsys.readouterr().err.startswith("waiting for the server to load qwen\n")
    server.error = rich_error(8, "QUEUE_FULL", "full")
    server.errors_left = 1
    with pytest.raises(ThresherError, match="QUEUE_FULL"):
        call("solve", "Write median(numbers).", TESTS)


def test_a_client_that_is_given_stays_open(server: FakeServer) -> None:
    with Client(server.address) as client:
        assert thresher.client.solve("Write median(numbers).", TESTS, client=client)
        assert client.load().solves_running == 3

    async def both() -> None:
        async with AsyncClient(server.address) as client:
            assert await thresher.client.solve_async("Write median(numbers).", TESTS, client=client)
            assert (await client.load()).solves_running == 3

    asyncio.run(both())


async def test_cancelling_the_task_ends_the_solve(server: FakeServer) -> None:
    server.hang = True
    task = asyncio.create_task(thresher.client.solve_async("Write median(numbers).", TESTS))
    await until(lambda: bool(server.specs))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(server.cancelled.wait, 60)


def test_nothing_was_drawn_and_nothing_is_said(server: FakeServer) -> None:
    server.events = unsolved_events
    result = thresher.client.solve("Write add(a, b).", TESTS)
    assert result.attempts == ()
    with pytest.raises(ProblemError, match="nothing to tell"):
        thresher.client.refine(result)
