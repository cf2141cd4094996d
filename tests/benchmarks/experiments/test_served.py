"""Samples of a model behind a server: what is asked of it, and what is read from its answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.experiments import ADD, task
from support.fake_server import Event, FakeServer
from thresher.v1 import info_service_pb2, solve_pb2, verdict_pb2

from benchmarks.experiments.errors import CannotRun, RunFailed
from benchmarks.experiments.experiment import Arm, Draw, Task
from benchmarks.experiments.judging import ServerJudge
from benchmarks.experiments.served import ServerSource

PASSED = verdict_pb2.ExecutionReport(
    verdict=verdict_pb2.VERDICT_PASSED,
    tests_passed=1,
    tests_total=1,
    results=[verdict_pb2.TestResult(verdict=verdict_pb2.VERDICT_PASSED)],
)
WRONG = verdict_pb2.ExecutionReport(
    verdict=verdict_pb2.VERDICT_WRONG_ANSWER,
    tests_total=1,
    results=[verdict_pb2.TestResult(verdict=verdict_pb2.VERDICT_WRONG_ANSWER, message="got 1\nexpected 2")],
)
DRAW = Draw(samples=4, seed=7, sampling={"temperature": 0.8, "top_p": 0.95})


def candidate(index: int, samples: list[int], logprobs: list[float], report: Any, **more: Any) -> solve_pb2.Candidate:
    return solve_pb2.Candidate(
        index=index, code=f"# {index}\n", samples=samples, sample_logprobs=logprobs, report=report, **more
    )


def ended(branch: int, tokens: int, index: int) -> Event:
    outcome = "BRANCH_OUTCOME_FINISHED"
    return Event(
        branch_ended=solve_pb2.BranchEnded(branch=branch, outcome=outcome, generated_tokens=tokens, candidate=index)
    )


def joined(index: int, samples: list[int], logprob: float) -> Event:
    return Event(
        samples_joined=solve_pb2.SamplesJoined(index=index, samples=samples, sample_logprobs=[logprob] * len(samples))
    )


def finished(index: int, branch: int, samples: list[int]) -> Event:
    return Event(candidate_finished=solve_pb2.CandidateFinished(index=index, branch=branch, samples=samples))


def solve_of_four(outcome: str = "SOLVE_OUTCOME_SOLVED", **books: int) -> list[Event]:
    """Sample 0 and late sample 3 of one text, sample 1 of another text of the same program, sample 2 of another one."""
    accounting = solve_pb2.Accounting(
        **{"samples_finished": 4, "generated_tokens": 10 + 12 + 9 + 10, "candidates_executed": 2, **books}
    )
    candidates = [
        candidate(0, [0, 1, 3], [-1.5, -2.5, -1.5], PASSED, held_out=WRONG),
        candidate(1, [2], [-3.5], WRONG, finish_reason="FINISH_REASON_LENGTH"),
    ]
    return [
        Event(accepted=solve_pb2.Accepted(request_id="r", model="models/one", seed=1)),
        ended(0, 10, 0),
        finished(0, 0, [0]),
        Event(candidate_judged=solve_pb2.CandidateJudged(candidate=candidates[0])),
        ended(1, 12, 0),
        joined(0, [1], -2.5),
        joined(0, [3], -1.5),
        ended(2, 9, 1),
        finished(1, 2, [2]),
        Event(summary=solve_pb2.Summary(outcome=outcome, candidates=candidates, accounting=accounting)),
    ]


class Fake(FakeServer):
    """Says what a server with a sandbox says of itself."""

    def GetServerInfo(self, request: Any, context: Any) -> Any:
        sandbox = info_service_pb2.SandboxInfo(backend="nsjail", version="9", weaknesses=["shared-uid"])
        return info_service_pb2.GetServerInfoResponse(
            version="1.2.3", max_k=64, default_model="models/one", sandbox=sandbox
        )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeServer]:
    with Fake(tmp_path / "s.sock") as fake:
        fake.set_serving(True)
        fake.events = solve_of_four
        fake.report = PASSED
        yield fake


async def test_what_is_asked_of_the_server(server: FakeServer) -> None:
    asked = Task(record=ADD, document={"prompt": "Write add.", "tests": list(ADD.visible), "entry_point": "add"})
    async with ServerSource(server.address) as source:
        await source.outcome(asked, DRAW)
    [spec] = server.specs
    assert spec.return_policy == solve_pb2.RETURN_POLICY_ALL and spec.priority == solve_pb2.PRIORITY_BATCH
    assert spec.model == "models/one" and spec.problem.problem_id == "1" and len(spec.problem.tests) == 2
    assert (spec.sampling.k, spec.sampling.temperature, spec.sampling.top_p) == (4, 0.8, 0.95)
    assert spec.sampling.seed == DRAW.seed_of("1")


async def test_what_is_read_from_a_solve(server: FakeServer) -> None:
    async with ServerSource(server.address) as source:
        found = await source.outcome(task(ADD), DRAW)
    assert (found.id, found.asked, found.finished, found.passed, found.right) == ("1", 4, 4, 3, 0)
    assert found.tokens_by_sample() == [10, 12, 9, 10]
    assert sum(found.tokens_by_sample()) == found.generated_tokens == 41
    good, bad = found.candidates
    assert (good.verdict, good.held_out, good.tests, good.logprobs) == (
        "passed",
        "wrong_answer",
        ("passed",),
        (-1.5, -2.5, -1.5),
    )
    assert (bad.verdict, bad.message, bad.finish, bad.tests_total) == ("wrong_answer", "got 1", "length", 1)
    assert found.executed == 2 and found.facts["accounting"]["samples_finished"] == 4


async def test_what_the_source_says_of_itself(server: FakeServer) -> None:
    async with ServerSource(server.address, model="two") as source:
        said = source.described()
    assert said["model"] == "two" and said["server_version"] == "1.2.3"
    assert (said["sandbox"], said["sandbox_version"], said["weaknesses"]) == ("nsjail", "9", ["shared-uid"])


async def test_a_model_that_the_server_lacks_is_refused(server: FakeServer) -> None:
    with pytest.raises(CannotRun, match="no model 'three'; it has: one, two"):
        async with ServerSource(server.address, model="three"):
            pass
    assert server.specs == []


async def test_what_the_server_cannot_do_is_refused_before_the_first_token(server: FakeServer) -> None:
    def arm(draw: Draw, **document: Any) -> Arm:
        found = Task(record=ADD, document={"tests": ["assert 1"], **document})
        return Arm(name="a", tasks=(found,), draw=draw)

    async with ServerSource(server.address) as source:
        source.check(arm(DRAW, completion="def add"))
        with pytest.raises(CannotRun, match=r"100 samples.*\(64\)"):
            source.check(arm(Draw(samples=100, sampling={"temperature": 1.0}), completion="def add"))
        with pytest.raises(CannotRun, match="no temperature is given"):
            source.check(arm(Draw(samples=4), completion="def add"))
        for prompt in ({"chat": [{"role": "user", "content": "x"}]}, {"prompt": "x"}):
            with pytest.raises(CannotRun, match="no chat template"):
                source.check(arm(DRAW, **prompt))
    assert server.specs == []


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (lambda: solve_of_four("SOLVE_OUTCOME_BUDGET_TIME"), "ended with budget_time"),
        (lambda: lowered(solve_of_four()), "lowered cpu_time from 100 to 60"),
        (lambda: broken(solve_of_four()), "the sandbox failed: no jail"),
    ],
)
async def test_a_solve_that_did_not_go_as_asked_is_no_outcome(server: FakeServer, events: Any, told: str) -> None:
    server.events = events
    async with ServerSource(server.address) as source:
        with pytest.raises(RunFailed, match=told):
            await source.outcome(task(ADD), DRAW)


def lowered(events: list[Event]) -> list[Event]:
    events[-1].summary.lowered_limits.add(limit="cpu_time", asked=100, applied=60)
    return events


def broken(events: list[Event]) -> list[Event]:
    report = events[-1].summary.candidates[1].report
    report.verdict, report.detail = verdict_pb2.VERDICT_SANDBOX_FAILURE, "no jail"
    return events


async def test_a_server_judges_what_was_not_drawn_there(server: FakeServer) -> None:
    document = {"tests": ["assert 1", {"snippet": "assert 2", "hidden": True}], "limits": {"cpu_seconds": 2.0}}
    async with ServerJudge(server.address) as judge:
        found = await judge.judge(Task(record=ADD, document={**document, "prompt": "x"}), "pass")
        assert judge.described()["sandbox"] == "nsjail"
    assert (found.verdict, found.held_out, found.runs) == ("passed", "passed", 2)
    visible, hidden = server.programs
    assert [test.snippet.code for test in visible.tests] == ["assert 1"]
    assert [test.snippet.code for test in hidden.tests] == ["assert 2"] and not hidden.tests[0].hidden
    assert visible.limits.cpu_time.seconds == 2 and not visible.run_all and hidden.run_all


async def test_programs_that_a_document_cannot_say_are_not_for_a_server(server: FakeServer) -> None:
    made = Task(record=ADD, document={"prompt": "x", "tests": ["assert 1"]}, make=lambda code: None, made_by="hand")  # type: ignore[arg-type,return-value]
    async with ServerJudge(server.address) as judge:
        with pytest.raises(CannotRun, match="programs made by hand"):
            judge.check([made])
    with pytest.raises(ValueError, match="go together"):
        Task(record=ADD, document={}, made_by="hand")
