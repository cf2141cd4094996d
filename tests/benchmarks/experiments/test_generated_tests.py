"""Tests that a served model writes: what it is shown, what is read of its texts, and the selection that uses them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.experiments import ADD, outcome
from support.fake_server import Event, FakeServer, rich_error
from thresher.v1 import info_service_pb2, solve_pb2, verdict_pb2
from typer.testing import CliRunner, Result

from benchmarks.command import app
from benchmarks.experiments.errors import CannotRun
from benchmarks.experiments.generated_tests import EXPERIMENT, TESTS, prompt, tasks
from benchmarks.experiments.selection_tasks import generated, read_blocks
from engine.text.extract import extract_program

WROTE = (
    " truncate_number(3.5) == 0.5\nassert truncate_number(1.25) == 0.25\nassert truncate_number(2.0) ==",
    " truncate_number(3.5) == 1.0\nassert has_close_elements([1.0, 2.0], 0.5) == False\n",
    " has_close_elements([1.0, 1.0], 0.5), 'equal'\nassert has_close_elements(numbers, 1)\n",
)
RAISED = verdict_pb2.ExecutionReport(verdict=verdict_pb2.VERDICT_RUNTIME_ERROR, tests_total=1)


def drawn() -> list[Event]:
    """Three texts; the first was drawn by two samples."""
    samples = ([0, 3], [1], [2])
    candidates = [
        solve_pb2.Candidate(index=index, code=text, samples=of, sample_logprobs=[-1.0] * len(of), report=RAISED)
        for index, (text, of) in enumerate(zip(WROTE, samples, strict=True))
    ]
    books = solve_pb2.Accounting(samples_finished=4, generated_tokens=80, candidates_executed=3)
    summary = solve_pb2.Summary(outcome="SOLVE_OUTCOME_EXHAUSTED", candidates=candidates, accounting=books)
    return [Event(accepted=solve_pb2.Accepted(request_id="r", model="models/one", seed=1)), Event(summary=summary)]


class Writer(FakeServer):
    def GetServerInfo(self, request: Any, context: Any) -> Any:
        sandbox = info_service_pb2.SandboxInfo(backend="nsjail", version="9")
        return info_service_pb2.GetServerInfoResponse(max_k=64, default_model="models/one", sandbox=sandbox)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[FakeServer]:
    with Writer(tmp_path / "s.sock") as fake:
        fake.set_serving(True)
        fake.events = drawn
        yield fake


def test_the_model_sees_the_stub_without_a_body_and_none_of_the_deciding_tests() -> None:
    assert prompt(ADD) == ('def add(a, b):\n    """The sum."""\n    pass\n\n# check the correctness of add\nassert')
    [task] = tasks([ADD], {})
    assert task.document == {"completion": prompt(ADD), "tests": ["pass"], "limits": {}}


@pytest.mark.parametrize("text", WROTE)
def test_the_server_hands_out_such_texts_as_they_were_drawn(text: str) -> None:
    assert extract_program(text).code == text.rstrip() + "\n"


def test_what_is_read_of_each_text() -> None:
    read = [(one.arguments, one.value) for one in generated(WROTE, "truncate_number")]
    assert read == [((3.5,), 0.5), ((1.25,), 0.25), ((3.5,), 1.0)]
    assert [one.value for one in generated(WROTE, "has_close_elements")] == [False, True]


def test_texts_are_counted_and_a_problem_without_a_test_is_told() -> None:
    arm = {"name": TESTS, "samples": 2, "seed": 0, "sampling": {}, "problems": 2}
    texts = [outcome("a", ["passed", "wrong_answer"]), outcome("b", ["wrong_answer"] * 2)]
    for one, count in zip(texts, (3, 0), strict=True):
        one.facts["tests"] = count
    found = EXPERIMENT.scores({"arms": [arm]}, {TESTS: texts})
    assert (found["tests"], found["problems_without_tests"], found["readable_texts"]["value"]) == (3, 1, 0.25)
    assert found["tests_of_each_problem"] == {"a": 3, "b": 0}


def select(folder: Path, data: Path, *more: str) -> Result:
    """Selection among a right and a wrong program of two problems."""
    pool = folder / "pool.jsonl"
    programs = {
        "HumanEval/0": ("return any(abs(a - b) < t for i, a in enumerate(x) for b in x[:i])", "return True"),
        "HumanEval/2": ("return x % 1", "return 0.5"),
    }
    names = {"HumanEval/0": "has_close_elements(x, t)", "HumanEval/2": "truncate_number(x)"}
    lines = [
        {"task_id": name, "solution": f"def {names[name]}:\n    {body}\n"}
        for name, bodies in programs.items()
        for body in bodies
    ]
    pool.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["selection", "--generator", "replay", "--recorded", str(pool), "--only-recorded", "--k", "1,2"]
    return CliRunner().invoke(app, [*words, "--data", str(data), "--out", str(folder / "result.json"), *more])


@pytest.mark.sandbox
def test_the_texts_are_drawn_kept_and_used_and_what_is_there_is_not_drawn_again(
    writer: FakeServer, tmp_path: Path, data_folder: Path
) -> None:
    how = ("--generate-tests", "4", "--server", writer.address, "--temperature", "0.7", "--seed", "5")
    full_events, calls = writer.events, iter(range(9))
    # The second problem fails on the first try, as where a server dies half way.
    writer.events = lambda: full_events() if next(calls) == 0 else [Event(summary=solve_pb2.Summary())]
    broken = select(tmp_path, data_folder, *how)
    assert broken.exit_code == 3 and not (tmp_path / "result.json").exists()
    assert json.loads((tmp_path / "result-tests.json").read_text())["problems_done"] == 1

    writer.events = drawn
    whole = select(tmp_path, data_folder, *how)
    assert whole.exit_code == 0, whole.output
    [*_, last] = writer.specs
    assert len(writer.specs) == 3  # one, one that failed, and that one again
    assert (last.sampling.k, last.sampling.temperature, last.sampling.max_new_tokens) == (4, 0.7, 300)
    assert last.problem.completion.text.endswith("# check the correctness of truncate_number\nassert")

    result = json.loads((tmp_path / "result.json").read_text())
    by = result["protocol"]["generated_tests_by"]
    assert (by["model"], by["texts_of_each_problem"], by["seed"]) == ("one", 4, 5)
    assert result["protocol"]["generated_tests_used"] == {"HumanEval/0": 2, "HumanEval/2": 3}
    assert result["protocol"]["generated_tests_copied"] == {"HumanEval/0": [], "HumanEval/2": [0]}
    choices = {name: one["value"] for name, one in result["scores"]["choices"].items()}
    # By the generated tests the right programs are worth 2 and 2, the others 1 and 1.
    assert choices["codet"] == 1 and choices["random"] == 0.5 == choices["majority"]
    assert "Tests by one, 4 texts a problem: 2.5 different generated tests" in (tmp_path / "result.md").read_text()

    (tmp_path / "result.jsonl").unlink()
    replayed = select(tmp_path, data_folder, "--tests", str(tmp_path / "result-tests.jsonl"))
    assert replayed.exit_code == 0, replayed.output
    again = json.loads((tmp_path / "result.json").read_text())
    assert len(writer.specs) == 3 and again["scores"] == result["scores"]
    assert again["protocol"] == result["protocol"]


def test_a_server_that_refuses_is_a_failure_and_leaves_nothing(
    writer: FakeServer, tmp_path: Path, data_folder: Path
) -> None:
    writer.error = rich_error(7, "FORBIDDEN", "not you")
    refused = select(tmp_path, data_folder, "--generate-tests", "4", "--server", writer.address)
    assert refused.exit_code == 3 and "not you" in refused.output
    assert not (tmp_path / "result.json").exists() and not (tmp_path / "result-tests.jsonl").exists()


def test_a_run_that_drew_programs_is_no_file_of_tests(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_text(json.dumps({"ledger": 1, "protocol": {"experiment": "humaneval", "arms": []}}) + "\n")
    with pytest.raises(CannotRun, match="a run of humaneval wrote no tests"):
        read_blocks(path)
