"""APPS: the prompt of the paper, and the grader's comparison beside ours."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.fake_server import Event, FakeServer
from thresher.v1 import info_service_pb2, solve_pb2, verdict_pb2
from typer.testing import CliRunner

from benchmarks.command import app
from benchmarks.data import Record, load
from benchmarks.experiments.apps_tasks import apps, paper_prompt
from benchmarks.experiments.experiment import Draw, Task
from benchmarks.experiments.judging import ExecutorJudge
from benchmarks.experiments.programs import References
from benchmarks.experiments.sources import ProgramsSource

LIMITS = {"cpu_seconds": 2.0}
SAYS = Record(
    id="train/1",
    text="Say it.",
    visible=({"stdio": {"stdin": "", "expected": "YES NO YES\n"}},),
    held_out=({"stdio": {"stdin": "x\n", "expected": "YES NO YES\n"}},),
    references=("print('YES NO YES')",),
    split="train",
    facts={"difficulty": "interview", "call_based": False},
)
ADDS = Record(
    id="train/2",
    text="Add.",
    stub="def add(a, b):",
    entry_point="add",
    visible=({"call": {"function": "add", "args": [1, 2], "expected": 3, "comparison": "approx"}},),
    split="train",
    facts={"difficulty": "interview", "call_based": True},
)


class Programs:
    """These programs, whatever the task."""

    def __init__(self, *codes: str) -> None:
        self._codes = codes

    def draw(self, task: Task, draw: Draw) -> list[str]:
        return list(self._codes)

    def measured(self, task: Task, draw: Draw) -> list[tuple[int, float]]:
        return []


def test_the_prompt_of_the_paper() -> None:
    assert paper_prompt(SAYS) == "\nQUESTION:\nSay it.\nUse Standard Input format\nANSWER:\n"
    assert paper_prompt(ADDS) == "\nQUESTION:\nAdd.\ndef add(a, b):\nUse Call-Based format\nANSWER:\n"


def test_all_tests_decide_and_a_server_gets_none_of_our_making() -> None:
    [asked] = apps([SAYS], "chat", LIMITS, compat=False, to_model=True).tasks
    assert len(asked.document["tests"]) == 2 and asked.make is None and asked.run_all
    [lenient] = apps([SAYS], "chat", LIMITS, compat=True, to_model=True).tasks
    assert [test["stdio"]["comparison"] for test in lenient.document["tests"]] == ["apps", "apps"]


@pytest.mark.sandbox
@pytest.mark.parametrize(("compat", "passes"), [(False, 0), (True, 1)])
async def test_the_graders_comparison_loses_the_order(compat: bool, passes: int) -> None:
    [asked] = apps([SAYS], "chat", LIMITS, compat=compat, to_model=False).tasks
    async with ProgramsSource(Programs("print('NO YES YES')"), ExecutorJudge(slots=1)) as source:  # type: ignore[arg-type]
        found = await source.outcome(asked, Draw(samples=1))
    assert found.passed == passes and len(found.candidates[0].tests) == 2


@pytest.mark.sandbox
async def test_functions_are_called_and_broken_programs_are_syntax_errors() -> None:
    [asked] = apps([ADDS], "chat", LIMITS, compat=False, to_model=False).tasks
    codes = ("def add(a, b):\n    return a + b\n", "def add(a, b):\n    return a - b\n", "def add(a, b:\n")
    async with ProgramsSource(Programs(*codes), ExecutorJudge(slots=1)) as source:  # type: ignore[arg-type]
        found = await source.outcome(asked, Draw(samples=3))
    assert [one.verdict for one in found.by_sample()] == ["passed", "wrong_answer", "compile_error"]


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.parametrize("compat", [False, True])
async def test_native_solutions_pass_either_way(data_folder: Path, compat: bool) -> None:
    records = [record for record in load("apps", data=data_folder).records if record.references]
    assert len(records) == 5
    async with ProgramsSource(References(), ExecutorJudge(slots=1)) as source:
        for asked in apps(records, "chat", {"cpu_seconds": 8.0}, compat=compat, to_model=False).tasks:
            assert (await source.outcome(asked, Draw(samples=1))).solved, asked.id


class Beams(FakeServer):
    """A server with a completion model; of its five hypotheses the third passes and the second does not compile."""

    def GetServerInfo(self, request: Any, context: Any) -> Any:
        sandbox = info_service_pb2.SandboxInfo(backend="nsjail", version="9")
        return info_service_pb2.GetServerInfoResponse(max_k=64, default_model="models/one", sandbox=sandbox)


def hypotheses() -> list[Event]:
    verdicts = ["VERDICT_WRONG_ANSWER", "VERDICT_COMPILE_ERROR", "VERDICT_PASSED"] + 2 * ["VERDICT_WRONG_ANSWER"]
    candidates = [
        solve_pb2.Candidate(
            index=index,
            code=f"print({index})\n",
            samples=[index],
            sample_logprobs=[-1.0 - index],
            report=verdict_pb2.ExecutionReport(verdict=verdict, tests_total=1),
        )
        for index, verdict in enumerate(verdicts)
    ]
    books = solve_pb2.Accounting(samples_finished=5, generated_tokens=50, candidates_executed=5)
    summary = solve_pb2.Summary(outcome="SOLVE_OUTCOME_SOLVED", candidates=candidates, accounting=books)
    return [Event(accepted=solve_pb2.Accepted(request_id="r", model="models/one", seed=1)), Event(summary=summary)]


def test_the_best_of_five_beams(tmp_path: Path, data_folder: Path) -> None:
    with Beams(tmp_path / "s.sock") as server:
        server.set_serving(True)
        server.events = hypotheses
        words = ["apps", "--split", "train", "--ids", "train/4184", "--beams", "5", "--prompt", "paper"]
        out = tmp_path / "r.json"
        done = CliRunner().invoke(
            app, [*words, "--data", str(data_folder), "--server", server.address, "--out", str(out)]
        )
    assert done.exit_code == 0, done.output
    [spec] = server.specs
    assert (spec.sampling.mode, spec.sampling.k) == (solve_pb2.SAMPLING_MODE_BEAM, 5)
    [level] = json.loads(out.read_text())["scores"]["levels"].values()
    assert level["best_of_all"]["value"] == 1 and level["strict"]["value"] == pytest.approx(0.2)
    assert level["syntax_errors"]["value"] == pytest.approx(0.2)
