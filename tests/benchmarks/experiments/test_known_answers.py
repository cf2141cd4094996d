"""Answers that are known: references pass, recorded verdicts come again, scores are those of the formula."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.command import app
from benchmarks.data import load
from benchmarks.experiments.estimators import pass_at_k
from benchmarks.experiments.experiment import Draw
from benchmarks.experiments.humaneval_tasks import STOP, humaneval
from benchmarks.experiments.judging import ExecutorJudge
from benchmarks.experiments.replay import Replay
from benchmarks.experiments.sources import ProgramsSource

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(900)]


AMPLE = ("--cpu-seconds", "10")
"""Right programs of HumanEval take up to 0.9 s here."""


def bench(folder: Path, data: Path, *words: str) -> dict[str, Any]:
    """The result of a run."""
    out = folder / "result.json"
    run = CliRunner().invoke(app, [*words, "--data", str(data), "--out", str(out)])
    assert run.exit_code == 0, run.output
    return json.loads(out.read_text())


def passed(result: dict[str, Any]) -> dict[str, int]:
    """Samples that passed, by problem."""
    return {line["id"]: line["passed"] for line in result["problems"]["samples"]}


def test_every_reference_of_mbpp_passes(tmp_path: Path, data_folder: Path) -> None:
    result = bench(tmp_path, data_folder, "mbpp", "--generator", "reference", "--split", "all", *AMPLE)
    assert result["scores"]["samples"]["solved"] == result["problems_total"] == 724
    splits = Counter(record.split for record in load("mbpp", data=data_folder).records)
    assert splits == {"prompt": 10, "test": 250, "validation": 90, "train": 374}
    # The challenge tests of six problems accept their references, too.
    assert result["scores"]["samples"]["held_out"] == {
        "problems": 6,
        "samples_that_passed": 6,
        "of_these_rejected": 0,
    }


def test_the_scores_of_the_mbpp_paper_are_pass_at_80_and_pass_at_1(tmp_path: Path, data_folder: Path) -> None:
    words = ("mbpp", "--k", "80", "--generator", "synthetic", "--p", "0.05", "--seed", "1")
    result = bench(tmp_path, data_folder, *words)
    scores, counts = result["scores"]["samples"], list(passed(result).values())
    assert len(counts) == 250 and sum(counts) == pytest.approx(1000, abs=5 * (20_000 * 0.05 * 0.95) ** 0.5)
    assert scores["solved_by_any"]["value"] == pytest.approx(np.mean(pass_at_k(80, counts, 80)), abs=1e-12)
    assert scores["fraction_of_samples"]["value"] == pytest.approx(np.mean(pass_at_k(80, counts, 1)), abs=1e-12)
    assert scores["pass_at_k"]["80"]["value"] == pytest.approx(scores["solved_by_any"]["value"], abs=1e-12)
    page = (tmp_path / "result.md").read_text()
    assert "solved by any of 80 (oracle)" in page and "samples that solve their task" in page
    # 80 samples are two programs: the reference and the one that fails.
    assert result["cost"]["samples"]["programs_run"] <= 2 * 250 + 3


def test_every_reference_of_humaneval_passes(tmp_path: Path, data_folder: Path) -> None:
    result = bench(tmp_path, data_folder, "humaneval", "--generator", "reference", *AMPLE)
    assert result["scores"]["samples"]["solved"] == result["problems_total"] == 164


@pytest.mark.parametrize(("model", "solved"), [("1.5b", 42), ("7b", 52)])
def test_recorded_verdicts_of_humaneval_come_again(tmp_path: Path, data_folder: Path, model: str, solved: int) -> None:
    recording = data_folder / "replay-evalplus-qwen25coder-base" / f"humaneval-{model}.jsonl.gz"
    words = ("humaneval", "--generator", "replay", "--recorded", str(recording), "--only-recorded", *AMPLE)
    result = bench(tmp_path, data_folder, *words)
    with gzip.open(recording, "rt") as lines:
        recorded = {row["task_id"]: row["base_status"] == "pass" for row in map(json.loads, lines)}
    ours = {name: count == 1 for name, count in passed(result).items()}
    assert len(ours) == 82 and ours == recorded
    assert result["scores"]["samples"]["solved"] == solved


@pytest.mark.parametrize(
    ("tier", "imports"),
    [("starcoder", ["math"]), ("codellama", []), ("gpt-3.5-turbo-0613", []), ("gpt-4-1106-preview", [])],
)
def test_recorded_verdicts_of_four_tiers_come_again(
    tmp_path: Path, data_folder: Path, tier: str, imports: list[str]
) -> None:
    """Their harness ran all programs in one namespace: StarCoder's of HumanEval/106 found another's `math` there."""
    recording = data_folder / "replay-humaneval-ldb-seeds" / f"{tier}.jsonl.gz"
    words = ["humaneval", "--generator", "replay", "--recorded", str(recording), "--only-recorded", *AMPLE]
    words += ["--recorded-imports", *imports] if imports else []
    ours = {name: count == 1 for name, count in passed(bench(tmp_path, data_folder, *words)).items()}
    with gzip.open(recording, "rt") as lines:
        recorded = {row["task_id"]: row["is_solved"] for row in map(json.loads, lines)}
    assert len(ours) == 82 and ours == recorded


@pytest.mark.parametrize(("model", "solved"), [("chatgpt", 3), ("gpt4turbo", 7)])
def test_recorded_verdicts_of_apps_come_again(tmp_path: Path, data_folder: Path, model: str, solved: int) -> None:
    """Of the level whose problems all want programs that read, as the recorded ones do."""
    recording = data_folder / "replay-apps-mapcoder" / f"{model}-direct.jsonl.gz"
    words = ["apps", "--generator", "replay", "--recorded", str(recording), "--only-recorded", "--split", "train"]
    result = bench(tmp_path, data_folder, *words, "--level", "competition")
    ours = {line["id"]: line["passed"] == 1 for line in result["problems"]["competition"]}
    with gzip.open(recording, "rt") as lines:
        recorded = {f"train/{int(row['id']):04}": row["is_solved"] for row in map(json.loads, lines)}
    assert len(ours) == 32 and sum(ours.values()) == solved
    assert ours == {name: recorded[name] for name in ours}


async def test_programs_that_are_judged_once_have_the_verdicts_they_have_alone(data_folder: Path) -> None:
    recording = data_folder / "replay-humaneval-codegen16b" / "code_solution.jsonl.gz"
    records = [one for one in load("humaneval", data=data_folder).records if one.id in ("HumanEval/12", "HumanEval/34")]
    replay, draw = Replay(recording, stop=STOP), Draw(samples=60)
    distinct = 0
    for task in humaneval(records, "completion", "paper", {"cpu_seconds": 3.0}).tasks:
        async with ProgramsSource(replay, judge := ExecutorJudge()) as source:
            found = await source.outcome(task, draw)
            codes = replay.draw(task, draw)
            alone = [(await judge.judge(task, code)).verdict for code in codes]
        assert [one.verdict for one in found.by_sample()] == alone and 0 < found.passed < 60
        assert found.executed == len(found.candidates) < len(set(codes)) + 1
        distinct += found.executed
    assert distinct < 100
