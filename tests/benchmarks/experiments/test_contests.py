"""Contest problems: windows of time, scores by month, and programs that end at their first failing test."""

import json
from pathlib import Path

import pytest
from support.experiments import outcome
from typer.testing import CliRunner

from benchmarks.command import app
from benchmarks.data import Record
from benchmarks.experiments.contests import EXPERIMENT, months, tasks

SUM = Record(
    id="sum",
    text="Read numbers, print their sum.",
    visible=({"stdio": {"stdin": "1 2\n", "expected": "3\n"}},),
    held_out=({"stdio": {"stdin": "1 2\n", "expected": "3\n"}}, {"stdio": {"stdin": "4\n", "expected": "4\n"}}),
    facts={"date": "2023-09-02"},
)


def test_every_test_at_hand_decides_once_and_the_statement_alone_is_told() -> None:
    [task] = tasks([SUM], {"cpu_seconds": 6.0})
    assert task.document["tests"] == [SUM.visible[0], SUM.held_out[1]] and not task.run_all
    [turn] = task.document["chat"]
    assert SUM.text in turn["content"] and "assert" not in turn["content"]


def test_scores_by_month() -> None:
    assert months([SUM, Record(id="undated", text="")]) == {"sum": "2023-09"}
    arms = [{"name": "samples", "samples": 2, "seed": 0, "sampling": {}, "problems": 3}]
    protocol = {"arms": arms, "ks": [1, 2], "months": {"1": "2023-09", "2": "2023-10", "3": "2023-10"}}
    verdicts = (["passed"] * 2, ["passed", "wrong_answer"], ["wrong_answer"] * 2)
    outcomes = [outcome(str(number), one) for number, one in enumerate(verdicts, 1)]
    found = EXPERIMENT.scores(protocol, {"samples": outcomes})
    assert found["samples"]["pass_at_k"]["1"]["value"] == pytest.approx(0.5)
    by_month = {month: one["pass_at_k"]["1"]["value"] for month, one in found["by_month"].items()}
    assert by_month == {"2023-09": pytest.approx(1.0), "2023-10": pytest.approx(0.25)}
    assert [one["problems"] for one in found["by_month"].values()] == [1, 2]


def recording(path: Path, *ids: str) -> Path:
    path.write_text("".join(json.dumps({"task_id": name, "solution": "print(input())\n"}) + "\n" for name in ids))
    return path


def run(folder: Path, data: Path, *words: str) -> dict[str, object]:
    out = folder / "r.json"
    done = CliRunner().invoke(app, ["contests", *words, "--data", str(data), "--out", str(out)])
    assert done.exit_code == 0, done.output
    return json.loads(out.read_text())["scores"]


@pytest.mark.sandbox
def test_a_wrong_program_is_dropped_at_its_first_failing_test(tmp_path: Path, data_folder: Path) -> None:
    recorded = recording(tmp_path / "wrong.jsonl", *map(str, range(0, 19, 2)))
    words = ("--set", "codecontests-full", "--generator", "replay", "--recorded", str(recorded), "--only-recorded")
    found = run(tmp_path, data_folder, *words)
    assert found["tests_total"] == 1265 and found["tests_run"] == 11 and found["by_month"] == {}


@pytest.mark.sandbox
def test_a_window_of_time(tmp_path: Path, data_folder: Path) -> None:
    recorded = recording(tmp_path / "some.jsonl", "abc318_a", "abc322_a")
    words = ("--generator", "replay", "--recorded", str(recorded), "--only-recorded", "--from", "2023-09-03")
    assert list(run(tmp_path, data_folder, *words)["by_month"]) == ["2023-09"]  # type: ignore[call-overload]
    nothing = CliRunner().invoke(app, ["contests", *words, "--to", "2023-09-04", "--data", str(data_folder)])
    assert nothing.exit_code == 2 and "no problem is dated" in nothing.output


def test_sets_without_dates_have_no_windows(data_folder: Path) -> None:
    words = ["contests", "--set", "codecontests", "--from", "2023-09-01", "--data", str(data_folder)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2 and "its problems have no dates" in " ".join(done.output.split())
